import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Notifications } from '../../database/notifications.js';
import { keysConcernedBy, rangeKey, type VisibilityHint, type WaitRange } from './wait-range.js';

/*
 * How a pod that puts learns that somebody waits on another pod, and how that one learns of the put.
 *
 * A notification costs a lock of the whole server at commit, so nobody notifies while nobody waits. Pods tell each
 * other for which ranges they wait; the announcement holds for a while and is renewed while it is needed. Whoever
 * makes something visible, now or at a later time, looks into what it knows, after its commit.
 *
 * The race: a put commits after the waiter looked, but before the announcement arrives. So each pod remembers its
 * hints of the last seconds, and repeats those that concern a range when it first learns that somebody waits there.
 * A notification that is lost costs at most the waiting room's slow poll.
 */

/** How long an announcement holds; it is renewed at half of that. */
const ANNOUNCED_FOR_MS = 20_000;
/** How long hints are remembered for waiters whose announcement is still under way. */
const REMEMBERED_FOR_MS = 5000;
/** The first hint is told at once; then hints are gathered until so long after it was begun, so that a busy pod sends few notifications. */
const GATHER_MS = 2;
const MAX_REMEMBERED = 10_000;
/** Keeps a payload below PostgreSQL's 8,000 bytes: an entry is at most about 120. */
const MAX_ENTRIES = 50;

type Entry = readonly [
  queueId: number,
  consumerGroupId: number,
  deadLetter: boolean,
  channelId: string | null,
  inMs: number,
];

interface RememberedHint {
  readonly hint: WaitRange;
  readonly madeAt: number;
  readonly visibleAt: number;
}

@Injectable()
export class WakeUps implements OnApplicationShutdown {
  private readonly pod = randomUUID();
  /** Ranges for which other pods wait, with the time until when that is believed. */
  private readonly remote = new Map<string, number>();
  /** Ranges that this pod has announced, with the time when that ends. */
  private readonly announced = new Map<string, { readonly range: WaitRange; until: number }>();
  private readonly remembered = new Map<string, RememberedHint>();
  /** The earliest time told to the others per range, so that the many later ones need not be told. */
  private readonly told = new Map<string, number>();
  /** What is to be told to the others: per range the earliest time at which something is visible. */
  private readonly outgoing = new Map<string, { readonly range: WaitRange; readonly visibleAt: number }>();
  private isSending = false;
  private isStopped = false;
  private readonly onMessage = (payload: unknown): void => this.receive(payload);
  private readonly onListening = (): void => this.startOver();
  /** Set by the waiting rooms: wakes those on this pod. */
  onHint: (key: string, inMs: number) => void = () => undefined;
  /** Set by the waiting rooms: the ranges that somebody on this pod waits for at the moment. */
  waitingHere: () => Iterable<WaitRange> = () => [];

  constructor(private readonly notifications: Notifications) {
    this.notifications.events.on('message', this.onMessage);
    this.notifications.events.on('listening', this.onListening);
  }

  /** Something was committed that makes a message visible now or later: tells those who wait, here and elsewhere. */
  hint(hint: VisibilityHint): void {
    for (const key of keysConcernedBy(hint, this.remoteAndLocalKeys(hint))) this.onHint(key, hint.inMs);
    const now = performance.now();
    this.remember(hint, now);
    this.tellOthers(hint, now);
  }

  /** Somebody on this pod waits for the range: the others are told, unless they still know. */
  announce(range: WaitRange): void {
    const now = performance.now();
    const key = rangeKey(range);
    const known = this.announced.get(key);
    if (known !== undefined && known.until - now > ANNOUNCED_FOR_MS / 2) return;
    if (this.announced.size > MAX_REMEMBERED) this.forgetOldAnnouncements(now);
    this.announced.set(key, { range, until: now + ANNOUNCED_FOR_MS });
    void this.notifications.send({ t: 'waiting', pod: this.pod, ranges: [toEntry(range, 0)] });
  }

  onApplicationShutdown(): void {
    this.notifications.events.off('message', this.onMessage);
    this.notifications.events.off('listening', this.onListening);
    this.isStopped = true;
  }

  private remoteAndLocalKeys(hint: WaitRange): Iterable<string> {
    // Only a hint without a channel has to look through who waits; see keysConcernedBy.
    return hint.channelId === null ? [...this.remote.keys(), ...[...this.waitingHere()].map(rangeKey)] : [];
  }

  private remember(hint: VisibilityHint, now: number): void {
    const key = rangeKey(hint);
    const visibleAt = now + hint.inMs;
    const known = this.remembered.get(key);
    // Taken out and put in again, so that the map's order is that of time.
    this.remembered.delete(key);
    const earliest = known === undefined || known.visibleAt < now - REMEMBERED_FOR_MS ? visibleAt : known.visibleAt;
    this.remembered.set(key, { hint, madeAt: now, visibleAt: Math.min(earliest, visibleAt) });
    for (const [oldKey, old] of this.remembered) {
      if (old.madeAt > now - REMEMBERED_FOR_MS && this.remembered.size <= MAX_REMEMBERED) break;
      this.remembered.delete(oldKey);
    }
  }

  private tellOthers(hint: VisibilityHint, now: number): void {
    const visibleAt = now + hint.inMs;
    for (const key of keysConcernedBy(hint, this.remote.keys())) {
      const believedUntil = this.remote.get(key);
      if (believedUntil === undefined) continue;
      if (believedUntil < now) {
        this.remote.delete(key);
        this.told.delete(key);
        continue;
      }
      // They will look at the time they were told, and find out there what comes after.
      const told = this.told.get(key) ?? -Infinity;
      if (hint.inMs > 0 && told > now && told <= visibleAt) continue;
      if (hint.inMs > 0) this.told.set(key, visibleAt);
      this.gather(hint);
    }
  }

  private gather(hint: VisibilityHint): void {
    const key = rangeKey(hint);
    const visibleAt = performance.now() + hint.inMs;
    const known = this.outgoing.get(key);
    if (known === undefined || known.visibleAt > visibleAt) this.outgoing.set(key, { range: hint, visibleAt });
    // With what else becomes visible by the same commit.
    if (!this.isSending) queueMicrotask(() => void this.flush());
  }

  /** One notification at a time: while it is under way the next gathers, however slow the database is. */
  private async flush(): Promise<void> {
    if (this.isSending) return;
    this.isSending = true;
    while (this.outgoing.size > 0 && !this.isStopped) {
      const now = performance.now();
      const next = [...this.outgoing].slice(0, MAX_ENTRIES);
      for (const [key] of next) this.outgoing.delete(key);
      const ranges = next.map(([, { range, visibleAt }]) => toEntry(range, Math.max(0, visibleAt - now)));
      await this.notifications.send({ t: 'visible', pod: this.pod, ranges });
      const left = now + GATHER_MS - performance.now();
      if (left > 0) await sleep(left);
    }
    this.isSending = false;
  }

  private receive(payload: unknown): void {
    if (typeof payload !== 'object' || payload === null) return;
    const { t, pod, ranges } = payload as { t?: unknown; pod?: unknown; ranges?: unknown };
    if (pod === this.pod) return;
    if (t === 'listening') this.announceAgain();
    if (!Array.isArray(ranges)) return;
    for (const entry of ranges) {
      if (!isEntry(entry)) continue;
      const range = { queueId: entry[0], consumerGroupId: entry[1], deadLetter: entry[2], channelId: entry[3] };
      if (t === 'visible') this.hear(range, entry[4]);
      if (t === 'waiting') this.learnOfWaiter(range);
    }
  }

  private hear(range: WaitRange, inMs: number): void {
    for (const key of keysConcernedBy(range, this.remoteAndLocalKeys(range))) this.onHint(key, inMs);
  }

  private learnOfWaiter(range: WaitRange): void {
    const now = performance.now();
    const key = rangeKey(range);
    this.remote.set(key, now + ANNOUNCED_FOR_MS);
    this.told.delete(key);
    for (const { hint, madeAt, visibleAt } of this.remembered.values()) {
      if (madeAt < now - REMEMBERED_FOR_MS || !keysConcernedBy(hint, [key]).includes(key)) continue;
      this.gather({ ...hint, inMs: Math.max(0, visibleAt - now) });
    }
  }

  /** Notifications may have been missed: everybody looks again, and the others are asked who waits there. */
  private startOver(): void {
    for (const range of this.waitingHere()) this.onHint(rangeKey(range), 0);
    this.announceAgain();
    void this.notifications.send({ t: 'listening', pod: this.pod });
  }

  private announceAgain(): void {
    this.announced.clear();
    for (const range of this.waitingHere()) this.announce(range);
  }

  private forgetOldAnnouncements(now: number): void {
    for (const [key, { until }] of this.announced) {
      if (until < now) this.announced.delete(key);
    }
  }
}

function toEntry(range: WaitRange, inMs: number): Entry {
  return [range.queueId, range.consumerGroupId, range.deadLetter, range.channelId, Math.ceil(inMs)];
}

function isEntry(value: unknown): value is Entry {
  return (
    Array.isArray(value) &&
    typeof value[0] === 'number' &&
    typeof value[1] === 'number' &&
    typeof value[2] === 'boolean' &&
    (value[3] === null || typeof value[3] === 'string') &&
    typeof value[4] === 'number'
  );
}
