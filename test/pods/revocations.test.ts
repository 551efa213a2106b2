import { setTimeout as sleep } from 'node:timers/promises';
import { Notifications } from '../../src/database/notifications.js';
import { Client } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { quantile, until } from './support.js';

const ROUNDS = 20;
/** As the cache of credentials remembers them. */
const REMEMBERED_MS = 2000;

/** How long a key still works after it was revoked: on the pod that was asked to, on another one, and in SQL. */
describe('a revoked key', () => {
  let pods: TestPods;
  let clients: Client[];
  beforeAll(async () => {
    pods = await startTestPods(2);
    clients = pods.pods.map(({ url }) => new Client(url, pods.credentials.apiKey));
  });
  afterAll(async () => {
    for (const client of clients) client.close();
    await pods.stop();
  });

  const keysPath = (): string => `/users/${pods.credentials.userId}/apiKeys`;

  /** A key that both pods have just looked up, so that they remember it. */
  async function usedKey(): Promise<{ key: string; id: string }> {
    const { json } = await clients[0]!.call({ method: 'POST', path: keysPath() });
    const { key, id } = json as { key: string; id: string };
    for (const pod of [0, 1]) expect(await statusOn(pod, key)).toBe(200);
    return { key, id };
  }
  const statusOn = async (pod: number, apiKey: string): Promise<number> =>
    (await clients[pod]!.call({ path: '/queues?limit=1', apiKey })).status;

  /** Milliseconds from the revocation's answer until each pod refuses it. */
  async function measure(revoke: (id: string) => Promise<unknown>): Promise<number[]> {
    const { key, id } = await usedKey();
    await revoke(id);
    const revokedAt = performance.now();
    return Promise.all(
      [0, 1].map(async (pod) => {
        await until(async () => (await statusOn(pod, key)) === 401, `pod ${pod} refuses it`, 20_000);
        return performance.now() - revokedAt;
      }),
    );
  }
  const byRest = async (id: string): Promise<void> => {
    expect((await clients[0]!.call({ method: 'DELETE', path: `${keysPath()}/${id}` })).status).toBe(204);
  };
  const bySql = (id: string): Promise<unknown> => pods.test.sql('delete from towpath.api_key where id = $1', [id]);

  it.each([
    ['by REST', byRest],
    ['at psql', bySql],
  ])(
    'that was revoked %s stops working on all pods at once',
    async (how, revoke) => {
      const times: number[] = [];
      for (let round = 0; round < ROUNDS; round += 1) times.push(...(await measure(revoke)));
      const [median, max] = [0.5, 1].map((share) => quantile(times, share));
      process.stdout.write(`revoked ${how}, ${ROUNDS} times: p50 ${median!.toFixed(1)} max ${max!.toFixed(1)} ms\n`);
      // Without notifications half of them would take about two seconds.
      expect(median).toBeLessThan(REMEMBERED_MS / 2);
    },
    ROUNDS * 10_000,
  );

  it('stops working within two seconds where nobody hears of it', async () => {
    const heard = pods.pods.map((pod) => pod.app.get(Notifications));
    const listeners = heard.map(({ events }) => events.listeners('message'));
    // Connections that look alive and bring nothing: the case that no reconnection mends.
    for (const { events } of heard) events.removeAllListeners('message');
    try {
      const times = await measure(byRest);
      process.stdout.write(`revoked unheard: ${times.map((time) => time.toFixed(0)).join(' and ')} ms\n`);
      for (const time of times) expect(time).toBeLessThan(10 * REMEMBERED_MS);
      // It was remembered: the notification does make the difference above.
      expect(Math.max(...times)).toBeGreaterThan(REMEMBERED_MS / 4);
    } finally {
      for (const [index, { events }] of heard.entries()) {
        for (const listener of listeners[index]!) events.on('message', listener);
      }
    }
  });

  it('stops working when LISTEN is cut, and the pods hear of the next one again', async () => {
    const { key, id } = await usedKey();
    await pods.test.sql(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and application_name = 'towpath listen'`,
    );
    await bySql(id);
    const revokedAt = performance.now();
    for (const pod of [0, 1]) await until(async () => (await statusOn(pod, key)) === 401, `pod ${pod} refuses it`);
    process.stdout.write(`revoked while LISTEN was cut: ${(performance.now() - revokedAt).toFixed(0)} ms\n`);
    for (const pod of pods.pods) await until(() => pod.app.get(Notifications).isListening, 'it listens again');
    await sleep(100);
    const times: number[] = [];
    for (let round = 0; round < 5; round += 1) times.push(...(await measure(bySql)));
    expect(quantile(times, 0.5)).toBeLessThan(REMEMBERED_MS / 2);
  });
});
