// getStats of a queue with a backlog against an empty queue, in one run: it must cost the same however many messages
// wait. Calls of the two alternate, so that whatever else the machine does meets both. Ends by itself.
//
//   npm run bench:stats              1,000,000 messages of 200 bytes on an embedded server of its own
//   BENCH_MESSAGES=100000 …          another backlog
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';
import 'reflect-metadata';
import { Database } from '../dist/database/database.js';
import { MessageFunctions } from '../dist/database/message-functions.js';
import { migrate } from '../dist/database/migrator.js';
import { startEmbeddedPostgres } from '../dist/embedded-postgres/embedded-postgres.js';

const MESSAGES = Number(process.env.BENCH_MESSAGES ?? 1_000_000);
const BATCH = 2000;
const BYTES = 200;
const CALLS = 500;

const say = (line) => process.stdout.write(`${line}\n`);
const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? NaN;
const percentile = (numbers, share) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length * share)] ?? NaN;

const dataDirectory = await mkdtemp(path.join(tmpdir(), 'towpath-bench-'));
// Filling is not what is measured, so it need not wait for the disk.
const server = await startEmbeddedPostgres({ dataDirectory, settings: { fsync: 'off', max_wal_size: '8GB' } });
const database = new Database(server.url, 4, 3000, () => undefined);
try {
  await migrate(server.url, path.resolve(import.meta.dirname, '../migrations'), () => undefined);
  const functions = new MessageFunctions(database);
  const [backlog, empty] = [await makeQueue('backlog'), await makeQueue('empty')];
  await fill(functions, backlog);
  await conditions();
  await compare('changes not folded yet', functions, backlog, empty);
  while ((await value('select towpath.fold_message_deltas($1) as value', [backlog])) > 0);
  await compare('totals folded', functions, backlog, empty);
} finally {
  await database.close();
  await server.stop();
  await rm(dataDirectory, { recursive: true, force: true, maxRetries: 5 });
}

async function value(text, values = []) {
  const [row] = await database.run({ name: text.slice(0, 60), text }, values);
  return row?.value;
}

async function makeQueue(name) {
  return value(
    `select (towpath.create_queue(t.id, jsonb_build_object('displayName', $1::text, 'compartmentId', t.id))).queue_id as value
     from towpath.create_tenancy($1) t`,
    [name],
  );
}

async function fill(functions, queueId) {
  const message = {
    content: Buffer.alloc(BYTES, 'x'),
    channelId: '',
    properties: null,
    delayInSeconds: 0,
    sizeInBytes: BYTES,
  };
  const batch = Array.from({ length: BATCH }, () => message);
  const start = performance.now();
  for (let put = 0; put < MESSAGES; put += BATCH) await functions.put(queueId, batch.slice(0, MESSAGES - put), 256);
  say(
    `put ${MESSAGES} messages of ${BYTES} bytes in ${((performance.now() - start) / 1000).toFixed(1)} s, ${BATCH} at a time`,
  );
}

async function conditions() {
  const version = await value(`select current_setting('server_version') as value`);
  const load = loadavg().map((figure) => figure.toFixed(1));
  say(
    `PostgreSQL ${version} embedded, Node ${process.version}, ${availableParallelism()} x ${cpus()[0]?.model ?? 'unknown'}, load ${load.join(' ')}`,
  );
  say('client and server on this machine, one connection at a time, prepared statements, no analyze by us');
}

async function compare(what, functions, backlog, empty) {
  const times = { backlog: [], empty: [] };
  for (let call = 0; call < CALLS + 50; call += 1) {
    for (const [name, queueId] of Object.entries({ backlog, empty })) {
      const start = performance.now();
      const stats = await functions.stats(queueId, 0, null);
      const took = performance.now() - start;
      const expected = name === 'backlog' ? MESSAGES : 0;
      if (stats.queue.visibleMessages !== expected) throw new Error(`${name}: ${JSON.stringify(stats)}`);
      // The first calls plan and fill caches.
      if (call >= 50) times[name].push(took);
    }
  }
  const figures = (numbers) =>
    `median ${median(numbers).toFixed(3)} ms, p99 ${percentile(numbers, 0.99).toFixed(3)} ms`;
  say(`\n${what}, ${CALLS} calls each`);
  say(`  ${MESSAGES} messages: ${figures(times.backlog)}`);
  say(`  empty queue: ${figures(times.empty)}`);
  say(`  ratio of the medians: ${(median(times.backlog) / median(times.empty)).toFixed(2)}`);
}
