// Whole lives of messages (put, get, delete) of Towpath and its peers, in slices in turn on one database, each peer in a process of its
// own: rates, processor time, and ratios (medians of those of each round). Durable commits; client, peers and server on this machine.
//
//   npm run bench:lifecycles         64 clients, messages of 200 bytes, one at a time and in batches of 20; less than two minutes
//   BENCH_CLIENTS=256 BENCH_ROUNDS=9 BENCH_SLICE_MS=2000 BENCH_BYTES=2000 BENCH_BATCHES=1 BENCH_WARM_MS=20000 …
//   BENCH_PGMQ_SQL=pgmq.sql …      with pgmq too, from its SQL file (pgmq-extension/sql/pgmq.sql of its repository)
//   BENCH_ALONE=1 BENCH_NODE_OPTIONS='--cpu-prof --cpu-prof-dir=/tmp/profiles' …      Towpath only, with a profile of the pod
//
// Processor time per life says more than rates where other work shares the machine.
import { mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import path from 'node:path';
import { startEmbeddedPostgres } from '../dist/embedded-postgres/embedded-postgres.js';
import { openBareServer, openTowpath } from './peers/http.mjs';
import { runSlice } from './peers/slice.mjs';
import { openDirectSql, openPgmq } from './peers/sql.mjs';
import { serverProcessorMs } from './processor-time.mjs';
import { machine, median, percentile, say } from './support.mjs';

const CLIENTS = Number(process.env.BENCH_CLIENTS ?? 64);
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
const SLICE_MS = Number(process.env.BENCH_SLICE_MS ?? 1000);
const WARM_MS = Number(process.env.BENCH_WARM_MS ?? 10_000);
/** pgmq's SQL file. */
const PGMQ = process.env.BENCH_PGMQ_SQL;
const BYTES = Number(process.env.BENCH_BYTES ?? 200);

const folder = await mkdtemp(path.join(tmpdir(), 'towpath-bench-'));
const server = await startEmbeddedPostgres({
  dataDirectory: path.join(folder, 'server'),
  settings: { max_wal_size: '8GB', max_connections: '300' },
});
const peers = [];
try {
  const own = { databaseUrl: server.url, dataDirectory: path.join(folder, 'pod') };
  peers.push(await openTowpath(own));
  if (process.env.BENCH_ALONE === undefined) peers.push(await openBareServer(own), await openDirectSql(own));
  if (PGMQ === undefined) say('pgmq is left out: BENCH_PGMQ_SQL is not the path of its SQL file');
  else peers.push(await openPgmq({ ...own, sqlFile: PGMQ }));
  say(`${machine()}; ${CLIENTS} clients, ${BYTES} bytes, slices of ${SLICE_MS} ms`);
  for (const batch of (process.env.BENCH_BATCHES ?? '1,20').split(',').map(Number)) await compare(batch);
} finally {
  for (const peer of peers) await peer.stop();
  await server.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}

async function compare(batch) {
  const sides = [];
  for (const peer of peers) {
    const clients = await peer.clients(CLIENTS, `batches-of-${batch}`, BYTES);
    sides.push({ peer, clients, perSecond: [], times: [], lives: 0, cpu: 0, serverCpu: 0, clientCpu: 0 });
  }
  // Compilers take tens of thousands of requests until they have done what they can.
  for (const side of sides) for (let ms = 0; ms < WARM_MS; ms += SLICE_MS) await slice(side, batch);
  for (const side of sides)
    Object.assign(side, { perSecond: [], times: [], lives: 0, cpu: 0, serverCpu: 0, clientCpu: 0 });
  for (let round = 0; round < ROUNDS; round += 1) for (const side of sides) await slice(side, batch);
  say(`batches of ${batch} (load ${loadavg()[0].toFixed(1)})`);
  const [first] = sides;
  for (const side of sides) {
    const ratios = first.perSecond.map((rate, index) => rate / side.perSecond[index]);
    say(
      `  ${side.peer.name.padEnd(12)} ${median(side.perSecond).toFixed(0)} lives/s, p50 ${median(side.times).toFixed(1)} ms, ` +
        `p99 ${percentile(side.times, 0.99).toFixed(1)} ms, µs of processors per life: ${per(side.cpu, side)} its own, ${per(side.serverCpu, side)} PostgreSQL, ${per(side.clientCpu, side)} client; ` +
        `ratio ${median(ratios).toFixed(2)}`,
    );
    for (const client of side.clients) client.close();
  }
}

async function slice(side, batch) {
  const cpu = side.peer.cpuMs?.() ?? 0;
  const serverCpu = serverProcessorMs(server.processId);
  const clientCpu = process.cpuUsage();
  const { lives, times, perSecond } = await runSlice(side.clients, batch, SLICE_MS);
  side.perSecond.push(perSecond);
  side.times.push(...times);
  side.lives += lives;
  side.cpu += (side.peer.cpuMs?.() ?? 0) - cpu;
  side.serverCpu += serverProcessorMs(server.processId) - serverCpu;
  const { user, system } = process.cpuUsage(clientCpu);
  side.clientCpu += (user + system) / 1000;
}

function per(ms, { lives }) {
  return ((ms / lives) * 1000).toFixed(0);
}
