// What sealing costs: whole lives of messages (put, get, delete) through the services of two pods on one database, of
// which one seals and the other does not, in one run. Without HTTP, which would hide a part of the cost. Slices of the
// two alternate, so that whatever else the machine does meets both. Ends by itself.
//
//   npm run bench:encryption        batches of 20 and of 1, 20 s each, on an embedded server of its own, durable commits
//   BENCH_SECONDS=60 BENCH_CONNECTIONS=16 BENCH_BYTES=2000 …
import { availableParallelism, cpus, loadavg } from 'node:os';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import 'reflect-metadata';
import { startPod } from '../dist/app.js';
import { readConfiguration } from '../dist/config/environment.js';
import { startEmbeddedPostgres } from '../dist/embedded-postgres/embedded-postgres.js';
import { ensureFirstIdentity } from '../dist/identity/first-identity.js';
import { MemoryBudget } from '../dist/memory/memory-budget.js';
import { DeliveriesService } from '../dist/messages/deliveries.service.js';
import { GetsService } from '../dist/messages/gets.service.js';
import { PutsService } from '../dist/messages/puts.service.js';
import { createLogger } from '../dist/operations/log.js';
import { makeFolder } from './support.mjs';

const SECONDS = Number(process.env.BENCH_SECONDS ?? 20);
const CONNECTIONS = Number(process.env.BENCH_CONNECTIONS ?? 8);
const BYTES = Number(process.env.BENCH_BYTES ?? 200);
const SLICE_MS = 500;

const say = (line) => process.stdout.write(`${line}\n`);
const folder = await makeFolder();
const server = await startEmbeddedPostgres({
  dataDirectory: path.join(folder, 'server'),
  settings: { max_wal_size: '8GB' },
});
const pods = [];
try {
  const logger = createLogger('warn');
  for (const sealing of ['on', 'off']) {
    const configuration = readConfiguration({
      DATABASE_URL: server.url,
      TOWPATH_DATA_DIR: path.join(folder, 'pod'),
      TOWPATH_PORT: '0',
      TOWPATH_STOMP_PORT: '0',
      TOWPATH_SEALING: sealing,
    });
    pods.push({ sealing, pod: await startPod(configuration, server.url, logger) });
  }
  const log = { info: () => undefined, warn: () => undefined };
  const [{ pod: first }] = pods;
  const { credentials } = await ensureFirstIdentity(
    first.database,
    { dataDirectory: path.join(folder, 'pod') },
    first.url,
    log,
  );
  const caller = { tenancyId: credentials.tenancyId, userId: credentials.userId };
  const [{ server_version: version }] = await first.database.run({ name: 'version', text: 'show server_version' }, []);
  say(
    `PostgreSQL ${version}, Node ${process.version}, ${availableParallelism()} x ${cpus()[0]?.model}, ` +
      `load ${loadavg()[0].toFixed(1)}; ${CONNECTIONS} clients, ${BYTES} bytes and one property per message, ${SLICE_MS} ms slices`,
  );
  for (const batch of [20, 1]) {
    const kinds = await Promise.all(pods.map((each) => kindOf(each, caller, credentials.compartmentId, batch)));
    for (const kind of kinds) await slice(kind);
    for (const kind of kinds) Object.assign(kind, { messages: 0, ms: 0, cpuMs: 0 });
    for (let spent = 0; spent < SECONDS * 1000; spent += SLICE_MS * kinds.length) {
      for (const kind of kinds) await slice(kind);
    }
    const [sealed, unsealed] = kinds.map(({ messages, ms }) => (messages / ms) * 1000);
    const [sealedCpu, unsealedCpu] = kinds.map(({ messages, cpuMs }) => (cpuMs / messages) * 1000);
    say(
      `  batches of ${batch}: sealed ${sealed.toFixed(0)} lives/s, unsealed ${unsealed.toFixed(0)}; ratio ${(sealed / unsealed).toFixed(3)}; ` +
        `processor time of the pod per life ${sealedCpu.toFixed(0)} and ${unsealedCpu.toFixed(0)} µs`,
    );
  }
} finally {
  for (const { pod } of pods) await pod.stop();
  await server.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}

async function kindOf({ sealing, pod }, caller, compartmentId, batch) {
  const [queue] = await pod.database.run(
    { name: 'make_queue', text: 'select identifier as id from towpath.create_queue($1, $2) w' },
    [caller.tenancyId, { displayName: `${sealing} ${batch}`, compartmentId }],
  );
  const puts = pod.app.get(PutsService);
  const gets = pod.app.get(GetsService);
  const pusher = { ...caller, permission: 'use queue-push' };
  const puller = { ...caller, permission: 'use queue-pull' };
  const deliveries = pod.app.get(DeliveriesService);
  const budget = pod.app.get(MemoryBudget);
  const messages = Array.from({ length: batch }, () => ({
    content: 'x'.repeat(BYTES),
    metadata: { customProperties: { kind: 'order' } },
  }));
  const signal = new AbortController().signal;
  const live = async () => {
    await puts.put(pusher, queue.id, { messages });
    const hold = budget.open();
    try {
      const { outcome } = await gets.get(puller, queue.id, { limit: batch, timeoutInSeconds: 0 }, signal, hold);
      const found = outcome.messages;
      if (found.length > 0)
        await deliveries.deleteMany(
          puller,
          queue.id,
          undefined,
          found.map(({ receipt }) => receipt),
        );
      return found.length;
    } finally {
      hold.release();
    }
  };
  return { live, messages: 0, ms: 0, cpuMs: 0 };
}

async function slice(kind) {
  const start = performance.now();
  const cpu = process.cpuUsage();
  const client = async () => {
    while (performance.now() < start + SLICE_MS) {
      const messages = await kind.live();
      // Not in one expression with the wait, which would lose what others have added meanwhile.
      kind.messages += messages;
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, client));
  kind.ms += performance.now() - start;
  const { user, system } = process.cpuUsage(cpu);
  kind.cpuMs += (user + system) / 1000;
}
