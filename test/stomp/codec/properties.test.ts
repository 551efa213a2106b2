import fc from 'fast-check';
import { encodeFrame } from '../../../src/stomp/codec/encode-frame.js';
import { MAX_COMMAND_BYTES } from '../../../src/stomp/codec/frame-reader.js';
import type { StompVersion } from '../../../src/stomp/codec/frame.js';
import { contents, garbage, places, type Content } from './arbitrary.js';
import { cut, LIMITS, outcomeOf, VERSIONS, type Read } from './support.js';

const encoded = (version: StompVersion, { command, headers, body }: Content): Buffer =>
  encodeFrame(version, command, headers, body);

/** What a frame is read as that was written from this. */
const readOf = ({ command, headers, body }: Content): Read => ({
  command,
  headers: body === undefined ? headers : [...headers, ['content-length', String(body.length)]],
  body: (body ?? Buffer.alloc(0)).toString('hex'),
});

describe.each(VERSIONS)('STOMP %s', (version) => {
  it('frames come back as they were written, between heart-beats, however they are cut', () => {
    const streams = fc.array(fc.tuple(contents(version), fc.constantFrom('', '\n', '\r\n', '\n\n\r\n')), {
      maxLength: 5,
    });
    fc.assert(
      fc.property(streams, places, (stream, cuts) => {
        const bytes = Buffer.concat(stream.flatMap(([frame, beats]) => [encoded(version, frame), Buffer.from(beats)]));
        const expected = stream.flatMap(([frame, beats]) => [readOf(frame), ...(beats === '' ? [] : ['heart-beat'])]);
        expect(outcomeOf(cut(bytes, cuts), version)).toEqual({ found: expected, error: null });
      }),
    );
  });

  it('whatever is written is one frame, has no other header and the same body', () => {
    const anything = fc.string({ unit: fc.constantFrom('\0', '\n', '\r', ':', '\\', ' ', 'a', '\ud800', '\u00e4') });
    const commands = fc.constantFrom('MESSAGE', 'CONNECTED');
    fc.assert(
      fc.property(commands, fc.array(fc.tuple(anything, anything)), anything, (command, headers, text) => {
        const body = Buffer.from(text);
        const { found, error } = outcomeOf([encodeFrame(version, command, headers, body)], version);
        expect({ error, frames: found.length }).toEqual({ error: null, frames: 1 });
        const [read] = found as Read[];
        expect(read?.body).toBe(body.toString('hex'));
        expect(read!.headers.length - 1).toBeLessThanOrEqual(new Set(headers.map(([name]) => name)).size);
        expect(read!.headers.at(-1)).toEqual(['content-length', String(body.length)]);
      }),
    );
  });

  it('garbage is refused with a FrameError or read, the same however it is cut', () => {
    fc.assert(
      fc.property(garbage, places, (bytes, cuts) => {
        // outcomeOf lets no other error pass.
        expect(outcomeOf(cut(bytes, cuts), version)).toEqual(outcomeOf([bytes], version));
      }),
      { numRuns: 500 },
    );
  });

  it('never holds more than the limits allow', () => {
    const limits = fc.record({ headerCount: fc.nat(5), headerBytes: fc.nat(60), bodyBytes: fc.nat(40) });
    const streams = fc.oneof(
      garbage,
      contents(version).map((content) => encoded(version, content)),
    );
    let held = 0;
    fc.assert(
      fc.property(streams, places, limits, (bytes, cuts, limit) => {
        // One more for the carriage return of a blank line.
        const most = MAX_COMMAND_BYTES + limit.headerBytes + limit.bodyBytes + 1;
        let here = 0;
        outcomeOf(cut(bytes, cuts), version, limit, (reader) => (here = Math.max(here, reader.bufferedBytes)));
        expect(here).toBeLessThanOrEqual(most);
        held = Math.max(held, here);
      }),
      { numRuns: 300 },
    );
    // It was no test of nothing.
    expect(held).toBeGreaterThan(40);
  });
});

it('what ends in the middle of a frame holds what has come of it, and nothing after its end', () => {
  fc.assert(
    fc.property(contents('1.2'), fc.nat(), (content, n) => {
      const bytes = encoded('1.2', content);
      const end = n % bytes.length;
      let held = -1;
      outcomeOf([bytes.subarray(0, end)], '1.2', LIMITS, ({ bufferedBytes }) => (held = bufferedBytes));
      // Ends of the command's line and of the headers are not held.
      expect(held).toBeGreaterThanOrEqual(Math.max(0, end - 2));
      expect(held).toBeLessThanOrEqual(end);
      outcomeOf([bytes], '1.2', LIMITS, ({ bufferedBytes }) => (held = bufferedBytes));
      expect(held).toBe(0);
    }),
  );
});
