import type queue from 'oci-queue';
import { startTestPods, type TestPods } from '../support/pod.js';
import { createQueue, sdkClients, type SdkClients } from '../support/sdk.js';

type GroupDetails = Partial<queue.models.CreateConsumerGroupDetails>;
const CONSUMER_GROUPS = [{ type: 'CONSUMER_GROUPS' }] as never;

const contents = (messages: readonly queue.models.GetMessage[]): string[] => messages.map(({ content }) => content);

describe('consumer groups, driven by the OCI SDK', () => {
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

  async function workRequestOf(id: string): Promise<queue.models.WorkRequest> {
    for (;;) {
      const { workRequest } = await sdk.admin.getWorkRequest({ workRequestId: id });
      if (workRequest.timeFinished !== undefined) return workRequest;
    }
  }

  async function createGroup(queueId: string, displayName: string, details: GroupDetails = {}): Promise<string> {
    const { opcWorkRequestId } = await sdk.admin.createConsumerGroup({
      createConsumerGroupDetails: { displayName, queueId, ...details },
    });
    const { operationType, resources } = await workRequestOf(opcWorkRequestId);
    expect(operationType).toBe('CREATE_CONSUMER_GROUP');
    expect(resources[0]).toMatchObject({ entityType: 'CONSUMER_GROUP', actionType: 'CREATED' });
    return resources[0]!.identifier;
  }

  async function put(queueId: string, ...messages: (readonly [string, Record<string, string>?])[]) {
    const answer = await sdk.data.putMessages({
      queueId,
      putMessagesDetails: {
        messages: messages.map(([content, customProperties]) => ({
          content,
          ...(customProperties === undefined ? {} : { metadata: { channelId: 'c', customProperties } }),
        })),
      },
    });
    return answer.putMessages.messages;
  }

  async function get(queueId: string, consumerGroupId?: string, visibilityInSeconds = 30) {
    const found: queue.models.GetMessage[] = [];
    for (;;) {
      const { getMessages } = await sdk.data.getMessages({
        queueId,
        limit: 20,
        timeoutInSeconds: 0,
        visibilityInSeconds,
        ...(consumerGroupId === undefined ? {} : { consumerGroupId }),
      });
      if (getMessages.messages.length === 0) return found.toSorted((a, b) => a.id - b.id);
      found.push(...getMessages.messages);
    }
  }

  it('gives each group its own deliveries of what its filter takes', async () => {
    const queueId = await createQueue(sdk, pods.credentials.compartmentId, { capabilities: CONSUMER_GROUPS });
    const all = await createGroup(queueId, 'all');
    const big = await createGroup(queueId, 'big', { filter: ':kind = "order" and not :amount <= 100' });
    const stored = await put(
      queueId,
      ['a', { kind: 'order', amount: '50' }],
      ['b', { kind: 'order', amount: '150' }],
      ['c'],
    );
    expect(stored.map(({ expireAfter }) => typeof expireAfter)).toEqual(['string', 'string', 'string']);

    const primary = await get(queueId);
    expect(contents(primary)).toEqual(['a', 'b', 'c']);
    expect(primary.map(({ id }) => id)).toEqual(stored.map(({ id }) => id));
    expect(contents(await get(queueId, all))).toEqual(['a', 'b', 'c']);
    const [only, ...others] = await get(queueId, big);
    expect(only).toMatchObject({ id: stored[1]!.id, content: 'b', deliveryCount: 1 });
    expect(others).toEqual([]);

    // A receipt is of one group, and deleting there leaves the others theirs.
    const messageReceipt = only!.receipt;
    await expect(sdk.data.deleteMessage({ queueId, messageReceipt })).rejects.toMatchObject({ statusCode: 404 });
    await expect(sdk.data.deleteMessage({ queueId, messageReceipt, consumerGroupId: all })).rejects.toMatchObject({
      statusCode: 404,
    });
    await sdk.data.updateMessage({
      queueId,
      messageReceipt,
      consumerGroupId: big,
      updateMessageDetails: { visibilityInSeconds: 60 },
    });
    await sdk.data.deleteMessage({ queueId, messageReceipt, consumerGroupId: big });
    const stats = async (consumerGroupId?: string) =>
      (await sdk.data.getStats({ queueId, ...(consumerGroupId === undefined ? {} : { consumerGroupId }) })).queueStats;
    expect(await stats(big)).toMatchObject({
      queue: { visibleMessages: 0, inFlightMessages: 0 },
      consumerGroupId: big,
    });
    expect(await stats()).toMatchObject({ queue: { inFlightMessages: 3 } });
    expect((await sdk.data.listChannels({ queueId, consumerGroupId: all })).channelCollection.items).toEqual(['c']);
    expect((await sdk.data.listChannels({ queueId, consumerGroupId: big })).channelCollection.items).toEqual([]);
  });

  it('has a dead letter limit per group, which -1 unsets', async () => {
    const queueId = await createQueue(sdk, pods.credentials.compartmentId, {
      capabilities: CONSUMER_GROUPS,
      deadLetterQueueDeliveryCount: 2,
    });
    const once = await createGroup(queueId, 'once', { deadLetterQueueDeliveryCount: 1 });
    const never = await createGroup(queueId, 'never', { deadLetterQueueDeliveryCount: 0 });
    await put(queueId, ['x']);
    const deliveries = async (group?: string): Promise<number> => {
      let count = 0;
      // With a visibility of 0 every get is one more delivery; five show where it ends.
      for (let round = 0; round < 5; round += 1) {
        const { getMessages } = await sdk.data.getMessages({
          queueId,
          timeoutInSeconds: 0,
          visibilityInSeconds: 0,
          ...(group === undefined ? {} : { consumerGroupId: group }),
        });
        count += getMessages.messages.length;
      }
      return count;
    };
    expect(await deliveries()).toBe(2);
    expect(await deliveries(once)).toBe(1);
    expect(await deliveries(never)).toBe(5);
    expect(contents(await get(`${queueId}/dlq`, once))).toEqual(['x']);
    expect(await get(`${queueId}/dlq`, never)).toEqual([]);
    await sdk.admin.updateConsumerGroup({
      consumerGroupId: once,
      updateConsumerGroupDetails: { deadLetterQueueDeliveryCount: -1 },
    });
    expect((await sdk.admin.getConsumerGroup({ consumerGroupId: once })).consumerGroup).not.toHaveProperty(
      'deadLetterQueueDeliveryCount',
    );
    await put(queueId, ['y']);
    expect(await deliveries(once)).toBe(2);
  });

  it('drops what no group takes while the primary one is disabled', async () => {
    const queueId = await createQueue(sdk, pods.credentials.compartmentId, {
      capabilities: [{ type: 'CONSUMER_GROUPS', isPrimaryConsumerGroupEnabled: false }] as never,
    });
    const orders = await createGroup(queueId, 'orders', { filter: ':kind = "order"' });
    const [taken, dropped] = await put(queueId, ['a', { kind: 'order' }], ['b', { kind: 'note' }]);
    expect(taken).toMatchObject({ expireAfter: expect.any(String) });
    expect(dropped).toEqual({ id: expect.any(Number) });
    await expect(sdk.data.getMessages({ queueId })).rejects.toMatchObject({
      statusCode: 409,
      serviceCode: 'IncorrectState',
    });
    expect(contents(await get(queueId, orders))).toEqual(['a']);

    const groups = (await sdk.admin.listConsumerGroups({ queueId })).consumerGroupCollection.items;
    const primary = groups.find(({ displayName }) => displayName === 'Primary Consumer Group')!;
    expect(primary).toMatchObject({ lifecycleState: 'INACTIVE', queueId });
    await sdk.admin.updateConsumerGroup({
      consumerGroupId: primary.id,
      updateConsumerGroupDetails: { isEnabled: true },
    });
    await put(queueId, ['c']);
    expect(contents(await get(queueId))).toEqual(['c']);
    expect(contents(await get(queueId, primary.id))).toEqual([]);
    await expect(sdk.admin.deleteConsumerGroup({ consumerGroupId: primary.id })).rejects.toMatchObject({
      statusCode: 409,
    });
    await expect(
      sdk.admin.updateConsumerGroup({ consumerGroupId: primary.id, updateConsumerGroupDetails: { filter: ':a' } }),
    ).rejects.toMatchObject({ statusCode: 400, serviceCode: 'InvalidParameter' });
  });

  it('is created, read, listed, changed and deleted with work requests, ETags and states', async () => {
    const queueId = await createQueue(sdk, pods.credentials.compartmentId);
    await expect(createGroup(queueId, 'early')).rejects.toMatchObject({
      statusCode: 409,
      serviceCode: 'IncorrectState',
    });
    await sdk.admin.updateQueue({ queueId, updateQueueDetails: { capabilities: CONSUMER_GROUPS } });
    const { queue: changed } = await sdk.admin.getQueue({ queueId });
    expect(changed.capabilities).toEqual([{ type: 'CONSUMER_GROUPS' }]);
    await put(queueId, ['before']);
    const id = await createGroup(queueId, 'Billing', { freeformTags: { a: 'b' } });
    await expect(createGroup(queueId, 'billing')).rejects.toMatchObject({ statusCode: 400 });
    await expect(createGroup(queueId, 'broken', { filter: ':a = ' })).rejects.toMatchObject({
      statusCode: 400,
      message: expect.stringContaining('at character 6'),
    });
    // Only what is put later.
    await put(queueId, ['after']);
    expect(contents(await get(queueId, id))).toEqual(['after']);

    const { consumerGroup, etag } = await sdk.admin.getConsumerGroup({ consumerGroupId: id });
    expect(consumerGroup).toMatchObject({
      id,
      displayName: 'Billing',
      queueId,
      lifecycleState: 'ACTIVE',
      filter: '',
      freeformTags: { a: 'b' },
    });
    const update = (ifMatch: string) =>
      sdk.admin.updateConsumerGroup({
        consumerGroupId: id,
        ifMatch,
        updateConsumerGroupDetails: { filter: ':x', isEnabled: false },
      });
    await expect(update('7')).rejects.toMatchObject({ statusCode: 412, serviceCode: 'NoEtagMatch' });
    const { opcWorkRequestId } = await update(etag);
    expect(await workRequestOf(opcWorkRequestId)).toMatchObject({ operationType: 'UPDATE_CONSUMER_GROUP' });
    expect((await sdk.admin.getConsumerGroup({ consumerGroupId: id })).consumerGroup).toMatchObject({
      lifecycleState: 'INACTIVE',
      filter: ':x',
    });
    await expect(sdk.data.getMessages({ queueId, consumerGroupId: id })).rejects.toMatchObject({ statusCode: 409 });

    const names = async (sortOrder: string) => {
      const found: string[] = [];
      let page: string | undefined;
      do {
        const answer = await sdk.admin.listConsumerGroups({
          queueId,
          sortBy: 'displayName',
          sortOrder,
          limit: 1,
          ...(page === undefined ? {} : { page }),
        } as never);
        found.push(...answer.consumerGroupCollection.items.map(({ displayName }) => displayName));
        page = answer.opcNextPage as string | undefined;
      } while (page);
      return found;
    };
    expect(await names('ASC')).toEqual(['Billing', 'Primary Consumer Group']);
    expect(await names('DESC')).toEqual(['Primary Consumer Group', 'Billing']);

    const deletion = await sdk.admin.deleteConsumerGroup({ consumerGroupId: id });
    expect(await workRequestOf(deletion.opcWorkRequestId)).toMatchObject({
      operationType: 'DELETE_CONSUMER_GROUP',
      resources: [{ entityType: 'CONSUMER_GROUP', actionType: 'DELETED', identifier: id }],
    });
    expect((await sdk.admin.getConsumerGroup({ consumerGroupId: id })).consumerGroup.lifecycleState).toBe('DELETED');
    await expect(sdk.data.getMessages({ queueId, consumerGroupId: id })).rejects.toMatchObject({ statusCode: 404 });
    // Its name is free again.
    await createGroup(queueId, 'BILLING');
  });

  it('purges one group, or all', async () => {
    const queueId = await createQueue(sdk, pods.credentials.compartmentId, { capabilities: CONSUMER_GROUPS });
    const one = await createGroup(queueId, 'one');
    const two = await createGroup(queueId, 'two');
    await put(queueId, ['x'], ['y']);
    const purge = async (consumerGroupId?: string) => {
      const { opcWorkRequestId } = await sdk.admin.purgeQueue({
        queueId,
        purgeQueueDetails: {
          purgeType: 'BOTH' as never,
          ...(consumerGroupId === undefined ? {} : { consumerGroupId }),
        },
      });
      await workRequestOf(opcWorkRequestId);
    };
    const left = async () => {
      const found = await Promise.all([undefined, one, two].map((group) => get(queueId, group)));
      // What is there is there for the next look too.
      await pods.test.sql('update towpath.message set visible_after = now() where queue_id = towpath.queue_id($1)', [
        queueId,
      ]);
      return found.map(({ length }) => length);
    };
    await purge(one);
    expect(await left()).toEqual([2, 0, 2]);
    await purge('all');
    expect(await left()).toEqual([0, 0, 0]);
    await expect(purge('ocid1.queueconsumergroup.oc1.local.none')).rejects.toMatchObject({ statusCode: 404 });
  });

  it('wakes a long poll of a group', async () => {
    const queueId = await createQueue(sdk, pods.credentials.compartmentId, { capabilities: CONSUMER_GROUPS });
    const group = await createGroup(queueId, 'waiting', { filter: ':x' });
    const poll = sdk.data.getMessages({ queueId, consumerGroupId: group, timeoutInSeconds: 20 });
    await put(queueId, ['no']);
    await put(queueId, ['yes', { x: '1' }]);
    expect(contents((await poll).getMessages.messages)).toEqual(['yes']);
  });
});
