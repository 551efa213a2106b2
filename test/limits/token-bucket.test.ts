import fc from 'fast-check';
import { TokenBucket } from '../../src/limits/token-bucket.js';

/** What somebody asks who comes `after` milliseconds. */
const asking = fc.record({ after: fc.nat(3000), cost: fc.nat(40) });

describe('a token bucket', () => {
  it('starts full, and gives at once what it has', () => {
    const bucket = new TokenBucket();
    expect(bucket.isFull(10, 5, 0)).toBe(true);
    for (let taken = 0; taken < 5; taken += 1) {
      expect(bucket.msUntil(1, 10, 5, 0)).toBe(0);
      bucket.take(1, 10, 5, 0);
    }
    expect(bucket.isFull(10, 5, 0)).toBe(false);
    expect(bucket.msUntil(1, 10, 5, 0)).toBe(100);
    expect(bucket.msUntil(3, 10, 5, 0)).toBe(300);
    expect(bucket.msUntil(1, 10, 5, 40)).toBe(60);
    expect(bucket.msUntil(1, 10, 5, 100)).toBe(0);
    expect(bucket.isFull(10, 5, 499)).toBe(false);
    expect(bucket.isFull(10, 5, 500)).toBe(true);
  });

  it('gives more than it ever has where it is full, and waits until that is paid back', () => {
    const bucket = new TokenBucket();
    expect(bucket.msUntil(30, 10, 5, 0)).toBe(0);
    bucket.take(30, 10, 5, 0);
    // In debt even for nothing.
    expect(bucket.msUntil(0, 10, 5, 0)).toBe(2500);
    expect(bucket.msUntil(30, 10, 5, 0)).toBe(3000);
    expect(bucket.msUntil(0, 10, 5, 2500)).toBe(0);
  });

  it('gains nothing where the clock stands still or goes back', () => {
    const bucket = new TokenBucket();
    bucket.take(5, 10, 5, 1000);
    expect(bucket.msUntil(1, 10, 5, 500)).toBe(100);
    expect(bucket.msUntil(1, 10, 5, 1000)).toBe(100);
    expect(bucket.msUntil(1, 10, 5, 1050)).toBe(50);
  });

  it('follows a share that changes', () => {
    const bucket = new TokenBucket();
    expect(bucket.msUntil(100, 100, 100, 0)).toBe(0);
    // Another pod has come: half, at once.
    bucket.take(50, 50, 50, 0);
    expect(bucket.msUntil(1, 50, 50, 0)).toBe(20);
    expect(bucket.msUntil(50, 50, 50, 1000)).toBe(0);
    expect(bucket.msUntil(100, 100, 100, 1500)).toBe(0);
  });

  it('never gives more in any span than rate × time + burst, but for one cost above the burst', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 1, max: 30 }),
        fc.array(asking, { minLength: 1, maxLength: 200 }),
        (perSecond, burst, asked) => {
          const bucket = new TokenBucket();
          const given: { at: number; cost: number }[] = [];
          let now = 0;
          for (const { after, cost } of asked) {
            now += after;
            if (bucket.msUntil(cost, perSecond, burst, now) > 0) continue;
            bucket.take(cost, perSecond, burst, now);
            given.push({ at: now, cost });
          }
          for (const [start, first] of given.entries()) {
            let sum = 0;
            let over = 0;
            for (const { at, cost } of given.slice(start)) {
              sum += cost;
              over = Math.max(over, cost - burst);
              const allowed = ((at - first.at) / 1000) * perSecond + burst + over;
              expect(sum).toBeLessThanOrEqual(allowed + 1e-6);
            }
          }
        },
      ),
    );
  });

  it('gives to whoever comes when it said, and not a moment before', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 1, max: 30 }),
        fc.array(asking, { minLength: 1, maxLength: 50 }),
        (perSecond, burst, asked) => {
          const bucket = new TokenBucket();
          let now = 0;
          for (const { after, cost } of asked) {
            now += after;
            const ms = bucket.msUntil(cost, perSecond, burst, now);
            const aMomentBefore = bucket.msUntil(cost, perSecond, burst, now + Math.max(0, ms - 1));
            expect(aMomentBefore > 0).toBe(ms > 0);
            now += Math.ceil(ms);
            // Fractions of a token are lost to rounding, which is less than a microsecond.
            expect(bucket.msUntil(cost, perSecond, burst, now)).toBeLessThan(0.001);
            bucket.take(cost, perSecond, burst, now);
          }
        },
      ),
    );
  });
});
