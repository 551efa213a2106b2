import { isUtf8 } from 'node:buffer';

const LF = 10;
const CR = 13;
const FIRST_BYTES = 128;
const EMPTY = Buffer.alloc(0);

/** What `collect` returns where it does not find the end of the line. */
export const NOT_YET = -1;
export const TOO_LONG = -2;
export const FOUND_NULL = -3;

/**
 * The line that is being read. It looks at each byte once, however many pieces the line comes in, and copies only those
 * lines that come in several. After `collect` has found the end, and until it is called again, the line can be asked for.
 */
export class LineCollector {
  /** What came in earlier pieces, without the end of the line. */
  private earlier: Buffer = EMPTY;
  private earlierBytes = 0;
  /** The bits of all its bytes, so that the highest says whether it is ASCII. */
  private bits = 0;
  private hasReturn = false;
  private isWhole = false;
  private bytes: Buffer = EMPTY;
  private start = 0;
  private end = 0;

  /** Held of a line that is not whole yet. */
  get heldBytes(): number {
    return this.isWhole ? 0 : this.earlierBytes;
  }

  /**
   * Reads on in `chunk` from `offset`. Returns the offset behind the line feed, or NOT_YET, with all of the chunk used up;
   * TOO_LONG where the line has more than `most` bytes, its line feed not counted; FOUND_NULL where it contains one.
   */
  collect(chunk: Buffer, offset: number, most: number): number {
    if (this.isWhole) this.clear();
    const limit = Math.min(chunk.length, offset + most - this.earlierBytes + 1);
    let { bits } = this;
    for (let at = offset; at < limit; at += 1) {
      // Within its bounds, so never undefined.
      const byte = chunk[at]!;
      if (byte <= CR) {
        if (byte === LF) {
          this.bits = bits;
          this.finish(chunk, offset, at);
          return at + 1;
        }
        if (byte === 0) return FOUND_NULL;
        if (byte === CR) this.hasReturn = true;
      }
      bits |= byte;
    }
    if (limit < chunk.length || this.earlierBytes + chunk.length - offset > most) return TOO_LONG;
    this.bits = bits;
    this.keep(chunk, offset, chunk.length);
    return NOT_YET;
  }

  /** In bytes, of the whole line without its line feed. */
  get length(): number {
    return this.end - this.start;
  }

  /** Takes off one carriage return at the end. */
  trimCarriageReturn(): void {
    if (this.hasReturn && this.end > this.start && this.bytes[this.end - 1] === CR) this.end -= 1;
  }

  hasCarriageReturn(): boolean {
    return this.hasReturn && this.bytes.subarray(this.start, this.end).includes(CR);
  }

  isUtf8(): boolean {
    return this.isAscii || isUtf8(this.bytes.subarray(this.start, this.end));
  }

  text(): string {
    return this.bytes.toString(this.isAscii ? 'latin1' : 'utf8', this.start, this.end);
  }

  /** Forgets everything. */
  clear(): void {
    this.earlier = EMPTY;
    this.earlierBytes = 0;
    this.bits = 0;
    this.hasReturn = false;
    this.isWhole = false;
    this.bytes = EMPTY;
  }

  private get isAscii(): boolean {
    return this.bits < 128;
  }

  private finish(chunk: Buffer, start: number, end: number): void {
    this.isWhole = true;
    if (this.earlierBytes === 0) {
      this.bytes = chunk;
      this.start = start;
      this.end = end;
      return;
    }
    this.keep(chunk, start, end);
    this.bytes = this.earlier;
    this.start = 0;
    this.end = this.earlierBytes;
  }

  private keep(chunk: Buffer, start: number, end: number): void {
    const needed = this.earlierBytes + end - start;
    if (needed > this.earlier.length) {
      const larger = Buffer.allocUnsafe(Math.max(FIRST_BYTES, needed, this.earlier.length * 2));
      this.earlier.copy(larger, 0, 0, this.earlierBytes);
      this.earlier = larger;
    }
    this.earlierBytes += chunk.copy(this.earlier, this.earlierBytes, start, end);
  }
}
