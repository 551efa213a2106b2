import { Injectable } from '@nestjs/common';
import { Database, type Statement } from './database.js';
import type { Durability } from './queue-functions.js';

/** A range of messages that a get can ask for. */
export interface MessageRange {
  readonly queueId: number;
  /** 0 is the primary consumer group. */
  readonly consumerGroupId: number;
  readonly deadLetter: boolean;
}

export interface MessageToPut {
  readonly content: Buffer;
  /** '' is the queue itself. */
  readonly channelId: string;
  readonly properties: Readonly<Record<string, string>> | null;
  readonly delayInSeconds: number;
  /** Bytes that count for the limits and the statistics. */
  readonly sizeInBytes: number;
  /** Only `putOnce` looks at it. Absent or null: none. */
  readonly deduplicationId?: string | null;
}

/** What tells a repeat of a whole request, besides the messages' own ids. */
export interface RetryToken {
  /** Null: none. */
  readonly retryToken: string | null;
  /** Of the whole request: the same token with another one is refused. */
  readonly requestDigest: string;
}

/** How the contents of a put were sealed. */
export interface Seal {
  /** One per message, in order. */
  readonly contents: readonly Buffer[];
  /** Null: they are not sealed. */
  readonly keyId: number | null;
  /** False: the database is not shown the properties. */
  readonly needsProperties: boolean;
}

export interface PutMessage {
  readonly id: number;
  /** Null: no consumer group took it, so it was dropped. */
  readonly expireAfter: Date | null;
  /** Those for which it was stored by this call. */
  readonly consumerGroupIds: readonly number[];
}

export interface PutOrRepeated extends PutMessage {
  /** True where nothing was stored: this is the answer of the first put. */
  readonly isRepeat: boolean;
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

/** One that asks for an early confirmation, which the queue's row decides, where the pod knows of one; a FULL queue pays nothing for it. */
const byDurability = (name: string, text: (queue: string) => string): Readonly<Record<Durability, Statement>> => ({
  FULL: { name, text: text('$1') },
  RELAXED: { name: `${name}_relaxed`, text: text('towpath.as_relaxed(array[$1::bigint], $1::bigint)') },
});
const PUT = byDurability(
  'put_sealed_messages',
  (queue) => `select id, expire_after as "expireAfter", consumer_group_ids::float8[] as "consumerGroupIds"
    from towpath.put_sealed_messages(${queue}, $2, $3, $4, $5, $6, $7, $8, $9)`,
);
const FIND_REPEATS: Statement = {
  name: 'find_repeats',
  text: 'select id, expire_after as "expireAfter" from towpath.find_repeats($1, $2, $3, $4)',
};
const PUT_ONCE = byDurability(
  'put_sealed_messages_once',
  (
    queue,
  ) => `select id, expire_after as "expireAfter", consumer_group_ids::float8[] as "consumerGroupIds", is_repeat as "isRepeat"
    from towpath.put_sealed_messages_once(${queue}, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
);
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

const packed = (
  queueId: number,
  messages: readonly MessageToPut[],
  maxChannels: number,
  contents: readonly Buffer[],
  needsProperties: boolean,
): unknown[] => [
  queueId,
  Buffer.concat(contents),
  contents.map(({ length }) => length),
  messages.map(({ channelId }) => channelId),
  needsProperties ? messages.map(({ properties }) => (properties === null ? null : JSON.stringify(properties))) : null,
  messages.map(({ delayInSeconds }) => delayInSeconds),
  messages.map(({ sizeInBytes }) => sizeInBytes),
  maxChannels,
];

const unsealed = (messages: readonly MessageToPut[]): Seal => ({
  contents: messages.map(({ content }) => content),
  keyId: null,
  needsProperties: true,
});

/** The SQL functions of the data plane, each called from here only; the comments in the migrations say what they do. */
@Injectable()
export class MessageFunctions {
  constructor(private readonly database: Database) {}

  /**
   * Stores messages, all or none; the answer has their order. pg is slow with bytea[], so contents travel as one buffer. `durability` is
   * the queue's as far as is known, here and below: RELAXED has no effect where the queue is FULL.
   */
  async put(
    queueId: number,
    messages: readonly MessageToPut[],
    maxChannels: number,
    { contents, keyId, needsProperties }: Seal = unsealed(messages),
    durability: Durability = 'FULL',
  ): Promise<PutMessage[]> {
    const values = packed(queueId, messages, maxChannels, contents, needsProperties);
    return this.database.run<PutMessage>(PUT[durability], [...values, keyId]);
  }

  /** The same for what may be a repeat, by the ids of the messages or by a token: a repeat stores nothing. */
  async putOnce(
    queueId: number,
    messages: readonly MessageToPut[],
    maxChannels: number,
    { retryToken, requestDigest }: RetryToken,
    { contents, keyId, needsProperties }: Seal = unsealed(messages),
    durability: Durability = 'FULL',
  ): Promise<PutOrRepeated[]> {
    return this.database.run<PutOrRepeated>(PUT_ONCE[durability], [
      ...packed(queueId, messages, maxChannels, contents, needsProperties),
      messages.map(({ deduplicationId = null }) => deduplicationId),
      retryToken,
      requestDigest,
      keyId,
    ]);
  }

  /** What the first put was answered, where all of this one is a repeat; null where anything is not. */
  async findRepeats(
    queueId: number,
    messages: readonly MessageToPut[],
    { retryToken, requestDigest }: RetryToken,
  ): Promise<PutOrRepeated[] | null> {
    const rows = await this.database.run<{ id: number; expireAfter: Date | null }>(FIND_REPEATS, [
      queueId,
      messages.map(({ deduplicationId = null }) => deduplicationId),
      retryToken,
      requestDigest,
    ]);
    return rows.length === 0 ? null : rows.map((row) => ({ ...row, consumerGroupIds: [], isRepeat: true }));
  }

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
