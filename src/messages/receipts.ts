import { Injectable } from '@nestjs/common';
import type { MessageRange, ReceiptKey } from '../database/message-functions.js';
import { TokenKind, TokenSeal } from '../encryption/token-seal.js';
import { ServiceError } from '../errors/service-error.js';

const BYTES = 32;

/**
 * Receipts: what a consumer shows to extend or delete the message it was given. One names the queue, the consumer
 * group, the message and the number of its last change of hands, and is sealed, so that it cannot be made up.
 * 64 characters, fit for a path.
 */
@Injectable()
export class Receipts {
  constructor(private readonly seal: TokenSeal) {}

  issue(range: MessageRange, key: ReceiptKey): string {
    const payload = Buffer.alloc(BYTES);
    payload.writeBigUInt64BE(BigInt(range.queueId), 0);
    payload.writeBigUInt64BE(BigInt(range.consumerGroupId), 8);
    payload.writeBigUInt64BE(BigInt(key.id), 16);
    payload.writeBigUInt64BE(BigInt(key.receiptNumber), 24);
    return this.seal.seal(TokenKind.Receipt, payload);
  }

  /** The key of a receipt for this range, or the error that its holder is told: garbled, or of another queue. */
  read(range: MessageRange, receipt: string): ReceiptKey | ServiceError {
    const payload = this.seal.open(TokenKind.Receipt, receipt);
    if (payload?.length !== BYTES) {
      return new ServiceError('InvalidParameter', 'receipt: is not one that this service gave out');
    }
    const number = (offset: number): number => Number(payload.readBigUInt64BE(offset));
    if (number(0) !== range.queueId || number(8) !== range.consumerGroupId) {
      return new ServiceError('NotAuthorizedOrNotFound', 'receipt: belongs to another queue or consumer group');
    }
    return { id: number(16), receiptNumber: number(24) };
  }
}

/** What the holder of a dead receipt is told. */
export function deadReceipt(): ServiceError {
  return new ServiceError(
    'NotAuthorizedOrNotFound',
    'receipt: is dead; the message was deleted, has expired, was delivered again or is in the dead letter queue',
  );
}
