import { SMALL_BYTES, type Hold, type MemoryBudget } from '../memory/memory-budget.js';
import { FrameReader, type FrameLimits } from './codec/frame-reader.js';
import type { StompFigures } from './stomp-figures.js';

/** What a stranger may send: a CONNECT frame. */
const LOGIN_LIMITS: FrameLimits = { headerCount: 32, headerBytes: 8192, bodyBytes: 1024 };
const HEADER_LIMITS = { headerCount: 256, headerBytes: 65_536 };
/** A large body of which nothing has come for so long is cut off, if others need the memory. */
const STALLED_MS = 5000;

/**
 * What a session has read of its connection, with the memory that it takes: bodies that wait to be stored count as they are,
 * and a body that is larger than SMALL_BYTES as the longest allowed, from that point on until it is whole. So a pod never
 * has more half bodies than it has room for whole ones.
 */
export class Intake {
  readonly reader = new FrameReader(LOGIN_LIMITS);
  /** Of frames and heart-beats. */
  receivedBytes = 0;
  /** When the last byte came, on the monotonic clock. */
  lastReceivedAt = performance.now();
  private readonly hold: Hold;
  private isReserved = false;
  private maxBodyBytes = LOGIN_LIMITS.bodyBytes;

  constructor(
    memory: MemoryBudget,
    private readonly figures: StompFigures,
    private readonly cut: () => void,
  ) {
    this.hold = memory.open();
  }

  /** The client is known: frames may be as large as messages are. */
  admit(maxBodyBytes: number): void {
    this.maxBodyBytes = maxBodyBytes;
    this.reader.limits = { ...HEADER_LIMITS, bodyBytes: maxBodyBytes };
  }

  push(chunk: Buffer): void {
    this.lastReceivedAt = performance.now();
    this.receivedBytes += chunk.length;
    this.figures.receivedBytes += chunk.length;
    this.reader.push(chunk);
  }

  /**
   * Counts what is held, `waitingBytes` of it by frames that were read. Undefined: done. A promise: there is no room for the
   * rest of a large body at the moment; it fails with ServiceUnavailable after a while. Nothing must be read until then.
   */
  account(waitingBytes: number): Promise<void> | undefined {
    const isLarge = this.reader.bufferedBytes > SMALL_BYTES;
    if (!isLarge && this.isReserved) {
      this.isReserved = false;
      this.hold.arrived();
    }
    this.hold.set(waitingBytes + (this.isReserved ? this.maxBodyBytes : 0));
    if (!isLarge || this.isReserved) return undefined;
    this.isReserved = true;
    this.hold.arrives({
      isSlow: () => performance.now() - this.lastReceivedAt > STALLED_MS,
      cut: this.cut,
    });
    return this.hold.take('large', this.maxBodyBytes);
  }

  end(): void {
    // Also where it holds nothing yet, since it waits.
    this.hold.arrived();
    this.hold.release();
  }
}
