import fc from 'fast-check';
import { errorsOf, find, startRedrive, wrongStats } from './redrive-support.js';
import { makeQueue, one, Session, useDatabase, type Queue, type Run } from './support.js';

// Random queues, random selections, and redrives whose steps run in different sessions, some of which die before they
// commit, while consumers take, give back and delete dead letters in between. Whatever happens: every message is in
// exactly one place, what was not asked for was not touched, the counts are exact, and the statistics are the truth.

const { run, test } = useDatabase();

const RUNS = Number(process.env['TEST_MODEL_RUNS'] ?? 40);
const ATTEMPTS = 5;
const CHANNELS = ['', 'a', 'b'] as const;
const KINDS = [null, 'x', 'y'] as const;
/** When the messages of a run were put and died, in order. */
const START = Date.parse('2026-01-01T00:00:00Z');

interface Row {
  readonly id: number;
  readonly group: number;
  readonly channel: string;
  readonly kind: string | null;
  readonly dead: boolean;
  readonly held: boolean;
  readonly expired: boolean;
  readonly body: string;
  readonly receipt: number;
}

const message = fc.record({
  group: fc.nat(1),
  channel: fc.constantFrom(...CHANNELS),
  kind: fc.constantFrom(...KINDS),
  dead: fc.boolean(),
  held: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  expired: fc.oneof({ weight: 8, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
});
const seldom = <Value>(arbitrary: fc.Arbitrary<Value>): fc.Arbitrary<Value | null> =>
  fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, { weight: 1, arbitrary });
const range = fc.tuple(fc.nat(15), fc.integer({ min: 10, max: 40 }));
const selection = fc.record({
  group: fc.constantFrom(0, 1, 'all' as const),
  /** Every so many-th message, and ids that are none. */
  idsEvery: seldom(fc.integer({ min: 1, max: 4 })),
  channels: seldom(fc.subarray([...CHANNELS, 'c'], { minLength: 1 })),
  kind: seldom(fc.constantFrom('x', 'y')),
  /** Indexes between which the messages were put, or died. */
  created: seldom(range),
  died: seldom(range),
  toTarget: fc.boolean(),
  isDryRun: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
});
type Selection = typeof selection extends fc.Arbitrary<infer Value> ? Value : never;
/** Of each step: how large, in which session, and whether that dies before it commits; and what happens after it. */
const stepPlan = fc.record({
  batch: fc.integer({ min: 1, max: 9 }),
  session: fc.nat(1),
  dies: fc.boolean(),
  next: fc.constantFrom('nothing', 'take', 'delete', 'put', 'fold'),
});

interface Fixture {
  readonly queue: Queue;
  readonly target: Queue;
  readonly second: { readonly id: number; readonly ocid: string };
  readonly rows: Row[];
}

async function makeFixture(messages: readonly Omit<Row, 'id' | 'body' | 'receipt'>[]): Promise<Fixture> {
  const queue = await makeQueue(run, { capabilities: [{ type: 'CONSUMER_GROUPS' }], deadLetterQueueDeliveryCount: 0 });
  const target = await makeQueue(run, {}, queue.tenancy);
  await run('select from towpath.create_consumer_group($1, $2)', [
    queue.tenancy,
    { queueId: queue.ocid, displayName: 'second' },
  ]);
  const second = one(
    await run<{ id: number; ocid: string }>(
      'select id, ocid from towpath.consumer_group where queue_id = $1 and id <> 0',
      [queue.id],
    ),
  );
  const rows: Row[] = [];
  for (const [index, each] of messages.entries()) {
    const group = each.group === 0 ? 0 : second.id;
    const body = `message ${index}`;
    const { id, receipt } = one(
      await run<{ id: number; receipt: number }>(
        `insert into towpath.message (
           queue_id, consumer_group_id, id, channel_id, properties, body, size_in_bytes, dead_letter, visible_after,
           expire_after, created_at, dead_lettered_at, delivery_count, delivered_at, delivered_to, receipt_number)
         select $1, $2, nextval('towpath.message_id'), $3, $4, convert_to($5, 'UTF8'), length($5), $6,
           now() + case when $7 then interval '1 hour' else interval '-1 second' end,
           now() + case when $8 then interval '-1 second' else interval '1 hour' end,
           to_timestamp($9), case when $6 then to_timestamp($9 + 1000) end, 3, now(), 'somebody', 3
         returning id, receipt_number as receipt`,
        [
          queue.id,
          group,
          each.channel,
          each.kind === null ? null : { kind: each.kind },
          body,
          each.dead,
          each.held,
          each.expired,
          START / 1000 + index,
        ],
      ),
    );
    rows.push({ ...each, id, group, body, receipt });
  }
  // What the puts and the deaths would have told the statistics.
  await run(
    `insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
     select queue_id, consumer_group_id, dead_letter, channel_id, count(*), sum(size_in_bytes)
     from towpath.message where queue_id = $1 group by 1, 2, 3, 4`,
    [queue.id],
  );
  return { queue, target, second, rows };
}

const key = (group: number, id: number): string => `${group}/${id}`;
const time = (index: number): string => new Date(START + index * 1000).toISOString();

function detailsOf(wanted: Selection, { rows, second, target }: Fixture): Record<string, unknown> {
  const every = wanted.idsEvery;
  const ids = every === null ? [] : rows.filter((_, index) => index % every === 0).map(({ id }) => id);
  const channels = (wanted.channels ?? []).filter((channel) => channel !== '');
  return {
    ...(wanted.group === 0 ? {} : { consumerGroupId: wanted.group === 1 ? second.ocid : 'all' }),
    ...(every === null ? {} : { messageIds: [...ids, 9_000_000_000_000_000, ...ids].toReversed() }),
    ...(channels.length === 0 ? {} : { channelIds: channels }),
    ...(wanted.created === null
      ? {}
      : { createdAfter: time(wanted.created[0]), createdBefore: time(wanted.created[1]) }),
    ...(wanted.died === null
      ? {}
      : { diedAfter: time(wanted.died[0] + 1000), diedBefore: time(wanted.died[1] + 1000) }),
    ...(wanted.toTarget ? { targetQueueId: target.ocid } : {}),
    isDryRun: wanted.isDryRun,
  };
}

/** The same said once more, of one message. */
function isWanted(wanted: Selection, { second }: Fixture, row: Row, index: number): boolean {
  const channels = (wanted.channels ?? []).filter((channel) => channel !== '');
  const within = (between: [number, number] | null): boolean =>
    between === null || (index >= between[0] && index < between[1]);
  return (
    row.dead &&
    !row.expired &&
    (wanted.group === 'all' || row.group === (wanted.group === 0 ? 0 : second.id)) &&
    (wanted.idsEvery === null || index % wanted.idsEvery === 0) &&
    (channels.length === 0 || channels.includes(row.channel)) &&
    (wanted.kind === null || row.kind === wanted.kind) &&
    within(wanted.created) &&
    within(wanted.died)
  );
}

interface Found {
  readonly id: number;
  readonly group: number;
  readonly dead: boolean;
  readonly body: string;
  readonly receipt: number;
  readonly delivery_count: number;
}

const contents = (by: Run, queue: Queue): Promise<Found[]> =>
  by<Found & Record<string, unknown>>(
    `select id, consumer_group_id as "group", dead_letter as dead, convert_from(body, 'UTF8') as body,
       receipt_number as receipt, delivery_count
     from towpath.message where queue_id = $1 order by consumer_group_id, id`,
    [queue.id],
  );

/** What is wrong with how a message looks that is still in its queue. */
function faultOf(row: Row, found: Found | undefined, isMoved: boolean, isTaken: boolean): string | null {
  if (found === undefined) return null;
  if (found.body !== row.body) return 'it has another content';
  if (isMoved) return found.delivery_count === 0 && found.receipt > row.receipt ? null : 'it is not as new';
  const isTouched = found.dead !== row.dead || found.receipt !== row.receipt || found.delivery_count !== 3;
  return isTouched && !isTaken ? 'it was touched' : null;
}

it('every dead letter that was asked for is moved exactly once, whatever dies', async () => {
  let moved = 0;
  let died = 0;
  const isEnough = (): boolean => moved > RUNS && died > RUNS;
  // It must have been about something: where chance had little to move, or few steps died, there are more runs.
  for (let attempt = 0; attempt < ATTEMPTS && !isEnough(); attempt += 1) {
    await fc.assert(
      fc.asyncProperty(
        fc.array(message, { maxLength: 40, size: 'max' }),
        selection,
        fc.array(stepPlan, { minLength: 1, maxLength: 30 }),
        async (messages, wanted, plan) => {
          const fixture = await makeFixture(messages);
          const { queue, target, rows } = fixture;
          /** What consumers of the dead letter queue and producers did between the steps: those ids are theirs. */
          const taken = new Set<string>();
          const deleted = new Set<string>();
          const { ocid } = await startRedrive(
            queue,
            run,
            detailsOf(wanted, fixture),
            wanted.kind === null ? null : `$.kind == "${wanted.kind}"`,
          );
          const act = async (what: (typeof plan)[number]['next']): Promise<void> => {
            if (what === 'fold') await queue.fold();
            if (what === 'put') await queue.put(['new']);
            if (what !== 'take' && what !== 'delete') return;
            const got = await queue.get({ dead: true, visibility: 3600 });
            for (const { id } of got) taken.add(key(0, id));
            if (what === 'take') return;
            expect(await queue.delete(got, true)).toEqual(got.map(() => true));
            for (const { id } of got) deleted.add(key(0, id));
          };
          const sessions = [await Session.open(test().url), await Session.open(test().url)];
          try {
            for (let round = 0, status = 'IN_PROGRESS'; status === 'IN_PROGRESS'; round += 1) {
              // When the plan is over nobody dies any more, and nobody interferes.
              const { batch, session, dies, next } = plan[round] ?? {
                batch: 50,
                session: 0,
                dies: false,
                next: 'nothing',
              };
              const by = sessions[session]!;
              await by.run('begin');
              status = one(
                await by.run<{ status: string }>('select towpath.run_work_request_step($1, $2) as status', [
                  ocid,
                  batch,
                ]),
              ).status;
              await by.run(dies ? 'rollback' : 'commit');
              if (dies) status = 'IN_PROGRESS';
              died += Number(dies);
              await act(next);
            }
          } finally {
            await Promise.all(sessions.map((session) => session.close()));
          }

          const here = (await contents(run, queue)).filter(({ body }) => body !== 'new');
          const there = await contents(run, target);
          const at = new Map(here.map((found) => [key(found.group, found.id), found]));
          let redriven = 0;
          for (const [index, row] of rows.entries()) {
            const k = key(row.group, row.id);
            const found = at.get(k);
            const copies = there.filter(({ body }) => body === row.body).length;
            const isMoved = row.dead && (copies === 1 || found?.dead === false);
            redriven += Number(isMoved);
            const places = Number(found !== undefined) + copies + Number(deleted.has(k));
            const isAsked = isWanted(wanted, fixture, row, index) && !wanted.isDryRun && !row.held;
            const fault =
              places !== 1
                ? 'it is not in exactly one place'
                : isMoved && !isAsked
                  ? 'it was moved without being asked for'
                  : !isMoved && isAsked && !taken.has(k)
                    ? 'it was asked for and not moved'
                    : faultOf(row, found, isMoved, taken.has(k));
            expect([row, found, fault]).toEqual([row, found, null]);
          }
          moved += redriven;
          const { progress, status, percent_complete } = await find(run, ocid);
          expect({ status, percent_complete }).toEqual({ status: 'SUCCEEDED', percent_complete: 100 });
          expect(await errorsOf(run, ocid)).toEqual([]);
          expect(progress.redriven).toBe(redriven);
          const asked = rows.filter((row, index) => isWanted(wanted, fixture, row, index));
          // A dry run that nobody disturbed counts what is there; any other counts what it did with each.
          expect(progress.matched).toBe(
            wanted.isDryRun
              ? taken.size === 0
                ? asked.length
                : progress.matched
              : progress.redriven + progress.skipped + progress.failed,
          );
          expect(there.length).toBe(wanted.toTarget ? redriven : 0);
          expect([await wrongStats(run, queue.id), await wrongStats(run, target.id)]).toEqual([[], []]);
        },
      ),
      { numRuns: RUNS },
    );
  }
  expect([moved, died].map((count) => count > RUNS)).toEqual([true, true]);
}, 600_000);
