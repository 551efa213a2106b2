import fc from 'fast-check';
import type { StompVersion } from '../../../src/stomp/codec/frame.js';

export interface Content {
  readonly command: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Buffer | undefined;
}

/** Any but surrogates. fast-check's own unit `binary` takes seconds to set up. */
const characters = fc
  .oneof(fc.nat(0xff), fc.nat(0xffff), fc.nat(0x10ffff))
  .filter((code) => code < 0xd800 || code > 0xdfff)
  .map((code) => String.fromCodePoint(code));

/** Of characters of all sorts, often of those that mean something in a frame. Without what `forbidden` matches. */
function texts(forbidden: RegExp): fc.Arbitrary<string> {
  const unit = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom('\\', ':', '\n', '\r', 'n', 'r', 'c', ' ', '\t', 'a') },
    { weight: 2, arbitrary: characters },
  );
  return fc.string({ unit, maxLength: 12 }).filter((text) => !forbidden.test(text));
}

// eslint-disable-next-line no-control-regex
const NULL = /\0/;
// What 1.0 and CONNECTED cannot write, or may lose: ends of lines, padding.
// eslint-disable-next-line no-control-regex
const PLAIN_VALUE = /[\0\r\n]|^[ \t]|[ \t]$/;
// eslint-disable-next-line no-control-regex
const PLAIN_NAME = /[\0\r\n:]|^[ \t]|[ \t]$/;

export const bodies: fc.Arbitrary<Buffer> = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));

/** Frames that come back as they were sent in this version. */
export function contents(version: StompVersion): fc.Arbitrary<Content> {
  const commands = fc.constantFrom('SEND', 'MESSAGE', 'ACK', 'CONNECTED', 'X');
  return commands.chain((command) => {
    const isPlain = version === '1.0' || command === 'CONNECTED';
    const names = texts(isPlain ? PLAIN_NAME : NULL).filter((name) => name !== '' && name !== 'content-length');
    const headers = fc.uniqueArray(fc.tuple(names, texts(isPlain ? PLAIN_VALUE : NULL)), {
      maxLength: 6,
      selector: ([name]) => name,
    });
    return fc.record({
      command: fc.constant(command),
      headers,
      body: fc.option(bodies, { nil: undefined }),
    });
  });
}

/** Where to cut: often everywhere. */
export const places: fc.Arbitrary<readonly number[]> = fc.oneof(
  fc.array(fc.nat(2000), { maxLength: 30 }),
  fc.constant(Array.from({ length: 2000 }, (_, index) => index)),
);

/** Bytes that look like frames here and there. */
export const garbage: fc.Arbitrary<Buffer> = fc
  .array(
    fc.oneof(
      fc.constantFrom('SEND\n', 'CONNECT\r\n', 'STOMP\n', 'content-length:', 'accept-version:', 'receipt:1\n', 'a:b\n'),
      fc.constantFrom('\n', '\r\n', '\0', ':', '\\', '\\n', '\r', ' ', '5', '300', '\n\n', '\xc3\xa4', '\xff'),
      fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
    ),
    { maxLength: 40 },
  )
  .map((parts) => Buffer.from(parts.join(''), 'latin1'));
