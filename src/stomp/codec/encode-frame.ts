import { escaped, unescapableName, unescapableValue } from './escapes.js';
import { isNeverEscaped, type StompVersion } from './frame.js';

/**
 * The bytes of a frame, with the escapes of the version, and with content-length where there is a body (an empty one
 * counts: `undefined` is none). A content-length among the headers is left out, because the one that counts octets is
 * written here.
 *
 * Whatever a name or a value contains, it makes no header of its own and does not end the frame. What cannot be written
 * is replaced:
 *
 * - in STOMP 1.0 and in CONNECTED, which have no escapes: line feeds and carriage returns by spaces, colons in names by
 *   "_"; names lose the spaces around them, and of names that are the same then only the first is written;
 * - in all versions: NUL, which has no escape and ends the frame for clients that look for it first, by U+FFFD;
 *   headers without a name are left out.
 *
 * In 1.1 a carriage return is written as it is: that version has no escape for it, and ends lines with a line feed alone.
 */
export function encodeFrame(
  version: StompVersion,
  command: string,
  headers: Iterable<readonly [string, string]>,
  body?: Uint8Array,
): Buffer {
  let head = `${command}\n`;
  if (version === '1.0' || isNeverEscaped(command)) head += unescapedLines(headers);
  else head += escapedLines(version, headers);
  head += body === undefined ? '\n' : `content-length:${body.length}\n\n`;

  const headBytes = Buffer.byteLength(head);
  const bodyBytes = body?.length ?? 0;
  const frame = Buffer.allocUnsafe(headBytes + bodyBytes + 1);
  // Where each character is one byte, this is a plain copy.
  frame.write(head, 0, headBytes === head.length ? 'latin1' : 'utf8');
  if (body !== undefined) frame.set(body, headBytes);
  frame[headBytes + bodyBytes] = 0;
  return frame;
}

function escapedLines(version: '1.1' | '1.2', headers: Iterable<readonly [string, string]>): string {
  let lines = '';
  for (const [name, value] of headers) {
    if (name === '' || name === 'content-length') continue;
    lines += `${escaped(version, name)}:${escaped(version, value)}\n`;
  }
  return lines;
}

function unescapedLines(headers: Iterable<readonly [string, string]>): string {
  const written = new Set(['', 'content-length']);
  let lines = '';
  for (const [original, value] of headers) {
    const name = unescapableName(original);
    if (written.has(name)) continue;
    written.add(name);
    lines += `${name}:${unescapableValue(value)}\n`;
  }
  return lines;
}
