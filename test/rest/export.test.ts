import { jest } from '@jest/globals';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { once } from 'node:events';
import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { startPod, type Pod } from '../../src/app.js';
import { readConfiguration } from '../../src/config/environment.js';
import { PeekService } from '../../src/messages/peek.service.js';
import { createLogger } from '../../src/operations/log.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { API, Client, digestOf, expectError, type Answer } from './support.js';

interface Line {
  readonly id: number;
  readonly content: string;
  readonly deadLetter: { readonly diedAt: string; readonly reason: string };
}

const linesOf = (answer: Answer): Line[] => {
  if (answer.status !== 200) throw new Error(`export: ${answer.status} ${answer.text}`);
  // The last line ends too.
  expect(answer.text === '' || answer.text.endsWith('\n')).toBe(true);
  return answer.text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line);
};

const pathOf = (queueId: string, query: string): string =>
  `/queues/${queueId}/deadLetters/actions/export${query === '' ? '' : `?${query}`}`;

/** Takes all that comes; whether the end came. */
async function rest(response: IncomingMessage): Promise<{ text: string; isWhole: boolean }> {
  let text = '';
  response.setEncoding('utf8');
  response.on('data', (chunk: string) => {
    text += chunk;
  });
  response.on('error', () => undefined);
  if (!response.closed) await new Promise((resolve) => response.once('close', resolve));
  return { text, isWhole: response.complete };
}

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error('it did not come to that');
    await sleep(10);
  }
}

describe('exportDeadLetters', () => {
  let pods: TestPods;
  let pod: Pod;
  let client: Client;
  let compartmentId: string;
  let log = '';

  beforeAll(async () => {
    pods = await startTestPods();
    const destination = new Writable({
      write: (chunk: Buffer, _, done) => {
        log += chunk.toString();
        done();
      },
    });
    const configuration = readConfiguration({
      DATABASE_URL: pods.test.url,
      TOWPATH_DATA_DIR: pods.dataDirectory,
      TOWPATH_PORT: '0',
    });
    pod = await startPod(configuration, pods.test.url, createLogger('info', destination));
    client = new Client(pod.url, pods.credentials.apiKey);
    ({ compartmentId } = pods.credentials);
  });
  afterEach(() => {
    jest.restoreAllMocks();
    log = '';
  });
  afterAll(async () => {
    client.close();
    await pod.stop();
    await pods.stop();
  });

  const exported = (queueId: string, query = ''): Promise<Answer> => client.call({ path: pathOf(queueId, query) });

  /** So many dead letters of so many bytes, in the queue itself and in channel c in turn; one in ten is rare. */
  async function withDeadLetters(count: number, bytes = 5): Promise<{ queueId: string; ids: number[] }> {
    const queueId = await client.createQueue({ compartmentId, deadLetterQueueDeliveryCount: 1 });
    await pods.test.sql(
      `insert into towpath.message (queue_id, id, visible_after, expire_after, created_at, delivered_at, dead_lettered_at,
         size_in_bytes, delivery_count, delivery_limit, dead_letter, channel_id, properties, body, dead_letter_reason)
       select towpath.queue_id($1), nextval('towpath.message_id'), now(), now() + interval '1 day', now(), now(), now(),
         $3::integer, 1, 1, true, case when g % 2 = 0 then '' else 'c' end,
         case when g % 10 = 0 then '{"kind": "rare"}'::jsonb end, convert_to(repeat('x', $3::integer), 'UTF8'), 'planted'
       from generate_series(1, $2::integer) g`,
      [queueId, count, bytes],
    );
    const rows = await pods.test.sql<{ id: number }>(
      'select id from towpath.message where queue_id = towpath.queue_id($1) order by id',
      [queueId],
    );
    return { queueId, ids: rows.map(({ id }) => id) };
  }

  /** Asks, and takes nothing of the answer yet. */
  async function begin(queueId: string, query = ''): Promise<IncomingMessage> {
    const request = httpRequest(new URL(API + pathOf(queueId, query), pod.url), {
      headers: { authorization: `Bearer ${pods.credentials.apiKey}` },
      // A connection of its own.
      agent: false,
    });
    request.on('error', () => undefined);
    request.end();
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    return response;
  }
  /** How many looks at dead letters began since, and how to make one fail. */
  function watchPages(failAt = Infinity, error?: Error): { readonly count: () => number } {
    const peeks = pod.app.get(PeekService);
    const page = peeks.page.bind(peeks);
    let count = 0;
    jest.spyOn(peeks, 'page').mockImplementation((...args) => {
      count += 1;
      return count >= failAt && error !== undefined ? Promise.reject(error) : page(...args);
    });
    return { count: () => count };
  }
  it('writes every dead letter down, once, as peekMessages shows it, and changes nothing', async () => {
    const { queueId, ids } = await withDeadLetters(450);
    await client.put(queueId, 'alive');
    const before = await digestOf(pods);
    const answer = await exported(queueId);
    expect(answer.headers['content-type']).toBe('application/x-ndjson');
    expect(answer.headers['opc-request-id']).toMatch(/./);
    const lines = linesOf(answer);
    expect(lines.map(({ id }) => id)).toEqual(ids);
    expect(await digestOf(pods)).toBe(before);
    const peeked = await client.call({ path: `/queues/${queueId}%2Fdlq/messages/actions/peekMessages?limit=3` });
    expect(lines.slice(0, 3)).toEqual(peeked.json?.['messages']);
    expect(lines[0]?.deadLetter).toEqual({ diedAt: expect.any(String), reason: 'planted' });
  });

  it('takes the conditions of peekMessages, and an overall limit', async () => {
    const { queueId, ids } = await withDeadLetters(450);
    const found = async (query: string): Promise<number[]> =>
      linesOf(await exported(queueId, query)).map(({ id }) => id);
    const rare = ids.filter((_, index) => index % 10 === 9);
    expect(await found('filter=:kind')).toEqual(rare);
    expect(await found('channelFilter=c')).toEqual(ids.filter((_, index) => index % 2 === 0));
    expect(await found(`messageId=${ids[4]},${ids[9]}&filter=:kind`)).toEqual([ids[9]]);
    expect(await found('createdBefore=2020-01-01T00:00:00Z')).toEqual([]);
    for (const limit of [1, 99, 100, 101, 250, 450, 1_000_000])
      expect(await found(`limit=${limit}`)).toEqual(ids.slice(0, limit));
    expect(await found('limit=7&filter=:kind')).toEqual(rare.slice(0, 7));
  });

  it('says before the first line what is wrong', async () => {
    const { queueId } = await withDeadLetters(1);
    expectError(await exported(queueId, 'filter=:kind%20='), 400, 'InvalidParameter', /^filter: at character 8/);
    expectError(await exported(queueId, 'limit=0'), 400, 'InvalidParameter', /^limit/);
    expectError(await exported(`${queueId}%2Fdlq`), 400, 'InvalidParameter', /leave out \/dlq/);
    expectError(await exported(`${queueId}x`), 404, 'NotAuthorizedOrNotFound');
    const head = await client.call({ method: 'HEAD', path: pathOf(queueId, '') });
    expect([head.status, head.headers.allow]).toEqual([405, 'GET']);
    watchPages(1, Object.assign(new Error('gone'), { code: '57P01' }));
    expectError(await exported(queueId), 503, 'ServiceUnavailable');
  });

  it('says so too where the database fails before anything was found', async () => {
    const { queueId } = await withDeadLetters(1500);
    // Nothing on the first page, which examines 1,000.
    watchPages(2, Object.assign(new Error('gone'), { code: '57P01' }));
    expectError(await exported(queueId, 'filter=:none'), 503, 'ServiceUnavailable');
  });

  it('breaks the connection where the database fails in the middle, and tells the log', async () => {
    const { queueId, ids } = await withDeadLetters(450);
    watchPages(3, new Error('planted failure'));
    const response = await begin(queueId);
    expect(response.statusCode).toBe(200);
    const { text, isWhole } = await rest(response);
    expect(isWhole).toBe(false);
    // What had come was right.
    const lines = text.split('\n').slice(0, -1);
    expect(lines.length).toBeLessThanOrEqual(200);
    expect(lines.map((line) => (JSON.parse(line) as Line).id)).toEqual(ids.slice(0, lines.length));
    await until(() => log.includes('planted failure'));
    const entry = log
      .split('\n')
      .filter((line) => line.includes('planted failure'))
      .map((line) => JSON.parse(line) as { level: string; reqId: string; msg: string });
    expect(entry).toEqual([expect.objectContaining({ level: 'error', reqId: response.headers['opc-request-id'] })]);
    // And the pod goes on.
    jest.restoreAllMocks();
    expect(linesOf(await exported(queueId))).toHaveLength(450);
  });

  it('reads no further than its client: one page at a time', async () => {
    // 30 MB, of which the buffers of the connection hold a part.
    const { queueId, ids } = await withDeadLetters(120, 250_000);
    const pages = watchPages();
    const response = await begin(queueId);
    let before = -1;
    await until(async () => {
      const same = before === pages.count();
      before = pages.count();
      await sleep(300);
      return same && before === pages.count();
    });
    // 8 of them fit into one look.
    expect(pages.count()).toBeLessThan(12);
    const { text, isWhole } = await rest(response);
    expect(isWhole).toBe(true);
    expect(text.split('\n')).toHaveLength(ids.length + 1);
    expect(pages.count()).toBe(15);
  });

  it('stops when its client goes away', async () => {
    const { queueId } = await withDeadLetters(120, 250_000);
    const pages = watchPages();
    const response = await begin(queueId);
    response.on('error', () => undefined);
    response.destroy();
    await until(async () => {
      const before = pages.count();
      await sleep(300);
      return before === pages.count();
    });
    expect(pages.count()).toBeLessThan(12);
    expect(log).not.toMatch(/"level":"error"/);
  });

  it('is cut off when the pod stops, rather than hold it up', async () => {
    const { queueId } = await withDeadLetters(120, 250_000);
    const configuration = readConfiguration({
      DATABASE_URL: pods.test.url,
      TOWPATH_DATA_DIR: pods.dataDirectory,
      TOWPATH_PORT: '0',
    });
    const other = await startPod(configuration, pods.test.url, createLogger('silent'));
    const request = httpRequest(new URL(API + pathOf(queueId, ''), other.url), {
      headers: { authorization: `Bearer ${pods.credentials.apiKey}` },
      agent: false,
    });
    request.on('error', () => undefined);
    request.end();
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    response.on('error', () => undefined);
    // It takes nothing while the pod stops.
    await other.stop();
    expect((await rest(response)).isWhole).toBe(false);
  });
});
