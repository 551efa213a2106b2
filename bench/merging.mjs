// What merging brings: whole lives of messages (put, get, delete) over HTTP with an API key, sealed, on two pods of which
// one merges and the other does not (TOWPATH_MERGING=off). Each pod is a process of its own and has an embedded server of
// its own, so that their statements can be told apart; durable commits. Slices of the two alternate, so that whatever else the machine does meets
// both; the ratio is the median of those of each pair. Ends by itself, in less than a minute.
//
//   npm run bench:merging        64 clients: one message at a time, the same with long polls, batches of 20
//   BENCH_CLIENTS=16 BENCH_ROUNDS=9 BENCH_SLICE_MS=1000 BENCH_BYTES=2000 …
import { spawn } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { loadavg } from 'node:os';
import path from 'node:path';
import { startEmbeddedPostgres } from '../dist/embedded-postgres/embedded-postgres.js';
import { Database } from '../dist/database/database.js';
import { openRawClient } from './raw-client.mjs';
import { machine, makeFolder, median, percentile, say } from './support.mjs';

const CLIENTS = Number(process.env.BENCH_CLIENTS ?? 64);
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
const SLICE_MS = Number(process.env.BENCH_SLICE_MS ?? 1000);
const BYTES = Number(process.env.BENCH_BYTES ?? 200);
/** Options of Node for the pods, such as --cpu-prof. */
const NODE_OPTIONS = (process.env.BENCH_NODE_OPTIONS ?? '').split(' ').filter((option) => option !== '');
const SCENARIOS = [
  { name: 'one message', batch: 1, timeout: 0 },
  { name: 'one message, long polls', batch: 1, timeout: 10 },
  { name: 'batches of 20', batch: 20, timeout: 0 },
].filter(({ name }) => name.includes(process.env.BENCH_ONLY ?? ''));

const folder = await makeFolder();
const sides = [];
try {
  say(`${machine()}; ${CLIENTS} clients, ${BYTES} bytes per message, slices of ${SLICE_MS} ms`);
  for (const merging of ['on', 'off']) sides.push(await startSide(merging));
  for (const scenario of SCENARIOS) await compare(scenario);
} finally {
  for (const side of sides) await side.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}

async function compare({ name, batch, timeout }) {
  for (const side of sides) {
    side.queue = await side.makeQueue(`${name.replaceAll(/\W/g, '-')}`);
    Object.assign(side, { lives: 0, perSecond: [], times: [] });
    // What the first requests compile and prepare is no part of it.
    await slice(side, batch, timeout);
    Object.assign(side, { lives: 0, times: [], commits: await commitsOf(side) });
  }
  const ratios = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const side of sides) {
      const before = side.lives;
      const ms = await slice(side, batch, timeout);
      side.perSecond.push(((side.lives - before) / ms) * 1000);
    }
    ratios.push(sides[0].perSecond.at(-1) / sides[1].perSecond.at(-1));
  }
  say(`${name} (load ${loadavg()[0].toFixed(1)}):`);
  for (const side of sides) {
    const commits = (await commitsOf(side)) - side.commits;
    say(
      `  merging ${side.merging.padEnd(3)}  ${median(side.perSecond).toFixed(0)} lives/s; ` +
        `a life takes ${median(side.times).toFixed(1)} ms, p99 ${percentile(side.times, 0.99).toFixed(1)}; ` +
        `${(commits / side.lives).toFixed(2)} commits per message`,
    );
  }
  say(
    `  ratio ${median(ratios).toFixed(2)}, from ${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`,
  );
  const merged = await sides[0].merged();
  say(`  requests per statement so far: ${merged}`);
}

/** Backends report what they did once a second at most. */
async function commitsOf({ database }) {
  await new Promise((resolve) => setTimeout(resolve, 1200));
  const [{ commits }] = await database.run(
    {
      name: 'commits',
      text: 'select xact_commit::float8 as commits from pg_stat_database where datname = current_database()',
    },
    [],
  );
  return commits;
}

async function slice(side, batch, timeout) {
  const start = performance.now();
  const body = JSON.stringify({ messages: Array.from({ length: batch }, () => ({ content: 'x'.repeat(BYTES) })) });
  const messages = `/20210201/queues/${side.queue}/messages`;
  await Promise.all(
    side.clients.map(async (client) => {
      while (performance.now() < start + SLICE_MS) {
        const began = performance.now();
        await client('POST', messages, body);
        for (let left = batch; left > 0;) {
          const { messages: found } = await client('GET', `${messages}?limit=${left}&timeoutInSeconds=${timeout}`);
          left -= found.length;
          if (found.length === 1) await client('DELETE', `${messages}/${found[0].receipt}`);
          else if (found.length > 1) {
            const entries = found.map(({ receipt }) => ({ receipt }));
            await client('POST', `${messages}/actions/deleteMessages`, JSON.stringify({ entries }));
          }
        }
        side.lives += batch;
        side.times.push(performance.now() - began);
      }
    }),
  );
  return performance.now() - start;
}

async function startSide(merging) {
  const data = path.join(folder, `pod-${merging}`);
  const server = await startEmbeddedPostgres({
    dataDirectory: path.join(folder, `server-${merging}`),
    settings: { max_wal_size: '8GB' },
  });
  const database = new Database(server.url, 1, 3000, () => undefined);
  const child = spawn(process.execPath, [...NODE_OPTIONS, path.resolve(import.meta.dirname, '../dist/main.js')], {
    env: {
      PATH: process.env.PATH,
      DATABASE_URL: server.url,
      TOWPATH_DATA_DIR: data,
      TOWPATH_PORT: '0',
      TOWPATH_STOMP_PORT: '0',
      TOWPATH_LOG_LEVEL: process.env.BENCH_LOG_LEVEL ?? 'warn',
      TOWPATH_MERGING: merging,
      // However slow the machine is.
      TOWPATH_DATABASE_WAIT_SECONDS: '30',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const { port } = new URL(await started(child));
  const { apiKey, compartmentId } = JSON.parse(await readFile(path.join(data, 'credentials.json'), 'utf8'));
  const clients = Array.from({ length: CLIENTS }, () =>
    openRawClient(Number(port), { authorization: `Bearer ${apiKey}` }),
  );
  const [client] = clients;
  return {
    merging,
    clients,
    database,
    makeQueue: async (displayName) => {
      const details = { displayName, compartmentId, visibilityInSeconds: 300 };
      await client('POST', '/20210201/queues', JSON.stringify(details));
      const { items } = await client(
        'GET',
        `/20210201/queues?compartmentId=${compartmentId}&displayName=${displayName}`,
      );
      return items[0].id;
    },
    merged: async () => {
      const text = await client('GET', '/metrics');
      const figure = (name, kind) =>
        Number(new RegExp(`^${name}\\{kind="${kind}"\\} (\\S+)$`, 'm').exec(text)?.[1] ?? 0);
      return ['put', 'get', 'delete']
        .map((kind) => {
          const mean = figure('towpath_merged_requests_sum', kind) / figure('towpath_merged_requests_count', kind);
          return `${kind} ${mean.toFixed(1)}`;
        })
        .join(', ');
    },
    stop: async () => {
      for (const each of clients) each.close();
      child.kill('SIGTERM');
      if (child.exitCode === null) await new Promise((resolve) => child.once('exit', resolve));
      await database.close();
      await server.stop();
    },
  };
}

function started(child) {
  return new Promise((resolve, reject) => {
    let output = '';
    child.stdout.on('data', (chunk) => {
      output += chunk;
      const [, url] = /serves queues on (\S+)/.exec(output) ?? [];
      if (url !== undefined) resolve(url);
    });
    child.once('exit', () => reject(new Error(`the pod did not start:\n${output}`)));
  });
}
