import { randomFillSync } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

const SANE = /^[\x21-\x7e]{1,128}$/;

const ID_BYTES = 16;
/** Drawn for 256 ids at a time, at a third of the cost of a UUID (bench/request-parts.mjs). */
const drawn = Buffer.alloc(256 * ID_BYTES);
let used = drawn.length;

/** 32 hexadecimal digits. */
export function newRequestId(): string {
  if (used === drawn.length) {
    randomFillSync(drawn);
    used = 0;
  }
  return drawn.toString('hex', used, (used += ID_BYTES)).toUpperCase();
}

/** The client's opc-request-id, or a new one where it sent none that may stand in a header and a log. */
export function requestIdOf(request: { readonly headers: IncomingMessage['headers'] }): string {
  const given = request.headers['opc-request-id'];
  return typeof given === 'string' && SANE.test(given) ? given : newRequestId();
}
