// What idle connections cost a pod in memory, without TLS and with it, and whether others are served beside them. Each
// connection makes one request and then stays open. The pod is a process of its own. Ends by itself.
//
//   npm run bench:idle-connections        10,000 connections, an embedded server of its own
//   BENCH_CONNECTIONS=1000 …              another number; both ends need as many open files (ulimit -n)
//   BENCH_ONLY=tls …                      only with TLS, or only without (plain)
//   BENCH_DATABASE_URL=postgres://…       a database to use, instead of an embedded server
import { spawn } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { availableParallelism, cpus, loadavg } from 'node:os';
import path from 'node:path';
import { connect as connectTls } from 'node:tls';
import { startEmbeddedPostgres } from '../dist/embedded-postgres/embedded-postgres.js';
import { makeFolder } from './support.mjs';

const CONNECTIONS = Number(process.env.BENCH_CONNECTIONS ?? 10_000);
const ONLY = process.env.BENCH_ONLY;
/** So many are opened at once: more overflow the queue of those not yet accepted. */
const AT_ONCE = 50;
/** Below the pod's time for idle connections, which is 65 s. */
const SERVED = 300;
const REQUEST = 'GET /livez HTTP/1.1\r\nhost: x\r\n\r\n';
const MIB = 1024 * 1024;

const say = (line) => process.stdout.write(`${line}\n`);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const percentile = (numbers, share) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length * share)] ?? NaN;

const folder = await makeFolder();
const dataDirectory = await makeFolder();
const given = process.env.BENCH_DATABASE_URL;
const server = given ? { url: given, stop: async () => undefined } : await startEmbeddedPostgres({ dataDirectory });
try {
  say(
    `Node ${process.version}, ${availableParallelism()} x ${cpus()[0]?.model ?? 'unknown'}, load ${loadavg()[0].toFixed(1)}; ${CONNECTIONS} connections`,
  );
  if (ONLY !== 'tls') await measure(false);
  if (ONLY !== 'plain') await measure(true);
} finally {
  await server.stop();
  for (const each of [folder, dataDirectory]) await rm(each, { recursive: true, force: true, maxRetries: 5 });
}

async function measure(tls) {
  const data = path.join(folder, 'pod');
  const pod = spawn(process.execPath, [path.resolve(import.meta.dirname, '../dist/main.js')], {
    env: {
      PATH: process.env.PATH,
      DATABASE_URL: server.url,
      TOWPATH_DATA_DIR: data,
      TOWPATH_PORT: '0',
      TOWPATH_STOMP_PORT: '0',
      TOWPATH_LOG_LEVEL: 'silent',
      ...(tls ? { TOWPATH_TLS_SELF_SIGNED: '1' } : {}),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const sockets = [];
  try {
    const { port } = new URL(await started(pod));
    const ca = tls ? await readFile(path.join(data, 'tls', 'certificate.pem')) : undefined;
    const open = () => request(tls, port, ca);
    // What the first requests compile is no memory of connections.
    for (let round = 0; round < 20; round += 1) for (const socket of await many(AT_ONCE, open)) socket.destroy();
    await pause(3000);
    const before = await rssOf(pod);
    const since = performance.now();
    // The pod closes what is idle for 65 s, and a slow machine takes longer than that to open them all.
    const refresh = setInterval(() => {
      for (const socket of sockets) socket.write(REQUEST);
    }, 20_000);
    while (sockets.length < CONNECTIONS) {
      sockets.push(...(await many(Math.min(AT_ONCE, CONNECTIONS - sockets.length), open)));
    }
    const seconds = (performance.now() - since) / 1000;
    clearInterval(refresh);
    const times = [];
    for (let index = 0; index < SERVED; index += 1) {
      const at = performance.now();
      (await open()).destroy();
      times.push(performance.now() - at);
    }
    const alive = sockets.filter((socket) => !socket.destroyed).length;
    const after = await rssOf(pod);
    say(
      `${tls ? 'TLS' : 'no TLS'}: ${alive} of ${CONNECTIONS} open after ${seconds.toFixed(1)} s; RSS ${mib(before)} -> ${mib(after)}, ` +
        `${((after - before) / 1024 / alive).toFixed(1)} KiB each; a new connection with one request meanwhile: ` +
        `p50 ${percentile(times, 0.5).toFixed(1)} ms, p99 ${percentile(times, 0.99).toFixed(1)} ms`,
    );
  } finally {
    for (const socket of sockets) socket.destroy();
    pod.kill('SIGTERM');
    if (pod.exitCode === null) await new Promise((resolve) => pod.once('exit', resolve));
  }
}

function mib(bytes) {
  return `${Math.round(bytes / MIB)} MiB`;
}

function many(count, open) {
  return Promise.all(Array.from({ length: count }, open));
}

/** A connection on which one request was answered. */
function request(tls, port, ca) {
  return new Promise((resolve, reject) => {
    const options = { port: Number(port), host: '127.0.0.1', ...(tls ? { ca } : {}) };
    const socket = (tls ? connectTls : connect)(options);
    socket.once(tls ? 'secureConnect' : 'connect', () => socket.write(REQUEST));
    socket.once('data', () => {
      socket.removeListener('error', reject);
      socket.on('error', () => undefined);
      resolve(socket);
    });
    socket.once('error', reject);
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

/** Linux only. */
async function rssOf(pod) {
  const status = await readFile(`/proc/${pod.pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}
