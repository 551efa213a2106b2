import { hash, timingSafeEqual } from 'node:crypto';

const MAC_BYTES = 16;
/** Of SHA-256. */
const BLOCK_BYTES = 64;
const DIGEST_BYTES = 32;

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
  /** The key as RFC 2104 pads it for the inner hash, and for the outer one, which has room behind it for the result of the inner. */
  private readonly inner: Buffer;
  private readonly outer: Buffer;

  constructor(secret: Buffer) {
    const key = secret.length > BLOCK_BYTES ? hash('sha256', secret, 'buffer') : secret;
    this.inner = padded(key, 0x36, BLOCK_BYTES);
    this.outer = padded(key, 0x5c, BLOCK_BYTES + DIGEST_BYTES);
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

  /**
   * HMAC-SHA-256, its first half. By two hashes in one call each, because Node's Hmac object costs more to make than both: a receipt is
   * made for every delivery, and read for every delete.
   */
  private mac(kind: TokenKind, payload: Buffer): Buffer {
    const message = Buffer.allocUnsafe(BLOCK_BYTES + 1 + payload.length);
    this.inner.copy(message);
    message.writeUInt8(kind, BLOCK_BYTES);
    payload.copy(message, BLOCK_BYTES + 1);
    // As strings, which cost less than buffers.
    this.outer.write(hash('sha256', message, 'binary'), BLOCK_BYTES, 'latin1');
    return Buffer.from(hash('sha256', this.outer, 'binary').slice(0, MAC_BYTES), 'latin1');
  }
}

function padded(key: Buffer, pad: number, length: number): Buffer {
  const block = Buffer.alloc(length);
  block.fill(pad, 0, BLOCK_BYTES);
  for (const [index, octet] of key.entries()) block.writeUInt8(octet ^ pad, index);
  return block;
}
