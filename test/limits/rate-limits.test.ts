import { jest } from '@jest/globals';
import { ServiceError } from '../../src/errors/service-error.js';
import type { LivePods } from '../../src/limits/live-pods.js';
import { RateLimits } from '../../src/limits/rate-limits.js';
import { Refusals } from '../../src/limits/refusals.js';
import { limitedTo, messageOf, queueOf } from './support.js';

interface Setup {
  readonly limits: RateLimits;
  readonly pods: { count: number };
  readonly refusals: Refusals;
}

function setup(requestsPerSecond: number | null, bytesPerSecond: number | null = null): Setup {
  const configuration = limitedTo({
    TOWPATH_MAX_QUEUE_REQUESTS_PER_SECOND: requestsPerSecond === null ? '' : String(requestsPerSecond),
    TOWPATH_MAX_QUEUE_BYTES_PER_SECOND: bytesPerSecond === null ? '' : String(bytesPerSecond),
  });
  const pods = { count: 1 };
  const refusals = new Refusals();
  return { limits: new RateLimits(configuration, pods as LivePods, refusals), pods, refusals };
}

/** How often it may be done right now. */
function timesUntilRefused(act: () => void): number {
  for (let times = 0; times < 100_000; times += 1) {
    if (refusalOf(act) !== null) return times;
  }
  throw new Error('nothing refuses it');
}

function refusalOf(act: () => void): ServiceError | null {
  try {
    act();
    return null;
  } catch (error) {
    if (!(error instanceof ServiceError) || error.code !== 'TooManyRequests') throw error;
    return error;
  }
}

describe('the rate limits of a queue', () => {
  beforeEach(() => {
    jest.useFakeTimers({ now: 0 });
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  it('are none where none is configured', () => {
    const { limits } = setup(null);
    const queue = queueOf(1, 1);
    for (let times = 0; times < 10_000; times += 1) {
      limits.put(queue, [messageOf(500_000, 'a')]);
      limits.get(queue, 'a');
      limits.given(queue, 'a', [{ content: Buffer.alloc(100), properties: null }]);
      limits.request(queue, 'delete');
    }
    expect(limits.size).toBe(0);
  });

  it('count each API and each queue for itself', () => {
    const { limits } = setup(10);
    const queue = queueOf();
    expect(timesUntilRefused(() => limits.put(queue, [messageOf(1)]))).toBe(10);
    expect(timesUntilRefused(() => limits.get(queue, null))).toBe(10);
    expect(timesUntilRefused(() => limits.request(queue, 'update'))).toBe(10);
    expect(timesUntilRefused(() => limits.request(queue, 'delete'))).toBe(10);
    expect(timesUntilRefused(() => limits.put(queueOf(2), [messageOf(1)]))).toBe(10);
    jest.advanceTimersByTime(300);
    expect(timesUntilRefused(() => limits.request(queue, 'delete'))).toBe(3);
    jest.advanceTimersByTime(60_000);
    expect(timesUntilRefused(() => limits.request(queue, 'delete'))).toBe(10);
  });

  it('say what is allowed and when to come again, and keep their word', () => {
    const { limits, refusals } = setup(2);
    const queue = queueOf();
    expect(timesUntilRefused(() => limits.get(queue, null))).toBe(2);
    const refusal = refusalOf(() => limits.get(queue, null));
    expect(refusal).toMatchObject({
      retryAfterSeconds: 1,
      message: 'the queue may have 2 get requests per second: try again in 1 second',
    });
    jest.advanceTimersByTime(1000);
    expect(refusalOf(() => limits.get(queue, null))).toBeNull();
    expect([...refusals.all()].filter(({ count }) => count > 0)).toEqual([
      { limit: 'requests', scope: 'queue', count: 2 },
    ]);
  });

  it('count bytes in: of a request that is larger than a second’s worth too', () => {
    const { limits } = setup(null, 1000);
    const queue = queueOf();
    limits.put(queue, [messageOf(600), messageOf(300)]);
    expect(refusalOf(() => limits.put(queue, [messageOf(200)]))?.message).toBe(
      'the queue may have 1000 bytes in per second; this request has 200 bytes: try again in 1 second',
    );
    limits.put(queue, [messageOf(100)]);
    jest.advanceTimersByTime(999);
    expect(refusalOf(() => limits.put(queue, [messageOf(5000)]))).not.toBeNull();
    jest.advanceTimersByTime(1);
    limits.put(queue, [messageOf(5000)]);
    expect(refusalOf(() => limits.put(queue, [messageOf(1)]))?.retryAfterSeconds).toBe(5);
    jest.advanceTimersByTime(4999);
    expect(refusalOf(() => limits.put(queue, [messageOf(1000)]))).not.toBeNull();
    jest.advanceTimersByTime(1);
    limits.put(queue, [messageOf(1)]);
  });

  it('count bytes out when they were given, with their properties, and refuse gets until they are paid back', () => {
    const { limits } = setup(null, 1000);
    const queue = queueOf();
    limits.get(queue, null);
    limits.given(queue, null, [
      { content: Buffer.alloc(2990), properties: { kéy: 'vålue' } },
      { content: Buffer.alloc(0), properties: null },
    ]);
    expect(refusalOf(() => limits.get(queue, null))).toMatchObject({
      retryAfterSeconds: 2,
      message: 'the queue may have 1000 bytes out per second: try again in 2 seconds',
    });
    // 3,000 bytes, of which 1,000 were there.
    jest.advanceTimersByTime(1999);
    expect(refusalOf(() => limits.get(queue, null))).not.toBeNull();
    jest.advanceTimersByTime(1);
    limits.get(queue, null);
    // Nothing of that is in the way of puts.
    limits.put(queue, [messageOf(1000)]);
  });

  it('are shared out among the pods that live', () => {
    const { limits, pods } = setup(100);
    const queue = queueOf();
    expect(timesUntilRefused(() => limits.get(queue, null))).toBe(100);
    pods.count = 4;
    jest.advanceTimersByTime(1000);
    expect(timesUntilRefused(() => limits.get(queue, null))).toBe(25);
    expect(refusalOf(() => limits.get(queue, null))?.message).toBe(
      'the queue may have 100 get requests per second, and 25 by each of 4 pods: try again in 1 second',
    );
    // However many they are, each gets something through.
    pods.count = 300;
    jest.advanceTimersByTime(3000);
    expect(timesUntilRefused(() => limits.get(queue, null))).toBe(1);
    expect(refusalOf(() => limits.get(queue, null))?.retryAfterSeconds).toBe(3);
  });

  describe('for one channel', () => {
    it('give its share to puts and to gets that name it', () => {
      const { limits } = setup(100);
      const queue = queueOf(1, 10);
      expect(timesUntilRefused(() => limits.put(queue, [messageOf(1, 'a')]))).toBe(10);
      expect(refusalOf(() => limits.put(queue, [messageOf(1, 'a')]))?.message).toBe(
        "channel a may have 10 put requests per second, 10 % (channelConsumptionLimit) of the queue's 100: try again in 1 second",
      );
      expect(timesUntilRefused(() => limits.get(queue, 'a'))).toBe(10);
      // Others have theirs, and what names no channel has what is left of the queue's.
      expect(timesUntilRefused(() => limits.put(queue, [messageOf(1, 'b')]))).toBe(10);
      expect(timesUntilRefused(() => limits.put(queue, [messageOf(1)]))).toBe(80);
      expect(timesUntilRefused(() => limits.get(queue, null))).toBe(90);
    });

    it('count its bytes, in and out', () => {
      const { limits, refusals } = setup(null, 1000);
      const queue = queueOf(1, 10);
      limits.put(queue, [messageOf(40, 'a'), messageOf(500), messageOf(60, 'a')]);
      expect(refusalOf(() => limits.put(queue, [messageOf(1, 'a')]))?.message).toMatch(
        /^channel a may have 100 bytes in per second, 10 % .*; this request has 1 bytes/,
      );
      limits.get(queue, 'a');
      limits.given(queue, 'a', [{ content: Buffer.alloc(200), properties: null }]);
      expect(refusalOf(() => limits.get(queue, 'a'))?.message).toMatch(/^channel a may have 100 bytes out per second/);
      // What was not asked for by its channel counts for the queue alone.
      limits.get(queue, 'b');
      limits.given(queue, null, [{ content: Buffer.alloc(300), properties: null }]);
      limits.get(queue, 'b');
      expect([...refusals.all()].filter(({ count }) => count > 0)).toEqual([
        { limit: 'bytes_in', scope: 'channel', count: 1 },
        { limit: 'bytes_out', scope: 'channel', count: 1 },
      ]);
    });

    it('refuse the whole put where one of its channels has no room, and take nothing', () => {
      const { limits } = setup(100);
      const queue = queueOf(1, 10);
      expect(timesUntilRefused(() => limits.put(queue, [messageOf(1, 'a')]))).toBe(10);
      for (let times = 0; times < 50; times += 1) {
        expect(refusalOf(() => limits.put(queue, [messageOf(1, 'b'), messageOf(1, 'a')]))).not.toBeNull();
      }
      expect(timesUntilRefused(() => limits.put(queue, [messageOf(1, 'b'), messageOf(1, 'b')]))).toBe(10);
      expect(timesUntilRefused(() => limits.put(queue, [messageOf(1)]))).toBe(80);
    });
  });

  it('remember a bounded number of channels, whoever makes them up', () => {
    const { limits } = setup(1_000_000);
    const queue = queueOf(1, 50);
    limits.put(queue, [messageOf(1)]);
    let most = 0;
    for (let times = 0; times < 40_000; times += 1) {
      limits.get(queue, `made-up-${times}`);
      limits.put(queue, [messageOf(1, `made-up-${times}`)]);
      most = Math.max(most, limits.size);
      // No time to fill up again for most of them.
      if (times % 1000 === 0) jest.advanceTimersByTime(1);
    }
    expect(most).toBeGreaterThan(10_000);
    expect(most).toBeLessThanOrEqual(20_020);
    // The queue's own limit was not forgotten over it.
    jest.advanceTimersByTime(10_000);
    const { limits: small } = setup(10);
    expect(timesUntilRefused(() => small.put(queue, [messageOf(1)]))).toBe(10);
    for (let times = 0; times < 25_000; times += 1) refusalOf(() => small.get(queueOf(times + 2), null));
    expect(small.size).toBeLessThanOrEqual(20_001);
  });

  it('forget nothing that is in use while there is room for it', () => {
    const { limits } = setup(1_000_000);
    const queue = queueOf(1, 1);
    const busy = (): number => timesUntilRefused(() => limits.get(queue, 'busy'));
    expect(busy()).toBe(10_000);
    for (let times = 0; times < 30_000; times += 1) {
      limits.get(queue, `made-up-${times}`);
      // A millisecond is enough for those that were asked once, and ten for the busy one.
      if (times % 50 === 0) jest.advanceTimersByTime(1);
    }
    expect(busy()).toBeLessThanOrEqual(6000);
  });
});
