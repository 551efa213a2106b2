import { ServiceError } from '../errors/service-error.js';

/*
 * What large request bodies and answers may take of a pod's memory together, so that it depends on the configuration
 * and not on how many clients send or read at once. One number says how much is held. Who wants more than there is
 * waits in line, for a while; three lines have limits of their own, so that the small never wait behind the large:
 *
 *   large   bodies over SMALL_BYTES, and full answers: three quarters of the budget
 *   claim   the least that a get needs: seven eighths
 *   small   bodies up to SMALL_BYTES: all of it
 *
 * What is held is an estimate: a body counts several times (see BODY_COPIES in src/rest/request-body.ts), an answer
 * before its claim with the most that JSON can make of it, and from then on with its true size.
 *
 * A transfer (a body that arrives, an answer that the client reads) that is slow keeps its room only while nobody
 * needs it.
 */

/** Bodies and answers up to here do not wait behind larger ones. */
export const SMALL_BYTES = 65_536;
/** An answer that is not read after so long is given up. Bodies have the server's requestTimeout, which is the same. */
const UNREAD_MS = 60_000;
const LOOK_EVERY_MS = 250;
const RETRY_AFTER_SECONDS = 2;

const LINES = ['small', 'claim', 'large'] as const;
type Line = (typeof LINES)[number];
const SHARE: Readonly<Record<Line, number>> = { small: 1, claim: 7 / 8, large: 3 / 4 };

interface Waiter {
  readonly hold: Hold;
  readonly bytes: number;
  /** It has what it waited for, or wants it no more. */
  readonly leave: () => void;
}

export interface MemoryBudgetOptions {
  readonly bytes: number;
  /** How long somebody may wait for room. */
  readonly waitMs: number;
  readonly unreadMs?: number;
}

/** Bytes on their way to or from a client. */
export interface Transfer {
  /** Whether it may be cut off in favour of others. */
  readonly isSlow: () => boolean;
  readonly cut: () => void;
}

export class MemoryBudget {
  /** How many requests were refused because there was no room for too long. */
  refused = 0;
  /** How many transfers were cut off. */
  cutOff = 0;
  private heldBytes = 0;
  private readonly lines: Readonly<Record<Line, Set<Waiter>>> = {
    small: new Set(),
    claim: new Set(),
    large: new Set(),
  };
  /** In the order in which they began. */
  private readonly transfers = new Map<Hold, Transfer>();
  private looking: NodeJS.Timeout | null = null;
  private madeRoomAt = -Infinity;

  constructor(private readonly options: MemoryBudgetOptions) {}

  get bytes(): number {
    return this.options.bytes;
  }

  get held(): number {
    return this.heldBytes;
  }

  get waiting(): number {
    return LINES.reduce((sum, line) => sum + this.lines[line].size, 0);
  }

  /** The account of one request. Whatever it takes is given back by its `release`. */
  open(): Hold {
    return new Hold(this);
  }

  /** For Hold only. */
  fits(line: Line, bytes: number): boolean {
    return this.heldBytes + bytes <= this.options.bytes * SHARE[line];
  }

  /** For Hold only: whether somebody waits there. */
  hasLine(line: Line): boolean {
    return this.lines[line].size > 0;
  }

  /** For Hold only: how much there is room for. */
  roomOf(line: Line): number {
    return Math.max(0, this.options.bytes * SHARE[line] - this.heldBytes);
  }

  /** For Hold only. */
  add(bytes: number): void {
    this.heldBytes += bytes;
    if (bytes < 0 && this.looking !== null) this.serve();
  }

  /** For Hold only. Throws ServiceUnavailable where there is no room for too long. */
  wait(line: Line, hold: Hold, bytes: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiters = this.lines[line];
    const timer = setTimeout(() => {
      waiters.delete(waiter);
      this.refused += 1;
      reject(
        new ServiceError('ServiceUnavailable', 'too many large requests are under way here at the moment: try again', {
          retryAfterSeconds: RETRY_AFTER_SECONDS,
        }),
      );
    }, this.options.waitMs);
    const leave = (): void => {
      clearTimeout(timer);
      waiters.delete(waiter);
      resolve();
    };
    const waiter: Waiter = { hold, bytes, leave };
    waiters.add(waiter);
    this.looking ??= setInterval(() => this.look(), LOOK_EVERY_MS);
    this.makeRoom();
    return promise;
  }

  /** For Hold only. */
  started(hold: Hold, transfer: Transfer): void {
    this.transfers.set(hold, transfer);
  }

  /** For Hold only. */
  ended(hold: Hold): void {
    this.transfers.delete(hold);
  }

  /** For Hold only: what its request waits for is wanted no more. */
  forget(hold: Hold): void {
    for (const line of LINES) {
      for (const waiter of this.lines[line]) if (waiter.hold === hold) waiter.leave();
    }
  }

  get unreadMs(): number {
    return this.options.unreadMs ?? UNREAD_MS;
  }

  /** Somebody could not have what they want: those that are slow make room. */
  makeRoom(): void {
    const now = performance.now();
    if (now - this.madeRoomAt < LOOK_EVERY_MS) return;
    this.madeRoomAt = now;
    for (const [hold, transfer] of this.transfers) {
      if (transfer.isSlow()) this.cut(hold, transfer);
    }
  }

  cut(hold: Hold, transfer: Transfer): void {
    this.cutOff += 1;
    hold.release();
    transfer.cut();
  }

  private look(): void {
    this.makeRoom();
    this.serve();
    if (this.waiting > 0 || this.looking === null) return;
    clearInterval(this.looking);
    this.looking = null;
  }

  private serve(): void {
    for (const line of LINES) {
      for (const { hold, bytes, leave } of this.lines[line]) {
        if (!this.fits(line, bytes)) break;
        hold.set(hold.bytes + bytes);
        leave();
      }
    }
  }
}

/** What one request holds of the budget. */
export class Hold {
  private heldBytes = 0;
  private unread: NodeJS.Timeout | undefined;

  constructor(private readonly budget: MemoryBudget) {}

  get bytes(): number {
    return this.heldBytes;
  }

  /**
   * Takes so many bytes more, behind those that wait already. Undefined: done; a promise where it has to wait, which
   * fails with ServiceUnavailable after a while.
   */
  take(line: Line, bytes: number): Promise<void> | undefined {
    if (!this.budget.fits(line, bytes) || this.budget.hasLine(line)) return this.budget.wait(line, this, bytes);
    this.set(this.heldBytes + bytes);
    return undefined;
  }

  /** Takes up to `atMost` bytes without waiting, but `atLeast` or nothing. Tells how many. */
  takeUpTo(atMost: number, atLeast: number): number {
    const free = this.budget.roomOf('large');
    const bytes = Math.min(atMost, Math.max(free, atLeast));
    if (!this.budget.fits('large', bytes)) {
      this.budget.makeRoom();
      if (!this.budget.fits('claim', bytes)) return 0;
    }
    this.set(this.heldBytes + bytes);
    return bytes;
  }

  /** Holds exactly so many bytes from now on, whether there is room or not: they are there already. */
  set(bytes: number): void {
    const more = bytes - this.heldBytes;
    this.heldBytes = bytes;
    this.budget.add(more);
  }

  /** A body arrives from now on, until `arrived` or `release`. */
  arrives(transfer: Transfer): void {
    this.budget.started(this, transfer);
  }

  arrived(): void {
    this.budget.ended(this);
  }

  /** An answer of so many bytes is read from now on, until `release`; what was held before is over. */
  sends(bytes: number, transfer: Transfer): void {
    this.set(bytes);
    this.budget.started(this, transfer);
    this.unread = setTimeout(() => this.budget.cut(this, transfer), this.budget.unreadMs);
    this.unread.unref();
  }

  /** Gives everything back, and waits for nothing any more. May be called again. */
  release(): void {
    if (this.budget.waiting > 0) this.budget.forget(this);
    if (this.heldBytes === 0) return;
    clearTimeout(this.unread);
    this.budget.ended(this);
    this.set(0);
  }
}
