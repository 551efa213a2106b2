import { ServiceError } from '../../errors/service-error.js';
import { RoomSleep } from './room-sleep.js';

/**
 * One waiter: a long poll, later a STOMP subscription. Its states: waiting (in the room's line), served by a claim
 * that is under way, done. It leaves by being given something, by its deadline (with nothing), by going away, or by
 * an error of the database.
 */
interface Waiter<Request, Found> {
  readonly request: Request;
  readonly resolve: (found: Found | null) => void;
  readonly reject: (error: unknown) => void;
  /** The client went away: it must be given nothing any more. */
  isGone: boolean;
  /** The deadline passed while a claim for it was under way. */
  isLate: boolean;
  isDone: boolean;
}

/** What a room asks of its surroundings. `Found` is what one claim brings. */
export interface RoomTasks<Request, Found> {
  /** Claims for one waiter; null where nothing is visible. */
  claim(request: Request): Promise<Found | null>;
  /** Gives back what was claimed for a waiter who went away meanwhile. */
  giveBack(found: Found): Promise<void>;
  /** Milliseconds until the next message is visible; below 0: it is, but locked; null: none. */
  millisecondsUntilVisible(): Promise<number | null>;
  /** The room is empty and its loop has ended. */
  closed(): void;
}

/** How long a lost notification may keep somebody waiting. */
const SLOW_POLL_MS = 10_000;
/**
 * Where a claim has found something there may be more: then twice as many are served at once, so that their claims are
 * merged. From one on again where one has found nothing, so that one message wakes one waiter. A hint that comes while
 * claims are under way has one more claimed for, since what it tells of need not wait for the commits of the others.
 */
const MOST_AT_ONCE = 32;
/**
 * Who joins a line that was looked for so recently finds nothing that the others have not found: whatever has become visible since
 * was hinted. So ten thousand who come again and again cost a look a second, and a lost hint is made good as soon by newcomers.
 */
const LOOKED_RECENTLY_MS = 1000;

/**
 * Everybody on this pod who waits for one range of messages, in the order in which they came. One loop claims for the
 * first in line, for more of them while there is more to have, and otherwise sleeps until a hint, the next visibility,
 * or the slow poll, so that the number of statements depends on the ranges, not on how many wait. No connection is held
 * while it sleeps.
 */
export class WaitingRoom<Request, Found> {
  private readonly line: Waiter<Request, Found>[] = [];
  private readonly serving = new Set<Waiter<Request, Found>>();
  /** Whom the claims under way are for, and what comes of them: true where one finds something. None while the loop sleeps. */
  private round: { readonly waiter: Waiter<Request, Found>; readonly hasFound: Promise<boolean> }[] = [];
  private atOnce = 1;
  private lookAgain = false;
  private isRunning = false;
  private lookedAt = -Infinity;
  private isClosed = false;
  private readonly sleep: RoomSleep;

  constructor(
    private readonly tasks: RoomTasks<Request, Found>,
    slowPollMs = SLOW_POLL_MS,
  ) {
    this.sleep = new RoomSleep(
      {
        millisecondsUntilVisible: () => tasks.millisecondsUntilVisible(),
        mayGoOn: () => this.lookAgain || this.line.length === 0,
      },
      slowPollMs,
    );
  }

  get size(): number {
    return this.line.length;
  }

  /**
   * Waits for at most `timeoutMs`. Null: nothing came. The caller sees to it that whoever puts knows of this room before.
   */
  async wait(request: Request, timeoutMs: number, signal: AbortSignal): Promise<Found | null> {
    if (signal.aborted || this.isClosed) return null;
    const { promise, resolve, reject } = Promise.withResolvers<Found | null>();
    const waiter: Waiter<Request, Found> = { request, resolve, reject, isGone: false, isLate: false, isDone: false };
    const timer = setTimeout(() => this.leave(waiter), timeoutMs);
    const onAbort = (): void => {
      waiter.isGone = true;
      this.leave(waiter);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    this.line.push(waiter);
    if (!this.isRunning) void this.serve();
    else if (performance.now() - this.lookedAt > LOOKED_RECENTLY_MS) this.look();
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Something is visible now, or will be: never a reason to believe it, always a reason to look. */
  hint(inMs: number): void {
    if (inMs <= 0) this.look();
    else this.sleep.hint(inMs);
  }

  /** Sends everybody away with nothing: the pod stops. */
  close(): void {
    this.isClosed = true;
    for (const waiter of this.line.slice()) this.leave(waiter);
    this.sleep.wake();
  }

  private look(): void {
    if (this.claimBeside()) return;
    this.lookAgain = true;
    this.sleep.wake();
  }

  /** One more claim beside those under way; false where there are none, or nobody to claim for. It sees what was hinted. */
  private claimBeside(): boolean {
    if (this.round.length === 0 || this.round.length >= MOST_AT_ONCE) return false;
    const next = this.line.find((waiter) => !this.serving.has(waiter));
    if (next === undefined) return false;
    this.round.push({ waiter: next, hasFound: this.serveOne(next) });
    return true;
  }

  private leave(waiter: Waiter<Request, Found>): void {
    // A claim for this waiter is under way: its end decides, since what it brings must not be lost.
    if (this.serving.has(waiter)) waiter.isLate = true;
    else this.finish(waiter, null);
  }

  private finish(waiter: Waiter<Request, Found>, found: Found | null): void {
    if (waiter.isDone) return;
    waiter.isDone = true;
    const index = this.line.indexOf(waiter);
    if (index >= 0) this.line.splice(index, 1);
    waiter.resolve(found);
    // The loop need not sleep on for somebody who has left.
    if (this.line.length === 0) this.sleep.wake();
  }

  private async serve(): Promise<void> {
    this.isRunning = true;
    while (this.line.length > 0) {
      this.lookAgain = false;
      this.sleep.forgetHints();
      this.lookedAt = performance.now();
      for (const waiter of this.line.slice(0, this.atOnce)) {
        this.round.push({ waiter, hasFound: this.serveOne(waiter) });
      }
      let found = 0;
      // It may grow meanwhile.
      for (const { hasFound } of this.round) if (await hasFound) found += 1;
      const { round } = this;
      this.round = [];
      this.atOnce = found === round.length ? Math.min(found * 2, MOST_AT_ONCE) : 1;
      // Nobody has found anything, and nobody has left, who would have the next one looked for.
      if (found === 0 && round.every(({ waiter }) => !waiter.isDone)) await this.sleepOrFail();
    }
    this.isRunning = false;
    this.tasks.closed();
  }

  /** True where something was found. */
  private async serveOne(waiter: Waiter<Request, Found>): Promise<boolean> {
    this.serving.add(waiter);
    try {
      const found = await this.tasks.claim(waiter.request);
      this.serving.delete(waiter);
      if (found !== null) {
        this.sleep.forgetRetries();
        await this.hand(found, waiter);
      } else if (waiter.isLate || waiter.isGone) {
        this.finish(waiter, null);
      }
      return found !== null;
    } catch (error) {
      this.serving.delete(waiter);
      this.fail(waiter, error);
      return false;
    }
  }

  private async sleepOrFail(): Promise<void> {
    const [first] = this.line;
    try {
      await this.sleep.untilLook();
    } catch (error) {
      if (first !== undefined) this.fail(first, error);
    }
  }

  /**
   * A statement that failed is the failure of the one it was for: nobody knows what it has done. That the database
   * cannot be reached, which is known only after a while, is everybody's, but of those whose claims are under way.
   */
  private fail(first: Waiter<Request, Found>, error: unknown): void {
    const isEverybodys = error instanceof ServiceError && error.code === 'ServiceUnavailable';
    for (const waiter of isEverybodys ? this.line.slice() : [first]) {
      if (waiter.isDone || this.serving.has(waiter)) continue;
      waiter.isDone = true;
      waiter.reject(error);
    }
    this.line.splice(0, this.line.length, ...this.line.filter(({ isDone }) => !isDone));
  }

  private async hand(found: Found, waiter: Waiter<Request, Found>): Promise<void> {
    this.finish(waiter, waiter.isGone ? null : found);
    if (waiter.isGone) await this.tasks.giveBack(found);
  }
}
