// From put to delivery: messages are put at a fixed rate on one pod, whether earlier ones were answered or not, and long polls wait for them on
// another one. Times count from when a message was due, so that a pause of the service is in all messages that it held up.
import { mkdtemp, open as openFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { build } from 'hdr-histogram-js';
import pg from 'pg';
import { API, startPodProcess } from '../pod-process.mjs';
import { openRawClient } from '../raw-client.mjs';
import { withServer } from './server.mjs';

const USUAL_RATE = 200;
const POLLS = 8;
const PUTTERS = 64;
const WARM_SECONDS = 3;
/** Of what is timed by itself. */
const TIMES = 500;
const FLUSH_BLOCKS = 100;
const PERCENTILES = [1, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99];

export const delivery = {
  name: 'delivery',
  title: 'From put to delivery through long polls on another pod, messages at a fixed rate',
  run: (options) => withServer((server) => measure(server, options)),
};

async function measure(server, { quick, rate = USUAL_RATE, progress }) {
  const seconds = quick ? 6 : 60;
  progress(`delivery: ${seconds} s`);
  const pauseMs = 1000 / rate;
  const flushed = await flushes(server.folder, pauseMs);
  const statements = await emptyStatements(server.databaseUrl, pauseMs);
  const pods = [await server.open(startPodProcess(server)), await server.open(startPodProcess(server))];
  const { apiKey, compartmentId } = pods[0].credentials;
  const open = (pod) => openRawClient(pod.endpoint.port, { authorization: `Bearer ${apiKey}` });
  const main = open(pods[0]);
  const probes = [await timesOf(() => main('GET', '/livez'), 0), await timesOf(() => main('GET', '/livez'), pauseMs)];
  await main('POST', `${API}/queues`, JSON.stringify({ displayName: 'delivery', compartmentId }));
  const { items } = await main('GET', `${API}/queues?compartmentId=${compartmentId}&displayName=delivery`);
  const target = `${API}/queues/${items[0].id}/messages`;

  const [delivered, confirmed] = [build(), build()];
  const perSecond = new Map();
  let measuredSince = Infinity;
  const progressed = { sent: 0, came: 0, isOver: false };
  const record = (histogram, due) => {
    if (due >= measuredSince) histogram.recordValue(Math.max(1, Math.round((performance.now() - due) * 1000)));
  };
  const poll = async () => {
    const client = open(pods[1]);
    while (!progressed.isOver) {
      const { messages } = await client('GET', `${target}?timeoutInSeconds=2&limit=20`);
      for (const { content } of messages) {
        const due = Number(content.split(' ', 1)[0]);
        record(delivered, due);
        if (due >= measuredSince) {
          progressed.came += 1;
          const second = Math.floor((due - measuredSince) / 1000);
          perSecond.set(second, Math.max(perSecond.get(second) ?? 0, performance.now() - due));
        }
      }
      if (messages.length > 0) {
        const entries = messages.map(({ receipt }) => ({ receipt }));
        await client('POST', `${target}/actions/deleteMessages`, JSON.stringify({ entries }));
      }
    }
    client.close();
  };
  const polling = Promise.all(Array.from({ length: POLLS }, poll));

  const free = Array.from({ length: PUTTERS }, () => open(pods[0]));
  const all = [...free];
  const line = [];
  const put = (due) => {
    const client = free.pop();
    if (client === undefined) {
      line.push(due);
      return;
    }
    const body = JSON.stringify({ messages: [{ content: `${due} ${'x'.repeat(180)}` }] });
    void client('POST', target, body).then(() => {
      record(confirmed, due);
      free.push(client);
      if (line.length > 0) put(line.shift());
    });
  };
  const start = performance.now();
  measuredSince = start + WARM_SECONDS * 1000;
  const total = (WARM_SECONDS + seconds) * rate;
  for (let n = 0; n < total; n += 1) {
    const due = start + (n * 1000) / rate;
    await untilTime(due);
    if (due >= measuredSince) progressed.sent += 1;
    put(due);
  }
  for (let wait = 0; progressed.came < progressed.sent && wait < 200; wait += 1)
    await new Promise((resolve) => setTimeout(resolve, 50));
  progressed.isOver = true;
  const { sent, came } = progressed;
  await polling;
  for (const client of [...all, main]) client.close();
  if (came !== sent) throw new Error(`${came} of ${sent} messages were delivered`);

  const row = (name, histogram) => [
    name,
    ...[50, 99, 99.9].map((percentile) => ms(histogram, percentile).toFixed(1)),
    (histogram.maxValue / 1000).toFixed(1),
  ];
  return {
    tables: [
      {
        title: `${sent} messages in ${seconds} s, ${rate} per second, ms from when each was due`,
        columns: ['', 'p50', 'p99', 'p99.9', 'most'],
        rows: [
          row('8 KiB written and flushed, nothing else', flushed),
          row('a statement that does nothing, in a row', statements[0]),
          row('… at the rate', statements[1]),
          row('a request that does nothing (/livez), in a row', probes[0]),
          row('… at the rate', probes[1]),
          row('put confirmed', confirmed),
          row('delivered', delivered),
        ],
      },
    ],
    ratios: [
      { what: 'delivered: p50 in ms', ratio: ms(delivered, 50), most: 5 },
      { what: 'delivered: p99 in ms', ratio: ms(delivered, 99), most: 25 },
    ],
    plots: [
      {
        title: 'From when a message was due (open loop)',
        x: 'percentile',
        y: 'ms',
        series: [
          ['put confirmed', confirmed],
          ['delivered', delivered],
        ].map(([name, histogram]) => ({ name, points: PERCENTILES.map((each) => [each, ms(histogram, each)]) })),
      },
      {
        title: 'The slowest delivery of each second',
        x: 'second',
        y: 'ms',
        series: [{ name: 'delivered', points: [...perSecond].toSorted(([a], [b]) => a - b) }],
      },
    ],
  };
}

/** What the disk alone takes, at this rate: a delivery needs two commits, one after another. Disks are slower after a pause than in a row. */
async function flushes(folder, pauseMs) {
  const directory = await mkdtemp(path.join(folder, 'flush-'));
  const file = await openFile(path.join(directory, 'file'), 'w');
  const block = Buffer.alloc(8192);
  const histogram = await timesOf(async (n) => {
    await file.write(block, 0, block.length, (n % FLUSH_BLOCKS) * block.length);
    await file.datasync();
  }, pauseMs);
  await file.close();
  await rm(directory, { recursive: true });
  return histogram;
}

/** A round trip to the server, in a row and at this rate. So are processors: whoever has slept wakes slowly, and a delivery wakes six processes in turn. */
async function emptyStatements(connectionString, pauseMs) {
  const client = new pg.Client({ connectionString });
  await client.connect();
  const statement = () => client.query({ name: 'nothing', text: 'select 1' });
  const histograms = [await timesOf(statement, 0), await timesOf(statement, pauseMs)];
  await client.end();
  return histograms;
}

/** Timers count whole milliseconds, which would be in each time: so the last one is a loop that still takes answers. */
async function untilTime(time) {
  for (let left; (left = time - performance.now()) > 0;) {
    await new Promise((resolve) => (left > 1 ? setTimeout(resolve, left - 1) : setImmediate(resolve)));
  }
}

async function timesOf(act, pauseMs) {
  const histogram = build();
  for (let n = 0; n < TIMES; n += 1) {
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    const start = performance.now();
    await act(n);
    histogram.recordValue(Math.max(1, Math.round((performance.now() - start) * 1000)));
  }
  return histogram;
}

function ms(histogram, percentile) {
  return histogram.getValueAtPercentile(percentile) / 1000;
}
