import { makeQueue, one, runWorkRequests, untilBlocked, useDatabase } from './support.js';
import type { Queue } from './support.js';

const { run, session } = useDatabase();

const step = async (batch: number, by = run): Promise<string | null> =>
  one(await by<{ status: string | null }>('select towpath.run_work_request_step(null, $1) as status', [batch])).status;

/** Two visible, one in flight, two dead, in the queue itself and in two channels. */
async function filled(): Promise<Queue> {
  const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
  for (const channel of ['', 'a', 'b']) {
    await queue.putMany(2, channel);
    await queue.get({ channel, limit: 2 });
  }
  await queue.timeOut();
  await queue.sweepTimedOut();
  for (const channel of ['', 'a', 'b']) {
    await queue.putMany(3, channel);
    await queue.get({ channel, limit: 1 });
  }
  return queue;
}

async function figures(queue: Queue, channel: string | null = null): Promise<number[]> {
  const stats = await queue.stats(channel);
  return [
    stats.visible_messages,
    stats.in_flight_messages,
    stats.size_in_bytes,
    stats.dead_visible_messages,
    stats.dead_in_flight_messages,
    stats.dead_size_in_bytes,
  ];
}

const PURGES: readonly (readonly [string, object, readonly number[], number])[] = [
  ['NORMAL', { purgeType: 'NORMAL' }, [0, 0, 0, 6, 0, 6], 6],
  ['DLQ', { purgeType: 'DLQ' }, [6, 3, 9, 0, 0, 0], 9],
  ['BOTH', { purgeType: 'BOTH' }, [0, 0, 0, 0, 0, 0], 0],
  ['NORMAL of one channel', { purgeType: 'NORMAL', channelIds: ['a'] }, [4, 2, 6, 6, 0, 6], 12],
  ['DLQ of two channels', { purgeType: 'DLQ', channelIds: ['a', 'b', 'a'] }, [6, 3, 9, 2, 0, 2], 11],
  ['BOTH of one channel', { purgeType: 'BOTH', channelIds: ['b'] }, [4, 2, 6, 4, 0, 4], 10],
  ['BOTH of a channel that is not there', { purgeType: 'BOTH', channelIds: ['x'] }, [6, 3, 9, 6, 0, 6], 15],
  ['BOTH with channelIds null', { purgeType: 'BOTH', channelIds: null }, [0, 0, 0, 0, 0, 0], 0],
];

describe('a purge', () => {
  it.each(PURGES)('%s hides and uncounts its range at once, then removes it', async (_, details, expected, left) => {
    const queue = await filled();
    expect(await figures(queue)).toEqual([6, 3, 9, 6, 0, 6]);
    expect(await queue.purge(details)).toMatchObject({
      operation_type: 'PURGE_QUEUE',
      status: 'ACCEPTED',
      action_type: 'IN_PROGRESS',
      time_finished: null,
    });
    expect(await figures(queue)).toEqual(expected);
    expect(await queue.state()).toMatchObject({
      lifecycle_state: 'UPDATING',
      lifecycle_details: 'Purging',
      version: 2,
    });
    expect(await queue.rows()).toHaveLength(15);
    for (let batches = 0; (await step(2)) !== null; batches += 1) {
      expect(await figures(queue)).toEqual(expected);
      expect(batches).toBeLessThan(100);
    }
    expect(await figures(queue)).toEqual(expected);
    while ((await queue.fold(3)) > 0);
    expect(await figures(queue)).toEqual(expected);
    expect(await queue.rows()).toHaveLength(left);
    expect(await queue.state()).toMatchObject({ lifecycle_state: 'ACTIVE', lifecycle_details: null, version: 3 });
    for (const table of ['purge', 'purge_offset']) expect(await run(`select from towpath.${table}`)).toEqual([]);
  });

  it('delivers nothing of its range, and all of the rest', async () => {
    const queue = await filled();
    await queue.purge({ purgeType: 'NORMAL', channelIds: ['a'] });
    await queue.timeOut();
    expect(await queue.get({ channel: 'a', limit: 20 })).toEqual([]);
    expect(await queue.nextVisible('a')).toBeNull();
    expect(await queue.inFlight('a')).toBe(0);
    const served: string[] = [];
    for (let get = 0; get < 4; get += 1) served.push(...(await queue.get({ limit: 20 })).map((m) => m.channel_id));
    expect(served.toSorted()).toEqual(['', '', 'b', 'b']);
    // The dead letters of the channel are none of its range.
    expect(await queue.get({ channel: 'a', dead: true, limit: 20 })).toHaveLength(2);
  });

  it('leaves what is put, released or made visible after it began', async () => {
    const queue = await makeQueue(run);
    await queue.putMany(3, 'a');
    const held = await queue.getOne();
    await queue.purge({ purgeType: 'BOTH' });
    const later = await queue.putMany(2, 'a');
    expect(await figures(queue)).toEqual([2, 0, 2, 0, 0, 0]);
    await queue.release([held]);
    expect((await queue.get({ limit: 20 })).map(({ id }) => id)).toEqual(later);
    expect(await figures(queue)).toEqual([0, 2, 2, 0, 0, 0]);
    await runWorkRequests(run, 1);
    expect((await queue.rows()).map(({ id }) => id)).toEqual(later);
    expect(await figures(queue)).toEqual([0, 2, 2, 0, 0, 0]);
  });

  it('leaves receipts good until their message is gone', async () => {
    const queue = await makeQueue(run);
    await queue.putMany(3);
    const [a, b] = await queue.get({ limit: 2 });
    if (a === undefined || b === undefined) throw new Error('two messages');
    await queue.purge({ purgeType: 'NORMAL' });
    expect((await queue.update([{ ...a, seconds: 100 }]))[0]?.updated).toBe(true);
    expect(await queue.delete([a])).toEqual([true]);
    expect(await figures(queue)).toEqual([0, 0, 0, 0, 0, 0]);
    await runWorkRequests(run);
    expect(await queue.delete([b])).toEqual([false]);
    expect((await queue.update([{ ...b, seconds: 100 }]))[0]?.updated).toBe(false);
    await queue.fold();
    expect(await figures(queue)).toEqual([0, 0, 0, 0, 0, 0]);
    await queue.putMany(1);
    expect(await figures(queue)).toEqual([1, 0, 1, 0, 0, 0]);
  });

  it('keeps its messages out of the dead letter queue', async () => {
    const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
    await queue.putMany(2, 'a');
    await queue.putMany(1, 'b');
    for (const channel of ['a', 'b']) await queue.get({ channel, limit: 9 });
    await queue.purge({ purgeType: 'NORMAL', channelIds: ['a'] });
    await queue.timeOut();
    expect(await queue.sweepTimedOut()).toBe(1);
    expect(await queue.channels(true)).toEqual(['b']);
    await runWorkRequests(run);
    expect(await queue.rows()).toHaveLength(1);
  });

  it('of the dead letters leaves, and delivers, what dies after it began', async () => {
    const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
    const [old] = await queue.putMany(2, 'a');
    await queue.get({ limit: 1 });
    await queue.timeOut();
    await queue.sweepTimedOut();
    await queue.get({ limit: 1 });
    await queue.purge({ purgeType: 'DLQ' });
    await queue.timeOut();
    await queue.sweepTimedOut();
    expect(await figures(queue)).toEqual([0, 0, 0, 1, 0, 1]);
    expect(await queue.nextVisible('a', true)).toBeLessThan(0);
    const later = await queue.getOne({ dead: true });
    expect(later.id).not.toBe(old);
    await runWorkRequests(run);
    expect((await queue.rows()).map(({ id }) => id)).toEqual([later.id]);
    expect(await figures(queue)).toEqual([0, 0, 0, 0, 1, 1]);
  });

  it('is one at a time per queue, and any number at once', async () => {
    const [queue, other] = [await filled(), await filled()];
    await queue.purge({ purgeType: 'NORMAL', channelIds: ['a'] });
    await expect(queue.purge({ purgeType: 'DLQ' })).rejects.toMatchObject({ code: 'TP409' });
    await other.purge({ purgeType: 'DLQ' });
    await runWorkRequests(run);
    await queue.purge({ purgeType: 'DLQ' });
    await runWorkRequests(run);
    expect(await figures(queue)).toEqual([4, 2, 6, 0, 0, 0]);
    expect(await figures(other)).toEqual([6, 3, 9, 0, 0, 0]);
  });

  it('refuses an unknown kind, and a list of no channels', async () => {
    const queue = await filled();
    for (const details of [{}, { purgeType: 'ALL' }, { purgeType: null }, { purgeType: 'BOTH', channelIds: [] }]) {
      await expect(queue.purge(details)).rejects.toMatchObject({ code: 'TP400' });
    }
    expect(await queue.state()).toMatchObject({ lifecycle_state: 'ACTIVE', version: 1 });
    expect(await figures(queue)).toEqual([6, 3, 9, 6, 0, 6]);
  });

  it.each([
    // The contract: messages published during a purge may be deleted.
    ['is deleted where the purge has not come by yet', 'before the first batch', 0],
    ['survives, and is delivered from the end of the purge on', 'after the last batch', 1],
    ['survives', 'after the purge', 1],
  ])('what a transaction put that began before and commits after %s', async (_, commits, left) => {
    const queue = await makeQueue(run);
    const writer = await session();
    await writer.run('begin');
    await queue.by(writer.run).putMany(1);
    await queue.putMany(2);
    await queue.purge({ purgeType: 'BOTH' });
    expect(await figures(queue)).toEqual([0, 0, 0, 0, 0, 0]);
    if (commits === 'before the first batch') await writer.run('commit');
    // One batch per kind of messages.
    await step(10);
    await step(10);
    if (commits === 'after the last batch') await writer.run('commit');
    // Its id lies below the watermark.
    expect(await queue.get()).toEqual([]);
    await runWorkRequests(run);
    if (commits === 'after the purge') await writer.run('commit');
    expect(await queue.rows()).toHaveLength(left);
    while ((await queue.fold()) > 0);
    expect(await figures(queue)).toEqual([left, 0, left, 0, 0, 0]);
    expect(await queue.get()).toHaveLength(left);
  });

  it('finds what was committed by the time it looks, and counts right whoever else deletes', async () => {
    const queue = await makeQueue(run, { retentionInSeconds: 100 });
    await queue.putMany(6);
    const [a] = await queue.get({ limit: 1 });
    if (a === undefined) throw new Error('one message');
    await queue.purge({ purgeType: 'NORMAL' });
    await step(2);
    await queue.delete([a]);
    await queue.age(101);
    await queue.sweepExpired();
    await runWorkRequests(run);
    while ((await queue.fold()) > 0);
    expect(await queue.rows()).toEqual([]);
    expect(await run('select * from towpath.message_total where queue_id = $1', [queue.id])).toEqual([]);
  });

  it('is carried out by one pod at a time', async () => {
    const queue = await filled();
    await queue.purge({ purgeType: 'BOTH' });
    const pod = await session();
    await pod.run('begin');
    expect(await step(1, pod.run)).toBe('IN_PROGRESS');
    expect(await step(1)).toBeNull();
    await pod.run('rollback');
    expect(await step(1)).toBe('IN_PROGRESS');
    await runWorkRequests(run);
  });

  it('says in its log what it deleted', async () => {
    const queue = await filled();
    const { id, ocid } = await queue.purge({ purgeType: 'BOTH' });
    expect(await run('select towpath.run_work_request_step($1, 9) as status', [ocid])).toEqual([
      { status: 'IN_PROGRESS' },
    ]);
    await runWorkRequests(run);
    const rows = await run<{ message: string }>(
      'select message from towpath.work_request_log where work_request_id = $1 order by id',
      [id],
    );
    expect(rows.map(({ message }) => message)).toEqual([
      'accepted',
      'deleted 3 messages',
      'deleted 6 messages',
      'deleted 6 dead letters',
      'purged',
    ]);
    expect(await run('select * from towpath.find_work_request(null, $1)', [ocid])).toMatchObject([
      { status: 'SUCCEEDED', action_type: 'UPDATED', percent_complete: 100, time_started: expect.anything() },
    ]);
    expect(await run('select towpath.run_work_request_step($1, 9) as status', [ocid])).toEqual([{ status: null }]);
  });
});

describe('deleting a queue', () => {
  it('takes its messages in batches; meanwhile nothing can be put or got', async () => {
    const queue = await filled();
    const neighbour = await filled();
    expect(await queue.remove()).toMatchObject({ operation_type: 'DELETE_QUEUE', status: 'ACCEPTED' });
    expect(await queue.state()).toMatchObject({ lifecycle_state: 'DELETING' });
    await expect(queue.put(['x'])).rejects.toMatchObject({ code: 'TP404' });
    await expect(queue.get()).rejects.toMatchObject({ code: 'TP404' });
    expect([await step(7), await step(7)]).toEqual(['IN_PROGRESS', 'IN_PROGRESS']);
    expect(await queue.rows()).toHaveLength(1);
    expect([await step(7), await step(7)]).toEqual(['SUCCEEDED', null]);
    expect(await queue.rows()).toEqual([]);
    expect(await queue.state()).toMatchObject({ lifecycle_state: 'DELETED' });
    expect(await run('select * from towpath.message_delta where queue_id = $1', [queue.id])).toEqual([]);
    expect(await figures(neighbour)).toEqual([6, 3, 9, 6, 0, 6]);
    // Still found, for clients that wait for the end.
    expect(await run('select lifecycle_state from towpath.find_queue($1, $2)', [queue.tenancy, queue.ocid])).toEqual([
      { lifecycle_state: 'DELETED' },
    ]);
  });

  it('ends a purge that runs', async () => {
    const queue = await filled();
    const purge = await queue.purge({ purgeType: 'BOTH' });
    await step(2);
    await queue.remove();
    await runWorkRequests(run, 4);
    expect(await queue.state()).toMatchObject({ lifecycle_state: 'DELETED' });
    const { status } = one(
      await run<{ status: string }>('select status from towpath.work_request where id = $1', [purge.id]),
    );
    expect(['SUCCEEDED', 'CANCELED']).toContain(status);
    for (const table of ['purge', 'purge_offset', 'message_total']) {
      expect(await run(`select from towpath.${table} where queue_id = $1`, [queue.id])).toEqual([]);
    }
  });

  it('does not get into each other’s way with a step of a purge', async () => {
    const queue = await filled();
    const purge = await queue.purge({ purgeType: 'BOTH' });
    const removal = await queue.remove();
    const [a, b] = [await session(), await session()];
    await a.run('begin');
    await a.run('select towpath.run_work_request_step($1, 2)', [purge.ocid]);
    const removing = b.run<{ status: string }>('select towpath.run_work_request_step($1, 100) as status', [
      removal.ocid,
    ]);
    await untilBlocked(run, b);
    await a.run('select towpath.run_work_request_step($1, 100)', [purge.ocid]);
    await a.run('commit');
    expect(await removing).toEqual([{ status: 'SUCCEEDED' }]);
    expect(await queue.rows()).toEqual([]);
  });

  it('forgets the queue after an hour, with what was put at the last moment', async () => {
    const queue = await makeQueue(run);
    const writer = await session();
    await writer.run('begin');
    await queue.by(writer.run).putMany(2);
    await queue.remove();
    await runWorkRequests(run);
    await writer.run('commit');
    expect(await queue.rows()).toHaveLength(2);
    await run('select towpath.forget_old_records()');
    expect(await queue.state()).toMatchObject({ lifecycle_state: 'DELETED' });
    await run(`update towpath.queue set time_updated = clock_timestamp() - interval '61 minutes' where id = $1`, [
      queue.id,
    ]);
    expect(one(await run<{ n: number }>('select towpath.forget_old_records() as n')).n).toBe(1);
    expect(await queue.rows()).toEqual([]);
    for (const table of ['queue', 'message_delta', 'message_total']) {
      expect(
        await run(`select from towpath.${table} where ${table === 'queue' ? 'id' : 'queue_id'} = $1`, [queue.id]),
      ).toEqual([]);
    }
    await expect(run('select towpath.find_queue(null, $1)', [queue.ocid])).rejects.toMatchObject({ code: 'TP404' });
  });
});
