import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../pods/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { Client, expectError, makeStranger, type Answer } from './support.js';

/** Two pods with limits that hold for the whole service, so that each test has its own. */
async function setup(environment: Record<string, string>): Promise<{
  readonly pods: TestPods;
  /** Of the same user, one per pod. */
  readonly clients: readonly [Client, Client];
  readonly newQueue: (name?: string) => Promise<string>;
}> {
  const pods = await startTestPods(2, environment);
  const open = (index: number): Client => new Client(pods.pods[index]!.url, pods.credentials.apiKey);
  const clients = [open(0), open(1)] as const;
  stops.push(async () => {
    for (const client of clients) client.close();
    await pods.stop();
  });
  // The first was there before the second, and learns of it with its next heartbeat.
  await until(async () => (await metricsOf(clients[0])).includes('towpath_live_pods 2'), 'the first knows the second');
  const { compartmentId } = pods.credentials;
  return { pods, clients, newQueue: (displayName = 'q') => clients[0].createQueue({ compartmentId, displayName }) };
}
const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

const metricsOf = async (client: Client): Promise<string> => (await client.call({ path: '/metrics', root: true })).text;
const put = (client: Client, queue: string, bytes: number): Promise<Answer> =>
  client.call({
    method: 'POST',
    path: `/queues/${queue}/messages`,
    body: { messages: [{ content: 'x'.repeat(bytes) }] },
  });
const get = (client: Client, queue: string): Promise<Answer> =>
  client.call({ path: `/queues/${queue}/messages?timeoutInSeconds=0&limit=20` });

describe('the limits of a tenancy, on two pods', () => {
  it('of queues: exact, whichever pod is asked', async () => {
    const { pods, clients, newQueue } = await setup({ TOWPATH_MAX_TENANCY_QUEUES: '3' });
    await newQueue();
    const { compartmentId } = pods.credentials;
    const create = (client: Client, token?: string): Promise<Answer> =>
      client.call({
        method: 'POST',
        path: '/queues',
        headers: token === undefined ? {} : { 'opc-retry-token': token },
        body: { displayName: 'another', compartmentId },
      });
    const answers = await Promise.all([create(clients[0]), create(clients[1]), create(clients[0]), create(clients[1])]);
    expect(answers.map(({ status }) => String(status)).toSorted()).toEqual(['202', '202', '400', '400']);
    const refused = answers.find(({ status }) => status === 400)!;
    expectError(refused, 400, 'LimitExceeded', /^the tenancy has 3 queues and may have 3: delete one/);
    const stranger = await makeStranger(pods);
    stranger.client.close();
    // Room that is made is there at once, and a repeat needs none.
    const { items } = (await clients[0].call({ path: `/queues?compartmentId=${compartmentId}` })).json as {
      items: { id: string }[];
    };
    expect((await clients[1].call({ method: 'DELETE', path: `/queues/${items[0]!.id}` })).status).toBe(202);
    const made = await create(clients[0], 'token');
    expect(made.status).toBe(202);
    const repeat = await create(clients[1], 'token');
    expect(repeat.headers['opc-work-request-id']).toBe(made.headers['opc-work-request-id']);
  });

  it('of storage: all queues together', async () => {
    const { pods, clients, newQueue } = await setup({ TOWPATH_MAX_TENANCY_BYTES: '100000' });
    const [first, second] = [await newQueue('first'), await newQueue('second')];
    expect((await put(clients[0], first, 50_000)).status).toBe(200);
    expect((await put(clients[0], second, 40_000)).status).toBe(200);
    expectError(
      await put(clients[0], second, 20_000),
      400,
      'LimitExceeded',
      /^the tenancy stores about 90000 bytes in all its queues.*may store 100000; these messages have 20000/,
    );
    // The other pod reads it before its first put.
    expectError(await put(clients[1], first, 20_000), 400, 'LimitExceeded', /about 90000 bytes/);
    expect((await put(clients[1], first, 5000)).status).toBe(200);
    const stranger = await makeStranger(pods);
    expect((await put(stranger.client, stranger.queueId, 90_000)).status).toBe(200);
    stranger.client.close();
    await clients[1].call({ method: 'POST', path: `/queues/${first}/actions/purge`, body: { purgeType: 'BOTH' } });
    await until(async () => (await put(clients[0], second, 20_000)).status === 200, 'there is room again', 20_000);
    expect(await metricsOf(clients[0])).toMatch(
      /^towpath_refused_requests_total\{limit="storage",scope="tenancy"\} [1-9]/m,
    );
  });

  it('of requests: whatever they ask for, half of it on each pod', async () => {
    const { pods, clients } = await setup({ TOWPATH_MAX_TENANCY_REQUESTS_PER_SECOND: '20' });
    const list = { path: `/queues?compartmentId=${pods.credentials.compartmentId}` };
    for (const client of clients) {
      const start = performance.now();
      const answers: Answer[] = [];
      while (answers.at(-1)?.status !== 429) answers.push(await client.call(list));
      const seconds = (performance.now() - start) / 1000;
      const refused = answers.at(-1)!;
      expectError(
        refused,
        429,
        'TooManyRequests',
        /^the tenancy may have 20 requests per second, all its queues together, and 10 by each of 2 pods: try again in 1 second$/,
      );
      expect(refused.headers['retry-after']).toBe('1');
      expect(answers.length - 1).toBeGreaterThanOrEqual(10);
      expect(answers.length - 1).toBeLessThanOrEqual(10 + 10 * seconds + 1);
      // Wrong credentials are nobody's requests, and others have their own.
      expect((await client.call({ ...list, apiKey: null })).status).toBe(401);
    }
    const stranger = await makeStranger(pods);
    stranger.client.close();
    await sleep(1000);
    expect((await clients[0].call(list)).status).toBe(200);
  });

  it('of bytes: in and out, all queues together', async () => {
    const { clients, newQueue } = await setup({ TOWPATH_MAX_TENANCY_BYTES_PER_SECOND: '200000' });
    const [first, second] = [await newQueue('first'), await newQueue('second')];
    expect((await put(clients[0], first, 250_000)).status).toBe(200);
    expectError(
      await put(clients[0], second, 100),
      429,
      'TooManyRequests',
      /^the tenancy may have 200000 bytes in per second, all its queues together, and 100000 by each of 2 pods; this request has 100 bytes: /,
    );
    expect((await get(clients[0], first)).status).toBe(200);
    expectError(await get(clients[0], second), 429, 'TooManyRequests', /200000 bytes out per second/);
    // The other pod has its part still.
    expect((await put(clients[1], second, 100)).status).toBe(200);
    await until(async () => (await put(clients[0], second, 100)).status === 200, 'it is paid back', 20_000);
  });

  it('of connections: a further one is refused and closed', async () => {
    const { pods, clients } = await setup({ TOWPATH_MAX_TENANCY_CONNECTIONS: '4', TOWPATH_MAX_USER_CONNECTIONS: '2' });
    const list = { path: `/queues?compartmentId=${pods.credentials.compartmentId}` };
    expect((await clients[0].call(list)).status).toBe(200);
    const further = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    const refused = await further.call(list);
    expectError(
      refused,
      429,
      'TooManyRequests',
      /^the user may have 2 connections, 1 to each of 2 pods, and has 1 here: use those that are open, or close some$/,
    );
    expect(refused.headers).toMatchObject({ connection: 'close', 'retry-after': '1' });
    // What is open goes on, probes need none, and the other pod has its part.
    expect((await clients[0].call(list)).status).toBe(200);
    expect((await further.call({ path: '/readyz', root: true })).status).toBe(200);
    expect((await clients[1].call(list)).status).toBe(200);
    clients[0].close();
    await until(async () => (await further.call(list)).status === 200, 'the place is free again', 20_000);
    further.close();
    expect(await metricsOf(clients[1])).toMatch(
      /^towpath_refused_requests_total\{limit="connections",scope="user"\} 0$/m,
    );
  });
});
