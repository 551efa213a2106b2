/** As long as somebody else was there within this time, one caller does not get all slots. */
const RECENT_MS = 1000;

interface Waiter {
  readonly lane: string | null;
  /** Smaller: it came before. */
  readonly number: number;
  readonly enter: () => void;
}

export interface Turn {
  readonly entered: Promise<void>;
  readonly leave: () => void;
}

/**
 * So many slots (database connections), and who gets one when there are less than are wanted: the caller that has the
 * fewest, among those with as many the one that waits longest. While several callers are at work, one of them has half of the
 * slots at most: so a slot is free when another one comes, and the database is not busy with one caller alone. What the pod does
 * by itself (lane null) is a lane too, and no caller.
 */
export class FairSlots {
  private free: number;
  /** By lane, in the order in which they came; lanes in which nobody waits are none. */
  private readonly lanes = new Map<string | null, Set<Waiter>>();
  private came = 0;
  private count = 0;
  private readonly held = new Map<string | null, number>();
  private latest: string | null = null;
  private changedAt = -Infinity;

  constructor(
    private readonly slots: number,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.free = slots;
  }

  get waiting(): number {
    return this.count;
  }

  /** Undefined: the slot is there. Else `entered` resolves when it is, unless `leave` was called before. */
  take(lane: string | null): Turn | undefined {
    this.notice(lane);
    if (this.free > 0 && this.mayEnter(lane)) {
      this.enter(lane);
      return undefined;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiter: Waiter = { lane, number: this.came++, enter: resolve };
    const waiters = this.lanes.get(lane);
    if (waiters === undefined) this.lanes.set(lane, new Set([waiter]));
    else waiters.add(waiter);
    this.count += 1;
    return {
      entered: promise,
      leave: () => {
        // It may have come just now: then it goes back.
        if (!this.remove(waiter)) this.give(lane);
      },
    };
  }

  /** Gives a slot back. */
  give(lane: string | null): void {
    const left = (this.held.get(lane) ?? 1) - 1;
    if (left > 0) this.held.set(lane, left);
    else this.held.delete(lane);
    this.free += 1;
    while (this.free > 0) {
      const next = this.next();
      if (next === undefined) return;
      this.remove(next);
      this.enter(next.lane);
      next.enter();
    }
  }

  private enter(lane: string | null): void {
    this.free -= 1;
    this.held.set(lane, this.heldBy(lane) + 1);
  }

  private next(): Waiter | undefined {
    let next: Waiter | undefined;
    let fewest = Infinity;
    for (const [lane, waiters] of this.lanes) {
      const [first] = waiters;
      if (first === undefined || !this.mayEnter(lane)) continue;
      const held = this.heldBy(lane);
      if (next === undefined || held < fewest || (held === fewest && first.number < next.number)) {
        next = first;
        fewest = held;
      }
    }
    return next;
  }

  /** False: it does not wait any more. */
  private remove(waiter: Waiter): boolean {
    const waiters = this.lanes.get(waiter.lane);
    if (waiters?.delete(waiter) !== true) return false;
    if (waiters.size === 0) this.lanes.delete(waiter.lane);
    this.count -= 1;
    return true;
  }

  private mayEnter(lane: string | null): boolean {
    return lane === null || this.heldBy(lane) < this.mostOfOne;
  }

  private get mostOfOne(): number {
    return this.now() - this.changedAt < RECENT_MS ? Math.ceil(this.slots / 2) : this.slots;
  }

  private notice(lane: string | null): void {
    if (lane === null || lane === this.latest) return;
    if (this.latest !== null) this.changedAt = this.now();
    this.latest = lane;
  }

  private heldBy(lane: string | null): number {
    return this.held.get(lane) ?? 0;
  }
}
