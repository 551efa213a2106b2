import { operationsOf, type Document } from '../openapi/document.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { Client, expectError, type Answer } from './support.js';

const HEADER = 'towpath-durability';

describe('a queue may be less durable', () => {
  let pods: TestPods;
  let client: Client;
  let compartmentId: string;

  beforeAll(async () => {
    pods = await startTestPods();
    client = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    ({ compartmentId } = pods.credentials);
  });
  afterAll(async () => {
    client.close();
    await pods.stop();
  });

  const update = (queueId: string, body: object): Promise<Answer> =>
    client.call({ method: 'PUT', path: `/queues/${queueId}`, body });
  const durabilityOf = async (queueId: string): Promise<unknown> =>
    (await client.call({ path: `/queues/${queueId}` })).json!['durability'];

  it('by its setting, which is FULL where it is absent, and can be changed', async () => {
    for (const absent of [{}, { durability: null }, { durability: 'FULL' }]) {
      expect(await durabilityOf(await client.createQueue({ compartmentId, ...absent }))).toBe('FULL');
    }
    const queueId = await client.createQueue({ compartmentId, durability: 'RELAXED' });
    expect(await durabilityOf(queueId)).toBe('RELAXED');
    for (const [body, durability] of [
      [{ visibilityInSeconds: 10 }, 'RELAXED'],
      [{ durability: null }, 'RELAXED'],
      [{ durability: 'FULL' }, 'FULL'],
      [{ durability: 'RELAXED' }, 'RELAXED'],
    ] as const) {
      expect((await update(queueId, body)).status).toBe(202);
      expect([body, await durabilityOf(queueId)]).toEqual([body, durability]);
    }
    const { json } = await client.call({ path: `/queues?id=${queueId}` });
    // As with the other settings: a summary has none.
    expect(json!['items']).toEqual([expect.not.objectContaining({ durability: expect.anything() })]);
  });

  it.each(['relaxed', 'full', 'NONE', '', ' FULL', 1, true, ['FULL'], {}])(
    'and nothing else, such as %j',
    async (durability) => {
      const message = /^durability must be one of FULL, RELAXED/;
      const body = { displayName: 'x', compartmentId, durability };
      expectError(await client.call({ method: 'POST', path: '/queues', body }), 400, 'InvalidParameter', message);
      const queueId = await client.createQueue({ compartmentId });
      expectError(await update(queueId, { durability }), 400, 'InvalidParameter', message);
    },
  );

  /** Each operation on messages once, on the queue and on its dead letter queue; what its answer says of the durability. */
  async function headersOf(queueId: string): Promise<Record<string, unknown>> {
    const seen: Record<string, unknown> = {};
    const call = async (name: string, method: string, path: string, body?: object): Promise<Answer> => {
      const answer = await client.call({ method, path: `/queues/${queueId}${path}`, body });
      expect([name, answer.status < 300, answer.text]).toEqual([name, true, answer.text]);
      seen[name] = answer.headers[HEADER];
      return answer;
    };
    const messages = ['a', 'b', 'c'].map((content) => ({ content }));
    await call('putMessages', 'POST', '/messages', { messages });
    await call('putMessages once', 'POST', '/messages', { messages: [{ content: 'd', deduplicationId: '1' }] });
    await call('putMessages again', 'POST', '/messages', { messages: [{ content: 'd', deduplicationId: '1' }] });
    const got = await call('getMessages', 'GET', '/messages?limit=4&timeoutInSeconds=0&visibilityInSeconds=600');
    const receipts = (got.json!['messages'] as { receipt: string }[]).map(({ receipt }) => receipt);
    expect(receipts).toHaveLength(4);
    await call('getMessages of nothing', 'GET', '/messages?timeoutInSeconds=0');
    await call('getMessages of no dead letters', 'GET', '%2Fdlq/messages?timeoutInSeconds=0');
    await call('updateMessage', 'PUT', `/messages/${receipts[0]}`, { visibilityInSeconds: 700 });
    const entries = receipts.slice(1).map((receipt) => ({ receipt, visibilityInSeconds: 700 }));
    await call('updateMessages', 'POST', '/messages/actions/updateMessages', { entries });
    await call('deleteMessage', 'DELETE', `/messages/${receipts[0]}`);
    await call('deleteMessages', 'POST', '/messages/actions/deleteMessages', {
      entries: receipts.slice(1).map((receipt) => ({ receipt })),
    });
    return seen;
  }

  it('which every answer about its messages says, and no answer of another queue', async () => {
    const relaxed = await client.createQueue({ compartmentId, durability: 'RELAXED' });
    const full = await client.createQueue({ compartmentId });
    const saying = await headersOf(relaxed);
    expect(new Set(Object.values(saying))).toEqual(new Set(['relaxed']));
    const silent = await headersOf(full);
    expect(Object.keys(silent)).toEqual(Object.keys(saying));
    expect(new Set(Object.values(silent))).toEqual(new Set([undefined]));
    // What confirms nothing of messages says nothing.
    expect((await client.call({ path: `/queues/${relaxed}` })).headers[HEADER]).toBeUndefined();
    expect((await client.call({ path: `/queues/${relaxed}/stats` })).headers[HEADER]).toBeUndefined();
    // From the change on.
    await update(relaxed, { durability: 'FULL' });
    await update(full, { durability: 'RELAXED' });
    const put = async (queueId: string): Promise<unknown> => {
      const body = { messages: [{ content: 'x' }] };
      return (await client.call({ method: 'POST', path: `/queues/${queueId}/messages`, body })).headers[HEADER];
    };
    expect([await put(relaxed), await put(full)]).toEqual([undefined, 'relaxed']);
  });

  it('and its description has the header', async () => {
    const { json } = await client.call({ path: '/openapi.json', root: true });
    const operations = operationsOf(json as unknown as Document);
    const saying = operations.filter(({ responses }) =>
      Object.values(responses).some(({ headers = {} }) => HEADER in headers),
    );
    expect(saying.map(({ operationId }) => operationId).toSorted()).toEqual([
      'deleteMessage',
      'deleteMessages',
      'getMessages',
      'putMessages',
      'updateMessage',
      'updateMessages',
    ]);
  });
});
