import { makeQueue, one, useDatabase, type Queue, type Run } from './support.js';

// Many channels: the limit over all consumer groups, and each channel's turn.

const { run, session } = useDatabase();

const put = (
  queue: Queue,
  channels: readonly string[],
  limit: number,
  properties: string | null = null,
): Promise<unknown> =>
  run(
    `select towpath.put_packed_messages($1, $2, array_fill(1, array[$3::int]), $4, array_fill($5::text, array[$3::int]),
       array_fill(0, array[$3::int]), array_fill(1, array[$3::int]), $6)`,
    [queue.id, Buffer.from('x'.repeat(channels.length)), channels.length, [...channels], properties, limit],
  );

const refused = { code: 'TP4LE' };

describe('the limit on channels', () => {
  it('binds where the primary consumer group is disabled and others hold the messages', async () => {
    const capabilities = [{ type: 'CONSUMER_GROUPS', isPrimaryConsumerGroupEnabled: false }];
    const queue = await makeQueue(run, { capabilities });
    for (const [name, path] of [
      ['a', '$.g == "a"'],
      ['b', '$.g == "b"'],
    ]) {
      await run(
        `select towpath.create_consumer_group($1, jsonb_build_object('queueId', $2::text, 'displayName', $3::text), $4::jsonpath)`,
        [queue.tenancy, queue.ocid, name, path],
      );
    }
    await put(queue, ['1', '2'], 3, '{"g": "a"}');
    await put(queue, ['2', '3'], 3, '{"g": "b"}');
    await expect(put(queue, ['4'], 3, '{"g": "b"}')).rejects.toMatchObject(refused);
    // Channels that either group has are no new ones.
    await put(queue, ['1', '2', '3', ''], 3, '{"g": "b"}');
    await queue.fold();
    await expect(put(queue, ['4'], 3, '{"g": "b"}')).rejects.toMatchObject(refused);
    await put(queue, ['4'], 4, '{"g": "b"}');
  });

  it('forgets a channel with its last message, before the statistics are folded and after', async () => {
    const queue = await makeQueue(run);
    for (const folds of [false, true]) {
      await put(queue, ['a', 'b'], 2);
      if (folds) await queue.fold();
      await expect(put(queue, ['c'], 2)).rejects.toMatchObject(refused);
      await queue.delete([await queue.getOne({ channel: 'a' })]);
      if (folds) await queue.fold();
      await put(queue, ['c'], 2);
      for (const channel of ['b', 'c']) await queue.delete([await queue.getOne({ channel })]);
    }
    expect(await queue.channels()).toEqual([]);
  });

  it('does not count dead letters, and counts a channel once', async () => {
    const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
    await put(queue, ['a'], 1);
    await queue.get({ channel: 'a' });
    await queue.timeOut();
    await queue.sweepTimedOut();
    await put(queue, ['b', 'b'], 1);
    await put(queue, ['b'], 1);
    expect([await queue.channels(true), await queue.channels()]).toEqual([['a'], ['b']]);
  });
});

// From PostgreSQL 18 on by skipping inside the index, before by a look per channel: both must do the same.
describe.each(['on', 'off'])('turns, with skip scan %s', (skipScan) => {
  let by: Run;
  const ours = async (): Promise<Queue> => (await makeQueue(run)).by(by);

  beforeEach(async () => {
    by = (await session()).run;
    await by(`set towpath.skip_scan = '${skipScan}'`);
  });

  it('give every channel its own however much one holds', async () => {
    const queue = await ours();
    await run(
      `insert into towpath.message (queue_id, id, visible_after, expire_after, created_at, size_in_bytes, body, channel_id)
       select $1, nextval('towpath.message_id'), now(), now() + interval '1 day', now(), 1, 'x', 'flooded' from generate_series(1, 5000)`,
      [queue.id],
    );
    const small = Array.from({ length: 20 }, (_, n) => `small${n}`);
    for (const channel of small) await queue.putMany(10, channel);
    const served = new Map<string, number>();
    let after = 'small0';
    // Ten rounds of all 21 channels: each is served ten times, so the small ones are empty and the big one hardly touched.
    for (let n = 0; n < 10 * 21; n += 1) {
      const message = await queue.getOne({ after, visibility: 1000 });
      after = message.channel_id;
      served.set(after, (served.get(after) ?? 0) + 1);
    }
    expect(new Set(served.values())).toEqual(new Set([10]));
    expect(served.size).toBe(21);
    // Then only the big one has something.
    expect((await queue.getOne({ after })).channel_id).toBe('flooded');
  });

  it('go around, past channels where all is hidden, and end where nothing is', async () => {
    const queue = await ours();
    for (const channel of ['', 'a', 'b', 'c']) await queue.put(['x'], channel);
    await queue.get({ channel: 'a' });
    await queue.get({ channel: 'c' });
    const order: string[] = [];
    let after = 'a';
    for (let n = 0; n < 5; n += 1) {
      after = (await queue.getOne({ after, visibility: 0 })).channel_id;
      order.push(after);
    }
    expect(order).toEqual(['b', '', 'b', '', 'b']);
    for (const channel of ['', 'b']) await queue.get({ channel });
    for (const from of ['', 'a', 'b', 'c', 'zz']) expect(await queue.get({ after: from })).toEqual([]);
  });

  it('wake at the earliest time over all channels', async () => {
    const queue = await ours();
    for (const [channel, delay] of [
      ['b', 300],
      ['a', 500],
      ['', 400],
      ['d', 200],
      ['c', 200],
    ] as const)
      await queue.put(['x'], channel, delay);
    const next = one(
      await by<{ seconds: number }>(
        `select round(extract(epoch from towpath.next_visible_after($1, 0, false) - clock_timestamp()))::int as seconds`,
        [queue.id],
      ),
    );
    expect(next.seconds).toBeGreaterThan(150);
    expect(next.seconds).toBeLessThanOrEqual(200);
  });
});
