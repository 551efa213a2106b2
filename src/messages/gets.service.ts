import { Inject, Injectable } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import { MessageFunctions, type DeliveredMessage, type MessageRange } from '../database/message-functions.js';
import { SealedMessages } from '../encryption/sealed-messages.js';
import type { Caller } from '../identity/caller.js';
import { RateLimits } from '../limits/rate-limits.js';
import type { Hold } from '../memory/memory-budget.js';
import { jsonContentOf } from './content-encoding.js';
import type { Confirmed } from './durability.js';
import { InFlightGate } from './in-flight-gate.js';
import { isoTimes } from './iso-times.js';
import type { GetMessagesQuery, Message } from './message.schemas.js';
import { MergedMessages } from './merging/merged-messages.js';
import { TooManyWaiting } from './merging/request-merger.js';
import { MessageRanges } from './message-ranges.js';
import { maxMessageBytesOf } from './message-size.js';
import { Receipts } from './receipts.js';
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

/** A message that was delivered. Who holds it on this pod needs no receipt: `id` and `receiptNumber` are what one stands for. */
export type Delivery = DeliveredMessage;

export interface Delivered extends Confirmed<readonly Delivery[]> {
  readonly range: MessageRange;
}

/** Gets, of REST and of STOMP. */
@Injectable()
export class GetsService {
  constructor(
    private readonly functions: MessageFunctions,
    private readonly ranges: MessageRanges,
    private readonly receipts: Receipts,
    private readonly merged: MergedMessages,
    private readonly gate: InFlightGate,
    private readonly rates: RateLimits,
    private readonly rooms: WaitingRooms,
    private readonly wakeUps: WakeUps,
    private readonly sealed: SealedMessages,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
  ) {}

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
  ): Promise<Confirmed<{ messages: Message[] }>> {
    const delivered = await this.deliver(caller, reference, query, signal, hold, MAX_RESPONSE_BYTES);
    const { outcome, range, durability } = delivered;
    const isoTime = isoTimes();
    const messages = outcome.map((message) => toMessage(message, this.receipts.issue(range, message), isoTime));
    return { outcome: { messages }, durability };
  }

  /** As `get`, with the contents as bytes. `atMostBytes` of content come at a time, or one message. */
  async deliver(
    caller: Caller,
    reference: string,
    query: GetMessagesQuery,
    signal: AbortSignal,
    hold: Hold,
    atMostBytes: number,
  ): Promise<Delivered> {
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
      maxBytes: Math.min(atMostBytes, limit * maxMessageBytesOf(queue, this.configuration.maxMessageBytes)),
      signal,
      hold,
      acceptUnsealed: queue.acceptUnsealed,
    };
    const timeoutMs = (query.timeoutInSeconds ?? queue.timeoutInSeconds) * 1000;
    const messages = await this.claimOrWait(request, timeoutMs, signal);
    this.rates.given(queue, channelId, messages);
    return { outcome: messages, range, durability: queue.durability };
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
}

function toMessage(delivery: Delivery, receipt: string, isoTime: (time: Date) => string): Message {
  const { channelId, properties } = delivery;
  const message: Message = {
    id: delivery.id,
    ...jsonContentOf(delivery.content),
    receipt,
    deliveryCount: delivery.deliveryCount,
    visibleAfter: isoTime(delivery.visibleAfter),
    expireAfter: isoTime(delivery.expireAfter),
    createdAt: isoTime(delivery.createdAt),
  };
  if (channelId === '' && properties === null) return message;
  const metadata = {
    ...(channelId === '' ? {} : { channelId }),
    ...(properties === null ? {} : { customProperties: properties }),
  };
  return { ...message, metadata };
}

function rangeKeyOf({ queueId, consumerGroupId, deadLetter }: MessageRange): MessageRange {
  return { queueId, consumerGroupId, deadLetter };
}
