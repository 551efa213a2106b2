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

async function query<Row extends pg.QueryResultRow>(
  text: string,
  values: readonly unknown[] = [],
  url = server.url,
): Promise<Row[]> {
  const client = await connect(url);
  try {
    return (await client.query<Row>(text, [...values])).rows;
  } finally {
    await client.end();
  }
}

async function connect(url = server.url): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
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
});
afterAll(async () => {
  await server.stop();
  await rm(dataDirectory, { recursive: true, force: true, maxRetries: 5 });
});

const idsOf = async (text: string): Promise<string[]> => (await query<{ id: string }>(text)).map(({ id }) => id);
const rows = (): Promise<string[]> => idsOf('select b.id::text from business b order by b.id');
const messages = (): Promise<string[]> =>
  idsOf(`select convert_from(body, 'UTF8') as id from towpath.message order by convert_from(body, 'UTF8')::bigint`);

/** Commits a row and its message, then the next, until the server is gone. What was confirmed goes into `confirmed`. */
async function write(first: number, confirmed: string[]): Promise<void> {
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
    // The server is gone.
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Changes when the server recovers from the death of one of its processes. */
async function checkpointer(): Promise<number | undefined> {
  // Others are not told what each process is.
  const text = `select pid from pg_stat_activity where backend_type = 'checkpointer'`;
  const [row] = await query<{ pid: number }>(text, [], server.superuserUrl);
  return row?.pid;
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
    // Not before: a moment long the server may not have noticed, take a connection and end it with all the others.
    (before: number | undefined): Promise<void> =>
      until(
        async () => ![undefined, before].includes(await checkpointer().catch(() => undefined)),
        'the server has recovered',
        20_000,
      ),
  ],
])('%s is killed before the commit: neither is there', async (_, kill, recover) => {
  const before = await checkpointer();
  expect(before).toBeDefined();
  const client = await connect();
  const ended = new Promise((resolve) => client.once('end', resolve));
  const { rows: backend } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  await client.query('begin');
  await client.query('insert into business values (1)');
  await client.query(`select towpath.put_messages($1, '{1}')`, [queue.id]);
  await kill(backend[0]?.pid ?? 0);
  await ended;
  await recover(before);
  expect([await rows(), await messages()]).toEqual([[], []]);
});

it('a server that is killed at any time has both or neither, and both of what was confirmed', async () => {
  const confirmed: string[] = [];
  for (let round = 1; round <= ROUNDS; round += 1) {
    const written = Array.from({ length: WRITERS }, (): string[] => []);
    const writing = written.map((of, writer) => write((round * WRITERS + writer) * 1_000_000, of));
    await until(() => written.every((of) => of.length > 0), 'every writer is at it');
    await sleep(Math.random() * 300);
    process.kill(server.processId, 'SIGKILL');
    await Promise.all(writing);
    confirmed.push(...written.flat());
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
}, 300_000);
