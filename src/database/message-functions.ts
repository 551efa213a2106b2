import { Injectable } from '@nestjs/common';
import { Database, type Statement } from './database.js';
import { byDurability } from './early-confirmation.js';
import type { Durability } from './queue-functions.js';

/** A range of messages that a get can ask for. */
export interface MessageRange {
  readonly queueId: number;
  /** 0 is the primary consumer group. */
  readonly consumerGroupId: number;
  readonly deadLetter: boolean;
}

/** What proves a delivery, as SQL has it: the message and the number of its last change of hands. */
export interface ReceiptKey {
  readonly id: number;
  readonly receiptNumber: number;
}

export interface DeliveredMessage extends ReceiptKey {
  readonly channelId: string;
  /** Null: it is not sealed. Else `content` is, with the properties in it, until it is opened. */
  readonly keyId: number | null;
  readonly content: Buffer;
  readonly properties: Readonly<Record<string, string>> | null;
  readonly deliveryCount: number;
  readonly createdAt: Date;
  readonly visibleAfter: Date;
  readonly expireAfter: Date;
  /** By the database's clock, which no pod's need agree with. */
  readonly hiddenForMs: number;
}

export interface GetRequest extends MessageRange {
  /** Null: the next channel in turn after `afterChannelId`. */
  readonly channelId: string | null;
  readonly afterChannelId: string;
  readonly limit: number;
  /** Null: the queue's. */
  readonly visibilityInSeconds: number | null;
  readonly deliveredTo: string;
  readonly maxBytes: number;
  /** What is visible since before that is not looked at; null: everything is. */
  readonly visibleFrom: Date | null;
}

/** What gets of several requests have of their own; all else they have in common. */
export interface GetShare {
  readonly limit: number;
  readonly maxBytes: number;
}

export interface Visibility extends ReceiptKey {
  readonly visibilityInSeconds: number;
}

export interface UpdatedMessage {
  /** Null: the receipt is dead. */
  readonly visibleAfter: Date | null;
  readonly channelId: string | null;
}

export interface Stats {
  readonly visibleMessages: number;
  readonly inFlightMessages: number;
  readonly delayedMessages: number;
  readonly sizeInBytes: number;
}

const DELIVERED = `id, receipt_number as "receiptNumber", channel_id as "channelId", key_id as "keyId", body as content, properties,
    delivery_count as "deliveryCount", created_at as "createdAt", visible_after as "visibleAfter", expire_after as "expireAfter",
    extract(epoch from visible_after - delivered_at)::float8 * 1000 as "hiddenForMs"`;
const GET: Statement = {
  name: 'get_messages',
  text: `select ${DELIVERED} from towpath.get_messages($1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce($10::timestamptz, '-infinity'))`,
};
const GET_FOR_MANY: Statement = {
  name: 'get_messages_for_many',
  text: `select ${DELIVERED}, size_in_bytes as "sizeInBytes" from towpath.get_messages_for_many($1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce($10::timestamptz, '-infinity'))`,
};
const NEXT: Statement = {
  name: 'next_visible_after',
  text: `select extract(epoch from towpath.next_visible_after($1, $2, $3, $4, coalesce($5::timestamptz, '-infinity'))
    - clock_timestamp())::float8 * 1000 as ms`,
};
const FIND_FLOOR: Statement = {
  name: 'find_floor',
  text: `select extract(epoch from floor)::float8 * 1000 as "floorMs", extract(epoch from looked_at)::float8 * 1000 as "lookedAtMs"
    from towpath.find_floor($1, $2, $3, $4, coalesce($5::timestamptz, '-infinity'), $6)`,
};
// Always on disk: a visibility timeout that was prolonged and then undone would give the message to a second consumer.
const UPDATE: Statement = {
  name: 'update_messages',
  text: `select visible_after as "visibleAfter", channel_id as "channelId" from towpath.update_messages($1, $2, $3, $4, $5, $6)`,
};
const DELETE = byDurability(
  'delete_messages',
  (queue) => `select deleted from towpath.delete_messages(${queue}, $2, $3, $4, $5) as deleted`,
);
const RELEASE: Statement = {
  name: 'release_messages',
  text: 'select id from towpath.release_messages($1, $2, $3, $4, $5) as id',
};
const GIVE_BACK = byDurability(
  'give_back_messages',
  (queue) => `select id from towpath.give_back_messages(${queue}, $2, $3, $4, $5) as id`,
);
const CHANNELS: Statement = {
  name: 'list_channels',
  text: 'select channel_id as "channelId" from towpath.list_channels($1, $2, $3, $4, $5, $6) as channel_id',
};
const STATS: Statement = {
  name: 'get_stats',
  text: `select visible_messages, in_flight_messages, size_in_bytes,
    dead_visible_messages, dead_in_flight_messages, dead_size_in_bytes, delayed_messages from towpath.get_stats($1, $2, $3)`,
};
const IN_FLIGHT: Statement = {
  name: 'count_in_flight',
  text: 'select towpath.count_in_flight($1, $2, $3, null, $4) as count',
};

const key = (range: MessageRange): [number, number, boolean] => [
  range.queueId,
  range.consumerGroupId,
  range.deadLetter,
];

/** The SQL functions of messages that are stored, each called from here only; the comments in the migrations say what they do. */
@Injectable()
export class MessageFunctions {
  constructor(private readonly database: Database) {}

  /** Delivers what is visible now; an empty array where nothing is. */
  async get(request: GetRequest): Promise<DeliveredMessage[]> {
    return this.database.run<DeliveredMessage>(GET, [
      ...key(request),
      request.channelId,
      request.afterChannelId,
      request.limit,
      request.visibilityInSeconds,
      request.deliveredTo,
      request.maxBytes,
      request.visibleFrom,
    ]);
  }

  /** For several requests at once: what share-out.ts shares out. */
  async getForMany(
    request: Omit<GetRequest, keyof GetShare>,
    shares: readonly GetShare[],
  ): Promise<(DeliveredMessage & { readonly sizeInBytes: number })[]> {
    return this.database.run(GET_FOR_MANY, [
      ...key(request),
      request.channelId,
      request.afterChannelId,
      shares.map(({ limit }) => limit),
      shares.map(({ maxBytes }) => maxBytes),
      request.visibilityInSeconds,
      request.deliveredTo,
      request.visibleFrom,
    ]);
  }

  /**
   * From when on a claim of the channel (null: of any) finds all that is committed by the time of the look, in milliseconds since
   * 1970 by the database's clock. `visibleFrom` null: looks from the beginning.
   */
  async findFloor(
    range: MessageRange,
    channelId: string | null,
    visibleFrom: Date | null,
    lagMs: number,
  ): Promise<{ readonly floorMs: number; readonly lookedAtMs: number }> {
    const [row] = await this.database.run<{ floorMs: number; lookedAtMs: number }>(FIND_FLOOR, [
      ...key(range),
      channelId,
      visibleFrom,
      lagMs,
    ]);
    if (row === undefined) throw new Error('find_floor returned nothing');
    return row;
  }

  /**
   * Milliseconds until the next message is visible (below 0: one is, but a get under way has locked it); null: none. `visibleFrom`
   * as in a get.
   */
  async millisecondsUntilVisible(
    range: MessageRange,
    channelId: string | null,
    visibleFrom: Date | null = null,
  ): Promise<number | null> {
    const [row] = await this.database.run<{ ms: number | null }>(NEXT, [...key(range), channelId, visibleFrom]);
    return row?.ms ?? null;
  }

  async update(range: MessageRange, entries: readonly Visibility[]): Promise<UpdatedMessage[]> {
    return this.database.run<UpdatedMessage>(UPDATE, [
      ...key(range),
      entries.map(({ id }) => id),
      entries.map(({ receiptNumber }) => receiptNumber),
      entries.map(({ visibilityInSeconds }) => visibilityInSeconds),
    ]);
  }

  /** One answer per receipt, in order: false where it is dead. */
  async delete(
    range: MessageRange,
    receipts: readonly ReceiptKey[],
    durability: Durability = 'FULL',
  ): Promise<boolean[]> {
    const rows = await this.database.run<{ deleted: boolean }>(DELETE[durability], [
      ...key(range),
      receipts.map(({ id }) => id),
      receipts.map(({ receiptNumber }) => receiptNumber),
    ]);
    return rows.map(({ deleted }) => deleted);
  }

  /** Takes deliveries back that reached nobody. */
  async release(range: MessageRange, receipts: readonly ReceiptKey[]): Promise<void> {
    await this.database.run(RELEASE, [
      ...key(range),
      receipts.map(({ id }) => id),
      receipts.map(({ receiptNumber }) => receiptNumber),
    ]);
  }

  /** Ends deliveries before their timeout: they stay counted, and their receipts are dead. */
  async giveBack(range: MessageRange, receipts: readonly ReceiptKey[], durability: Durability = 'FULL'): Promise<void> {
    await this.database.run(GIVE_BACK[durability], [
      ...key(range),
      receipts.map(({ id }) => id),
      receipts.map(({ receiptNumber }) => receiptNumber),
    ]);
  }

  async listChannels(
    range: MessageRange,
    channelId: string | null,
    afterChannelId: string,
    limit: number,
  ): Promise<string[]> {
    const rows = await this.database.run<{ channelId: string }>(CHANNELS, [
      ...key(range),
      channelId,
      afterChannelId,
      limit,
    ]);
    return rows.map((row) => row.channelId);
  }

  async stats(
    queueId: number,
    consumerGroupId: number,
    channelId: string | null,
  ): Promise<{ queue: Stats; deadLetterQueue: Stats }> {
    const [row] = await this.database.run<Record<string, number>>(STATS, [queueId, consumerGroupId, channelId]);
    const figure = (name: string): number => row?.[name] ?? 0;
    return {
      queue: {
        visibleMessages: figure('visible_messages'),
        inFlightMessages: figure('in_flight_messages'),
        delayedMessages: figure('delayed_messages'),
        sizeInBytes: figure('size_in_bytes'),
      },
      deadLetterQueue: {
        visibleMessages: figure('dead_visible_messages'),
        inFlightMessages: figure('dead_in_flight_messages'),
        delayedMessages: 0,
        sizeInBytes: figure('dead_size_in_bytes'),
      },
    };
  }

  async countInFlight(range: MessageRange, atMost: number): Promise<number> {
    const [row] = await this.database.run<{ count: number }>(IN_FLIGHT, [...key(range), atMost]);
    return row?.count ?? 0;
  }
}
