import { Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { MaintenanceFunctions } from '../database/maintenance-functions.js';

const BATCH = 1000;

/** Carries out work requests on the pod that accepted them, at once. Should it die, the maintenance of another goes on. */
@Injectable()
export class WorkRequestRunner implements OnApplicationShutdown {
  private readonly logger = new Logger(WorkRequestRunner.name);
  private readonly underWay = new Set<Promise<void>>();
  private isStopped = false;

  constructor(private readonly functions: MaintenanceFunctions) {}

  /** Returns at once; `ended` is called when nothing is left to do for the work request, or somebody else is at it. */
  run(id: string, ended: () => Promise<void>): void {
    const work = this.carryOut(id, ended)
      .catch((error: unknown) => this.logger.warn({ err: error }, 'a work request failed; it is tried again'))
      .finally(() => this.underWay.delete(work));
    this.underWay.add(work);
  }

  /** Ends after the batch that is under way. */
  async onApplicationShutdown(): Promise<void> {
    this.isStopped = true;
    await Promise.allSettled(this.underWay);
  }

  private async carryOut(id: string, ended: () => Promise<void>): Promise<void> {
    while (!this.isStopped) {
      const status = await this.functions.runWorkRequestStep(id, BATCH);
      if (status !== 'IN_PROGRESS') break;
    }
    await ended();
  }
}
