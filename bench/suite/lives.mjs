// Whole lives of messages (put, get, delete), one at a time and in batches of 20, by 1 to 256 clients: Towpath over REST as it is deployed; a
// bare server as the limit; our SQL functions, pgmq, pg-boss and graphile-worker on direct connections. And what a life writes: at 64 clients.
import { build } from 'hdr-histogram-js';
import { openBareServer, openTowpath } from '../peers/http.mjs';
import { openGraphileWorker, openPgBoss } from '../peers/node-queues.mjs';
import { runSlice } from '../peers/slice.mjs';
import { openDirectSql, openPgmq } from '../peers/sql.mjs';
import { serverProcessorMs } from '../processor-time.mjs';
import { median } from '../support.mjs';
import { withServer } from './server.mjs';
import { countWrites, WRITE_COLUMNS } from './writes.mjs';

const BYTES = 200;
/** At 64 clients, by batch: what Towpath's rate divided by a peer's should be at least. */
const AIMS = {
  1: { 'bare server': 0.7, 'own SQL': 1.3, pgmq: 2.0 },
  20: { 'bare server': 0.7, pgmq: 1.2 },
};
const AIM_CLIENTS = 64;
const MOST_CLIENTS_AIM = 0.9;
/** So that there are some thousand lives, whatever else the machine does. */
const COUNTED_MS = 4000;
const PERCENTILES = [1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9];

export const lives = {
  name: 'lives',
  title: 'Lives of messages (put, get, delete), 200 bytes',
  run: (options) => withServer((server) => compareAll(server, options)),
};

async function compareAll(server, options) {
  const { quick, rounds = quick ? 3 : 5, batches = [1, 20], progress } = options;
  const counts = options.clients ?? (quick ? [AIM_CLIENTS] : [1, 16, 64, 256]);
  const peers = await openPeers(server, options);
  const result = { tables: [], ratios: [], plots: [] };
  for (const batch of batches) {
    const rates = new Map();
    for (const clients of counts) {
      progress(`lives: batches of ${batch}, ${clients} clients`);
      // Compilers take tens of thousands of requests until they have done what they can.
      const warmMs = quick ? 1000 : clients === counts[0] ? 10_000 : 2000;
      const sliceMs = quick ? 500 : 1000;
      // Takes a quarter of a minute for each peer.
      const isCounted = !quick && (clients === AIM_CLIENTS || counts.length === 1);
      const sides = await compare(server, peers, { batch, clients, rounds, sliceMs, warmMs, isCounted, progress });
      tell(result, sides, batch, clients);
      rates.set(clients, median(sides[0].perSecond));
    }
    const most = Math.max(...counts);
    if (batch > 1 && most >= 256) {
      const what = `batches of ${batch}: ${most} clients against the best count of clients`;
      result.ratios.push({ what, ratio: rates.get(most) / Math.max(...rates.values()), aim: MOST_CLIENTS_AIM });
    }
  }
  return result;
}

async function openPeers(server, { alone, pgmqSql, progress }) {
  const peers = [await server.open(openTowpath(server))];
  if (alone) return peers;
  peers.push(await server.open(openBareServer(server)), await server.open(openDirectSql(server)));
  if (pgmqSql === undefined) progress('pgmq is left out: --pgmq is not the path of its SQL file');
  else peers.push(await server.open(openPgmq({ ...server, sqlFile: pgmqSql })));
  peers.push(await server.open(openPgBoss(server)), await server.open(openGraphileWorker(server)));
  return peers;
}

async function compare(server, peers, { batch, clients: count, rounds, sliceMs, warmMs, isCounted, progress }) {
  const sides = [];
  for (const peer of peers) {
    const clients = await peer.clients(count, `batches-of-${batch}-by-${count}`, BYTES);
    sides.push({ peer, clients, perSecond: [], times: build(), lives: 0, own: 0, server: 0, client: 0 });
  }
  for (const { clients } of sides) await runSlice(clients, batch, warmMs);
  for (let round = 0; round < rounds; round += 1) for (const side of sides) await slice(server, side, batch, sliceMs);
  if (isCounted) {
    progress(`lives: what batches of ${batch} write`);
    const runs = sides.map(
      ({ clients }) =>
        async () =>
          (await runSlice(clients, batch, COUNTED_MS)).lives,
    );
    const cells = await countWrites(server.superuserUrl, runs);
    for (const [index, side] of sides.entries()) side.writes = cells[index];
  }
  for (const { clients } of sides) for (const client of clients) client.close();
  return sides;
}

async function slice({ processId }, side, batch, ms) {
  const own = side.peer.cpuMs?.() ?? 0;
  const database = serverProcessorMs(processId);
  const client = process.cpuUsage();
  const { lives: count, times, perSecond } = await runSlice(side.clients, batch, ms);
  side.perSecond.push(perSecond);
  for (const each of times) side.times.recordValue(Math.round(each * 1000));
  side.lives += count;
  side.own += (side.peer.cpuMs?.() ?? 0) - own;
  side.server += serverProcessorMs(processId) - database;
  const { user, system } = process.cpuUsage(client);
  side.client += (user + system) / 1000;
}

function tell(result, sides, batch, clients) {
  const [towpath] = sides;
  const rows = sides.map((side) => {
    const ratio = median(towpath.perSecond.map((rate, index) => rate / side.perSecond[index]));
    const aim = clients === AIM_CLIENTS ? AIMS[batch][side.peer.name] : undefined;
    if (side !== towpath && clients === AIM_CLIENTS) {
      result.ratios.push({ what: `batches of ${batch}, ${clients} clients, against ${side.peer.name}`, ratio, aim });
    }
    const per = (ms) => ((ms / side.lives) * 1000).toFixed(0);
    const ms = (percentile) => (side.times.getValueAtPercentile(percentile) / 1000).toFixed(1);
    return [
      side.peer.name,
      median(side.perSecond).toFixed(0),
      `${Math.min(...side.perSecond).toFixed(0)} to ${Math.max(...side.perSecond).toFixed(0)}`,
      ratio.toFixed(2),
      ms(50),
      ms(99),
      `${per(side.own)} + ${per(side.server)} + ${per(side.client)}`,
      ...(side.writes ?? []),
    ];
  });
  result.tables.push({
    title: `batches of ${batch}, ${clients} clients${towpath.writes === undefined ? '' : '; WAL and what follows it: per life'}`,
    columns: [
      '',
      'lives/s',
      'from, to',
      'Towpath / it',
      'p50 ms',
      'p99 ms',
      'µs of processors per life: own + database + client',
      ...(towpath.writes === undefined ? [] : WRITE_COLUMNS),
    ],
    rows,
  });
  if (clients !== AIM_CLIENTS) return;
  result.plots.push({
    title: `How long a batch of ${batch} lives, ${clients} clients (closed loop)`,
    x: 'percentile',
    y: 'ms',
    series: sides.map(({ peer, times }) => ({
      name: peer.name,
      points: PERCENTILES.map((percentile) => [percentile, times.getValueAtPercentile(percentile) / 1000]),
    })),
  });
}
