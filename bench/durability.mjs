// What a queue gains that is RELAXED, where puts and deletions are confirmed before they are on disk: puts alone, and whole lives of
// messages (put, get, delete), over HTTP on one pod, on a FULL queue and on a RELAXED one. Slices of the two take turns, so that whatever
// else the machine does meets both; the ratio is the median of those of each pair. Ends by itself, in less than two minutes.
//
//   npm run bench:durability         1 client and 64, messages of 200 bytes, one per request
//   BENCH_CLIENTS=1,16 BENCH_ROUNDS=9 BENCH_SLICE_MS=2000 BENCH_BYTES=2000 BENCH_BATCH=20 …
//
// How much it is depends on the disk: on how long it takes to make a commit durable, which is told first.
import { rm } from 'node:fs/promises';
import { loadavg } from 'node:os';
import path from 'node:path';
import { Database } from '../dist/database/database.js';
import { startEmbeddedPostgres } from '../dist/embedded-postgres/embedded-postgres.js';
import { openTowpath } from './peers/http.mjs';
import { runSlice } from './peers/slice.mjs';
import { figures, machine, makeFolder, median, percentile, say } from './support.mjs';

const CLIENTS = (process.env.BENCH_CLIENTS ?? '1,64').split(',').map(Number);
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 7);
const SLICE_MS = Number(process.env.BENCH_SLICE_MS ?? 1000);
const WARM_MS = Number(process.env.BENCH_WARM_MS ?? 4000);
const BYTES = Number(process.env.BENCH_BYTES ?? 200);
const BATCH = Number(process.env.BENCH_BATCH ?? 1);
const COMMITS = 200;

const folder = await makeFolder();
const server = await startEmbeddedPostgres({
  dataDirectory: path.join(folder, 'server'),
  settings: { max_wal_size: '8GB' },
});
let towpath;
try {
  say(`${machine()}; messages of ${BYTES} bytes, ${BATCH} per request, slices of ${SLICE_MS} ms`);
  await tellCommits();
  towpath = await openTowpath({ databaseUrl: server.url, dataDirectory: path.join(folder, 'pod') });
  for (const count of CLIENTS) for (const kind of ['put', 'live']) await compare(count, kind);
} finally {
  await towpath?.stop();
  await server.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}

async function tellCommits() {
  const database = new Database(server.url, 1, 3000, () => undefined);
  const run = (name, text) => database.run({ name, text }, []);
  await run('make committed', 'create table committed (n integer)');
  const times = { on: [], off: [] };
  for (let n = 0; n < COMMITS; n += 1) {
    for (const setting of ['on', 'off']) {
      const start = performance.now();
      await run(setting, `insert into committed select 1 from set_config('synchronous_commit', '${setting}', true)`);
      times[setting].push(performance.now() - start);
    }
  }
  await database.close();
  say(`a commit that waits for the disk: ${figures(times.on)}; one that does not: ${figures(times.off)}`);
}

async function compare(count, kind) {
  const sides = [];
  for (const durability of ['FULL', 'RELAXED']) {
    const clients = await towpath.clients(count, `${durability}-${kind}-${count}`, BYTES, { durability });
    sides.push({ durability, clients, perSecond: [], times: [] });
  }
  for (const side of sides) for (let ms = 0; ms < WARM_MS; ms += SLICE_MS) await slice(side, kind);
  for (const side of sides) Object.assign(side, { perSecond: [], times: [] });
  for (let round = 0; round < ROUNDS; round += 1) for (const side of sides) await slice(side, kind);
  const [full, relaxed] = sides;
  const ratios = relaxed.perSecond.map((rate, index) => rate / full.perSecond[index]);
  say(
    `${kind === 'put' ? 'puts' : 'lives'}, ${count} client${count === 1 ? '' : 's'} (load ${loadavg()[0].toFixed(1)})`,
  );
  for (const { durability, clients, perSecond, times } of sides) {
    say(
      `  ${durability.padEnd(8)} ${median(perSecond).toFixed(0)} per second, p50 ${median(times).toFixed(2)} ms, p99 ${percentile(times, 0.99).toFixed(2)} ms`,
    );
    for (const client of clients) client.close();
  }
  say(
    `  ratio ${median(ratios).toFixed(2)}, from ${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`,
  );
}

async function slice(side, kind) {
  const clients = side.clients.map((client) => ({ live: client[kind] }));
  const { times, perSecond } = await runSlice(clients, BATCH, SLICE_MS);
  side.perSecond.push(perSecond);
  side.times.push(...times);
}
