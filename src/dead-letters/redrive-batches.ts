import { Injectable } from '@nestjs/common';
import { readFilter } from '../consumer-groups/filter/compile-filter.js';
import { matchesFilter } from '../consumer-groups/filter/filter-match.js';
import {
  RedriveFunctions,
  type RedriveBatch,
  type RedriveCandidate,
  type RedriveChoice,
} from '../database/redrive-functions.js';
import { SealedMessages } from '../encryption/sealed-messages.js';
import { ServiceError } from '../errors/service-error.js';
import { WorkRequestRunner } from '../work-requests/work-request-runner.js';

const BATCH = 500;

/**
 * Redrives that SQL cannot do alone, because messages have to be opened: by a filter on properties, or to another queue,
 * whose key is another one. SQL hands out a batch, this chooses and seals, and SQL moves what nobody has touched
 * meanwhile, with the cursor, in one transaction. A pod that dies in between has moved nothing.
 */
@Injectable()
export class RedriveBatches {
  constructor(
    private readonly functions: RedriveFunctions,
    private readonly sealed: SealedMessages,
    runner: WorkRequestRunner,
  ) {
    runner.redrive = (workRequestId): Promise<string | null> => this.step(workRequestId);
  }

  /** One batch of this redrive (null: of the oldest one). The status after that; WAITING where none can be done now. */
  async step(workRequestId: string | null): Promise<string | null> {
    const batch = await this.functions.take(workRequestId, BATCH);
    if (batch === null) return 'WAITING';
    try {
      return await this.carryOut(batch);
    } catch (error) {
      // The master key is not there: it may be a long time, so the operator is told. All else is tried again.
      if (!(error instanceof ServiceError) || error.code !== 'IncorrectState') throw error;
      return this.functions.fail(
        batch.plan.workRequestId,
        error.code,
        `${error.message}. What is not redriven is still a dead letter: put that right and redrive again`,
      );
    }
  }

  private async carryOut({ plan, candidates, examined }: RedriveBatch): Promise<string | null> {
    const filter = readFilter(plan.filter ?? undefined);
    const opened = await this.sealed.open(plan, candidates);
    const chosen: RedriveCandidate[] = [];
    let choice = { nextCursor: plan.nextCursor, isEnd: plan.isEnd, examined };
    let unreadable = 0;
    for (const [index, candidate] of candidates.entries()) {
      if (chosen.length === plan.most && !plan.isDryRun) {
        // The rest is for the next batch.
        const last = candidates[index - 1] ?? candidate;
        choice = { nextCursor: last.id, isEnd: false, examined: last.examined };
        break;
      }
      const open = opened[index] ?? null;
      if (open === null) unreadable += 1;
      else if (matchesFilter(filter, open.properties)) chosen.push(open);
    }
    if (plan.target === null || plan.isDryRun) {
      return this.functions.move(plan, { ...choice, chosen, unreadable, sealed: null });
    }
    return this.moveTo(plan.target, plan, { ...choice, chosen, unreadable, sealed: null });
  }

  private async moveTo(
    target: NonNullable<RedriveBatch['plan']['target']>,
    plan: RedriveBatch['plan'],
    choice: RedriveChoice,
  ): Promise<string | null> {
    const properties = choice.chosen.map((message) =>
      message.properties === null ? null : JSON.stringify(message.properties),
    );
    return this.sealed.seal(target, choice.chosen, true, (seal) =>
      this.functions.move(plan, { ...choice, sealed: { ...seal, properties } }),
    );
  }
}
