import { Client } from '../rest/support.js';
import { startPodProcesses, type PodProcess, type PodProcesses } from './pod-process.js';
import { until } from './support.js';

const LIMIT = 10;
const SECONDS = 4;
const CLIENTS = 4;

/** How many gets get through in so many seconds, as several clients ask: one alone may be slower than the limit. */
async function getsThrough(client: Client, queue: string): Promise<{ gets: number; seconds: number }> {
  const start = performance.now();
  let gets = 0;
  const ask = async (): Promise<void> => {
    while (performance.now() - start < SECONDS * 1000) {
      const { status } = await client.call({ path: `/queues/${queue}/messages?timeoutInSeconds=0` });
      if (status !== 200 && status !== 429) throw new Error(`it answers ${status}`);
      if (status === 200) gets += 1;
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, ask));
  return { gets, seconds: (performance.now() - start) / 1000 };
}

const livePods = async (client: Client): Promise<number> =>
  Number(/^towpath_live_pods (\d+)$/m.exec((await client.call({ path: '/metrics', root: true })).text)?.[1]);

describe('a rate limit on several pods', () => {
  let processes: PodProcesses;
  const clients: Client[] = [];

  const clientOf = (pod: PodProcess): Client => {
    const client = new Client(pod.url, processes.credentials.apiKey);
    clients.push(client);
    return client;
  };

  beforeAll(async () => {
    processes = await startPodProcesses(2, { TOWPATH_MAX_QUEUE_REQUESTS_PER_SECOND: String(LIMIT) });
  });
  afterAll(async () => {
    for (const client of clients) client.close();
    await processes.stop();
  });

  it('is shared out among those that live: one that is killed leaves its share to the others', async () => {
    const [first, second] = [clientOf(processes.pods[0]!), clientOf(processes.pods[1]!)];
    const queue = await first.createQueue({ compartmentId: processes.credentials.compartmentId });
    for (const each of [first, second]) await until(async () => (await livePods(each)) === 2, 'both are counted');

    const halves = await Promise.all([first, second].map((each) => getsThrough(each, queue)));
    for (const { gets, seconds } of halves) {
      // Half of it, and half of a second's worth at once; to the request.
      expect(gets).toBeLessThanOrEqual((LIMIT / 2) * (seconds + 1) + 1);
      expect(gets).toBeGreaterThanOrEqual((LIMIT / 2) * SECONDS * 0.5);
    }

    await processes.pods[1]!.killed();
    // 15 seconds and a heartbeat of 5.
    await until(async () => (await livePods(first)) === 1, 'the dead one is forgotten');
    const whole = await getsThrough(first, queue);
    expect(whole.gets).toBeLessThanOrEqual(LIMIT * (whole.seconds + 1) + 1);
    expect(whole.gets).toBeGreaterThan((LIMIT / 2) * (whole.seconds + 1) + 1);
  }, 300_000);

  it('is given back at once by one that stops', async () => {
    const pod = await processes.add();
    const client = clientOf(pod);
    await until(async () => (await livePods(client)) === 2, 'it has counted itself');
    expect(await processes.test.sql('select from towpath.pod')).toHaveLength(2);
    pod.signal('SIGTERM');
    expect(await pod.ended()).toBe(0);
    expect(await processes.test.sql('select from towpath.pod')).toHaveLength(1);
  });
});
