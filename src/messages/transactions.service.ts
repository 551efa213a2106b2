import { Inject, Injectable } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import type { MessageRange, ReceiptKey } from '../database/message-functions.js';
import type { MessageToPut, PutMessage } from '../database/put-functions.js';
import { TransactionFunctions, type SettledDelivery } from '../database/transaction-functions.js';
import type { Durability, Queue } from '../database/queue-functions.js';
import { SealedMessages } from '../encryption/sealed-messages.js';
import { RateLimits } from '../limits/rate-limits.js';
import { StorageLimit } from '../limits/storage-limit.js';
import type { PreparedPut } from './puts.service.js';
import { WakeUps } from './waiting/wake-ups.js';

/** What becomes of one delivery when the transaction is committed. */
export interface TransactionSettlement extends ReceiptKey {
  readonly range: MessageRange;
  readonly channelId: string;
  /** Null: the message is deleted; else after how many seconds it is visible again. */
  readonly visibleInSeconds: number | null;
  /** Whether nothing happens at all where it is not held any more by then. */
  readonly isRequired: boolean;
  /** Of its queue, as far as is known. */
  readonly durability: Durability;
}

interface QueuePut {
  readonly queue: Queue;
  readonly messages: MessageToPut[];
}

/** Puts and settlements in several queues that happen together or not at all, in one transaction of the database. */
@Injectable()
export class TransactionsService {
  constructor(
    private readonly functions: TransactionFunctions,
    private readonly rates: RateLimits,
    private readonly storage: StorageLimit,
    private readonly wakeUps: WakeUps,
    private readonly sealed: SealedMessages,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
  ) {}

  /**
   * Whoever calls was permitted each of them. Throws NotAuthorizedOrNotFound (what is required is not held any more, a queue is gone), and
   * what puts throw; then nothing has happened. Returns what the confirmation is worth: it is RELAXED only where all queues are.
   */
  async commit(puts: readonly PreparedPut[], settlements: readonly TransactionSettlement[]): Promise<Durability> {
    const byQueue = gathered(puts);
    for (const { queue, messages } of byQueue) this.rates.put(queue, messages);
    const durability = durabilityOf([...byQueue.map(({ queue }) => queue), ...settlements]);
    const sealable = byQueue.map(({ queue, messages }) => ({ queue, messages, mayNeedProperties: hasGroups(queue) }));
    const stored = await this.storeWithin(byQueue, 0, () =>
      this.sealed.sealAll(sealable, (seals) => {
        const sealed = byQueue.map((put, index) => ({ ...put, seal: seals[index]! }));
        return this.functions.commit(settlements.map(settledOf), sealed, this.configuration.maxChannels, durability);
      }),
    );
    this.hint(byQueue, stored, settlements);
    return durability;
  }

  /** Each queue must have room for what is put there. */
  private async storeWithin(
    puts: readonly QueuePut[],
    index: number,
    commit: () => Promise<PutMessage[][]>,
  ): Promise<PutMessage[][]> {
    const put = puts[index];
    if (put === undefined) return commit();
    let stored: PutMessage[][] = [];
    await this.storage.put(put.queue, put.messages, async () => {
      stored = await this.storeWithin(puts, index + 1, commit);
      return stored[index] ?? [];
    });
    return stored;
  }

  private hint(
    puts: readonly QueuePut[],
    stored: readonly PutMessage[][],
    settlements: readonly TransactionSettlement[],
  ): void {
    for (const [index, { queue, messages }] of puts.entries()) {
      for (const [n, { consumerGroupIds }] of (stored[index] ?? []).entries()) {
        const { channelId = '', delayInSeconds = 0 } = messages[n] ?? {};
        for (const consumerGroupId of consumerGroupIds) {
          const range = { queueId: queue.queueId, consumerGroupId, deadLetter: false };
          this.wakeUps.hint({ ...range, channelId, inMs: delayInSeconds * 1000 });
        }
      }
    }
    for (const { range, channelId, visibleInSeconds } of settlements) {
      if (visibleInSeconds !== null) this.wakeUps.hint({ ...range, channelId, inMs: visibleInSeconds * 1000 });
    }
  }
}

function settledOf({ range, id, receiptNumber, visibleInSeconds, isRequired }: TransactionSettlement): SettledDelivery {
  return { ...range, id, receiptNumber, visibleInSeconds, isRequired };
}

function durabilityOf(parts: readonly { readonly durability: Durability }[]): Durability {
  return parts.length > 0 && parts.every(({ durability }) => durability === 'RELAXED') ? 'RELAXED' : 'FULL';
}

function hasGroups({ capabilities }: Queue): boolean {
  return capabilities.some(({ type }) => type === 'CONSUMER_GROUPS');
}

/** What goes to one queue, together and in its order. */
function gathered(puts: readonly PreparedPut[]): QueuePut[] {
  const byQueue = new Map<number, QueuePut>();
  for (const { queue, messages } of puts) {
    const known = byQueue.get(queue.queueId);
    if (known === undefined) byQueue.set(queue.queueId, { queue, messages: [...messages] });
    else known.messages.push(...messages);
  }
  return [...byQueue.values()];
}
