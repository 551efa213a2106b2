import { FrameImpl, Parser } from '@stomp/stompjs';
import fc from 'fast-check';
import { Writable } from 'node:stream';
import stompit, { type IncomingFrame } from 'stompit';
import { encodeFrame } from '../../../src/stomp/codec/encode-frame.js';
import type { StompVersion } from '../../../src/stomp/codec/frame.js';
import { bodies, places, type Content } from './arbitrary.js';
import { cut, outcomeOf, VERSIONS } from './support.js';

/** A frame as all can tell it: the header length is a number in one of them and missing in none that has a body. */
interface Told {
  readonly command: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

function byUs(chunks: Iterable<Buffer>, version: StompVersion): Told[] {
  const { found, error } = outcomeOf(chunks, version);
  if (error !== null) throw new Error(error);
  return found
    .filter((next) => next !== 'heart-beat')
    .map(({ command, headers, body }) => ({ command, headers: Object.fromEntries(headers), body }));
}

function byStompjs(chunks: Iterable<Buffer>, version: StompVersion): Told[] {
  const told: Told[] = [];
  const parser = new Parser(
    (raw) => {
      const { command, headers, binaryBody } = FrameImpl.fromRawFrame(raw, version !== '1.0');
      told.push({
        command,
        headers: Object.fromEntries(Object.entries(headers)),
        body: Buffer.from(binaryBody).toString('hex'),
      });
    },
    () => undefined,
  );
  for (const chunk of chunks) parser.parseChunk(new Uint8Array(chunk).buffer);
  return told;
}

async function byStompit(chunks: Iterable<Buffer>, version: StompVersion): Promise<Told[]> {
  const stream = new stompit.IncomingFrameStream({ maxLineLength: 65_536 });
  stream.setVersion(version);
  for (const chunk of chunks) stream.write(chunk);
  stream.end();
  const told: Told[] = [];
  for await (const frame of stream as AsyncIterable<IncomingFrame>) {
    const body: Buffer[] = [];
    for await (const piece of frame) body.push(piece as Buffer);
    const headers = Object.fromEntries(Object.entries(frame.headers).map(([name, value]) => [name, String(value)]));
    told.push({ command: frame.command, headers, body: Buffer.concat(body).toString('hex') });
  }
  return told;
}

function writtenByStompjs(version: StompVersion, { command, headers, body }: Content): Buffer {
  const frame = FrameImpl.marshall({
    command,
    headers: Object.fromEntries(headers),
    escapeHeaderValues: version !== '1.0',
    ...(body !== undefined && { binaryBody: body }),
  });
  return typeof frame === 'string' ? Buffer.from(frame) : Buffer.from(frame);
}

async function writtenByStompit(version: StompVersion, { command, headers, body }: Content): Promise<Buffer> {
  const written: Buffer[] = [];
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      written.push(chunk);
      done();
    },
  });
  const stream = new stompit.OutgoingFrameStream(destination);
  stream.setVersion(version);
  // It writes no content-length by itself.
  const all = Object.fromEntries(body === undefined ? headers : [...headers, ['content-length', String(body.length)]]);
  const frame = stream.frame(command, all);
  const { promise, resolve } = Promise.withResolvers<void>();
  frame.end(body, () => resolve());
  await promise;
  return Buffer.concat(written);
}

/** What all agree on: no padding, no carriage returns, no backslashes; in names nothing that needs an escape. */
const agreed = (version: StompVersion): fc.Arbitrary<Content> => {
  const plain = fc.constantFrom('a', 'Z', '0', '-', '/', '.', '\u00e4', '\u20ac', '\u{1f600}');
  const names = fc.string({ unit: plain, minLength: 1, maxLength: 10 }).filter((name) => Number.isNaN(Number(name)));
  const special = version === '1.0' ? fc.constantFrom(' ', ':') : fc.constantFrom(' ', ':', '\n');
  const inner = fc.string({ unit: fc.oneof(plain, special), maxLength: 10 });
  const values = fc.tuple(plain, inner, plain).map((parts) => parts.join(''));
  return fc.record({
    command: fc.constantFrom('SEND', 'MESSAGE', 'RECEIPT', 'X'),
    headers: fc.uniqueArray(fc.tuple(names, values), { maxLength: 5, selector: ([name]) => name }),
    body: fc.option(bodies, { nil: undefined }),
  });
};

describe.each(VERSIONS)('STOMP %s', (version) => {
  it('what we write is read by @stomp/stompjs as by us', () => {
    fc.assert(
      fc.property(fc.array(agreed(version), { maxLength: 3 }), places, (frames, cuts) => {
        const bytes = Buffer.concat(
          frames.map(({ command, headers, body }) => encodeFrame(version, command, headers, body)),
        );
        const ours = byUs(cut(bytes, cuts), version);
        expect(ours).toHaveLength(frames.length);
        expect(byStompjs(cut(bytes, cuts), version)).toEqual(ours);
      }),
    );
  });

  it('what @stomp/stompjs writes is read by us as by itself, and as we write it', () => {
    fc.assert(
      fc.property(agreed(version), places, (content, cuts) => {
        const bytes = writtenByStompjs(version, content);
        expect(byUs(cut(bytes, cuts), version)).toEqual(byStompjs([bytes], version));
        expect(bytes).toEqual(encodeFrame(version, content.command, content.headers, content.body));
      }),
    );
  });

  it('what we write is read by stompit as by us', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(agreed(version), { maxLength: 3 }), async (frames) => {
        const bytes = Buffer.concat(
          frames.map(({ command, headers, body }) => encodeFrame(version, command, headers, body)),
        );
        expect(await byStompit([bytes], version)).toEqual(byUs([bytes], version));
      }),
    );
  });

  it('what stompit writes is read by us as by itself', async () => {
    await fc.assert(
      fc.asyncProperty(agreed(version), places, async (content, cuts) => {
        const bytes = await writtenByStompit(version, content);
        expect(byUs(cut(bytes, cuts), version)).toEqual(await byStompit([bytes], version));
      }),
    );
  });
});

const readByStompjs = (text: string, version: StompVersion): Told[] =>
  byStompjs([Buffer.from(text, 'latin1')], version);
const readByUs = (text: string, version: StompVersion): Told[] => byUs([Buffer.from(text, 'latin1')], version);
const frame = (headers: Record<string, string>, body = ''): Told[] => [
  { command: 'SEND', headers, body: Buffer.from(body).toString('hex') },
];

/** Where others read something else, or at all, and why we do not. A change of theirs shows here. */
describe('@stomp/stompjs differs on purpose', () => {
  it.each<[string, StompVersion, string, Record<string, string>, Record<string, string>]>([
    ['1.1 and 1.2: "MUST never trim or pad headers with spaces"', '1.2', 'a: b \n', { a: ' b ' }, { a: 'b' }],
    ['a backslash is unescaped once, from left to right', '1.2', 'a:\\\\n\n', { a: '\\n' }, { a: '\\\n' }],
    ['names have escapes as well: "header keys and values"', '1.2', 'a\\cb:c\n', { 'a:b': 'c' }, { 'a\\cb': 'c' }],
    [
      '1.1 and 1.0 have LF only: a carriage return is an octet as others',
      '1.1',
      'a:b\rc\n',
      { a: 'b\rc' },
      { a: 'bc' },
    ],
  ])('%s', (_, version, lines, ours, theirs) => {
    const text = `SEND\n${lines}\n\0`;
    expect(readByUs(text, version)).toEqual(frame(ours));
    expect(readByStompjs(text, version)).toEqual(frame(theirs));
  });

  it.each<[string, StompVersion, string]>([
    ['undefined escapes "MUST be treated as a fatal protocol error"', '1.2', 'SEND\na:\\t\n\n\0'],
    ['\\r is undefined in 1.1, which says so', '1.1', 'SEND\na:\\r\n\n\0'],
    ['1.2: a carriage return is escaped, or ends the line', '1.2', 'SEND\na:b\rc\n\n\0'],
    ['the body "needs to be terminated with a NULL octet"', '1.2', 'SEND\ncontent-length:1\n\nab'],
    ['content-length is an octet count', '1.2', 'SEND\ncontent-length:1x\n\na\0'],
    ['a frame begins with a command: NUL is none', '1.2', '\0SEND\n\n\0'],
    ['commands are upper case: "case sensitive"', '1.2', 'send\n\n\0'],
    ['headers "are encoded in UTF-8"', '1.2', 'SEND\na:\xff\n\n\0'],
    ['a header line has a name', '1.2', 'SEND\n:a\n\n\0'],
  ])('%s: we refuse what it reads', (_, version, text) => {
    expect(readByStompjs(text, version)).toHaveLength(1);
    expect(() => readByUs(text, version)).toThrow(/^InvalidFrame/);
  });

  it('a header without a colon is refused at its end, where it goes on looking for one', () => {
    expect(readByStompjs('SEND\na\nb:c\n\n\0', '1.2')).toEqual(frame({ 'a\nb': 'c' }));
    expect(() => readByUs('SEND\na\nb:c\n\n\0', '1.2')).toThrow(/a header without a colon: "a"/);
  });

  it('what it writes for a carriage return in STOMP 1.1 is an undefined escape there', () => {
    const bytes = writtenByStompjs('1.1', { command: 'SEND', headers: [['a', 'b\rc']], body: undefined });
    expect(bytes.toString()).toBe('SEND\na:b\\rc\n\n\0');
    expect(() => byUs([bytes], '1.1')).toThrow(/^InvalidFrame/);
  });
});

describe('stompit differs on purpose', () => {
  it('takes content-length as far as it is a number, and we all of it or nothing', async () => {
    const bytes = Buffer.from('SEND\ncontent-length:1x\n\na\0');
    expect(await byStompit([bytes], '1.2')).toHaveLength(1);
    expect(() => byUs([bytes], '1.2')).toThrow(/^InvalidFrame/);
  });

  it('takes the carriage return off in STOMP 1.1 as well, where it belongs to the value', async () => {
    const bytes = Buffer.from('SEND\na:b\r\n\n\0');
    expect(await byStompit([bytes], '1.1')).toMatchObject([{ headers: { a: 'b' } }]);
    expect(byUs([bytes], '1.1')).toMatchObject([{ headers: { a: 'b\r' } }]);
  });

  it('escapes names as values, as the specification says, so both read what it writes', async () => {
    const content: Content = { command: 'SEND', headers: [['a:b', 'c\\n:']], body: undefined };
    const bytes = await writtenByStompit('1.2', content);
    expect(byUs([bytes], '1.2')).toMatchObject([{ headers: { 'a:b': 'c\\n:' } }]);
    expect(await byStompit([bytes], '1.2')).toEqual(byUs([bytes], '1.2'));
  });
});
