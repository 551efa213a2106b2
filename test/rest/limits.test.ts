import { startTestPods, type TestPods } from '../support/pod.js';
import { Client, expectError, type Answer } from './support.js';

const MESSAGE = 262_144;
const REQUEST = 524_288;
const LARGE = 512_000;

const withProperty = (length: number): object => ({
  content: 'x'.repeat(length),
  metadata: { customProperties: { kéy: 'välue' } },
});
const many = (count: number): object[] => Array.from({ length: count }, () => ({ content: 'x' }));

describe('size limits, in bytes of UTF-8', () => {
  let pods: TestPods;
  let client: Client;
  let plain: string;
  let large: string;

  beforeAll(async () => {
    pods = await startTestPods();
    client = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    const { compartmentId } = pods.credentials;
    plain = await client.createQueue({ compartmentId });
    large = await client.createQueue({ compartmentId, capabilities: [{ type: 'LARGE_MESSAGES' }] });
  });
  afterAll(async () => {
    client.close();
    await pods.stop();
  });

  const put = (queueId: string, messages: unknown[] | string): Promise<Answer> =>
    client.call({
      method: 'POST',
      path: `/queues/${queueId}/messages`,
      body: typeof messages === 'string' ? messages : { messages },
    });
  const drain = async (queueId: string): Promise<number> => {
    for (let total = 0; ;) {
      const messages = await client.get(queueId, 'limit=20&visibilityInSeconds=1000');
      if (messages.length === 0) return total;
      total += messages.length;
    }
  };

  it.each([
    ['ASCII', 'x', 1],
    ['two bytes each', 'é', 2],
    ['three bytes each', '日', 3],
    ['four bytes each', '🛶', 4],
  ])('takes one message of exactly the limit: %s', async (_, letter, bytes) => {
    const fits = letter.repeat(Math.floor(MESSAGE / bytes));
    expect((await put(plain, [{ content: fits }])).status).toBe(200);
    expectError(await put(plain, [{ content: fits + letter }]), 400, 'LimitExceeded', /messages\.0 has \d+ bytes/);
    const [message] = await client.get(plain, 'limit=1');
    expect(message?.content).toBe(fits);
    expect(await drain(plain)).toBe(0);
  });

  it('counts custom properties', async () => {
    const properties = Buffer.byteLength('kéyvälue');
    expect((await put(plain, [withProperty(MESSAGE - properties)])).status).toBe(200);
    expectError(await put(plain, [withProperty(MESSAGE - properties + 1)]), 400, 'LimitExceeded');
    await drain(plain);
  });

  it('takes 512,000 bytes with LARGE_MESSAGES', async () => {
    expect((await put(large, [{ content: 'x'.repeat(LARGE) }])).status).toBe(200);
    expectError(await put(large, [{ content: 'x'.repeat(LARGE + 1) }]), 400, 'LimitExceeded');
    await drain(large);
  });

  it('takes what an update made large from the next put on', async () => {
    const queueId = await client.createQueue({ compartmentId: pods.credentials.compartmentId });
    expectError(await put(queueId, [{ content: 'x'.repeat(MESSAGE + 1) }]), 400, 'LimitExceeded');
    const body = { capabilities: [{ type: 'LARGE_MESSAGES' }] };
    expect((await client.call({ method: 'PUT', path: `/queues/${queueId}`, body })).status).toBe(202);
    expect((await put(queueId, [{ content: 'x'.repeat(MESSAGE + 1) }])).status).toBe(200);
  });

  it('takes a request of exactly the limit, and says 413 to one byte more', async () => {
    const half = 'x'.repeat(MESSAGE);
    expect((await put(plain, [{ content: half }, { content: half }])).status).toBe(200);
    const tooMuch = await put(plain, [{ content: half }, { content: half }, { content: 'x' }]);
    expectError(tooMuch, 413, 'PayloadTooLarge', new RegExp(`${REQUEST + 1} bytes.*${REQUEST}`));
    expect(await drain(plain)).toBe(2);
  });

  it('does not count how JSON writes a character', async () => {
    // As Python's json.dumps writes it: six bytes for two.
    const escaped = '\\u00e9'.repeat(MESSAGE / 2);
    expect((await put(plain, `{"messages":[{"content":"${escaped}"},{"content":"${escaped}"}]}`)).status).toBe(200);
    const messages = [...(await client.get(plain, 'limit=20'))];
    expect(messages.map(({ content }) => Buffer.byteLength(content))).toEqual([MESSAGE, MESSAGE]);
  });

  it('takes 20 messages and not 21, nor none', async () => {
    expect((await put(plain, many(20))).status).toBe(200);
    expect(await drain(plain)).toBe(20);
    expectError(await put(plain, many(21)), 400, 'InvalidParameter', /1 to 20 messages; it is an array of 21/);
    expectError(await put(plain, []), 400, 'InvalidParameter', /1 to 20/);
  });

  it.each(['deleteMessages', 'updateMessages'])('takes 1 to 20 entries in %s', async (action) => {
    const call = (count: number): Promise<Answer> =>
      client.call({
        method: 'POST',
        path: `/queues/${plain}/messages/actions/${action}`,
        body: { entries: Array.from({ length: count }, () => ({ receipt: 'x', visibilityInSeconds: 1 })) },
      });
    expect((await call(20)).json).toMatchObject({ clientFailures: 20 });
    expectError(await call(21), 400, 'InvalidParameter');
    expectError(await call(0), 400, 'InvalidParameter');
  });

  it('answers with at most 2 MiB of messages, and leaves the rest visible', async () => {
    const content = 'x'.repeat(MESSAGE);
    for (let pair = 0; pair < 10; pair += 1) {
      expect((await put(plain, [{ content }, { content }])).status).toBe(200);
    }
    const counts: number[] = [];
    for (let round = 0; round < 4; round += 1) counts.push((await client.get(plain, 'limit=20')).length);
    expect(counts).toEqual([8, 8, 4, 0]);
  });

  it('answers with one message at least', async () => {
    expect((await put(large, [{ content: 'x'.repeat(LARGE) }])).status).toBe(200);
    expect(await client.get(large, 'limit=20')).toHaveLength(1);
  });

  it('has as many channels as are configured', async () => {
    const pod = await pods.add({ TOWPATH_MAX_CHANNELS: '3' });
    const other = new Client(pod.url, pods.credentials.apiKey);
    const queueId = await other.createQueue({ compartmentId: pods.credentials.compartmentId });
    const into = (channelId: string): Promise<Answer> =>
      other.call({
        method: 'POST',
        path: `/queues/${queueId}/messages`,
        body: { messages: [{ content: 'x', metadata: { channelId } }] },
      });
    for (const channelId of ['a', 'b', 'c', 'a']) expect((await into(channelId)).status).toBe(200);
    expectError(await into('d'), 400, 'LimitExceeded', /channel/);
    other.close();
  });

  it('takes other limits from the environment', async () => {
    const pod = await pods.add({ TOWPATH_MAX_MESSAGE_BYTES: '10', TOWPATH_MAX_REQUEST_BYTES: '1024' });
    const other = new Client(pod.url, pods.credentials.apiKey);
    const queueId = await other.createQueue({ compartmentId: pods.credentials.compartmentId });
    const ofLength = (length: number): Promise<Answer> =>
      other.call({
        method: 'POST',
        path: `/queues/${queueId}/messages`,
        body: { messages: [{ content: 'x'.repeat(length) }] },
      });
    expect((await ofLength(10)).status).toBe(200);
    expectError(await ofLength(11), 400, 'LimitExceeded');
    other.close();
  });
});
