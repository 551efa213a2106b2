import type { TokenBucket } from './token-bucket.js';
import type { LimitName, LimitScope } from './refusals.js';

/** The APIs that are limited each for itself; single calls and batches are the same one. */
export type MessageApi = 'put' | 'get' | 'update' | 'delete';

/** What is asked of one bucket. */
export interface Demand {
  readonly bucket: TokenBucket;
  readonly limit: Extract<LimitName, 'requests' | 'bytes_in' | 'bytes_out'>;
  readonly scope: LimitScope;
  /** Of the scope channel. */
  readonly channelId: string | null;
  readonly cost: number;
  /** What the configuration allows the queue, or the tenancy, on all pods. */
  readonly whole: number;
  /** Of that, what a channel may use. */
  readonly percent: number;
  /** What this pod may take of it. */
  readonly perSecond: number;
}

/** As much as comes in a second, so that the requests of one second may come all at once; and one request in any case. */
export function burstOf(perSecond: number): number {
  return Math.max(1, perSecond);
}

/** Takes what all of them ask for, or nothing: then it returns the one that has to wait the longest, and how long. */
export function takeAll(demands: readonly Demand[]): { readonly refusing: Demand; readonly seconds: number } | null {
  const now = performance.now();
  let refusing: Demand | null = null;
  let longest = 0;
  for (const demand of demands) {
    const ms = demand.bucket.msUntil(demand.cost, demand.perSecond, burstOf(demand.perSecond), now);
    if (ms > longest) {
      longest = ms;
      refusing = demand;
    }
  }
  if (refusing !== null) return { refusing, seconds: Math.ceil(longest / 1000) };
  spend(demands, now);
  return null;
}

/** Takes what they ask for, whether it is there or not. */
export function spend(demands: readonly Demand[], now = performance.now()): void {
  for (const { bucket, cost, perSecond } of demands) bucket.take(cost, perSecond, burstOf(perSecond), now);
}

/** What the caller is told of a refusal; `api` null: any. */
export function explain(api: MessageApi | null, demand: Demand, pods: number, seconds: number): string {
  const { limit, scope, channelId, cost, whole, percent } = demand;
  const requests = api === null ? 'requests' : `${api} requests`;
  const what = `${limit === 'requests' ? requests : limit === 'bytes_in' ? 'bytes in' : 'bytes out'} per second`;
  const allowed =
    scope === 'channel'
      ? `channel ${channelId ?? ''} may have ${(whole * percent) / 100} ${what}, ${percent} % (channelConsumptionLimit) of the queue's ${whole}`
      : scope === 'queue'
        ? `the queue may have ${whole} ${what}`
        : `the tenancy may have ${whole} ${what}, all its queues together`;
  const ofPod = pods === 1 ? '' : `, and ${rounded(demand.perSecond)} by each of ${pods} pods`;
  const asked = limit === 'bytes_in' ? `; this request has ${cost} bytes` : '';
  return `${allowed}${ofPod}${asked}: try again in ${seconds} ${seconds === 1 ? 'second' : 'seconds'}`;
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
