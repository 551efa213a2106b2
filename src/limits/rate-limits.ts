import { Inject, Injectable } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import type { MessageToPut } from '../database/put-functions.js';
import type { Queue } from '../database/queue-functions.js';
import { ServiceError } from '../errors/service-error.js';
import { LivePods } from './live-pods.js';
import { Refusals, type LimitScope } from './refusals.js';
import { burstOf, explain, spend, takeAll, type Demand, type MessageApi } from './rate-demand.js';
import { TenancyRates, type TenancyBuckets } from './tenancy-buckets.js';
import { TokenBucket } from './token-bucket.js';

class Buckets {
  readonly put = new TokenBucket();
  readonly get = new TokenBucket();
  readonly update = new TokenBucket();
  readonly delete = new TokenBucket();
  readonly in = new TokenBucket();
  readonly out = new TokenBucket();
}

class QueueBuckets extends Buckets {
  readonly channels = new Map<string, Buckets>();
  percent = 100;
}

interface GivenMessage {
  readonly content: Buffer;
  readonly properties: Readonly<Record<string, string>> | null;
}

/** Queues and channels that are remembered at most, or as many more as one request names. */
const MAX_REMEMBERED = 20_000;

/**
 * Requests and bytes per second of a queue, the share of them that one channel may use (`channelConsumptionLimit`), and
 * those of a tenancy. Each pod enforces its part, the limit divided by the number of pods that live: nothing is
 * asked of the database. What is over a limit is refused with TooManyRequests and the time after which it is not.
 *
 * A get is known by its channel only where it names it, so gets without a filter count for the queue alone; and its
 * bytes are known only when they are given, so they are counted then, and gets are refused until they are paid back.
 */
@Injectable()
export class RateLimits {
  private readonly queues = new Map<number, QueueBuckets>();
  private readonly tenancies: TenancyRates;
  private remembered = 0;

  constructor(
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
    private readonly pods: LivePods,
    private readonly refusals: Refusals,
  ) {
    this.tenancies = new TenancyRates((buckets) => this.isTenancyIdle(buckets));
  }

  /** Queues, channels and tenancies that are remembered at the moment. */
  get size(): number {
    return this.remembered + this.tenancies.size;
  }

  /** Counts a request of a tenancy, whatever it asks for. Throws TooManyRequests. */
  admit(tenancyId: string): void {
    const limit = this.configuration.maxTenancyRequestsPerSecond;
    if (limit === null) return;
    const demands = [this.demand('requests', 'tenancy', this.tenancies.of(tenancyId).requests, 1, limit)];
    this.take(null, demands);
  }

  /** Throws TooManyRequests. Where the messages are of several channels, each must have room. */
  put(queue: Queue, messages: readonly MessageToPut[]): void {
    if (!this.isLimited) return;
    const demands: Demand[] = [];
    const bytes = bytesOf(messages, null);
    this.demandOfTenancy(demands, 'bytes_in', queue, bytes);
    if (this.isQueueLimited) {
      const buckets = this.bucketsOf(queue);
      this.demandRequest(demands, buckets.put, null, 100);
      this.demandBytes(demands, 'bytes_in', buckets.in, null, 100, bytes);
      if (queue.channelConsumptionLimit < 100) {
        for (const [index, { channelId }] of messages.entries()) {
          // The queue itself is no channel. 20 messages at most, so looking back costs less than a set.
          if (channelId === '' || messages.findIndex((message) => message.channelId === channelId) < index) continue;
          const ofChannel = this.channelOf(buckets, channelId);
          this.demandRequest(demands, ofChannel.put, channelId, buckets.percent);
          this.demandBytes(demands, 'bytes_in', ofChannel.in, channelId, buckets.percent, bytesOf(messages, channelId));
        }
      }
    }
    this.take('put', demands);
  }

  /** Throws TooManyRequests. `channelId` null: the get names none. */
  get(queue: Queue, channelId: string | null): void {
    if (!this.isLimited) return;
    const demands: Demand[] = [];
    this.demandOfTenancy(demands, 'bytes_out', queue, 0);
    if (this.isQueueLimited) {
      const buckets = this.bucketsOf(queue);
      this.demandRequest(demands, buckets.get, null, 100);
      this.demandBytes(demands, 'bytes_out', buckets.out, null, 100, 0);
      if (isShared(queue, channelId)) {
        const ofChannel = this.channelOf(buckets, channelId);
        this.demandRequest(demands, ofChannel.get, channelId, buckets.percent);
        this.demandBytes(demands, 'bytes_out', ofChannel.out, channelId, buckets.percent, 0);
      }
    }
    this.take('get', demands);
  }

  /** Counts what a get has given; `channelId` as it was for `get`. */
  given(queue: Queue, channelId: string | null, messages: readonly GivenMessage[]): void {
    const { maxQueueBytesPerSecond, maxTenancyBytesPerSecond } = this.configuration;
    if ((maxQueueBytesPerSecond === null && maxTenancyBytesPerSecond === null) || messages.length === 0) return;
    const bytes = messages.reduce((sum, message) => sum + sizeOf(message), 0);
    const demands: Demand[] = [];
    this.demandOfTenancy(demands, 'bytes_out', queue, bytes);
    if (maxQueueBytesPerSecond !== null) {
      const buckets = this.bucketsOf(queue);
      this.demandBytes(demands, 'bytes_out', buckets.out, null, 100, bytes);
      if (isShared(queue, channelId)) {
        const { out } = this.channelOf(buckets, channelId);
        this.demandBytes(demands, 'bytes_out', out, channelId, buckets.percent, bytes);
      }
    }
    spend(demands);
  }

  /** Throws TooManyRequests. Of a receipt nobody knows the channel, so this is the queue's limit alone. */
  request(queue: Queue, api: 'update' | 'delete'): void {
    if (this.configuration.maxQueueRequestsPerSecond === null) return;
    const demands: Demand[] = [];
    this.demandRequest(demands, this.bucketsOf(queue)[api], null, 100);
    this.take(api, demands);
  }

  private get isLimited(): boolean {
    return this.isQueueLimited || this.configuration.maxTenancyBytesPerSecond !== null;
  }

  private get isQueueLimited(): boolean {
    const { maxQueueRequestsPerSecond, maxQueueBytesPerSecond } = this.configuration;
    return maxQueueRequestsPerSecond !== null || maxQueueBytesPerSecond !== null;
  }

  private demandOfTenancy(demands: Demand[], limit: 'bytes_in' | 'bytes_out', queue: Queue, cost: number): void {
    const whole = this.configuration.maxTenancyBytesPerSecond;
    if (whole === null) return;
    const buckets = this.tenancies.of(queue.tenancyId);
    demands.push(this.demand(limit, 'tenancy', limit === 'bytes_in' ? buckets.in : buckets.out, cost, whole));
  }

  private demandRequest(demands: Demand[], bucket: TokenBucket, channelId: string | null, percent: number): void {
    const whole = this.configuration.maxQueueRequestsPerSecond;
    if (whole === null) return;
    const scope = channelId === null ? 'queue' : 'channel';
    demands.push(this.demand('requests', scope, bucket, 1, whole, channelId, percent));
  }

  private demandBytes(
    demands: Demand[],
    limit: 'bytes_in' | 'bytes_out',
    bucket: TokenBucket,
    channelId: string | null,
    percent: number,
    cost: number,
  ): void {
    const whole = this.configuration.maxQueueBytesPerSecond;
    if (whole === null) return;
    const scope = channelId === null ? 'queue' : 'channel';
    demands.push(this.demand(limit, scope, bucket, cost, whole, channelId, percent));
  }

  private demand(
    limit: Demand['limit'],
    scope: LimitScope,
    bucket: TokenBucket,
    cost: number,
    whole: number,
    channelId: string | null = null,
    percent = 100,
  ): Demand {
    return { bucket, limit, scope, channelId, cost, whole, percent, perSecond: this.shareOf(whole, percent) };
  }

  private shareOf(limit: number, percent: number): number {
    return (limit * percent) / 100 / this.pods.count;
  }

  /** All or none. `api` null: whatever it asks for. */
  private take(api: MessageApi | null, demands: readonly Demand[]): void {
    const refusal = takeAll(demands);
    if (refusal === null) return;
    const { refusing, seconds: retryAfterSeconds } = refusal;
    this.refusals.count(refusing.limit, refusing.scope);
    throw new ServiceError('TooManyRequests', explain(api, refusing, this.pods.count, retryAfterSeconds), {
      retryAfterSeconds,
    });
  }

  private bucketsOf(queue: Queue): QueueBuckets {
    // Before anything is taken out, so that nothing is forgotten while it is in use.
    if (this.remembered >= MAX_REMEMBERED) this.makeRoom();
    let buckets = this.queues.get(queue.queueId);
    if (buckets === undefined) {
      buckets = new QueueBuckets();
      this.queues.set(queue.queueId, buckets);
      this.remembered += 1;
    }
    buckets.percent = queue.channelConsumptionLimit;
    return buckets;
  }

  private channelOf(queue: QueueBuckets, channelId: string): Buckets {
    let buckets = queue.channels.get(channelId);
    if (buckets === undefined) {
      buckets = new Buckets();
      queue.channels.set(channelId, buckets);
      this.remembered += 1;
    }
    return buckets;
  }

  /**
   * Forgets what is full again, which changes nothing. Where that is not half of it all channels go: what they use is
   * still counted for their queues.
   */
  private makeRoom(): void {
    const now = performance.now();
    for (const [queueId, queue] of this.queues) {
      for (const [channelId, channel] of queue.channels) {
        if (this.isIdle(channel, queue.percent, now)) queue.channels.delete(channelId);
      }
      if (queue.channels.size === 0 && this.isIdle(queue, 100, now)) this.queues.delete(queueId);
    }
    if (this.counted() > MAX_REMEMBERED / 2) for (const { channels } of this.queues.values()) channels.clear();
    if (this.counted() > MAX_REMEMBERED / 2) this.queues.clear();
    this.remembered = this.counted();
  }

  private counted(): number {
    let count = this.queues.size;
    for (const { channels } of this.queues.values()) count += channels.size;
    return count;
  }

  private isIdle(buckets: Buckets, percent: number, now: number): boolean {
    const { maxQueueRequestsPerSecond: requests, maxQueueBytesPerSecond: bytes } = this.configuration;
    return (
      this.isFull(buckets.put, requests, percent, now) &&
      this.isFull(buckets.get, requests, percent, now) &&
      this.isFull(buckets.update, requests, percent, now) &&
      this.isFull(buckets.delete, requests, percent, now) &&
      this.isFull(buckets.in, bytes, percent, now) &&
      this.isFull(buckets.out, bytes, percent, now)
    );
  }

  private isTenancyIdle(buckets: TenancyBuckets): boolean {
    const { maxTenancyRequestsPerSecond: requests, maxTenancyBytesPerSecond: bytes } = this.configuration;
    const now = performance.now();
    return (
      this.isFull(buckets.requests, requests, 100, now) &&
      this.isFull(buckets.in, bytes, 100, now) &&
      this.isFull(buckets.out, bytes, 100, now)
    );
  }

  private isFull(bucket: TokenBucket, limit: number | null, percent: number, now: number): boolean {
    if (limit === null) return true;
    const perSecond = this.shareOf(limit, percent);
    return bucket.isFull(perSecond, burstOf(perSecond), now);
  }
}

/** The queue itself ('') is no channel, and a share of 100 % is the queue's own limit. */
function isShared(queue: Queue, channelId: string | null): channelId is string {
  return channelId !== null && channelId !== '' && queue.channelConsumptionLimit < 100;
}

function bytesOf(messages: readonly MessageToPut[], channelId: string | null): number {
  let bytes = 0;
  for (const message of messages) {
    if (channelId === null || message.channelId === channelId) bytes += message.sizeInBytes;
  }
  return bytes;
}

function sizeOf({ content, properties }: GivenMessage): number {
  let bytes = content.length;
  for (const key in properties) bytes += Buffer.byteLength(key) + Buffer.byteLength(properties[key] ?? '');
  return bytes;
}
