import type { models } from 'oci-queue';
import { untilDead } from '../support/dead-letters.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { createQueue, ociError, sdkClients, type SdkClients } from '../support/sdk.js';

describe('the dead letter queue, through the OCI SDK', () => {
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

  const get = async (queueId: string, request: object = {}): Promise<models.GetMessage[]> =>
    (await sdk.data.getMessages({ queueId, timeoutInSeconds: 0, limit: 20, ...request })).getMessages.messages;
  const put = async (queueId: string, content: string, channelId?: string): Promise<number> => {
    const message = { content, ...(channelId !== undefined && { metadata: { channelId } }) };
    const { putMessages } = await sdk.data.putMessages({ queueId, putMessagesDetails: { messages: [message] } });
    return putMessages.messages[0]!.id;
  };
  const stats = async (queueId: string): Promise<models.QueueStats> =>
    (await sdk.data.getStats({ queueId })).queueStats;
  const channels = async (id: string): Promise<string[]> =>
    (await sdk.data.listChannels({ queueId: id })).channelCollection.items;
  const newQueue = (deadLetterQueueDeliveryCount: number): Promise<string> =>
    createQueue(sdk, pods.credentials.compartmentId, { deadLetterQueueDeliveryCount, visibilityInSeconds: 1 });

  it.each([1, 3])('takes a message after exactly %i deliveries that timed out', async (limit) => {
    const queueId = await newQueue(limit);
    const id = await put(queueId, 'poison', 'ch');
    let last: models.GetMessage | undefined;
    for (let delivery = 1; delivery <= limit; delivery += 1) {
      // A long poll wakes when the timeout of the delivery before ends.
      [last] = await get(queueId, { timeoutInSeconds: 20, visibilityInSeconds: 600 });
      expect(last).toMatchObject({ id, deliveryCount: delivery });
      expect(await get(`${queueId}/dlq`)).toEqual([]);
      // Only now, so that it cannot end before that look.
      await sdk.data.updateMessage({
        queueId,
        messageReceipt: last!.receipt,
        updateMessageDetails: { visibilityInSeconds: 1 },
      });
    }
    // It is in the dead letter queue as soon as that delivery has timed out, whoever looks there or not.
    const [dead] = await get(`${queueId}/dlq`, { timeoutInSeconds: 20 });
    expect(dead).toMatchObject({
      id,
      content: 'poison',
      metadata: { channelId: 'ch' },
      expireAfter: last!.expireAfter,
    });
    expect(await get(queueId)).toEqual([]);
    await expect(sdk.data.deleteMessage({ queueId, messageReceipt: last!.receipt })).rejects.toEqual(
      ociError(404, 'NotAuthorizedOrNotFound'),
    );
  });

  it('takes nothing where the count is 0', async () => {
    const queueId = await newQueue(0);
    const id = await put(queueId, 'again and again');
    for (let delivery = 1; delivery <= 25; delivery += 1) {
      expect(await get(queueId, { visibilityInSeconds: 0 })).toMatchObject([{ id, deliveryCount: delivery }]);
    }
    expect(await get(`${queueId}/dlq`)).toEqual([]);
    expect(await stats(queueId)).toMatchObject({ queue: { visibleMessages: 1 }, dlq: { visibleMessages: 0 } });
  });

  it('is read, updated and deleted from', async () => {
    const queueId = await newQueue(1);
    const dlq = `${queueId}/dlq`;
    await put(queueId, 'a');
    await put(queueId, 'b');
    // A peek counts as a delivery too.
    await get(queueId, { visibilityInSeconds: 0 });
    expect(await get(queueId)).toEqual([]);
    await untilDead(pods.test, queueId, 2);
    expect(await stats(queueId)).toMatchObject({
      queue: { visibleMessages: 0, inFlightMessages: 0, delayedMessages: 0, sizeInBytes: 0 },
      dlq: { visibleMessages: 2, inFlightMessages: 0, delayedMessages: 0, sizeInBytes: 2 },
    });
    const dead = await get(dlq, { visibilityInSeconds: 600 });
    expect(dead.map(({ content }) => content)).toEqual(['a', 'b']);
    expect(await get(dlq)).toEqual([]);
    expect((await stats(queueId)).dlq).toMatchObject({ visibleMessages: 0, inFlightMessages: 2 });
    expect((await stats(dlq)).queue).toMatchObject({ visibleMessages: 0, inFlightMessages: 2 });

    // A receipt of the dead letter queue is good there and nowhere else.
    const [first, second] = dead;
    const dead404 = ociError(404, 'NotAuthorizedOrNotFound');
    await expect(sdk.data.deleteMessage({ queueId, messageReceipt: first!.receipt })).rejects.toEqual(dead404);
    const update = { messageReceipt: first!.receipt, updateMessageDetails: { visibilityInSeconds: 0 } };
    await expect(sdk.data.updateMessage({ queueId, ...update })).rejects.toEqual(dead404);
    await sdk.data.updateMessage({ queueId: dlq, ...update });
    const [again] = await get(dlq, { visibilityInSeconds: 600 });
    expect(again).toMatchObject({ content: 'a' });
    const { deleteMessagesResult } = await sdk.data.deleteMessages({
      queueId: dlq,
      deleteMessagesDetails: { entries: [again!, second!].map(({ receipt }) => ({ receipt })) },
    });
    expect(deleteMessagesResult.clientFailures).toBe(0);
    expect((await stats(queueId)).dlq).toEqual({
      visibleMessages: 0,
      inFlightMessages: 0,
      delayedMessages: 0,
      sizeInBytes: 0,
    });
  });

  it('delivers dead letters as often as they are asked for', async () => {
    const queueId = await newQueue(1);
    await put(queueId, 'a');
    await get(queueId, { visibilityInSeconds: 0 });
    expect(await get(queueId)).toEqual([]);
    await untilDead(pods.test, queueId, 1);
    for (let delivery = 0; delivery < 25; delivery += 1) {
      expect(await get(`${queueId}/dlq`, { visibilityInSeconds: 0 })).toHaveLength(1);
    }
  });

  it('lists its own channels', async () => {
    const queueId = await newQueue(1);
    await put(queueId, 'a', 'gone-bad');
    await put(queueId, 'b', 'fine');
    await get(queueId, { visibilityInSeconds: 0, channelFilter: 'gone-bad' });
    expect(await get(queueId, { channelFilter: 'gone-bad' })).toEqual([]);
    await untilDead(pods.test, queueId, 1);
    expect(await channels(queueId)).toEqual(['fine']);
    expect(await channels(`${queueId}/dlq`)).toEqual(['gone-bad']);
    expect(await get(`${queueId}/dlq`, { channelFilter: 'fine' })).toEqual([]);
    expect(await get(`${queueId}/dlq`, { channelFilter: 'gone-bad' })).toHaveLength(1);
  });

  it('takes no puts and no control plane operations', async () => {
    const queueId = `${await newQueue(1)}/dlq`;
    const refused = ociError(400, 'InvalidParameter');
    await expect(put(queueId, 'a')).rejects.toEqual(refused);
    await expect(sdk.admin.getQueue({ queueId })).rejects.toEqual(refused);
    await expect(sdk.admin.deleteQueue({ queueId })).rejects.toEqual(refused);
  });

  it('takes a raised or lowered limit from the next delivery on', async () => {
    const queueId = await newQueue(1);
    await put(queueId, 'a');
    // In flight until the limit is raised: the maintenance would take what has timed out by the old one.
    const [held] = await get(queueId, { visibilityInSeconds: 600 });
    await sdk.admin.updateQueue({ queueId, updateQueueDetails: { deadLetterQueueDeliveryCount: 3 } });
    await sdk.data.updateMessage({
      queueId,
      messageReceipt: held!.receipt,
      updateMessageDetails: { visibilityInSeconds: 0 },
    });
    // It may have it in its hands for a moment, to see that it is not over the new limit.
    const next = { visibilityInSeconds: 0, timeoutInSeconds: 20 };
    expect(await get(queueId, next)).toMatchObject([{ deliveryCount: 2 }]);
    expect(await get(queueId, next)).toMatchObject([{ deliveryCount: 3 }]);
    expect(await get(queueId)).toEqual([]);
    await untilDead(pods.test, queueId, 1);
    expect(await get(`${queueId}/dlq`)).toHaveLength(1);
  });
});
