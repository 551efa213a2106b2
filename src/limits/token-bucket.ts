/**
 * What may be had at once and comes back with time: a rate limit that allows for bursts. It starts full, has at most
 * `burst` tokens, and gains `perSecond` of them; both are told with each call, because they change with the number of
 * pods. Times are milliseconds of a clock that never goes back.
 *
 * What is taken in any span is at most perSecond × seconds + burst, and more only by what one cost exceeds the burst:
 * such a cost waits for a full bucket, and the debt it leaves is paid back before anything else is taken.
 */
export class TokenBucket {
  /** Infinite until it is first asked, which makes it full whatever the burst is. Below 0: a debt. */
  private tokens = Infinity;
  private at = -Infinity;

  /** Milliseconds until `cost` may be taken; 0: now. */
  msUntil(cost: number, perSecond: number, burst: number, now: number): number {
    this.refill(perSecond, burst, now);
    const missing = Math.min(cost, burst) - this.tokens;
    return missing <= 0 ? 0 : (missing / perSecond) * 1000;
  }

  /** Takes `cost`, whether it is there or not. */
  take(cost: number, perSecond: number, burst: number, now: number): void {
    this.refill(perSecond, burst, now);
    this.tokens -= cost;
  }

  /** True where forgetting it and beginning a new one would make no difference. */
  isFull(perSecond: number, burst: number, now: number): boolean {
    this.refill(perSecond, burst, now);
    return this.tokens >= burst;
  }

  private refill(perSecond: number, burst: number, now: number): void {
    const seconds = Math.max(0, now - this.at) / 1000;
    this.tokens = Math.min(burst, this.tokens + seconds * perSecond);
    if (now > this.at) this.at = now;
  }
}
