import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { MessageFunctions } from '../../database/message-functions.js';
import { Notifications } from '../../database/notifications.js';
import { rangeKey, type WaitRange } from '../waiting/wait-range.js';
import { WakeUps } from '../waiting/wake-ups.js';
import { Floor } from './floor.js';

/*
 * Where claims begin to look.
 *
 * While anybody holds a snapshot of the database (a long report, a forgotten psql), vacuum cannot clean, and the index that
 * claims walk keeps an entry for every time at which a message was ever visible. So this pod remembers, for each range that is
 * claimed from often, a time below which it knows no live message. What makes that safe:
 *
 *   - visible_after is only ever set to the time of the statement that sets it, or later. So what is stored after a look
 *     lies above the look's time.
 *   - What is stored but not committed when a look is taken lies above the look's time less LAG_MS, unless it takes
 *     longer to commit. put_messages in somebody's own transaction tells, by its notification, since when its messages are visible: then
 *     floors go down to that. Whatever else commits later than that, or tells nobody, is found by the look from the
 *     beginning, every two seconds as long as that is cheap, and at the latest after a minute (floor.ts).
 *   - A look sees what claims under way have locked, which they may give back: it takes no locks.
 *   - When the database's clock goes back, or the listening connection was lost (there may be another server), nothing is
 *     known any more.
 *
 * So losing a floor costs time, and a floor that is too high costs a message up to a minute. No message is lost by it.
 */

/** What takes longer to commit is found late. */
export const LAG_MS = 1000;
const MAX_RANGES = 10_000;

/** The floors of this pod. */
@Injectable()
export class Floors implements OnApplicationShutdown {
  private readonly floors = new Map<string, { readonly queueId: number; readonly floor: Floor }>();
  /** Looks from the beginning that have found what claims had missed. */
  missed = 0;
  private readonly onMessage = (payload: unknown): void => this.receive(payload);
  private readonly onListening = (): void => this.floors.clear();

  constructor(
    private readonly functions: MessageFunctions,
    private readonly wakeUps: WakeUps,
    private readonly notifications: Notifications,
  ) {
    this.notifications.events.on('message', this.onMessage);
    this.notifications.events.on('listening', this.onListening);
  }

  onApplicationShutdown(): void {
    this.notifications.events.off('message', this.onMessage);
    this.notifications.events.off('listening', this.onListening);
  }

  /** For a claim from the range: since when what it is to find is visible; null: it looks from the beginning. */
  forClaim(range: WaitRange): Date | null {
    const key = rangeKey(range);
    const { floor } = this.floors.get(key) ?? this.open(key, range);
    return toDate(floor.forClaim());
  }

  /** The same for a look at what is visible next, which nothing is learned by. */
  forLook(range: WaitRange): Date | null {
    return toDate(this.floors.get(rangeKey(range))?.floor.fromMs ?? null);
  }

  private open(key: string, range: WaitRange): { readonly floor: Floor } {
    if (this.floors.size >= MAX_RANGES) this.floors.clear();
    const floor = new Floor(
      (fromMs) => this.functions.findFloor(range, range.channelId, toDate(fromMs), LAG_MS),
      () => {
        this.missed += 1;
        this.wakeUps.hint({ ...range, inMs: 0 });
      },
    );
    const entry = { queueId: range.queueId, floor };
    this.floors.set(key, entry);
    return entry;
  }

  /** `{ t: 'visible', since: <when>, ranges: [[queueId, …], …] }` of put_messages: committed now, visible since then. */
  private receive(payload: unknown): void {
    if (typeof payload !== 'object' || payload === null) return;
    const { t, since, ranges } = payload as { t?: unknown; since?: unknown; ranges?: unknown };
    if (t !== 'visible' || typeof since !== 'string' || !Array.isArray(ranges)) return;
    const ms = Date.parse(since);
    if (Number.isNaN(ms)) return;
    const queueIds = new Set(ranges.map((entry) => (Array.isArray(entry) ? (entry[0] as unknown) : null)));
    for (const { queueId, floor } of this.floors.values()) {
      if (queueIds.has(queueId)) floor.lower(ms);
    }
  }
}

/** Whole milliseconds, and not later. */
function toDate(ms: number | null): Date | null {
  return ms === null ? null : new Date(Math.floor(ms));
}
