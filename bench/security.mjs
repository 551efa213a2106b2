// What authentication, policies and sealing cost together: whole lives of messages (put, get, delete) over HTTP, on a pod as it
// is deployed, and on one that asks for no credentials and seals nothing, on one database and in one run. Each pod is a process of its
// own; slices of the two alternate, so that whatever else the machine does meets both. Ends by itself.
//
//   npm run bench:security           batches of 20 and of 1, 20 s each, an embedded server of its own, durable commits
//   BENCH_SECONDS=60 BENCH_CONNECTIONS=64 BENCH_BYTES=2000 …
//   BENCH_FSYNC=off …                commits that wait for no disk, so that the pods are what limits
import { rm } from 'node:fs/promises';
import { Agent } from 'node:http';
import path from 'node:path';
import { startEmbeddedPostgres } from '../dist/embedded-postgres/embedded-postgres.js';
import { bearer, send, startPodProcess } from './pod-process.mjs';
import { machine, makeFolder, say } from './support.mjs';

const SECONDS = Number(process.env.BENCH_SECONDS ?? 20);
const CONNECTIONS = Number(process.env.BENCH_CONNECTIONS ?? 16);
const BYTES = Number(process.env.BENCH_BYTES ?? 200);
const FSYNC = process.env.BENCH_FSYNC ?? 'on';
const SLICE_MS = 500;

const folder = await makeFolder();
const dataDirectory = await makeFolder();
const server = await startEmbeddedPostgres({ dataDirectory, settings: { fsync: FSYNC, max_wal_size: '8GB' } });
const pods = [];
try {
  const own = { databaseUrl: server.url, dataDirectory: path.join(folder, 'pod') };
  pods.push(await startPodProcess(own));
  const [{ credentials }] = pods;
  const { tenancyId, userId, compartmentId, apiKey } = credentials;
  const caller = { tenancyId, userId, credential: 'api-key', credentialId: 'bench' };
  pods.push(
    await startPodProcess({
      ...own,
      script: path.resolve(import.meta.dirname, 'unguarded-pod.mjs'),
      environment: { BENCH_CALLER: JSON.stringify(caller) },
    }),
  );
  say(
    `PostgreSQL 18 embedded, fsync ${FSYNC}, ${machine()}; client, pods and server on this machine, ${CONNECTIONS} connections, ` +
      `${BYTES} bytes and one property per message, slices of ${SLICE_MS} ms in turn for ${SECONDS} s`,
  );
  for (const batch of [20, 1]) {
    const kinds = [];
    for (const [index, pod] of pods.entries()) kinds.push(await kindOf(pod, `${batch}-${index}`, batch));
    // The first slices compile and fill caches.
    for (let round = 0; round < 4; round += 1) for (const kind of kinds) await slice(kind);
    for (const kind of kinds) Object.assign(kind, { messages: 0, ms: 0, cpu: 0 });
    for (let spent = 0; spent < SECONDS * 1000; spent += SLICE_MS * kinds.length) {
      for (const kind of kinds) await slice(kind);
    }
    const [guarded, bare] = kinds.map(({ messages, ms }) => (messages / ms) * 1000);
    const [guardedCpu, bareCpu] = kinds.map(({ messages, cpu }) => (cpu / messages) * 1000);
    say(
      `  batches of ${batch}: ${guarded.toFixed(0)} lives/s with credentials, policies and sealing, ${bare.toFixed(0)} with none; ` +
        `ratio ${(guarded / bare).toFixed(3)}; processor time of the pod per life ${guardedCpu.toFixed(0)} and ${bareCpu.toFixed(0)} µs`,
    );
    for (const { agent } of kinds) agent.destroy();
  }

  async function kindOf(pod, displayName, batch) {
    const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
    const call = async (method, target, body) => {
      const { status, text } = await send(pod.endpoint, agent, method, target, bearer(apiKey), JSON.stringify(body));
      if (status >= 300) throw new Error(`${method} ${target}: ${status} ${text}`);
      return text === '' ? {} : JSON.parse(text);
    };
    await call('POST', '/queues', { displayName, compartmentId });
    const { items } = await call('GET', `/queues?displayName=${displayName}`);
    const target = `/queues/${items[0].id}/messages`;
    const message = { content: 'x'.repeat(BYTES), metadata: { customProperties: { kind: 'order' } } };
    const messages = Array.from({ length: batch }, () => message);
    const live = async () => {
      await call('POST', target, { messages });
      const found = (await call('GET', `${target}?limit=${batch}&timeoutInSeconds=0`)).messages;
      if (found.length > 0) {
        await call('POST', `${target}/actions/deleteMessages`, { entries: found.map(({ receipt }) => ({ receipt })) });
      }
      return found.length;
    };
    return { live, agent, cpuMs: pod.cpuMs, messages: 0, ms: 0, cpu: 0 };
  }
} finally {
  for (const pod of pods) await pod.stop();
  await server.stop();
  for (const each of [folder, dataDirectory]) await rm(each, { recursive: true, force: true, maxRetries: 5 });
}

async function slice(kind) {
  const start = performance.now();
  const cpu = kind.cpuMs();
  const client = async () => {
    while (performance.now() < start + SLICE_MS) {
      const messages = await kind.live();
      // Not in one expression with the wait, which would lose what others have added meanwhile.
      kind.messages += messages;
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, client));
  kind.ms += performance.now() - start;
  kind.cpu += kind.cpuMs() - cpu;
}
