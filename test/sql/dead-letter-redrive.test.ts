import {
  errorsOf,
  find,
  killAll,
  makeDead,
  redrive,
  runToEnd,
  startRedrive,
  step,
  wrongStats,
} from './redrive-support.js';
import { makeQueue, one, runWorkRequests, useDatabase, type Queue } from './support.js';

// A redrive moves each dead letter that was asked for exactly once, and nothing else.

const { run, session } = useDatabase();

const newQueue = (details: Record<string, unknown> = {}, tenancy?: string): Promise<Queue> =>
  makeQueue(run, { deadLetterQueueDeliveryCount: 1, ...details }, tenancy);
const liveIds = async (queue: Queue): Promise<number[]> =>
  (await queue.rows()).filter((row) => !row.dead_letter).map(({ id }) => id);
const deadIds = async (queue: Queue): Promise<number[]> =>
  (await queue.rows()).filter((row) => row.dead_letter).map(({ id }) => id);

describe('in its own queue', () => {
  it('a message is as if never delivered, but for its history and its receipt number', async () => {
    const queue = await newQueue();
    await queue.sql(
      `select from towpath.put_messages($1, array['hello'], channel_id => 'ch', properties => '{"kind": "a"}')`,
      [queue.id],
    );
    await killAll(queue, run);
    const [before] = await queue.rows();
    // Somebody has looked at it in the dead letter queue; their receipt must not outlive the redrive.
    const held = await queue.getOne({ dead: true, visibility: 1 });
    await queue.timeOut();
    const { status, progress, percent_complete } = await redrive(queue, run);
    expect({ status, percent_complete }).toEqual({ status: 'SUCCEEDED', percent_complete: 100 });
    expect(progress).toEqual({ examined: 1, matched: 1, redriven: 1, skipped: 0, failed: 0, isDryRun: false });
    const [after] = await queue.rows();
    expect(after).toMatchObject({
      id: before!.id,
      body: before!.body,
      channel_id: 'ch',
      properties: { kind: 'a' },
      created_at: before!.created_at,
      expire_after: before!.expire_after,
      dead_letter: false,
      dead_letter_reason: null,
      dead_lettered_at: null,
      delivery_count: 0,
      delivery_limit: null,
      delivered_at: null,
      delivered_to: null,
      receipt_number: held.receipt_number + 1,
      delivery_history: [
        expect.objectContaining({ deliveredTo: 'killer' }),
        expect.objectContaining({ deliveredTo: 'somebody' }),
      ],
    });
    expect(await queue.delete([held], true)).toEqual([false]);
    expect(await queue.delete([held])).toEqual([false]);
    expect(await queue.getOne({ channel: 'ch' })).toMatchObject({ id: before!.id, delivery_count: 1 });
    expect(await wrongStats(run, queue.id)).toEqual([]);
  });

  it('may die again, which the same redrive does not undo', async () => {
    const queue = await newQueue();
    const ids = await makeDead(queue, run, 30);
    const { ocid } = await startRedrive(queue, run);
    // Five at a time: those that were moved die again before the next step.
    for (let status: string | null = 'IN_PROGRESS'; status === 'IN_PROGRESS';) {
      status = await step(run, ocid, 10);
      await killAll(queue, run);
    }
    expect((await find(run, ocid)).progress).toMatchObject({ redriven: 30, examined: 30 });
    expect(await deadIds(queue)).toEqual(ids);
    const histories = await run<{ deliveries: number }>(
      `select jsonb_array_length(delivery_history) as deliveries from towpath.message where queue_id = $1`,
      [queue.id],
    );
    expect(new Set(histories.map(({ deliveries }) => deliveries))).toEqual(new Set([1]));
  });

  it('those that died after the request are not its business', async () => {
    const queue = await newQueue();
    const early = await makeDead(queue, run, 3);
    const { ocid } = await startRedrive(queue, run);
    const late = await makeDead(queue, run, 3);
    expect((await runToEnd(run, ocid)).progress).toMatchObject({ redriven: 3 });
    expect([await liveIds(queue), await deadIds(queue)]).toEqual([early, late]);
  });

  it('expired ones stay where they are', async () => {
    const queue = await newQueue({ retentionInSeconds: 100 });
    await makeDead(queue, run, 2);
    await queue.age(101);
    const [fresh] = await makeDead(queue, run, 1);
    expect((await redrive(queue, run)).progress).toMatchObject({ examined: 3, matched: 1, redriven: 1 });
    expect(await liveIds(queue)).toEqual([fresh]);
  });

  it('what a consumer of the dead letter queue holds is skipped and counted, visibility 0 is no hold', async () => {
    const queue = await newQueue();
    const ids = await makeDead(queue, run, 4);
    const held = await queue.get({ dead: true, limit: 2 });
    await queue.get({ dead: true, limit: 1, visibility: 0 });
    expect((await redrive(queue, run)).progress).toMatchObject({ matched: 4, redriven: 2, skipped: 2 });
    expect(await deadIds(queue)).toEqual(held.map(({ id }) => id));
    expect(await liveIds(queue)).toEqual(ids.filter((id) => !held.some((message) => message.id === id)));
    expect(await queue.delete(held, true)).toEqual([true, true]);
    expect(await wrongStats(run, queue.id)).toEqual([]);
  });

  it('wakes those who wait for the channels, fifty at a time', async () => {
    const queue = await newQueue();
    for (let channel = 0; channel < 120; channel += 1) await queue.putMany(1, `c${channel}`);
    for (let channel = 0; channel < 120; channel += 1) await queue.get({ channel: `c${channel}`, visibility: 1 });
    await queue.timeOut();
    await queue.sweepTimedOut();
    const listener = await session();
    const heard: string[] = [];
    listener.onNotification((payload) => heard.push(payload));
    await listener.run('listen towpath');
    await redrive(queue, run);
    await listener.run('select 1');
    expect(heard.every((payload) => payload.length < 8000)).toBe(true);
    const ranges = heard.flatMap((payload) => (JSON.parse(payload) as { ranges: unknown[][] }).ranges);
    expect(heard).toHaveLength(3);
    expect(ranges).toHaveLength(120);
    expect(ranges).toContainEqual([queue.id, 0, false, 'c7', 0]);
  });
});

describe('what is asked for', () => {
  it.each([
    ['messageIds', (ids: number[]) => ({ messageIds: [ids[4], ids[1], ids[1], 9_000_000_000_000_000] }), [1, 4], 2],
    ['channelIds', () => ({ channelIds: ['a', 'none'] }), [0, 1, 2], 9],
    ['ids and channels', (ids: number[]) => ({ messageIds: ids, channelIds: ['b'] }), [3, 4, 5], 9],
  ] as const)('%s', async (_, details, expected, examined) => {
    const queue = await newQueue();
    const ids = [...(await queue.putMany(3, 'a')), ...(await queue.putMany(3, 'b')), ...(await queue.putMany(3))];
    await killAll(queue, run);
    await killAll(queue, run);
    await killAll(queue, run);
    expect(await deadIds(queue)).toEqual(ids);
    const { progress } = await redrive(queue, run, details(ids));
    expect(progress).toMatchObject({ examined, matched: expected.length, redriven: expected.length });
    expect(await liveIds(queue)).toEqual(expected.map((index) => ids[index]));
    expect(await wrongStats(run, queue.id)).toEqual([]);
  });

  it('a filter', async () => {
    const queue = await newQueue();
    for (const properties of ['{"kind": "a", "n": "5"}', '{"kind": "b"}', null]) {
      await queue.sql(`select from towpath.put_messages($1, array['x'], properties => $2)`, [queue.id, properties]);
    }
    await killAll(queue, run);
    const ids = await deadIds(queue);
    expect((await redrive(queue, run, {}, '$.kind == "a"')).progress).toMatchObject({ examined: 3, redriven: 1 });
    expect(await liveIds(queue)).toEqual([ids[0]]);
    expect((await redrive(queue, run, {}, '!exists($.kind)')).progress).toMatchObject({ examined: 2, redriven: 1 });
    expect(await deadIds(queue)).toEqual([ids[1]]);
  });

  it('times, the later bound excluded', async () => {
    const queue = await newQueue();
    await makeDead(queue, run, 5);
    // One second apart, and dead ten seconds after they were put.
    await run(
      `update towpath.message m set created_at = '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 second',
         dead_lettered_at = '2026-01-01T00:00:10Z'::timestamptz + n * interval '1 second'
       from (select id, row_number() over (order by id) - 1 as n from towpath.message where queue_id = $1) r
       where m.queue_id = $1 and m.id = r.id`,
      [queue.id],
    );
    const count = async (details: object): Promise<number> =>
      (await redrive(queue, run, { ...details, isDryRun: true })).progress.matched;
    expect(await count({ createdAfter: '2026-01-01T00:00:01Z', createdBefore: '2026-01-01T00:00:03Z' })).toBe(2);
    expect(await count({ createdBefore: '2026-01-01T00:00:00Z' })).toBe(0);
    expect(await count({ diedAfter: '2026-01-01T00:00:12+00:00' })).toBe(3);
    expect(await count({ diedBefore: '2026-01-01T00:00:12Z' })).toBe(2);
    expect(await count({ diedBefore: '2026-01-01T00:00:13Z', createdAfter: '2026-01-01T00:00:02Z' })).toBe(1);
  });

  it('a dry run counts the same and changes nothing', async () => {
    const queue = await newQueue();
    await makeDead(queue, run, 25);
    await queue.get({ dead: true, limit: 5 });
    const state = async (): Promise<unknown> => [await queue.rows(), await queue.stats(), await queue.state()];
    const before = await state();
    const dry = await startRedrive(queue, run, { isDryRun: true, messagesPerSecond: 1 });
    const { progress, status } = await runToEnd(run, dry.ocid, 10);
    expect({ status, ...progress }).toMatchObject({
      status: 'SUCCEEDED',
      examined: 25,
      matched: 25,
      redriven: 0,
      skipped: 5,
      isDryRun: true,
    });
    expect(await state()).toEqual(before);
  });
});

describe('to another queue', () => {
  it('they are new messages there, and gone here', async () => {
    const queue = await newQueue();
    const target = await newQueue({ retentionInSeconds: 1000 }, queue.tenancy);
    await queue.sql(`select from towpath.put_messages($1, array['é', '', 'c'], 'ch', '{"kind": "a"}')`, [queue.id]);
    const old = (await queue.rows()).map(({ id }) => id);
    await killAll(queue, run);
    const { progress } = await redrive(queue, run, { targetQueueId: target.ocid });
    expect(progress).toMatchObject({ matched: 3, redriven: 3 });
    expect(await queue.rows()).toEqual([]);
    const rows = await target.rows();
    expect(rows.map(({ body }) => body.toString())).toEqual(['é', '', 'c']);
    expect(rows.every(({ id }) => !old.includes(id))).toBe(true);
    expect(rows[0]).toMatchObject({
      channel_id: 'ch',
      properties: { kind: 'a' },
      delivery_count: 0,
      dead_letter: false,
      receipt_number: 0,
    });
    expect(rows[0]!.expire_after.getTime() - rows[0]!.created_at.getTime()).toBe(1_000_000);
    expect([await wrongStats(run, queue.id), await wrongStats(run, target.id)]).toEqual([[], []]);
  });

  it('into one channel', async () => {
    const queue = await newQueue();
    const target = await newQueue({}, queue.tenancy);
    await makeDead(queue, run, 2, 'a');
    await makeDead(queue, run, 2, 'b');
    await redrive(queue, run, { targetQueueId: target.ocid, targetChannelId: 'repaired' });
    expect(await target.channels()).toEqual(['repaired']);
    expect(await target.rows()).toHaveLength(4);
  });

  it('goes through the groups there; what none takes stays dead and is reported', async () => {
    const queue = await newQueue();
    const target = await newQueue(
      { capabilities: [{ type: 'CONSUMER_GROUPS', isPrimaryConsumerGroupEnabled: false }] },
      queue.tenancy,
    );
    for (const kind of ['a', 'b']) {
      await run('select from towpath.create_consumer_group($1, $2, $3::jsonpath)', [
        queue.tenancy,
        { queueId: target.ocid, displayName: kind },
        `$.kind == "${kind}" || $.kind == "both"`,
      ]);
    }
    for (const kind of ['a', 'both', 'neither']) {
      await queue.sql(`select from towpath.put_messages($1, array[$2], properties => $3)`, [queue.id, kind, { kind }]);
    }
    await killAll(queue, run);
    const { progress, ocid, status } = await redrive(queue, run, { targetQueueId: target.ocid });
    expect({ status, ...progress }).toMatchObject({ status: 'SUCCEEDED', matched: 3, redriven: 2, failed: 1 });
    expect(await errorsOf(run, ocid)).toEqual([
      { code: 'IncorrectState', message: expect.stringMatching(/no consumer group.*still dead/) },
    ]);
    expect((await queue.rows()).map(({ body }) => body.toString())).toEqual(['neither']);
    expect((await target.rows()).map(({ body }) => body.toString())).toEqual(['a', 'both', 'both']);
    expect([await wrongStats(run, queue.id), await wrongStats(run, target.id)]).toEqual([[], []]);
  });

  it('ends FAILED where the target is deleted in the middle, and nothing is half done', async () => {
    const queue = await newQueue();
    const target = await newQueue({}, queue.tenancy);
    await makeDead(queue, run, 20);
    const { ocid } = await startRedrive(queue, run, { targetQueueId: target.ocid });
    expect(await step(run, ocid, 10)).toBe('IN_PROGRESS');
    const { ocid: deletion } = await target.remove();
    expect(await step(run, ocid, 10)).toBe('FAILED');
    expect(await find(run, ocid)).toMatchObject({
      progress: { redriven: 5, failed: 5, matched: 10 },
      percent_complete: 50,
    });
    expect(await errorsOf(run, ocid)).toEqual([
      {
        code: 'NotAuthorizedOrNotFound',
        message: expect.stringMatching(/does not exist.*still a dead letter.*redrive again/),
      },
    ]);
    expect(await queue.rows()).toHaveLength(15);
    expect(await wrongStats(run, queue.id)).toEqual([]);
    await runToEnd(run, deletion);
  });

  it('ends FAILED where it has no room for a channel', async () => {
    const queue = await newQueue();
    const target = await newQueue({}, queue.tenancy);
    await makeDead(queue, run, 1, 'a');
    await makeDead(queue, run, 1, 'b');
    const { ocid } = await startRedrive(queue, run, { targetQueueId: target.ocid }, null, { maxChannels: 1 });
    expect(await runToEnd(run, ocid)).toMatchObject({ status: 'FAILED', progress: { redriven: 0, failed: 2 } });
    expect(await errorsOf(run, ocid)).toEqual([{ code: 'LimitExceeded', message: expect.stringMatching(/channel/) }]);
    expect(await target.rows()).toEqual([]);
    expect(await deadIds(queue)).toHaveLength(2);
    // Into one channel it fits.
    const again = await startRedrive(queue, run, { targetQueueId: target.ocid, targetChannelId: 'a' }, null, {
      maxChannels: 1,
    });
    expect(await runToEnd(run, again.ocid)).toMatchObject({ status: 'SUCCEEDED', progress: { redriven: 2 } });
  });

  it('leaves those that are too large, and reports them once', async () => {
    const queue = await newQueue();
    const target = await newQueue({}, queue.tenancy);
    await queue.put(['x'.repeat(100), 'small', 'y'.repeat(100)]);
    await killAll(queue, run);
    const { ocid } = await startRedrive(queue, run, { targetQueueId: target.ocid }, null, { maxMessageBytes: 50 });
    expect(await runToEnd(run, ocid, 2)).toMatchObject({ status: 'SUCCEEDED', progress: { redriven: 1, failed: 2 } });
    expect(await errorsOf(run, ocid)).toEqual([
      { code: 'LimitExceeded', message: expect.stringMatching(/50 bytes.*LARGE_MESSAGES/) },
    ]);
    expect(await deadIds(queue)).toHaveLength(2);
  });

  it('takes a few megabytes per step, however many messages that is', async () => {
    const queue = await newQueue();
    const target = await newQueue({}, queue.tenancy);
    await queue.put(Array.from({ length: 40 }, () => 'x'.repeat(250_000)));
    await killAll(queue, run);
    const { ocid } = await startRedrive(queue, run, { targetQueueId: target.ocid });
    expect(await step(run, ocid)).toBe('IN_PROGRESS');
    expect((await find(run, ocid)).progress.redriven).toBe(17);
    expect((await runToEnd(run, ocid)).progress.redriven).toBe(40);
  });
});

async function twoGroups(): Promise<{ queue: Queue; group: { ocid: string; id: number } }> {
  const queue = await newQueue({ capabilities: [{ type: 'CONSUMER_GROUPS' }] });
  const { identifier } = one(
    await run<{ identifier: string }>('select identifier from towpath.create_consumer_group($1, $2, $3::jsonpath)', [
      queue.tenancy,
      { queueId: queue.ocid, displayName: 'second' },
      null,
    ]),
  );
  const { id } = one(await run<{ id: number }>('select id from towpath.consumer_group where ocid = $1', [identifier]));
  await queue.putMany(4);
  for (const each of [0, id]) {
    await run(`select from towpath.get_messages($1, $2, max_messages => 10, visibility_in_seconds => 1)`, [
      queue.id,
      each,
    ]);
  }
  await queue.timeOut();
  await queue.sweepTimedOut();
  return { queue, group: { ocid: identifier, id } };
}
const perGroup = async (queue: Queue): Promise<Record<string, number>> => {
  const rows = await run<{ key: string; count: number }>(
    `select consumer_group_id || case when dead_letter then ' dead' else ' live' end as key, count(*)::int as count
     from towpath.message where queue_id = $1 group by 1`,
    [queue.id],
  );
  return Object.fromEntries(rows.map(({ key, count }) => [key, count]));
};

describe('consumer groups', () => {
  it('absent means the primary one, an OCID one, all every one', async () => {
    const { queue, group } = await twoGroups();
    await redrive(queue, run);
    expect(await perGroup(queue)).toEqual({ '0 live': 4, [`${group.id} dead`]: 4 });
    await killAll(queue, run);
    await redrive(queue, run, { consumerGroupId: group.ocid });
    expect(await perGroup(queue)).toEqual({ '0 dead': 4, [`${group.id} live`]: 4 });
    await run(`select from towpath.get_messages($1, $2, max_messages => 10, visibility_in_seconds => 1)`, [
      queue.id,
      group.id,
    ]);
    await queue.timeOut();
    await queue.sweepTimedOut();
    const { ocid } = await startRedrive(queue, run, { consumerGroupId: 'all' });
    expect(await runToEnd(run, ocid, 4)).toMatchObject({ status: 'SUCCEEDED', progress: { redriven: 8, examined: 8 } });
    expect(await perGroup(queue)).toEqual({ '0 live': 4, [`${group.id} live`]: 4 });
    expect(await wrongStats(run, queue.id)).toEqual([]);
  });

  it('message ids are those of every group that is asked for', async () => {
    const { queue, group } = await twoGroups();
    const [first] = await deadIds(queue);
    expect((await redrive(queue, run, { consumerGroupId: 'all', messageIds: [first] })).progress.redriven).toBe(2);
    expect(await perGroup(queue)).toEqual({
      '0 live': 1,
      '0 dead': 3,
      [`${group.id} live`]: 1,
      [`${group.id} dead`]: 3,
    });
  });

  it('one that is gone leaves its messages dead, and is reported', async () => {
    const { queue, group } = await twoGroups();
    const { ocid } = await startRedrive(queue, run, { consumerGroupId: 'all' });
    await run('select from towpath.delete_consumer_group($1, $2)', [queue.tenancy, group.ocid]);
    expect(await runToEnd(run, ocid)).toMatchObject({ status: 'SUCCEEDED', progress: { redriven: 4 } });
    expect(await perGroup(queue)).toEqual({ '0 live': 4, [`${group.id} dead`]: 4 });
    expect(await errorsOf(run, ocid)).toEqual([
      { code: 'NotAuthorizedOrNotFound', message: expect.stringMatching(/second .* is gone/) },
    ]);
    await runWorkRequests(run);
  });

  it('one that is inactive keeps what comes back', async () => {
    const { queue, group } = await twoGroups();
    await run('select from towpath.update_consumer_group($1, $2, $3)', [
      queue.tenancy,
      group.ocid,
      { isEnabled: false },
    ]);
    expect((await redrive(queue, run, { consumerGroupId: group.ocid })).progress.redriven).toBe(4);
    expect((await perGroup(queue))[`${group.id} live`]).toBe(4);
  });
});
