import { ServiceError } from '../errors/service-error.js';
import type { PreparedPut } from '../messages/puts.service.js';
import type { HeldDelivery } from './held-delivery.js';

const MAX_OPEN = 16;
const MAX_OPERATIONS = 1000;
const MAX_BYTES = 2_097_152;
/** Messages that it acknowledges are held meanwhile, and what it sends takes memory. */
const MAX_AGE_MS = 60_000;

/** An ACK or NACK that waits for COMMIT. */
export interface TransactionSettling {
  readonly named: HeldDelivery;
  readonly deliveries: readonly HeldDelivery[];
  readonly visibleInSeconds: number | null;
  readonly ignoresStale: boolean;
}

/** What a client has begun and neither committed nor aborted: it lives in this pod only. */
export interface Transaction {
  readonly puts: PreparedPut[];
  readonly settlings: TransactionSettling[];
  operations: number;
  bytes: number;
  readonly timer: NodeJS.Timeout;
}

/** The transactions of one connection. */
export class Transactions {
  private readonly open = new Map<string, Transaction>();

  constructor(private readonly failed: (error: ServiceError) => void) {}

  /** Of the bodies that wait for a COMMIT. */
  get bytes(): number {
    let bytes = 0;
    for (const transaction of this.open.values()) bytes += transaction.bytes;
    return bytes;
  }

  begin(name: string): void {
    if (this.open.has(name)) {
      throw new ServiceError('InvalidParameter', 'transaction: one of this name is open already: use another name');
    }
    if (this.open.size >= MAX_OPEN) {
      throw new ServiceError('LimitExceeded', `a connection may have ${MAX_OPEN} open transactions: end one first`);
    }
    const timer = setTimeout(() => {
      const seconds = MAX_AGE_MS / 1000;
      this.failed(
        new ServiceError('LimitExceeded', `a transaction was not ended within ${seconds} seconds: it is aborted`),
      );
    }, MAX_AGE_MS).unref();
    this.open.set(name, { puts: [], settlings: [], operations: 0, bytes: 0, timer });
  }

  /** Throws InvalidParameter where there is none. */
  find(name: string): Transaction {
    const transaction = this.open.get(name);
    if (transaction !== undefined) return transaction;
    throw new ServiceError('InvalidParameter', 'transaction: none of this name is open: send BEGIN first');
  }

  /** Counts what is added. Throws LimitExceeded. */
  grow(transaction: Transaction, operations: number, bytes: number): void {
    transaction.operations += operations;
    transaction.bytes += bytes;
    if (transaction.operations > MAX_OPERATIONS || this.bytes > MAX_BYTES) {
      throw new ServiceError(
        'LimitExceeded',
        `the transaction is too large: ${MAX_OPERATIONS} messages sent, acknowledged or refused are allowed, and ${MAX_BYTES} bytes in all of a connection`,
      );
    }
  }

  /** Ends it, and returns what is in it. */
  take(name: string): Transaction {
    const transaction = this.find(name);
    clearTimeout(transaction.timer);
    this.open.delete(name);
    return transaction;
  }

  /** The connection ends, and with it what is open. */
  end(): void {
    for (const { timer } of this.open.values()) clearTimeout(timer);
    this.open.clear();
  }
}
