import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { TokenKind, TokenSeal } from '../../src/encryption/token-seal.js';
import { Receipts } from '../../src/messages/receipts.js';

const seal = new TokenSeal(randomBytes(32));
const receipts = new Receipts(seal);
const numbers = fc.maxSafeNat();

describe('receipts', () => {
  it('name queue, group, message and change of hands as four 64-bit numbers, up to the largest id', () => {
    fc.assert(
      fc.property(numbers, numbers, numbers, numbers, (queueId, consumerGroupId, id, receiptNumber) => {
        const range = { queueId, consumerGroupId, deadLetter: false };
        const receipt = receipts.issue(range, { id, receiptNumber });
        const payload = seal.open(TokenKind.Receipt, receipt);
        expect([0, 8, 16, 24].map((offset) => payload?.readBigUInt64BE(offset))).toEqual(
          [queueId, consumerGroupId, id, receiptNumber].map(BigInt),
        );
        expect(receipts.read(range, receipt)).toEqual({ id, receiptNumber });
        expect(receipts.read({ ...range, queueId: queueId + 1 }, receipt)).toMatchObject({
          code: 'NotAuthorizedOrNotFound',
        });
      }),
    );
  });
});
