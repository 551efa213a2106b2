// What idle STOMP connections with heart-beats cost a pod in memory, and what they do to busy ones: messages are sent at a fixed rate over
// 100 connections, each of which receives some of them and acknowledges each, in phases in turn without the idle ones and beside them. Times
// count from when each message was due, so that none is left out because one before it took long. Ends by itself.
//
//   npm run bench:stomp-idle                    5,000 idle, 4 rounds of 2 phases of 8 s, 200 messages per second
//   npm run bench:stomp-idle -- --quick         1,000 idle, 1 round of 2 phases of 3 s
//   … --idle 5000 --busy 100 --rate 200 --rounds 4 --seconds 8
//   … --subscribed                              the idle ones wait for messages of a queue that has none
//   … --profile                                 the pod writes a profile of its processor time; where it is stands at the end
//
// Pod and clients need a file per connection each (ulimit -n). The pod is a process of its own, and its memory the pod's alone.
import { fork } from 'node:child_process';
import { cp, readdir, rm } from 'node:fs/promises';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { build } from 'hdr-histogram-js';
import { startEmbeddedPostgres } from '../dist/embedded-postgres/embedded-postgres.js';
import { timesByFile } from './cpu-profile.mjs';
import { readOptions } from './options.mjs';
import { bearer, send, startPodProcess } from './pod-process.mjs';
import { Consumer, StompClient } from './stomp-client.mjs';
import { machine, makeFolder, median, say } from './support.mjs';
import { memoryOf, TELLS_MEMORY } from './tell-memory.mjs';

const options = readOptions(import.meta.filename, {
  quick: 'flag',
  subscribed: 'flag',
  profile: 'flag',
  idle: 'number',
  rounds: 'number',
  seconds: 'number',
  busy: 'number',
  rate: 'number',
  /** Of the processes that this one starts: which connections are theirs. */
  role: 'text',
});
const {
  quick,
  idle: IDLE = quick ? 1000 : 5000,
  rounds: ROUNDS = quick ? 1 : 4,
  seconds: SECONDS = quick ? 3 : 8,
} = options;
const { busy: BUSY = 100, rate: RATE = 200 } = options;
const HEART_BEAT_MS = 10_000;
/** So many are opened at once: more overflow the queue of those not yet accepted. */
const AT_ONCE = 50;
/** After connections were opened or closed, so that nothing of that is measured. */
const SETTLE_MS = 3000;
const KIB = 1024;

async function main() {
  const folder = await makeFolder();
  const server = await startEmbeddedPostgres({
    dataDirectory: path.join(folder, 'server'),
    settings: { max_wal_size: '8GB' },
  });
  const clients = { idle: start('idle'), busy: start('busy') };
  const profile = ['--cpu-prof', `--cpu-prof-dir=${path.join(folder, 'profile')}`];
  let pod;
  try {
    pod = await startPodProcess({
      databaseUrl: server.url,
      dataDirectory: path.join(folder, 'pod'),
      nodeOptions: [...TELLS_MEMORY, ...(options.profile ? profile : [])],
    });
    const { stompLogin: login, stompPasscode: passcode } = pod.credentials;
    const broker = { host: '127.0.0.1', port: pod.stompPort, login, passcode };
    say(
      `${BUSY} busy connections with ${RATE} messages per second of 200 bytes, ${IDLE} idle ones with heart-beats of ${HEART_BEAT_MS / 1000} s` +
        `${options.subscribed ? ' and a subscription' : ''}; ${ROUNDS} rounds of 2 phases of ${SECONDS} s; PostgreSQL 18 embedded; ${machine()}`,
    );
    await clients.busy.ask('open', { broker, destination: await makeQueue(pod, 'busy'), count: BUSY });
    const idle = { broker, count: IDLE, destination: options.subscribed ? await makeQueue(pod, 'idle') : null };
    // What the first messages and connections compile is no memory of idle ones.
    await clients.busy.ask('run', { kind: 'warm-up', seconds: Math.min(3, SECONDS) });
    await clients.idle.ask('open', { ...idle, count: Math.min(500, IDLE) });
    await clients.idle.ask('close');
    await sleep(SETTLE_MS);
    await measure(pod, clients, idle);
    say(machine());
  } finally {
    for (const { process: child } of Object.values(clients)) child.kill();
    await pod?.stop();
    await server.stop();
    if (options.profile) await tellProfile(path.join(folder, 'profile'));
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function measure(pod, clients, idle) {
  const memory = { heap: [], rss: [] };
  const delays = { alone: [], beside: [] };
  const ratios = { p50: [], p99: [] };
  let peak = 0;
  let first;
  for (let round = 1; round <= ROUNDS; round += 1) {
    await memoryOf(pod.processId);
    const alone = await clients.busy.ask('run', { kind: 'alone', seconds: SECONDS });
    const before = await memoryOf(pod.processId);
    first ??= before;
    const since = performance.now();
    await clients.idle.ask('open', idle);
    const opened = ((performance.now() - since) / 1000).toFixed(1);
    await sleep(SETTLE_MS);
    await memoryOf(pod.processId);
    const beside = await clients.busy.ask('run', { kind: 'beside', seconds: SECONDS });
    const after = await memoryOf(pod.processId);
    const alive = await clients.idle.ask('count');
    if (alive !== IDLE) throw new Error(`${alive} of ${IDLE} idle connections are left`);
    await clients.idle.ask('close');
    await sleep(SETTLE_MS);
    memory.heap.push((after.heapUsed + after.external - before.heapUsed - before.external) / IDLE);
    memory.rss.push((after.rss - before.rss) / IDLE);
    peak = Math.max(peak, after.rss);
    delays.alone.push(before.delayMs);
    delays.beside.push(after.delayMs);
    for (const which of ['p50', 'p99']) ratios[which].push(beside.receipt[which] / alone.receipt[which]);
    say(
      `  round ${round}: alone ${timesOf(alone.receipt)}; beside ${timesOf(beside.receipt)} (opened in ${opened} s); event loop late at p99 ` +
        `${before.delayMs.toFixed(1)} and ${after.delayMs.toFixed(1)} ms; per idle connection: heap ${kib(memory.heap.at(-1))}, RSS ${kib(memory.rss.at(-1))}`,
    );
  }
  say(
    `due to RECEIPT, medians of the rounds' ratios: p50 ${median(ratios.p50).toFixed(2)}, p99 ${median(ratios.p99).toFixed(2)}; event loop late at p99 ` +
      `${median(delays.alone).toFixed(1)} ms alone, ${median(delays.beside).toFixed(1)} ms beside`,
  );
  const { alone, beside } = await clients.busy.ask('tell');
  for (const what of ['receipt', 'message']) {
    say(
      `due to ${what.toUpperCase()}, all rounds: alone ${timesOf(alone[what])}, beside ${timesOf(beside[what])}; ratio p50 ` +
        `${(beside[what].p50 / alone[what].p50).toFixed(2)}, p99 ${(beside[what].p99 / alone[what].p99).toFixed(2)}`,
    );
  }
  say(
    `memory of the pod per idle connection: heap ${kib(median(memory.heap))} (median of the rounds, after a collection), RSS ` +
      `${kib(memory.rss[0])} in the first round; RSS ${mib(first.rss)} before, ${mib(peak)} at most with all of them`,
  );
}

const timesOf = ({ p50, p99 }) => `p50 ${(p50 / 1000).toFixed(1)} ms, p99 ${(p99 / 1000).toFixed(1)} ms`;
const kib = (bytes) => `${(bytes / KIB).toFixed(1)} KiB`;
const mib = (bytes) => `${Math.round(bytes / KIB / KIB)} MiB`;

async function makeQueue(pod, displayName) {
  const { apiKey, compartmentId } = pod.credentials;
  const agent = new Agent();
  const call = (method, target, body) => send(pod.endpoint, agent, method, target, bearer(apiKey), body);
  await call('POST', '/queues', JSON.stringify({ displayName, compartmentId }));
  const [queue] = JSON.parse((await call('GET', `/queues?displayName=${displayName}`)).text).items;
  agent.destroy();
  return queue.id;
}

async function tellProfile(folder) {
  const [name] = await readdir(folder);
  const file = path.join(tmpdir(), 'towpath-stomp-idle.cpuprofile');
  await cp(path.join(folder, name), file);
  const { total, times } = await timesByFile(file);
  say(
    `\nthe pod's processor time by file, with its start, ${(total / 1000).toFixed(1)} s (${file} has it by function)`,
  );
  for (const [source, ms] of times.slice(0, 15)) say(`${((ms / total) * 100).toFixed(1).padStart(6)} %  ${source}`);
}

/** A process with one side of the connections, which answers orders one at a time. */
function start(role) {
  const child = fork(import.meta.filename, [...process.argv.slice(2), '--role', role]);
  const ask = (order, details = {}) =>
    new Promise((resolve, reject) => {
      const ended = (code) => reject(new Error(`the ${role} clients have ended (${code})`));
      child.once('exit', ended);
      child.once('message', ({ result, error }) => {
        child.off('exit', ended);
        if (error === undefined) resolve(result);
        else reject(new Error(error));
      });
      child.send({ order, details });
    });
  return { process: child, ask };
}

function answer(orders) {
  process.on('message', ({ order, details }) => {
    Promise.resolve(orders[order](details)).then(
      (result) => process.send({ result: result ?? null }),
      (error) => process.send({ error: String(error) }),
    );
  });
}

/** The idle ones: they send and are sent heart-beats, and nothing else. */
async function openIdle({ broker, count, destination }) {
  const clients = [];
  const connectOne = async () => {
    const heartBeat = `${HEART_BEAT_MS},${HEART_BEAT_MS}`;
    const client = await StompClient.connect({ ...broker, heartBeat });
    client.onError = (text) => process.stderr.write(`an idle connection has ended: ${text}\n`);
    if (destination !== null) await new Consumer(client, { destination }).subscribe(20);
    clients.push(client);
  };
  while (clients.length < count) {
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - clients.length) }, connectOne));
  }
  openIdle.clients = clients;
  // In turn, a hundredth of them at a time.
  let next = 0;
  openIdle.timer = setInterval(() => {
    for (let index = next; index < clients.length; index += 100) clients[index].write('\n');
    next = (next + 1) % 100;
  }, HEART_BEAT_MS / 100);
}

function closeIdle() {
  clearInterval(openIdle.timer);
  for (const client of openIdle.clients) client.close();
}

function countIdle() {
  return openIdle.clients.filter(({ socket }) => !socket.destroyed && socket.readyState === 'open').length;
}

/** The busy ones: each sends in its turn, and receives whatever it is given of what all have sent. */
async function openBusy({ broker, destination, count }) {
  const clients = [];
  const dueOf = [];
  let times = null;
  /** Frames that are waited for. */
  const progress = { underWay: 0 };
  const record = (what, due) => {
    times?.[what].recordValue(Math.max(1, Math.round((performance.now() - due) * 1000)));
  };
  for (let index = 0; index < count; index += 1) {
    const client = await StompClient.connect(broker);
    client.onError = (text) => {
      throw new Error(text);
    };
    const consumer = new Consumer(client, { destination });
    await consumer.subscribe(20);
    const acknowledge = client.onMessage;
    client.onMessage = (ack, frame) => {
      acknowledge(ack);
      record('message', dueOf[Number(frame.slice(frame.indexOf('\n\n') + 2).trim())]);
      progress.underWay -= 1;
    };
    client.onReceipt = (id) => {
      record('receipt', dueOf[Number(id)]);
      progress.underWay -= 1;
    };
    clients.push(client);
  }
  /** Resolves when all that was sent is confirmed and received. */
  openBusy.run = async (recorded, seconds) => {
    times = recorded;
    const from = performance.now();
    for (let index = 0; index < seconds * RATE; index += 1) {
      const due = from + (index * 1000) / RATE;
      while (performance.now() < due) await sleep(Math.max(0, due - performance.now()));
      const number = dueOf.push(due) - 1;
      const body = String(number).padEnd(200);
      progress.underWay += 2;
      clients[number % count].write(
        `SEND\ndestination:${destination}\nreceipt:${number}\ncontent-length:200\n\n${body}\0`,
      );
    }
    const deadline = performance.now() + 30_000;
    while (progress.underWay > 0) {
      if (performance.now() > deadline) throw new Error(`${progress.underWay} frames have not come`);
      await sleep(5);
    }
    times = null;
  };
}

const newTimes = () => ({ receipt: build(), message: build() });
const allRounds = { alone: newTimes(), beside: newTimes() };

async function runBusy({ kind, seconds }) {
  const times = newTimes();
  await openBusy.run(times, seconds);
  for (const what of ['receipt', 'message']) allRounds[kind]?.[what].add(times[what]);
  return percentilesOf(times);
}

function tellBusy() {
  return { alone: percentilesOf(allRounds.alone), beside: percentilesOf(allRounds.beside) };
}

function percentilesOf(times) {
  return Object.fromEntries(
    Object.entries(times).map(([what, histogram]) => [
      what,
      { p50: histogram.getValueAtPercentile(50), p99: histogram.getValueAtPercentile(99) },
    ]),
  );
}

if (options.role === 'idle') answer({ open: openIdle, close: closeIdle, count: countIdle });
else if (options.role === 'busy') answer({ open: openBusy, run: runBusy, tell: tellBusy });
else await main();
