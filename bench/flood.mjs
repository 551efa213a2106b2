// What a flood from one caller does to another one: a quiet caller puts, gets and deletes a message at a fixed rate,
// alone and beside each kind of flood. Its times count from when a lifecycle should have begun, so that what waits is not
// left out. The pod, the flood and the quiet caller are processes of their own, which share this machine. Ends by itself.
//
//   npm run bench:flood              every kind of flood, 64 connections, an embedded server of its own
//   BENCH_ONLY=lifecycles,refused …  some kinds only: lifecycles, large, refused, strangers
//   BENCH_SECONDS=10 …               how long each window is; there are three per kind
//   BENCH_RATE=10 …                  lifecycles of the quiet caller per second
//   BENCH_FSYNC=on …               with a disk that others may use too
//   BENCH_PROFILE=1 …                the pod writes a V8 profile per kind into the working directory
//   TOWPATH_…                        reach the pod
import { fork, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { Agent, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Database } from '../dist/database/database.js';
import { IdentityFunctions } from '../dist/database/identity-functions.js';
import { startEmbeddedPostgres } from '../dist/embedded-postgres/embedded-postgres.js';
import { makeApiKey } from '../dist/identity/api-key.js';
import { machine, makeFolder, percentile, say } from './support.mjs';

const CONNECTIONS = 64;
const MASTER_KEY = randomBytes(32).toString('base64');
const SECONDS = Number(process.env.BENCH_SECONDS ?? 10);
const RATE = Number(process.env.BENCH_RATE ?? 10);
/** Off: how long a commit takes on this disk is not what is measured. */
const FSYNC = process.env.BENCH_FSYNC ?? 'off';
const ONLY = process.env.BENCH_ONLY?.split(',');
/** What the flood does, and what the pod is set to for it. */
const KINDS = {
  lifecycles: {},
  large: {},
  // Enough for the quiet caller, far below what the flood asks for.
  refused: { TOWPATH_MAX_QUEUE_REQUESTS_PER_SECOND: String(4 * RATE) },
  strangers: {},
};

const times = (numbers) =>
  `p50 ${percentile(numbers, 0.5).toFixed(1)} ms, p99 ${percentile(numbers, 0.99).toFixed(1)} ms (${numbers.length} lifecycles)`;
const ratio = (beside, alone, share) => (percentile(beside, share) / percentile(alone, share)).toFixed(2);

if (process.send === undefined) await main();
else process.once('message', (order) => void flood(order));

async function main() {
  const folder = await makeFolder();
  const dataDirectory = await makeFolder();
  const server = await startEmbeddedPostgres({ dataDirectory, settings: { max_wal_size: '8GB', fsync: FSYNC } });
  try {
    say(`${machine()}; pod, callers and server on this machine, fsync ${FSYNC}`);
    say(
      `the quiet caller: ${RATE} lifecycles per second; the flood: ${CONNECTIONS} connections; windows of ${SECONDS} s\n`,
    );
    for (const [kind, environment] of Object.entries(KINDS)) {
      if (ONLY === undefined || ONLY.includes(kind))
        await measure(kind, environment, server.url, path.join(folder, kind));
    }
    say(machine());
  } finally {
    await server.stop();
    for (const each of [folder, dataDirectory]) await rm(each, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function measure(kind, environment, databaseUrl, data) {
  const profile = process.env.BENCH_PROFILE === undefined ? [] : ['--cpu-prof', `--cpu-prof-name=${kind}.cpuprofile`];
  const pod = spawn(process.execPath, [...profile, path.resolve(import.meta.dirname, '../dist/main.js')], {
    env: {
      TOWPATH_LOG_LEVEL: 'error',
      ...process.env,
      ...environment,
      DATABASE_URL: databaseUrl,
      TOWPATH_DATA_DIR: data,
      TOWPATH_PORT: '0',
      TOWPATH_STOMP_PORT: '0',
      // The pods have no folder in common.
      TOWPATH_MASTER_KEY: MASTER_KEY,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let flooder;
  try {
    const url = await started(pod);
    const database = new Database(databaseUrl, 2, 3000, () => undefined);
    const callers = [
      await makeCaller(database, url, `quiet-${kind}`),
      await makeCaller(database, url, `flood-${kind}`),
    ];
    await database.close();
    const [quiet, loud] = callers;
    // What the first requests compile, and what a new queue plans, is nobody's flood.
    await lifecycles(quiet, 3);
    const windows = [await lifecycles(quiet, SECONDS)];
    flooder = fork(import.meta.filename, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    flooder.send({ kind, url, apiKey: kind === 'strangers' ? makeApiKey().key : loud.apiKey, queue: loud.queue });
    await once(flooder, 'started');
    await sleep(2000);
    const beside = await lifecycles(quiet, SECONDS);
    flooder.send('stop');
    const { answers, seconds } = await once(flooder, 'stopped');
    await sleep(2000);
    windows.push(await lifecycles(quiet, SECONDS));
    const alone = windows.flat();
    const statuses = Object.entries(answers).map(([status, count]) => `${Math.round(count / seconds)} × ${status}`);
    say(`${kind}: the flood was answered ${statuses.join(', ')} per second`);
    say(`  alone   ${times(alone)}`);
    say(`  beside  ${times(beside)}`);
    say(`  ratio   p50 ${ratio(beside, alone, 0.5)}, p99 ${ratio(beside, alone, 0.99)}\n`);
    for (const caller of callers) caller.agent.destroy();
  } finally {
    flooder?.kill();
    pod.kill('SIGTERM');
    if (pod.exitCode === null) await new Promise((resolve) => pod.once('exit', resolve));
  }
}

/** A user of a tenancy of its own with a queue. */
async function makeCaller(database, url, name) {
  const functions = new IdentityFunctions(database);
  const tenancy = await functions.createTenancy(`${name}-${process.pid}`);
  const user = await functions.createUser(tenancy.id, 'user');
  await functions.addAdministrator(tenancy.id, user.id);
  const key = makeApiKey();
  await functions.addApiKey(tenancy.id, user.id, key.prefix, key.digest);
  const agent = new Agent({ keepAlive: true, maxFreeSockets: Infinity });
  const caller = { url: new URL(url), apiKey: key.key, agent };
  const details = { displayName: name, compartmentId: tenancy.id, visibilityInSeconds: 600 };
  await call(caller, 'POST', '/queues', JSON.stringify(details));
  const { items } = await call(caller, 'GET', `/queues?compartmentId=${tenancy.id}`);
  return { ...caller, queue: items[0].id };
}

/** Puts, gets and deletes a message at a fixed rate; returns how long each of that took, from when it was due. */
async function lifecycles(caller, seconds) {
  const start = performance.now();
  const taken = [];
  const running = [];
  for (let index = 0; index < seconds * RATE; index += 1) {
    const due = start + (index * 1000) / RATE;
    // Not a whole number of milliseconds, which timers would round.
    while (performance.now() < due) await sleep(Math.max(0, due - performance.now()));
    running.push(
      lifecycle(caller).then(() => {
        taken.push(performance.now() - due);
      }),
    );
  }
  await Promise.all(running);
  return taken;
}

async function lifecycle(caller) {
  const messages = `/queues/${caller.queue}/messages`;
  await call(caller, 'POST', messages, '{"messages":[{"content":"quiet"}]}');
  const got = await call(caller, 'GET', `${messages}?timeoutInSeconds=5`);
  await call(caller, 'DELETE', `${messages}/${got.messages[0].receipt}`);
}

function call({ url, agent, apiKey }, method, target, body) {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${apiKey}` };
    if (body !== undefined)
      Object.assign(headers, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
    const sent = httpRequest(
      { agent, hostname: url.hostname, port: url.port, method, path: `/20210201${target}`, headers },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk) => (text += chunk));
        response.on('error', reject).on('end', () => {
          if (response.statusCode >= 400) reject(new Error(`${method} ${target}: ${response.statusCode} ${text}`));
          else resolve(text === '' ? undefined : JSON.parse(text));
        });
      },
    );
    sent.on('error', reject).end(body);
  });
}

/** The other process: each connection sends its next request as soon as it has an answer, until it is told to stop. */
async function flood({ kind, url, apiKey, queue }) {
  const { hostname, port } = new URL(url);
  const answers = {};
  const over = new AbortController();
  const head = (method, target, bytes) =>
    `${method} /20210201${target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${apiKey}\r\n` +
    `${bytes === undefined ? '' : `content-type: application/json\r\ncontent-length: ${bytes}\r\n`}\r\n`;
  const content = 'x'.repeat(kind === 'large' ? 250_000 : 200);
  const body = JSON.stringify({ messages: Array.from({ length: kind === 'large' ? 2 : 1 }, () => ({ content })) });
  const messages = `/queues/${queue}/messages`;
  const put = Buffer.from(head('POST', messages, body.length) + body);
  const get = Buffer.from(head('GET', `${messages}?timeoutInSeconds=0&limit=${kind === 'large' ? 2 : 1}`));

  const run = async (socket) => {
    const send = exchange(socket);
    const count = async (bytes) => {
      const answer = await send(bytes);
      answers[answer.status] = (answers[answer.status] ?? 0) + 1;
      return answer;
    };
    while (!over.signal.aborted) {
      const { status } = await count(put);
      if (status !== 200) continue;
      const got = await count(get);
      for (const [, receipt] of got.body.matchAll(/"receipt":"([^"]+)"/g)) {
        await count(Buffer.from(head('DELETE', `${messages}/${receipt}`)));
      }
    }
    socket.destroy();
  };
  const sockets = await Promise.all(Array.from({ length: CONNECTIONS }, () => open(hostname, Number(port))));
  const since = performance.now();
  const running = sockets.map(run);
  process.send('started');
  await once(process, 'stop');
  over.abort();
  await Promise.all(running);
  process.send({ answers, seconds: (performance.now() - since) / 1000 });
  process.disconnect();
}

function open(host, port) {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true }, () => resolve(socket));
    socket.once('error', reject);
  });
}

/** One request at a time on a connection, with as little work as possible: the flood must not be what is slow. */
function exchange(socket) {
  let chunks = [];
  let received = 0;
  let wanted = Infinity;
  let headEnd = -1;
  let answered;
  socket.on('data', (chunk) => {
    chunks.push(chunk);
    received += chunk.length;
    if (headEnd < 0) {
      const head = Buffer.concat(chunks);
      headEnd = head.indexOf('\r\n\r\n');
      if (headEnd < 0) return;
      wanted = headEnd + 4 + Number(/content-length: (\d+)/i.exec(head.toString('latin1', 0, headEnd))?.[1] ?? 0);
    }
    if (received < wanted) return;
    const text = Buffer.concat(chunks).toString('latin1');
    chunks = [];
    const answer = { status: Number(text.slice(9, 12)), body: text.slice(headEnd) };
    received = 0;
    headEnd = -1;
    answered(answer);
  });
  return (bytes) =>
    new Promise((resolve) => {
      answered = resolve;
      socket.write(bytes);
    });
}

/** Resolves with the next message; `stopped` is the one with the figures. */
function once(emitter, what) {
  return new Promise((resolve, reject) => {
    emitter.once('message', (message) => resolve(message));
    if (what !== 'stop') emitter.once('exit', () => reject(new Error(`the flood has ended before it ${what}`)));
  });
}

function started(pod) {
  return new Promise((resolve, reject) => {
    let output = '';
    pod.stdout.on('data', (chunk) => {
      output += chunk;
      const [, url] = /serves queues on (\S+)/.exec(output) ?? [];
      if (url !== undefined) resolve(url);
    });
    pod.once('exit', () => reject(new Error('the pod has ended')));
  });
}
