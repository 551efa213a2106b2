/**
 * From here on a piece is kept as it came, so that its bytes are copied once, when the body is whole. Below, it is
 * copied to the others: the object around it would take more memory than its bytes. So is a piece that is the smaller part
 * of its chunk, because it would keep all of that.
 */
const KEPT_BYTES = 2048;
const FIRST_BLOCK_BYTES = 256;
const BLOCK_BYTES = 16_384;

const EMPTY = Buffer.alloc(0);

/**
 * A body that comes in pieces. What it holds follows what has come and not what was announced: a content-length costs
 * its sender nothing.
 */
export class BodyPieces {
  private pieces: Buffer[] = [];
  /** Where small pieces are put together; the last of the pieces, as far as it is filled. */
  private block: Buffer = EMPTY;
  private filled = 0;
  private held = 0;

  get bytes(): number {
    return this.held;
  }

  add(chunk: Buffer, start: number, end: number): void {
    this.held += end - start;
    if (end - start >= KEPT_BYTES && (end - start) * 2 >= chunk.buffer.byteLength) {
      this.closeBlock();
      this.pieces.push(chunk.subarray(start, end));
      return;
    }
    for (let from = start; from < end;) {
      if (this.filled === this.block.length) this.openBlock();
      const copied = chunk.copy(this.block, this.filled, from, end);
      this.filled += copied;
      from += copied;
    }
  }

  /** All of them as one, which is the caller's; nothing is held afterwards. */
  take(): Buffer {
    this.closeBlock();
    const body = Buffer.concat(this.pieces, this.held);
    this.pieces = [];
    this.held = 0;
    return body;
  }

  private openBlock(): void {
    const bytes = Math.min(BLOCK_BYTES, Math.max(FIRST_BLOCK_BYTES, this.held));
    this.closeBlock();
    this.block = Buffer.allocUnsafeSlow(bytes);
  }

  private closeBlock(): void {
    if (this.filled > 0) this.pieces.push(this.block.subarray(0, this.filled));
    this.block = EMPTY;
    this.filled = 0;
  }
}

/** A copy of these bytes: a view would keep the whole chunk, 64 KiB of it for a body of ten bytes. */
export function copyOf(chunk: Buffer, start: number, end: number): Buffer {
  if (start === end) return EMPTY;
  const body = Buffer.allocUnsafe(end - start);
  chunk.copy(body, 0, start, end);
  return body;
}
