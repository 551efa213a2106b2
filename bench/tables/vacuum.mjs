// What vacuum and analyze cost, and what it costs to wait for them: without autovacuum, so that the number of dead rows is known.
import { compare, sealed, table, unsealed } from './trial.mjs';
import { say } from '../support.mjs';

const BATCH = 200;
/** How autovacuum goes by default: PostgreSQL's own settings for it. */
const AUTOVACUUM_DELAY = `set vacuum_cost_delay = '2ms'; set vacuum_cost_limit = 200`;

const collect = (names, target) =>
  names.map((name) => `alter table towpath.message alter column ${name} set statistics ${target};`).join('\n');

export const vacuum = {
  name: 'vacuum',
  run: async (trials, { quick }) => {
    say('\nvacuum of message: bodies of 200 bytes');
    const rows = [];
    for (const waiting of [0, quick ? 50_000 : 200_000]) {
      const trial = await trials.trial();
      await fill(trial, waiting);
      for (const lives of [500, 5000, quick ? 10_000 : 25_000]) rows.push(await ofLives(trial, waiting, lives));
      await trial.drop();
    }
    table([
      [
        'waiting',
        'lived since the last',
        'buffers of a get of 20',
        'after vacuum',
        'heap and indexes kB',
        'WAL of vacuum / life',
        'µs of vacuum / life',
        'ms of vacuum',
        'slowed down: s',
      ],
      ...rows,
    ]);
    await deltas(trials, quick);
    const columns = { 'analyze ms': 0, 'values in pg_stats': 0 };
    const all = collect(['body', 'properties', 'delivery_history'], -1);
    for (const bytes of [200, 1000]) {
      await compare(trials, {
        title: `analyze of message, ${quick ? 10_000 : 40_000} messages of ${bytes} bytes, unsealed`,
        variants: {
          'as PostgreSQL does': all,
          'without body': all + collect(['body'], 0),
          'without body, properties, history': collect(['body', 'properties', 'delivery_history'], 0),
        },
        rounds: quick ? 1 : 3,
        measure: async (trial) => {
          await fill(trial, quick ? 10_000 : 40_000, unsealed(bytes));
          const { ms } = await trial.taken(() => trial.client.query('analyze towpath.message'));
          const [{ values }] = await trial.run(
            'values',
            `select coalesce(sum(cardinality(histogram_bounds::text::text[])), 0) as values from pg_stats
             where schemaname = 'towpath' and tablename = 'message' and attname = 'body'`,
          );
          return { 'analyze ms': ms, 'values in pg_stats': Number(values) };
        },
        columns,
      });
    }
  },
};

export async function fill(trial, waiting, body = sealed(200)) {
  for (let n = 0; n < waiting; n += 1000) await trial.put(1000, body);
  await trial.client.query('vacuum towpath.message');
}

async function live(trial, lives, body = sealed(200)) {
  for (let n = 0; n < lives; n += BATCH) {
    await trial.put(BATCH, body);
    await trial.remove(await trial.get(BATCH));
  }
}

async function ofLives(trial, waiting, lives) {
  await live(trial, lives);
  const before = await buffersOfGet(trial);
  const { heap, indexes } = await trial.counters();
  const { ms, wal } = await trial.taken(() => trial.client.query('vacuum towpath.message'));
  const after = await buffersOfGet(trial);
  await live(trial, lives);
  await trial.client.query(AUTOVACUUM_DELAY);
  const start = performance.now();
  await trial.client.query('vacuum towpath.message');
  const slow = (performance.now() - start) / 1000;
  await trial.client.query('reset vacuum_cost_delay; reset vacuum_cost_limit');
  return [
    String(waiting),
    String(lives),
    String(before),
    String(after),
    ((heap + indexes) / 1024).toFixed(0),
    (wal / lives).toFixed(0),
    ((ms / lives) * 1000).toFixed(1),
    String(ms),
    slow.toFixed(1),
  ];
}

/** Of the second one, since the first marks what it finds dead; undone. */
async function buffersOfGet({ client, queue, put }) {
  await put(20, sealed(200));
  const buffers = [];
  for (let n = 0; n < 2; n += 1) {
    await client.query('begin');
    const { rows } = await client.query(
      `explain (analyze, buffers, format json) select id from towpath.get_messages(${queue}, channel_id => '', max_messages => 20)`,
    );
    const { Plan: plan } = rows[0]['QUERY PLAN'][0];
    buffers.push(plan['Shared Hit Blocks'] + plan['Shared Read Blocks']);
    await client.query('rollback');
  }
  return buffers[1];
}

/** Changes that were folded and are dead: what the look for work of the maintenance reads then. */
async function deltas(trials, quick) {
  say('\nmessage_delta: buffers of queues_with_message_deltas in front of dead rows');
  const rows = [];
  const trial = await trials.trial();
  const buffers = async () => {
    const { rows: found } = await trial.client.query(
      'explain (analyze, buffers, format json) select * from towpath.queues_with_message_deltas()',
    );
    return String(found[0]['QUERY PLAN'][0].Plan['Shared Hit Blocks']);
  };
  for (const dead of quick ? [2000, 20_000] : [2000, 20_000, 100_000]) {
    await trial.client.query(
      `insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
       select ${trial.queue}, 0, false, '', 1, 1 from generate_series(1, ${dead})`,
    );
    for (let left = dead; left > 0; left -= 5000)
      await trial.run('fold', 'select towpath.fold_message_deltas($1, 5000)', [trial.queue]);
    await buffers();
    const before = await buffers();
    const { ms } = await trial.taken(() => trial.client.query('vacuum towpath.message_delta'));
    await buffers();
    rows.push([String(dead), before, await buffers(), String(ms)]);
  }
  await trial.drop();
  table([['dead', 'buffers', 'after vacuum', 'ms of vacuum'], ...rows]);
}
