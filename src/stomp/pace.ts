import { setTimeout as sleep } from 'node:timers/promises';
import { TokenBucket } from '../limits/token-bucket.js';
import { withPatience } from './patience.js';

export interface PaceBounds {
  /** Bytes per second in each direction; null: any number. A second's worth may come at once. */
  readonly maxBytesPerSecond: number | null;
  /** Counts a frame as a request of the client's tenancy. Throws TooManyRequests. */
  readonly admit: () => void;
}

/**
 * How fast a connection may go: over REST whoever is too fast gets 429, here it is slowed down. What has come is carried out
 * late and nothing more is read; what is to be sent waits with its messages in the database.
 */
export class Pace {
  private readonly received = new TokenBucket();
  private readonly sent = new TokenBucket();
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly bounds: PaceBounds,
    private readonly mayDeliver: () => void,
    private readonly now: () => number = () => performance.now(),
  ) {}

  onReceived(bytes: number): void {
    this.take(this.received, bytes);
  }

  onSent(bytes: number): void {
    this.take(this.sent, bytes);
  }

  /** Undefined: the next frame may be carried out now. Else resolves when it may; fails with TooManyRequests after a while. */
  nextFrame(): Promise<void> | undefined {
    const waitMs = this.msUntilFree(this.received);
    if (waitMs > 0) return sleep(waitMs).then(() => this.admitLater());
    try {
      this.bounds.admit();
      return undefined;
    } catch {
      return this.admitLater();
    }
  }

  /** Whether messages may be delivered; where not, `mayDeliver` is called once they may. */
  get hasRoom(): boolean {
    const waitMs = this.msUntilFree(this.sent);
    if (waitMs <= 0) return true;
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.mayDeliver();
    }, waitMs).unref();
    return false;
  }

  stop(): void {
    clearTimeout(this.timer);
  }

  private admitLater(): Promise<void> {
    return withPatience(async () => this.bounds.admit());
  }

  private take(bucket: TokenBucket, bytes: number): void {
    const { maxBytesPerSecond: limit } = this.bounds;
    if (limit !== null) bucket.take(bytes, limit, limit, this.now());
  }

  /** What was taken beyond the limit is paid back first. */
  private msUntilFree(bucket: TokenBucket): number {
    const { maxBytesPerSecond: limit } = this.bounds;
    return limit === null ? 0 : Math.ceil(bucket.msUntil(1, limit, limit, this.now()));
  }
}
