import { BodyPieces, copyOf } from './body-pieces.js';
import { FrameError } from './frame-error.js';
import type { Frame, FrameLimits, StompVersion } from './frame.js';
import { HeaderReader } from './header-reader.js';
import { NOT_YET } from './line-collector.js';

export type { FrameLimits };

/*
 * The grammar, as the specifications of 1.0, 1.1 and 1.2 have it together:
 *
 *   stream   = *( EOL / frame )                 ; EOLs between frames are heart-beats
 *   frame    = command EOL *( header EOL ) EOL body NUL
 *   command  = 1*32( "A" to "Z" )
 *   header   = name ":" value                   ; at the first colon; a name has at least one octet
 *   body     = as many octets as content-length says, or without one all up to the NUL
 *   EOL      = [ CR ] LF
 *
 * What depends on the version, and where we go beyond:
 *
 * - Escapes: none in 1.0; \n \c \\ in 1.1; and \r in 1.2. Any other is an error. None in CONNECT, STOMP and CONNECTED.
 * - Padding: 1.0 shows examples with spaces around values, so spaces and tabs around names and values are taken off. 1.1
 *   and 1.2 forbid that. A CONNECT or STOMP frame is one of 1.0 where its accept-version names nothing newer.
 * - CR LF: each line of 1.2 may end so; any other carriage return has to be escaped. In 1.0 and 1.1 a carriage return is part
 *   of the line, but no command contains one: so where the command's line ends with CR LF, all lines of the frame do.
 * - A colon in a value should be escaped from 1.1 on. Many clients do not, and it is clear what they mean.
 * - Commands are not compared with the known ones (an unknown one is the session's to refuse), but are upper-case
 *   letters: so whoever speaks HTTP or TLS here is told at once.
 * - NUL in a header is refused in all versions: practically always it is a frame without the blank line.
 * - Of repeated headers the first counts, in 1.0 too, whose specification does not say. The others count in the limits.
 * - Headers are UTF-8, in 1.0 too, which says ASCII.
 * - Any frame may have a body here: to read it within the limits costs little, and 1.0 says that it is ignored.
 */

/** The longest command is UNSUBSCRIBE. */
export const MAX_COMMAND_BYTES = 32;

const LF = 10;
const CR = 13;
const TLS_HANDSHAKE = 22;
const EMPTY = Buffer.alloc(0);

type Collects = 'line ends' | 'command' | 'headers' | 'counted body' | 'body up to NUL' | 'NUL';

/**
 * Reads frames from a stream of bytes in chunks of any size. Every byte is looked at once, whatever the chunks are. Limits
 * hold while it reads: what goes beyond is refused when the byte comes that is one too many, or when content-length
 * announces it.
 *
 * A chunk that is pushed belongs to the reader, which does not copy it until it is read. A frame's body is a copy, so it
 * does not keep the chunk. After a FrameError there is nothing more to read: each `read` throws it again.
 */
export class FrameReader {
  /**
   * The version whose rules the next frame is read by. Set it after the CONNECT frame, before reading on; CONNECT and STOMP
   * frames are read by their own rules.
   */
  version: StompVersion = '1.2';

  private collects: Collects = 'line ends';
  /** Chunks not begun yet, from `nextChunk` on, behind the current one. */
  private chunks: Buffer[] = [];
  private nextChunk = 0;
  private chunk: Buffer | null = null;
  private offset = 0;

  /** The last octet was a carriage return, at a place where a line feed has to follow. */
  private hasReturn = false;
  private command = '';
  private readonly header = new HeaderReader();
  private readonly pieces = new BodyPieces();
  private body: Buffer | null = null;
  private failure: FrameError | null = null;

  constructor(
    /** May be replaced at any time; holds from the next byte on. */
    public limits: FrameLimits,
  ) {}

  /** What is held of a frame that is not whole yet: at most what the limits allow, and its command. */
  get bufferedBytes(): number {
    return this.command.length + this.header.heldBytes + this.pieces.bytes + (this.body?.length ?? 0);
  }

  /** What was pushed and not looked at yet. */
  get unreadBytes(): number {
    let bytes = this.chunk === null ? 0 : this.chunk.length - this.offset;
    for (let next = this.nextChunk; next < this.chunks.length; next += 1) bytes += this.chunks[next]?.length ?? 0;
    return bytes;
  }

  push(chunk: Buffer): void {
    if (chunk.length > 0 && this.failure === null) this.chunks.push(chunk);
  }

  /**
   * The next frame, or 'heart-beat' for ends of lines between frames, once for as many as have come together. `undefined`:
   * more bytes are needed. Throws FrameError.
   */
  read(): Frame | 'heart-beat' | undefined {
    if (this.failure !== null) throw this.failure;
    try {
      for (let chunk = this.current(); chunk !== null; chunk = this.current()) {
        const found = this.readOn(chunk);
        if (found !== undefined) return found;
      }
      return undefined;
    } catch (error) {
      if (error instanceof FrameError) this.giveUp(error);
      throw error;
    }
  }

  /** The chunk that has something to read; null: none. */
  private current(): Buffer | null {
    if (this.chunk !== null && this.offset < this.chunk.length) return this.chunk;
    this.chunk = this.chunks[this.nextChunk] ?? null;
    this.offset = 0;
    this.nextChunk += 1;
    if (this.nextChunk >= this.chunks.length) {
      this.chunks = [];
      this.nextChunk = 0;
    }
    return this.chunk;
  }

  private readOn(chunk: Buffer): Frame | 'heart-beat' | undefined {
    switch (this.collects) {
      case 'line ends':
        return this.readLineEnds(chunk);
      case 'command':
        return this.readCommand(chunk);
      case 'headers':
        return this.readHeaders(chunk);
      case 'counted body':
        return this.readCountedBody(chunk);
      case 'body up to NUL':
        return this.readBodyUpToNull(chunk);
      default:
        return this.readNull(chunk);
    }
  }

  private readLineEnds(chunk: Buffer): 'heart-beat' | undefined {
    let isHeartBeat = false;
    for (; this.offset < chunk.length; this.offset += 1) {
      const byte = chunk[this.offset];
      if (byte === LF) {
        isHeartBeat = true;
        this.hasReturn = false;
      } else if (byte === CR && !this.hasReturn) {
        this.hasReturn = true;
      } else {
        // What came before is told before what follows can fail.
        if (isHeartBeat) break;
        if (this.hasReturn) {
          throw new FrameError('InvalidFrame', 'a carriage return between frames: end lines with LF, or with CR LF');
        }
        this.collects = 'command';
        break;
      }
    }
    return isHeartBeat ? 'heart-beat' : undefined;
  }

  private readCommand(chunk: Buffer): undefined {
    const start = this.offset;
    let at = start;
    // All bytes that are looked at are within the chunk, so never undefined.
    if (!this.hasReturn) while (at < chunk.length && isUpperCase(chunk[at]!)) at += 1;
    if (this.command.length + at - start > MAX_COMMAND_BYTES) {
      throw new FrameError('TooLarge', `a command has at most ${MAX_COMMAND_BYTES} letters, such as SEND`);
    }
    this.command += chunk.toString('latin1', start, at);
    this.offset = at;
    if (at === chunk.length) return;
    const byte = chunk[at]!;
    this.offset += 1;
    if (byte === LF) {
      this.header.begin(this.command, this.version, this.hasReturn);
      this.hasReturn = false;
      this.collects = 'headers';
    } else if (byte === CR && !this.hasReturn) {
      this.hasReturn = true;
    } else {
      throw noCommand(this.command, byte);
    }
  }

  private readHeaders(chunk: Buffer): undefined {
    const next = this.header.read(chunk, this.offset, this.limits);
    this.offset = next === NOT_YET ? chunk.length : next;
    if (next === NOT_YET) return;
    this.collects = this.header.contentLength === null ? 'body up to NUL' : 'counted body';
  }

  private readCountedBody(chunk: Buffer): undefined {
    const length = this.header.contentLength ?? 0;
    const start = this.offset;
    const end = Math.min(chunk.length, start + length - this.pieces.bytes);
    this.offset = end;
    if (end - start === length) {
      this.body = copyOf(chunk, start, end);
    } else {
      this.pieces.add(chunk, start, end);
      if (this.pieces.bytes < length) return;
      this.body = this.pieces.take();
    }
    this.collects = 'NUL';
  }

  private readNull(chunk: Buffer): Frame {
    if (chunk[this.offset] !== 0) {
      throw this.header.error(
        'InvalidFrame',
        `no NUL after the ${this.header.contentLength} octets of the body that content-length announces: it counts octets, not characters`,
      );
    }
    return this.finish(this.body ?? EMPTY);
  }

  private readBodyUpToNull(chunk: Buffer): Frame | undefined {
    const start = this.offset;
    const found = chunk.indexOf(0, start);
    const end = found < 0 ? chunk.length : found;
    if (this.pieces.bytes + end - start > this.limits.bodyBytes) throw this.header.tooLargeBody(this.limits);
    this.offset = end;
    if (found >= 0 && this.pieces.bytes === 0) return this.finish(copyOf(chunk, start, end));
    this.pieces.add(chunk, start, end);
    return found < 0 ? undefined : this.finish(this.pieces.take());
  }

  /** At the NUL. */
  private finish(body: Buffer): Frame {
    const frame: Frame = { command: this.command, headers: this.header.end(), body };
    this.offset += 1;
    this.command = '';
    this.body = null;
    this.collects = 'line ends';
    return frame;
  }

  private giveUp(error: FrameError): void {
    this.failure = error;
    this.chunk = null;
    this.chunks = [];
    this.nextChunk = 0;
    this.command = '';
    this.header.end();
    this.pieces.take();
    this.body = null;
  }
}

function isUpperCase(byte: number): boolean {
  return byte >= 65 && byte <= 90;
}

function noCommand(before: string, byte: number): FrameError {
  const octet = `0x${byte.toString(16).padStart(2, '0')}`;
  const where = before === '' ? 'a frame begins with' : `after ${before} comes`;
  const guess = before === '' && byte === TLS_HANDSHAKE ? ' (this looks like TLS: the TLS port is another one)' : '';
  return new FrameError(
    'InvalidFrame',
    `${where} the octet ${octet}${guess}: a command is upper-case letters, such as CONNECT, and ends its line`,
  );
}
