import { TokenBucket } from './token-bucket.js';

/** What one tenancy has taken of its rates. */
export class TenancyBuckets {
  readonly requests = new TokenBucket();
  readonly in = new TokenBucket();
  readonly out = new TokenBucket();
}

/** Tenancies that are remembered at most. */
const MAX_TENANCIES = 10_000;

/** The buckets of the tenancies that are at work. `isIdle` says of which it makes no difference to begin new ones. */
export class TenancyRates {
  private readonly known = new Map<string, TenancyBuckets>();

  constructor(private readonly isIdle: (buckets: TenancyBuckets) => boolean) {}

  get size(): number {
    return this.known.size;
  }

  of(tenancyId: string): TenancyBuckets {
    let buckets = this.known.get(tenancyId);
    if (buckets === undefined) {
      if (this.known.size >= MAX_TENANCIES) this.makeRoom();
      buckets = new TenancyBuckets();
      this.known.set(tenancyId, buckets);
    }
    return buckets;
  }

  private makeRoom(): void {
    for (const [tenancyId, buckets] of this.known) if (this.isIdle(buckets)) this.known.delete(tenancyId);
    // So many at work at once: the sum of what they take is bounded by other things.
    if (this.known.size > MAX_TENANCIES / 2) this.known.clear();
  }
}
