import { jest } from '@jest/globals';
import type { StoredBytes } from '../../src/database/limit-functions.js';
import type { MessageToPut, PutMessage } from '../../src/database/put-functions.js';
import type { Queue } from '../../src/database/queue-functions.js';
import { Refusals } from '../../src/limits/refusals.js';
import { StorageLimit } from '../../src/limits/storage-limit.js';
import { functionsOf, limitedTo, messageOf, queueOf, storedIn } from './support.js';

interface Read {
  readonly queueId: number;
  readonly channelsFrom: number | null;
  readonly answer: (stored: StoredBytes) => void;
  readonly fail: () => void;
}

const fail = (): Promise<PutMessage[]> => Promise.reject(new Error('the database is away'));

/** No answer is there in the same breath: who does not wait for it decides without. */
async function later(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await Promise.resolve();
}

/** A limit of 1,000 bytes, over a database whose answers the test gives: by itself, or one by one. */
function setup(limit = '1000'): {
  readonly storage: StorageLimit;
  readonly refusals: Refusals;
  readonly reads: Read[];
  readonly stored: { total: number; channels: Record<string, number>; isManual: boolean };
  readonly put: (queue: Queue, messages: MessageToPut[], groups?: number) => Promise<PutMessage[]>;
} {
  const reads: Read[] = [];
  const stored = { total: 0, channels: {} as Record<string, number>, isManual: false };
  const functions = functionsOf({
    storedBytes: (queueId, channelsFrom) => {
      const { promise, resolve, reject } = Promise.withResolvers<StoredBytes>();
      reads.push({ queueId, channelsFrom, answer: resolve, fail: () => reject(new Error('the database is away')) });
      if (!stored.isManual)
        void later().then(() => resolve({ total: stored.total, channels: new Map(Object.entries(stored.channels)) }));
      return promise;
    },
  });
  const refusals = new Refusals();
  const storage = new StorageLimit(functions, refusals, limitedTo({ TOWPATH_MAX_QUEUE_BYTES: limit }));
  return {
    storage,
    refusals,
    reads,
    stored,
    put: (queue, messages, groups) => storage.put(queue, messages, () => Promise.resolve(storedIn(messages, groups))),
  };
}

const limitExceeded = (message: RegExp): unknown =>
  expect.objectContaining({ code: 'LimitExceeded', message: expect.stringMatching(message) });

describe('the storage limit of a queue', () => {
  beforeEach(() => {
    // Promises go on as they do.
    jest.useFakeTimers({ now: 0, doNotFake: ['nextTick', 'queueMicrotask'] });
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  it('asks the database for nothing where none is configured', async () => {
    const { put, reads } = setup('');
    for (let times = 0; times < 100; times += 1) await put(queueOf(1, 1), [messageOf(1_000_000, 'a')]);
    expect(reads).toEqual([]);
  });

  it('lets in as much as fits, counting what it put itself, and reads once a second', async () => {
    const { put, reads, stored, refusals } = setup();
    stored.total = 500;
    for (let times = 0; times < 5; times += 1) await put(queueOf(), [messageOf(60), messageOf(40)]);
    await expect(put(queueOf(), [messageOf(1)])).rejects.toEqual(
      limitExceeded(/^the queue stores about 1000 bytes .* may store 1000; these messages have 1:/),
    );
    expect(reads).toHaveLength(1);
    expect([...refusals.all()].filter(({ count }) => count > 0)).toEqual([
      { limit: 'storage', scope: 'queue', count: 1 },
    ]);
    // Another queue has its own.
    await put(queueOf(2), [messageOf(500)]);
    expect(reads.map(({ queueId }) => queueId)).toEqual([1, 2]);
  });

  it('finds room that was made as soon as what it knows is a second old', async () => {
    const { put, reads, stored } = setup();
    stored.total = 1000;
    await expect(put(queueOf(), [messageOf(1)])).rejects.toEqual(limitExceeded(/./));
    stored.total = 0;
    jest.advanceTimersByTime(900);
    await expect(put(queueOf(), [messageOf(1)])).rejects.toEqual(limitExceeded(/./));
    expect(reads).toHaveLength(1);
    jest.advanceTimersByTime(101);
    await put(queueOf(), [messageOf(1)]);
    expect(reads).toHaveLength(2);
  });

  it('counts a row for each consumer group, none for what was dropped, none for what failed', async () => {
    const { put, storage } = setup();
    await put(queueOf(), [messageOf(100)], 3);
    await put(queueOf(), [messageOf(600)], 0);
    await expect(storage.put(queueOf(), [messageOf(700)], fail)).rejects.toThrow('the database is away');
    await put(queueOf(), [messageOf(700)]);
    await expect(put(queueOf(), [messageOf(1)])).rejects.toEqual(limitExceeded(/about 1000 bytes/));
  });

  it('counts what is under way, so that puts at the same time do not take the same room', async () => {
    const { storage } = setup();
    const { promise, resolve } = Promise.withResolvers<void>();
    const slow = async (): Promise<PutMessage[]> => {
      await promise;
      return storedIn([messageOf(400)]);
    };
    const puts = Array.from({ length: 20 }, () => storage.put(queueOf(), [messageOf(400)], slow));
    const settled = Promise.allSettled(puts);
    resolve();
    const outcomes = await settled;
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
  });

  it('misses nothing that is put while it reads', async () => {
    const { put, stored, reads, storage } = setup();
    await put(queueOf(), [messageOf(300)]);
    jest.advanceTimersByTime(1500);
    stored.isManual = true;
    // Begins a read beside itself; the database looks before the put that is under way then commits.
    const { promise, resolve } = Promise.withResolvers<PutMessage[]>();
    const underWay = storage.put(queueOf(), [messageOf(300)], () => promise);
    await put(queueOf(), [messageOf(200)]);
    expect(reads).toHaveLength(2);
    reads[1]!.answer({ total: 300, channels: new Map() });
    await later();
    resolve(storedIn([messageOf(300)]));
    await underWay;
    await expect(put(queueOf(), [messageOf(201)])).rejects.toEqual(limitExceeded(/about 800 bytes/));
    await put(queueOf(), [messageOf(200)]);
  });

  it('goes on with what it knows where a read fails, and tries again', async () => {
    const { put, stored, reads } = setup();
    await put(queueOf(), [messageOf(300)]);
    jest.advanceTimersByTime(1500);
    stored.isManual = true;
    await put(queueOf(), [messageOf(300)]);
    reads[1]!.fail();
    await later();
    // Both puts are still counted: there is no room for this one, as far as is known, so it has to ask.
    const asking = put(queueOf(), [messageOf(500)]);
    expect(reads).toHaveLength(3);
    reads[2]!.fail();
    await expect(asking).rejects.toThrow('the database is away');
    stored.isManual = false;
    stored.total = 100;
    await put(queueOf(), [messageOf(300)]);
    await later();
    expect(reads).toHaveLength(4);
    await put(queueOf(), [messageOf(600)]);
    await expect(put(queueOf(), [messageOf(301)])).rejects.toEqual(limitExceeded(/./));
  });

  it('does not decide on what is old: the put waits, and fails where the database cannot be asked', async () => {
    const { put, stored, reads } = setup();
    await put(queueOf(), [messageOf(1)]);
    jest.advanceTimersByTime(5001);
    // Others have put meanwhile.
    stored.total = 1000;
    await expect(put(queueOf(), [messageOf(1)])).rejects.toEqual(limitExceeded(/./));
    jest.advanceTimersByTime(5001);
    stored.isManual = true;
    const waiting = [put(queueOf(), [messageOf(1)]), put(queueOf(), [messageOf(1)])];
    const settled = Promise.allSettled(waiting);
    expect(reads).toHaveLength(3);
    reads[2]!.fail();
    for (const outcome of await settled) expect(outcome).toMatchObject({ reason: { message: 'the database is away' } });
  });

  it('reads seldom where reading takes long', async () => {
    const { put, stored, reads } = setup();
    stored.isManual = true;
    const first = put(queueOf(), [messageOf(1)]);
    jest.advanceTimersByTime(100);
    reads[0]!.answer({ total: 0, channels: new Map() });
    await first;
    stored.isManual = false;
    jest.advanceTimersByTime(1900);
    await put(queueOf(), [messageOf(1)]);
    expect(reads).toHaveLength(1);
    jest.advanceTimersByTime(101);
    await put(queueOf(), [messageOf(1)]);
    expect(reads).toHaveLength(2);
  });

  it('remembers no channel of puts that were refused, and those of puts that were not for a second', async () => {
    const { storage, put, stored } = setup();
    const queue = queueOf(1, 10);
    for (let times = 0; times < 10_000; times += 1) {
      await storage.put(queue, [messageOf(1, `made-up-${times}`)], fail).catch(() => undefined);
    }
    expect(storage.size).toBe(1);
    for (let times = 0; times < 100; times += 1) await put(queue, [messageOf(1, `made-up-${times}`)]);
    expect(storage.size).toBe(101);
    jest.advanceTimersByTime(1500);
    stored.channels = { 'made-up-1': 10 };
    await put(queue, [messageOf(1)]);
    await later();
    // The queue, the put just now in it, and the channel that the database told of.
    expect(storage.size).toBe(3);
    for (let times = 2; times <= 10_001; times += 1) await put(queueOf(times), [messageOf(1)]);
    expect(storage.size).toBeLessThanOrEqual(10);
  });

  describe('for one channel', () => {
    it('is its share, which other channels and the queue itself do not feel', async () => {
      const { put, refusals } = setup();
      const queue = queueOf(1, 10);
      await put(queue, [messageOf(60, 'a'), messageOf(30, 'b'), messageOf(40, 'a')]);
      await expect(put(queue, [messageOf(10, 'b'), messageOf(1, 'a')])).rejects.toEqual(
        limitExceeded(
          /^channel a stores about 100 bytes .* may store 100, 10 % .* of the queue's 1000; these messages have 1:/,
        ),
      );
      await put(queue, [messageOf(70, 'b')]);
      await put(queue, [messageOf(100, 'c'), messageOf(700)]);
      await expect(put(queue, [messageOf(1)])).rejects.toEqual(limitExceeded(/^the queue stores/));
      expect([...refusals.all()].filter(({ count }) => count > 0)).toEqual([
        { limit: 'storage', scope: 'queue', count: 1 },
        { limit: 'storage', scope: 'channel', count: 1 },
      ]);
    });

    it('sums up all messages of a put', async () => {
      const { put } = setup();
      const queue = queueOf(1, 10);
      const messages = Array.from({ length: 20 }, (_, index) => messageOf(11, index % 2 === 0 ? 'a' : 'b'));
      await expect(put(queue, messages)).rejects.toEqual(limitExceeded(/^channel a .* these messages have 110:/));
      await put(queue, messages.slice(0, 18));
    });

    it('reads the channels that come near it, and anew when the share is another', async () => {
      const { put, reads, stored } = setup();
      stored.channels = { full: 100 };
      await expect(put(queueOf(1, 10), [messageOf(1, 'full')])).rejects.toEqual(limitExceeded(/^channel full/));
      await put(queueOf(1, 100), [messageOf(1, 'full')]);
      await put(queueOf(1, 20), [messageOf(1, 'full')]);
      await expect(put(queueOf(1, 10), [messageOf(1, 'full')])).rejects.toEqual(limitExceeded(/^channel full/));
      expect(reads.map(({ channelsFrom }) => channelsFrom)).toEqual([10, null, 20, 10]);
    });
  });
});
