import { Inject, Injectable } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import { LimitFunctions } from '../database/limit-functions.js';
import type { MessageToPut, PutMessage } from '../database/put-functions.js';
import type { Queue } from '../database/queue-functions.js';
import { ServiceError } from '../errors/service-error.js';
import { KnownStorage } from './known-storage.js';
import type { QueueStorage } from './queue-storage.js';
import { Refusals, type LimitScope } from './refusals.js';

/** Channels are read from this part of their share on: there are few such, however many channels the queue has. */
const WATCHED_PART = 10;

/**
 * How much a queue may store (`TOWPATH_MAX_QUEUE_BYTES`), one channel of it (`channelConsumptionLimit`), and all queues
 * of a tenancy together (`TOWPATH_MAX_TENANCY_BYTES`). By an estimate, like the in-flight limit: what the statistics say
 * is read about once a second while there are puts, and what this pod has put since is added. A put is refused with
 * LimitExceeded only on what was read within the last second, so that room that was made is found.
 */
@Injectable()
export class StorageLimit {
  private readonly queues: KnownStorage<number>;
  private readonly tenancies: KnownStorage<string>;

  constructor(
    functions: LimitFunctions,
    private readonly refusals: Refusals,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
  ) {
    this.queues = new KnownStorage((queueId, channelsFrom) => functions.storedBytes(queueId, channelsFrom));
    this.tenancies = new KnownStorage((tenancyId) => functions.storedBytesOfTenancy(tenancyId));
  }

  /** Queues, channels and tenancies whose storage is remembered at the moment. */
  get size(): number {
    return this.queues.size + this.tenancies.size;
  }

  /** Runs `store`, where there is room for what it stores. Throws LimitExceeded, and what `store` throws. */
  async put(
    queue: Queue,
    messages: readonly MessageToPut[],
    store: () => Promise<PutMessage[]>,
  ): Promise<PutMessage[]> {
    const { maxQueueBytes, maxTenancyBytes } = this.configuration;
    if (maxQueueBytes === null && maxTenancyBytes === null) return store();
    const ofTenancy =
      maxTenancyBytes === null
        ? null
        : await this.tenancies.get(
            queue.tenancyId,
            null,
            (storage) => refusalOfTenancy(storage, maxTenancyBytes, messages) !== null,
          );
    const ofQueue =
      maxQueueBytes === null
        ? null
        : await this.queues.get(
            queue.queueId,
            channelsFromOf(queue, maxQueueBytes),
            (storage) => refusalOf(queue, storage, maxQueueBytes, messages) !== null,
          );
    // From here to beginPut nothing is awaited, so two puts cannot take the same room.
    const refusal =
      (ofQueue === null || maxQueueBytes === null ? null : refusalOf(queue, ofQueue, maxQueueBytes, messages)) ??
      (ofTenancy === null || maxTenancyBytes === null ? null : refusalOfTenancy(ofTenancy, maxTenancyBytes, messages));
    if (refusal !== null) {
      this.refusals.count('storage', refusal.scope);
      throw new ServiceError('LimitExceeded', refusal.message);
    }
    ofQueue?.beginPut(messages);
    ofTenancy?.beginPut(messages);
    let stored: PutMessage[] | null = null;
    try {
      stored = await store();
      return stored;
    } finally {
      ofQueue?.endPut(messages, stored);
      ofTenancy?.endPut(messages, stored);
    }
  }
}

interface Refusal {
  readonly scope: LimitScope;
  readonly message: string;
}

function shareOf(queue: Queue, limit: number): number {
  return Math.floor((limit * queue.channelConsumptionLimit) / 100);
}

/** From how many bytes on channels are to be read; null: they have no share. */
function channelsFromOf(queue: Queue, limit: number): number | null {
  if (queue.channelConsumptionLimit >= 100) return null;
  return Math.max(1, Math.floor(shareOf(queue, limit) / WATCHED_PART));
}

function refusalOfTenancy(storage: QueueStorage, limit: number, messages: readonly MessageToPut[]): Refusal | null {
  const bytes = bytesFrom(messages, 0, null);
  if (storage.total + bytes <= limit) return null;
  return {
    scope: 'tenancy',
    message: `the tenancy stores about ${storage.total} bytes in all its queues, with their consumer groups and dead letters, and may store ${limit}; these messages have ${bytes}: delete or purge messages, or wait until some expire`,
  };
}

function refusalOf(
  queue: Queue,
  storage: QueueStorage,
  limit: number,
  messages: readonly MessageToPut[],
): Refusal | null {
  const bytes = bytesFrom(messages, 0, null);
  if (storage.total + bytes > limit) {
    return {
      scope: 'queue',
      message: `the queue stores about ${storage.total} bytes with its consumer groups and dead letters, and may store ${limit}; these messages have ${bytes}: delete or purge messages, or wait until some expire`,
    };
  }
  if (queue.channelConsumptionLimit >= 100) return null;
  const share = shareOf(queue, limit);
  for (const [index, { channelId }] of messages.entries()) {
    // The queue itself is no channel. A channel's first message stands for all of them: what is counted from a later one
    // on is less.
    if (channelId === '') continue;
    const stored = storage.ofChannel(channelId);
    const ofChannel = bytesFrom(messages, index, channelId);
    if (stored + ofChannel > share) {
      return {
        scope: 'channel',
        message: `channel ${channelId} stores about ${stored} bytes with its consumer groups and dead letters, and may store ${share}, ${queue.channelConsumptionLimit} % (channelConsumptionLimit) of the queue's ${limit}; these messages have ${ofChannel}: delete or purge messages of the channel, or wait until some expire`,
      };
    }
  }
  return null;
}

/** Of the messages from `start` on that are in the channel; null: in any. */
function bytesFrom(messages: readonly MessageToPut[], start: number, channelId: string | null): number {
  let bytes = 0;
  for (let index = start; index < messages.length; index += 1) {
    const message = messages[index];
    if (message !== undefined && (channelId === null || message.channelId === channelId)) bytes += message.sizeInBytes;
  }
  return bytes;
}
