import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

const SANE = /^[\x21-\x7e]{1,128}$/;

export function newRequestId(): string {
  return randomBytes(16).toString('hex').toUpperCase();
}

/** The client's opc-request-id, or a new one where it sent none that may stand in a header and a log. */
export function requestIdOf(request: { readonly headers: IncomingMessage['headers'] }): string {
  const given = request.headers['opc-request-id'];
  return typeof given === 'string' && SANE.test(given) ? given : newRequestId();
}
