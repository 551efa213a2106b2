import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { startPod, type Pod } from '../../src/app.js';
import { readConfiguration } from '../../src/config/environment.js';
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../src/embedded-postgres/embedded-postgres.js';
import { Notifications } from '../../src/database/notifications.js';
import { ensureFirstIdentity } from '../../src/identity/first-identity.js';
import { createLogger } from '../../src/operations/log.js';
import { checkHistory } from '../history/check.js';
import { clock } from '../history/history.js';
import { runLoad } from '../history/load.js';
import { settle } from '../history/settle.js';
import { RecordedQueue } from '../history/recorded-queue.js';
import { message, quantile, until, untilParked } from '../pods/support.js';

/** How long the database is away, and how long a request waits for it. */
const OUTAGE_MS = 5000;
const WAIT_SECONDS = 1;
const BEFORE_MS = 3000;
const LOAD_SECONDS = 14;
const TIMEOUT_MS = 420_000;
/** How often a long poll is woken from pod to pod afterwards, and how soon, mostly. The slow poll comes after 10 seconds. */
const ROUNDS = 20;
const WOKEN_MS = 250;

/** What a test of an outage needs: a server of its own, two pods on it, and a queue. */
interface Service {
  readonly server: EmbeddedPostgres;
  readonly pods: Pod[];
  readonly queue: RecordedQueue;
  readonly sql: <Row extends pg.QueryResultRow>(text: string, values?: readonly unknown[]) => Promise<Row[]>;
  readonly stop: () => Promise<void>;
}

async function startService(): Promise<Service> {
  const dataDirectory = await mkdtemp(path.join(tmpdir(), 'towpath-outage-'));
  // Durable against the end of its processes; only the machine must not fall over.
  const server = await startEmbeddedPostgres({ dataDirectory, settings: { fsync: 'off' } });
  const pods: Pod[] = [];
  const types = new pg.TypeOverrides();
  types.setTypeParser(pg.types.builtins.INT8, Number);
  const pool = new pg.Pool({ connectionString: server.url, max: 2, types });
  pool.on('error', () => undefined);
  const stop = async (): Promise<void> => {
    await Promise.all(pods.splice(0).map((pod) => pod.stop()));
    await pool.end();
    await server.stop();
    await rm(dataDirectory, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const configuration = readConfiguration({
      DATABASE_URL: server.url,
      TOWPATH_DATA_DIR: dataDirectory,
      TOWPATH_PORT: '0',
      TOWPATH_DATABASE_WAIT_SECONDS: String(WAIT_SECONDS),
      TOWPATH_LOG_LEVEL: process.env['TEST_LOG_LEVEL'] ?? 'silent',
    });
    for (let index = 0; index < 2; index += 1) {
      pods.push(await startPod(configuration, server.url, createLogger(configuration.logLevel)));
    }
    const log = { info: (): void => undefined, warn: (): void => undefined };
    const { credentials } = await ensureFirstIdentity(pods[0]!.database, { dataDirectory }, pods[0]!.url, log);
    const queue = await RecordedQueue.create(
      { urls: pods.map(({ url }) => url), apiKey: credentials!.apiKey, compartmentId: credentials!.compartmentId },
      { visibilityInSeconds: 1, deadLetterQueueDeliveryCount: 3, lingerMs: OUTAGE_MS },
    );
    return { server, pods, queue, sql: async (text, values = []) => (await pool.query(text, [...values])).rows, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A put on one pod wakes a long poll on the other, many times in a row, by a notification and not by the slow poll. */
async function expectToListenAgain({ pods, queue }: Service): Promise<void> {
  for (const pod of pods) await until(() => pod.app.get(Notifications).isListening, 'it listens again');
  const latencies: number[] = [];
  const median = (): number => quantile(latencies.slice(-ROUNDS), 0.5);
  // More of them where the machine is busy with what the incident left to do.
  for (let round = 0; round < ROUNDS || (round < 5 * ROUNDS && median() >= WOKEN_MS); round += 1) {
    const [putter, waiter] = round % 2 === 0 ? [0, 1] : [1, 0];
    const waiting = queue.get(waiter, { timeoutInSeconds: 25, visibilityInSeconds: 20 });
    await untilParked(pods[waiter]!, 1);
    const calledAt = clock();
    await queue.put(putter, [message(`after ${calledAt}`)]);
    const [delivery] = (await waiting) ?? [];
    latencies.push(clock() - calledAt);
    await queue.delete(waiter, [delivery?.receipt ?? '']);
  }
  process.stdout.write(
    `  woken from pod to pod afterwards, ${latencies.length} times: p50 ${quantile(latencies, 0.5).toFixed(1)} max ${quantile(latencies, 1).toFixed(1)} ms\n`,
  );
  expect(median()).toBeLessThan(WOKEN_MS);
}

/** Load, an incident in the middle of it, and afterwards everything as before, with nothing restarted and nothing lost. */
async function survive(service: Service, name: string, incident: () => Promise<void>): Promise<RecordedQueue> {
  const { queue, pods } = service;
  const happening = sleep(BEFORE_MS).then(incident);
  const counts = await runLoad(queue, { seconds: LOAD_SECONDS });
  await happening;
  const slowest = Math.max(0, ...queue.unavailable.map(({ ms }) => ms));
  process.stdout.write(
    `${name}: ${JSON.stringify(counts)}, ${queue.unavailable.length} times 503, the slowest after ${Math.round(slowest)} ms\n`,
  );
  for (const pod of pods) {
    await until(async () => (await fetch(`${pod.url}/readyz`)).status === 200, 'the pod is ready again');
  }
  await settle(queue, service);
  await expectToListenAgain(service);
  return queue;
}

describe('the service survives', () => {
  let service: Service;
  beforeEach(async () => {
    service = await startService();
  }, TIMEOUT_MS);
  afterEach(() => service.stop(), TIMEOUT_MS);

  it.each([
    ['a database that is stopped (fast) for 5 s', 'SIGINT'],
    ['a database whose postmaster is killed, for 5 s', 'SIGKILL'],
  ] as const)(
    '%s',
    async (name, signal) => {
      const { server } = service;
      let awayAt = 0;
      let backAt = 0;
      const queue = await survive(service, name, async () => {
        process.kill(server.processId, signal);
        awayAt = clock();
        await sleep(OUTAGE_MS);
        await server.restart();
        backAt = clock();
      });
      expect(checkHistory(queue.history)).toEqual([]);
      expect(queue.surprises).toEqual([]);
      // Told so while it was away, not when it was back again.
      expect(queue.unavailable.filter(({ at }) => at > awayAt && at < backAt).length).toBeGreaterThan(0);
      for (const { ms } of queue.unavailable) expect(ms).toBeLessThan(WAIT_SECONDS * 10_000);
    },
    TIMEOUT_MS,
  );

  it(
    'all of its connections being terminated, again and again, the listening ones too',
    async () => {
      const queue = await survive(service, 'terminated connections', async () => {
        for (let round = 0; round < 8; round += 1) {
          await service.sql(
            `select pg_terminate_backend(pid) from pg_stat_activity
             where application_name like 'towpath%' and pid <> pg_backend_pid()`,
          );
          await sleep(700);
        }
      });
      expect(checkHistory(queue.history)).toEqual([]);
      expect(queue.surprises).toEqual([]);
    },
    TIMEOUT_MS,
  );

  it(
    'a stop of the pods while the database is away',
    async () => {
      const { server, pods } = service;
      process.kill(server.processId, 'SIGKILL');
      await until(() => !pods[0]!.app.get(Notifications).isListening, 'the pod has noticed');
      const startedAt = clock();
      await Promise.all(pods.splice(0).map((pod) => pod.stop()));
      const tookMs = clock() - startedAt;
      process.stdout.write(`a stop without the database took ${Math.round(tookMs)} ms\n`);
      expect(tookMs).toBeLessThan(30_000);
    },
    TIMEOUT_MS,
  );
});
