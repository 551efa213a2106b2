import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { migrate } from '../../src/database/migrator.js';
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../src/embedded-postgres/embedded-postgres.js';
import { PlanWatcher, type Cost } from './plan-watcher.js';
import { makeQueue, one, type Queue, type Run } from './support.js';

// A queue of 1,000,000 messages must cost no more than an empty one, whatever the planner believes. So each hot call
// runs with the statistics in every state in which they may be, and the pages and rows that it touches are counted.
// `TEST_PLANS=print` prints the figures.

const BACKLOG = 1_000_000;
const IN_FLIGHT = 100_000;
const REMEMBERED = 200_000;
/** One message of so many is a dead letter, so that a hundred of them lie scattered among 200,000 others. */
const DEAD_EVERY = 2000;
const migrations = path.resolve(import.meta.dirname, '../../migrations');
const OLD_SERVER = '/usr/lib/postgresql/15/bin';

interface Call {
  readonly text: string;
  readonly values?: readonly unknown[];
  /** Pages; a get or an update of ten messages writes each into three indexes. */
  readonly buffers?: number;
  readonly rows?: number;
  readonly index?: string;
  /** Looks at every channel once or twice, some 4 pages each. */
  readonly everyChannel?: true;
}

const ten = (ids: readonly number[]): [number[], number[]] => [ids.slice(0, 10), Array(10).fill(1)];

/** A queue with consumer groups, one of which is being deleted. */
interface Groups {
  readonly queue: number;
  readonly group: number;
  readonly deletion: string;
}

async function makeGroups(run: Run): Promise<Groups> {
  const queue = await makeQueue(run, { capabilities: [{ type: 'CONSUMER_GROUPS' }] });
  const create = async (name: string): Promise<string> => {
    const [row] = await run<{ identifier: string }>(
      `select identifier from towpath.create_consumer_group($1, jsonb_build_object('queueId', $2::text, 'displayName', $3::text), '$.k == "v"')`,
      [queue.tenancy, queue.ocid, name],
    );
    return row?.identifier ?? '';
  };
  const [kept, deleted] = [await create('kept'), await create('deleted')];
  await run(
    `select towpath.put_packed_messages($1, 'abc', '{1,1,1}', '{"","c",""}', array_fill('{"k": "v"}'::text, array[3]), '{0,0,60}', '{1,1,1}')`,
    [queue.id],
  );
  const [group] = await run<{ id: number }>('select id from towpath.consumer_group where ocid = $1', [kept]);
  const [request] = await run<{ ocid: string }>('select ocid from towpath.delete_consumer_group($1, $2)', [
    queue.tenancy,
    deleted,
  ]);
  return { queue: queue.id, group: group?.id ?? 0, deletion: request?.ocid ?? '' };
}

/** Redrives of a queue that were not begun: of all its dead letters, and of those with these ids. */
interface Redrives {
  readonly all: string;
  readonly some: string;
  readonly ids: readonly number[];
}

async function makeRedrives(run: Run, queue: Queue): Promise<Redrives> {
  const dead = await run<{ id: number }>(
    'select id from towpath.message where queue_id = $1 and dead_letter order by id limit 20',
    [queue.id],
  );
  const ids = dead.map(({ id }) => id);
  const all = one(
    await run<{ ocid: string }>('select ocid from towpath.redrive_messages(null, $1)', [queue.ocid]),
  ).ocid;
  // Beside the first one, which no caller could have.
  const some = one(
    await run<{ ocid: string }>(
      `insert into towpath.work_request (ocid, tenancy_id, compartment_id, operation_type, queue_id, identifier, parameters)
       select towpath.new_ocid('queueworkrequest'), tenancy_id, compartment_id, operation_type, queue_id, identifier,
         parameters || jsonb_build_object('selection', jsonb_build_object('messageIds', $2::bigint[]))
       from towpath.work_request where ocid = $1 returning ocid`,
      [all, ids],
    ),
  ).ocid;
  return { all, some, ids };
}

interface Things {
  readonly groups: Groups;
  readonly redrives: Redrives;
}

/** The statements of the hot path and of the maintenance. `held`: ids of messages whose receipt number is 1. */
const calls = (queue: number, held: readonly number[], { groups, redrives }: Things): Record<string, Call> => ({
  'put into consumer groups': {
    text: `select * from towpath.put_packed_messages($1, 'abc', '{1,1,1}', '{"","c","new"}', '{null,"{\\"k\\": \\"v\\"}",null}', '{0,0,60}', '{1,1,1}')`,
    values: [groups.queue],
  },
  'get of a consumer group': {
    text: 'select * from towpath.get_messages($1, $2, max_messages => 10)',
    values: [groups.queue, groups.group],
    index: 'message_claim',
    everyChannel: true,
  },
  'stats of a consumer group': {
    text: 'select * from towpath.get_stats($1, $2)',
    values: [groups.queue, groups.group],
  },
  'deletion of a consumer group': {
    text: 'select towpath.run_work_request_step($1, 20)',
    values: [groups.deletion],
    index: 'message_pkey',
  },
  put: {
    text: `select * from towpath.put_packed_messages($1, 'abc', '{1,1,1}', '{"","",""}', '{null,null,null}', '{0,0,0}', '{1,1,1}')`,
    values: [queue],
  },
  'put into new channels': {
    text: `select * from towpath.put_packed_messages($1, 'abc', '{1,1,1}', '{"x","y",""}', '{null,null,null}', '{0,0,0}', '{1,1,1}', 1000)`,
    values: [queue],
    index: 'message_claim',
    // It reads the changes of the statistics that were not folded yet.
    rows: 1100,
  },
  'put with a delay': {
    text: `select * from towpath.put_packed_messages($1, 'abc', '{1,1,1}', '{"","",""}', '{null,null,null}', '{0,60,600}', '{1,1,1}')`,
    values: [queue],
  },
  'put of what may be a repeat': {
    text: `select * from towpath.put_packed_messages_once($1, 'abc', '{1,1,1}', '{"","",""}', '{null,null,null}', '{0,0,0}', '{1,1,1}', 256, '{7,new,100007}', 't', 'd')`,
    values: [queue],
    index: 'deduplication_pkey',
  },
  'repeat by a token': {
    text: `select * from towpath.put_packed_messages_once($1, 'a', '{1}', '{""}', '{null}', '{0}', '{1}', 256, '{null}', '7', 'd')`,
    values: [queue],
    index: 'deduplication_pkey',
  },
  'get of one channel': {
    text: `select * from towpath.get_messages($1, channel_id => '', max_messages => 10)`,
    values: [queue],
    index: 'message_claim',
  },
  'get of any channel': {
    text: `select * from towpath.get_messages($1, after_channel_id => 'm', max_messages => 10)`,
    everyChannel: true,
    values: [queue],
    index: 'message_claim',
  },
  'get of one channel for many': {
    text: `select * from towpath.get_messages_for_many($1, 0, false, '', '', '{2,3,5}', '{9,9,9}')`,
    values: [queue],
    index: 'message_claim',
  },
  'get of any channel for many': {
    text: `select * from towpath.get_messages_for_many($1, 0, false, null, 'm', '{2,3,5}', '{9,9,9}')`,
    everyChannel: true,
    values: [queue],
    index: 'message_claim',
  },
  'look for the floor of one channel': {
    text: `select * from towpath.find_floor($1, 0, false, '', '-infinity', 1000)`,
    values: [queue],
    index: 'message_claim',
  },
  'look for the floor of any channel': {
    text: `select * from towpath.find_floor($1, 0, false, null, '-infinity', 1000)`,
    everyChannel: true,
    values: [queue],
    index: 'message_claim',
  },
  'get of any channel from a floor': {
    text: `select * from towpath.get_messages($1, after_channel_id => 'm', max_messages => 10, visible_from => now() - interval '1 hour')`,
    everyChannel: true,
    values: [queue],
    index: 'message_claim',
  },
  'get of dead letters': {
    text: `select * from towpath.get_messages($1, dead_letter => true, max_messages => 10)`,
    everyChannel: true,
    values: [queue],
    index: 'message_claim',
  },
  'get of an empty channel': { text: `select * from towpath.get_messages($1, channel_id => 'none')`, values: [queue] },
  'next visible of one channel': { text: `select towpath.next_visible_after($1, 0, false, '')`, values: [queue] },
  'next visible of any channel': {
    text: 'select towpath.next_visible_after($1, 0, false)',
    everyChannel: true,
    values: [queue],
  },
  update: {
    text: 'select * from towpath.update_messages($1, 0, false, $2, $3, array_fill(60, array[10]))',
    values: [queue, ...ten(held)],
    index: 'message_pkey',
  },
  delete: {
    text: 'select * from towpath.delete_messages($1, 0, false, $2, $3)',
    values: [queue, ...ten(held)],
    index: 'message_pkey',
  },
  'look at a queue that may be relaxed': {
    text: 'select towpath.as_relaxed(array[$1::bigint], $1::bigint)',
    values: [queue],
    index: 'queue_pkey',
  },
  release: {
    text: 'select * from towpath.release_messages($1, 0, false, $2, $3)',
    values: [queue, ...ten(held)],
    index: 'message_pkey',
  },
  'give back': {
    text: 'select * from towpath.give_back_messages($1, 0, false, $2, $3)',
    values: [queue, ...ten(held)],
    index: 'message_pkey',
  },
  'commit of a transaction': {
    text: `select * from towpath.commit_transaction(
      array_fill($1::bigint, array[10]), array_fill(0::bigint, array[10]), array_fill(false, array[10]), $2, $3,
      array[null, null, null, null, null, 0, 0, 0, 0, 0]::integer[], array_fill(false, array[10]), '[]', '')`,
    values: [queue, ...ten(held)],
    index: 'message_pkey',
  },
  'list channels': { text: 'select * from towpath.list_channels($1)', everyChannel: true, values: [queue] },
  'list one channel': { text: `select * from towpath.list_channels($1, channel_id => 'zz')`, values: [queue] },
  // Counting walks what it counts, and no more.
  'count in flight': {
    text: 'select towpath.count_in_flight($1, at_most => 100)',
    everyChannel: true,
    values: [queue],
    index: 'message_claim',
  },
  'count of one channel': { text: `select towpath.count_in_flight($1, channel_id => 'none')`, values: [queue] },
  'stats of one channel': { text: `select * from towpath.get_stats($1, 0, 'none')`, values: [queue], rows: 1100 },
  'count of delayed': { text: 'select towpath.count_delayed($1)', values: [queue], index: 'message_delayed' },
  'fold of delays': { text: 'select towpath.fold_message_delays(20)', index: 'message_delay_by_minute' },
  'delays are due': { text: 'select towpath.message_delays_are_due()' },
  'stored bytes': { text: 'select * from towpath.stored_bytes($1)', values: [queue], rows: 1100 },
  'stored bytes of channels': { text: 'select * from towpath.stored_bytes($1, 1)', values: [queue], rows: 1100 },
  // A look at ten, or at a hundred where it finds none, wherever it begins.
  'peek by id': {
    text: 'select * from towpath.peek_messages($1, max_messages => 10)',
    values: [queue],
    index: 'message_pkey',
  },
  'peek from a cursor': {
    text: `select * from towpath.peek_messages($1, max_messages => 10, after_cursor => '500000')`,
    values: [queue],
    index: 'message_pkey',
  },
  'peek that finds nothing': {
    text: `select * from towpath.peek_messages($1, filter_path => '$.none == 1', max_examined => 100)`,
    values: [queue],
    index: 'message_pkey',
  },
  'peek by ids': {
    text: 'select * from towpath.peek_messages($1, ids => $2)',
    values: [queue, held.slice(0, 10)],
    index: 'message_pkey',
  },
  'peek by age': {
    text: `select * from towpath.peek_messages($1, created_after => now() - interval '1 second', max_messages => 10)`,
    values: [queue],
    // A page of what is a few seconds older, and not a million.
    rows: 1100,
    index: 'message_pkey',
  },
  'peek of one channel': {
    text: `select * from towpath.peek_messages($1, channel_id => '', max_messages => 10)`,
    values: [queue],
    index: 'message_claim',
  },
  'peek of one channel from a cursor': {
    text: `select * from towpath.peek_messages($1, channel_id => '', max_messages => 10,
      after_cursor => to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || ' 500000')`,
    values: [queue],
    index: 'message_claim',
  },
  'peek of dead letters': {
    text: 'select * from towpath.peek_messages($1, dead_letter => true, max_messages => 10)',
    values: [queue],
    index: 'message_dead_letter',
  },
  'peek of dead letters by age': {
    text: `select * from towpath.peek_messages($1, dead_letter => true, created_after => now() - interval '1 hour', max_messages => 10)`,
    values: [queue],
    index: 'message_dead_letter',
  },
  'peek of dead letters of one channel': {
    text: `select * from towpath.peek_messages($1, dead_letter => true, channel_id => '', max_messages => 10)`,
    values: [queue],
    index: 'message_claim',
  },
  'queues with timed-out deliveries': {
    text: 'select * from towpath.queues_with_timed_out_deliveries()',
    index: 'message_last_delivery',
  },
  'sweep of timed-out deliveries': {
    text: 'select towpath.sweep_timed_out_deliveries($1, 20)',
    values: [queue],
    index: 'message_last_delivery',
    buffers: 600,
  },
  'ranges with expired messages': {
    text: 'select * from towpath.ranges_with_expired_messages()',
    index: 'message_pkey',
  },
  'sweep of expired messages': {
    text: 'select towpath.sweep_expired_messages($1, 0, 20)',
    values: [queue],
    index: 'message_pkey',
  },
  'queues with deltas': { text: 'select * from towpath.queues_with_message_deltas()', index: 'message_delta_pkey' },
  fold: { text: 'select towpath.fold_message_deltas($1, 20)', values: [queue], index: 'message_delta_pkey' },
  'repeats of a put': {
    text: `select * from towpath.find_repeats($1, '{a,b}', 'none', 'x')`,
    values: [queue],
    index: 'deduplication_pkey',
  },
  'deduplications to forget': { text: 'select towpath.deduplication_is_due()', index: 'deduplication_by_age' },
  'forget deduplications': { text: 'select towpath.forget_deduplications(20)', index: 'deduplication_by_age' },
  'forget old records': { text: 'select towpath.forget_old_records()' },
  redrive: {
    text: 'select towpath.run_work_request_step($1, 100)',
    values: [redrives.all],
    index: 'message_dead_letter',
    // Writes fifty messages into all indexes.
    buffers: 2500,
  },
  'redrive of some': {
    text: 'select towpath.run_work_request_step($1, 100)',
    values: [redrives.some],
    buffers: 1000,
  },
  'delete of dead letters': {
    text: 'select towpath.delete_dead_letters($1, 0, $2)',
    values: [queue, redrives.ids],
    buffers: 400,
  },
  'no work request': { text: `select towpath.run_work_request_step('none')` },
});

const STATISTICS: Readonly<Record<string, string>> = {
  'no statistics at all': `
    delete from pg_statistic where starelid in (select oid from pg_class where relnamespace = 'towpath'::regnamespace);
    update pg_class set reltuples = -1, relpages = 0, relallvisible = 0
    where relnamespace = 'towpath'::regnamespace and relkind in ('r', 'i')`,
  'statistics of a full queue':
    'analyze towpath.message; analyze towpath.message_delta; analyze towpath.queue; analyze towpath.deduplication',
  // A queue that was drained, vacuumed, and filled again into the pages that it had: the planner counts on one row.
  'statistics of a queue that was drained': `
    update pg_class set reltuples = 0, relpages = 100000
    where oid in ('towpath.message'::regclass, 'towpath.deduplication'::regclass)`,
  // One message per queue, so that naming the queue seems to leave one row.
  'statistics of many small queues': `
    update pg_statistic set stadistinct = -1, stakind1 = 0, stakind2 = 0, stakind3 = 0,
      stanumbers1 = null, stanumbers2 = null, stanumbers3 = null, stavalues1 = null, stavalues2 = null, stavalues3 = null
    where starelid = 'towpath.message'::regclass`,
  'statistics of a drained table with small queues, and none of its indexes': `
    update pg_class set reltuples = -1, relpages = 0
    where oid in (select indexrelid from pg_index where indrelid = 'towpath.message'::regclass);
    update pg_class set reltuples = 10 where oid = 'towpath.message'::regclass`,
};

/** Visible messages in the queue itself, 1,000 deltas, and what puts left; with all its indexes dropped for the time. */
async function fill(run: Run, queue: number): Promise<void> {
  const indexes = await run<{ name: string; definition: string }>(
    `select c.relname as name, pg_get_indexdef(c.oid) as definition
     from pg_index i join pg_class c on c.oid = i.indexrelid
     where i.indrelid = 'towpath.message'::regclass and not i.indisprimary`,
  );
  for (const { name } of indexes) await run(`drop index towpath.${name}`);
  await run('alter table towpath.message drop constraint message_pkey');
  await run(
    `insert into towpath.message (queue_id, id, visible_after, expire_after, created_at, size_in_bytes, body)
     select $1, nextval('towpath.message_id'), now() - interval '1 second', now() + interval '1 day', now(), 10, 'x'
     from generate_series(1, ${BACKLOG})`,
    [queue],
  );
  await run('alter table towpath.message add constraint message_pkey primary key (queue_id, consumer_group_id, id)');
  for (const { definition } of indexes) await run(definition);
  await run(
    `update towpath.message set dead_letter = true, dead_lettered_at = created_at where queue_id = $1 and id % ${DEAD_EVERY} = 0`,
    [queue],
  );
  await run(
    `insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
     select $1, 0, false, '', ${BACKLOG / 1000}, ${BACKLOG / 100} from generate_series(1, 1000)`,
    [queue],
  );
  // What is remembered of puts: half of it to be forgotten.
  await run(
    `insert into towpath.deduplication (queue_id, forget_after, key, request_digest, message_ids, expiries)
     select $1::bigint, now() + make_interval(secs => 100000 - g), 'id:' || g, null, '{1}'::bigint[], '{null}'::timestamptz[] from generate_series(1, ${REMEMBERED}) g
     union all select $1::bigint, now() + interval '1 day', 'token:' || g, 'd', '{1}', '{null}' from generate_series(1, 10) g`,
    [queue],
  );
}

const servers: readonly (readonly [string, string | undefined])[] = [
  ['PostgreSQL 18', undefined],
  ...(existsSync(OLD_SERVER) ? ([['PostgreSQL 15', OLD_SERVER]] as const) : []),
];
if (!existsSync(OLD_SERVER)) {
  process.stderr.write(`test/sql/plans: ${OLD_SERVER} is not there, so PostgreSQL 15 IS NOT TESTED\n`);
}

describe.each(servers)('on %s', (name, binDirectory) => {
  let server: EmbeddedPostgres;
  let directory: string;
  let watcher: PlanWatcher;
  let url: string;
  let queue: number;
  let held: number[];
  let things: Things;

  beforeAll(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'towpath-plans-'));
    server = await startEmbeddedPostgres({
      dataDirectory: directory,
      settings: {
        fsync: 'off',
        full_page_writes: 'off',
        autovacuum: 'off',
        shared_buffers: '512MB',
        max_wal_size: '8GB',
        maintenance_work_mem: '256MB',
        // Whoever turns JIT on must not see it here, though every disabled node costs more than its threshold.
        jit: 'on',
      },
      ...(binDirectory === undefined ? {} : { binDirectory }),
    });
    url = server.url.replace(
      /\/\/[^@]*@/,
      `//${new URL(server.superuserUrl).username}:${new URL(server.superuserUrl).password}@`,
    );
    await migrate(server.url, migrations, () => undefined);
    watcher = await PlanWatcher.open(url);
    const made = await makeQueue(watcher.run);
    queue = made.id;
    const groups = await makeGroups(watcher.run);
    await fill(watcher.run, queue);
    things = { groups, redrives: await makeRedrives(watcher.run, made) };
    // Delivered once, as the first ten of the backlog in every state below.
    const rows = await watcher.run<{ id: number }>('select id from towpath.get_messages($1, max_messages => 10)', [
      queue,
    ]);
    held = rows.map(({ id }) => id);
  }, 600_000);

  afterAll(async () => {
    await watcher?.close();
    await server?.stop();
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  });

  const expectCheap = (what: string, call: Call, cost: Cost, channels = 1): void => {
    if (process.env['TEST_PLANS'] === 'print') {
      process.stdout.write(
        `${name}; ${what}: ${cost.buffers} pages at most, ${cost.totalBuffers} together, ${cost.rows} rows, ${cost.milliseconds.toFixed(1)} ms, ${cost.indexes.join(' ')}\n`,
      );
    }
    const figures = { what, ...cost };
    expect(figures).toMatchObject({ what, badScans: [], jit: false });
    expect(cost.sortedRows).toBeLessThanOrEqual(50);
    // A queue is found by its id, not in a list of all.
    expect(cost.indexes.filter((index) => index.startsWith('queue_by_'))).toEqual([]);
    if (call.index !== undefined) expect(figures.indexes).toContain(call.index);
    const perChannel = call.everyChannel === true ? channels - 1 : 0;
    const allowed = { buffers: (call.buffers ?? 200) + 9 * perChannel, rows: (call.rows ?? 200) + 4 * perChannel };
    if (cost.buffers > allowed.buffers || cost.rows > allowed.rows)
      throw new Error(JSON.stringify({ ...figures, allowed }));
  };
  const expectAllCheap = async (what: string, by: PlanWatcher): Promise<void> => {
    for (const [label, call] of Object.entries(calls(queue, held, things))) {
      expectCheap(`${what}, ${label}`, call, await by.cost(call.text, call.values));
    }
  };

  it.each(Object.keys(STATISTICS))(
    'with %s',
    async (state) => {
      await watcher.run(STATISTICS[state] ?? '');
      // A session of its own, so that everything is planned now.
      const fresh = await PlanWatcher.open(url);
      try {
        await expectAllCheap(state, fresh);
      } finally {
        await fresh.close();
      }
    },
    300_000,
  );

  it('with plans made while there was nothing', async () => {
    // A small database of its own: what makes a million rows quick to insert would make the session plan anew.
    await watcher.run('create database early');
    const earlyUrl = new URL(url);
    earlyUrl.pathname = '/early';
    await migrate(earlyUrl.href, migrations, () => undefined);
    const early = await PlanWatcher.open(earlyUrl.href);
    try {
      const made = await makeQueue(early.run);
      const { id } = made;
      const none = { groups: await makeGroups(early.run), redrives: await makeRedrives(early.run, made) };
      await early.run('analyze');
      for (const call of Object.values(calls(id, Array(10).fill(0), none))) await early.cost(call.text, call.values, 2);
      await early.run(
        `insert into towpath.message (queue_id, id, visible_after, expire_after, created_at, size_in_bytes, body)
         select $1, nextval('towpath.message_id'), now(), now() + interval '1 day', now(), 10, 'x' from generate_series(1, 100000)`,
        [id],
      );
      // For the queries by id, of rows that lie deep in the table.
      const rows = await early.run<{ id: number }>('select id from towpath.get_messages($1, max_messages => 10)', [id]);
      for (const [label, call] of Object.entries(
        calls(
          id,
          rows.map((row) => row.id),
          none,
        ),
      )) {
        expectCheap(`planned while empty, ${label}`, call, await early.cost(call.text, call.values));
      }
    } finally {
      await early.close();
    }
  }, 300_000);

  it('with 100,000 in flight in front, expired ones, and timed-out last deliveries', async () => {
    // Nobody analyses what comes now.
    await watcher.run(
      `insert into towpath.message (queue_id, id, visible_after, expire_after, created_at, size_in_bytes, body, channel_id, delivery_count, receipt_number)
       select $1, nextval('towpath.message_id'), now() + interval '1 hour', now() + interval '1 day', now(), 10, 'x', 'c' || g % 256, 1, 1
       from generate_series(1, ${IN_FLIGHT}) g`,
      [queue],
    );
    // A channel of expired messages that nobody swept yet, and last deliveries that timed out.
    await watcher.run(
      `insert into towpath.message (queue_id, id, visible_after, expire_after, created_at, size_in_bytes, body, channel_id)
       select $1, nextval('towpath.message_id'), now() - interval '2 days', now() - interval '1 day', now() - interval '2 days', 10, 'x', 'd'
       from generate_series(1, 50000)`,
      [queue],
    );
    await watcher.run(
      `insert into towpath.message (queue_id, id, visible_after, expire_after, created_at, size_in_bytes, body, channel_id, delivery_count, delivery_limit)
       select $1, nextval('towpath.message_id'), now() - interval '1 second', now() + interval '1 day', now(), 10, 'x', 'e', 5, 5
       from generate_series(1, 50000)`,
      [queue],
    );
    // Dead letters before and after all of it.
    await watcher.run(
      `update towpath.message set dead_letter = true, dead_lettered_at = now()
       where queue_id = $1 and consumer_group_id = 0 and id in (11, 12, 13, 14, 15)`,
      [queue],
    );
    await watcher.run(
      `insert into towpath.message (queue_id, id, visible_after, expire_after, created_at, size_in_bytes, body, dead_letter, dead_lettered_at)
       select $1, nextval('towpath.message_id'), now(), now() + interval '1 day', now(), 10, 'x', true, now()
       from generate_series(1, 20)`,
      [queue],
    );
    const fresh = await PlanWatcher.open(url);
    try {
      for (const [label, call] of Object.entries(calls(queue, held, things))) {
        expectCheap(`100,000 in flight, ${label}`, call, await fresh.cost(call.text, call.values), 258);
      }
      const others: Record<string, Call> = {
        'get of a channel in flight': { text: `select * from towpath.get_messages($1, channel_id => 'c1')` },
        'get of an expired channel': { text: `select * from towpath.get_messages($1, channel_id => 'd')` },
        'next visible of it': { text: `select towpath.next_visible_after($1, 0, false, 'd')` },
        'peek of a channel in flight': { text: `select * from towpath.peek_messages($1, channel_id => 'c1')` },
        'peek of an expired channel': { text: `select * from towpath.peek_messages($1, channel_id => 'd')` },
        'peek of all dead letters': { text: 'select * from towpath.peek_messages($1, dead_letter => true)' },
        // From just after the queue itself, past 256 channels in flight and one that expired.
        'get past 256 channels': {
          text: 'select * from towpath.get_messages($1, max_messages => 10)',
          everyChannel: true,
        },
      };
      for (const [label, call] of Object.entries(others))
        expectCheap(label, call, await fresh.cost(call.text, [queue]), 258);
    } finally {
      await fresh.close();
    }
  }, 300_000);
});
