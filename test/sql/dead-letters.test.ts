import { makeQueue, useDatabase } from './support.js';
import type { Queue } from './support.js';

const { run } = useDatabase();

/** Delivers everything visible so many times, each time letting the timeout end. Returns the deliveries of each round. */
async function deliver(queue: Queue, times: number): Promise<number[]> {
  const delivered: number[] = [];
  for (let time = 0; time < times; time += 1) {
    delivered.push((await queue.get({ limit: 20 })).length);
    await queue.timeOut();
  }
  return delivered;
}

async function dead(queue: Queue): Promise<number> {
  const stats = await queue.stats();
  return stats.dead_visible_messages + stats.dead_in_flight_messages;
}

const byGet = async (queue: Queue): Promise<void> => {
  expect(await queue.get({ limit: 20 })).toEqual([]);
};
const bySweep = async (queue: Queue): Promise<void> => {
  expect(await queue.sweepTimedOut()).toBe(1);
};

describe.each([
  ['a get', byGet],
  ['the sweep', bySweep],
])('moved by %s', (_, move) => {
  it.each([1, 3])('a message goes to the dead letter queue after %i deliveries that failed', async (limit) => {
    const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: limit });
    await queue.put(['x'], 'c');
    expect(await deliver(queue, limit)).toEqual(Array(limit).fill(1));
    const [before] = await queue.rows();
    expect(before?.dead_letter).toBe(false);
    await move(queue);
    const [after] = await queue.rows();
    expect(after).toMatchObject({
      dead_letter: true,
      // The count of real deliveries, and who had the last of them.
      delivery_count: limit,
      receipt_number: limit + 1,
      delivered_at: before?.delivered_at,
      delivered_to: 'somebody',
      channel_id: 'c',
      created_at: before?.created_at,
      expire_after: before?.expire_after,
      visible_after: after?.dead_lettered_at,
    });
    expect(after?.dead_lettered_at?.getTime()).toBeGreaterThan(before?.visible_after.getTime() ?? Infinity);
    expect(await queue.stats()).toMatchObject({
      visible_messages: 0,
      in_flight_messages: 0,
      size_in_bytes: 0,
      dead_visible_messages: 1,
      dead_in_flight_messages: 0,
      dead_size_in_bytes: 1,
    });
    expect(await queue.get({ channel: 'c' })).toEqual([]);
    expect(await queue.getOne({ dead: true })).toMatchObject({ delivery_count: limit + 1, dead_letter: true });
  });

  it('kills the last receipt', async () => {
    const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
    await queue.put(['x']);
    const last = await queue.getOne();
    await queue.timeOut();
    await move(queue);
    expect(await queue.delete([last])).toEqual([false]);
    expect(await queue.delete([last], true)).toEqual([false]);
    expect((await queue.update([{ ...last, seconds: 10 }]))[0]?.updated).toBe(false);
    expect(await queue.release([last])).toEqual([]);
    expect(await dead(queue)).toBe(1);
  });

  it('a limit lowered between deliveries counts from the next delivery on', async () => {
    const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 5 });
    await queue.put(['x']);
    await deliver(queue, 2);
    const third = await queue.getOne();
    await queue.change({ deadLetterQueueDeliveryCount: 2 });
    // In flight: not touched, and its receipt is good.
    expect(await queue.sweepTimedOut()).toBe(0);
    expect((await queue.update([{ ...third, seconds: 100 }]))[0]?.updated).toBe(true);
    await queue.timeOut();
    // Only a delivery writes the limit in force, so the sweep leaves it to the next get.
    expect(await queue.sweepTimedOut()).toBe(0);
    await byGet(queue);
    expect((await queue.rows())[0]).toMatchObject({ dead_letter: true, delivery_count: 3, delivery_limit: 2 });
  });
});

it('a limit of 0 means never, however often a message is delivered', async () => {
  const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 0 });
  await queue.put(['x']);
  expect(await deliver(queue, 30)).toEqual(Array(30).fill(1));
  expect(await queue.sweepTimedOut()).toBe(0);
  expect((await queue.rows())[0]).toMatchObject({ dead_letter: false, delivery_count: 30, delivery_limit: null });
});

it.each([
  ['raised', 3],
  ['lifted', 0],
])('a limit %s after the last allowed delivery allows another, whether the sweep saw it or not', async (_, limit) => {
  for (const sweeps of [[], [1, 0]]) {
    const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 2 });
    await queue.put(['x']);
    await deliver(queue, 2);
    await queue.change({ deadLetterQueueDeliveryCount: limit });
    for (const touched of sweeps) expect(await queue.sweepTimedOut()).toBe(touched);
    // The sweep writes the new limit, and nothing else.
    expect((await queue.rows())[0]).toMatchObject({
      delivery_count: 2,
      delivery_limit: sweeps.length === 0 ? 2 : limit || null,
      receipt_number: 2,
    });
    expect(await queue.getOne()).toMatchObject({
      delivery_count: 3,
      dead_letter: false,
      delivery_limit: limit || null,
    });
    expect(await dead(queue)).toBe(0);
  }
});

it('a limit lowered below the count before the sweep still moves what had its last delivery', async () => {
  const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 3 });
  await queue.put(['x']);
  await deliver(queue, 3);
  await queue.change({ deadLetterQueueDeliveryCount: 1 });
  expect(await queue.sweepTimedOut()).toBe(1);
  expect((await queue.rows())[0]).toMatchObject({ dead_letter: true, delivery_count: 3 });
});

it('the sweep leaves alone what is in flight, and other queues', async () => {
  const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
  const other = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
  await queue.putMany(3);
  await other.putMany(1);
  await queue.get({ limit: 3 });
  await other.get();
  await other.timeOut();
  expect(await queue.sweepTimedOut()).toBe(0);
  const named = async (): Promise<unknown[]> =>
    run('select q from towpath.queues_with_timed_out_deliveries() as q where q = any ($1)', [[queue.id, other.id]]);
  expect(await named()).toEqual([{ q: other.id }]);
  await queue.timeOut();
  expect(await named()).toHaveLength(2);
  expect(await run('select q from towpath.queues_with_timed_out_deliveries(1) as q')).toHaveLength(1);
  expect([await queue.sweepTimedOut(2), await queue.sweepTimedOut(2), await queue.sweepTimedOut(2)]).toEqual([2, 1, 0]);
  expect(await named()).toEqual([{ q: other.id }]);
  expect(await dead(queue)).toBe(3);
  expect(await dead(other)).toBe(0);
});

it('a get fills its answer with live messages behind those that it makes dead letters of', async () => {
  const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
  await queue.putMany(4);
  await deliver(queue, 1);
  const alive = await queue.putMany(4);
  const got = await queue.get({ limit: 4 });
  expect(got.map(({ id }) => id)).toEqual(alive);
  expect(await queue.stats()).toMatchObject({ visible_messages: 0, in_flight_messages: 4, dead_visible_messages: 4 });
});

it('a get gives up after three rounds of dead ones, and goes on where it was the next time', async () => {
  const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
  await queue.putMany(4);
  await deliver(queue, 1);
  const [alive] = await queue.putMany(1);
  expect(await queue.get({ channel: '' })).toEqual([]);
  expect(await dead(queue)).toBe(3);
  expect((await queue.getOne({ channel: '' })).id).toBe(alive);
  expect(await dead(queue)).toBe(4);
});

it('a get that names no channel goes on to the next where one has dead ones only', async () => {
  const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
  await queue.putMany(1, 'a');
  await deliver(queue, 1);
  await queue.putMany(1, 'b');
  expect((await queue.getOne({ after: '' })).channel_id).toBe('b');
  expect(await dead(queue)).toBe(1);
});

it('peeking counts: visibility 0 brings a message to the dead letter queue', async () => {
  const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 2 });
  await queue.putMany(2);
  for (const expected of [2, 2, 0]) expect(await queue.get({ limit: 10, visibility: 0 })).toHaveLength(expected);
  expect(await dead(queue)).toBe(2);
});

it('dead letters are delivered any number of times, and stay', async () => {
  const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
  await queue.putMany(1);
  await deliver(queue, 1);
  await queue.sweepTimedOut();
  for (let time = 2; time < 10; time += 1) {
    const message = await queue.getOne({ dead: true, visibility: 10 });
    expect(message).toMatchObject({ delivery_count: time, receipt_number: time + 1, delivery_limit: 1 });
    expect(await queue.stats()).toMatchObject({ dead_visible_messages: 0, dead_in_flight_messages: 1 });
    expect((await queue.update([{ ...message, seconds: 0 }], true))[0]?.updated).toBe(true);
  }
  expect(await queue.sweepTimedOut()).toBe(0);
});

it('dead letters expire', async () => {
  const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1, retentionInSeconds: 100 });
  await queue.putMany(1);
  await deliver(queue, 1);
  await queue.sweepTimedOut();
  await queue.age(101);
  expect(await queue.get({ dead: true })).toEqual([]);
  expect(await queue.sweepExpired()).toBe(1);
  expect(await dead(queue)).toBe(0);
});
