import type { Durability } from '../database/queue-functions.js';

export type { Durability };

/** What a request came to, and what the queue promises of it. */
export interface Confirmed<Outcome> {
  readonly outcome: Outcome;
  /** RELAXED where it was asked to be confirmed early: whoever is told FULL has it on disk. */
  readonly durability: Durability;
}
