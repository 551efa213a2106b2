import { Injectable } from '@nestjs/common';
import { Database, type Statement } from './database.js';
import type { MessageRange } from './message-functions.js';

/** A delivery as the history of a message has it. */
export interface RecordedDelivery {
  /** RFC 3339 with microseconds. */
  readonly deliveredAt: string;
  readonly deliveredTo: string | null;
}

/** A message that is looked at. It has no receipt number: nothing can be done with it. */
export interface SeenMessage {
  readonly id: number;
  readonly channelId: string;
  readonly state: 'VISIBLE' | 'IN_FLIGHT' | 'DELAYED';
  readonly deliveryCount: number;
  readonly createdAt: Date;
  readonly visibleAfter: Date;
  readonly expireAfter: Date;
  /** The last delivery; null: there was none. */
  readonly deliveredAt: Date | null;
  readonly deliveredTo: string | null;
  /** Those before, oldest first. */
  readonly deliveryHistory: readonly RecordedDelivery[] | null;
  readonly deadLetteredAt: Date | null;
  readonly deadLetterReason: string | null;
  readonly sizeInBytes: number;
  /** Null: it is not sealed. Else `content` is, with the properties in it, until it is opened. */
  readonly keyId: number | null;
  readonly properties: Readonly<Record<string, string>> | null;
  readonly content: Buffer;
  /** Where a page after it begins. */
  readonly cursor: string;
}

/** Which messages of a range; absent: any. All conditions must hold. */
export interface PeekConditions {
  readonly channelId: string | null;
  /** As decimal digits. */
  readonly ids: readonly string[] | null;
  /** Included. */
  readonly createdAfter: Date | null;
  /** Not included. */
  readonly createdBefore: Date | null;
}

export interface SeenPage {
  readonly messages: readonly SeenMessage[];
  /** Where to go on, also where nothing was found; null: there is nothing more. */
  readonly nextCursor: string | null;
}

const PEEK: Statement = {
  name: 'peek_messages',
  text: `select id, channel_id as "channelId", state, delivery_count as "deliveryCount", created_at as "createdAt",
    visible_after as "visibleAfter", expire_after as "expireAfter", delivered_at as "deliveredAt",
    delivered_to as "deliveredTo", delivery_history as "deliveryHistory", dead_lettered_at as "deadLetteredAt",
    dead_letter_reason as "deadLetterReason", size_in_bytes as "sizeInBytes", key_id as "keyId", properties,
    body as content, next_cursor as "nextCursor",
    case when $4::text is null or $5::bigint[] is not null then id::text
      else to_char(visible_after at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || ' ' || id end as cursor
    from towpath.peek_messages($1, $2, $3, $4, $5::bigint[], null, $6, $7, $8, $9)`,
};

/** The SQL function that looks at messages, called from here only. How much one call examines is its own decision. */
@Injectable()
export class PeekFunctions {
  constructor(private readonly database: Database) {}

  /** Looks at messages and changes nothing; of their properties it knows nothing, they may be sealed. `cursor` is the page's before; null: from the start. */
  async peek(range: MessageRange, conditions: PeekConditions, cursor: string | null, limit: number): Promise<SeenPage> {
    const rows = await this.database.run<SeenMessage & { nextCursor: string | null }>(PEEK, [
      range.queueId,
      range.consumerGroupId,
      range.deadLetter,
      conditions.channelId,
      conditions.ids,
      conditions.createdAfter,
      conditions.createdBefore,
      cursor,
      limit,
    ]);
    const nextCursor = rows.at(-1)?.nextCursor ?? null;
    // Where nothing was found the cursor comes alone.
    return { messages: rows.filter(({ id }) => id !== null), nextCursor };
  }
}
