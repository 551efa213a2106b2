import { Inject, Injectable } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import {
  MessageFunctions,
  type DeliveredMessage,
  type MessageRange,
  type MessageToPut,
  type PutMessage,
} from '../database/message-functions.js';
import type { Queue } from '../database/queue-functions.js';
import { SealedMessages } from '../encryption/sealed-messages.js';
import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import { RateLimits } from '../limits/rate-limits.js';
import { StorageLimit } from '../limits/storage-limit.js';
import { checkedRetryToken } from '../rest/conditions.js';
import { QueueDirectory } from '../queues/queue-directory.js';
import type { Hold } from '../memory/memory-budget.js';
import { InFlightGate } from './in-flight-gate.js';
import type { GetMessagesQuery, Message, PutMessages, PutMessagesDetails } from './message.schemas.js';
import { MergedMessages } from './merging/merged-messages.js';
import { TooManyWaiting } from './merging/request-merger.js';
import { MessageRanges } from './message-ranges.js';
import { maxMessageBytesOf } from './message-size.js';
import { Receipts } from './receipts.js';
import { digestOf } from './request-digest.js';
import { WaitingRooms, type ClaimRequest } from './waiting/waiting-rooms.js';
import { WakeUps } from './waiting/wake-ups.js';

/** The messages of one answer together (contract 4.7). */
const MAX_RESPONSE_BYTES = 2 * 1024 * 1024;
/** JSON writes a control character, one byte, as \u0001. */
const JSON_PER_CONTENT_BYTE = 6;
/** What a get claims at most while memory is short; one message in any case. Enough for a batch of common messages. */
const SHORT_RESPONSE_BYTES = 262_144;

/** How often a get claims again where nothing of what it has claimed can be opened. */
const MAX_CLAIMS = 3;

/** Puts and gets. What REST and STOMP do with messages, they do here. */
@Injectable()
export class MessagesService {
  private repeated = 0;

  constructor(
    private readonly functions: MessageFunctions,
    private readonly directory: QueueDirectory,
    private readonly ranges: MessageRanges,
    private readonly receipts: Receipts,
    private readonly merged: MergedMessages,
    private readonly gate: InFlightGate,
    private readonly rates: RateLimits,
    private readonly storage: StorageLimit,
    private readonly rooms: WaitingRooms,
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
  async put(caller: Caller, reference: string, details: PutMessagesDetails, retryToken?: string): Promise<PutMessages> {
    const token = checkedRetryToken(retryToken);
    const queue = await this.directory.findQueue(caller, reference);
    const messages = details.messages.map((message, index) => this.toPut(queue, message, index));
    const total = messages.reduce((sum, { sizeInBytes }) => sum + sizeInBytes, 0);
    if (total > this.configuration.maxRequestBytes) {
      throw new ServiceError(
        'PayloadTooLarge',
        `messages have ${total} bytes together, and ${this.configuration.maxRequestBytes} are allowed: put fewer at a time`,
      );
    }
    this.rates.put(queue, messages);
    const stored = await this.storeWithin(queue, messages, token);
    for (const [index, { consumerGroupIds }] of stored.entries()) {
      const { channelId = '', delayInSeconds = 0 } = messages[index] ?? {};
      for (const consumerGroupId of consumerGroupIds) {
        const range = { queueId: queue.queueId, consumerGroupId, deadLetter: false };
        this.wakeUps.hint({ ...range, channelId, inMs: delayInSeconds * 1000 });
      }
    }
    return {
      messages: stored.map(({ id, expireAfter }) => ({
        id,
        ...(expireAfter === null ? {} : { expireAfter: expireAfter.toISOString() }),
      })),
    };
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
    const { queueId } = queue;
    const hasGroups = queue.capabilities.some(({ type }) => type === 'CONSUMER_GROUPS');
    if (!mayRepeat(messages, retryToken)) return this.merged.put(queue, messages, hasGroups);
    const token = { retryToken, requestDigest: digestOf(messages) };
    const answers = await this.sealed.seal(queue, messages, hasGroups, (seal) =>
      this.functions.putOnce(queueId, messages, maxChannels, token, seal),
    );
    this.repeated += answers.filter(({ isRepeat }) => isRepeat).length;
    return answers;
  }

  /**
   * Delivers messages, waiting while there are none. `signal` says that the client went away: what was claimed for it
   * by then goes to somebody else. Memory for the answer is taken on `hold` before the claim, never while waiting for
   * messages; its owner releases it. Throws TooManyRequests, IncorrectState, NotAuthorizedOrNotFound.
   */
  async get(
    caller: Caller,
    reference: string,
    query: GetMessagesQuery,
    signal: AbortSignal,
    hold: Hold,
  ): Promise<Message[]> {
    const { queue, range } = await this.ranges.find(caller, reference, query.consumerGroupId);
    const channelId = query.channelFilter ?? null;
    this.sealed.checkMasterKey(queue);
    this.rates.get(queue, channelId);
    const limit = query.limit ?? 1;
    const request: ClaimRequest = {
      ...range,
      channelId,
      limit,
      visibilityInSeconds: query.visibilityInSeconds ?? null,
      deliveredTo: caller.userId,
      maxBytes: Math.min(MAX_RESPONSE_BYTES, limit * maxMessageBytesOf(queue, this.configuration.maxMessageBytes)),
      signal,
      hold,
      acceptUnsealed: queue.acceptUnsealed,
    };
    const timeoutMs = (query.timeoutInSeconds ?? queue.timeoutInSeconds) * 1000;
    const messages = await this.claimOrWait(request, timeoutMs, signal);
    this.rates.given(queue, channelId, messages);
    return messages.map((message) => this.toMessage(range, message));
  }

  private async claimOrWait(
    request: ClaimRequest,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<DeliveredMessage[]> {
    const giveBack = (messages: readonly DeliveredMessage[]): Promise<void> => this.giveBack(request, messages);
    // Whoever waits already comes first; a get that does not wait takes what it finds.
    if (timeoutMs === 0 || !this.rooms.hasWaiters(request)) {
      const messages = await this.claim(request, false);
      if (messages !== null && !signal.aborted) return messages;
      if (messages !== null) await giveBack(messages);
      if (timeoutMs === 0 || signal.aborted) return [];
    }
    return this.rooms.wait(request, timeoutMs, signal, (each) => this.claim(each, true), giveBack);
  }

  /**
   * Null: nothing can be had now. Where memory is short a get that has just come waits for it here, and fails with
   * ServiceUnavailable in the end; for one that is parked the room looks again later, so that it is in time. So it does
   * where too many gets wait for the database, which a new one is told.
   */
  private async claim(request: ClaimRequest, isParked: boolean): Promise<DeliveredMessage[] | null> {
    if (!this.gate.isOpen(request)) return null;
    const { hold, ...range } = request;
    const least = Math.min(request.maxBytes, SHORT_RESPONSE_BYTES) * JSON_PER_CONTENT_BYTE;
    if (hold.takeUpTo(request.maxBytes * JSON_PER_CONTENT_BYTE, least) === 0) {
      if (isParked) return null;
      await hold.take('claim', least);
    }
    const maxBytes = Math.floor(hold.bytes / JSON_PER_CONTENT_BYTE);
    for (let claims = 1; ; claims += 1) {
      const messages = await this.merged.get({ ...range, maxBytes }).catch((error: unknown) => {
        if (isParked && error instanceof TooManyWaiting) return [];
        throw error;
      });
      const [first] = messages;
      if (first === undefined) {
        hold.release();
        return null;
      }
      this.gate.delivered(request, messages.length);
      // Others who wait must know when these may be visible again.
      if (request.visibilityInSeconds !== 0) {
        this.wakeUps.hint({
          ...rangeKeyOf(request),
          channelId: first.channelId,
          inMs: first.hiddenForMs,
        });
      }
      const opened = await this.opened(request, messages);
      if (opened.length > 0) return opened;
      if (claims === MAX_CLAIMS) {
        hold.release();
        return null;
      }
    }
  }

  /**
   * What was claimed, in the clear. What cannot be opened stays claimed: it is delivered to nobody, comes again after
   * its timeout, and is a dead letter in the end. Where it is the master key that is not there, all go back.
   */
  private async opened(request: ClaimRequest, messages: readonly DeliveredMessage[]): Promise<DeliveredMessage[]> {
    try {
      return (await this.sealed.open(request, messages)).filter((message) => message !== null);
    } catch (error) {
      await this.giveBack(request, messages);
      throw error;
    }
  }

  private async giveBack(request: ClaimRequest, messages: readonly DeliveredMessage[]): Promise<void> {
    await this.functions.release(request, messages);
    const channelId = messages[0]?.channelId ?? null;
    this.wakeUps.hint({ ...rangeKeyOf(request), channelId, inMs: 0 });
  }

  private toPut(queue: Queue, message: PutMessagesDetails['messages'][number], index: number): MessageToPut {
    const content = Buffer.from(message.content);
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

  private toMessage(range: MessageRange, message: DeliveredMessage): Message {
    const metadata = {
      ...(message.channelId === '' ? {} : { channelId: message.channelId }),
      ...(message.properties === null ? {} : { customProperties: message.properties }),
    };
    return {
      id: message.id,
      content: message.content.toString(),
      receipt: this.receipts.issue(range, message),
      deliveryCount: message.deliveryCount,
      visibleAfter: message.visibleAfter.toISOString(),
      expireAfter: message.expireAfter.toISOString(),
      createdAt: message.createdAt.toISOString(),
      ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
    };
  }
}

function rangeKeyOf({ queueId, consumerGroupId, deadLetter }: MessageRange): MessageRange {
  return { queueId, consumerGroupId, deadLetter };
}

function mayRepeat(messages: readonly MessageToPut[], retryToken: string | null): boolean {
  return retryToken !== null || messages.some(({ deduplicationId }) => deduplicationId !== null);
}
