import fc from 'fast-check';
import { makeQueue, one, runWorkRequests, useDatabase, type Queue } from './support.js';

// How many messages were put with a delay that is not over yet: counted by the minute, so that no backlog is walked.

const { run } = useDatabase();

const SECONDS = [1, 30, 59, 60, 61, 600, 3600, 86_399, 604_000];

/** What a walk of the whole table says. */
async function truth(queue: Queue, channel: string | null = null): Promise<number> {
  const [row] = await run<{ count: number }>(
    `select count(*)::int as count from towpath.message
     where queue_id = $1 and delivery_count = 0 and visible_after > clock_timestamp() and ($2::text is null or channel_id = $2)`,
    [queue.id, channel],
  );
  return row?.count ?? 0;
}

const told = async (queue: Queue, channel: string | null = null): Promise<number> =>
  (await queue.stats(channel)).delayed_messages;

/** As if so many seconds had passed: the time of each message and its place among the minutes. */
async function pass(queue: Queue, seconds: number): Promise<void> {
  await queue.age(seconds);
  await run('delete from towpath.message_delay where queue_id = $1', [queue.id]);
  await run(
    `insert into towpath.message_delay (queue_id, consumer_group_id, channel_id, visible_minute, messages)
     select m.queue_id, 0, k.channel_id, towpath.minute_of(m.visible_after), count(*)
     from towpath.message m cross join lateral (values (m.channel_id), ('*')) k(channel_id)
     where m.queue_id = $1 and m.delivery_count = 0 and m.visible_after > m.created_at group by 1, 3, 4`,
    [queue.id],
  );
}

const fold = (): Promise<unknown> => run('select towpath.fold_message_delays(3)');
const rowsOf = async (queue: Queue): Promise<number> =>
  one(await run<{ n: number }>('select count(*)::int as n from towpath.message_delay where queue_id = $1', [queue.id]))
    .n;

it('tells how many are delayed, at any distance, folded or not, while time passes and they are delivered', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.oneof(
          fc.record({
            put: fc.constantFrom(...SECONDS),
            channel: fc.constantFrom('', 'a', 'b'),
            times: fc.integer({ min: 1, max: 3 }),
          }),
          fc.record({ pass: fc.constantFrom(1, 29, 60, 3000) }),
          fc.constant({ fold: true }),
          fc.constant({ get: true }),
        ),
        { minLength: 5, maxLength: 20 },
      ),
      async (steps) => {
        const queue = await makeQueue(run, { retentionInSeconds: 604_800 });
        for (const step of steps) {
          if ('put' in step) for (let n = 0; n < step.times; n += 1) await queue.put(['x'], step.channel, step.put);
          else if ('pass' in step) await pass(queue, step.pass);
          else if ('fold' in step) await fold();
          else await queue.get({ limit: 2, visibility: 43_200 });
          for (const channel of [null, '', 'a', 'b']) {
            // A second may end between the two.
            const [before, said, after] = [
              await truth(queue, channel),
              await told(queue, channel),
              await truth(queue, channel),
            ];
            expect(said).toBeLessThanOrEqual(before);
            expect(said).toBeGreaterThanOrEqual(after);
          }
        }
      },
    ),
    { numRuns: 25 },
  );
}, 300_000);

it('does not count them as visible or in flight, and a limit of in-flight messages does not count them', async () => {
  const queue = await makeQueue(run);
  await queue.put(['1', '2', '3'], '', 600);
  await queue.put(['4']);
  await queue.get();
  expect(await queue.stats()).toMatchObject({
    visible_messages: 0,
    in_flight_messages: 1,
    delayed_messages: 3,
    size_in_bytes: 4,
  });
  expect(await queue.inFlight()).toBe(1);
});

it('folds into a row per channel and minute, and forgets minutes that are over', async () => {
  const queue = await makeQueue(run);
  for (let n = 0; n < 10; n += 1) await queue.put(['x', 'y'], 'c', 3600);
  while ((await rowsOf(queue)) > 4) await fold();
  // Two minutes at the most, as one may have ended meanwhile, for the channel and for the queue.
  expect(await rowsOf(queue)).toBeLessThanOrEqual(4);
  expect(await told(queue)).toBe(20);
  await run(`update towpath.message_delay set visible_minute = visible_minute - interval '1 day' where queue_id = $1`, [
    queue.id,
  ]);
  expect(one(await run<{ due: boolean }>('select towpath.message_delays_are_due() as due')).due).toBe(true);
  while ((await rowsOf(queue)) > 0) await fold();
});

it('counts neither what a purge has taken nor what goes with a queue', async () => {
  const queue = await makeQueue(run);
  await queue.put(['1', '2'], 'a', 600);
  await queue.put(['1', '2', '3'], 'b', 20);
  await fold();
  await queue.purge({ purgeType: 'NORMAL', channelIds: ['a'] });
  expect([await told(queue), await told(queue, 'a'), await told(queue, 'b')]).toEqual([3, 0, 3]);
  await queue.put(['1'], 'a', 600);
  expect([await told(queue), await told(queue, 'a')]).toEqual([4, 1]);
  await runWorkRequests(run);
  expect([await told(queue), await told(queue, 'a')]).toEqual([4, 1]);
  await queue.purge({ purgeType: 'BOTH' });
  expect(await told(queue)).toBe(0);
  await runWorkRequests(run);
  expect(await truth(queue)).toBe(0);
  await queue.put(['1'], 'a', 600);
  await queue.remove();
  await runWorkRequests(run);
  expect(await rowsOf(queue)).toBe(0);
});

it('counts per consumer group', async () => {
  const queue = await makeQueue(run, { capabilities: [{ type: 'CONSUMER_GROUPS' }] });
  await run(
    `select towpath.create_consumer_group($1, jsonb_build_object('queueId', $2::text, 'displayName', 'g'), '$.k == "v"')`,
    [queue.tenancy, queue.ocid],
  );
  const put = (properties: string | null): Promise<unknown> =>
    run(`select towpath.put_packed_messages($1, 'x', '{1}', '{c}', array[$2]::text[], '{600}', '{1}')`, [
      queue.id,
      properties,
    ]);
  await put('{"k": "v"}');
  await put(null);
  const groups = await run<{ consumer_group_id: number; delayed_messages: number }>(
    'select consumer_group_id, delayed_messages from towpath.queue_stats where queue_id = $1 order by 1',
    [queue.id],
  );
  expect(groups.map(({ delayed_messages }) => delayed_messages)).toEqual([2, 1]);
  const channels = await run<{ consumer_group: string; channel_id: string; delayed_messages: number }>(
    'select consumer_group, channel_id, delayed_messages from towpath.channel_stats where queue_id = $1 order by 3 desc',
    [queue.id],
  );
  expect(channels).toEqual([
    { consumer_group: 'Primary Consumer Group', channel_id: 'c', delayed_messages: 2 },
    { consumer_group: 'g', channel_id: 'c', delayed_messages: 1 },
  ]);
});
