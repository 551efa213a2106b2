import { makeQueue, untilBlocked, useDatabase } from './support.js';
import type { Queue, Session } from './support.js';

// Steps of two sessions, in the order in which they happen; what each may see.

const { run, session } = useDatabase();

async function setup(
  messages = 1,
): Promise<{ queue: Queue; a: Queue; b: Queue; sessionA: Session; sessionB: Session }> {
  const queue = await makeQueue(run);
  await queue.putMany(messages);
  const [sessionA, sessionB] = [await session(), await session()];
  return { queue, a: queue.by(sessionA.run), b: queue.by(sessionB.run), sessionA, sessionB };
}

const begin = (of: Session): Promise<unknown> => of.run('begin');
const commit = (of: Session): Promise<unknown> => of.run('commit');
const rollback = (of: Session): Promise<unknown> => of.run('rollback');

describe('get', () => {
  it('skips what another get has locked, without waiting', async () => {
    const { a, b, sessionA } = await setup(2);
    await begin(sessionA);
    const first = await a.getOne();
    const second = await b.getOne();
    expect(second.id).not.toBe(first.id);
    expect(await b.get()).toEqual([]);
    await commit(sessionA);
    expect(await b.get()).toEqual([]);
  });

  it('that is rolled back frees its messages, with their count as it was', async () => {
    const { a, b, sessionA } = await setup();
    await begin(sessionA);
    const lost = await a.getOne();
    expect(await b.get()).toEqual([]);
    // To a waiter the message is visible but locked: a time that has passed.
    expect(await b.nextVisible()).toBeLessThan(0);
    await rollback(sessionA);
    expect(await b.getOne()).toMatchObject({ id: lost.id, delivery_count: 1, receipt_number: 1 });
    expect(await a.delete([lost])).toEqual([true]);
  });

  it('does not deliver what was delivered between its snapshot and its lock', async () => {
    const { queue, sessionB } = await setup(50);
    const ids: number[] = [];
    const consume = async (mine: Queue): Promise<void> => {
      for (;;) {
        const messages = await mine.get({ limit: 3 });
        if (messages.length === 0) return;
        ids.push(...messages.map(({ id }) => id));
      }
    };
    await Promise.all([queue, queue.by(sessionB.run), queue, queue].map(consume));
    expect(ids.toSorted((x, y) => x - y)).toEqual((await queue.rows()).map(({ id }) => id));
  });

  it('fills its answer behind what is locked', async () => {
    const { a, b, sessionA, queue } = await setup(10);
    const all = (await queue.rows()).map(({ id }) => id);
    await begin(sessionA);
    await a.get({ limit: 4 });
    expect((await b.get({ limit: 4 })).map(({ id }) => id)).toEqual(all.slice(4, 8));
    await rollback(sessionA);
  });

  it('in turn passes over a channel whose only message is locked', async () => {
    const { queue, a, b, sessionA } = await setup(0);
    await queue.putMany(1, 'a');
    await queue.putMany(1, 'b');
    await begin(sessionA);
    expect((await a.getOne({ after: '' })).channel_id).toBe('a');
    expect((await b.getOne({ after: '' })).channel_id).toBe('b');
    expect(await b.get({ after: '' })).toEqual([]);
    await commit(sessionA);
  });

  it('does not see a put before its commit', async () => {
    const { a, b, sessionA } = await setup(0);
    await begin(sessionA);
    await a.putMany(1);
    expect(await b.get()).toEqual([]);
    await commit(sessionA);
    expect(await b.get()).toHaveLength(1);
  });
});

describe('a receipt', () => {
  it.each([
    ['commits', commit, false],
    ['is rolled back', rollback, true],
  ])('waits for a get that has its message; where that %s it is good: %s', async (_, end, good) => {
    for (const act of ['delete', 'update', 'release'] as const) {
      const { queue, a, b, sessionA, sessionB } = await setup();
      const old = await queue.getOne();
      await queue.timeOut();
      await begin(sessionA);
      await a.getOne();
      const answer =
        act === 'delete'
          ? b.delete([old]).then(([deleted]) => deleted)
          : act === 'update'
            ? b.update([{ ...old, seconds: 100 }]).then(([entry]) => entry?.updated)
            : b.release([old]).then(({ length }) => length > 0);
      await untilBlocked(run, sessionB);
      await end(sessionA);
      expect(await answer).toBe(good);
      expect(await queue.rows()).toHaveLength(good && act === 'delete' ? 0 : 1);
      // A dead receipt changes nothing.
      const [row] = await queue.rows();
      expect(row?.receipt_number).toBe(good ? { delete: undefined, update: 1, release: 2 }[act] : 2);
    }
  });

  it('deletes once where two sessions have it', async () => {
    const { queue, a, b, sessionA, sessionB } = await setup();
    const message = await queue.getOne();
    await begin(sessionA);
    expect(await a.delete([message])).toEqual([true]);
    const second = b.delete([message]);
    await untilBlocked(run, sessionB);
    await commit(sessionA);
    expect(await second).toEqual([false]);
    expect(await queue.stats()).toMatchObject({ visible_messages: 0, in_flight_messages: 0, size_in_bytes: 0 });
  });

  it('is good again where the delete of another is rolled back', async () => {
    const { queue, a, b, sessionA, sessionB } = await setup();
    const message = await queue.getOne();
    await begin(sessionA);
    await a.delete([message]);
    const second = b.delete([message]);
    await untilBlocked(run, sessionB);
    await rollback(sessionA);
    expect(await second).toEqual([true]);
    expect(await queue.stats()).toMatchObject({ visible_messages: 0, in_flight_messages: 0, size_in_bytes: 0 });
  });

  it('extends from the end of the wait for a lock', async () => {
    const { queue, a, b, sessionA, sessionB } = await setup();
    const message = await queue.getOne();
    await begin(sessionA);
    await a.update([{ ...message, seconds: 1 }]);
    const extended = b.update([{ ...message, seconds: 10 }]);
    await untilBlocked(run, sessionB);
    const [clock] = await run<{ now: Date }>(`select clock_timestamp() + interval '10 seconds' as now`);
    await commit(sessionA);
    const [entry] = await extended;
    expect(entry?.visible_after?.getTime()).toBeGreaterThanOrEqual(clock?.now.getTime() ?? Infinity);
  });

  it('of a message that the sweep is moving to the dead letter queue is dead afterwards', async () => {
    const { queue, a, b, sessionA, sessionB } = await setup();
    await queue.change({ deadLetterQueueDeliveryCount: 1 });
    const message = await queue.getOne();
    await queue.timeOut();
    await begin(sessionA);
    expect(await a.sweepTimedOut()).toBe(1);
    // Two sweeps do not wait for each other, nor do gets.
    expect(await queue.sweepTimedOut()).toBe(0);
    expect(await queue.get()).toEqual([]);
    const deleted = b.delete([message]);
    await untilBlocked(run, sessionB);
    await commit(sessionA);
    expect(await deleted).toEqual([false]);
    expect(await queue.stats()).toMatchObject({ visible_messages: 0, dead_visible_messages: 1 });
  });
});

describe('a purge', () => {
  it('waits for a delete of one of its messages, and counts it once', async () => {
    const { queue, a, b, sessionA, sessionB } = await setup(2);
    const message = await queue.getOne();
    await queue.purge({ purgeType: 'NORMAL' });
    await begin(sessionA);
    await a.delete([message]);
    const purging = sessionB.run('select towpath.run_work_request_step(null, 100)');
    await untilBlocked(run, sessionB);
    await commit(sessionA);
    await purging;
    await b.sql('select towpath.run_work_request_step(null, 100)');
    expect(await queue.rows()).toEqual([]);
    while ((await queue.fold()) > 0);
    expect(await run('select from towpath.message_total where queue_id = $1', [queue.id])).toEqual([]);
  });
});

it.each(['update', 'delete', 'release', 'purge'] as const)('%s locks in the order of the ids', async (act) => {
  const { queue, a, b, sessionA, sessionB } = await setup(3);
  const messages = await queue.get({ limit: 3 });
  const [first, ...others] = messages.toSorted((x, y) => x.id - y.id);
  const backwards = messages.toSorted((x, y) => y.id - x.id);
  if (act === 'purge') await queue.purge({ purgeType: 'NORMAL' });
  await begin(sessionA);
  await a.sql('select from towpath.message where id = $1 for update', [first?.id]);
  const call = {
    update: () => b.update(backwards.map((message) => ({ ...message, seconds: 100 }))),
    delete: () => b.delete(backwards),
    release: () => b.release(backwards),
    purge: () => b.sql('select towpath.run_work_request_step(null, 10)'),
  };
  const acting = call[act]();
  await untilBlocked(run, sessionB);
  // It waits for the first and has not touched the others yet.
  for (const { id } of others) await a.sql('select from towpath.message where id = $1 for update nowait', [id]);
  await rollback(sessionA);
  expect(await acting).not.toEqual([]);
});

it('batches over the same messages in opposite orders never deadlock', async () => {
  const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 0 });
  await queue.putMany(60);
  const messages = await queue.get({ limit: 60, visibility: 1000 });
  expect(messages).toHaveLength(60);
  const until = performance.now() + 3000;
  let batches = 0;
  const client = async (own: Session, index: number): Promise<void> => {
    const mine = queue.by(own.run);
    while (performance.now() < until) {
      const order = index % 2 === 0 ? messages : messages.toReversed();
      await mine.update(order.map((message) => ({ ...message, seconds: 1000 })));
      // Dead receipts lock and change nothing.
      await mine.release(order.map(({ id }) => ({ id, receipt_number: -1 })));
      await mine.delete(order.map(({ id }) => ({ id, receipt_number: -1 })));
      batches += 1;
    }
  };
  await Promise.all((await Promise.all([session(), session(), session(), session()])).map(client));
  expect(batches).toBeGreaterThan(4);
  expect(await queue.rows()).toHaveLength(60);
});

it('gets, updates, releases and deletes of 4 clients on 60 messages never deadlock and lose nothing', async () => {
  const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 0 });
  await queue.putMany(60);
  const until = performance.now() + 3000;
  let deleted = 0;
  const client = async (own: Session): Promise<void> => {
    const mine = queue.by(own.run);
    while (performance.now() < until) {
      // Visibility 0 leaves the messages to everybody, so that all four work on the same rows.
      const taken = await mine.get({ limit: 60, visibility: 0 });
      const shuffled = taken.toReversed();
      await mine.update(shuffled.map((message) => ({ ...message, seconds: 0 })));
      await mine.release(taken.slice(0, 20));
      const done = (await mine.delete(shuffled.slice(0, 3))).filter(Boolean).length;
      deleted += done;
      if (done > 0) await mine.putMany(done);
    }
  };
  await Promise.all((await Promise.all([session(), session(), session(), session()])).map(client));
  expect(deleted).toBeGreaterThan(0);
  expect(await queue.rows()).toHaveLength(60);
  expect((await queue.stats()).visible_messages).toBe(60);
});
