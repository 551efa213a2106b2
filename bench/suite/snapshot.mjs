// Whole lives of messages while somebody holds a snapshot of the database, as a long report or a forgotten psql does, so that vacuum cannot
// clean: the rate of each minute beside that of the first. Towpath, which begins to look where the oldest message is (its floors); our SQL
// functions without that; and pgmq. In slices in turn on one database, so that each has its minutes under the same snapshot, and its own
// dead rows only.
import pg from 'pg';
import { openTowpath } from '../peers/http.mjs';
import { runSlice } from '../peers/slice.mjs';
import { openDirectSql, openPgmq } from '../peers/sql.mjs';
import { median } from '../support.mjs';
import { withServer } from './server.mjs';

const CLIENTS = 16;
const BATCH = 10;
const BYTES = 200;
const SLICE_MS = 2000;
const SLICES_PER_MINUTE = 30;
/** A quick run has minutes of three seconds. */
const QUICK_SLICE_MS = 1000;
const QUICK_SLICES = 3;
const WARM_MS = 8000;
const AIM = 0.9;

export const snapshot = {
  name: 'snapshot',
  title: `Lives of messages under a held snapshot, batches of ${BATCH}, ${CLIENTS} clients`,
  run: (options) => withServer((server) => measure(server, options)),
};

async function measure(server, { quick, minutes = quick ? 2 : 10, pgmqSql, alone, progress }) {
  const peers = [await server.open(openTowpath(server))];
  if (!alone) {
    peers.push(await server.open(openDirectSql(server)));
    if (pgmqSql !== undefined) peers.push(await server.open(openPgmq({ ...server, sqlFile: pgmqSql })));
  }
  const sides = [];
  for (const peer of peers) {
    sides.push({ peer, clients: await peer.clients(CLIENTS, 'under-a-snapshot', BYTES), perMinute: [], lives: 0 });
  }
  for (const { clients } of sides) await runSlice(clients, BATCH, quick ? WARM_MS / 5 : WARM_MS);
  const reader = new pg.Client({ connectionString: server.databaseUrl });
  await reader.connect();
  await server.open({ stop: () => reader.end() });
  await reader.query('begin isolation level repeatable read');
  await reader.query('select count(*) from towpath.queue');
  const slices = quick ? QUICK_SLICES : SLICES_PER_MINUTE;
  for (let minute = 1; minute <= minutes; minute += 1) {
    const rates = sides.map(() => []);
    for (let slice = 0; slice < slices; slice += 1) {
      progress(`snapshot: part ${minute} of ${minutes}, ${Math.round((slice / slices) * 100)} %`);
      for (const [index, side] of sides.entries()) {
        const { lives, perSecond } = await runSlice(side.clients, BATCH, quick ? QUICK_SLICE_MS : SLICE_MS);
        side.lives += lives;
        rates[index].push(perSecond);
      }
    }
    for (const [index, { perMinute }] of sides.entries()) perMinute.push(median(rates[index]));
  }
  for (const { clients } of sides) for (const client of clients) client.close();
  const what = quick ? 'three seconds' : 'minute';
  return {
    tables: [
      {
        title: `lives per second in each ${what} of the snapshot`,
        columns: ['', ...Array.from({ length: minutes }, (_, index) => String(index + 1)), 'last / first', 'lives'],
        rows: sides.map((side) => [
          side.peer.name,
          ...side.perMinute.map((rate) => rate.toFixed(0)),
          last(side).toFixed(2),
          String(side.lives),
        ]),
      },
    ],
    ratios: sides.map((side, index) => ({
      what: `${side.peer.name}: ${what} ${minutes} of a held snapshot against the first`,
      ratio: last(side),
      ...(index === 0 ? { aim: AIM } : {}),
    })),
    plots: [
      {
        title: `Lives per second under a held snapshot, by ${what}`,
        x: what,
        y: 'lives/s',
        series: sides.map(({ peer, perMinute }) => ({
          name: peer.name,
          points: perMinute.map((rate, index) => [index + 1, rate]),
        })),
      },
    ],
  };
}

function last({ perMinute }) {
  return perMinute.at(-1) / perMinute[0];
}
