import { Inject, Injectable } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import {
  MessageFunctions,
  type DeliveredMessage,
  type GetRequest,
  type MessageRange,
  type MessageToPut,
} from '../database/message-functions.js';
import type { Queue } from '../database/queue-functions.js';
import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import { QueueDirectory } from '../queues/queue-directory.js';
import { ChannelTurns } from './channel-turns.js';
import { InFlightGate } from './in-flight-gate.js';
import type { GetMessagesQuery, Message, PutMessages, PutMessagesDetails } from './message.schemas.js';
import { MessageRanges } from './message-ranges.js';
import { maxMessageBytesOf } from './message-size.js';
import { Receipts } from './receipts.js';
import { WaitingRooms } from './waiting/waiting-rooms.js';
import { WakeUps } from './waiting/wake-ups.js';

/** The messages of one answer together (contract 4.7). */
const MAX_RESPONSE_BYTES = 2 * 1024 * 1024;

/** Puts and gets. What REST and STOMP do with messages, they do here. */
@Injectable()
export class MessagesService {
  constructor(
    private readonly functions: MessageFunctions,
    private readonly directory: QueueDirectory,
    private readonly ranges: MessageRanges,
    private readonly receipts: Receipts,
    private readonly turns: ChannelTurns,
    private readonly gate: InFlightGate,
    private readonly rooms: WaitingRooms,
    private readonly wakeUps: WakeUps,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
  ) {}

  /** Stores messages, all or none. Throws LimitExceeded, PayloadTooLarge, InvalidParameter, NotAuthorizedOrNotFound. */
  async put(caller: Caller, reference: string, details: PutMessagesDetails): Promise<PutMessages> {
    const queue = await this.directory.findQueue(caller, reference);
    const messages = details.messages.map((message, index) => this.toPut(queue, message, index));
    const total = messages.reduce((sum, { sizeInBytes }) => sum + sizeInBytes, 0);
    if (total > this.configuration.maxRequestBytes) {
      throw new ServiceError(
        'PayloadTooLarge',
        `messages have ${total} bytes together, and ${this.configuration.maxRequestBytes} are allowed: put fewer at a time`,
      );
    }
    const stored = await this.functions.put(queue.queueId, messages, this.configuration.maxChannels);
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

  /**
   * Delivers messages, waiting while there are none. `signal` says that the client went away: what was claimed for it
   * by then goes to somebody else.
   */
  async get(caller: Caller, reference: string, query: GetMessagesQuery, signal: AbortSignal): Promise<Message[]> {
    const { queue, range } = await this.ranges.find(caller, reference, query.consumerGroupId);
    const request: GetRequest = {
      ...range,
      channelId: query.channelFilter ?? null,
      afterChannelId: '',
      limit: query.limit ?? 1,
      visibilityInSeconds: query.visibilityInSeconds ?? null,
      deliveredTo: caller.userId,
      maxBytes: MAX_RESPONSE_BYTES,
    };
    const timeoutMs = (query.timeoutInSeconds ?? queue.timeoutInSeconds) * 1000;
    const messages = await this.claimOrWait(request, timeoutMs, signal);
    return messages.map((message) => this.toMessage(range, message));
  }

  private async claimOrWait(request: GetRequest, timeoutMs: number, signal: AbortSignal): Promise<DeliveredMessage[]> {
    const giveBack = (messages: readonly DeliveredMessage[]): Promise<void> => this.giveBack(request, messages);
    // Whoever waits already comes first; a get that does not wait takes what it finds.
    if (timeoutMs === 0 || !this.rooms.hasWaiters(request)) {
      const messages = await this.claim(request);
      if (messages !== null && !signal.aborted) return messages;
      if (messages !== null) await giveBack(messages);
      if (timeoutMs === 0 || signal.aborted) return [];
    }
    return this.rooms.wait(request, timeoutMs, signal, (each) => this.claim(each), giveBack);
  }

  private async claim(request: GetRequest): Promise<DeliveredMessage[] | null> {
    if (!this.gate.isOpen(request)) return null;
    const messages = await this.functions.get({ ...request, afterChannelId: this.turns.lastServed(request) });
    const [first] = messages;
    if (first === undefined) return null;
    if (request.channelId === null) this.turns.served(request, first.channelId);
    this.gate.delivered(request, messages.length);
    // Others who wait must know when these may be visible again.
    if (request.visibilityInSeconds !== 0) {
      this.wakeUps.hint({
        ...rangeKeyOf(request),
        channelId: first.channelId,
        inMs: first.hiddenForMs,
      });
    }
    return messages;
  }

  private async giveBack(request: GetRequest, messages: readonly DeliveredMessage[]): Promise<void> {
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
