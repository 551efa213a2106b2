// What puts cost while others wait: messages put per second, one per request, where nobody waits; where somebody on another pod waits
// for the same queue, for a channel that nothing is put to; and where 1,000 long polls wait for other queues, on the same pod and on another one.
// In slices in turn; the notifications that say that something is visible are counted. Durable commits.
//
//   npm run bench:waiters          64 clients, 1,000 waiters, 5 rounds of slices of 3 s
//   BENCH_CLIENTS=16 BENCH_WAITERS=100 BENCH_ROUNDS=9 BENCH_SLICE_MS=1000 …
import { rm } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import { startEmbeddedPostgres } from '../dist/embedded-postgres/embedded-postgres.js';
import { runSlice } from './peers/slice.mjs';
import { API, startPodProcess } from './pod-process.mjs';
import { openRawClient } from './raw-client.mjs';
import { machine, makeFolder, median, say } from './support.mjs';

const CLIENTS = Number(process.env.BENCH_CLIENTS ?? 64);
const WAITERS = Number(process.env.BENCH_WAITERS ?? 1000);
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
const SLICE_MS = Number(process.env.BENCH_SLICE_MS ?? 3000);
/** Polls are opened so many at a time, and are parked by then. */
const AT_ONCE = 50;
const PARKED_MS = 1000;

const folder = await makeFolder();
const server = await startEmbeddedPostgres({
  dataDirectory: path.join(folder, 'server'),
  settings: { max_wal_size: '8GB' },
});
const pods = [];
const listener = new pg.Client({ connectionString: server.url });
try {
  const own = {
    databaseUrl: server.url,
    dataDirectory: path.join(folder, 'pod'),
    // Long polls are connections, and one tenancy may have many.
    environment: { TOWPATH_MAX_CONNECTIONS: '5000' },
  };
  pods.push(await startPodProcess(own), await startPodProcess(own));
  await listener.connect();
  let notifications = 0;
  listener.on('notification', ({ payload }) => (notifications += payload.includes('"visible"') ? 1 : 0));
  await listener.query('listen towpath');

  const { apiKey, compartmentId } = pods[0].credentials;
  const open = (pod) => openRawClient(pod.endpoint.port, { authorization: `Bearer ${apiKey}` });
  const main = open(pods[0]);
  const makeQueue = async (displayName) => {
    await main('POST', `${API}/queues`, JSON.stringify({ displayName, compartmentId }));
    const { items } = await main('GET', `${API}/queues?compartmentId=${compartmentId}&displayName=${displayName}`);
    return items[0].id;
  };
  const queue = await makeQueue('busy');
  const others = [];
  while (others.length < WAITERS) others.push(await makeQueue(`other-${others.length}`));

  const body = JSON.stringify({ messages: [{ content: 'x'.repeat(200) }] });
  const putters = Array.from({ length: CLIENTS }, () => {
    const client = open(pods[0]);
    return { live: () => client('POST', `${API}/queues/${queue}/messages`, body).then(() => 1), close: client.close };
  });
  const cases = [
    { name: 'nobody waits', polls: [] },
    { name: 'one waits on another pod for another channel of the queue', polls: [poll(pods[1], queue)] },
    {
      name: `${WAITERS} wait for other queues, half of them on another pod`,
      polls: others.map((other, index) => poll(pods[index % 2], other)),
    },
  ];
  say(`${machine()}; ${CLIENTS} clients, 200 bytes, ${ROUNDS} rounds of slices of ${SLICE_MS} ms`);
  await runSlice(putters, 1, 10_000);
  const rates = cases.map(() => []);
  const told = cases.map(() => 0);
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [index, { polls }] of cases.entries()) {
      const stop = await park(polls, open);
      const before = notifications;
      rates[index].push((await runSlice(putters, 1, SLICE_MS)).perSecond);
      told[index] += notifications - before;
      stop();
    }
  }
  for (const [index, { name }] of cases.entries()) {
    const ratios = rates[index].map((rate, round) => rate / rates[0][round]);
    say(
      `  ${name}: ${median(rates[index]).toFixed(0)} puts/s; ratio to nobody ${median(ratios).toFixed(2)}, from ${Math.min(...ratios).toFixed(2)} ` +
        `to ${Math.max(...ratios).toFixed(2)}; ${told[index]} notifications of messages`,
    );
  }
  say(machine());
  for (const { close } of [...putters, main]) close();
} finally {
  await listener.end();
  for (const pod of pods) await pod.stop();
  await server.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}

/** A long poll for a channel that nothing is put to. */
function poll(pod, queue) {
  return { pod, target: `${API}/queues/${queue}/messages?channelFilter=never` };
}

/** Opens long polls, which are polled again when they end, and resolves when they wait: to what ends them. */
async function park(polls, open) {
  const clients = [];
  let isOver = false;
  for (const [index, { pod, target }] of polls.entries()) {
    const client = open(pod);
    clients.push(client);
    const again = () =>
      client('GET', `${target}&timeoutInSeconds=30`).then(
        () => (isOver ? undefined : again()),
        (error) => {
          if (!isOver) throw error;
        },
      );
    void again();
    if (index % AT_ONCE === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await new Promise((resolve) => setTimeout(resolve, PARKED_MS));
  return () => {
    isOver = true;
    for (const client of clients) client.close();
  };
}
