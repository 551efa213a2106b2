import { isRefusedByDatabase } from '../../errors/catalogue.js';
import { ServiceError } from '../../errors/service-error.js';
import { thisLane, within, type Lane as CallerLane } from '../../fairness/lane.js';
import type { MergeCounts, MergeKind } from './merge-counts.js';

/*
 * Requests that come while statements of their kind are under way go to the database together, as one statement. So
 * commits and round trips are shared by as many as there are, and by nobody on an idle pod, where a request is sent in
 * the turn of the event loop in which it came. There is no timer.
 *
 * A lane is all that may be merged: requests with the same key. Its states:
 *
 *   idle      nothing waits and nothing is under way; the lane is forgotten
 *   gathering something waits, and is sent at the end of this turn of the event loop, or when a statement ends
 *             (a pod that has more requests than it can begin lets those of the same caller begin first, for MOST_WAIT_MS)
 *   full      IN_FLIGHT statements are under way; who comes waits, at most as many as the bounds allow
 *
 * What becomes of a request is what would have become of it alone:
 *
 *   - It is answered after the commit of its statement.
 *   - Where the server refuses a statement of several, nothing of it was done, and each request is tried by itself,
 *     once, in the order in which they came: only those that are at fault fail.
 *   - Where the outcome is unknown (the connection broke) nothing is tried again: all of the statement fail with 5xx.
 */

/** Two statements of a lane at a time: one is at the server's disk while the other is on its way. */
const IN_FLIGHT = 2;
/** How long a request waits, at most, for those of the same caller that have come and not begun. */
const MOST_WAIT_MS = 10;
const RETRY_AFTER_SECONDS = 1;

/** The request was not sent, because too many wait: a pod does not let them grow without end. */
export class TooManyWaiting extends ServiceError {
  constructor(kind: MergeKind) {
    super(
      'ServiceUnavailable',
      `too many ${kind} requests of this queue wait for the database here at the moment; nothing was done: try again`,
      { retryAfterSeconds: RETRY_AFTER_SECONDS },
    );
  }
}

/** How much of a statement a request is. */
export interface Weight {
  /** Messages, or receipts. */
  readonly entries: number;
  /** What it sends, or may bring. */
  readonly bytes: number;
}

export interface MergeBounds {
  /** False: each request is a statement of its own, at once. */
  readonly merging: boolean;
  /** Requests of a lane that may wait. */
  readonly maxWaitingRequests: number;
  /** What they may hold. */
  readonly maxWaitingBytes: number;
  /** How many requests of this one's caller have come and not begun, because it is not their turn. In the context of the request. */
  readonly backlog: () => number;
  /** How long a statement waits for a connection, and so a request for a database that is away. */
  readonly databaseWaitMs: number;
}

export interface MergerOptions<Request, Answer> {
  readonly kind: MergeKind;
  /** Of one statement; a request that is larger goes alone. */
  readonly most: Weight;
  readonly weigh: (request: Request) => Weight;
  /** Whether the bytes of a request are held while it waits: those that it sends are, those that it may bring are not. */
  readonly holdsBytes: boolean;
  /** Sends one statement for all of them; one answer per request, in order. */
  readonly run: (requests: readonly Request[]) => Promise<readonly Answer[]>;
  /** What a request is answered that nobody wants any more, before it is sent; null: it is wanted. */
  readonly unwanted?: (request: Request) => Answer | null;
}

interface Waiting<Request, Answer> {
  readonly request: Request;
  readonly weight: Weight;
  readonly heldBytes: number;
  readonly since: number;
  /** For whom what is done for it is done. */
  readonly caller: CallerLane | undefined;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

interface Lane<Request, Answer> {
  readonly key: string;
  readonly waiting: Waiting<Request, Answer>[];
  waitingBytes: number;
  inFlight: number;
  isScheduled: boolean;
}

/** Merges requests of one kind. */
export class RequestMerger<Request, Answer> {
  private readonly lanes = new Map<string, Lane<Request, Answer>>();

  constructor(
    private readonly options: MergerOptions<Request, Answer>,
    private readonly bounds: MergeBounds,
    private readonly counts: MergeCounts,
  ) {}

  /** How many lanes there are at the moment. */
  get size(): number {
    return this.lanes.size;
  }

  /**
   * Has the request done, with others of the same key where there are some. Throws TooManyWaiting, and what `run`
   * throws.
   */
  async submit(key: string, request: Request): Promise<Answer> {
    if (!this.bounds.merging) return this.alone(request);
    const lane = this.lanes.get(key) ?? this.open(key);
    const weight = this.options.weigh(request);
    const heldBytes = this.options.holdsBytes ? weight.bytes : 0;
    if (
      lane.waiting.length >= this.bounds.maxWaitingRequests ||
      (lane.waiting.length > 0 && lane.waitingBytes + heldBytes > this.bounds.maxWaitingBytes)
    ) {
      this.counts.refused += 1;
      throw new TooManyWaiting(this.options.kind);
    }
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const since = performance.now();
    lane.waiting.push({ request, weight, heldBytes, since, caller: thisLane(), resolve, reject });
    lane.waitingBytes += heldBytes;
    this.counts.waiting += 1;
    this.schedule(lane);
    return promise;
  }

  private open(key: string): Lane<Request, Answer> {
    const lane = { key, waiting: [], waitingBytes: 0, inFlight: 0, isScheduled: false };
    this.lanes.set(key, lane);
    return lane;
  }

  /** At the end of this turn, so that what came in with the same read of the network goes together. */
  private schedule(lane: Lane<Request, Answer>): void {
    if (lane.isScheduled || lane.inFlight >= IN_FLIGHT) return;
    lane.isScheduled = true;
    setImmediate(() => {
      lane.isScheduled = false;
      if (this.isWorthWaiting(lane)) this.schedule(lane);
      else this.start(lane);
    });
  }

  /** What has come and not begun may want the same statement, and begins in the next turns. */
  private isWorthWaiting({ waiting: [first] }: Lane<Request, Answer>): boolean {
    if (first === undefined || performance.now() - first.since > MOST_WAIT_MS) return false;
    return within(first.caller, this.bounds.backlog) > 0;
  }

  private start(lane: Lane<Request, Answer>): void {
    while (lane.inFlight < IN_FLIGHT) {
      const batch = this.take(lane);
      const [first] = batch;
      if (first === undefined) break;
      lane.inFlight += 1;
      // On the account of the one that has waited longest.
      void within(first.caller, () => this.send(lane, batch)).finally(() => {
        lane.inFlight -= 1;
        if (this.isWorthWaiting(lane)) this.schedule(lane);
        else this.start(lane);
      });
    }
    if (lane.inFlight === 0 && lane.waiting.length === 0 && !lane.isScheduled) this.lanes.delete(lane.key);
  }

  /** The next that fit into one statement, in the order in which they came. */
  private take(lane: Lane<Request, Answer>): Waiting<Request, Answer>[] {
    const { most, unwanted } = this.options;
    const batch: Waiting<Request, Answer>[] = [];
    let entries = 0;
    let bytes = 0;
    let taken = 0;
    for (const waiting of lane.waiting) {
      const { request, weight, heldBytes, resolve } = waiting;
      const answer = unwanted?.(request) ?? null;
      if (answer === null) {
        if (batch.length > 0 && (entries + weight.entries > most.entries || bytes + weight.bytes > most.bytes)) break;
        batch.push(waiting);
        entries += weight.entries;
        bytes += weight.bytes;
      } else {
        resolve(answer);
      }
      taken += 1;
      lane.waitingBytes -= heldBytes;
    }
    lane.waiting.splice(0, taken);
    this.counts.waiting -= taken;
    return batch;
  }

  /** Settles every request of the batch, and never fails itself. */
  private async send(lane: Lane<Request, Answer>, batch: readonly Waiting<Request, Answer>[]): Promise<void> {
    try {
      const answers = await this.run(batch.map(({ request }) => request));
      for (const [index, { resolve }] of batch.entries()) resolve(answers[index] as Answer);
    } catch (error) {
      if (batch.length > 1 && isRefusedByDatabase(error)) await this.separate(batch);
      else for (const { reject } of batch) reject(error);
      if (error instanceof ServiceError && error.code === 'ServiceUnavailable') this.giveUp(lane, error);
    }
  }

  /** The database is away: who has waited for it as long as the statement has need not wait for the next one to fail. */
  private giveUp(lane: Lane<Request, Answer>, error: ServiceError): void {
    const before = performance.now() - this.bounds.databaseWaitMs;
    const count = lane.waiting.findIndex(({ since }) => since > before);
    for (const { heldBytes, reject } of lane.waiting.splice(0, count < 0 ? lane.waiting.length : count)) {
      lane.waitingBytes -= heldBytes;
      this.counts.waiting -= 1;
      reject(error);
    }
  }

  private async separate(batch: readonly Waiting<Request, Answer>[]): Promise<void> {
    this.counts.separated += batch.length;
    for (const { request, caller, resolve, reject } of batch) {
      try {
        resolve(await within(caller, () => this.alone(request)));
      } catch (error) {
        reject(error);
      }
    }
  }

  /** Has the request done as a statement of its own, at once. */
  async alone(request: Request): Promise<Answer> {
    const [answer] = await this.run([request]);
    return answer as Answer;
  }

  private async run(requests: readonly Request[]): Promise<readonly Answer[]> {
    this.counts.onStatement(this.options.kind, requests.length);
    const answers = await this.options.run(requests);
    if (answers.length !== requests.length) {
      throw new Error(`${requests.length} ${this.options.kind} requests have got ${answers.length} answers`);
    }
    return answers;
  }
}
