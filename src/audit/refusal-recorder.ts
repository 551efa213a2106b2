import { Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { AuditFunctions, type RefusedRequest } from '../database/audit-functions.js';
import { toServiceError } from '../errors/catalogue.js';
import { TokenBucket } from '../limits/token-bucket.js';

/** Of one user. */
const USER = { perSecond: 0.5, burst: 50 };
/** Of all users of the pod. */
const USERS = { perSecond: 5, burst: 500 };
/** Of all whom nobody knows: they can be as many as they like, and must not keep those of users out. */
const STRANGERS = { perSecond: 0.5, burst: 50 };
/** Users whose buckets are remembered; beyond that the oldest begin anew. */
const MAX_USERS = 1000;
const BATCH = 100;
const GATHER_MS = 100;
const RETRY_MS = 1000;
/** More than the bursts together: only a database that is away makes it reach this. */
const MAX_WAITING = 1000;

/**
 * Writes refused requests into the audit log, after their answers and beside them. How many is bounded by rate, so that a
 * flood neither fills the table nor keeps the database busy, and in memory; what is beyond is counted and not written.
 */
@Injectable()
export class RefusalRecorder implements OnApplicationShutdown {
  private readonly logger = new Logger(RefusalRecorder.name);
  private readonly users = new Map<string, TokenBucket>();
  private readonly allUsers = new TokenBucket();
  private readonly strangers = new TokenBucket();
  private waiting: RefusedRequest[] = [];
  private timer: NodeJS.Timeout | null = null;
  private underWay: Promise<void> = Promise.resolve();
  private isWriting = false;
  private isStopped = false;
  private droppedCount = 0;

  constructor(private readonly functions: AuditFunctions) {}

  /** How many were not written. */
  get dropped(): number {
    return this.droppedCount;
  }

  /** Returns at once and never throws. */
  record(request: RefusedRequest): void {
    if (this.isStopped || this.waiting.length >= MAX_WAITING || !this.mayPass(request)) {
      this.droppedCount += 1;
      return;
    }
    this.waiting.push(request);
    this.schedule(GATHER_MS);
  }

  /** What waits is written before the database goes, in one try. */
  async onApplicationShutdown(): Promise<void> {
    this.isStopped = true;
    if (this.timer !== null) clearTimeout(this.timer);
    await this.underWay;
    await this.writeAll();
    this.droppedCount += this.waiting.length;
    this.waiting = [];
  }

  private mayPass({ userId }: RefusedRequest): boolean {
    const now = performance.now();
    const wanted: (readonly [TokenBucket, typeof USER])[] =
      userId === undefined
        ? [[this.strangers, STRANGERS]]
        : [
            [this.bucketOf(userId), USER],
            [this.allUsers, USERS],
          ];
    if (wanted.some(([bucket, { perSecond, burst }]) => bucket.msUntil(1, perSecond, burst, now) > 0)) return false;
    for (const [bucket, { perSecond, burst }] of wanted) bucket.take(1, perSecond, burst, now);
    return true;
  }

  private bucketOf(userId: string): TokenBucket {
    const bucket = this.users.get(userId) ?? new TokenBucket();
    // Deleted first, so that the map's first entry is the one that was not used for longest.
    this.users.delete(userId);
    this.users.set(userId, bucket);
    if (this.users.size > MAX_USERS) {
      const oldest = this.users.keys().next();
      if (oldest.done !== true) this.users.delete(oldest.value);
    }
    return bucket;
  }

  private schedule(ms: number): void {
    if (this.timer !== null || this.isWriting || this.isStopped) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.underWay = this.writeAll().then((isDone) => {
        if (!isDone) this.schedule(RETRY_MS);
      });
    }, ms);
    // A process that has nothing else to do ends.
    this.timer.unref();
  }

  /** False where the database did not take them: they are tried again. */
  private async writeAll(): Promise<boolean> {
    this.isWriting = true;
    try {
      while (this.waiting.length > 0) {
        const batch = this.waiting.slice(0, BATCH);
        if (!(await this.write(batch))) return false;
        this.waiting = this.waiting.slice(batch.length);
      }
      return true;
    } finally {
      this.isWriting = false;
    }
  }

  /** False where the database is away. What it refuses it would refuse again: that is left out. */
  private async write(batch: readonly RefusedRequest[]): Promise<boolean> {
    try {
      await this.functions.recordRefused(batch);
    } catch (error) {
      this.logger.warn({ err: error }, 'refused requests could not be written into the audit log');
      // Whether the batch was written is not known then: it may be there twice, with the same request ids.
      if (toServiceError(error).code === 'ServiceUnavailable') return false;
      this.droppedCount += batch.length;
    }
    return true;
  }
}
