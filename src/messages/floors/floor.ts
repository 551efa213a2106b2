/** What a look found, in milliseconds since 1970 by the database's clock. */
export interface Look {
  /** Claims from here on find all that was committed by then. */
  readonly floorMs: number;
  /** The database's time before the look. */
  readonly lookedAtMs: number;
}

/** Looks from a time on; null: from the beginning. */
export type LookFrom = (fromMs: number | null) => Promise<Look>;

/** The floor rises by looks that begin where it is, which are cheap. */
export const LOOK_EVERY_MS = 250;
/** Looks from the beginning find what was committed too late, below the floor. They take at most a twentieth of the time. */
export const LOOK_AT_ALL_EVERY_MS = 2000;
export const LOOK_AT_ALL_AT_MOST_EVERY_MS = 60_000;
const SHARE = 20;
/** Where there are fewer claims than so many between two looks the claims themselves begin at the beginning. */
export const LEAST_CLAIMS = 8;

/**
 * Of one range: where claims begin to look. Its states:
 *
 *   unknown   claims begin at the beginning; so it is where there are few of them
 *   known     claims begin at the floor, which a look raises now and then, and one from the beginning sets anew
 *
 * A look takes its time, and what it found is dropped where the floor was lowered meanwhile.
 */
export class Floor {
  private knownFromMs: number | null = null;
  /** Since the last look, and since the last one from the beginning. */
  private claims = 0;
  private claimsSinceAll = 0;
  private lookedAtMs = -Infinity;
  private nextLook: number;
  private nextLookAtAll: number;
  private lookAtAllEveryMs = LOOK_AT_ALL_EVERY_MS;
  private isLooking = false;
  /** Raised whenever what looks under way will find is no longer to be trusted. */
  private generation = 0;

  constructor(
    private readonly look: LookFrom,
    /** The look from the beginning found what claims have missed. */
    private readonly missed: () => void,
    private readonly clock: () => number = () => performance.now(),
  ) {
    this.nextLook = clock();
    this.nextLookAtAll = this.nextLook + LOOK_EVERY_MS;
  }

  /** For a claim that begins now: from when on to look; null: from the beginning. May begin a look, which nobody waits for. */
  forClaim(): number | null {
    this.claims += 1;
    this.claimsSinceAll += 1;
    if (!this.isLooking) this.lookIfDue(this.clock());
    return this.knownFromMs;
  }

  private lookIfDue(now: number): void {
    if (now >= this.nextLookAtAll) {
      if (this.claimsSinceAll < LEAST_CLAIMS) this.forget();
      else this.begin(null, now);
    } else if (now >= this.nextLook && this.claims >= LEAST_CLAIMS && this.knownFromMs !== null) {
      this.begin(this.knownFromMs, now);
    }
  }

  /** Since when a claim must look, as far as is known; null: from the beginning. */
  get fromMs(): number | null {
    return this.knownFromMs;
  }

  /** Something is, or will be, visible since `ms`. */
  lower(ms: number): void {
    this.generation += 1;
    if (this.knownFromMs !== null) this.knownFromMs = Math.min(this.knownFromMs, ms);
  }

  /** Nothing is known any more. */
  forget(): void {
    this.generation += 1;
    this.knownFromMs = null;
    this.lookedAtMs = -Infinity;
    this.claimsSinceAll = 0;
    this.nextLookAtAll = this.clock() + this.lookAtAllEveryMs;
  }

  private begin(fromMs: number | null, now: number): void {
    this.isLooking = true;
    this.claims = 0;
    if (fromMs === null) this.claimsSinceAll = 0;
    const { generation } = this;
    this.look(fromMs)
      .then((found) => this.found(found, fromMs === null, generation, this.clock() - now))
      // Without it claims go on from the floor that is known, until the next look.
      .catch(() => {
        this.nextLookAtAll = Math.max(this.nextLookAtAll, this.clock() + LOOK_EVERY_MS);
      })
      .finally(() => {
        this.isLooking = false;
        this.nextLook = this.clock() + LOOK_EVERY_MS;
      });
  }

  private found({ floorMs, lookedAtMs }: Look, isAtAll: boolean, generation: number, tookMs: number): void {
    // The database's clock went back, or it is another database: what is stored now may lie below what was true.
    if (lookedAtMs < this.lookedAtMs) return this.forget();
    this.lookedAtMs = lookedAtMs;
    if (!isAtAll) {
      if (generation === this.generation) this.knownFromMs = floorMs;
      return;
    }
    this.lookAtAllEveryMs = Math.min(Math.max(tookMs * SHARE, LOOK_AT_ALL_EVERY_MS), LOOK_AT_ALL_AT_MOST_EVERY_MS);
    this.nextLookAtAll = this.clock() + this.lookAtAllEveryMs;
    if (generation !== this.generation) return;
    const hasMissed = this.knownFromMs !== null && floorMs < this.knownFromMs;
    this.knownFromMs = floorMs;
    if (hasMissed) this.missed();
  }
}
