import { jest } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../pods/support.js';
import { stopTheClock } from '../support/clock.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { ociError, sdkClients } from '../support/sdk.js';
import { Client, expectError, type Answer } from './support.js';

/** Limits that hold for the whole service, so that each test has pods of its own. */
async function setup(environment: Record<string, string>): Promise<{
  readonly pods: TestPods;
  readonly client: Client;
  readonly newQueue: (details?: Record<string, unknown>) => Promise<string>;
}> {
  const pods = await startTestPods(1, environment);
  const client = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
  stops.push(async () => {
    client.close();
    await pods.stop();
  });
  const { compartmentId } = pods.credentials;
  return { pods, client, newQueue: (details = {}) => client.createQueue({ compartmentId, ...details }) };
}
const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  jest.restoreAllMocks();
  for (const stop of stops.splice(0)) await stop();
});

const put = (client: Client, queue: string, bytes: number, ...channels: (string | null)[]): Promise<Answer> =>
  client.call({
    method: 'POST',
    path: `/queues/${queue}/messages`,
    body: {
      messages: (channels.length === 0 ? [null] : channels).map((channelId) => ({
        content: 'x'.repeat(bytes),
        ...(channelId === null ? {} : { metadata: { channelId } }),
      })),
    },
  });
const get = (client: Client, queue: string, query = 'limit=20'): Promise<Answer> =>
  client.call({ path: `/queues/${queue}/messages?timeoutInSeconds=0&${query}` });
const metricsOf = async (client: Client): Promise<string> => (await client.call({ path: '/metrics', root: true })).text;

describe('the storage that a queue may use', () => {
  it('ends for one channel at its share, while others go on, up to the whole', async () => {
    const { client, newQueue } = await setup({ TOWPATH_MAX_QUEUE_BYTES: '100000' });
    const queue = await newQueue({ channelConsumptionLimit: 10 });
    for (let times = 0; times < 10; times += 1) expect((await put(client, queue, 1000, 'greedy')).status).toBe(200);
    const refused = await put(client, queue, 1000, 'greedy');
    expectError(
      refused,
      400,
      'LimitExceeded',
      /^channel greedy stores about 10000 bytes .* 10 % \(channelConsumptionLimit\)/,
    );
    expect(refused.headers['retry-after']).toBeUndefined();
    // All or nothing, also with a channel that has room.
    expectError(await put(client, queue, 1000, 'other', 'greedy'), 400, 'LimitExceeded', /^channel greedy/);
    for (const channel of ['other', 'another']) expect((await put(client, queue, 9000, channel)).status).toBe(200);
    // The queue itself has no share, only the whole: 28,000 are in.
    expect((await put(client, queue, 72_000)).status).toBe(200);
    expectError(await put(client, queue, 1), 400, 'LimitExceeded', /^the queue stores about 100000 bytes/);
    // Another queue has its own.
    expect((await put(client, await newQueue(), 100_000)).status).toBe(200);
    expect(await metricsOf(client)).toMatch(/^towpath_refused_requests_total\{limit="storage",scope="channel"\} 2$/m);
    const { json } = await client.call({ path: `/queues/${queue}/stats` });
    expect(json).toMatchObject({ queue: { sizeInBytes: 100_000 } });
  });

  it('is no reason not to tell what became of a put that was stored', async () => {
    const { client, newQueue } = await setup({ TOWPATH_MAX_QUEUE_BYTES: '1000' });
    const queue = await newQueue();
    const putOnce = (token: string | null, id: string | null, content: string): Promise<Answer> =>
      client.call({
        method: 'POST',
        path: `/queues/${queue}/messages`,
        headers: token === null ? {} : { 'opc-retry-token': token },
        body: { messages: [{ content, ...(id === null ? {} : { deduplicationId: id }) }] },
      });
    const [half, other] = ['x'.repeat(500), 'y'.repeat(500)];
    const first = [await putOnce('token', null, half), await putOnce(null, 'id', other)];
    expect(first.map(({ status }) => status)).toEqual([200, 200]);
    expectError(await put(client, queue, 1), 400, 'LimitExceeded');
    const again = [await putOnce('token', null, half), await putOnce(null, 'id', other)];
    expect(again.map(({ status, json }) => [status, json])).toEqual(first.map(({ json }) => [200, json]));
    // What is none is refused.
    for (const [token, id] of [
      ['new', null],
      ['token', null],
      [null, 'new'],
    ] as const)
      expectError(await putOnce(token, id, 'z'), 400, 'LimitExceeded');
  });

  it('is free again soon after messages are deleted, or die and are purged', async () => {
    const { client, newQueue } = await setup({ TOWPATH_MAX_QUEUE_BYTES: '10000' });
    const queue = await newQueue({ channelConsumptionLimit: 50 });
    expect((await put(client, queue, 5000, 'a')).status).toBe(200);
    expectError(await put(client, queue, 1, 'a'), 400, 'LimitExceeded');
    const receipt = (await client.get(queue, 'channelFilter=a'))[0]!.receipt;
    expect((await client.call({ method: 'DELETE', path: `/queues/${queue}/messages/${receipt}` })).status).toBe(204);
    const start = performance.now();
    await until(async () => (await put(client, queue, 5000, 'a')).status === 200, 'there is room again', 20_000);
    // A second, on a machine that does nothing else.
    expect(performance.now() - start).toBeLessThan(10_000);
    await client.call({ method: 'POST', path: `/queues/${queue}/actions/purge`, body: { purgeType: 'BOTH' } });
    await until(async () => (await put(client, queue, 5000, 'a')).status === 200, 'there is room again', 20_000);
  });

  it('is counted over all pods', async () => {
    const { pods, client, newQueue } = await setup({ TOWPATH_MAX_QUEUE_BYTES: '100000' });
    const second = new Client((await pods.add()).url, pods.credentials.apiKey);
    stops.unshift(() => Promise.resolve(second.close()));
    const queue = await newQueue();
    const all = [client, second];
    for (const each of all) expect((await put(each, queue, 45_000)).status).toBe(200);
    // What the other one has put is known after a second at most, with a put that has it read; and then to the byte.
    await sleep(1100);
    for (const each of all) await put(each, queue, 1);
    await until(async () => (await put(client, queue, 10_000)).status === 400, 'the first knows', 20_000);
    await until(async () => (await put(second, queue, 10_000)).status === 400, 'the second knows', 20_000);
    const [row] = await pods.test.sql<{ bytes: number }>(
      'select sum(size_in_bytes)::int as bytes from towpath.message where queue_id = towpath.queue_id($1)',
      [queue],
    );
    const about = new RegExp(` stores about ${row!.bytes} bytes `);
    for (const each of all) {
      // It reads again after a second, or later where reading takes long.
      await until(async () => about.test(String((await put(each, queue, 10_000)).json?.['message'])), 'it knows');
      expectError(await put(each, queue, 10_000), 400, 'LimitExceeded', about);
    }
  });

  it('follows a share that is changed', async () => {
    const { client, newQueue } = await setup({ TOWPATH_MAX_QUEUE_BYTES: '10000' });
    const queue = await newQueue();
    expect((await put(client, queue, 1500, 'a')).status).toBe(200);
    const change = (channelConsumptionLimit: number): Promise<Answer> =>
      client.call({ method: 'PUT', path: `/queues/${queue}`, body: { channelConsumptionLimit } });
    expect((await change(10)).status).toBe(202);
    expectError(await put(client, queue, 1, 'a'), 400, 'LimitExceeded', /may store 1000, 10 %/);
    expect((await change(100)).status).toBe(202);
    expect((await put(client, queue, 8500, 'a')).status).toBe(200);
  });
});

describe('the rates that a queue may use', () => {
  it('end with 429 and Retry-After, after which it goes on', async () => {
    const { client, newQueue } = await setup({ TOWPATH_MAX_QUEUE_REQUESTS_PER_SECOND: '1' });
    const queue = await newQueue();
    const pass = stopTheClock();
    expect((await put(client, queue, 1)).status).toBe(200);
    const refused = await put(client, queue, 1);
    expectError(
      refused,
      429,
      'TooManyRequests',
      /^the queue may have 1 put requests per second: try again in 1 second$/,
    );
    expect(refused.headers['retry-after']).toBe('1');
    // Others of the same queue, and control calls, are not touched by that.
    const [message] = await client.get(queue);
    const path = `/queues/${queue}/messages/${message!.receipt}`;
    const update = { method: 'PUT', path, body: { visibilityInSeconds: 100 } };
    expect((await client.call(update)).status).toBe(200);
    expectError(await client.call(update), 429, 'TooManyRequests', /1 update requests/);
    const body = { entries: [{ receipt: message!.receipt, visibilityInSeconds: 1 }] };
    const updates = { method: 'POST', path: `/queues/${queue}/messages/actions/updateMessages`, body };
    expectError(await client.call(updates), 429, 'TooManyRequests');
    expect((await client.call({ method: 'DELETE', path })).status).toBe(204);
    expectError(await client.call({ method: 'DELETE', path }), 429, 'TooManyRequests', /1 delete requests/);
    expectError(await get(client, queue), 429, 'TooManyRequests', /1 get requests/);
    expectError(await get(client, `${queue}%2Fdlq`), 429, 'TooManyRequests');
    for (let times = 0; times < 5; times += 1)
      expect((await client.call({ path: `/queues/${queue}/stats` })).status).toBe(200);
    pass(Number(refused.headers['retry-after']) * 1000);
    expect((await put(client, queue, 1)).status).toBe(200);
    expect(await metricsOf(client)).toMatch(/^towpath_refused_requests_total\{limit="requests",scope="queue"\} 6$/m);
  });

  it('are a share for a channel, while others go on', async () => {
    const { client, newQueue } = await setup({ TOWPATH_MAX_QUEUE_BYTES_PER_SECOND: '1000000' });
    const queue = await newQueue({ channelConsumptionLimit: 10 });
    stopTheClock();
    expect((await put(client, queue, 240_000, 'greedy')).status).toBe(200);
    const refused = await put(client, queue, 1000, 'greedy');
    expectError(
      refused,
      429,
      'TooManyRequests',
      /^channel greedy may have 100000 bytes in per second, 10 % .* 1000 bytes: /,
    );
    expect(Number(refused.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect(Number(refused.headers['retry-after'])).toBeLessThanOrEqual(2);
    expect((await put(client, queue, 50_000, 'modest')).status).toBe(200);
    expect((await put(client, queue, 50_000)).status).toBe(200);
    // The same on the way out: what is given counts when it is given.
    expect((await get(client, queue, 'channelFilter=greedy')).status).toBe(200);
    expectError(
      await get(client, queue, 'channelFilter=greedy'),
      429,
      'TooManyRequests',
      /^channel greedy may have 100000 bytes out/,
    );
    expect((await get(client, queue, 'channelFilter=modest')).status).toBe(200);
    jest.restoreAllMocks();
    await until(async () => (await get(client, queue, 'channelFilter=greedy')).status === 200, 'it goes on', 20_000);
    await until(async () => (await put(client, queue, 1000, 'greedy')).status === 200, 'it goes on', 20_000);
  });

  it('let a long poll wait, which is one request', async () => {
    const { client, newQueue } = await setup({ TOWPATH_MAX_QUEUE_REQUESTS_PER_SECOND: '5' });
    const queue = await newQueue();
    const poll = client.call({ path: `/queues/${queue}/messages?timeoutInSeconds=30` });
    await sleep(1500);
    expect((await put(client, queue, 1)).status).toBe(200);
    expect((await poll).json).toMatchObject({ messages: [{ content: 'x' }] });
  });

  it('open the circuit breaker of an SDK as it comes, and are no matter for one without', async () => {
    const { pods, newQueue } = await setup({ TOWPATH_MAX_QUEUE_REQUESTS_PER_SECOND: '1' });
    const queueId = await newQueue();
    const sdk = sdkClients(pods.dataDirectory, pods.pods[0]!.url, { asItComes: true });
    const plain = sdkClients(pods.dataDirectory, pods.pods[0]!.url);
    stops.unshift(() => {
      sdk.close();
      plain.close();
      return Promise.resolve();
    });
    const details = { queueId, putMessagesDetails: { messages: [{ content: 'x' }] } };
    const outcomes: string[] = [];
    const pass = stopTheClock();
    for (let call = 0; call < 40; call += 1) {
      await sdk.data.putMessages(details).then(
        () => outcomes.push('put'),
        (error: { statusCode?: number; code?: string }) => outcomes.push(String(error.statusCode ?? error.code)),
      );
    }
    expect(outcomes.filter((outcome) => outcome === '429').length).toBeGreaterThanOrEqual(8);
    expect(outcomes.at(-1)).toBe('EOPENBREAKER');
    await expect(plain.data.putMessages(details)).rejects.toEqual(ociError(429, 'TooManyRequests'));
    pass(1000);
    await plain.data.putMessages(details);
  });
});
