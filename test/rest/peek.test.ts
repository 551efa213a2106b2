import { createPrivateKey, createPublicKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fingerprintOf } from '../../src/identity/first-identity.js';
import { signByHand } from '../identity/wire.js';
import { untilDead } from '../support/dead-letters.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { Client, digestOf, expectError, makeStranger, type Answer } from './support.js';

interface Peeked {
  readonly id: number;
  readonly content: string;
  readonly state: string;
  readonly deliveryCount: number;
  readonly createdAt: string;
  readonly deliveries: readonly { readonly deliveredAt: string; readonly deliveredTo?: string }[];
  readonly metadata?: { readonly channelId?: string; readonly customProperties?: Record<string, string> };
}

const messagesOf = (answer: Answer): Peeked[] => {
  if (answer.status !== 200) throw new Error(`peekMessages: ${answer.status} ${answer.text}`);
  return (answer.json as { messages: Peeked[] }).messages;
};
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

const withKind = (kind: string, channelId?: string): Record<string, unknown> => ({
  content: kind,
  metadata: { customProperties: { kind }, ...(channelId !== undefined && { channelId }) },
});

describe('peekMessages', () => {
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

  const peek = (queueId: string, query: Record<string, string> = {}): Promise<Answer> =>
    client.call({
      path: `/queues/${queueId}/messages/actions/peekMessages?${new URLSearchParams(query).toString()}`,
    });
  const peekAll = async (
    queueId: string,
    query: Record<string, string>,
  ): Promise<{ found: Peeked[]; pages: number[] }> => {
    const found: Peeked[] = [];
    const pages: number[] = [];
    let page: string | undefined;
    do {
      const answer = await peek(queueId, page === undefined ? query : { ...query, page });
      const messages = messagesOf(answer);
      found.push(...messages);
      pages.push(messages.length);
      page = answer.headers['opc-next-page'] as string | undefined;
    } while (page !== undefined);
    return { found, pages };
  };
  const put = async (queueId: string, messages: readonly Record<string, unknown>[]): Promise<number[]> => {
    const answer = await client.call({ method: 'POST', path: `/queues/${queueId}/messages`, body: { messages } });
    if (answer.status !== 200) throw new Error(answer.text);
    return (answer.json as { messages: { id: number }[] }).messages.map(({ id }) => id);
  };
  /** Delivers so many messages, at once and as often as it may, until all of them are dead. */
  const kill = async (queueId: string, messages: number): Promise<void> => {
    while ((await client.get(queueId, 'limit=20&visibilityInSeconds=0')).length > 0);
    await untilDead(pods.test, queueId, messages);
  };

  it('shows messages with their state and deliveries, and changes nothing', async () => {
    const queueId = await client.createQueue({ compartmentId });
    const ids = await put(queueId, [
      { content: 'grüße', metadata: { channelId: 'c', customProperties: { a: 'b' } } },
      { content: 'in flight' },
      { content: 'delayed', delayInSeconds: 600 },
    ]);
    await client.call({ path: `/queues/${queueId}/messages?channelFilter=c&visibilityInSeconds=0` });
    await client.call({ path: `/queues/${queueId}/messages?timeoutInSeconds=0&visibilityInSeconds=0` });
    await client.call({ path: `/queues/${queueId}/messages?channelFilter=c&visibilityInSeconds=0` });
    const got = await client.get(queueId, 'limit=1');
    expect(got).toHaveLength(1);
    const before = await digestOf(pods);
    const first = messagesOf(await peek(queueId));
    expect(first).toEqual(messagesOf(await peek(queueId)));
    expect(await digestOf(pods)).toBe(before);
    expect(first.map(({ id }) => id)).toEqual(ids);
    const channel = first[0]!;
    expect(channel).toEqual({
      id: ids[0],
      content: 'grüße',
      state: expect.stringMatching(/^(VISIBLE|IN_FLIGHT)$/),
      deliveryCount: channel.deliveries.length,
      createdAt: expect.stringMatching(TIME),
      visibleAfter: expect.stringMatching(TIME),
      expireAfter: expect.stringMatching(TIME),
      sizeInBytes: 9,
      metadata: { channelId: 'c', customProperties: { a: 'b' } },
      deliveries: channel.deliveries.map(() => ({
        deliveredAt: expect.stringMatching(TIME),
        deliveredTo: pods.credentials.userId,
      })),
    });
    expect(channel.deliveries.length).toBeGreaterThanOrEqual(2);
    const times = channel.deliveries.map(({ deliveredAt }) => deliveredAt);
    expect(times).toEqual(times.toSorted());
    expect(first.filter(({ state }) => state === 'IN_FLIGHT').map(({ id }) => id)).toEqual([got[0]!.id]);
    expect(first[2]).toMatchObject({ state: 'DELAYED', deliveryCount: 0, deliveries: [] });
    expect(first[2]).not.toHaveProperty('metadata');
    expect(first.every((message) => !('receipt' in message) && !('deadLetter' in message))).toBe(true);
  });

  it('shows dead letters with why and when they died', async () => {
    const queueId = await client.createQueue({ compartmentId, deadLetterQueueDeliveryCount: 2 });
    const [id] = await put(queueId, [{ content: 'dies' }]);
    await kill(queueId, 1);
    expect(messagesOf(await peek(queueId))).toEqual([]);
    expect(messagesOf(await peek(`${queueId}%2Fdlq`))).toEqual([
      expect.objectContaining({
        id,
        state: 'VISIBLE',
        deliveryCount: 2,
        deliveries: [expect.anything(), expect.anything()],
        deadLetter: {
          diedAt: expect.stringMatching(TIME),
          reason: 'delivered 2 times and not deleted, and 2 deliveries are allowed',
        },
      }),
    ]);
  });

  it('reads a filter as URLSearchParams, as encodeURIComponent and as curl write it', async () => {
    const queueId = await client.createQueue({ compartmentId });
    const [plus] = await put(queueId, [withKind('a+b'), withKind('a b')]);
    const target = `/queues/${queueId}/messages/actions/peekMessages?filter=`;
    for (const filter of ['%3Akind%20%3D%20%22a%2Bb%22', '%3Akind+%3D+%22a%2Bb%22', ':kind+=+%22a%2Bb%22'])
      expect(messagesOf(await client.call({ path: target + filter })).map(({ id }) => id)).toEqual([plus]);
  });

  it('filters, by all conditions together', async () => {
    const queueId = await client.createQueue({ compartmentId });
    const [a, b, c] = await put(queueId, [withKind('a'), withKind('b', 'ch'), withKind('a', 'ch')]);
    const [other] = messagesOf(await peek(queueId, { messageId: String(b) }));
    const ids = async (query: Record<string, string>): Promise<number[]> =>
      messagesOf(await peek(queueId, query)).map(({ id }) => id);
    expect(await ids({ filter: ':kind = "a"' })).toEqual([a, c]);
    expect(await ids({ filter: 'not :kind = "a"' })).toEqual([b]);
    expect(await ids({ channelFilter: 'ch' })).toEqual([b, c]);
    expect(await ids({ channelFilter: 'ch', filter: ':kind = "a"' })).toEqual([c]);
    expect(await ids({ messageId: `${c},${a},${c},9999999999999999` })).toEqual([a, c]);
    expect(await ids({ messageId: `${c},${a}`, channelFilter: 'ch' })).toEqual([c]);
    const { createdAt } = other!;
    const next = new Date(Date.parse(createdAt) + 1).toISOString();
    expect(await ids({ createdAfter: createdAt, createdBefore: next })).toEqual([a, b, c]);
    expect(await ids({ createdAfter: next })).toEqual([]);
    expect(await ids({ createdBefore: createdAt })).toEqual([]);
    // The same moment elsewhere on earth.
    const there = new Date(Date.parse(createdAt) + 7_200_000).toISOString().replace('Z', '+02:00');
    const target = `/queues/${queueId}/messages/actions/peekMessages?createdAfter=${there}&limit=1`;
    expect(messagesOf(await client.call({ path: target })).map(({ id }) => id)).toEqual([a]);
  });

  it('pages through 5,000 messages to the few that match, each once, over empty pages', async () => {
    const queueId = await client.createQueue({ compartmentId, acceptUnsealed: true });
    await pods.test.sql(
      `select count(*) from towpath.put_messages(towpath.queue_id($1), array(select g::text from generate_series(1, 4990) g))`,
      [queueId],
    );
    const rare = await put(
      queueId,
      [...Array(10).keys()].map(() => withKind('rare')),
    );
    for (const limit of ['3', '100']) {
      const { found, pages } = await peekAll(queueId, { filter: ':kind = "rare"', limit });
      expect(found.map(({ id }) => id)).toEqual(rare);
      expect(pages.slice(0, 4)).toEqual([0, 0, 0, 0]);
    }
    expect(messagesOf(await peek(queueId))).toHaveLength(20);
    expect((await peekAll(queueId, { limit: '100' })).found).toHaveLength(5000);
  });

  it('binds a page to its question', async () => {
    const queueId = await client.createQueue({ compartmentId, deadLetterQueueDeliveryCount: 1 });
    await put(queueId, [withKind('a', 'ch'), withKind('a', 'ch'), withKind('a', 'ch')]);
    const question = { filter: ':kind = "a"', limit: '1' };
    const page = String((await peek(queueId, question)).headers['opc-next-page']);
    expect((await peek(queueId, { ...question, page })).status).toBe(200);
    // How many are wanted may change on the way.
    expect(messagesOf(await peek(queueId, { ...question, limit: '2', page }))).toHaveLength(2);
    const otherQueue = await client.createQueue({ compartmentId });
    for (const [id, query] of [
      [queueId, {}],
      [queueId, { filter: ':kind = "b"' }],
      [queueId, { ...question, channelFilter: 'ch' }],
      [queueId, { ...question, messageId: '1' }],
      [queueId, { ...question, createdAfter: '2026-11-22T10:26:16.123Z' }],
      [queueId, { ...question, createdBefore: '2026-11-22T10:26:16.123Z' }],
      [`${queueId}%2Fdlq`, question],
      [otherQueue, question],
    ] as const) {
      expectError(await peek(id, { ...query, page }), 400, 'InvalidParameter', /^page must be the opc-next-page/);
    }
  });

  it('looks into consumer groups', async () => {
    const queueId = await client.createQueue({ compartmentId, capabilities: [{ type: 'CONSUMER_GROUPS' }] });
    const body = { displayName: 'g', queueId, filter: ':kind = "a"' };
    await client.call({ method: 'POST', path: '/consumerGroups', body });
    const groups = await client.call({ path: `/consumerGroups?queueId=${queueId}&displayName=g` });
    const consumerGroupId = (groups.json as { items: { id: string }[] }).items[0]!.id;
    const [a, b] = await put(queueId, [withKind('a'), withKind('b')]);
    expect(messagesOf(await peek(queueId)).map(({ id }) => id)).toEqual([a, b]);
    const [message, ...more] = messagesOf(await peek(queueId, { consumerGroupId }));
    expect([message, more]).toEqual([expect.objectContaining({ id: a, consumerGroupId }), []]);
    expect(messagesOf(await peek(queueId))[0]).not.toHaveProperty('consumerGroupId');
    const other = await client.createQueue({ compartmentId });
    expectError(await peek(other, { consumerGroupId }), 404, 'NotAuthorizedOrNotFound', /consumerGroupId/);
  });

  it('refuses what it does not take, naming the field and the place', async () => {
    const queueId = await client.createQueue({ compartmentId });
    const tooMany = Array.from({ length: 21 }, (_, index) => index).join(',');
    for (const [query, message] of [
      [{ filter: ':kind = invoice' }, /^filter: at character 9, after ":kind = ", before "invoice": expected a string/],
      [{ filter: 'x'.repeat(2001) }, /^filter must be a string of 1 to 2000/],
      [{ messageId: 'x' }, /^messageId must be 1 to 20 ids/],
      [{ messageId: '1,,2' }, /^messageId/],
      [{ messageId: tooMany }, /^messageId/],
      [{ createdAfter: 'yesterday' }, /^createdAfter must be a time with its zone/],
      [{ createdBefore: '2026-02-30T00:00:00Z' }, /^createdBefore must be a time/],
      [{ createdBefore: '2026-02-03T00:00:00' }, /^createdBefore must be a time/],
      [{ limit: '0' }, /^limit/],
      [{ limit: '101' }, /^limit/],
      [{ channelFilter: 'a b' }, /^channelFilter/],
      [{ page: 'x' }, /^page/],
    ] as const) {
      expectError(await peek(queueId, query), 400, 'InvalidParameter', message);
    }
    expectError(await peek(`${queueId}x`), 404, 'NotAuthorizedOrNotFound');
    const stranger = await makeStranger(pods);
    stranger.client.close();
    expectError(await peek(stranger.queueId), 404, 'NotAuthorizedOrNotFound');
    const head = await client.call({ method: 'HEAD', path: `/queues/${queueId}/messages/actions/peekMessages` });
    expect([head.status, head.headers.allow]).toEqual([405, 'GET']);
  });

  it('is signed as every request is', async () => {
    const queueId = await client.createQueue({ compartmentId });
    const [id] = await put(queueId, [withKind('a')]);
    const pem = await readFile(path.join(pods.dataDirectory, 'oci', 'key.pem'), 'utf8');
    const publicKey = createPublicKey(pem);
    const { tenancyId, userId } = pods.credentials;
    const fingerprint = fingerprintOf(publicKey);
    const signer = { tenancyId, userId, fingerprint, privateKey: createPrivateKey(pem), publicKey, pem };
    const target = `/20210201/queues/${queueId}/messages/actions/peekMessages?filter=:kind%20=%20%22a%22`;
    const { host } = new URL(client.url);
    const signed = signByHand(signer, { method: 'GET', target, headers: { host } });
    const headers: Record<string, string> = {};
    for (let at = 0; at < signed.rawHeaders.length; at += 2)
      headers[signed.rawHeaders[at]!] = signed.rawHeaders[at + 1]!;
    const answer = await client.call({ path: target, root: true, headers, apiKey: null });
    expect(messagesOf(answer).map((message) => message.id)).toEqual([id]);
    const unsigned = await client.call({ path: target, root: true, apiKey: null });
    expectError(unsigned, 401, 'NotAuthenticated');
  });
});
