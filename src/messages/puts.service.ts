import { Inject, Injectable } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import { PutFunctions, type MessageToPut, type PutMessage } from '../database/put-functions.js';
import type { Queue } from '../database/queue-functions.js';
import { SealedMessages } from '../encryption/sealed-messages.js';
import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import { RateLimits } from '../limits/rate-limits.js';
import { StorageLimit } from '../limits/storage-limit.js';
import { checkedRetryToken } from '../rest/conditions.js';
import { QueueDirectory } from '../queues/queue-directory.js';
import { contentOf } from './content-encoding.js';
import type { Confirmed } from './durability.js';
import { isoTimes } from './iso-times.js';
import type { PutMessages, PutMessagesDetails } from './message.schemas.js';
import { MergedMessages } from './merging/merged-messages.js';
import { maxMessageBytesOf } from './message-size.js';
import { digestOf } from './request-digest.js';
import { WakeUps } from './waiting/wake-ups.js';

/** A message to be put, as REST has it, or with its content as bytes. */
export type MessageDetails = Omit<PutMessagesDetails['messages'][number], 'content'> & {
  readonly content: string | Buffer;
};

/** Messages that were checked and may be stored in this queue. */
export interface PreparedPut {
  readonly queue: Queue;
  readonly messages: readonly MessageToPut[];
}

/** Puts, of REST and of STOMP. */
@Injectable()
export class PutsService {
  private repeated = 0;

  constructor(
    private readonly functions: PutFunctions,
    private readonly directory: QueueDirectory,
    private readonly merged: MergedMessages,
    private readonly rates: RateLimits,
    private readonly storage: StorageLimit,
    private readonly wakeUps: WakeUps,
    private readonly sealed: SealedMessages,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
  ) {}

  /** How many messages were not stored, because they were repeats. */
  get repeatedMessages(): number {
    return this.repeated;
  }

  /**
   * Stores messages, all or none. What is a repeat, by its deduplicationId or the request's token, is answered as the
   * first one was. Throws LimitExceeded, PayloadTooLarge, InvalidParameter, NotAuthorizedOrNotFound, IncorrectState,
   * InvalidatedRetryToken, TooManyRequests.
   */
  async put(
    caller: Caller,
    reference: string,
    details: PutMessagesDetails,
    retryToken?: string,
  ): Promise<Confirmed<PutMessages>> {
    const token = checkedRetryToken(retryToken);
    const { queue, messages } = await this.prepare(caller, reference, details.messages);
    const total = messages.reduce((sum, { sizeInBytes }) => sum + sizeInBytes, 0);
    if (total > this.configuration.maxRequestBytes) {
      throw new ServiceError(
        'PayloadTooLarge',
        `messages have ${total} bytes together, and ${this.configuration.maxRequestBytes} are allowed: put fewer at a time`,
      );
    }
    const stored = await this.putPrepared(queue, messages, token);
    const isoTime = isoTimes();
    const answers = stored.map(({ id, expireAfter }) => ({
      id,
      ...(expireAfter === null ? {} : { expireAfter: isoTime(expireAfter) }),
    }));
    return { outcome: { messages: answers }, durability: queue.durability };
  }

  /**
   * The first half of a put: finds the queue, if the caller may put there, and checks each message for itself. What was
   * prepared for one queue may be stored together. Throws LimitExceeded, InvalidParameter, NotAuthorizedOrNotFound.
   */
  async prepare(caller: Caller, reference: string, messages: readonly MessageDetails[]): Promise<PreparedPut> {
    const queue = await this.directory.findQueue(caller, reference);
    return { queue, messages: messages.map((message, index) => this.toPut(queue, message, index)) };
  }

  /** The second half: stores what was prepared for this queue, by one caller or several, all or none, as one request. */
  async putPrepared(
    queue: Queue,
    messages: readonly MessageToPut[],
    retryToken: string | null,
  ): Promise<readonly PutMessage[]> {
    this.rates.put(queue, messages);
    const stored = await this.storeWithin(queue, messages, retryToken);
    for (const [index, { consumerGroupIds }] of stored.entries()) {
      const { channelId = '', delayInSeconds = 0 } = messages[index] ?? {};
      for (const consumerGroupId of consumerGroupIds) {
        const range = { queueId: queue.queueId, consumerGroupId, deadLetter: false };
        this.wakeUps.hint({ ...range, channelId, inMs: delayInSeconds * 1000 });
      }
    }
    return stored;
  }

  /** Where there is no room a repeat is answered all the same: it asks what became of a put that was stored. */
  private async storeWithin(
    queue: Queue,
    messages: readonly MessageToPut[],
    retryToken: string | null,
  ): Promise<PutMessage[]> {
    try {
      return await this.storage.put(queue, messages, () => this.store(queue, messages, retryToken));
    } catch (error) {
      if (!(error instanceof ServiceError) || error.code !== 'LimitExceeded' || !mayRepeat(messages, retryToken)) {
        throw error;
      }
      const token = { retryToken, requestDigest: digestOf(messages) };
      const repeats = await this.functions.findRepeats(queue.queueId, messages, token);
      if (repeats === null) throw error;
      this.repeated += repeats.length;
      return repeats;
    }
  }

  /** A put that names nothing to be remembered pays for no memory. */
  private async store(
    queue: Queue,
    messages: readonly MessageToPut[],
    retryToken: string | null,
  ): Promise<PutMessage[]> {
    const { maxChannels } = this.configuration;
    const { queueId, durability } = queue;
    const hasGroups = queue.capabilities.some(({ type }) => type === 'CONSUMER_GROUPS');
    if (!mayRepeat(messages, retryToken)) return this.merged.put(queue, messages, hasGroups);
    const token = { retryToken, requestDigest: digestOf(messages) };
    const answers = await this.sealed.seal(queue, messages, hasGroups, (seal) =>
      this.functions.putOnce(queueId, messages, maxChannels, token, seal, durability),
    );
    this.repeated += answers.filter(({ isRepeat }) => isRepeat).length;
    return answers;
  }

  private toPut(queue: Queue, message: MessageDetails, index: number): MessageToPut {
    const content = contentOf(message, index);
    const properties = message.metadata?.customProperties ?? null;
    let sizeInBytes = content.length;
    for (const [key, value] of Object.entries(properties ?? {})) {
      sizeInBytes += Buffer.byteLength(key) + Buffer.byteLength(value);
    }
    const limit = maxMessageBytesOf(queue, this.configuration.maxMessageBytes);
    if (sizeInBytes > limit) {
      throw new ServiceError(
        'LimitExceeded',
        `messages.${index} has ${sizeInBytes} bytes of content and properties, and the queue takes ${limit}`,
      );
    }
    return {
      content,
      properties,
      sizeInBytes,
      channelId: message.metadata?.channelId ?? '',
      delayInSeconds: message.delayInSeconds ?? 0,
      deduplicationId: message.deduplicationId ?? null,
    };
  }
}

function mayRepeat(messages: readonly MessageToPut[], retryToken: string | null): boolean {
  return retryToken !== null || messages.some(({ deduplicationId }) => deduplicationId !== null);
}
