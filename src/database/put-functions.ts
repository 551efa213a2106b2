import { Injectable } from '@nestjs/common';
import { Database, type Statement } from './database.js';
import { byDurability } from './early-confirmation.js';
import type { Durability } from './queue-functions.js';

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

/** The SQL functions that store messages, each called from here only; the comments in the migrations say what they do. */
@Injectable()
export class PutFunctions {
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
}
