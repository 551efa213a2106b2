import { Injectable } from '@nestjs/common';

/** Which limit refused a request. */
export type LimitName = 'storage' | 'requests' | 'bytes_in' | 'bytes_out';
/** Whose: the queue's own, or the share of it that one channel may use. */
export type LimitScope = 'queue' | 'channel';

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
    for (const limit of ['storage', 'requests', 'bytes_in', 'bytes_out'] as const) {
      for (const scope of ['queue', 'channel'] as const)
        this.counts.set(`${limit} ${scope}`, { limit, scope, count: 0 });
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
