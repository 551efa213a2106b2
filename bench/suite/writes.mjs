// What lives of messages write, as the server counts it: bytes of WAL, commits, dead tuples. These figures hardly depend on what else the machine
// does. Sessions tell their counts late, up to ten seconds after they have become idle, so each side is counted by itself, with a pause after it.
import pg from 'pg';

/** Sessions that are idle tell what they have counted after 10 seconds (PGSTAT_IDLE_INTERVAL). */
const TELLING_MS = 10_500;
/**
 * While it is counted there are no checkpoints, so that full-page images, which come with the first change of a page after
 * one, are few; and vacuum comes when it is called, so that each side has its own.
 */
const SETTINGS = { autovacuum: 'off', checkpoint_timeout: '1h' };

const COUNTERS = `
  select pg_current_wal_insert_lsn() - '0/0' as wal,
    (select wal_fpi from pg_stat_wal) as images,
    d.xact_commit + d.xact_rollback as commits, d.blks_hit + d.blks_read as buffers, t.*
  from pg_stat_database d,
    (select sum(n_dead_tup) as dead, sum(n_tup_upd) as updates, sum(n_tup_hot_upd) as hot from pg_stat_user_tables) t
  where d.datname = current_database()`;

export const WRITE_COLUMNS = ['WAL bytes', 'of vacuum', 'page images', 'commits', 'dead tuples', 'HOT', 'buffers'];

/**
 * What `run` of each side writes, one after another. `run` resolves to how many messages have lived; answered are the cells of
 * WRITE_COLUMNS per message, for each side. Takes a superuser, for the settings.
 */
export async function countWrites(superuserUrl, runs) {
  const client = new pg.Client({ connectionString: superuserUrl });
  await client.connect();
  try {
    for (const [name, value] of Object.entries(SETTINGS)) await client.query(`alter system set ${name} = '${value}'`);
    await client.query('select pg_reload_conf()');
    await client.query('checkpoint');
    // Touches the pages that will be used again, so that they have their full-page image behind them; what the first one has
    // emptied of an index the second one gives back.
    await walOfVacuum(client);
    await walOfVacuum(client);
    const cells = [];
    for (const run of runs) {
      const before = await counters(client);
      const lives = await run();
      const after = await counters(client);
      // What vacuum writes where there is nothing to do is not of the lives: it looks at all tables, the catalog's too.
      const cleaning = (await walOfVacuum(client)) - (await walOfVacuum(client));
      cells.push(cellsOf(before, after, cleaning, lives));
    }
    return cells;
  } finally {
    for (const name of Object.keys(SETTINGS)) await client.query(`alter system reset ${name}`);
    await client.query('select pg_reload_conf()');
    await client.end();
  }
}

async function counters(client) {
  await new Promise((resolve) => setTimeout(resolve, TELLING_MS));
  // Not kept from one look to the next, and this session's own counts are told at once.
  await client.query('select pg_stat_clear_snapshot(), pg_stat_force_next_flush()');
  const { rows } = await client.query(COUNTERS);
  return Object.fromEntries(Object.entries(rows[0]).map(([name, value]) => [name, Number(value)]));
}

async function walOfVacuum(client) {
  const wal = async () => Number((await client.query(`select pg_current_wal_insert_lsn() - '0/0' as wal`)).rows[0].wal);
  const before = await wal();
  await client.query('vacuum');
  return (await wal()) - before;
}

function cellsOf(before, after, cleaning, lives) {
  const per = (name) => (after[name] - before[name]) / lives;
  const updates = after.updates - before.updates;
  return [
    per('wal').toFixed(0),
    (cleaning / lives).toFixed(0),
    per('images').toFixed(3),
    per('commits').toFixed(per('commits') < 0.1 ? 3 : 2),
    per('dead').toFixed(2),
    updates === 0 ? '' : `${(((after.hot - before.hot) / updates) * 100).toFixed(0)} %`,
    per('buffers').toFixed(0),
  ];
}
