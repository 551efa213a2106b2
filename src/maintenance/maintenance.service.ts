import { Inject, Injectable, Logger } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import { MaintenanceFunctions, type DueMaintenance } from '../database/maintenance-functions.js';
import { KeyMaintenance } from '../encryption/key-maintenance.js';
import { WorkRequestRunner } from '../work-requests/work-request-runner.js';
import { WakeUps } from '../messages/waiting/wake-ups.js';

const LEASE = 'maintenance';
const LEASE_SECONDS = 15;
/** How often the holder looks for work: often after it found some, seldom in a quiet service. */
const BUSY_TICK_MS = 500;
const IDLE_TICK_MS = 2500;
/** How often the others look whether the holder is still there, and how often it says so. */
const LEASE_TICK_MS = 5000;
const FORGET_EVERY_MS = 60_000;
/**
 * The look for expired messages begins where the oldest ones are, and while somebody holds a snapshot it wades through all that have lived since: seconds, in
 * the end. So it takes a twentieth of the time at most, as those for floors do; expired messages are not delivered in any case. After a slow one there is one batch
 * of deletions, which wades as far: what it deletes frees nothing while the snapshot is held.
 */
const EXPIRED_SHARE = 20;
const EXPIRED_AT_LEAST_EVERY_MS = 60_000;
const SLOW_LOOK_MS = 250;
const BATCH = 500;
const FOLD_BATCH = 5000;
const WORK_REQUEST_BATCH = 1000;
/** Twenty of them twice a second keep up with 200,000 deduplication ids per second. */
const DEDUPLICATION_BATCH = 5000;
const AUDIT_BATCH = 1000;
/** Batches of one range in a row, so that one busy queue does not keep the others waiting. */
const MAX_BATCHES = 20;

/**
 * What happens by itself: timed-out last deliveries, retention, statistics, purges and deletions. One pod at a time
 * does it, by a lease that only saves work: every step is a bounded batch that any pod may do at any time.
 */
@Injectable()
export class MaintenanceService {
  private readonly logger = new Logger(MaintenanceService.name);
  private readonly holder = randomUUID();
  private readonly underWay = new Set<Promise<void>>();
  private timer: NodeJS.Timeout | null = null;
  private leasedUntil = 0;
  private forgetAt = 0;
  private lookForExpiredAt = 0;
  private isStopped = true;

  constructor(
    private readonly functions: MaintenanceFunctions,
    private readonly wakeUps: WakeUps,
    @Inject(CONFIGURATION) private readonly configuration: Configuration,
    private readonly runner: WorkRequestRunner,
    private readonly keys: KeyMaintenance,
  ) {}

  start(): void {
    this.isStopped = false;
    this.schedule(0);
  }

  /** Ends after the batch that is under way, and lets another pod take over at once. */
  async stop(): Promise<void> {
    this.isStopped = true;
    if (this.timer !== null) clearTimeout(this.timer);
    await Promise.allSettled(this.underWay);
    if (this.leasedUntil > 0) await this.functions.giveLeaseBack(LEASE, this.holder).catch(() => undefined);
  }

  private schedule(ms: number): void {
    if (this.isStopped) return;
    this.timer = setTimeout(() => this.track(this.tick()), ms);
  }

  private track(work: Promise<void>): void {
    const tracked = work
      .catch((error: unknown) => this.logger.warn({ err: error }, 'maintenance failed; it is tried again'))
      .finally(() => this.underWay.delete(tracked));
    this.underWay.add(tracked);
  }

  private async tick(): Promise<void> {
    let next = LEASE_TICK_MS;
    try {
      if (await this.holdsLease()) {
        const { due, isSlow } = await this.look();
        for (const work of due) {
          if (this.isStopped) return;
          await this.do(work, isSlow);
        }
        await this.forget();
        next = due.length > 0 ? BUSY_TICK_MS : IDLE_TICK_MS;
      }
    } finally {
      this.schedule(next);
    }
  }

  private async holdsLease(): Promise<boolean> {
    const now = performance.now();
    // Prolonged when a third of it is left.
    if (this.leasedUntil - now > (LEASE_SECONDS * 1000) / 3) return true;
    const taken = await this.functions.takeLease(LEASE, this.holder, LEASE_SECONDS);
    this.leasedUntil = taken ? now + LEASE_SECONDS * 1000 : 0;
    return taken;
  }

  private async look(): Promise<{ readonly due: DueMaintenance[]; readonly isSlow: boolean }> {
    const began = performance.now();
    const withExpired = began >= this.lookForExpiredAt;
    const due = await this.functions.due(this.configuration.auditRetentionDays, withExpired);
    const tookMs = performance.now() - began;
    if (withExpired) this.lookForExpiredAt = began + Math.min(tookMs * EXPIRED_SHARE, EXPIRED_AT_LEAST_EVERY_MS);
    return { due, isSlow: tookMs > SLOW_LOOK_MS };
  }

  private async do({ kind, queueId, consumerGroupId }: DueMaintenance, isSlow: boolean): Promise<void> {
    switch (kind) {
      case 'timed-out':
        await this.repeat(BATCH, () => this.functions.sweepTimedOutDeliveries(queueId, BATCH));
        // Whoever waits for dead letters of this queue may find some now.
        this.wakeUps.hint({ queueId, consumerGroupId, deadLetter: true, channelId: null, inMs: 0 });
        break;
      case 'expired':
        await this.repeat(
          BATCH,
          () => this.functions.sweepExpiredMessages(queueId, consumerGroupId, BATCH),
          isSlow ? 1 : MAX_BATCHES,
        );
        break;
      case 'deltas':
        await this.repeat(FOLD_BATCH, () => this.functions.foldMessageDeltas(queueId, FOLD_BATCH));
        break;
      case 'delays':
        await this.repeat(FOLD_BATCH, () => this.functions.foldMessageDelays(FOLD_BATCH));
        break;
      case 'deduplications':
        await this.repeat(DEDUPLICATION_BATCH, () => this.functions.forgetDeduplications(DEDUPLICATION_BATCH));
        break;
      case 'audit-events': {
        const days = this.configuration.auditRetentionDays;
        await this.repeat(AUDIT_BATCH, () => this.functions.forgetAuditEvents(days, AUDIT_BATCH));
        break;
      }
      case 'work-requests':
        for (let batch = 0; batch < MAX_BATCHES && !this.isStopped; batch += 1) {
          if ((await this.runner.step(null, WORK_REQUEST_BATCH)) === null) break;
        }
    }
  }

  private async repeat(full: number, step: () => Promise<number>, atMost = MAX_BATCHES): Promise<void> {
    for (let batch = 0; batch < atMost && !this.isStopped; batch += 1) {
      if ((await step()) < full) break;
    }
  }

  private async forget(): Promise<void> {
    const now = performance.now();
    if (now < this.forgetAt) return;
    this.forgetAt = now + FORGET_EVERY_MS;
    await this.functions.forgetOldRecords();
    await this.keys.run(() => this.isStopped);
  }
}
