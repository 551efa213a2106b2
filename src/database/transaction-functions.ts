import { Injectable } from '@nestjs/common';
import { Database, type Statement } from './database.js';
import type { MessageRange, ReceiptKey } from './message-functions.js';
import type { MessageToPut, PutMessage, Seal } from './put-functions.js';
import type { Durability } from './queue-functions.js';

/** A delivery that a transaction acknowledges (`visibleInSeconds` null) or gives back. */
export interface SettledDelivery extends MessageRange, ReceiptKey {
  readonly visibleInSeconds: number | null;
  readonly isRequired: boolean;
}

interface QueuePut {
  readonly queue: { readonly queueId: number };
  readonly messages: readonly MessageToPut[];
  readonly seal: Seal;
}

const commit = (name: string, queueIds: string): Statement => ({
  name,
  text: `select queue_id as "queueId", n, id, taken_by::float8[] as "consumerGroupIds"
    from towpath.commit_transaction(${queueIds}, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
});
const COMMIT: Readonly<Record<Durability, Statement>> = {
  FULL: commit('commit_transaction', '$1'),
  RELAXED: commit(
    'commit_transaction_relaxed',
    `towpath.as_relaxed(
      $1::bigint[] || array(select (put ->> 'queueId')::bigint from jsonb_array_elements($8::jsonb) put), $1::bigint[]
    )`,
  ),
};

/** The SQL function behind transactions of clients, called from here only. */
@Injectable()
export class TransactionFunctions {
  constructor(private readonly database: Database) {}

  /**
   * All or nothing. Of each put, what became of its messages, in their order. `durability` is RELAXED where all queues are, as far as is
   * known.
   */
  async commit(
    settled: readonly SettledDelivery[],
    puts: readonly QueuePut[],
    maxChannels: number,
    durability: Durability,
  ): Promise<PutMessage[][]> {
    const rows = await this.database.run<{ queueId: number; n: number; id: number; consumerGroupIds: number[] }>(
      COMMIT[durability],
      [
        settled.map(({ queueId }) => queueId),
        settled.map(({ consumerGroupId }) => consumerGroupId),
        settled.map(({ deadLetter }) => deadLetter),
        settled.map(({ id }) => id),
        settled.map(({ receiptNumber }) => receiptNumber),
        settled.map(({ visibleInSeconds }) => visibleInSeconds),
        settled.map(({ isRequired }) => isRequired),
        JSON.stringify(puts.map(described)),
        Buffer.concat(puts.flatMap(({ seal }) => seal.contents)),
        maxChannels,
      ],
    );
    const stored = new Map(puts.map(({ queue }) => [queue.queueId, [] as PutMessage[]]));
    for (const { queueId, n, id, consumerGroupIds } of rows) {
      const ofQueue = stored.get(queueId);
      if (ofQueue !== undefined) ofQueue[n - 1] = { id, expireAfter: null, consumerGroupIds };
    }
    return [...stored.values()];
  }
}

function described({ queue, messages, seal: { contents, keyId, needsProperties } }: QueuePut): object {
  return {
    queueId: queue.queueId,
    keyId,
    bytes: contents.reduce((sum, { length }) => sum + length, 0),
    lengths: contents.map(({ length }) => length),
    channelIds: messages.map(({ channelId }) => channelId),
    ...(needsProperties
      ? { properties: messages.map(({ properties }) => (properties === null ? null : JSON.stringify(properties))) }
      : {}),
    delays: messages.map(({ delayInSeconds }) => delayInSeconds),
    sizes: messages.map(({ sizeInBytes }) => sizeInBytes),
    deduplicationIds: messages.map(({ deduplicationId = null }) => deduplicationId),
  };
}
