import { makeQueue, makeTenancy, one, runWorkRequests, useDatabase } from './support.js';

const { run, session } = useDatabase();

const lease = async (name: string, holder: string, seconds = 60): Promise<boolean> =>
  one(await run<{ taken: boolean }>('select towpath.take_lease($1, $2, $3) as taken', [name, holder, seconds])).taken;

describe('the lease', () => {
  it('has one holder, who may prolong it, until it expires or is given back', async () => {
    expect(await lease('l', 'a')).toBe(true);
    expect(await lease('l', 'b')).toBe(false);
    expect(await lease('l', 'a')).toBe(true);
    expect(await lease('other', 'b')).toBe(true);
    await run(`select towpath.give_lease_back('l', 'b')`);
    expect(await lease('l', 'b')).toBe(false);
    await run(`select towpath.give_lease_back('l', 'a')`);
    expect(await lease('l', 'b')).toBe(true);
    await run(`update towpath.lease set expires_at = clock_timestamp() - interval '1 ms' where name = 'l'`);
    expect(await lease('l', 'a')).toBe(true);
    expect(await lease('l', 'b')).toBe(false);
  });

  it('goes to one of many that want it at once', async () => {
    const taken = await Promise.all(Array.from({ length: 8 }, (_, holder) => lease('rush', `pod ${holder}`)));
    expect(taken.filter(Boolean)).toHaveLength(1);
  });
});

describe('retention', () => {
  it('deletes what has expired, oldest first, in bounded batches', async () => {
    const queue = await makeQueue(run, { retentionInSeconds: 100 });
    await queue.putMany(5);
    await queue.age(101);
    const alive = await queue.putMany(2);
    expect([await queue.sweepExpired(3), await queue.sweepExpired(3), await queue.sweepExpired(3)]).toEqual([3, 2, 0]);
    expect((await queue.rows()).map(({ id }) => id)).toEqual(alive);
    expect(await queue.stats()).toMatchObject({ visible_messages: 2, size_in_bytes: 2 });
  });

  it('sees expired messages behind one that is still alive', async () => {
    const queue = await makeQueue(run, { retentionInSeconds: 100 });
    const [first] = await queue.putMany(3);
    await queue.age(101);
    await run(`update towpath.message set expire_after = clock_timestamp() + interval '1 hour' where id = $1`, [first]);
    expect(await queue.sweepExpired()).toBe(2);
  });

  it('does not wait for what somebody has locked', async () => {
    const queue = await makeQueue(run, { retentionInSeconds: 100 });
    const [first] = await queue.putMany(3);
    await queue.age(101);
    const holder = await session();
    await holder.run('begin');
    await holder.run('select from towpath.message where id = $1 for update', [first]);
    expect(await queue.sweepExpired()).toBe(2);
    await holder.run('commit');
    expect(await queue.sweepExpired()).toBe(1);
  });

  it('names the queues that have something expired', async () => {
    const [old, young, empty] = [
      await makeQueue(run, { retentionInSeconds: 100 }),
      await makeQueue(run),
      await makeQueue(run),
    ];
    await old.putMany(1);
    await young.putMany(1);
    await old.age(101);
    const named = await run<{ queue_id: number }>('select * from towpath.ranges_with_expired_messages()');
    expect(named).toContainEqual({ queue_id: old.id, consumer_group_id: 0 });
    expect(named.map(({ queue_id }) => queue_id)).not.toContain(young.id);
    expect(named.map(({ queue_id }) => queue_id)).not.toContain(empty.id);
    await old.sweepExpired();
    expect(await run('select * from towpath.ranges_with_expired_messages() where queue_id = $1', [old.id])).toEqual([]);
    const another = await makeQueue(run, { retentionInSeconds: 100 });
    for (const queue of [old, another]) {
      await queue.putMany(1);
      await queue.age(101);
    }
    expect(await run('select * from towpath.ranges_with_expired_messages(1)')).toHaveLength(1);
  });
});

describe('folding', () => {
  it('adds changes to the totals, a batch at a time, and drops totals of nothing', async () => {
    const queue = await makeQueue(run);
    for (let put = 0; put < 5; put += 1) await queue.put(['x'], put < 4 ? 'a' : '');
    expect(await run('select q from towpath.queues_with_message_deltas() q where q = $1', [queue.id])).toHaveLength(1);
    expect([await queue.fold(2), await queue.fold(2), await queue.fold(2), await queue.fold(2)]).toEqual([2, 2, 1, 0]);
    expect(await run('select q from towpath.queues_with_message_deltas() q where q = $1', [queue.id])).toEqual([]);
    const totals = async (): Promise<unknown[]> =>
      run('select channel_id, messages, size_in_bytes from towpath.message_total where queue_id = $1 order by 1', [
        queue.id,
      ]);
    expect(await totals()).toEqual([
      { channel_id: '', messages: 1, size_in_bytes: 1 },
      { channel_id: 'a', messages: 4, size_in_bytes: 4 },
    ]);
    await queue.delete(await queue.get({ channel: 'a', limit: 9 }));
    await queue.fold();
    expect(await totals()).toEqual([{ channel_id: '', messages: 1, size_in_bytes: 1 }]);
  });

  it('misses nothing that commits late with a low number', async () => {
    const queue = await makeQueue(run);
    const late = await session();
    await late.run('begin');
    await queue.by(late.run).putMany(1);
    await queue.putMany(1);
    expect(await queue.fold()).toBe(1);
    await late.run('commit');
    expect(await queue.fold()).toBe(1);
    expect(await queue.stats()).toMatchObject({ visible_messages: 2 });
  });

  it('is done by one at a time; a second one returns at once', async () => {
    const queue = await makeQueue(run);
    await queue.putMany(1);
    const folder = await session();
    await folder.run('begin');
    expect(await queue.by(folder.run).fold()).toBe(1);
    expect(await queue.fold()).toBe(0);
    expect(await queue.stats()).toMatchObject({ visible_messages: 1 });
    await folder.run('commit');
    expect(await queue.stats()).toMatchObject({ visible_messages: 1 });
  });

  it('is right while others put, get and delete', async () => {
    const queue = await makeQueue(run);
    const stop = new AbortController();
    const worker = async (): Promise<void> => {
      const own = await session();
      const mine = queue.by(own.run);
      for (let round = 0; round < 60; round += 1) {
        await mine.putMany(3, round % 2 === 0 ? '' : 'c');
        await mine.delete(await mine.get({ limit: 2 }));
      }
    };
    const folder = (async (): Promise<void> => {
      while (!stop.signal.aborted) await queue.fold(7);
    })();
    await Promise.all([worker(), worker(), worker()]);
    stop.abort();
    await folder;
    while ((await queue.fold()) > 0);
    const truth = await queue.rows();
    const stats = await queue.stats();
    expect(stats.visible_messages + stats.in_flight_messages).toBe(truth.length);
    expect(stats.size_in_bytes).toBe(truth.reduce((sum, { size_in_bytes }) => sum + size_in_bytes, 0));
    for (const channel of ['', 'c']) {
      expect((await queue.stats(channel)).visible_messages).toBe(
        truth.filter((row) => row.channel_id === channel).length,
      );
    }
  });
});

const forget = async (batch = 500): Promise<number> =>
  one(await run<{ n: number }>('select towpath.forget_old_records($1) as n', [batch])).n;

describe('forget_old_records', () => {
  it('removes retry tokens after 24 hours', async () => {
    const tenancy = await makeTenancy(run);
    const create = `select towpath.create_queue($1, jsonb_build_object('displayName', 'q', 'compartmentId', $1::text), $2)`;
    await run(create, [tenancy, 'old']);
    await run(create, [tenancy, 'young']);
    await run(
      `update towpath.retry_token set time_created = clock_timestamp() - interval '25 hours' where tenancy_id = $1 and token = 'old'`,
      [tenancy],
    );
    expect(await forget()).toBe(1);
    expect(await run('select token from towpath.retry_token where tenancy_id = $1', [tenancy])).toEqual([
      { token: 'young' },
    ]);
  });

  it('removes finished work requests with their logs and errors after 7 days, in batches', async () => {
    const queue = await makeQueue(run);
    const requests = [await queue.change({}), await queue.change({}), await queue.change({})];
    const ids = requests.map(({ id }) => id);
    await run(`insert into towpath.work_request_error (work_request_id, code, message) values ($1, 'c', 'm')`, [
      ids[0],
    ]);
    await run(
      `update towpath.work_request set time_finished = clock_timestamp() - interval '7 days 1 hour' where id = any ($1)`,
      [ids.slice(0, 2)],
    );
    expect([await forget(1), await forget(1), await forget(1)]).toEqual([1, 1, 0]);
    expect(await run('select id from towpath.work_request where id = any ($1)', [ids])).toEqual([{ id: ids[2] }]);
    expect(
      await run('select work_request_id as id from towpath.work_request_log where work_request_id = any ($1)', [ids]),
    ).toEqual([{ id: ids[2] }]);
    expect(await run('select from towpath.work_request_error')).toEqual([]);
  });

  it('keeps work requests that are not finished however old', async () => {
    const queue = await makeQueue(run);
    const { id } = await queue.purge({ purgeType: 'BOTH' });
    await run(`update towpath.work_request set time_accepted = clock_timestamp() - interval '30 days' where id = $1`, [
      id,
    ]);
    expect(await run('select towpath.work_request_is_waiting() as waiting')).toEqual([{ waiting: true }]);
    expect(await forget()).toBe(0);
    await runWorkRequests(run);
    expect(await run('select towpath.work_request_is_waiting() as waiting')).toEqual([{ waiting: false }]);
  });
});

describe('the views', () => {
  it('tell who has what, what is dead, and how much there is', async () => {
    const queue = await makeQueue(run, { displayName: 'views', deadLetterQueueDeliveryCount: 1 });
    await queue.put(['12'], 'dead');
    await queue.get({ to: 'ana' });
    await queue.timeOut();
    await queue.sweepTimedOut();
    await queue.put(['1', '1', '1']);
    await queue.put(['1'], 'c', 100);
    await queue.get({ channel: '', to: 'ben' });
    const where = 'where queue_id = $1';
    expect(await run(`select * from towpath.queue_stats ${where}`, [queue.id])).toEqual([
      {
        ocid: queue.ocid,
        display_name: 'views',
        consumer_group: null,
        lifecycle_state: 'ACTIVE',
        visible_messages: 2,
        in_flight_messages: 1,
        delayed_messages: 1,
        size_in_bytes: 4,
        dead_letters: 1,
        dead_size_in_bytes: 2,
        queue_id: queue.id,
        consumer_group_id: 0,
      },
    ]);
    // The delayed message is with nobody.
    expect(
      await run(
        `select display_name, channel_id, delivered_to, delivery_count, visible_in > '0' as ahead from towpath.in_flight ${where}`,
        [queue.id],
      ),
    ).toEqual([{ display_name: 'views', channel_id: '', delivered_to: 'ben', delivery_count: 1, ahead: true }]);
    expect(
      await run(
        `select channel_id, delivered_to, delivery_count, dead_lettered_at is not null as died from towpath.dead_letters ${where}`,
        [queue.id],
      ),
    ).toEqual([{ channel_id: 'dead', delivered_to: 'ana', delivery_count: 1, died: true }]);
    expect(
      await run(
        `select channel_id, visible_messages, in_flight_messages, delayed_messages, dead_letters from towpath.channel_stats ${where} order by 1`,
        [queue.id],
      ),
    ).toEqual([
      { channel_id: 'c', visible_messages: 0, in_flight_messages: 0, delayed_messages: 1, dead_letters: 0 },
      { channel_id: 'dead', visible_messages: 0, in_flight_messages: 0, delayed_messages: 0, dead_letters: 1 },
    ]);
    await queue.remove();
    for (const view of ['queue_stats', 'channel_stats'])
      expect(await run(`select * from towpath.${view} ${where}`, [queue.id])).toEqual([]);
    await runWorkRequests(run);
  });
});
