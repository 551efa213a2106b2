// Frames per second of the STOMP codec against the parser and the serializer of @stomp/stompjs, in one process, in turns,
// by the processor time that each takes, so that what else the machine does matters little. In chunks of 64 KiB, as
// sockets give them. No database.
//
//   npm run bench:stomp-codec        bodies of 200 bytes and 64 kB, 4 MB of frames each, 7 rounds
//   BENCH_ROUNDS=20 …                more rounds
import { FrameImpl, Parser } from '@stomp/stompjs';
import { encodeFrame } from '../dist/stomp/codec/encode-frame.js';
import { FrameReader } from '../dist/stomp/codec/frame-reader.js';
import { machine, median, say } from './support.mjs';

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 7);
const WARM_UP = 2;
const BYTES = 4_000_000;
const CHUNK_BYTES = 65_536;
const LIMITS = { headerCount: 100, headerBytes: 65_536, bodyBytes: 1_048_576 };

const HEADERS = [
  ['destination', 'ocid1.queue.oc1..aaaaaaaaexamplequeueidwithsixtycharactersaaaaaaaaaaaaaaa/orders'],
  ['receipt', 'receipt-1234567'],
  ['content-type', 'application/json'],
  ['priority', 'high\\n:1'],
];
/** An object as stompjs takes it, and a list as we do; not what is measured. */
const OBJECT = Object.fromEntries(HEADERS);

say(machine());
for (const bodyBytes of [200, 64_000]) compare(bodyBytes);

function compare(bodyBytes) {
  const body = Buffer.alloc(bodyBytes, 'x');
  const frame = encodeFrame('1.2', 'SEND', HEADERS, body);
  const frames = Math.ceil(BYTES / frame.length);
  const chunks = inChunks(Buffer.concat(Array.from({ length: frames }, () => frame)));
  const buffers = chunks.map((chunk) => new Uint8Array(chunk).buffer);
  say(
    `\nSEND frames of ${frame.length} bytes with a body of ${bodyBytes}, ${HEADERS.length} headers and content-length`,
  );
  inTurns('read', frames, frame.length, {
    towpath: () => readByUs(chunks),
    stompjs: () => readByStompjs(buffers),
  });
  inTurns('written', frames, frame.length, {
    towpath: () => repeat(frames, () => encodeFrame('1.2', 'SEND', HEADERS, body).length),
    stompjs: () =>
      repeat(
        frames,
        () =>
          FrameImpl.marshall({ command: 'SEND', headers: OBJECT, binaryBody: body, escapeHeaderValues: true })
            .byteLength,
      ),
  });
}

function inTurns(what, frames, frameBytes, contestants) {
  const taken = new Map(Object.keys(contestants).map((name) => [name, []]));
  for (let round = 0; round < ROUNDS + WARM_UP; round += 1) {
    for (const [name, run] of Object.entries(contestants)) {
      const before = process.cpuUsage();
      const done = run();
      if (done !== frames) throw new Error(`${name}: ${done} of ${frames} frames`);
      const { user, system } = process.cpuUsage(before);
      if (round >= WARM_UP) taken.get(name).push((user + system) / 1000);
    }
  }
  const rates = new Map([...taken].map(([name, ms]) => [name, (frames / median(ms)) * 1000]));
  for (const [name, rate] of rates) {
    say(
      `  ${what} by ${name}: ${Math.round(rate).toLocaleString('en-US')} frames/s, ${((rate * frameBytes) / 1e6).toFixed(0)} MB/s, ` +
        `${(1e6 / rate).toFixed(2)} µs per frame`,
    );
  }
  say(`  ratio ${(rates.get('towpath') / rates.get('stompjs')).toFixed(1)}`);
}

function readByUs(chunks) {
  const reader = new FrameReader(LIMITS);
  let frames = 0;
  for (const chunk of chunks) {
    reader.push(chunk);
    for (let next = reader.read(); next !== undefined; next = reader.read()) frames += 1;
  }
  return frames;
}

/** With what its client does for each frame, which is where it unescapes. */
function readByStompjs(buffers) {
  let frames = 0;
  const parser = new Parser(
    (raw) => {
      FrameImpl.fromRawFrame(raw, true);
      frames += 1;
    },
    () => undefined,
  );
  for (const buffer of buffers) parser.parseChunk(buffer);
  return frames;
}

function repeat(times, write) {
  let written = 0;
  for (let n = 0; n < times; n += 1) if (write() > 0) written += 1;
  return written;
}

function inChunks(bytes) {
  const chunks = [];
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) chunks.push(Buffer.from(bytes.subarray(at, at + CHUNK_BYTES)));
  return chunks;
}
