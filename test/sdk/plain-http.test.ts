import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { Client } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';

/** The life of a message with nothing but Node's HTTP client and the API key of credentials.json. */
describe('without any SDK', () => {
  let pods: TestPods;
  let client: Client;
  let compartmentId: string;

  beforeAll(async () => {
    pods = await startTestPods();
    const credentials = JSON.parse(await readFile(path.join(pods.dataDirectory, 'credentials.json'), 'utf8')) as {
      endpoint: string;
      apiKey: string;
      compartmentId: string;
    };
    client = new Client(credentials.endpoint, credentials.apiKey);
    compartmentId = credentials.compartmentId;
  });
  afterAll(async () => {
    client.close();
    await pods.stop();
  });

  it('goes through the life of a message', async () => {
    const created = await client.call({
      method: 'POST',
      path: '/queues',
      body: { displayName: 'orders', compartmentId, visibilityInSeconds: 1 },
    });
    expect(created).toMatchObject({ status: 202, text: '', headers: { 'content-length': '0' } });
    const [queue] = (await client.call({ path: '/queues?displayName=orders' })).json!['items'] as { id: string }[];
    const messages = `/queues/${queue!.id}/messages`;
    const put = await client.call({ method: 'POST', path: messages, body: { messages: [{ content: 'hello' }] } });
    expect(put.status).toBe(200);
    const get = async (query: string): Promise<{ receipt: string; deliveryCount: number; content: string }[]> =>
      (await client.call({ path: `${messages}?${query}` })).json!['messages'] as never;
    const [first] = await get('timeoutInSeconds=0');
    expect(first).toMatchObject({ content: 'hello', deliveryCount: 1 });
    const [second] = await get('timeoutInSeconds=20');
    expect(second).toMatchObject({ content: 'hello', deliveryCount: 2 });
    expect((await client.call({ method: 'DELETE', path: `${messages}/${first!.receipt}` })).status).toBe(404);
    const updated = await client.call({
      method: 'PUT',
      path: `${messages}/${second!.receipt}`,
      body: { visibilityInSeconds: 600 },
    });
    expect(updated).toMatchObject({ status: 200, json: { id: expect.any(Number) } });
    const deleted = await client.call({ method: 'DELETE', path: `${messages}/${second!.receipt}` });
    expect(deleted).toMatchObject({ status: 204, text: '' });
    expect(await get('timeoutInSeconds=0')).toEqual([]);
    expect((await client.call({ method: 'DELETE', path: `/queues/${queue!.id}` })).status).toBe(202);
  });
});
