import type { models } from 'oci-queue';
import { Client, expectError } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { createQueue, sdkClients, type SdkClients } from '../support/sdk.js';

let pods: TestPods;
let sdk: SdkClients;
let client: Client;
beforeAll(async () => {
  pods = await startTestPods();
  sdk = sdkClients(pods.dataDirectory, pods.pods[0]!.url);
  client = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
});
afterAll(async () => {
  client.close();
  sdk.close();
  await pods.stop();
});

const newQueue = (details: object = {}): Promise<string> => createQueue(sdk, pods.credentials.compartmentId, details);
const contents = async (queueId: string): Promise<string[]> =>
  (await sdk.data.getMessages({ queueId, timeoutInSeconds: 0, limit: 20 })).getMessages.messages.map(
    ({ content }) => content,
  );
const post = (queueId: string, messages: unknown, token?: string): ReturnType<Client['call']> =>
  client.call({
    method: 'POST',
    path: `/queues/${queueId}/messages`,
    body: { messages },
    headers: token === undefined ? {} : { 'opc-retry-token': token },
  });

it('the SDK lets deduplicationId through, and a repeat gets the first answer', async () => {
  const queueId = await newQueue();
  const message = { content: 'once', deduplicationId: 'invoice-4711' } as models.PutMessagesDetailsEntry;
  const put = async (): Promise<models.PutMessage[]> =>
    (await sdk.data.putMessages({ queueId, putMessagesDetails: { messages: [message] } })).putMessages.messages;
  const first = await put();
  expect(await put()).toEqual(first);
  expect(await contents(queueId)).toEqual(['once']);
  // Consumed, in flight: it counts all the same.
  expect(await put()).toEqual(first);
  expect(await contents(queueId)).toEqual([]);
});

it('a retry token answers the same messages with the first ids, however their JSON is written', async () => {
  const queueId = await newQueue();
  const message = { content: 'x', metadata: { customProperties: { a: '1', b: '2' } }, delayInSeconds: 0 };
  const first = await post(queueId, [message, { content: 'y', deduplicationId: null }], 'a token');
  const again = [{ metadata: { customProperties: { b: '2', a: '1' } }, content: 'x' }, { content: 'y' }];
  const repeat = await post(queueId, again, 'a token');
  expect([first.status, repeat.status]).toEqual([200, 200]);
  expect(repeat.json).toEqual(first.json);
  expect(await contents(queueId)).toEqual(['x', 'y']);
});

const first = { content: 'x', metadata: { channelId: 'c', customProperties: { a: '1' } }, delayInSeconds: 1 };
it.each([
  ['content', [{ ...first, content: 'y' }]],
  ['channel', [{ ...first, metadata: { ...first.metadata, channelId: 'd' } }]],
  ['property', [{ ...first, metadata: { ...first.metadata, customProperties: { a: '2' } } }]],
  ['delay', [{ ...first, delayInSeconds: 2 }]],
  ['id', [{ ...first, deduplicationId: 'i' }]],
  ['number of messages', [first, first]],
])('a retry token with another %s is refused', async (_, other) => {
  const queueId = await newQueue();
  expect((await post(queueId, [first], 't')).status).toBe(200);
  expectError(await post(queueId, other, 't'), 409, 'InvalidatedRetryToken', /opc-retry-token.*use a new one/);
  expect((await post(queueId, other, 'u')).status).toBe(200);
});

it('another queue knows neither the token nor the id', async () => {
  const [one, other] = [await newQueue(), await newQueue()];
  const message = { content: 'x', deduplicationId: 'i' };
  const answers = [await post(one, [message], 't'), await post(other, [message], 't')];
  expect(answers[0]?.json).not.toEqual(answers[1]?.json);
});

it('with a window of 0 everything is stored', async () => {
  const queueId = await newQueue({ deduplicationWindowInSeconds: 0 });
  const message = { content: 'x', deduplicationId: 'i' };
  for (let put = 0; put < 2; put += 1) expect((await post(queueId, [message], 't')).status).toBe(200);
  expect(await contents(queueId)).toEqual(['x', 'x']);
});

it.each([[''], ['x'.repeat(129)], ['a\nb'], ['é'], [7], [{}]])(
  'refuses the deduplicationId %j',
  async (deduplicationId) => {
    const queueId = await newQueue();
    const message = { content: 'x', deduplicationId };
    expectError(
      await post(queueId, [message]),
      400,
      'InvalidParameter',
      /messages\.0\.deduplicationId.*1 to 128 printable/,
    );
  },
);

it.each([['x'.repeat(65)], ['é']])('refuses the retry token %j', async (token) => {
  const answer = await post(await newQueue(), [{ content: 'x' }], token);
  expectError(answer, 400, 'InvalidParameter', /opc-retry-token/);
});
