import { setTimeout as sleep } from 'node:timers/promises';
import { toServiceError } from '../errors/catalogue.js';
import type { Caller } from '../identity/caller.js';
import type { Hold } from '../memory/memory-budget.js';
import type { DeliveriesService } from '../messages/deliveries.service.js';
import type { Delivery } from '../messages/gets.service.js';
import type { HeldDelivery } from './held-delivery.js';
import type { SessionServices } from './session-services.js';

type MessageRange = Parameters<DeliveriesService['giveBack']>[0];

export type AckMode = 'auto' | 'client' | 'client-individual';

/** What is subscribed to. */
export interface SubscriptionTarget {
  /** The queue's OCID, with /dlq for its dead letter queue. */
  readonly reference: string;
  readonly range: MessageRange;
  readonly consumerGroupId: string | undefined;
  /** Null: any. */
  readonly channelId: string | null;
}

export interface SubscriptionOptions {
  readonly id: string;
  /** As the client wrote it: MESSAGE frames repeat it. */
  readonly destination: string;
  readonly caller: Caller;
  readonly target: SubscriptionTarget;
  readonly ack: AckMode;
  /** How many messages it may hold at once. */
  readonly prefetch: number;
  /** Undefined: the queue's. */
  readonly visibilityInSeconds: number | undefined;
  readonly releasesOnDisconnect: boolean;
  readonly keepsLease: boolean;
  readonly ignoresStale: boolean;
}

/** What a subscription asks of its session. */
export interface SubscriptionTasks {
  /** Whether the client reads what it is sent; else `wake` is called once it does. */
  readonly hasOutputRoom: () => boolean;
  /** Writes the messages; `hold` is theirs, and released when they are sent. Returns what is held of them. */
  readonly hand: (subscription: Subscription, deliveries: readonly Delivery[], hold: Hold) => readonly HeldDelivery[];
  /** The client is not to be told of it any more: its timeout has passed, and too many others' have. */
  readonly forget: (delivery: HeldDelivery) => void;
  readonly failed: (error: unknown) => void;
}

/** What one get brings at most, so that subscriptions of a connection take turns, and bounds what it holds in memory. */
const MAX_MESSAGES = 50;
const MAX_BYTES = 262_144;
/** For so long a get waits in its waiting room, as long polls do. */
const POLL_SECONDS = 30;
/** How many deliveries whose timeout has passed are remembered: their receipts are good until somebody else has the message. */
const MAX_LAPSED = 1000;
const FIRST_RETRY_MS = 200;
const LAST_RETRY_MS = 5000;
/** Of the visibility timeout, after which a kept lease is prolonged. */
const PROLONG_AFTER = 1 / 3;

/**
 * A subscription: a loop of gets that wait as long polls do, each for at most as many messages as there is credit for. Its
 * credit is the prefetch less what it holds. What was held longer than its visibility timeout does not count: others may
 * have it by now.
 */
export class Subscription {
  readonly held = new Set<HeldDelivery>();
  private readonly lapsed = new Set<HeldDelivery>();
  private readonly ending = new AbortController();
  private wakeUp: () => void = () => undefined;
  private lapseTimer: NodeJS.Timeout | undefined;
  private running: Promise<void> = Promise.resolve();
  /** The queue cannot be read at the moment, and the log was told. */
  private waitsForQueue = false;

  constructor(
    readonly options: SubscriptionOptions,
    private readonly services: SessionServices,
    private readonly tasks: SubscriptionTasks,
  ) {}

  get target(): SubscriptionTarget {
    return this.options.target;
  }

  get isEnded(): boolean {
    return this.ending.signal.aborted;
  }

  start(): void {
    this.services.figures.subscriptions += 1;
    this.running = this.run();
  }

  /** There may be credit or room in the output again. */
  wake(): void {
    this.wakeUp();
  }

  /** What an ACK or NACK of this delivery is about, by the mode: itself, or all that came before it too. */
  upTo(named: HeldDelivery): HeldDelivery[] {
    if (this.options.ack !== 'client') return [named];
    const before: HeldDelivery[] = [];
    for (const delivery of [...this.lapsed, ...this.held]) {
      if (delivery.isSettling) continue;
      if (delivery.sequence <= named.sequence) before.push(delivery);
    }
    return before;
  }

  /** They are acknowledged, or given back: there is credit for others. */
  settled(deliveries: readonly HeldDelivery[]): void {
    for (const delivery of deliveries) {
      this.held.delete(delivery);
      this.lapsed.delete(delivery);
    }
    this.wake();
  }

  /** No more deliveries from now on. Resolves when the get under way has ended. */
  async end(): Promise<void> {
    if (!this.isEnded) this.services.figures.subscriptions -= 1;
    this.ending.abort();
    clearTimeout(this.lapseTimer);
    this.wake();
    await this.running;
  }

  /** After `end`: what was not settled goes to others at once, or where that was asked for when its timeout has passed. */
  async release(): Promise<void> {
    const left = [...this.held];
    this.held.clear();
    this.lapsed.clear();
    if (left.length === 0 || !this.options.releasesOnDisconnect) return;
    await this.services.deliveries.giveBack(this.target.range, left, true);
  }

  private async run(): Promise<void> {
    let retryMs = FIRST_RETRY_MS;
    while (!this.isEnded) {
      const credit = this.options.prefetch - this.held.size;
      if (credit <= 0 || !this.tasks.hasOutputRoom()) {
        await this.untilWoken();
        continue;
      }
      const hold = this.services.memory.open();
      const askedAt = performance.now();
      try {
        const deliveries = await this.get(Math.min(credit, MAX_MESSAGES), hold);
        retryMs = FIRST_RETRY_MS;
        this.waitsForQueue = false;
        await this.hand(deliveries, hold, askedAt);
      } catch (error) {
        hold.release();
        const { code, retryAfterSeconds } = toServiceError(error);
        // The connection goes on while the database is away: the heart-beats say that the pod is there. And while the queue
        // cannot be read because its master key is disabled: an ERROR would end the subscriptions of other queues with it.
        const isForAWhile = code === 'ServiceUnavailable' || code === 'TooManyRequests' || code === 'IncorrectState';
        if (!isForAWhile) {
          if (!this.isEnded) this.tasks.failed(error);
          return;
        }
        if (code === 'IncorrectState' && !this.isEnded) this.tellThatItWaits(error);
        await this.pause(Math.max(retryMs, (retryAfterSeconds ?? 0) * 1000));
        retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
      }
    }
  }

  /** Once, until it has succeeded again. */
  private tellThatItWaits(error: unknown): void {
    this.services.figures.waits += 1;
    if (this.waitsForQueue) return;
    this.waitsForQueue = true;
    const { message } = toServiceError(error);
    const queue = this.target.reference;
    this.services.logger.warn({ queue, subscription: this.options.id, reason: message }, 'a subscription waits');
  }

  private get(limit: number, hold: Hold): Promise<Delivery[]> {
    const { caller, target, visibilityInSeconds } = this.options;
    const query = {
      limit,
      timeoutInSeconds: POLL_SECONDS,
      ...(visibilityInSeconds === undefined ? {} : { visibilityInSeconds }),
      ...(target.channelId === null ? {} : { channelFilter: target.channelId }),
      ...(target.consumerGroupId === undefined ? {} : { consumerGroupId: target.consumerGroupId }),
    };
    return this.services.gets.deliver(caller, target.reference, query, this.ending.signal, hold, MAX_BYTES);
  }

  private async hand(deliveries: readonly Delivery[], hold: Hold, askedAt: number): Promise<void> {
    if (deliveries.length === 0) {
      hold.release();
      // A get that comes back before its time has a reason, such as a pod that stops: no reason to ask at once.
      if (performance.now() - askedAt < FIRST_RETRY_MS) await this.pause(FIRST_RETRY_MS);
    } else if (this.isEnded) {
      hold.release();
      // They have reached nobody.
      await this.services.deliveries.giveBack(this.target.range, deliveries, false).catch(() => undefined);
    } else {
      for (const delivery of this.tasks.hand(this, deliveries, hold)) this.held.add(delivery);
      this.watchLapses();
    }
  }

  /** One timer for the earliest timeout of what is held, or for prolonging it. */
  private watchLapses(): void {
    clearTimeout(this.lapseTimer);
    let next = Infinity;
    for (const delivery of this.held) {
      if (!delivery.isSettling) next = Math.min(next, this.dueAt(delivery));
    }
    if (next === Infinity || this.isEnded) return;
    this.lapseTimer = setTimeout(() => this.lapse(), Math.max(10, next - performance.now())).unref();
  }

  /** When something has to be done about a delivery that is held. */
  private dueAt(delivery: HeldDelivery): number {
    return this.mayProlong(delivery)
      ? delivery.prolongedAt + (delivery.lapsesAt - delivery.prolongedAt) * PROLONG_AFTER
      : delivery.lapsesAt;
  }

  private mayProlong(delivery: HeldDelivery): boolean {
    return (
      this.options.keepsLease && delivery.deliveredAt + this.services.configuration.stompLeaseMs > performance.now()
    );
  }

  private lapse(): void {
    const now = performance.now();
    const toProlong: HeldDelivery[] = [];
    for (const delivery of this.held) {
      if (delivery.isSettling || this.dueAt(delivery) > now) continue;
      if (this.mayProlong(delivery)) toProlong.push(delivery);
      else this.lapseOne(delivery);
    }
    if (toProlong.length > 0) void this.prolong(toProlong);
    this.watchLapses();
    this.wake();
  }

  private lapseOne(delivery: HeldDelivery): void {
    this.held.delete(delivery);
    this.lapsed.add(delivery);
    const [oldest] = this.lapsed;
    if (this.lapsed.size <= MAX_LAPSED || oldest === undefined) return;
    this.lapsed.delete(oldest);
    this.tasks.forget(oldest);
  }

  /** Where that fails their timeouts pass, or the next time succeeds. */
  private async prolong(deliveries: readonly HeldDelivery[]): Promise<void> {
    const now = performance.now();
    for (const delivery of deliveries) delivery.prolongedAt = now;
    const { caller, target } = this.options;
    const entries = deliveries.map(({ receipt, visibilityInSeconds }) => ({ receipt, visibilityInSeconds }));
    try {
      const result = await this.services.deliveries.updateMany(
        caller,
        target.reference,
        target.consumerGroupId,
        entries,
      );
      for (const [index, delivery] of deliveries.entries()) {
        const entry = result.entries[index];
        if (entry !== undefined && !('errorCode' in entry)) {
          delivery.lapsesAt = now + delivery.visibilityInSeconds * 1000;
        }
      }
    } catch (error) {
      this.services.logger.warn({ err: error }, 'visibility timeouts could not be prolonged');
    }
    this.watchLapses();
  }

  private async untilWoken(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.wakeUp = resolve;
    await promise;
    this.wakeUp = (): void => undefined;
  }

  private async pause(ms: number): Promise<void> {
    // Woken by the end as well: then it is over at once.
    await sleep(ms, undefined, { signal: this.ending.signal, ref: false }).catch(() => undefined);
  }
}
