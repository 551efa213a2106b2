// Whole lives of messages (put, get, delete) while somebody holds a snapshot of the database, as a long report or a forgotten psql does, so
// that vacuum cannot clean: the rate of each minute beside that of the first. Towpath, which begins to look where the oldest message
// is (its floors); our SQL functions without that; and pgmq. In slices in turn on one database, so that each has
// its minutes under the same snapshot, and only its own dead rows. Durable commits; everything on this machine.
//
//   npm run bench:snapshot             2 minutes for each, 16 clients, batches of 10, messages of 200 bytes
//   BENCH_MINUTES=10 BENCH_CLIENTS=64 BENCH_BATCH=20 BENCH_BYTES=2000 …
//   BENCH_PGMQ_SQL=pgmq.sql …        with pgmq too, from its SQL file (pgmq-extension/sql/pgmq.sql of its repository)
//   BENCH_ALONE=1 …                  Towpath only
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { startEmbeddedPostgres } from '../dist/embedded-postgres/embedded-postgres.js';
import { openTowpath } from './peers/http.mjs';
import { runSlice } from './peers/slice.mjs';
import { openDirectSql, openPgmq } from './peers/sql.mjs';
import { machine, median, say } from './support.mjs';

const CLIENTS = Number(process.env.BENCH_CLIENTS ?? 16);
const MINUTES = Number(process.env.BENCH_MINUTES ?? 2);
const BATCH = Number(process.env.BENCH_BATCH ?? 10);
const BYTES = Number(process.env.BENCH_BYTES ?? 200);
const PGMQ = process.env.BENCH_PGMQ_SQL;
const SLICE_MS = 2000;
const SLICES = 60_000 / SLICE_MS;
/** Before the snapshot: compilers and caches. */
const WARM_SLICES = 4;

const folder = await mkdtemp(path.join(tmpdir(), 'towpath-bench-'));
const server = await startEmbeddedPostgres({
  dataDirectory: path.join(folder, 'server'),
  settings: { max_wal_size: '8GB', max_connections: '300' },
});
const peers = [];
const reader = new pg.Client({ connectionString: server.url });
try {
  const own = { databaseUrl: server.url, dataDirectory: path.join(folder, 'pod') };
  peers.push(await openTowpath(own));
  if (process.env.BENCH_ALONE === undefined) {
    peers.push(await openDirectSql(own));
    if (PGMQ === undefined) say('pgmq is left out: BENCH_PGMQ_SQL is not the path of its SQL file');
    else peers.push(await openPgmq({ ...own, sqlFile: PGMQ }));
  }
  say(`${machine()}; ${CLIENTS} clients, batches of ${BATCH}, ${BYTES} bytes, ${MINUTES} minutes for each`);
  const sides = [];
  for (const peer of peers) {
    sides.push({ peer, clients: await peer.clients(CLIENTS, 'under-a-snapshot', BYTES), minutes: [], lives: 0 });
  }
  for (const { clients } of sides) await runSlice(clients, BATCH, WARM_SLICES * SLICE_MS);
  await reader.connect();
  await reader.query('begin isolation level repeatable read');
  await reader.query('select count(*) from towpath.queue');
  for (let minute = 1; minute <= MINUTES; minute += 1) await tellMinute(minute, sides);
  say(`at the end: ${machine()}`);
  for (const { peer, clients, minutes, lives } of sides) {
    say(`  ${peer.name}: ${lives} lives, minute ${MINUTES} / minute 1 ${(minutes.at(-1) / minutes[0]).toFixed(2)}`);
    for (const client of clients) client.close();
  }
} finally {
  await reader.end();
  for (const peer of peers) await peer.stop();
  await server.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}

/** The next minute of each. */
async function tellMinute(minute, sides) {
  const rates = sides.map(() => []);
  for (let slice = 0; slice < SLICES; slice += 1) {
    for (const [index, side] of sides.entries()) {
      const { lives, perSecond } = await runSlice(side.clients, BATCH, SLICE_MS);
      side.lives += lives;
      rates[index].push(perSecond);
    }
  }
  for (const [index, { minutes }] of sides.entries()) minutes.push(median(rates[index]));
  const told = sides.map(({ peer, minutes }) => `${peer.name} ${minutes.at(-1).toFixed(0)}`).join(', ');
  say(`  minute ${minute} of the snapshot, lives/s: ${told}`);
}
