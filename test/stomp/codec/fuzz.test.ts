import { encodeFrame } from '../../../src/stomp/codec/encode-frame.js';
import { type FrameReader, MAX_COMMAND_BYTES, type FrameLimits } from '../../../src/stomp/codec/frame-reader.js';
import type { StompVersion } from '../../../src/stomp/codec/frame.js';
import { cut, LIMITS, outcomeOf, VERSIONS } from './support.js';

/*
 * Streams of valid frames with random damage, read whole and in random pieces. The same seed makes the same run:
 *
 *   TOWPATH_FUZZ_SEED=1234 TOWPATH_FUZZ_STREAMS=100000 npm test -- test/stomp/codec/fuzz
 */
const SEED = Number(process.env['TOWPATH_FUZZ_SEED'] ?? Date.now() % 2 ** 31);
const STREAMS = Number(process.env['TOWPATH_FUZZ_STREAMS'] ?? 1000);

/** mulberry32: from 0 to 1, by the seed. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const COMMANDS = ['SEND', 'CONNECT', 'STOMP', 'SUBSCRIBE', 'ACK', 'CONNECTED', 'MESSAGE'];
const NAMES = ['destination', 'receipt', 'accept-version', 'a:b', '\u00fc', 'x', 'content-type'];
const VALUES = ['/queue/a', '1.0', '1.0,1.2', 'a:b\\c\nd\r', '', ' padded ', '\u{1f600}', 'v'.repeat(60)];
const DAMAGE = [
  '\n',
  '\r',
  '\r\n',
  '\0',
  ':',
  '\\',
  '\\n',
  '\\x',
  ' ',
  '\xff',
  '\xc3',
  'content-length:9\n',
  '\n\n',
  'A',
];
const TIGHT: FrameLimits = { headerCount: 4, headerBytes: 100, bodyBytes: 50 };

class Fuzz {
  constructor(private readonly random: () => number) {}

  below(end: number): number {
    return Math.floor(this.random() * end);
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]!;
  }

  list<Item>(most: number, make: () => Item): Item[] {
    return Array.from({ length: this.below(most + 1) }, make);
  }

  stream(version: StompVersion): Buffer {
    return Buffer.concat(
      this.list(4, () => {
        const headers = this.list(5, () => [this.pick(NAMES), this.pick(VALUES)] as const);
        const body = Buffer.from(this.list(this.pick([0, 10, 200]), () => this.below(256)));
        const frame = encodeFrame(version, this.pick(COMMANDS), headers, this.below(2) === 0 ? body : undefined);
        return Buffer.concat([frame, Buffer.from(this.pick(['', '', '\n', '\r\n', '\n\n']))]);
      }),
    );
  }

  /** With one thing changed. */
  damaged(bytes: Buffer): Buffer {
    const [at, to] = [this.below(bytes.length + 1), this.below(bytes.length + 1)].toSorted((a, b) => a - b) as [
      number,
      number,
    ];
    const [before, range, after] = [bytes.subarray(0, at), bytes.subarray(at, to), bytes.subarray(to)];
    const rest = bytes.subarray(at);
    switch (this.below(6)) {
      case 0:
        return Buffer.concat([before, Buffer.from(this.pick(DAMAGE), 'latin1'), rest]);
      case 1:
        return Buffer.concat([before, Buffer.from(this.pick(DAMAGE), 'latin1'), rest.subarray(1)]);
      case 2:
        return Buffer.concat([before, Buffer.from([this.below(256)]), rest.subarray(1)]);
      case 3:
        return Buffer.concat([before, rest.subarray(1 + this.below(8))]);
      case 4:
        return Buffer.concat([before, range, range, after]);
      default:
        return before;
    }
  }

  pieces(bytes: Buffer): Buffer[] {
    const every = this.pick([1, 3, 20, 100]);
    return cut(
      bytes,
      this.list(Math.ceil((bytes.length * 2) / every), () => this.below(bytes.length)),
    );
  }
}

it(`${STREAMS} damaged streams, seed ${SEED}: the same in any pieces, bounded, and no other error`, () => {
  const fuzz = new Fuzz(randomFrom(SEED));
  let frames = 0;
  let refused = 0;
  for (let stream = 0; stream < STREAMS; stream += 1) {
    const version = fuzz.pick(VERSIONS);
    const limits = fuzz.pick([LIMITS, TIGHT]);
    let bytes = fuzz.stream(version);
    for (let damage = fuzz.below(4); damage > 0; damage -= 1) bytes = fuzz.damaged(bytes);

    const most = MAX_COMMAND_BYTES + limits.headerBytes + limits.bodyBytes + 1;
    let held = 0;
    const look = ({ bufferedBytes }: FrameReader): void => void (held = Math.max(held, bufferedBytes));
    const whole = outcomeOf([bytes], version, limits, look);
    const chunks = fuzz.pieces(bytes);
    const inPieces = outcomeOf(chunks, version, limits, look);
    const readLate = outcomeOf(chunks, version, limits, undefined, 'all pushed first');

    const where = { seed: SEED, stream, version, bytes: bytes.toString('latin1') };
    expect({ ...where, ...inPieces }).toEqual({ ...where, ...whole });
    expect({ ...where, ...readLate }).toEqual({ ...where, ...whole });
    expect({ ...where, isBounded: held <= Math.min(most, bytes.length) }).toEqual({ ...where, isBounded: true });
    frames += whole.found.length;
    if (whole.error !== null) refused += 1;
  }
  // It was no test of streams that end at once, nor of whole ones only.
  expect(frames).toBeGreaterThan(STREAMS / 2);
  expect(refused).toBeGreaterThan(STREAMS / 10);
  expect(refused).toBeLessThan(STREAMS * 0.9);
});

function streamsOf(seed: number): string[] {
  const fuzz = new Fuzz(randomFrom(seed));
  return Array.from({ length: 10 }, () => fuzz.damaged(fuzz.stream('1.2')).toString('hex'));
}

it('the same seed makes the same streams, and another others', () => {
  expect(streamsOf(1)).toEqual(streamsOf(1));
  expect(streamsOf(1)).not.toEqual(streamsOf(2));
});
