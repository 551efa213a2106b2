import { Injectable } from '@nestjs/common';

/** Which limit refused a request. */
export type LimitName = 'storage' | 'requests' | 'bytes_in' | 'bytes_out' | 'connections';
/** Whose: the queue's own, the share of it that one channel may use, that of a whole tenancy, or of one user. */
export type LimitScope = 'queue' | 'channel' | 'tenancy' | 'user';

const SCOPES: Readonly<Record<LimitName, readonly LimitScope[]>> = {
  storage: ['queue', 'channel', 'tenancy'],
  requests: ['queue', 'channel', 'tenancy'],
  bytes_in: ['queue', 'channel', 'tenancy'],
  bytes_out: ['queue', 'channel', 'tenancy'],
  connections: ['tenancy', 'user'],
};

export interface RefusalCount {
  readonly limit: LimitName;
  readonly scope: LimitScope;
  readonly count: number;
}

/** How many requests each limit has refused on this pod, for the metrics. */
@Injectable()
export class Refusals {
  private readonly counts = new Map<string, RefusalCount>();

  constructor() {
    // From the start on, so that a rate of them can be had of the first one too.
    for (const [limit, scopes] of Object.entries(SCOPES) as [LimitName, readonly LimitScope[]][]) {
      for (const scope of scopes) this.counts.set(`${limit} ${scope}`, { limit, scope, count: 0 });
    }
  }

  count(limit: LimitName, scope: LimitScope): void {
    const key = `${limit} ${scope}`;
    this.counts.set(key, { limit, scope, count: (this.counts.get(key)?.count ?? 0) + 1 });
  }

  all(): Iterable<RefusalCount> {
    return this.counts.values();
  }
}
