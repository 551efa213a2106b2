import { isUtf8 } from 'node:buffer';
import { ServiceError } from '../errors/service-error.js';

/*
 * A content is bytes. JSON has text only, so over REST bytes that are no UTF-8 travel as base64, and `contentEncoding`
 * says so, in both directions. Nothing of that is stored: what a message looks like in JSON follows from its bytes, so it
 * is the same whoever put it, over REST or STOMP.
 */

/** Canonical: with its padding, without line breaks. */
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

interface Content {
  readonly content: string | Buffer;
  readonly contentEncoding?: string | null | undefined;
}

/** The bytes of the message with this index in its request. Throws InvalidParameter. */
export function contentOf({ content, contentEncoding }: Content, index: number): Buffer {
  if (typeof content !== 'string') return content;
  if (contentEncoding !== 'base64') return Buffer.from(content);
  if (!BASE64.test(content)) {
    throw new ServiceError(
      'InvalidParameter',
      `messages.${index}.content: must be base64 with its padding, since contentEncoding says that it is`,
    );
  }
  return Buffer.from(content, 'base64');
}

/** The fields that show a content in JSON. */
export function jsonContentOf(content: Buffer): { content: string; contentEncoding?: 'base64' } {
  return isUtf8(content)
    ? { content: content.toString() }
    : { content: content.toString('base64'), contentEncoding: 'base64' };
}
