import { Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import { MaintenanceFunctions } from '../database/maintenance-functions.js';

const BATCH = 1000;
/** How often a work request with a rate limit is asked whether it may go on. The limit itself is kept in SQL. */
const WAITING_MS = 100;

/** Carries out work requests on the pod that accepted them, at once. Should it die, the maintenance of another goes on. */
@Injectable()
export class WorkRequestRunner implements OnApplicationShutdown {
  private readonly logger = new Logger(WorkRequestRunner.name);
  private readonly underWay = new Set<Promise<void>>();
  private readonly stopping = new AbortController();

  /** What SQL cannot do alone: a batch of a redrive (null: of the oldest one). Set by RedriveBatches. */
  redrive: (id: string | null) => Promise<string | null> = () => Promise.resolve('WAITING');

  constructor(private readonly functions: MaintenanceFunctions) {}

  /** Returns at once; `ended` is called when nothing is left to do for the work request, or somebody else is at it. */
  run(id: string, ended: () => Promise<void> = () => Promise.resolve()): void {
    const work = this.carryOut(id, ended)
      .catch((error: unknown) => this.logger.warn({ err: error }, 'a work request failed; it is tried again'))
      .finally(() => this.underWay.delete(work));
    this.underWay.add(work);
  }

  /** Ends after the batch that is under way. */
  async onApplicationShutdown(): Promise<void> {
    this.stopping.abort();
    await Promise.allSettled(this.underWay);
  }

  /** One batch of a work request (null: of the oldest unfinished one), by SQL or by this pod. The status after that. */
  async step(id: string | null, batch: number): Promise<string | null> {
    const status = await this.functions.runWorkRequestStep(id, batch);
    return status === 'POD' ? this.redrive(id) : status;
  }

  private async carryOut(id: string, ended: () => Promise<void>): Promise<void> {
    const { signal } = this.stopping;
    while (!signal.aborted) {
      const status = await this.step(id, BATCH);
      // A stop ends the wait at once.
      if (status === 'WAITING') await sleep(WAITING_MS, undefined, { signal }).catch(() => undefined);
      else if (status !== 'IN_PROGRESS') break;
    }
    await ended();
  }
}
