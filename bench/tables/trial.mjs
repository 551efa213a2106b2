// A database per trial, made anew from one that has the schema, so that no trial inherits what another has left; lives of messages in it by our SQL
// functions in one session; and what the server counts of them. Autovacuum is off and there are no checkpoints unless a trial says so, nothing waits
// for the disk: bytes, pages, row versions and processor time are what is compared, which other work on the machine does not change.
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import { migrate } from '../../dist/database/migrator.js';
import { startEmbeddedPostgres } from '../../dist/embedded-postgres/embedded-postgres.js';
import { processorMsOf } from '../processor-time.mjs';
import { makeFolder, median, say } from '../support.mjs';

const SETTINGS = { autovacuum: 'off', checkpoint_timeout: '1h', max_wal_size: '16GB', fsync: 'off' };
const TEMPLATE = 'towpath';

/** Counts of the messages table and of the server. `wal` and `images` are the server's, which has nothing else to do. */
const COUNTERS = `
  select pg_current_wal_insert_lsn() - '0/0' as wal, (select wal_fpi from pg_stat_wal) as images,
    s.n_tup_upd as updates, s.n_tup_hot_upd as hot, s.n_tup_newpage_upd as elsewhere, s.n_dead_tup as dead,
    pg_relation_size(s.relid) as heap, pg_indexes_size(s.relid) as indexes,
    coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0) as toast
  from pg_stat_user_tables s
  join pg_class c on c.oid = s.relid
  where s.relid = $1::regclass`;

/** The server of all trials. `trial(sql)` makes a database and runs `sql` in it as the owner of the tables; see openTrial. */
export async function openTrials() {
  const folder = await makeFolder();
  const server = await startEmbeddedPostgres({ dataDirectory: folder, settings: SETTINGS });
  await migrate(server.url, path.resolve(import.meta.dirname, '../../migrations'), () => undefined);
  const main = new pg.Client({ connectionString: server.superuserUrl });
  await main.connect();
  const urlOf = (database, url = server.superuserUrl) => Object.assign(new URL(url), { pathname: `/${database}` }).href;
  const template = new pg.Client({ connectionString: urlOf(TEMPLATE, server.url) });
  await template.connect();
  await template.query(
    `select towpath.create_queue(t.id, jsonb_build_object('displayName', 'trial', 'compartmentId', t.id))
     from towpath.create_tenancy('trial') t`,
  );
  await template.end();
  let trials = 0;
  return {
    main,
    trial: async (sql = '') => {
      const name = `trial_${(trials += 1)}`;
      await main.query(`create database ${name} template ${TEMPLATE} owner towpath`);
      const trial = await openTrial(urlOf(name), sql);
      return {
        ...trial,
        url: urlOf(name, server.url),
        drop: async () => {
          await trial.close();
          await main.query(`drop database ${name} with (force)`);
        },
      };
    },
    close: async () => {
      await main.end();
      await server.stop();
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

const numbers = (row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, Number(value)]));

/** A session: `run` a statement by name, `counters` of a table, `cpuMs` and `wal` of what was done, and lives of messages. */
async function openTrial(url, sql) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(sql).catch(async (error) => {
    await client.end();
    throw error;
  });
  const run = async (name, text, values = []) => (await client.query({ name, text, values })).rows;
  const [{ pid }] = await run('pid', 'select pg_backend_pid() as pid');
  const [{ id: queue }] = await run('queue', 'select id from towpath.queue');
  const counters = async (name = 'towpath.message') => {
    await client.query('select pg_stat_clear_snapshot(), pg_stat_force_next_flush()');
    return numbers((await run('counters', COUNTERS, [name]))[0]);
  };
  const wal = async () => Number((await run('wal', `select pg_current_wal_insert_lsn() - '0/0' as wal`))[0].wal);
  return {
    client,
    queue,
    run,
    counters,
    wal,
    /** What `act` takes: bytes of WAL, and milliseconds of this session's processor time (in ticks of 10). */
    taken: async (act) => {
      const before = { wal: await wal(), ms: processorMsOf(pid) };
      await act();
      return { ms: processorMsOf(pid) - before.ms, wal: (await wal()) - before.wal };
    },
    /** `content` makes a body; channels take turns where there are several. */
    put: (count, content, channels = 1) => {
      const bodies = Array.from({ length: count }, content);
      const all = (value) => bodies.map(() => value);
      return run('put', 'select from towpath.put_sealed_messages($1, $2, $3, $4, $5, $6, $7)', [
        queue,
        Buffer.concat(bodies),
        bodies.map(({ length }) => length),
        bodies.map((_, index) => (channels === 1 ? '' : `channel-${index % channels}`)),
        ...[null, 0].map(all),
        bodies.map(({ length }) => length),
      ]);
    },
    /** Bodies are not sent, but fetched and decompressed, as they are for an answer. */
    get: (count, columns = 'id, receipt_number, get_byte(body, 0) as first') =>
      run(
        `get ${columns}`,
        `select ${columns} from towpath.get_messages($1, channel_id => '', max_messages => $2, max_bytes => 2000000000)`,
        [queue, count],
      ),
    remove: (found) =>
      run('delete', 'select from towpath.delete_messages($1, 0, false, $2, $3)', [
        queue,
        found.map(({ id }) => id),
        found.map(({ receipt_number: number }) => number),
      ]),
    close: () => client.end(),
  };
}

/** Bytes as sealing leaves them: nothing in them can be compressed. */
export const sealed = (bytes) => () => randomBytes(bytes);

/** JSON as a queue has it that takes messages unsealed: each another, a quarter of its bytes is left of it by pglz. */
export const unsealed = (bytes) => () => {
  let text = '';
  while (text.length < bytes) {
    text += JSON.stringify({
      orderId: randomBytes(6).toString('hex'),
      customer: { name: 'Ada Lovelace', country: 'GB', tier: 'gold' },
      lines: [{ article: 'towel', quantity: 2, price: '12.50', currency: 'EUR' }],
    });
  }
  return Buffer.from(text.slice(0, bytes));
};

/**
 * Measures variants against each other: `measure(trial)` for each in a database of its own, `rounds` times in turn, medians of
 * each figure it returns, and in brackets the ratio to the first variant. `variants` are statements by name.
 */
export async function compare({ trial: open }, { title, variants, rounds, measure, columns }) {
  const found = Object.keys(variants).map(() => []);
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, sql] of Object.values(variants).entries()) {
      const trial = await open(sql);
      try {
        found[index].push(await measure(trial));
      } finally {
        await trial.drop();
      }
    }
  }
  const of = (index, column) => median(found[index].map((figures) => figures[column]).filter((n) => n !== undefined));
  const rows = Object.keys(variants).map((name, index) => [
    name,
    ...Object.entries(columns).map(([column, digits]) => {
      const value = of(index, column);
      const ratio = value / of(0, column);
      return `${value.toFixed(digits)}${index === 0 || !Number.isFinite(ratio) ? '' : ` (${ratio.toFixed(2)})`}`;
    }),
  ]);
  say(`\n${title}${rounds > 1 ? `, medians of ${rounds} rounds` : ''}`);
  table([['', ...Object.keys(columns)], ...rows]);
}

/** The first column to the left, all others to the right. */
export function table(rows) {
  const widths = rows[0].map((_, index) => Math.max(...rows.map((row) => row[index].length)));
  for (const row of rows) {
    say(`  ${row.map((cell, n) => (n === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[n]))).join('   ')}`);
  }
}
