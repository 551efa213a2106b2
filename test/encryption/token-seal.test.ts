import { createHmac, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { TokenKind, TokenSeal } from '../../src/encryption/token-seal.js';

const bytes = (constraints: fc.IntArrayConstraints): fc.Arbitrary<Buffer> =>
  fc.uint8Array(constraints).map((array) => Buffer.from(array));

describe('a sealed token', () => {
  it('ends in the first half of the HMAC-SHA-256 of kind and payload, as the standard library makes it, for keys of any length', () => {
    fc.assert(
      fc.property(bytes({ maxLength: 200 }), bytes({ maxLength: 200 }), (secret, payload) => {
        const token = Buffer.from(new TokenSeal(secret).seal(TokenKind.Page, payload), 'base64url');
        const expected = createHmac('sha256', secret).update(Buffer.of(TokenKind.Page)).update(payload).digest();
        expect(token).toEqual(Buffer.concat([payload, expected.subarray(0, 16)]));
      }),
    );
  });

  it('opens to what was sealed, however tokens come one after another', () => {
    const seal = new TokenSeal(randomBytes(32));
    fc.assert(
      fc.property(fc.array(bytes({ minLength: 1, maxLength: 80 }), { minLength: 1 }), (payloads) => {
        const tokens = payloads.map((payload) => seal.seal(TokenKind.Receipt, payload));
        expect(tokens.map((token) => seal.open(TokenKind.Receipt, token))).toEqual(payloads);
      }),
    );
  });

  it('does not open when a bit of it was changed, with another kind or another secret, or in another spelling', () => {
    const seal = new TokenSeal(randomBytes(32));
    const token = seal.seal(TokenKind.Receipt, Buffer.alloc(32, 7));
    const raw = Buffer.from(token, 'base64url');
    for (let bit = 0; bit < raw.length * 8; bit += 1) {
      const changed = Buffer.from(raw);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(seal.open(TokenKind.Receipt, changed.toString('base64url'))).toBeNull();
    }
    expect(seal.open(TokenKind.Page, token)).toBeNull();
    expect(new TokenSeal(randomBytes(32)).open(TokenKind.Receipt, token)).toBeNull();
    for (const other of [`${token}=`, ` ${token}`, token.slice(0, -1), '']) {
      expect(seal.open(TokenKind.Receipt, other)).toBeNull();
    }
    expect(seal.open(TokenKind.Receipt, token)).not.toBeNull();
  });
});
