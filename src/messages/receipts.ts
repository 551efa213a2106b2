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
    const payload = Buffer.allocUnsafe(BYTES);
    writeNumber(payload, range.queueId, 0);
    writeNumber(payload, range.consumerGroupId, 8);
    writeNumber(payload, key.id, 16);
    writeNumber(payload, key.receiptNumber, 24);
    return this.seal.seal(TokenKind.Receipt, payload);
  }

  /** The key of a receipt for this range, or the error that its holder is told: garbled, or of another queue. */
  read(range: MessageRange, receipt: string): ReceiptKey | ServiceError {
    const payload = this.seal.open(TokenKind.Receipt, receipt);
    if (payload?.length !== BYTES) {
      return new ServiceError('InvalidParameter', 'receipt: is not one that this service gave out');
    }
    if (readNumber(payload, 0) !== range.queueId || readNumber(payload, 8) !== range.consumerGroupId) {
      return new ServiceError('NotAuthorizedOrNotFound', 'receipt: belongs to another queue or consumer group');
    }
    return { id: readNumber(payload, 16), receiptNumber: readNumber(payload, 24) };
  }
}

// 64 bits, the highest first. In two halves, because a BigInt costs several times as much; ids and receipt numbers are below 2^53.
const HALF = 2 ** 32;

function writeNumber(payload: Buffer, value: number, offset: number): void {
  payload.writeUInt32BE(Math.floor(value / HALF), offset);
  payload.writeUInt32BE(value % HALF, offset + 4);
}

function readNumber(payload: Buffer, offset: number): number {
  return payload.readUInt32BE(offset) * HALF + payload.readUInt32BE(offset + 4);
}

/** What the holder of a dead receipt is told. */
export function deadReceipt(): ServiceError {
  return new ServiceError(
    'NotAuthorizedOrNotFound',
    'receipt: is dead; the message was deleted, has expired, was delivered again or is in the dead letter queue',
  );
}
