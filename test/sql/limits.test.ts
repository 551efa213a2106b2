import { makeQueue, makeTenancy, one, untilBlocked, useDatabase, type Queue } from './support.js';

const { run, session } = useDatabase();

interface StoredRow {
  readonly channel_id: string | null;
  readonly size_in_bytes: number;
}

const stored = async (queue: Queue, channelsFrom: number | null = null): Promise<Record<string, number>> => {
  const rows = await run<StoredRow & Record<string, unknown>>('select * from towpath.stored_bytes($1, $2)', [
    queue.id,
    channelsFrom,
  ]);
  return Object.fromEntries(rows.map(({ channel_id, size_in_bytes }) => [channel_id ?? 'all', size_in_bytes]));
};

describe('stored_bytes', () => {
  it('tells what a queue stores, folded or not', async () => {
    const queue = await makeQueue(run);
    expect(await stored(queue)).toEqual({ all: 0 });
    await queue.put(['x'.repeat(100)]);
    await queue.put(['x'.repeat(30)], 'a');
    expect(await stored(queue)).toEqual({ all: 130 });
    await queue.fold();
    expect(await stored(queue)).toEqual({ all: 130 });
    await queue.put(['x'.repeat(5)], 'a');
    expect(await stored(queue)).toEqual({ all: 135 });
    await queue.delete([await queue.getOne({ channel: '' })]);
    expect(await stored(queue)).toEqual({ all: 35 });
  });

  it('tells of channels with so many bytes or more, never of the queue itself as one', async () => {
    const queue = await makeQueue(run);
    await queue.put(['x'.repeat(1000)]);
    await queue.put(['x'.repeat(10)], 'a');
    await queue.put(['x'.repeat(11)], 'b');
    await queue.fold();
    await queue.put(['x'.repeat(10)], 'a');
    await queue.put(['x'.repeat(10)], 'c');
    expect(await stored(queue, 11)).toEqual({ all: 1041, a: 20, b: 11 });
    expect(await stored(queue, 20)).toEqual({ all: 1041, a: 20 });
    expect(await stored(queue, 21)).toEqual({ all: 1041 });
    // An empty channel is none, whatever is asked.
    await queue.delete([await queue.getOne({ channel: 'c' })]);
    expect(await stored(queue, 0)).toEqual({ all: 1031, a: 20, b: 11 });
  });

  it('counts dead letters and every consumer group', async () => {
    const queue = await makeQueue(run, {
      deadLetterQueueDeliveryCount: 1,
      capabilities: [{ type: 'CONSUMER_GROUPS', isPrimaryConsumerGroupEnabled: true }],
    });
    await run('select * from towpath.create_consumer_group($1, $2)', [
      queue.tenancy,
      { displayName: 'second', queueId: queue.ocid },
    ]);
    await queue.put(['x'.repeat(10)], 'a');
    expect(await stored(queue, 1)).toEqual({ all: 20, a: 20 });
    await queue.get({ channel: 'a' });
    await queue.timeOut();
    expect(await queue.sweepTimedOut()).toBe(1);
    expect((await queue.stats()).dead_size_in_bytes).toBe(10);
    expect(await stored(queue, 1)).toEqual({ all: 20, a: 20 });
  });

  it('forgets what is purged at once, and what has expired when it is swept', async () => {
    const queue = await makeQueue(run);
    await queue.put(['x'.repeat(10)], 'a');
    await queue.put(['x'.repeat(7)], 'b');
    await queue.purge({ purgeType: 'BOTH', channelIds: ['a'] });
    expect(await stored(queue, 1)).toEqual({ all: 7, b: 7 });
    await queue.age(100_000);
    await queue.sweepExpired();
    expect((await stored(queue, 1))['b']).toBeUndefined();
  });

  it('is about one queue', async () => {
    const [one_, other] = [await makeQueue(run), await makeQueue(run)];
    await one_.put(['xxx'], 'a');
    await other.put(['xxxxx'], 'a');
    expect([await stored(one_, 1), await stored(other, 1)]).toEqual([
      { all: 3, a: 3 },
      { all: 5, a: 5 },
    ]);
  });
});

const beat = async (id: string, staleAfter = 15): Promise<number> =>
  one(await run<{ living: number }>('select towpath.record_heartbeat($1, $2) as living', [id, staleAfter])).living;
const known = async (): Promise<string[]> =>
  (await run<{ id: string }>('select id from towpath.pod order by id')).map(({ id }) => id);
const age = (id: string, seconds: number): Promise<unknown> =>
  run('update towpath.pod set seen_at = seen_at - make_interval(secs => $2) where id = $1', [id, seconds]);

describe('the pods', () => {
  beforeEach(async () => {
    await run('delete from towpath.pod');
  });

  it('are counted by their heartbeats, and keep the time at which they started', async () => {
    expect(await beat('a')).toBe(1);
    expect(await beat('b')).toBe(2);
    const [before] = await run<{ started_at: Date; seen_at: Date }>(`select * from towpath.pod where id = 'a'`);
    expect(await beat('a')).toBe(2);
    const [after] = await run<{ started_at: Date; seen_at: Date }>(`select * from towpath.pod where id = 'a'`);
    expect(after!.started_at).toEqual(before!.started_at);
    expect(after!.seen_at.getTime()).toBeGreaterThanOrEqual(before!.seen_at.getTime());
  });

  it('are forgotten when they have said nothing for as long as that, and counted again when they do', async () => {
    await beat('a');
    await beat('b');
    await age('a', 14);
    expect(await beat('b')).toBe(2);
    await age('a', 2);
    expect(await beat('b')).toBe(1);
    expect(await known()).toEqual(['b']);
    expect(await beat('a')).toBe(2);
    await age('a', 3);
    expect(await beat('b', 2.5)).toBe(1);
  });

  it('are not counted any more when they say that they stop', async () => {
    await beat('a');
    await beat('b');
    await run(`select towpath.forget_pod('a')`);
    expect(await beat('b')).toBe(1);
    await run(`select towpath.forget_pod('nobody')`);
  });

  it('do not wait for each other: one that is just coming back is left alone', async () => {
    await beat('a');
    await age('a', 100);
    const late = await session();
    await late.run('begin');
    await late.run(`select towpath.record_heartbeat('a')`);
    expect(await beat('b')).toBe(1);
    await late.run('commit');
    expect(await beat('b')).toBe(2);
    // Only its own row a heartbeat waits for: that of a pod that is being forgotten is made anew.
    await age('a', 100);
    const forgetting = await session();
    await forgetting.run('begin');
    await forgetting.run(`select towpath.record_heartbeat('c')`);
    const back = await session();
    const beating = back.run<{ living: number }>(`select towpath.record_heartbeat('a') as living`);
    await untilBlocked(run, back);
    await forgetting.run('commit');
    expect(one(await beating).living).toBe(3);
    expect(await known()).toEqual(['a', 'b', 'c']);
  });
});

const createWithin = (
  tenancy: string,
  name: string,
  maxQueues: number,
  token: string | null = null,
): Promise<unknown> =>
  run('select * from towpath.create_queue_within($1, $2, $3, $4)', [
    tenancy,
    { displayName: name, compartmentId: tenancy },
    token,
    maxQueues,
  ]);

describe('create_queue_within', () => {
  it('refuses one queue too many, and takes it when another one is being deleted', async () => {
    const tenancy = await makeTenancy(run);
    await createWithin(tenancy, 'first', 2);
    await createWithin(tenancy, 'second', 2, 'token');
    await expect(createWithin(tenancy, 'third', 2)).rejects.toMatchObject({
      code: 'TP4LE',
      message: 'the tenancy has 2 queues and may have 2: delete one that is not needed any more',
    });
    // A repeat creates nothing, and another tenancy has its own.
    await createWithin(tenancy, 'second', 2, 'token');
    await createWithin(await makeTenancy(run), 'first', 1);
    await run(
      `select towpath.delete_queue($1::text, q.ocid, null) from towpath.queue q where q.tenancy_id = $1 and q.display_name = 'first'`,
      [tenancy],
    );
    await createWithin(tenancy, 'third', 2);
    expect(await run('select towpath.count_queues($1)::integer as count', [tenancy])).toEqual([{ count: 2 }]);
  });

  it('lets two that come together not both have the last place', async () => {
    const tenancy = await makeTenancy(run);
    const [first, second] = [await session(), await session()];
    const text = 'select towpath.create_queue_within($1, $2, null, 1)';
    const details = { displayName: 'q', compartmentId: tenancy };
    await first.run('begin');
    await first.run(text, [tenancy, details]);
    const refused = second.run(text, [tenancy, details]).then(
      () => 'created',
      (error: { code?: string }) => error.code,
    );
    await untilBlocked(run, second);
    await first.run('commit');
    expect(await refused).toBe('TP4LE');
  });
});

const storedBy = async (tenancy: string): Promise<number> =>
  one(await run<{ bytes: number }>('select towpath.stored_bytes_of_tenancy($1) as bytes', [tenancy])).bytes;

describe('stored_bytes_of_tenancy', () => {
  it('is the sum of its queues, folded or not', async () => {
    const tenancy = await makeTenancy(run);
    const [first, second] = [await makeQueue(run, {}, tenancy), await makeQueue(run, {}, tenancy)];
    const other = await makeQueue(run);
    expect(await storedBy(tenancy)).toBe(0);
    await first.put(['x'.repeat(100)]);
    await first.fold();
    await first.put(['x'.repeat(20)], 'a');
    await second.put(['xyz']);
    await other.put(['x'.repeat(7)]);
    expect(await storedBy(tenancy)).toBe(123);
    await first.delete([await first.getOne({ channel: 'a' })]);
    expect(await storedBy(tenancy)).toBe(103);
  });
});
