import { Inject, Injectable } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import { LimitFunctions } from '../database/limit-functions.js';
import type { MessageToPut, PutMessage } from '../database/message-functions.js';
import type { Queue } from '../database/queue-functions.js';
import { ServiceError } from '../errors/service-error.js';
import { QueueStorage } from './queue-storage.js';
import { Refusals } from './refusals.js';

/** What was read is used for so long; then a put has it read again, beside itself. */
const READ_EVERY_MS = 1000;
/** Where a read takes long (many channels and groups), it is done so seldom that it takes a twentieth of the time. */
const PAUSE_PER_READ_TIME = 20;
/** What is older than this is not put to use: the put waits for the read. */
const TOO_OLD_MS = 5000;
/** Channels are read from this part of their share on: there are few such, however many channels the queue has. */
const WATCHED_PART = 10;
const MAX_QUEUES = 10_000;

/**
 * How much a queue may store (`TOWPATH_MAX_QUEUE_BYTES`), and one channel of it (`channelConsumptionLimit`). By an
 * estimate, like the in-flight limit: what the statistics say is read about once a second while there are puts, and
 * what this pod has put since is added. A put is refused with LimitExceeded only on what was read within the last second,
 * so that room that was made is found.
 */
@Injectable()
export class StorageLimit {
  private readonly queues = new Map<number, QueueStorage>();

  constructor(
    private readonly functions: LimitFunctions,
    private readonly refusals: Refusals,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
  ) {}

  /** Queues and channels whose storage is remembered at the moment. */
  get size(): number {
    let size = this.queues.size;
    for (const storage of this.queues.values()) size += storage.channels;
    return size;
  }

  /** Runs `store`, where there is room for what it stores. Throws LimitExceeded, and what `store` throws. */
  async put(
    queue: Queue,
    messages: readonly MessageToPut[],
    store: () => Promise<PutMessage[]>,
  ): Promise<PutMessage[]> {
    const limit = this.configuration.maxQueueBytes;
    if (limit === null) return store();
    const storage = this.storageOf(queue.queueId);
    await this.makeKnown(queue, storage, limit, messages);
    // From here to beginPut nothing is awaited, so two puts cannot take the same room.
    const refusal = refusalOf(queue, storage, limit, messages);
    if (refusal !== null) {
      this.refusals.count('storage', refusal.scope);
      throw new ServiceError('LimitExceeded', refusal.message);
    }
    storage.beginPut(messages);
    let stored: PutMessage[] | null = null;
    try {
      stored = await store();
      return stored;
    } finally {
      storage.endPut(messages, stored);
    }
  }

  /** Has the storage read again where it is time, and waits for that where a decision needs it. */
  private async makeKnown(
    queue: Queue,
    storage: QueueStorage,
    limit: number,
    messages: readonly MessageToPut[],
  ): Promise<void> {
    const channelsFrom =
      queue.channelConsumptionLimit < 100 ? Math.max(1, Math.floor(shareOf(queue, limit) / WATCHED_PART)) : null;
    const age = performance.now() - storage.readAt;
    if (age > TOO_OLD_MS || storage.channelsFrom !== channelsFrom) {
      await this.read(queue.queueId, storage, channelsFrom);
    } else if (age > Math.max(READ_EVERY_MS, storage.readMs * PAUSE_PER_READ_TIME)) {
      const reading = this.read(queue.queueId, storage, channelsFrom);
      if (refusalOf(queue, storage, limit, messages) === null) reading.catch(() => undefined);
      else await reading;
    }
  }

  /** One read of a queue at a time; whoever needs one meanwhile shares it. */
  private read(queueId: number, storage: QueueStorage, channelsFrom: number | null): Promise<void> {
    storage.reading ??= this.readNow(queueId, storage, channelsFrom).finally(() => {
      storage.reading = null;
    });
    return storage.reading;
  }

  private async readNow(queueId: number, storage: QueueStorage, channelsFrom: number | null): Promise<void> {
    const start = performance.now();
    storage.beginRead();
    try {
      storage.endRead(await this.functions.storedBytes(queueId, channelsFrom), channelsFrom);
      storage.readAt = start;
      storage.readMs = performance.now() - start;
    } catch (error) {
      storage.failRead();
      throw error;
    }
  }

  private storageOf(queueId: number): QueueStorage {
    let storage = this.queues.get(queueId);
    if (storage === undefined) {
      // Whoever comes back is read anew.
      if (this.queues.size >= MAX_QUEUES) this.queues.clear();
      storage = new QueueStorage();
      this.queues.set(queueId, storage);
    }
    return storage;
  }
}

interface Refusal {
  readonly scope: 'queue' | 'channel';
  readonly message: string;
}

function shareOf(queue: Queue, limit: number): number {
  return Math.floor((limit * queue.channelConsumptionLimit) / 100);
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
