import { makeQueue, one, useDatabase } from './support.js';
import type { Receipt } from './support.js';

const { run } = useDatabase();
const seconds = (later: Date | null, earlier: Date | null): number =>
  ((later?.getTime() ?? 0) - (earlier?.getTime() ?? 0)) / 1000;

describe('put_packed_messages', () => {
  it('cuts contents out of one buffer and answers in the order given', async () => {
    const queue = await makeQueue(run, { retentionInSeconds: 600 });
    const contents = ['', 'one', 'zwölf', '\u{1F6B6}'].map((text) => Buffer.from(text));
    const put = await run<{ id: number; expire_after: Date }>(
      'select * from towpath.put_packed_messages($1, $2, $3, $4, $5, $6, $7)',
      [
        queue.id,
        Buffer.concat(contents),
        contents.map(({ length }) => length),
        ['', 'a', '', 'b'],
        [null, '{"k": "v"}', null, '{}'],
        [0, 0, 10, 0],
        [1, 2, 3, 4],
      ],
    );
    const rows = await queue.rows();
    expect(rows.map(({ id }) => id)).toEqual(put.map(({ id }) => id));
    expect(rows.map(({ body }) => body)).toEqual(contents);
    expect(rows.map(({ channel_id }) => channel_id)).toEqual(['', 'a', '', 'b']);
    expect(rows.map(({ properties }) => properties)).toEqual([null, { k: 'v' }, null, {}]);
    expect(rows.map(({ size_in_bytes }) => size_in_bytes)).toEqual([1, 2, 3, 4]);
    expect(rows.map((row) => Math.round(seconds(row.visible_after, row.created_at)))).toEqual([0, 0, 10, 0]);
    for (const [index, row] of rows.entries()) {
      expect(row).toMatchObject({ delivery_count: 0, receipt_number: 0, dead_letter: false, delivered_at: null });
      expect(seconds(row.expire_after, row.created_at)).toBe(600);
      expect(put[index]?.expire_after).toEqual(row.expire_after);
    }
  });

  it('stores all or none', async () => {
    const queue = await makeQueue(run);
    await expect(
      run(`select towpath.put_packed_messages($1, 'ab', '{1,1}', '{"",not ok}', '{null,null}', '{0,0}', '{1,1}')`, [
        queue.id,
      ]),
    ).rejects.toMatchObject({ constraint: 'channel_id_has_up_to_64_characters' });
    expect(await queue.rows()).toEqual([]);
    expect(await queue.stats()).toMatchObject({ visible_messages: 0 });
  });

  it('refuses a delay that is negative or not below the retention', async () => {
    const queue = await makeQueue(run, { retentionInSeconds: 10 });
    await expect(queue.put(['x'], '', 10)).rejects.toMatchObject({ code: 'TP400' });
    await expect(queue.put(['x'], '', -1)).rejects.toMatchObject({ code: 'TP400' });
    await queue.put(['x'], '', 9);
    expect(await queue.get()).toEqual([]);
    await queue.timeOut();
    expect(await queue.get()).toHaveLength(1);
  });

  it('refuses queues that are unknown, being deleted, deleted or in a state without messages', async () => {
    const queue = await makeQueue(run);
    await run(`update towpath.queue set lifecycle_state = 'INACTIVE' where id = $1`, [queue.id]);
    await expect(queue.put(['x'])).rejects.toMatchObject({ code: 'TP409' });
    await expect(queue.get()).rejects.toMatchObject({ code: 'TP409' });
    for (const state of ['DELETING', 'DELETED']) {
      await run('update towpath.queue set lifecycle_state = $2 where id = $1', [queue.id, state]);
      await expect(queue.put(['x'])).rejects.toMatchObject({ code: 'TP404' });
      await expect(queue.get()).rejects.toMatchObject({ code: 'TP404' });
      await expect(queue.stats()).rejects.toMatchObject({ code: 'TP404' });
      await expect(queue.channels()).rejects.toMatchObject({ code: 'TP404' });
    }
    await expect(run(`select towpath.put_messages(-1, '{x}')`)).rejects.toMatchObject({ code: 'TP404' });
    await expect(run('select towpath.get_messages(-1)')).rejects.toMatchObject({ code: 'TP404' });
    await expect(run('select towpath.get_stats(-1)')).rejects.toMatchObject({ code: 'TP404' });
    await expect(run('select towpath.list_channels(-1)')).rejects.toMatchObject({ code: 'TP404' });
  });

  it('limits the number of channels, counting those that hold messages', async () => {
    const queue = await makeQueue(run);
    const put = async (...channels: string[]): Promise<unknown> =>
      run('select towpath.put_packed_messages($1, $2, $3, $4, $5, $6, $6, 3)', [
        queue.id,
        Buffer.alloc(0),
        channels.map(() => 0),
        channels,
        channels.map(() => null),
        channels.map(() => 0),
      ]);
    await put('a', 'b', '', 'b');
    await expect(put('c', 'd')).rejects.toMatchObject({ code: 'TP4LE' });
    await put('c', 'c', 'a');
    await expect(put('d')).rejects.toMatchObject({ code: 'TP4LE' });
    await put('', 'a', 'b', 'c');
    const taken = await queue.get({ channel: 'b', limit: 10 });
    await queue.delete(taken);
    await put('d');
    expect(await queue.channels()).toEqual(['a', 'c', 'd']);
  });

  it('of people at psql sizes content and properties, and wakes whoever waits', async () => {
    const queue = await makeQueue(run);
    expect(await run(`select * from towpath.put_messages($1, '{}')`, [queue.id])).toEqual([]);
    await run(`select * from towpath.put_messages($1, array['äö', 'x'], 'c', '{"k": "v"}')`, [queue.id]);
    const rows = await queue.rows();
    expect(rows.map(({ size_in_bytes }) => size_in_bytes)).toEqual([4 + 2, 1 + 2]);
    expect(rows.map(({ properties }) => properties)).toEqual([{ k: 'v' }, { k: 'v' }]);
  });
});

describe('get_messages', () => {
  it('delivers the longest visible first, hides it and says who has it until when', async () => {
    const queue = await makeQueue(run, { visibilityInSeconds: 77 });
    const ids = await queue.put(['a', 'b', 'c']);
    const [first, second] = await queue.get({ limit: 2, to: 'ana', visibility: null });
    expect([first?.id, second?.id]).toEqual(ids.slice(0, 2));
    expect(first).toMatchObject({ delivery_count: 1, receipt_number: 1, delivery_limit: 5, delivered_to: 'ana' });
    expect(seconds(first?.visible_after ?? null, first?.delivered_at ?? null)).toBe(77);
    expect((await queue.get({ limit: 9, visibility: 5 })).map(({ id }) => id)).toEqual(ids.slice(2));
    expect(await queue.get()).toEqual([]);
  });

  it('delivers again after the timeout, with a new receipt', async () => {
    const queue = await makeQueue(run);
    await queue.put(['x']);
    const first = await queue.getOne();
    await queue.timeOut();
    const second = await queue.getOne();
    expect(second).toMatchObject({ id: first.id, delivery_count: 2, receipt_number: 2 });
    expect(await queue.delete([first])).toEqual([false]);
    expect(await queue.delete([second])).toEqual([true]);
    expect(await queue.rows()).toEqual([]);
  });

  it('with visibility 0 counts the delivery, gives a receipt and hides nothing', async () => {
    const queue = await makeQueue(run);
    await queue.putMany(3);
    const before = await queue.rows();
    const peeked = await queue.get({ limit: 10, visibility: 0 });
    expect(peeked.map(({ id, delivery_count }) => [id, delivery_count])).toEqual(before.map(({ id }) => [id, 1]));
    expect(peeked.map(({ visible_after }) => visible_after)).toEqual(before.map(({ visible_after }) => visible_after));
    expect(await queue.inFlight()).toBe(0);
    expect((await queue.get({ limit: 10 })).map(({ delivery_count }) => delivery_count)).toEqual([2, 2, 2]);
    expect(await queue.delete(peeked)).toEqual([false, false, false]);
  });

  it('never delivers what has expired, swept or not, and steps over it', async () => {
    const queue = await makeQueue(run, { retentionInSeconds: 100 });
    await queue.putMany(5);
    await queue.age(101);
    expect(await queue.get({ limit: 10 })).toEqual([]);
    expect(await queue.get({ limit: 10, channel: '' })).toEqual([]);
    expect(await queue.nextVisible()).toBeNull();
    const [alive] = await queue.put(['alive']);
    expect((await queue.get({ limit: 10 })).map(({ id }) => id)).toEqual([alive]);
  });

  it('delivers up to the last moment before the expiry', async () => {
    const queue = await makeQueue(run, { retentionInSeconds: 100 });
    await queue.putMany(1);
    await queue.age(98);
    expect(await queue.get()).toHaveLength(1);
  });

  it('delivers to the end of its life what was released while the clock was set back', async () => {
    const queue = await makeQueue(run, { retentionInSeconds: 100 });
    await queue.putMany(1);
    await queue.age(98);
    await run(`update towpath.message set visible_after = visible_after - interval '50 seconds' where queue_id = $1`, [
      queue.id,
    ]);
    expect(await queue.get()).toHaveLength(1);
  });

  it('keeps an answer within max_bytes, but always gives one message', async () => {
    const queue = await makeQueue(run);
    await queue.put(['1234', '1234', '1234', '123456789', '1']);
    const sizes = async (maxBytes: number): Promise<number[]> =>
      (await queue.get({ limit: 10, maxBytes })).map(({ size_in_bytes }) => size_in_bytes);
    expect(await sizes(8)).toEqual([4, 4]);
    expect(await sizes(3)).toEqual([4]);
    expect(await sizes(9)).toEqual([9]);
    expect(await sizes(1)).toEqual([1]);
    expect(await sizes(1)).toEqual([]);
  });

  it('of one channel gives that channel alone; the empty name is the queue itself', async () => {
    const queue = await makeQueue(run);
    await queue.put(['queue']);
    await queue.put(['a'], 'a');
    await queue.put(['b'], 'b');
    expect(await queue.get({ channel: 'c', limit: 9 })).toEqual([]);
    expect((await queue.get({ channel: 'b', limit: 9 })).map(({ body }) => body.toString())).toEqual(['b']);
    expect((await queue.get({ channel: '', limit: 9 })).map(({ body }) => body.toString())).toEqual(['queue']);
    expect((await queue.get({ limit: 9 })).map(({ body }) => body.toString())).toEqual(['a']);
  });
});

describe('turns', () => {
  it('serve a channel of 1,000 messages, 20 small ones and the queue itself one after another', async () => {
    const queue = await makeQueue(run);
    await queue.putMany(1000, 'big');
    const small = Array.from({ length: 20 }, (_, index) => `s${String(index).padStart(2, '0')}`);
    for (const channel of small) await queue.putMany(3, channel);
    await queue.putMany(3);
    const expected = ['', 'big', ...small];
    let after = 'm';
    const served: string[] = [];
    for (let get = 0; get < 3 * expected.length; get += 1) {
      const messages = await queue.get({ after });
      expect(messages).toHaveLength(1);
      after = messages[0]?.channel_id ?? 'none';
      served.push(after);
    }
    for (let round = 0; round < 3; round += 1) {
      const turn = served.slice(round * expected.length, (round + 1) * expected.length);
      expect(turn.toSorted()).toEqual(expected);
    }
    // Only the big one is left: it has every turn.
    for (let get = 0; get < 3; get += 1) {
      expect((await queue.get({ after, limit: 5 })).map(({ channel_id }) => channel_id)).toEqual(Array(5).fill('big'));
    }
  });

  it('pass over channels with nothing visible, and end after one round', async () => {
    const queue = await makeQueue(run, { retentionInSeconds: 1000 });
    await queue.putMany(1, 'a');
    await queue.putMany(1, 'b');
    await queue.age(1001);
    await queue.putMany(1, 'c');
    await queue.put(['x'], 'd', 100);
    for (const after of ['', 'a', 'c', 'd', 'z']) {
      const [message] = await queue.get({ after, visibility: 0 });
      expect(message?.channel_id).toBe('c');
    }
    await queue.get();
    for (const after of ['', 'a', 'c', 'd', 'z']) expect(await queue.get({ after })).toEqual([]);
  });

  it('count in the dead letter queue too', async () => {
    const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
    for (const channel of ['a', '', 'b']) await queue.putMany(1, channel);
    for (let get = 0; get < 3; get += 1) await queue.get();
    await queue.timeOut();
    await queue.sweepTimedOut();
    let after = 'a';
    const served: string[] = [];
    for (let get = 0; get < 3; get += 1) {
      after = (await queue.getOne({ dead: true, after })).channel_id;
      served.push(after);
    }
    expect(served).toEqual(['b', '', 'a']);
  });
});

describe('next_visible_after', () => {
  it('is the earliest of all channels, or of one', async () => {
    const queue = await makeQueue(run);
    expect(await queue.nextVisible()).toBeNull();
    await queue.put(['x'], 'a', 100);
    await queue.put(['x'], 'b', 50);
    await queue.put(['x'], '', 200);
    expect(await queue.nextVisible()).toBeCloseTo(50, -1);
    expect(await queue.nextVisible('a')).toBeCloseTo(100, -1);
    expect(await queue.nextVisible('')).toBeCloseTo(200, -1);
    expect(await queue.nextVisible('c')).toBeNull();
    expect(await queue.nextVisible(null, true)).toBeNull();
    await queue.put(['x'], 'c');
    expect(await queue.nextVisible()).toBeLessThan(0);
    await queue.get({ visibility: 20 });
    expect(await queue.nextVisible()).toBeCloseTo(20, -1);
  });
});

describe('update_messages', () => {
  it('sets the time from now on, longer or shorter, and the receipt stays good', async () => {
    const queue = await makeQueue(run);
    await queue.put(['x'], 'c');
    const message = await queue.getOne();
    const [longer] = await queue.update([{ ...message, seconds: 1000 }]);
    expect(longer).toMatchObject({ updated: true, channel_id: 'c' });
    expect(await queue.nextVisible()).toBeCloseTo(1000, -2);
    await queue.update([{ ...message, seconds: 5 }]);
    expect(await queue.nextVisible()).toBeCloseTo(5, -1);
    const [row] = await queue.rows();
    expect(row).toMatchObject({ receipt_number: 1, delivery_count: 1 });
    expect(await queue.delete([message])).toEqual([true]);
  });

  it('of 0 makes the message visible at once', async () => {
    const queue = await makeQueue(run);
    await queue.put(['x']);
    const message = await queue.getOne();
    const [result] = await queue.update([{ ...message, seconds: 0 }]);
    expect(result?.updated).toBe(true);
    expect((await queue.getOne()).delivery_count).toBe(2);
  });

  it('does not hide a message beyond its expiry, and not at all after it', async () => {
    const queue = await makeQueue(run, { retentionInSeconds: 100 });
    await queue.put(['x']);
    const message = await queue.getOne();
    const [result] = await queue.update([{ ...message, seconds: 43_200 }]);
    expect(result?.visible_after).toEqual(message.expire_after);
    await queue.age(101);
    expect(await queue.update([{ ...message, seconds: 1 }])).toEqual([
      { updated: false, visible_after: null, channel_id: null },
    ]);
    expect(await queue.delete([message])).toEqual([false]);
  });

  it('answers each entry in order: good, stale, foreign, unknown, and one that stands twice', async () => {
    const queue = await makeQueue(run);
    const other = await makeQueue(run);
    await queue.putMany(2);
    await other.putMany(1);
    const [a, b] = await queue.get({ limit: 2 });
    const foreign = await other.getOne();
    if (a === undefined || b === undefined) throw new Error('two messages');
    const answers = await queue.update([
      { ...b, seconds: 10 },
      { id: a.id, receipt_number: a.receipt_number - 1, seconds: 11 },
      { ...foreign, seconds: 12 },
      { id: 2 ** 52, receipt_number: 1, seconds: 13 },
      { ...a, seconds: 14 },
      { ...b, seconds: 500 },
    ]);
    expect(answers.map(({ updated }) => updated)).toEqual([true, false, false, false, true, true]);
    const rows = await queue.rows();
    expect(rows.find(({ id }) => id === b.id)?.visible_after).toEqual(answers[5]?.visible_after);
    expect(seconds(answers[5]?.visible_after ?? null, answers[0]?.visible_after ?? null)).toBe(490);
    expect((await other.rows())[0]?.visible_after).toEqual(foreign.visible_after);
    expect(await queue.update([])).toEqual([]);
    // A receipt of the queue is none of its dead letter queue.
    expect((await queue.update([{ ...a, seconds: 1 }], true))[0]?.updated).toBe(false);
  });
});

describe('delete_messages', () => {
  it('answers each receipt in order: good, stale, foreign, unknown, and one that stands twice', async () => {
    const queue = await makeQueue(run);
    const other = await makeQueue(run);
    await queue.putMany(3);
    await other.putMany(1);
    const [a, b] = await queue.get({ limit: 2 });
    const foreign = await other.getOne();
    if (a === undefined || b === undefined) throw new Error('two messages');
    const stale: Receipt = { id: a.id, receipt_number: 0 };
    expect(await queue.delete([b, stale, foreign, { id: 2 ** 52, receipt_number: 1 }, a, b])).toEqual([
      true,
      false,
      false,
      false,
      true,
      false,
    ]);
    expect(await queue.rows()).toHaveLength(1);
    expect(await other.rows()).toHaveLength(1);
    expect(await queue.delete([a, b])).toEqual([false, false]);
    expect(await queue.delete([])).toEqual([]);
    expect(await queue.stats()).toMatchObject({ visible_messages: 1, in_flight_messages: 0, size_in_bytes: 1 });
  });

  it('needs a receipt of the same side: queue or dead letter queue', async () => {
    const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
    await queue.putMany(1);
    const alive = await queue.getOne();
    expect(await queue.delete([alive], true)).toEqual([false]);
    await queue.timeOut();
    await queue.sweepTimedOut();
    const dead = await queue.getOne({ dead: true });
    expect(await queue.delete([dead])).toEqual([false]);
    expect(await queue.delete([alive], true)).toEqual([false]);
    expect(await queue.delete([dead], true)).toEqual([true]);
  });

  it('takes a receipt whose time is over while nobody else has the message', async () => {
    const queue = await makeQueue(run);
    await queue.putMany(1);
    const message = await queue.getOne();
    await queue.timeOut();
    expect(await queue.delete([message])).toEqual([true]);
  });
});

describe('release_messages', () => {
  it('takes the delivery back: visible at once, not counted, the receipt dead', async () => {
    const queue = await makeQueue(run);
    await queue.putMany(2);
    const [a, b] = await queue.get({ limit: 2 });
    if (a === undefined || b === undefined) throw new Error('two messages');
    expect(await queue.release([b, { ...a, receipt_number: 7 }, b])).toEqual([b.id]);
    expect(await queue.delete([b])).toEqual([false]);
    expect(await queue.release([b])).toEqual([]);
    const again = await queue.getOne();
    expect(again).toMatchObject({ id: b.id, delivery_count: 1, receipt_number: 3 });
    expect(await queue.delete([again, a])).toEqual([true, true]);
  });

  it('of the last allowed delivery keeps the message out of the dead letter queue', async () => {
    const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
    await queue.putMany(1);
    await queue.release([await queue.getOne()]);
    expect(await queue.sweepTimedOut()).toBe(0);
    expect(await queue.getOne()).toMatchObject({ delivery_count: 1, dead_letter: false });
  });

  it('works on dead letters', async () => {
    const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
    await queue.putMany(1);
    await queue.get();
    await queue.timeOut();
    await queue.sweepTimedOut();
    const dead = await queue.getOne({ dead: true });
    expect(await queue.release([dead])).toEqual([]);
    expect(await queue.release([dead], true)).toEqual([dead.id]);
    expect(await queue.getOne({ dead: true })).toMatchObject({ delivery_count: dead.delivery_count });
  });
});

describe('list_channels', () => {
  it('lists those that hold messages, in order, by pages, or one', async () => {
    const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
    for (const channel of ['b', 'B', 'a', '', 'c.d']) await queue.putMany(2, channel);
    expect(await queue.channels()).toEqual(['B', 'a', 'b', 'c.d']);
    expect(await queue.channels(false, null, '', 2)).toEqual(['B', 'a']);
    expect(await queue.channels(false, null, 'a', 2)).toEqual(['b', 'c.d']);
    expect(await queue.channels(false, null, 'c.d', 2)).toEqual([]);
    expect(await queue.channels(false, 'b')).toEqual(['b']);
    expect(await queue.channels(false, 'b', 'b')).toEqual([]);
    expect(await queue.channels(false, 'b', '', 0)).toEqual([]);
    expect(await queue.channels(false, 'x')).toEqual([]);
    expect(await queue.channels(false, '')).toEqual([]);
    expect(await queue.channels(true)).toEqual([]);
    await queue.get({ channel: 'b', limit: 1 });
    await queue.timeOut();
    await queue.sweepTimedOut();
    expect(await queue.channels(true)).toEqual(['b']);
    expect(await queue.channels()).toEqual(['B', 'a', 'b', 'c.d']);
  });
});

describe('count_in_flight', () => {
  it('counts what is delivered and hidden, of the queue or a channel, looking at so many at most', async () => {
    const queue = await makeQueue(run);
    for (const channel of ['', 'a', 'b']) await queue.putMany(4, channel);
    await queue.put(['x'], 'b', 100);
    for (const channel of ['', 'a', 'b']) await queue.get({ channel, limit: 3 });
    expect(await queue.inFlight()).toBe(9);
    expect(await queue.inFlight('')).toBe(3);
    expect(await queue.inFlight('b')).toBe(3);
    expect(await queue.inFlight(null, 5)).toBe(5);
    expect(await queue.inFlight(null, 100, true)).toBe(0);
  });
});

describe('get_stats', () => {
  it('tells visible, in flight, delayed and bytes, of the queue with its channels, of one, of the queue alone', async () => {
    const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
    await queue.put(['12345', '12', '1']);
    await queue.put(['123'], 'a');
    await queue.get({ channel: '' });
    await queue.timeOut();
    await queue.sweepTimedOut();
    await queue.put(['1234'], 'b', 100);
    await queue.get({ channel: '' });
    const none = {
      dead_visible_messages: 0,
      dead_in_flight_messages: 0,
      dead_size_in_bytes: 0,
      delayed_messages: 0,
    };
    const expected = async (): Promise<void> => {
      expect(await queue.stats()).toEqual({
        visible_messages: 2,
        in_flight_messages: 1,
        delayed_messages: 1,
        size_in_bytes: 10,
        dead_visible_messages: 1,
        dead_in_flight_messages: 0,
        dead_size_in_bytes: 5,
      });
      expect(await queue.stats('a')).toEqual({ visible_messages: 1, in_flight_messages: 0, size_in_bytes: 3, ...none });
      expect(await queue.stats('')).toMatchObject({
        visible_messages: 1,
        in_flight_messages: 1,
        dead_size_in_bytes: 5,
      });
      expect(await queue.stats('b')).toMatchObject({ visible_messages: 0, in_flight_messages: 0, delayed_messages: 1 });
      expect(await queue.stats('x')).toEqual({ visible_messages: 0, in_flight_messages: 0, size_in_bytes: 0, ...none });
    };
    await expected();
    await queue.fold();
    await expected();
    expect(
      one(
        await run<{ deltas: number }>('select count(*)::int as deltas from towpath.message_delta where queue_id = $1', [
          queue.id,
        ]),
      ).deltas,
    ).toBe(0);
  });
});
