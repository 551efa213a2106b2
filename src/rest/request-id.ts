import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

const SANE = /^[\x21-\x7e]{1,128}$/;

/** 32 hexadecimal digits. Node draws UUIDs many at a time, which costs a tenth of drawing the bytes of each. */
export function newRequestId(): string {
  return randomUUID().replaceAll('-', '').toUpperCase();
}

/** The client's opc-request-id, or a new one where it sent none that may stand in a header and a log. */
export function requestIdOf(request: { readonly headers: IncomingMessage['headers'] }): string {
  const given = request.headers['opc-request-id'];
  return typeof given === 'string' && SANE.test(given) ? given : newRequestId();
}
