import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { migrate } from '../../src/database/migrator.js';
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../src/embedded-postgres/embedded-postgres.js';
import { until } from '../pods/support.js';
import { makeQueue, type Queue } from '../sql/support.js';

// A message and a business row in one transaction, and the server killed in the middle of it.

const ROUNDS = 4;
const WRITERS = 4;

let server: EmbeddedPostgres;
let dataDirectory: string;
let queue: Queue;

async function query<Row extends pg.QueryResultRow>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
  const client = await connect();
  try {
    return (await client.query<Row>(text, [...values])).rows;
  } finally {
    await client.end();
  }
}

async function connect(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: server.url });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

beforeAll(async () => {
  dataDirectory = await mkdtemp(path.join(tmpdir(), 'towpath-sql-outage-'));
  // Durable against the end of its processes; only the machine must not fall over.
  server = await startEmbeddedPostgres({ dataDirectory, settings: { fsync: 'off' } });
  await migrate(server.url, path.resolve(import.meta.dirname, '../../migrations'), () => undefined);
  await query('create table business (id bigint primary key)');
  queue = await makeQueue(query);
}, 60_000);
afterAll(async () => {
  await server.stop();
  await rm(dataDirectory, { recursive: true, force: true, maxRetries: 5 });
});

const idsOf = async (text: string): Promise<string[]> => (await query<{ id: string }>(text)).map(({ id }) => id);
const rows = (): Promise<string[]> => idsOf('select b.id::text from business b order by b.id');
const messages = (): Promise<string[]> =>
  idsOf(`select convert_from(body, 'UTF8') as id from towpath.message order by convert_from(body, 'UTF8')::bigint`);

/** Commits a row and its message, then the next, until the server is gone. Returns what was confirmed. */
async function write(first: number): Promise<string[]> {
  const confirmed: string[] = [];
  const client = await connect();
  try {
    for (let id = first; ; id += 1) {
      await client.query('begin');
      await client.query('insert into business values ($1)', [id]);
      await client.query('select towpath.put_messages($1, array[$2::text])', [queue.id, String(id)]);
      await client.query('commit');
      confirmed.push(String(id));
    }
  } catch {
    return confirmed;
  } finally {
    await client.end().catch(() => undefined);
  }
}

it.each([
  [
    'the server',
    async (): Promise<void> => {
      process.kill(server.processId, 'SIGKILL');
    },
    (): Promise<void> => server.restart(),
  ],
  [
    'the backend of the transaction',
    async (pid: number): Promise<void> => {
      process.kill(pid, 'SIGKILL');
    },
    (): Promise<void> => until(() => query('select 1').catch(() => null), 'the server has recovered'),
  ],
])(
  '%s is killed before the commit: neither is there',
  async (_, kill, recover) => {
    const client = await connect();
    const ended = new Promise((resolve) => client.once('end', resolve));
    const { rows: backend } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
    await client.query('begin');
    await client.query('insert into business values (1)');
    await client.query(`select towpath.put_messages($1, '{1}')`, [queue.id]);
    await kill(backend[0]?.pid ?? 0);
    await ended;
    await recover();
    expect([await rows(), await messages()]).toEqual([[], []]);
  },
  60_000,
);

it('a server that is killed at any time has both or neither, and both of what was confirmed', async () => {
  const confirmed: string[] = [];
  for (let round = 1; round <= ROUNDS; round += 1) {
    const writing = Array.from({ length: WRITERS }, (_, writer) => write((round * WRITERS + writer) * 1_000_000));
    await sleep(300 + Math.random() * 300);
    process.kill(server.processId, 'SIGKILL');
    confirmed.push(...(await Promise.all(writing)).flat());
    await server.restart();
    const stored = await messages();
    expect(stored).toEqual(await rows());
    const known = new Set(stored);
    expect(confirmed.filter((id) => !known.has(id))).toEqual([]);
  }
  expect(confirmed.length).toBeGreaterThan(ROUNDS);
  const [stats] = await query<{ visible_messages: string }>('select visible_messages from towpath.get_stats($1)', [
    queue.id,
  ]);
  expect(Number(stats?.visible_messages)).toBe((await messages()).length);
}, 120_000);
