import { Inject, Injectable } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import { MessageFunctions, type MessageRange } from '../database/message-functions.js';

const COUNT_EVERY_MS = 1000;
/** Counting takes a twentieth of the time at most, as long as the estimate is far from the limit: while somebody holds a snapshot it takes seconds. */
const COUNT_SHARE = 20;
const MAX_RANGES = 10_000;

interface Estimate {
  count: number;
  countedAt: number;
  /** How long the last count took. */
  tookMs: number;
  /** Deliveries of this pod since then. */
  delivered: number;
  counting: boolean;
}

/**
 * Keeps the number of in-flight messages of a range below the limit, by an estimate: counting takes time with many in
 * flight, so it is done at most about once a second, beside the gets, and only while they deliver much; seldom where it takes long.
 */
@Injectable()
export class InFlightGate {
  private readonly estimates = new Map<string, Estimate>();

  constructor(
    private readonly functions: MessageFunctions,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
  ) {}

  /** False while so many are in flight that a get is answered with nothing (contract 4.7, our choice). */
  isOpen(range: MessageRange): boolean {
    const estimate = this.estimates.get(keyOf(range));
    if (estimate === undefined) return true;
    const isFull = estimate.count + estimate.delivered >= this.configuration.maxInFlight;
    if (isFull) this.count(range, estimate, COUNT_EVERY_MS);
    return !isFull;
  }

  delivered(range: MessageRange, messages: number): void {
    const key = keyOf(range);
    let estimate = this.estimates.get(key);
    if (estimate === undefined) {
      if (this.estimates.size >= MAX_RANGES) this.estimates.clear();
      estimate = { count: 0, countedAt: -Infinity, tookMs: 0, delivered: 0, counting: false };
      this.estimates.set(key, estimate);
    }
    estimate.delivered += messages;
    // Other pods deliver too: a tenth of the limit since the last count is reason enough to look, and soon where it may be half full.
    const { maxInFlight } = this.configuration;
    if (estimate.delivered * 10 < maxInFlight) return;
    const isFar = (estimate.count + estimate.delivered) * 2 < maxInFlight;
    this.count(range, estimate, isFar ? Math.max(COUNT_EVERY_MS, estimate.tookMs * COUNT_SHARE) : COUNT_EVERY_MS);
  }

  private count(range: MessageRange, estimate: Estimate, everyMs: number): void {
    const began = performance.now();
    if (estimate.counting || began - estimate.countedAt < everyMs) return;
    estimate.counting = true;
    const deliveredBefore = estimate.delivered;
    this.functions
      .countInFlight(range, this.configuration.maxInFlight)
      .then((count) => {
        estimate.count = count;
        estimate.delivered -= deliveredBefore;
        estimate.countedAt = performance.now();
        estimate.tookMs = estimate.countedAt - began;
      })
      // The old estimate serves on; the next get tries again.
      .catch(() => undefined)
      .finally(() => {
        estimate.counting = false;
      });
  }
}

function keyOf(range: MessageRange): string {
  return `${range.queueId} ${range.consumerGroupId} ${range.deadLetter}`;
}
