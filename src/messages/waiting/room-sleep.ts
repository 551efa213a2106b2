/**
 * A message that is visible but was not claimed is locked by a get under way (should that one fail, it is free again),
 * or may not be had at the moment (a purge, too many in flight). So look again soon, then less and less often.
 */
const FIRST_RETRY_MS = 20;
const LAST_RETRY_MS = 1000;
/** Timers fire up to a millisecond early, and the database's clock is the one that counts. */
const MARGIN_MS = 1;

/** What a sleep asks of its surroundings. */
export interface SleepTasks {
  /** Milliseconds until the next message is visible; below 0: it is, but locked; null: none. */
  millisecondsUntilVisible(): Promise<number | null>;
  /** There is something to look for already, or nobody to look for. */
  mayGoOn(): boolean;
}

/**
 * The sleep of a waiting room that has found nothing: until the next message is visible, as far as the database and hints tell,
 * until it is woken, or until the slow poll.
 */
export class RoomSleep {
  /** When the earliest hinted message is visible, on the monotonic clock. */
  private hintedAt = Infinity;
  private retryMs = FIRST_RETRY_MS;
  /** The question to the database, while it is under way. */
  private asking: Promise<number | null> | null = null;
  private onWake: () => void = () => undefined;

  constructor(
    private readonly tasks: SleepTasks,
    private readonly slowPollMs: number,
  ) {}

  /** Wakes whoever sleeps; they sleep on where they may not go on. */
  wake(): void {
    this.onWake();
  }

  /** Something will be visible in so many milliseconds. */
  hint(inMs: number): void {
    const at = performance.now() + inMs + MARGIN_MS;
    if (at >= this.hintedAt) return;
    this.hintedAt = at;
    this.wake();
  }

  /** A look begins, which sees what was hinted until now. */
  forgetHints(): void {
    this.hintedAt = Infinity;
  }

  /** Something was found: what is visible can be had. */
  forgetRetries(): void {
    this.retryMs = FIRST_RETRY_MS;
  }

  /** Until it is time to look. Throws what the database throws. */
  async untilLook(): Promise<void> {
    const untilVisible = await this.ask();
    if (untilVisible === undefined) return;
    const now = performance.now();
    const nextVisible = untilVisible === null ? Infinity : now + this.pauseFor(untilVisible);
    while (!this.tasks.mayGoOn()) {
      // A hint may come while asleep, with an earlier time than any known: then sleep anew.
      const left = Math.min(nextVisible, this.hintedAt, now + this.slowPollMs) - performance.now();
      if (left <= 0) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, left);
      await this.orWoken(promise);
      clearTimeout(timer);
    }
  }

  /**
   * What the database says as of now; undefined: it may go on, and waits for no answer. One question at a time: one that nobody
   * waits for any more ends before the next, and tells nothing, since more may have come since.
   */
  private async ask(): Promise<number | null | undefined> {
    while (this.asking !== null && !this.tasks.mayGoOn()) await this.orWoken(this.asking.catch(() => null));
    if (this.tasks.mayGoOn()) return undefined;
    const asking = this.tasks.millisecondsUntilVisible().finally(() => {
      this.asking = null;
    });
    // Where nobody waits for it any more its failure is nobody's either.
    asking.catch(() => undefined);
    this.asking = asking;
    while (!this.tasks.mayGoOn()) {
      const answer = await this.orWoken(asking);
      if (answer !== undefined) return answer;
    }
    return undefined;
  }

  /** What comes of `promise`; undefined where it is woken before. */
  private async orWoken<Result>(promise: Promise<Result>): Promise<Result | undefined> {
    const { promise: woken, resolve } = Promise.withResolvers<undefined>();
    this.onWake = (): void => resolve(undefined);
    try {
      return await Promise.race([promise, woken]);
    } finally {
      this.onWake = (): void => undefined;
    }
  }

  private pauseFor(untilVisible: number): number {
    if (untilVisible > 0) {
      this.retryMs = FIRST_RETRY_MS;
      return untilVisible + MARGIN_MS;
    }
    const pause = this.retryMs;
    this.retryMs = Math.min(pause * 2, LAST_RETRY_MS);
    return pause;
  }
}
