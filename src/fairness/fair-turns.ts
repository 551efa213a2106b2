/**
 * What is begun in one turn of the event loop, in units of a small request. More wait for the next turn, so that a turn
 * stays short and whoever comes meanwhile has not to wait for everything that came before.
 */
const UNITS_PER_TURN = 4;

interface Waiter {
  readonly cost: number;
  readonly begin: () => void;
}

interface Lane {
  readonly waiters: Waiter[];
  /** What it has had since somebody waits, or what the others had when it came. */
  had: number;
}

/**
 * Says when each request begins, so that those of one caller do not stand before everybody else's. While fewer come than
 * a turn takes, nobody waits. Else the lane that has had the least comes first; within one they begin as they came. What
 * one lane could have and does not want the others get.
 */
export class FairTurns {
  private readonly lanes = new Map<string, Lane>();
  private waiters = 0;
  private left = UNITS_PER_TURN;
  private isUnderWay = false;
  /** What the lane had that was served last: a lane that comes later does not get what it did not ask for before. */
  private level = 0;

  /** `nextTurn` calls back in the next turn of the event loop. */
  constructor(private readonly nextTurn: (callBack: () => void) => void = setImmediate) {}

  /** How many wait. */
  get waiting(): number {
    return this.waiters;
  }

  /** How many wait in this lane. */
  waitingIn(lane: string): number {
    return this.lanes.get(lane)?.waiters.length ?? 0;
  }

  /** Lanes that are remembered; none while nobody waits. */
  get size(): number {
    return this.lanes.size;
  }

  /** Undefined: it may begin now. A promise where it is not its turn. */
  take(lane: string, cost = 1): Promise<void> | undefined {
    if (!this.isUnderWay) {
      this.isUnderWay = true;
      this.nextTurn(() => this.turn());
    }
    if (this.left > 0 && this.waiters === 0) {
      this.left -= cost;
      this.laneOf(lane).had += cost;
      return undefined;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.laneOf(lane).waiters.push({ cost, begin: resolve });
    this.waiters += 1;
    return promise;
  }

  private turn(): void {
    this.isUnderWay = false;
    this.left = UNITS_PER_TURN;
    while (this.left > 0 && this.waiters > 0) this.beginOne();
    if (this.waiters > 0) {
      this.isUnderWay = true;
      this.nextTurn(() => this.turn());
    } else {
      // Nobody was kept waiting for what they had.
      this.lanes.clear();
      this.level = 0;
    }
  }

  private beginOne(): void {
    let next: Lane | undefined;
    for (const lane of this.lanes.values()) {
      if (lane.waiters.length > 0 && (next === undefined || lane.had < next.had)) next = lane;
    }
    const waiter = next?.waiters.shift();
    if (next === undefined || waiter === undefined) return;
    this.level = next.had;
    next.had += waiter.cost;
    this.left -= waiter.cost;
    this.waiters -= 1;
    waiter.begin();
  }

  private laneOf(name: string): Lane {
    let lane = this.lanes.get(name);
    if (lane === undefined) {
      lane = { waiters: [], had: this.level };
      this.lanes.set(name, lane);
    } else if (lane.waiters.length === 0) {
      lane.had = Math.max(lane.had, this.level);
    }
    return lane;
  }
}
