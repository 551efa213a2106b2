// What a pod holds in memory while many clients put and get large messages at once, also where the contents grow in
// JSON, and where clients read or write slowly or not at all. The pod is a process of its own, so that its memory is
// its own. Beside each load a client puts a small message every 50 ms. Ends by itself.
//
//   npm run bench:large-messages     64 clients, messages of 512,000 bytes, an embedded server of its own
//   BENCH_CLIENTS=512 …              another number of clients
//   BENCH_ROUNDS=3 …                 how many requests each of them sends
//   BENCH_ONLY=put,get …             some of the loads only
//   TOWPATH_…                        reach the pod
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { Agent, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import path from 'node:path';
import { startEmbeddedPostgres } from '../dist/embedded-postgres/embedded-postgres.js';
import { machine, makeFolder, percentile, say } from './support.mjs';

const CLIENTS = Number(process.env.BENCH_CLIENTS ?? 64);
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 3);
const ONLY = process.env.BENCH_ONLY?.split(',');
const MESSAGE_BYTES = 512_000;
/** Escaped they are six times as large, which is what the limit of a body leaves room for. */
const ESCAPED_BYTES = 256_000;
/** How long those that are slow stay. */
const SLOW_MS = 15_000;
const MIB = 1024 * 1024;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const mib = (bytes) => `${Math.round(bytes / MIB)} MiB`;

const folder = await makeFolder();
// A folder of its own: in a closed one the server, which has another user, would put its data elsewhere.
const dataDirectory = await makeFolder();
// The disk is not what is measured.
const server = await startEmbeddedPostgres({
  dataDirectory,
  settings: { fsync: 'off', max_wal_size: '8GB' },
});
const pod = spawn(process.execPath, [path.resolve(import.meta.dirname, '../dist/main.js')], {
  env: {
    TOWPATH_LOG_LEVEL: 'silent',
    ...process.env,
    DATABASE_URL: server.url,
    TOWPATH_DATA_DIR: path.join(folder, 'pod'),
    TOWPATH_PORT: '0',
    TOWPATH_STOMP_PORT: '0',
  },
  stdio: ['ignore', 'pipe', 'inherit'],
});
try {
  const endpoint = new URL(await started());
  const { apiKey, compartmentId } = JSON.parse(await readFile(path.join(folder, 'pod', 'credentials.json'), 'utf8'));
  const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' };
  const agent = new Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: Infinity });
  const call = (method, target, body, from = agent) => send(endpoint, from, headers, method, target, body);
  const [large, escaped, small] = [
    await makeQueue(call, compartmentId),
    await makeQueue(call, compartmentId),
    await makeQueue(call, compartmentId),
  ];
  const put = (queue, body) => call('POST', `/queues/${queue}/messages`, body);
  const bodies = {
    large: Buffer.from(JSON.stringify({ messages: [{ content: 'x'.repeat(MESSAGE_BYTES) }] })),
    escaped: Buffer.from(JSON.stringify({ messages: [{ content: '\u0001'.repeat(ESCAPED_BYTES) }] })),
    small: Buffer.from(JSON.stringify({ messages: [{ content: 'x'.repeat(200) }] })),
  };
  // Connections that all come at once overflow the queue of those not yet accepted, and wait for TCP to try again.
  for (let open = 0; open < 2 * CLIENTS; open += 32) {
    await Promise.all(Array.from({ length: open + 32 }, () => call('GET', '/queues?limit=1&compartmentId=x')));
  }
  // What the first requests compile is no memory that messages hold.
  for (let round = 0; round < 200; round += 1) await put(small, bodies.small);
  for (let round = 0; round < 80; round += 1) await put(large, bodies.large);
  for (let round = 0; round < 80; round += 1) await put(escaped, bodies.escaped);
  await pause(2000);
  const idle = await figures(endpoint);
  say(`${machine()}; client, pod and server on this machine`);
  say(`${CLIENTS} clients, ${ROUNDS} rounds; idle: RSS ${mib(idle.rss)}, heap ${mib(idle.heap)}\n`);

  const loads = {
    put: () => all(() => put(large, bodies.large)),
    'put escaped': () => all(() => put(escaped, bodies.escaped)),
    get: () => all(() => call('GET', get(large, 4))),
    'get escaped': () => all(() => call('GET', get(escaped, 8))),
    'put and get': () =>
      Promise.all([all(() => put(large, bodies.large)), all(() => call('GET', get(large, 4)))]).then((both) =>
        both.flat(),
      ),
    'slow writers': () => raw(endpoint, headers, 'POST', `/queues/${large}/messages`, bodies.large, trickle),
    'silent writers': () => raw(endpoint, headers, 'POST', `/queues/${large}/messages`, bodies.large, allButLast),
    'slow readers': () => raw(endpoint, headers, 'GET', get(large, 4), '', readSlowly),
    'silent readers': () => raw(endpoint, headers, 'GET', get(large, 4), '', readNothing),
    'silent readers escaped': () => raw(endpoint, headers, 'GET', get(escaped, 8), '', readNothing),
  };
  for (const [name, load] of Object.entries(loads)) {
    if (ONLY !== undefined && !ONLY.includes(name)) continue;
    await measure(name, load, {
      endpoint,
      idle,
      putSmall: (own) => call('POST', `/queues/${small}/messages`, bodies.small, own),
    });
    await pause(3000);
  }
  const last = await figures(endpoint);
  say(
    `\nat the end, idle: RSS ${mib(last.rss)}, heap ${mib(last.heap)}${last.held === undefined ? '' : `, held ${last.held} bytes`}`,
  );
  agent.destroy();
} finally {
  pod.kill('SIGTERM');
  if (pod.exitCode === null) await new Promise((resolve) => pod.once('exit', resolve));
  await server.stop();
  for (const each of [folder, dataDirectory]) await rm(each, { recursive: true, force: true, maxRetries: 5 });
}

function get(queue, limit) {
  return `/queues/${queue}/messages?timeoutInSeconds=0&visibilityInSeconds=0&limit=${limit}`;
}

/** The pod's address, once it is ready. */
function started() {
  return new Promise((resolve, reject) => {
    let output = '';
    pod.stdout.setEncoding('utf8').on('data', (text) => {
      output += text;
      const [, url] = /serves queues on (\S+)/.exec(output) ?? [];
      if (url !== undefined) resolve(url);
    });
    pod.once('exit', () => reject(new Error(`the pod did not start:\n${output}`)));
  });
}

async function makeQueue(call, compartmentId) {
  const details = {
    displayName: 'bench',
    compartmentId,
    deadLetterQueueDeliveryCount: 0,
    capabilities: [{ type: 'LARGE_MESSAGES' }],
  };
  const made = await call('POST', '/queues', Buffer.from(JSON.stringify(details)));
  const found = await call('GET', `/workRequests/${made.headers['opc-work-request-id']}`);
  return JSON.parse(found.text).resources[0].identifier;
}

/** One request on a keep-alive connection; large answers are read and thrown away. */
function send({ hostname, port }, agent, headers, method, target, body) {
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { 'content-length': body.length };
    const request = httpRequest(
      { agent, hostname, port, method, path: `/20210201${target}`, headers: { ...headers, ...length } },
      (response) => {
        let [text, bytes] = ['', 0];
        response.on('data', (chunk) => {
          bytes += chunk.length;
          if (bytes < 10_000) text += chunk;
        });
        response.on('error', reject);
        response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text, bytes }));
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

/** What became of the requests of all clients: a status each, or the error's code. */
async function all(one) {
  const client = async () => {
    const outcomes = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      outcomes.push(
        await one().then(
          ({ status }) => status,
          (error) => error.code ?? error.message,
        ),
      );
    }
    return outcomes;
  };
  return (await Promise.all(Array.from({ length: CLIENTS }, client))).flat();
}

/** Clients with a socket each, which behave as `behave` says for SLOW_MS. */
function raw({ hostname, port }, headers, method, target, body, behave) {
  const head =
    `${method} /20210201${target} HTTP/1.1\r\nhost: ${hostname}\r\n` +
    Object.entries(headers)
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join('') +
    (method === 'POST' ? `content-length: ${body.length}\r\n` : '') +
    '\r\n';
  const client = async (_, index) => {
    // Not all at once, for the queue of connections that are not yet accepted.
    await pause(index * 5);
    return new Promise((resolve) => {
      let start = '';
      const socket = connect(Number(port), hostname, () => {
        socket.write(head);
        stop = behave(socket, body);
      });
      let stop = null;
      socket.on('data', (chunk) => {
        if (start === '') start = chunk.toString('latin1', 0, 12);
      });
      // A server that has answered may close while the body still comes.
      socket.on('error', () => undefined);
      socket.on('close', () => {
        stop?.();
        resolve(/ (\d{3})/.exec(start)?.[1] ?? 'cut off');
      });
      setTimeout(() => {
        const answered = start.startsWith('HTTP');
        socket.destroy();
        resolve(answered ? start.slice(9) : 'no answer yet');
      }, SLOW_MS);
    });
  };
  return Promise.all(Array.from({ length: CLIENTS }, client));
}

function trickle(socket, body) {
  let at = 0;
  const timer = setInterval(() => {
    // Never the end.
    socket.write(body.subarray(at, Math.min(at + 16_384, body.length - 1)));
    at += 16_384;
    if (at >= body.length) clearInterval(timer);
  }, 300);
  return () => clearInterval(timer);
}

function allButLast(socket, body) {
  socket.write(body.subarray(0, -1));
  return () => undefined;
}

function readSlowly(socket) {
  const timer = setInterval(() => socket.read(16_384), 100);
  socket.pause();
  return () => clearInterval(timer);
}

function readNothing(socket) {
  socket.pause();
  return () => undefined;
}

/** What the pod says of itself; `peak` is the highest RSS since it was last set back. */
async function figures(endpoint) {
  const text = await (await fetch(new URL('/metrics', endpoint))).text();
  const value = (name) => {
    const [, found] = new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)`, 'm').exec(text) ?? [];
    return found === undefined ? undefined : Number(found);
  };
  return {
    rss: value('process_resident_memory_bytes'),
    heap: value('nodejs_heap_size_used_bytes'),
    external: value('nodejs_external_memory_bytes'),
    held: value('towpath_memory_held_bytes'),
  };
}

/** The kernel's own peak where there is one, since samples miss what is short. */
function peakOf(pid) {
  if (process.platform !== 'linux') return 0;
  const [, kilobytes] = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1024;
}

async function measure(name, load, { endpoint, idle, putSmall }) {
  if (process.platform === 'linux') writeFileSync(`/proc/${pod.pid}/clear_refs`, '5');
  const before = (await figures(endpoint)).rss;
  const peak = { rss: 0, heap: 0, external: 0, held: 0 };
  const beside = { times: [], failed: 0 };
  const running = new AbortController();
  const own = new Agent({ keepAlive: true });
  await putSmall(own);
  const sample = (async () => {
    while (!running.signal.aborted) {
      const now = await figures(endpoint);
      for (const key of Object.keys(peak)) peak[key] = Math.max(peak[key], now[key] ?? 0);
      await pause(100);
    }
  })();
  const smallOnes = (async () => {
    while (!running.signal.aborted) {
      const start = performance.now();
      const { status } = await putSmall(own).catch(() => ({ status: 0 }));
      if (status === 200) beside.times.push(performance.now() - start);
      else beside.failed += 1;
      await pause(50);
    }
  })();
  const start = performance.now();
  const outcomes = await load();
  const seconds = (performance.now() - start) / 1000;
  running.abort();
  await Promise.all([sample, smallOnes]);
  own.destroy();
  peak.rss = Math.max(peak.rss, peakOf(pod.pid));
  const counted = Object.entries(Object.groupBy(outcomes, String)).map(
    ([outcome, list]) => `${list.length} x ${outcome}`,
  );
  say(
    `${name}: ${counted.join(', ')} in ${seconds.toFixed(1)} s, ${(outcomes.length / seconds).toFixed(0)} per second`,
  );
  say(
    `  peak RSS ${mib(peak.rss)} (before ${mib(before)}; ${(peak.rss / idle.rss).toFixed(1)} times idle), heap ${mib(peak.heap)}, ` +
      `external ${mib(peak.external)}${peak.held > 0 ? `, held ${mib(peak.held)}` : ''}`,
  );
  say(
    `  small puts beside it: ${beside.times.length}, median ${percentile(beside.times, 0.5).toFixed(0)} ms, ` +
      `p99 ${percentile(beside.times, 0.99).toFixed(0)} ms, failed ${beside.failed}`,
  );
}
