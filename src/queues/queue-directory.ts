import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import type { Caller } from '../identity/caller.js';
import { Notifications } from '../database/notifications.js';
import { QueueFunctions, type Queue } from '../database/queue-functions.js';
import { ServiceError } from '../errors/service-error.js';
import { isIdentifier } from '../rest/fields.js';

/** What a path's queue id names: a queue, or its dead letter queue. */
export interface QueueReference {
  readonly queue: Queue;
  readonly deadLetter: boolean;
}

const DEAD_LETTER_SUFFIX = '/dlq';
/** How long a pod may work with old settings when it missed the notification of a change. */
const FRESH_FOR_MS = 5000;
const MAX_ENTRIES = 10_000;

interface Entry {
  readonly queue: Promise<Queue>;
  readonly until: number;
}

/**
 * Finds the queue that a caller names. What it knows of queues may be a moment old, so it serves the pod's own
 * decisions only (who may, the default polling timeout, limits); every rule of the queue reads the row in SQL.
 */
@Injectable()
export class QueueDirectory implements OnApplicationShutdown {
  private readonly entries = new Map<string, Entry>();
  private readonly onMessage = (payload: unknown): void => {
    if (isQueueChange(payload)) this.forgetLocally(payload.queue);
  };
  private readonly onListening = (): void => this.entries.clear();

  constructor(
    private readonly functions: QueueFunctions,
    private readonly notifications: Notifications,
  ) {
    this.notifications.events.on('message', this.onMessage);
    this.notifications.events.on('listening', this.onListening);
  }

  /** Throws NotAuthorizedOrNotFound where the caller's tenancy has no such queue. */
  async find(caller: Caller, reference: string): Promise<QueueReference> {
    const deadLetter = reference.endsWith(DEAD_LETTER_SUFFIX);
    const id = deadLetter ? reference.slice(0, -DEAD_LETTER_SUFFIX.length) : reference;
    return { queue: await this.findById(caller.tenancyId, id), deadLetter };
  }

  /** As `find`, for operations that a dead letter queue does not have. */
  async findQueue(caller: Caller, reference: string): Promise<Queue> {
    const { queue, deadLetter } = await this.find(caller, reference);
    if (deadLetter) {
      throw new ServiceError(
        'InvalidParameter',
        'queueId: this operation is not for a dead letter queue; leave out /dlq',
      );
    }
    return queue;
  }

  /** Everybody forgets what they know of this queue, because it was changed. */
  async changed(id: string): Promise<void> {
    this.forgetLocally(id);
    await this.notifications.send({ t: 'queue', queue: id });
  }

  onApplicationShutdown(): void {
    this.notifications.events.off('message', this.onMessage);
    this.notifications.events.off('listening', this.onListening);
    this.entries.clear();
  }

  private async findById(tenancyId: string, id: string): Promise<Queue> {
    const key = `${tenancyId} ${id}`;
    const known = this.entries.get(key);
    if (known !== undefined && known.until > performance.now()) return known.queue;
    // What cannot be an identifier is not looked for.
    if (!isIdentifier(id)) {
      throw new ServiceError('NotAuthorizedOrNotFound', 'the queue does not exist or you may not use it');
    }
    const queue = this.functions.find(tenancyId, id);
    const entry = { queue, until: performance.now() + FRESH_FOR_MS };
    if (this.entries.size >= MAX_ENTRIES) this.entries.clear();
    this.entries.set(key, entry);
    try {
      return await queue;
    } catch (error) {
      if (this.entries.get(key) === entry) this.entries.delete(key);
      throw error;
    }
  }

  private forgetLocally(id: string): void {
    for (const key of this.entries.keys()) {
      if (key.endsWith(` ${id}`)) this.entries.delete(key);
    }
  }
}

function isQueueChange(payload: unknown): payload is { queue: string } {
  return (
    typeof payload === 'object' &&
    payload !== null &&
    't' in payload &&
    payload.t === 'queue' &&
    'queue' in payload &&
    typeof payload.queue === 'string'
  );
}
