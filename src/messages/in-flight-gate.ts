import { Inject, Injectable } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import { MessageFunctions, type MessageRange } from '../database/message-functions.js';

const COUNT_EVERY_MS = 1000;
const MAX_RANGES = 10_000;

interface Estimate {
  count: number;
  countedAt: number;
  /** Deliveries of this pod since then. */
  delivered: number;
  counting: boolean;
}

/**
 * Keeps the number of in-flight messages of a range below the limit, by an estimate: counting takes time with many in
 * flight, so it is done at most about once a second, beside the gets, and only while they deliver much.
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
    if (isFull) this.count(range, estimate);
    return !isFull;
  }

  delivered(range: MessageRange, messages: number): void {
    const key = keyOf(range);
    let estimate = this.estimates.get(key);
    if (estimate === undefined) {
      if (this.estimates.size >= MAX_RANGES) this.estimates.clear();
      estimate = { count: 0, countedAt: -Infinity, delivered: 0, counting: false };
      this.estimates.set(key, estimate);
    }
    estimate.delivered += messages;
    // Other pods deliver too: a tenth of the limit since the last count is reason enough to look.
    if (estimate.delivered * 10 >= this.configuration.maxInFlight) this.count(range, estimate);
  }

  private count(range: MessageRange, estimate: Estimate): void {
    if (estimate.counting || performance.now() - estimate.countedAt < COUNT_EVERY_MS) return;
    estimate.counting = true;
    const deliveredBefore = estimate.delivered;
    this.functions
      .countInFlight(range, this.configuration.maxInFlight)
      .then((count) => {
        estimate.count = count;
        estimate.delivered -= deliveredBefore;
        estimate.countedAt = performance.now();
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
