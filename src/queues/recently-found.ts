import { Notifications } from '../database/notifications.js';
import { ServiceError } from '../errors/service-error.js';
import { isIdentifier } from '../rest/fields.js';

/** How long a pod may work with what is old when it missed the notification of a change. */
const FRESH_FOR_MS = 5000;
const MAX_ENTRIES = 10_000;

interface Entry<Thing> {
  readonly thing: Promise<Thing>;
  readonly until: number;
}

/** What was found by its OCID a moment ago, for all requests that name it; forgotten on every pod when it is changed. */
export class RecentlyFound<Thing> {
  private readonly entries = new Map<string, Entry<Thing>>();
  private readonly onMessage = (payload: unknown): void => {
    if (typeof payload !== 'object' || payload === null) return;
    const { t, id } = payload as { t?: unknown; id?: unknown };
    if (t === this.kind && typeof id === 'string') this.forget(id);
  };
  private readonly onListening = (): void => this.entries.clear();

  constructor(
    /** What it is, as notifications name it. */
    private readonly kind: string,
    private readonly notifications: Notifications,
    private readonly read: (tenancyId: string, id: string) => Promise<Thing>,
  ) {
    this.notifications.events.on('message', this.onMessage);
    this.notifications.events.on('listening', this.onListening);
  }

  /** Throws what `read` throws, NotAuthorizedOrNotFound above all; failures are not kept. */
  async find(tenancyId: string, id: string): Promise<Thing> {
    const key = `${tenancyId} ${id}`;
    const known = this.entries.get(key);
    if (known !== undefined && known.until > performance.now()) return known.thing;
    // What cannot be an identifier is not looked for.
    if (!isIdentifier(id)) {
      throw new ServiceError('NotAuthorizedOrNotFound', `the ${this.kind} does not exist or you may not use it`);
    }
    const entry = { thing: this.read(tenancyId, id), until: performance.now() + FRESH_FOR_MS };
    if (this.entries.size >= MAX_ENTRIES) this.entries.clear();
    this.entries.set(key, entry);
    try {
      return await entry.thing;
    } catch (error) {
      if (this.entries.get(key) === entry) this.entries.delete(key);
      throw error;
    }
  }

  /** Everybody forgets what they know of it. */
  async changed(id: string): Promise<void> {
    this.forget(id);
    await this.notifications.send({ t: this.kind, id });
  }

  close(): void {
    this.notifications.events.off('message', this.onMessage);
    this.notifications.events.off('listening', this.onListening);
    this.entries.clear();
  }

  private forget(id: string): void {
    for (const key of this.entries.keys()) {
      if (key.endsWith(` ${id}`)) this.entries.delete(key);
    }
  }
}
