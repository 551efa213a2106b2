import { randomUUID } from 'node:crypto';
import { Injectable, Logger } from '@nestjs/common';
import { LimitFunctions } from '../database/limit-functions.js';

const BEAT_EVERY_MS = 5000;
/** Three beats may be lost before the others share out what was this pod's. */
const STALE_AFTER_SECONDS = 15;

/**
 * How many pods live, by slow heartbeats in the database: one statement every 5 seconds. What is limited per queue is
 * shared out among them. A pod that dies is counted for 15 seconds more, one that stops is not.
 */
@Injectable()
export class LivePods {
  readonly id = randomUUID();
  private readonly logger = new Logger(LivePods.name);
  private living = 1;
  private timer: NodeJS.Timeout | null = null;
  private underWay: Promise<void> = Promise.resolve();
  private isStopped = true;

  constructor(private readonly functions: LimitFunctions) {}

  /** As of the last heartbeat that the database answered; 1 at least, since this one lives. */
  get count(): number {
    return this.living;
  }

  /** Resolves when this pod has been counted, so that it does not begin with more than its share. */
  async start(): Promise<void> {
    this.isStopped = false;
    await this.beat();
  }

  /** The others share out at their next heartbeat what was this pod's. */
  async stop(): Promise<void> {
    this.isStopped = true;
    if (this.timer !== null) clearTimeout(this.timer);
    await this.underWay;
    // Where the database is away, they find out after a while.
    await this.functions.forgetPod(this.id).catch(() => undefined);
  }

  private async beat(): Promise<void> {
    try {
      this.living = Math.max(1, await this.functions.recordHeartbeat(this.id, STALE_AFTER_SECONDS));
    } catch (error) {
      this.logger.warn({ err: error }, 'a heartbeat failed; the next one is tried in a few seconds');
    }
    if (this.isStopped) return;
    this.timer = setTimeout(() => {
      this.underWay = this.beat();
    }, BEAT_EVERY_MS);
  }
}
