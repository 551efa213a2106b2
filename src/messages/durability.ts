import type { FastifyReply } from 'fastify';
import type { Durability } from '../database/queue-functions.js';

export type { Durability };

/** What a request came to, and what the queue promises of it. */
export interface Confirmed<Outcome> {
  readonly outcome: Outcome;
  /** RELAXED where it was asked to be confirmed early: whoever is told FULL has it on disk. */
  readonly durability: Durability;
}

/** The response header of operations on messages, on queues that are not as durable as others. */
export const DURABILITY_HEADER = {
  'towpath-durability':
    'Towpath extension: `relaxed` where the queue has the durability RELAXED: puts, updates and deletions that were confirmed in the ' +
    'last moments before the server of the database crashes may be undone. Absent on all other queues.',
} as const;

/** Answers with the outcome, and with the header where it needs it. */
export function tell<Outcome>(reply: FastifyReply, { outcome, durability }: Confirmed<Outcome>): Outcome {
  if (durability === 'RELAXED') void reply.header('towpath-durability', 'relaxed');
  return outcome;
}
