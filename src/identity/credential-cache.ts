/** How many of one kind are remembered; the oldest go first. What was found and what was not have room of their own. */
const MAX_FOUND = 5_000;
const MAX_MISSING = 10_000;
const FOUND_FOR_MS = 2_000;
const MISSING_FOR_MS = 500;
const MAX_BATCH = 500;
const MAX_BATCHES_IN_FLIGHT = 2;

interface Pending<Wanted, Value> {
  readonly wanted: Wanted;
  readonly answer: PromiseWithResolvers<Value | null>;
}

/**
 * Looks credentials up in the database and remembers for two seconds what it found, for half a second what it did not
 * find. Whoever hears of a revocation calls `forget`; the two seconds are for revocations that nobody heard of, and for keys
 * that expire. They cost a pod one look-up per key in two seconds, however often the key is used.
 *
 * Look-ups of what is not remembered are gathered while others are under way and go to the database together, at most
 * two statements at a time: so that a flood of wrong keys, each different, takes two connections and not all of them,
 * and right keys are answered with the next batch. Callers that ask for the same key share one look-up.
 */
export class CredentialCache<Wanted, Value> {
  private readonly found = new Map<string, { readonly value: Value; readonly until: number }>();
  private readonly missing = new Map<string, number>();
  private readonly pending = new Map<string, Pending<Wanted, Value>>();
  private gathered: string[] = [];
  private batchesInFlight = 0;
  /** How often something was forgotten: what was asked before that may be what has just been revoked. */
  private forgotten = 0;

  /** `load` returns what exists among the wanted, under the same names as `get` is called with. */
  constructor(
    private readonly load: (wanted: readonly Wanted[]) => Promise<ReadonlyMap<string, Value>>,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** The credential, or null where there is none. `name` says the whole of `wanted`. Throws what `load` throws. */
  get(name: string, wanted: Wanted): Promise<Value | null> {
    const now = this.now();
    const found = this.found.get(name);
    if (found !== undefined && now < found.until) return Promise.resolve(found.value);
    if (now < (this.missing.get(name) ?? -Infinity)) return Promise.resolve(null);
    const known = this.pending.get(name);
    if (known !== undefined) return known.answer.promise;
    const answer = Promise.withResolvers<Value | null>();
    this.pending.set(name, { wanted, answer });
    this.gathered.push(name);
    if (this.batchesInFlight < MAX_BATCHES_IN_FLIGHT) void this.loadGathered();
    return answer.promise;
  }

  /** Forgets what fits, and what is being looked up right now: that is answered, and not remembered. */
  forget(fits: (name: string, value: Value) => boolean = () => true): void {
    this.forgotten += 1;
    for (const [name, { value }] of this.found) if (fits(name, value)) this.found.delete(name);
  }

  /** Number of entries held, for tests of the bounds. */
  get size(): number {
    return this.found.size + this.missing.size + this.pending.size;
  }

  /** Loads batches until nothing is left. Never throws: each caller is told of its own batch's failure. */
  private async loadGathered(): Promise<void> {
    this.batchesInFlight += 1;
    while (this.gathered.length > 0) {
      const names = this.gathered.slice(0, MAX_BATCH);
      this.gathered = this.gathered.slice(MAX_BATCH);
      await this.loadBatch(names);
    }
    this.batchesInFlight -= 1;
  }

  private async loadBatch(names: readonly string[]): Promise<void> {
    const batch = names.flatMap((name) => {
      const pending = this.pending.get(name);
      return pending === undefined ? [] : [{ name, ...pending }];
    });
    // The time counts from before the statement: a revocation that commits after it is noticed 2 s later at the latest.
    const asked = this.now();
    const { forgotten } = this;
    try {
      const values = await this.load(batch.map((entry) => entry.wanted));
      for (const { name, answer } of batch) {
        const value = values.get(name);
        if (value === undefined) remember(this.missing, name, asked + MISSING_FOR_MS, MAX_MISSING);
        else if (forgotten === this.forgotten) {
          remember(this.found, name, { value, until: asked + FOUND_FOR_MS }, MAX_FOUND);
        }
        this.pending.delete(name);
        answer.resolve(value ?? null);
      }
    } catch (error) {
      for (const { name, answer } of batch) {
        this.pending.delete(name);
        answer.reject(error);
      }
    }
  }
}

function remember<Value>(entries: Map<string, Value>, name: string, value: Value, max: number): void {
  // Deleted first, so that the map's order is the age and its first entry the oldest.
  entries.delete(name);
  entries.set(name, value);
  if (entries.size <= max) return;
  const oldest = entries.keys().next();
  if (oldest.done !== true) entries.delete(oldest.value);
}
