import { FrameError } from '../../../src/stomp/codec/frame-error.js';
import { FrameReader, type FrameLimits } from '../../../src/stomp/codec/frame-reader.js';
import type { Frame, StompVersion } from '../../../src/stomp/codec/frame.js';

export const VERSIONS: readonly StompVersion[] = ['1.0', '1.1', '1.2'];
export const LIMITS: FrameLimits = { headerCount: 100, headerBytes: 65_536, bodyBytes: 1_048_576 };

/** A frame in a form that compares: the body in hexadecimal. */
export interface Read {
  readonly command: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string;
}

/** What a stream was read as; heart-beats that follow each other count as one. */
export interface Outcome {
  readonly found: readonly (Read | 'heart-beat')[];
  readonly error: string | null;
}

export const readOf = ({ command, headers, body }: Frame): Read => ({
  command,
  headers: [...headers],
  body: body.toString('hex'),
});

/** Cut at these places, in any order, as far as they lie inside. */
export function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const inside = [...new Set(places.filter((place) => place > 0 && place < bytes.length))].toSorted((a, b) => a - b);
  // Copies, as a socket gives them: what reads beyond its chunk is found out.
  return [0, ...inside].map((from, index) => Buffer.from(bytes.subarray(from, inside[index] ?? bytes.length)));
}

/** Reads everything after each push, or after the last one, as a session does. `look` sees the reader after each step. */
export function outcomeOf(
  chunks: Iterable<Buffer>,
  version: StompVersion = '1.2',
  limits: FrameLimits = LIMITS,
  look: (reader: FrameReader) => void = () => undefined,
  when: 'as pushed' | 'all pushed first' = 'as pushed',
): Outcome {
  const reader = new FrameReader(limits);
  reader.version = version;
  const found: (Read | 'heart-beat')[] = [];
  const readAll = (): void => {
    for (let next = reader.read(); next !== undefined; next = reader.read()) {
      if (next !== 'heart-beat') found.push(readOf(next));
      else if (found.at(-1) !== 'heart-beat') found.push(next);
      look(reader);
    }
    look(reader);
  };
  try {
    for (const chunk of chunks) {
      reader.push(chunk);
      if (when === 'as pushed') readAll();
    }
    readAll();
    return { found, error: null };
  } catch (error) {
    if (!(error instanceof FrameError)) throw error;
    look(reader);
    return { found, error: `${error.code}: ${error.message}` };
  }
}

/** The frames of a text, one character per byte, without heart-beats. Throws where there is an error. */
export function framesOf(text: string | Buffer, version: StompVersion = '1.2', limits: FrameLimits = LIMITS): Frame[] {
  const reader = new FrameReader(limits);
  reader.version = version;
  reader.push(typeof text === 'string' ? Buffer.from(text, 'latin1') : text);
  const frames: Frame[] = [];
  for (let next = reader.read(); next !== undefined; next = reader.read()) {
    if (next !== 'heart-beat') frames.push(next);
  }
  return frames;
}

/** The one frame of a text. */
export function frameOf(text: string | Buffer, version: StompVersion = '1.2', limits: FrameLimits = LIMITS): Frame {
  const frames = framesOf(text, version, limits);
  if (frames.length !== 1) throw new Error(`${frames.length} frames where one was expected`);
  return frames[0]!;
}
