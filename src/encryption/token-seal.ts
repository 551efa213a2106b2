import { createHmac, createSecretKey, timingSafeEqual, type KeyObject } from 'node:crypto';

const MAC_BYTES = 16;

/** What a sealed token is for; a token of one kind is never taken for one of another. */
export enum TokenKind {
  Receipt = 1,
  Page = 2,
}

/**
 * Makes short tokens that only this service can have made: a payload and an HMAC over it, as base64url without
 * padding, so that they pass through paths and queries as they are. They are readable, not secret.
 */
export class TokenSeal {
  // A key that comes as bytes is made into this for every HMAC, at three times the cost of the HMAC itself.
  private readonly key: KeyObject;

  constructor(secret: Buffer) {
    this.key = createSecretKey(secret);
  }

  seal(kind: TokenKind, payload: Buffer): string {
    return Buffer.concat([payload, this.mac(kind, payload)]).toString('base64url');
  }

  /** The payload, or null where the token was not made by `seal` with this kind. */
  open(kind: TokenKind, token: string): Buffer | null {
    const bytes = Buffer.from(token, 'base64url');
    if (bytes.length <= MAC_BYTES) return null;
    const payload = bytes.subarray(0, -MAC_BYTES);
    const same = timingSafeEqual(bytes.subarray(-MAC_BYTES), this.mac(kind, payload));
    // Base64 has several spellings of the same bytes; only ours is good, so that a token is one string.
    return same && bytes.toString('base64url') === token ? payload : null;
  }

  private mac(kind: TokenKind, payload: Buffer): Buffer {
    return createHmac('sha256', this.key).update(Buffer.of(kind)).update(payload).digest().subarray(0, MAC_BYTES);
  }
}
