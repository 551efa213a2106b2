import { createHash } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { readFilter } from '../consumer-groups/filter/compile-filter.js';
import { matchesFilter } from '../consumer-groups/filter/filter-match.js';
import type { Expression } from '../consumer-groups/filter/filter-syntax.js';
import type { MessageRange } from '../database/message-functions.js';
import { PeekFunctions, type PeekConditions, type SeenMessage } from '../database/peek-functions.js';
import type { Queue } from '../database/queue-functions.js';
import { SealedMessages } from '../encryption/sealed-messages.js';
import type { Caller } from '../identity/caller.js';
import { PageTokens } from '../rest/page-token.js';
import { jsonContentOf } from './content-encoding.js';
import { MessageRanges } from './message-ranges.js';
import type { PeekConditionsQuery, PeekedMessage, PeekMessagesQuery } from './peek.schemas.js';

const DEFAULT_LIMIT = 20;
/** With a filter a page looks at so many messages, with so many in memory at a time, and returns so many bytes. */
const MAX_EXAMINED = 1000;
const EXAMINED_AT_A_TIME = 100;
const MAX_BYTES = 2 * 1024 * 1024;
const UNREADABLE = 'the message cannot be opened: it was altered in the database, or is not sealed and has to be';

/** What to look at, found and compiled once, for one page or for all of them. */
export interface Peek {
  readonly queue: Queue;
  readonly range: MessageRange;
  readonly conditions: PeekConditions;
  /** Null: none. */
  readonly filter: Expression | null;
  /** As the caller named it; undefined: not at all. */
  readonly consumerGroupId: string | undefined;
}

export interface PeekPage {
  readonly messages: readonly PeekedMessage[];
  /** Where the next page begins, also after one on which nothing was; null: there is none. */
  readonly nextCursor: string | null;
}

/** Looks at messages without any effect on them. */
@Injectable()
export class PeekService {
  constructor(
    private readonly functions: PeekFunctions,
    private readonly ranges: MessageRanges,
    private readonly pages: PageTokens,
    private readonly sealed: SealedMessages,
  ) {}

  /** One page. Throws InvalidParameter (a filter, a page of another question), NotAuthorizedOrNotFound. */
  async peek(
    caller: Caller,
    reference: string,
    query: PeekMessagesQuery,
  ): Promise<{ messages: readonly PeekedMessage[]; nextPage: string | null }> {
    const peek = await this.prepare(caller, reference, query);
    const list = nameOf(reference, query);
    const position = this.pages.decode(list, query.page);
    const cursor = position === null ? null : String(position[0]);
    const { messages, nextCursor } = await this.page(peek, cursor, query.limit ?? DEFAULT_LIMIT);
    return { messages, nextPage: nextCursor === null ? null : this.pages.encode(list, [nextCursor]) };
  }

  /** Throws InvalidParameter (a filter), NotAuthorizedOrNotFound. */
  async prepare(caller: Caller, reference: string, query: PeekConditionsQuery): Promise<Peek> {
    const filter = readFilter(query.filter);
    const { queue, range } = await this.ranges.find(caller, reference, query.consumerGroupId);
    this.sealed.checkMasterKey(queue);
    return {
      queue,
      range,
      conditions: {
        channelId: query.channelFilter ?? null,
        ids: query.messageId?.split(',') ?? null,
        createdAfter: query.createdAfter === undefined ? null : new Date(query.createdAfter),
        createdBefore: query.createdBefore === undefined ? null : new Date(query.createdBefore),
      },
      filter,
      consumerGroupId: query.consumerGroupId,
    };
  }

  /**
   * The messages after the cursor, of a bounded number that is examined; so there may be none, and more to come. All
   * that looks at messages goes through here. They are opened here, and properties, which may be sealed, are evaluated
   * here: it asks without the filter and drops what does not match. Throws IncorrectState (the master key).
   */
  async page(peek: Peek, cursor: string | null, limit: number): Promise<PeekPage> {
    if (peek.filter === null) {
      const { messages, nextCursor } = await this.functions.peek(peek.range, peek.conditions, cursor, limit);
      const opened = await this.sealed.open(peek.queue, messages);
      const found = messages.map((message, index) => toPeekedMessage(peek, message, opened[index] ?? null));
      return { messages: found, nextCursor };
    }
    const found: PeekedMessage[] = [];
    let bytes = 0;
    let next = cursor;
    for (let examined = 0; examined < MAX_EXAMINED; examined += EXAMINED_AT_A_TIME) {
      const { messages, nextCursor } = await this.functions.peek(peek.range, peek.conditions, next, EXAMINED_AT_A_TIME);
      const opened = await this.sealed.open(peek.queue, messages);
      for (const [index, message] of messages.entries()) {
        const open = opened[index] ?? null;
        if (open !== null && matchesFilter(peek.filter, open.properties)) {
          if (found.length === limit || (found.length > 0 && bytes + message.sizeInBytes > MAX_BYTES)) {
            // It is the next page's first.
            return { messages: found, nextCursor: next };
          }
          bytes += message.sizeInBytes;
          found.push(toPeekedMessage(peek, message, open));
        }
        next = message.cursor;
      }
      next = nextCursor;
      if (next === null || messages.length === 0) break;
    }
    return { messages: found, nextCursor: next };
  }
}

/** A page belongs to its question, which may be long: the token has a digest of it. How many are wanted may change. */
function nameOf(reference: string, query: PeekMessagesQuery): string {
  const { channelFilter, consumerGroupId, messageId, filter, createdAfter, createdBefore } = query;
  const question = [reference, channelFilter, consumerGroupId, messageId, filter, createdAfter, createdBefore];
  return `peek ${createHash('sha256').update(JSON.stringify(question)).digest('base64url')}`;
}

/** `open` is the same message in the clear; null: it cannot be opened. */
function toPeekedMessage({ consumerGroupId }: Peek, message: SeenMessage, open: SeenMessage | null): PeekedMessage {
  const properties = open?.properties ?? null;
  const { channelId, deliveredAt, deliveredTo, deadLetteredAt, deadLetterReason } = message;
  const metadata = {
    ...(channelId === '' ? {} : { channelId }),
    ...(properties === null ? {} : { customProperties: properties }),
  };
  const deliveries = [
    ...(message.deliveryHistory ?? []),
    ...(deliveredAt === null ? [] : [{ deliveredAt, deliveredTo }]),
  ];
  return {
    id: message.id,
    ...(open === null ? { content: '', unreadable: UNREADABLE } : jsonContentOf(open.content)),
    state: message.state,
    deliveryCount: message.deliveryCount,
    visibleAfter: message.visibleAfter.toISOString(),
    expireAfter: message.expireAfter.toISOString(),
    createdAt: message.createdAt.toISOString(),
    sizeInBytes: message.sizeInBytes,
    ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
    ...(consumerGroupId === undefined ? {} : { consumerGroupId }),
    deliveries: deliveries.map((delivery) => ({
      // Those of the history have microseconds.
      deliveredAt: new Date(delivery.deliveredAt).toISOString(),
      ...(delivery.deliveredTo === null ? {} : { deliveredTo: delivery.deliveredTo }),
    })),
    ...(deadLetteredAt === null
      ? {}
      : {
          deadLetter: {
            diedAt: deadLetteredAt.toISOString(),
            ...(deadLetterReason === null ? {} : { reason: deadLetterReason }),
          },
        }),
  };
}
