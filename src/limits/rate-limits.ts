import { Inject, Injectable } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import type { MessageToPut } from '../database/message-functions.js';
import type { Queue } from '../database/queue-functions.js';
import { ServiceError } from '../errors/service-error.js';
import { LivePods } from './live-pods.js';
import { Refusals } from './refusals.js';
import { TokenBucket } from './token-bucket.js';

/** The APIs that are limited each for itself; single calls and batches are the same one. */
export type MessageApi = 'put' | 'get' | 'update' | 'delete';

/** What is asked of one bucket. */
interface Demand {
  readonly bucket: TokenBucket;
  readonly limit: 'requests' | 'bytes_in' | 'bytes_out';
  /** Null: the queue's own limit; else the share of this channel. */
  readonly channelId: string | null;
  readonly cost: number;
  /** What the configuration allows the queue on all pods. */
  readonly ofQueue: number;
  /** What this pod may take of it. */
  readonly perSecond: number;
}

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
 * Requests and bytes per second of a queue, and the share of them that one channel may use
 * (`channelConsumptionLimit`). Each pod enforces its part, the limit divided by the number of pods that live: nothing is
 * asked of the database. What is over a limit is refused with TooManyRequests and the time after which it is not.
 *
 * A get is known by its channel only where it names it, so gets without a filter count for the queue alone; and its
 * bytes are known only when they are given, so they are counted then, and gets are refused until they are paid back.
 */
@Injectable()
export class RateLimits {
  private readonly queues = new Map<number, QueueBuckets>();
  private remembered = 0;

  constructor(
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
    private readonly pods: LivePods,
    private readonly refusals: Refusals,
  ) {}

  /** Queues and channels that are remembered at the moment. */
  get size(): number {
    return this.remembered;
  }

  /** Throws TooManyRequests. Where the messages are of several channels, each must have room. */
  put(queue: Queue, messages: readonly MessageToPut[]): void {
    if (!this.isLimited) return;
    const buckets = this.bucketsOf(queue);
    const demands: Demand[] = [];
    this.demandRequest(demands, buckets.put, null, 100);
    this.demandBytes(demands, 'bytes_in', buckets.in, null, 100, bytesOf(messages, null));
    if (queue.channelConsumptionLimit < 100) {
      for (const [index, { channelId }] of messages.entries()) {
        // The queue itself is no channel. 20 messages at most, so looking back costs less than a set.
        if (channelId === '' || messages.findIndex((message) => message.channelId === channelId) < index) continue;
        const ofChannel = this.channelOf(buckets, channelId);
        this.demandRequest(demands, ofChannel.put, channelId, buckets.percent);
        this.demandBytes(demands, 'bytes_in', ofChannel.in, channelId, buckets.percent, bytesOf(messages, channelId));
      }
    }
    this.take(queue, 'put', demands);
  }

  /** Throws TooManyRequests. `channelId` null: the get names none. */
  get(queue: Queue, channelId: string | null): void {
    if (!this.isLimited) return;
    const buckets = this.bucketsOf(queue);
    const demands: Demand[] = [];
    this.demandRequest(demands, buckets.get, null, 100);
    this.demandBytes(demands, 'bytes_out', buckets.out, null, 100, 0);
    if (isShared(queue, channelId)) {
      const ofChannel = this.channelOf(buckets, channelId);
      this.demandRequest(demands, ofChannel.get, channelId, buckets.percent);
      this.demandBytes(demands, 'bytes_out', ofChannel.out, channelId, buckets.percent, 0);
    }
    this.take(queue, 'get', demands);
  }

  /** Counts what a get has given; `channelId` as it was for `get`. */
  given(queue: Queue, channelId: string | null, messages: readonly GivenMessage[]): void {
    if (this.configuration.maxQueueBytesPerSecond === null || messages.length === 0) return;
    const bytes = messages.reduce((sum, message) => sum + sizeOf(message), 0);
    const now = performance.now();
    const buckets = this.bucketsOf(queue);
    const demands: Demand[] = [];
    this.demandBytes(demands, 'bytes_out', buckets.out, null, 100, bytes);
    if (isShared(queue, channelId)) {
      this.demandBytes(demands, 'bytes_out', this.channelOf(buckets, channelId).out, channelId, buckets.percent, bytes);
    }
    for (const { bucket, perSecond } of demands) bucket.take(bytes, perSecond, burstOf(perSecond), now);
  }

  /** Throws TooManyRequests. Of a receipt nobody knows the channel, so this is the queue's limit alone. */
  request(queue: Queue, api: 'update' | 'delete'): void {
    if (this.configuration.maxQueueRequestsPerSecond === null) return;
    const demands: Demand[] = [];
    this.demandRequest(demands, this.bucketsOf(queue)[api], null, 100);
    this.take(queue, api, demands);
  }

  private get isLimited(): boolean {
    const { maxQueueRequestsPerSecond, maxQueueBytesPerSecond } = this.configuration;
    return maxQueueRequestsPerSecond !== null || maxQueueBytesPerSecond !== null;
  }

  private demandRequest(demands: Demand[], bucket: TokenBucket, channelId: string | null, percent: number): void {
    const ofQueue = this.configuration.maxQueueRequestsPerSecond;
    if (ofQueue === null) return;
    demands.push({ bucket, limit: 'requests', channelId, cost: 1, ofQueue, perSecond: this.shareOf(ofQueue, percent) });
  }

  private demandBytes(
    demands: Demand[],
    limit: 'bytes_in' | 'bytes_out',
    bucket: TokenBucket,
    channelId: string | null,
    percent: number,
    cost: number,
  ): void {
    const ofQueue = this.configuration.maxQueueBytesPerSecond;
    if (ofQueue === null) return;
    demands.push({ bucket, limit, channelId, cost, ofQueue, perSecond: this.shareOf(ofQueue, percent) });
  }

  private shareOf(limit: number, percent: number): number {
    return (limit * percent) / 100 / this.pods.count;
  }

  /** All or none. */
  private take(queue: Queue, api: MessageApi, demands: readonly Demand[]): void {
    const now = performance.now();
    let refusing: Demand | null = null;
    let longest = 0;
    for (const demand of demands) {
      const ms = demand.bucket.msUntil(demand.cost, demand.perSecond, burstOf(demand.perSecond), now);
      if (ms > longest) {
        longest = ms;
        refusing = demand;
      }
    }
    if (refusing !== null) {
      this.refusals.count(refusing.limit, refusing.channelId === null ? 'queue' : 'channel');
      const retryAfterSeconds = Math.ceil(longest / 1000);
      throw new ServiceError('TooManyRequests', this.explain(queue, api, refusing, retryAfterSeconds), {
        retryAfterSeconds,
      });
    }
    for (const { bucket, cost, perSecond } of demands) bucket.take(cost, perSecond, burstOf(perSecond), now);
  }

  private explain(queue: Queue, api: MessageApi, demand: Demand, seconds: number): string {
    const { limit, channelId, cost, ofQueue } = demand;
    const what = `${limit === 'requests' ? `${api} requests` : limit === 'bytes_in' ? 'bytes in' : 'bytes out'} per second`;
    const percent = queue.channelConsumptionLimit;
    const allowed =
      channelId === null
        ? `the queue may have ${ofQueue} ${what}`
        : `channel ${channelId} may have ${(ofQueue * percent) / 100} ${what}, ${percent} % (channelConsumptionLimit) of the queue's ${ofQueue}`;
    const pods = this.pods.count;
    const ofPod = pods === 1 ? '' : `, and ${rounded(demand.perSecond)} by each of ${pods} pods`;
    const asked = limit === 'bytes_in' ? `; this request has ${cost} bytes` : '';
    return `${allowed}${ofPod}${asked}: try again in ${seconds} ${seconds === 1 ? 'second' : 'seconds'}`;
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
    const isFull = (bucket: TokenBucket, limit: number | null): boolean => {
      if (limit === null) return true;
      const perSecond = this.shareOf(limit, percent);
      return bucket.isFull(perSecond, burstOf(perSecond), now);
    };
    return (
      isFull(buckets.put, requests) &&
      isFull(buckets.get, requests) &&
      isFull(buckets.update, requests) &&
      isFull(buckets.delete, requests) &&
      isFull(buckets.in, bytes) &&
      isFull(buckets.out, bytes)
    );
  }
}

/** As much as comes in a second, so that the requests of one second may come all at once; and one request in any case. */
function burstOf(perSecond: number): number {
  return Math.max(1, perSecond);
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

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
