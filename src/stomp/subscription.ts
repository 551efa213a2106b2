import { setTimeout as sleep } from 'node:timers/promises';
import { toServiceError } from '../errors/catalogue.js';
import type { Hold } from '../memory/memory-budget.js';
import type { Delivered } from '../messages/gets.service.js';
import type { HeldDelivery } from './held-delivery.js';
import type { SessionServices } from './session-services.js';
import { SubscriptionHoldings } from './subscription-holdings.js';
import type { SubscriptionOptions, SubscriptionTarget } from './subscription-options.js';

/** What a subscription asks of its session. */
export interface SubscriptionTasks {
  /** Whether the client reads what it is sent, and may be sent more; else `wake` is called once that is so. */
  readonly hasOutputRoom: () => boolean;
  /** Writes the messages; `hold` is theirs, and released when they are sent. Returns what is held of them. */
  readonly hand: (subscription: Subscription, delivered: Delivered, hold: Hold) => readonly HeldDelivery[];
  /** The client is not to be told of it any more: its timeout has passed, and too many others' have. */
  readonly forget: (delivery: HeldDelivery) => void;
  readonly failed: (error: unknown) => void;
}

/** What one get brings at most, so that subscriptions of a connection take turns, and bounds what it holds in memory. */
const MAX_MESSAGES = 50;
const MAX_BYTES = 262_144;
/** For so long a get waits in its waiting room, as long polls do. */
const POLL_SECONDS = 30;
const FIRST_RETRY_MS = 200;
const LAST_RETRY_MS = 5000;

/**
 * A subscription: a loop of gets that wait as long polls do, each for at most as many messages as there is credit for. Its
 * credit is the prefetch less what it holds; what was acknowledged counts no more, so that the next get need not wait for its
 * deletion.
 */
export class Subscription {
  /** How many messages it was given. */
  delivered = 0;
  private readonly holdings: SubscriptionHoldings;
  private readonly ending = new AbortController();
  private wakeUp: () => void = () => undefined;
  private running: Promise<void> = Promise.resolve();
  /** The queue cannot be read at the moment, and the log was told. */
  private waitsForQueue = false;

  constructor(
    readonly options: SubscriptionOptions,
    private readonly services: SessionServices,
    private readonly tasks: SubscriptionTasks,
  ) {
    this.holdings = new SubscriptionHoldings(options, services, {
      forget: tasks.forget,
      freed: () => this.wake(),
    });
  }

  get target(): SubscriptionTarget {
    return this.options.target;
  }

  /** How many messages it holds whose visibility timeout has not passed. */
  get unacknowledged(): number {
    return this.holdings.size;
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
    return this.options.ack === 'client' ? this.holdings.upTo(named) : [named];
  }

  /** An ACK or NACK of them is being carried out, outside of a transaction: there may be credit for others. */
  leave(deliveries: readonly HeldDelivery[]): void {
    this.holdings.leave(deliveries);
    this.wake();
  }

  /** They are acknowledged, or given back: there is credit for others. */
  settled(deliveries: readonly HeldDelivery[]): void {
    this.holdings.remove(deliveries);
    this.wake();
  }

  /** No more deliveries from now on. Resolves when the get under way has ended. */
  async end(): Promise<void> {
    if (!this.isEnded) this.services.figures.subscriptions -= 1;
    this.ending.abort();
    this.holdings.end();
    this.wake();
    await this.running;
  }

  /** After `end`: what was not settled goes to others at once, or where that was asked for when its timeout has passed. */
  async release(): Promise<void> {
    const left = this.holdings.clear();
    const last = left.at(-1);
    if (last === undefined || !this.options.releasesOnDisconnect) return;
    await this.services.deliveries.giveBack(this.target.range, left, true, last.durability);
  }

  private async run(): Promise<void> {
    let retryMs = FIRST_RETRY_MS;
    while (!this.isEnded) {
      const { credit } = this.holdings;
      if (credit <= 0 || !this.tasks.hasOutputRoom()) {
        await this.untilWoken();
        continue;
      }
      const hold = this.services.memory.open();
      const askedAt = performance.now();
      try {
        const delivered = await this.get(Math.min(credit, MAX_MESSAGES), hold);
        retryMs = FIRST_RETRY_MS;
        this.waitsForQueue = false;
        await this.hand(delivered, hold, askedAt);
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

  private get(limit: number, hold: Hold): Promise<Delivered> {
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

  private async hand(delivered: Delivered, hold: Hold, askedAt: number): Promise<void> {
    const { outcome: deliveries, durability } = delivered;
    if (deliveries.length === 0) {
      hold.release();
      // A get that comes back before its time has a reason, such as a pod that stops: no reason to ask at once.
      if (performance.now() - askedAt < FIRST_RETRY_MS) await this.pause(FIRST_RETRY_MS);
    } else if (this.isEnded) {
      hold.release();
      // They have reached nobody.
      await this.services.deliveries.giveBack(this.target.range, deliveries, false, durability).catch(() => undefined);
    } else {
      this.delivered += deliveries.length;
      this.holdings.add(this.tasks.hand(this, delivered, hold));
    }
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
