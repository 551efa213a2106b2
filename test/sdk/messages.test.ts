import type { models } from 'oci-queue';
import { startTestPods, type TestPods } from '../support/pod.js';
import { createQueue, ociError, sdkClients, type SdkClients } from '../support/sdk.js';

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

const inChannel = (content: string, channelId: string): models.PutMessagesDetailsEntry => ({
  content,
  metadata: { channelId },
});
const failure = (errorCode: number): unknown => ({ errorCode, errorMessage: expect.stringMatching(/receipt/) });

describe('the data plane, through the OCI SDK', () => {
  let pods: TestPods;
  let sdk: SdkClients;

  beforeAll(async () => {
    pods = await startTestPods();
    sdk = sdkClients(pods.dataDirectory, pods.pods[0]!.url);
  });
  afterAll(async () => {
    sdk.close();
    await pods.stop();
  });

  const newQueue = (details: Partial<models.CreateQueueDetails> = {}): Promise<string> =>
    createQueue(sdk, pods.credentials.compartmentId, { displayName: 'q', ...details });
  const put = async (queueId: string, ...messages: models.PutMessagesDetailsEntry[]): Promise<models.PutMessage[]> =>
    (await sdk.data.putMessages({ queueId, putMessagesDetails: { messages } })).putMessages.messages;
  const get = async (queueId: string, request: object = {}): Promise<models.GetMessage[]> =>
    (await sdk.data.getMessages({ queueId, timeoutInSeconds: 0, limit: 20, ...request })).getMessages.messages;

  it('returns what was put, with its metadata and times', async () => {
    const queueId = await newQueue({ visibilityInSeconds: 60, retentionInSeconds: 1000 });
    const content = 'héllo <&>\n\t"\\ 日本 🛶 \u0000';
    const [stored] = await put(queueId, {
      content,
      metadata: { channelId: 'ch-1', customProperties: { k: 'v', ünï: '🛶', empty: '' } },
    });
    expect(stored).toEqual({ id: expect.any(Number), expireAfter: expect.stringMatching(TIME) });
    const [message] = await get(queueId);
    expect(message).toEqual({
      id: stored!.id,
      content,
      receipt: expect.stringMatching(/^[A-Za-z0-9_-]{1,96}$/),
      deliveryCount: 1,
      visibleAfter: expect.stringMatching(TIME),
      expireAfter: stored!.expireAfter,
      createdAt: expect.stringMatching(TIME),
      metadata: { channelId: 'ch-1', customProperties: { k: 'v', ünï: '🛶', empty: '' } },
    });
    const { createdAt, visibleAfter, expireAfter } = message as unknown as Record<string, string>;
    expect(Date.parse(expireAfter!) - Date.parse(createdAt!)).toBe(1_000_000);
    const hidden = Date.parse(visibleAfter!) - Date.parse(createdAt!);
    expect(hidden).toBeGreaterThanOrEqual(60_000);
    expect(hidden).toBeLessThan(90_000);
  });

  it('gets one message unless more are asked for, and peeks with visibility 0', async () => {
    const queueId = await newQueue();
    const ids = (await put(queueId, ...'abc'.split('').map((content) => ({ content })))).map(({ id }) => id);
    expect(
      (await sdk.data.getMessages({ queueId, timeoutInSeconds: 0, visibilityInSeconds: 0 })).getMessages.messages,
    ).toHaveLength(1);
    expect((await get(queueId, { visibilityInSeconds: 0 })).map(({ id }) => id)).toEqual(ids);
    const [third] = await get(queueId, { limit: 1 });
    expect(third).toMatchObject({ id: ids[0], deliveryCount: 3 });
    expect((await get(queueId)).map(({ id }) => id)).toEqual(ids.slice(1));
    expect(await get(queueId)).toEqual([]);
  });

  it('puts all or none', async () => {
    const queueId = await newQueue();
    await expect(put(queueId, { content: 'good' }, inChannel('bad', 'no/slash'))).rejects.toEqual(
      ociError(400, 'InvalidParameter'),
    );
    await expect(put(queueId, { content: 'good' }, inChannel('bad', 'dlq'))).rejects.toEqual(
      ociError(400, 'InvalidParameter'),
    );
    await expect(put(queueId, { content: 'good' }, { content: 'x'.repeat(262_145) })).rejects.toEqual(
      ociError(400, 'LimitExceeded'),
    );
    await expect(put(queueId, ...Array.from({ length: 21 }, () => ({ content: 'x' })))).rejects.toEqual(
      ociError(400, 'InvalidParameter'),
    );
    expect(await get(queueId)).toEqual([]);
  });

  it('takes metadata without a channel, as an extension', async () => {
    const queueId = await newQueue();
    await put(queueId, { content: 'a', metadata: { customProperties: { kind: 'x' } } as never });
    expect((await get(queueId))[0]?.metadata).toEqual({ customProperties: { kind: 'x' } });
  });

  const withBadReceipts = async (): Promise<{
    queueId: string;
    good: models.GetMessage[];
    bad: { receipt: string; errorCode: number }[];
  }> => {
    const queueId = await newQueue();
    const other = await newQueue();
    await put(other, { content: 'theirs' });
    const [theirs] = await get(other);
    await put(queueId, { content: 'dead' });
    const [dead] = await get(queueId);
    await sdk.data.deleteMessage({ queueId, messageReceipt: dead!.receipt });
    await put(queueId, { content: 'a' }, { content: 'b' });
    return {
      queueId,
      good: await get(queueId),
      bad: [
        { receipt: 'garbled', errorCode: 400 },
        { receipt: dead!.receipt, errorCode: 404 },
        { receipt: theirs!.receipt, errorCode: 404 },
        { receipt: '', errorCode: 400 },
      ],
    };
  };

  describe('in batches where some receipts are bad', () => {
    it('deletes the others', async () => {
      const { queueId, good, bad } = await withBadReceipts();
      const entries = [good[0]!, ...bad, good[1]!, good[0]!].map(({ receipt }) => ({ receipt }));
      const { deleteMessagesResult } = await sdk.data.deleteMessages({ queueId, deleteMessagesDetails: { entries } });
      expect(deleteMessagesResult).toEqual({
        serverFailures: 0,
        clientFailures: 5,
        // A receipt that stands twice deletes once.
        entries: [{}, ...bad.map(({ errorCode }) => failure(errorCode)), {}, failure(404)],
      });
      expect((await sdk.data.getStats({ queueId })).queueStats.queue).toMatchObject({
        visibleMessages: 0,
        inFlightMessages: 0,
      });
    });

    it('updates the others', async () => {
      const { queueId, good, bad } = await withBadReceipts();
      const entries = [
        { receipt: good[0]!.receipt, visibilityInSeconds: 600 },
        ...bad.map(({ receipt }) => ({ receipt, visibilityInSeconds: 1 })),
        { receipt: good[1]!.receipt, visibilityInSeconds: 43_201 },
        { receipt: good[1]!.receipt, visibilityInSeconds: -1 },
        { receipt: good[1]!.receipt, visibilityInSeconds: 1.5 },
        { receipt: good[1]!.receipt, visibilityInSeconds: 0 },
      ];
      const { updateMessagesResult } = await sdk.data.updateMessages({ queueId, updateMessagesDetails: { entries } });
      const outOfRange = { errorCode: 400, errorMessage: expect.stringMatching(/visibilityInSeconds/) };
      expect(updateMessagesResult).toEqual({
        serverFailures: 0,
        clientFailures: 7,
        entries: [
          { id: good[0]!.id, visibleAfter: expect.stringMatching(TIME) },
          ...bad.map(({ errorCode }) => failure(errorCode)),
          outOfRange,
          outOfRange,
          outOfRange,
          { id: good[1]!.id, visibleAfter: expect.stringMatching(TIME) },
        ],
      });
      expect((await get(queueId)).map(({ id }) => id)).toEqual([good[1]!.id]);
    });

    it('answers one bad receipt with an error', async () => {
      const { queueId, bad } = await withBadReceipts();
      for (const { receipt, errorCode } of bad.filter((entry) => entry.receipt !== '')) {
        const error = ociError(errorCode, errorCode === 400 ? 'InvalidParameter' : 'NotAuthorizedOrNotFound');
        const update = { queueId, messageReceipt: receipt, updateMessageDetails: { visibilityInSeconds: 1 } };
        await expect(sdk.data.deleteMessage({ queueId, messageReceipt: receipt })).rejects.toEqual(error);
        await expect(sdk.data.updateMessage(update)).rejects.toEqual(error);
      }
    });
  });

  it('clamps an extension to the expiry of the message', async () => {
    const queueId = await newQueue({ retentionInSeconds: 60 });
    await put(queueId, { content: 'a' });
    const [message] = await get(queueId);
    const { updatedMessage } = await sdk.data.updateMessage({
      queueId,
      messageReceipt: message!.receipt,
      updateMessageDetails: { visibilityInSeconds: 43_200 },
    });
    expect(updatedMessage).toEqual({ id: message!.id, visibleAfter: message!.expireAfter });
  });

  describe('channels', () => {
    it('filters, lists and counts by channel', async () => {
      const queueId = await newQueue();
      await put(queueId, { content: 'none' }, inChannel('b1', 'b'), inChannel('a1', 'a'), inChannel('b2', 'b'));
      const channels = async (request: object = {}): Promise<string[]> =>
        (await sdk.data.listChannels({ queueId, ...request })).channelCollection.items;
      expect(await channels()).toEqual(['a', 'b']);
      expect(await channels({ channelFilter: 'b' })).toEqual(['b']);
      expect(await channels({ channelFilter: 'c' })).toEqual([]);
      const stats = async (channelId?: string): Promise<models.QueueStats> =>
        (await sdk.data.getStats({ queueId, ...(channelId && { channelId }) })).queueStats;
      expect(await stats()).toMatchObject({ queue: { visibleMessages: 4, inFlightMessages: 0, sizeInBytes: 10 } });
      expect(await stats('b')).toMatchObject({ queue: { visibleMessages: 2, sizeInBytes: 4 }, channelId: 'b' });
      expect((await get(queueId, { channelFilter: 'b' })).map(({ content }) => content)).toEqual(['b1', 'b2']);
      expect(await stats('b')).toMatchObject({ queue: { visibleMessages: 0, inFlightMessages: 2 } });
      expect(await get(queueId, { channelFilter: 'b' })).toEqual([]);
      expect(await get(queueId, { channelFilter: 'c' })).toEqual([]);
    });

    it('pages through channels', async () => {
      const queueId = await newQueue();
      const names = ['e', 'd', 'c', 'b', 'a'];
      await put(queueId, ...names.map((name) => inChannel(name, name)));
      const first = await sdk.data.listChannels({ queueId, limit: 2 });
      expect(first.channelCollection.items).toEqual(['a', 'b']);
      const second = await sdk.data.listChannels({ queueId, limit: 2, page: first.opcNextPage });
      expect(second.channelCollection.items).toEqual(['c', 'd']);
      const third = await sdk.data.listChannels({ queueId, limit: 2, page: second.opcNextPage });
      expect(third.channelCollection.items).toEqual(['e']);
      expect(third.opcNextPage ?? null).toBeNull();
      const other = await newQueue();
      await expect(sdk.data.listChannels({ queueId: other, page: first.opcNextPage })).rejects.toEqual(
        ociError(400, 'InvalidParameter'),
      );
    });

    it('gives every channel its turn, whatever the others hold', async () => {
      const queueId = await newQueue();
      for (let batch = 0; batch < 5; batch += 1) {
        await put(queueId, ...Array.from({ length: 20 }, (_, index) => inChannel(`loud ${batch} ${index}`, 'loud')));
      }
      await put(
        queueId,
        { content: 'plain' },
        inChannel('q1', 'quiet'),
        inChannel('q2', 'quiet'),
        inChannel('s', 'soft'),
      );
      const served: string[] = [];
      for (let turn = 0; turn < 8; turn += 1) {
        const messages = await get(queueId, { limit: 2 });
        // One channel per answer.
        const channels = new Set(messages.map(({ metadata }) => metadata?.channelId ?? ''));
        expect(channels.size).toBe(1);
        served.push(...channels);
      }
      // Four have something: each is served within any four turns while it lasts.
      expect(new Set(served.slice(0, 4))).toEqual(new Set(['', 'loud', 'quiet', 'soft']));
      expect(served.slice(4).every((channel) => channel === 'loud')).toBe(true);
    });
  });

  it('knows no consumer groups besides the primary one, which has no id', async () => {
    const queueId = await newQueue();
    const missing = ociError(404, 'NotAuthorizedOrNotFound');
    const consumerGroupId = 'ocid1.queueconsumergroup.oc1..x';
    await expect(get(queueId, { consumerGroupId })).rejects.toEqual(missing);
    await expect(sdk.data.getStats({ queueId, consumerGroupId })).rejects.toEqual(missing);
    await expect(sdk.data.listChannels({ queueId, consumerGroupId })).rejects.toEqual(missing);
  });

  it('wakes whoever waits when a message is put', async () => {
    const queueId = await newQueue();
    const waiting = sdk.data.getMessages({ queueId, timeoutInSeconds: 20 });
    await new Promise((resolve) => setTimeout(resolve, 200));
    const start = Date.now();
    await put(queueId, { content: 'at last' });
    expect((await waiting).getMessages.messages.map(({ content }) => content)).toEqual(['at last']);
    expect(Date.now() - start).toBeLessThan(3000);
  });

  it('understands channel ids and pages that the SDK sends unencoded', async () => {
    const queueId = await newQueue();
    for (const channelFilter of ['a b', 'a+b', 'é', '日本', "quote'", '{}', '|', '^', '`', '\\']) {
      // Signed and understood: refused for what it is, not as a bad signature.
      await expect(get(queueId, { channelFilter })).rejects.toEqual(ociError(400, 'InvalidParameter'));
    }
    // %41 is A on the wire.
    await put(queueId, inChannel('x', 'A'));
    expect(await get(queueId, { channelFilter: '%41' })).toHaveLength(1);
    for (const displayName of [
      'a b',
      'a+b',
      'é',
      '日本',
      "quote'",
      '{}',
      '|',
      '^',
      '`',
      '\\',
      '"',
      '<>',
      '~!@$*()_-=;:,./?',
    ]) {
      const id = await newQueue({ displayName });
      const { queueCollection } = await sdk.admin.listQueues({ displayName });
      expect([displayName, queueCollection.items.map((queue) => queue.id)]).toEqual([displayName, [id]]);
    }
  });
});
