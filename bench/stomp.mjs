// Messages per second over STOMP, side by side with RabbitMQ's STOMP plugin where one is running: producers that wait for a
// receipt of each message, with 1 and with 50 under way, and consumers that acknowledge each message by itself. Both brokers
// get the same frames by the same client, in slices in turn, so that whatever else the machine does meets both. A slice lasts until
// every message that was sent in it is confirmed, received and acknowledged. Everything is durable. Ends by itself.
//
//   npm run bench:stomp                    8 producers, 8 consumers, 5 rounds of slices of 3 s, an embedded server of its own
//   npm run bench:stomp -- --quick         2 rounds of 1 s
//   npm run bench:stomp -- --profile       only Towpath, and where the pod's time goes, by file
//   … --rounds 9 --seconds 5 --producers 8 --consumers 8 --bytes 200 --windows 1,50 --prefetch 50
//   … --json file                       the rates as JSON too
//   … --only classic,quorum                some of the contestants: towpath, classic, quorum (queues of RabbitMQ)
//
//   BENCH_RABBITMQ=host:port               where RabbitMQ speaks STOMP; localhost:61613 if absent, skipped where nobody answers
//   BENCH_RABBITMQ_LOGIN, …_PASSCODE       guest, guest
//   BENCH_RABBITMQ_PID                     its process, to tell what it takes of the processors
import { fork } from 'node:child_process';
import { cp, readdir, rm, writeFile } from 'node:fs/promises';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { startEmbeddedPostgres } from '../dist/embedded-postgres/embedded-postgres.js';
import { timesByFile } from './cpu-profile.mjs';
import { readOptions } from './options.mjs';
import { bearer, send, startPodProcess } from './pod-process.mjs';
import { processorMsOf, serverProcessorMs } from './processor-time.mjs';
import { StompClient } from './stomp-client.mjs';
import { machine, makeFolder, median, say } from './support.mjs';

const options = readOptions(import.meta.filename, {
  quick: 'flag',
  profile: 'flag',
  rounds: 'number',
  seconds: 'number',
  producers: 'number',
  consumers: 'number',
  bytes: 'number',
  windows: 'numbers',
  prefetch: 'number',
  only: ['towpath', 'classic', 'quorum'],
  fsync: 'text',
  json: 'text',
});
const { rounds: ROUNDS = options.quick ? 2 : 5, seconds = options.quick ? 1 : 3 } = options;
const SLICE_MS = seconds * 1000;
const { producers: PRODUCERS = 8, consumers: CONSUMERS = 8, bytes: BYTES = 200, prefetch: PREFETCH = 50 } = options;
const { fsync: FSYNC = 'on', windows: WINDOWS = [1, 50] } = options;
const ONLY = options.profile ? ['towpath'] : options.only;

const folder = await makeFolder();
const loads = { producers: startLoad(), consumers: startLoad() };
const contestants = [];
let towpath = null;
const results = [];
/** When the first slice that counts began. */
let measuredSince = Infinity;
try {
  if (ONLY.includes('towpath')) {
    towpath = await startTowpath();
    contestants.push(await towpath.contestant());
  }
  contestants.push(...(await rabbitmqs()));
  for (const contestant of contestants) await open(contestant);
  say(
    `${PRODUCERS} producers, ${CONSUMERS} consumers with a prefetch of ${PREFETCH}, ${BYTES} bytes; ${ROUNDS} rounds of slices of ` +
      `${SLICE_MS / 1000} s; brokers and clients on this machine; ${machine()}`,
  );
  for (const window of WINDOWS) await compare(window);
  say(machine());
  if (options.json !== undefined) await writeFile(options.json, JSON.stringify(results));
} finally {
  for (const { process: child } of Object.values(loads)) child.kill();
  await towpath?.stop();
  if (options.profile) await tellProfile();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}

/** The rounds of one window, and what came of them. */
async function compare(window) {
  const slices = new Map(contestants.map(({ name }) => [name, []]));
  // The first compiles, and fills caches.
  for (const contestant of contestants) await slice(contestant, window, Math.min(SLICE_MS, 2000));
  measuredSince = Math.min(measuredSince, Number(process.hrtime.bigint() / 1_000_000n));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const contestant of contestants) {
      slices.get(contestant.name).push(await slice(contestant, window, SLICE_MS));
    }
  }
  say(`\nwindow ${window}: messages per second, confirmed, received and acknowledged`);
  const rates = new Map();
  for (const { name, server } of contestants) {
    const taken = slices.get(name);
    const of = (what) => taken.map((each) => each[what]);
    const rate = median(of('rate'));
    rates.set(name, rate);
    const [low, high] = [Math.min(...of('rate')), Math.max(...of('rate'))];
    results.push({ window, name, rate, low, high });
    const cpu = ['broker', 'database', 'clients']
      .map((what) => `${what} ${median(of(what)).toFixed(0)}`)
      .filter((each) => !each.endsWith('NaN'));
    say(
      `  ${name} (${server}): ${rate.toFixed(0)} (${low.toFixed(0)} to ${high.toFixed(0)}); confirmed while sending ` +
        `${median(of('confirmed')).toFixed(0)}; processor time per message in µs: ${cpu.join(', ')}`,
    );
  }
  for (const other of ['classic', 'quorum']) {
    if (rates.has(other) && rates.has('towpath')) {
      say(`  ratio of towpath to ${other} ${(rates.get('towpath') / rates.get(other)).toFixed(2)}`);
    }
  }
}

async function slice(contestant, window, ms) {
  const { name } = contestant;
  await loads.consumers.ask('subscribe', { name, prefetch: PREFETCH });
  await loads.consumers.ask('reset');
  const cpu = contestant.cpuMs();
  const start = performance.now();
  await loads.producers.ask('start', { name, window });
  await new Promise((resolve) => setTimeout(resolve, ms));
  const sent = await loads.producers.ask('stop', { name });
  const sendingMs = performance.now() - start;
  const consumed = await loads.consumers.ask('consume', { name, total: sent.total });
  const wholeMs = performance.now() - start;
  if (consumed.received !== sent.total) throw new Error(`${consumed.received} came of ${sent.total} messages`);
  const messages = sent.total - contestant.messages;
  contestant.messages = sent.total;
  const after = contestant.cpuMs();
  const perMessage = (milliseconds) => (milliseconds / messages) * 1000;
  return {
    rate: (messages / wholeMs) * 1000,
    confirmed: (messages / sendingMs) * 1000,
    broker: perMessage(after.broker - cpu.broker),
    database: perMessage(after.database - cpu.database),
    clients: perMessage(sent.cpuMs + consumed.cpuMs),
  };
}

/** A pod on a server of its own. */
async function startTowpath() {
  const server = await startEmbeddedPostgres({
    dataDirectory: path.join(folder, 'server'),
    settings: { fsync: FSYNC, max_wal_size: '8GB', track_functions: options.profile ? 'all' : 'none' },
  });
  const profile = ['--cpu-prof', `--cpu-prof-dir=${path.join(folder, 'profile')}`];
  const pod = await startPodProcess({
    databaseUrl: server.url,
    dataDirectory: path.join(folder, 'pod'),
    nodeOptions: options.profile ? profile : [],
  }).catch(async (error) => {
    await server.stop();
    throw error;
  });
  const { apiKey, compartmentId, stompLogin: login, stompPasscode: passcode } = pod.credentials;
  say(`PostgreSQL 18 embedded, fsync ${FSYNC}`);
  return {
    async contestant() {
      const agent = new Agent();
      const call = (method, target, body) => send(pod.endpoint, agent, method, target, bearer(apiKey), body);
      await call('POST', '/queues', JSON.stringify({ displayName: 'bench', compartmentId, visibilityInSeconds: 300 }));
      const [queue] = JSON.parse((await call('GET', '/queues?displayName=bench')).text).items;
      agent.destroy();
      return {
        name: 'towpath',
        broker: { host: '127.0.0.1', port: pod.stompPort, login, passcode },
        send: { destination: queue.id },
        subscribe: { destination: queue.id },
        cpuMs: () => ({ broker: pod.cpuMs(), database: serverProcessorMs(server.processId) }),
      };
    },
    async stop() {
      await pod.stop();
      if (options.profile) await tellFunctions(server.url).catch((error) => say(String(error)));
      await server.stop();
    },
  };
}

/** A classic and a quorum queue of a RabbitMQ that runs already, both durable, with persistent messages. */
async function rabbitmqs() {
  const wanted = ['classic', 'quorum'].filter((name) => ONLY.includes(name));
  if (wanted.length === 0) return [];
  const address = process.env.BENCH_RABBITMQ ?? 'localhost:61613';
  const [host, port] = address.split(':');
  const broker = {
    host,
    port: Number(port),
    login: process.env.BENCH_RABBITMQ_LOGIN ?? 'guest',
    passcode: process.env.BENCH_RABBITMQ_PASSCODE ?? 'guest',
  };
  try {
    (await StompClient.connect(broker)).close();
  } catch (error) {
    say(`SKIPPED: no RabbitMQ answers on ${address} (${error.message}): there is nothing to compare with`);
    return [];
  }
  const processId = process.env.BENCH_RABBITMQ_PID;
  return wanted.map((name) => {
    const destination = `/queue/towpath-bench-${name}-${process.pid}`;
    // STOMP cannot delete a durable queue: unused, it goes by itself.
    const headers = `durable:true\nauto-delete:false\nx-expires:600000\n${name === 'quorum' ? 'x-queue-type:quorum\n' : ''}`;
    return {
      name,
      broker,
      send: { destination, headers: `persistent:true\n${headers}` },
      subscribe: { destination, headers },
      cpuMs: () => ({ broker: processId === undefined ? NaN : processorMsOf(processId), database: NaN }),
    };
  });
}

async function open(contestant) {
  const broker = {
    ...contestant.broker,
    name: contestant.name,
    send: contestant.send,
    subscribe: contestant.subscribe,
  };
  const { server } = await loads.producers.ask('open', { broker, role: 'producers', count: PRODUCERS, bytes: BYTES });
  await loads.consumers.ask('open', { broker, role: 'consumers', count: CONSUMERS, bytes: BYTES });
  Object.assign(contestant, { server, messages: 0 });
}

/** A process that answers orders one at a time. */
function startLoad() {
  const child = fork(path.join(import.meta.dirname, 'stomp-load.mjs'));
  const ask = (order, details = {}) =>
    new Promise((resolve, reject) => {
      const ended = (code) => reject(new Error(`a client has ended (${code})`));
      child.once('exit', ended);
      child.once('message', ({ answer, error }) => {
        child.off('exit', ended);
        if (error === undefined) resolve(answer);
        else reject(new Error(error));
      });
      child.send({ order, ...details });
    });
  return { process: child, ask };
}

/** Of the slices that count. */
async function tellProfile() {
  const [name] = await readdir(path.join(folder, 'profile'));
  const file = path.join(tmpdir(), 'towpath-stomp.cpuprofile');
  await cp(path.join(folder, 'profile', name), file);
  const { total, times } = await timesByFile(file, measuredSince);
  const share = (ms) => `${((ms / total) * 100).toFixed(1)} %`.padStart(7);
  const sumOf = (prefix) => times.reduce((sum, [source, ms]) => sum + (source.startsWith(prefix) ? ms : 0), 0);
  say(`\nthe pod's processor time by file, ${(total / 1000).toFixed(1)} s (${file} has it by function)`);
  for (const [source, ms] of times.slice(0, 20)) say(`${share(ms)}  ${source}`);
  say(`${share(sumOf('dist/stomp/'))}  all of dist/stomp`);
  say(`${share(sumOf('dist/stomp/codec/'))}  of it the codec, dist/stomp/codec`);
}

/** What the pod has called, from its start on: the functions that take most of the database's time. */
async function tellFunctions(connectionString) {
  const client = new pg.Client({ connectionString });
  await client.connect();
  const { rows } = await client.query(
    `select f.funcname as name, f.calls::integer, f.total_time as total, f.self_time as self
     from pg_stat_user_functions f order by f.self_time desc limit 12`,
  );
  await client.end();
  say("\nthe database's functions: calls, ms per call, of that in the function itself");
  for (const { name, calls, total, self } of rows) {
    say(`  ${name}: ${calls}, ${(total / calls).toFixed(3)}, ${(self / calls).toFixed(3)}`);
  }
}
