import { createHash } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { compileFilter } from '../consumer-groups/filter/compile-filter.js';
import type { MessageRange } from '../database/message-functions.js';
import { PeekFunctions, type PeekConditions, type SeenMessage } from '../database/peek-functions.js';
import type { Caller } from '../identity/caller.js';
import { PageTokens } from '../rest/page-token.js';
import { jsonContentOf } from './content-encoding.js';
import { MessageRanges } from './message-ranges.js';
import type { PeekConditionsQuery, PeekedMessage, PeekMessagesQuery } from './peek.schemas.js';

const DEFAULT_LIMIT = 20;

/** What to look at, found and compiled once, for one page or for all of them. */
export interface Peek {
  readonly range: MessageRange;
  readonly conditions: PeekConditions;
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
    const filterPath = compileFilter(query.filter);
    const { range } = await this.ranges.find(caller, reference, query.consumerGroupId);
    return {
      range,
      conditions: {
        channelId: query.channelFilter ?? null,
        ids: query.messageId?.split(',') ?? null,
        filterPath,
        createdAfter: query.createdAfter === undefined ? null : new Date(query.createdAfter),
        createdBefore: query.createdBefore === undefined ? null : new Date(query.createdBefore),
      },
      consumerGroupId: query.consumerGroupId,
    };
  }

  /**
   * The messages after the cursor, of a bounded number that is examined; so there may be none, and more to come. All
   * that looks at messages goes through here. Properties are evaluated in SQL, because they can be read there. Where
   * they cannot, this is the place that evaluates them: it asks without the filter, drops what does not match, and
   * keeps the cursor.
   */
  async page(peek: Peek, cursor: string | null, limit: number): Promise<PeekPage> {
    const { messages, nextCursor } = await this.functions.peek(peek.range, peek.conditions, cursor, limit);
    return { messages: messages.map((message) => toPeekedMessage(peek, message)), nextCursor };
  }
}

/** A page belongs to its question, which may be long: the token has a digest of it. How many are wanted may change. */
function nameOf(reference: string, query: PeekMessagesQuery): string {
  const { channelFilter, consumerGroupId, messageId, filter, createdAfter, createdBefore } = query;
  const question = [reference, channelFilter, consumerGroupId, messageId, filter, createdAfter, createdBefore];
  return `peek ${createHash('sha256').update(JSON.stringify(question)).digest('base64url')}`;
}

function toPeekedMessage({ consumerGroupId }: Peek, message: SeenMessage): PeekedMessage {
  const { channelId, properties, deliveredAt, deliveredTo, deadLetteredAt, deadLetterReason } = message;
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
    ...jsonContentOf(message.content),
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
