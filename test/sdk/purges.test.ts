import type { models } from 'oci-queue';
import pg from 'pg';
import { untilDead } from '../support/dead-letters.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { createQueue, finished, ociError, sdkClients, type SdkClients } from '../support/sdk.js';

const all = (kind: string): string[] => [`${kind} `, `${kind} a`, `${kind} b`];

describe('purging, through the OCI SDK', () => {
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
  const put = (queueId: string, content: string, channelId?: string): Promise<unknown> =>
    sdk.data.putMessages({
      queueId,
      putMessagesDetails: { messages: [{ content, ...(channelId !== undefined && { metadata: { channelId } }) }] },
    });
  const purge = async (queueId: string, details: object): Promise<string> =>
    (await sdk.admin.purgeQueue({ queueId, purgeQueueDetails: details as models.PurgeQueueDetails })).opcWorkRequestId;
  const drain = async (id: string): Promise<string[]> => {
    const contents: string[] = [];
    for (;;) {
      const messages = await get(id, { visibilityInSeconds: 600 });
      if (messages.length === 0) return contents.toSorted();
      contents.push(...messages.map(({ content }) => content));
    }
  };
  const left = async (queueId: string): Promise<{ normal: string[]; dead: string[] }> => {
    return { normal: await drain(queueId), dead: await drain(`${queueId}/dlq`) };
  };
  /** A queue with a message and a dead letter outside any channel, in `a` and in `b`. */
  const fill = async (): Promise<string> => {
    const queueId = await createQueue(sdk, pods.credentials.compartmentId, { deadLetterQueueDeliveryCount: 1 });
    for (const channelId of [undefined, 'a', 'b']) await put(queueId, `dead ${channelId ?? ''}`, channelId);
    // Delivered once, and found to be over the limit by the next round.
    for (let round = 0; round < 6; round += 1) await get(queueId, { visibilityInSeconds: 0 });
    await untilDead(pods.test, queueId, 3);
    for (const channelId of [undefined, 'a', 'b']) await put(queueId, `normal ${channelId ?? ''}`, channelId);
    const { queueStats } = await sdk.data.getStats({ queueId });
    expect(queueStats).toMatchObject({ queue: { visibleMessages: 3 }, dlq: { visibleMessages: 3 } });
    return queueId;
  };

  it.each([
    [{ purgeType: 'NORMAL' }, { normal: [], dead: all('dead') }],
    [{ purgeType: 'DLQ' }, { normal: all('normal'), dead: [] }],
    [{ purgeType: 'BOTH' }, { normal: [], dead: [] }],
    [
      { purgeType: 'NORMAL', channelIds: ['a'] },
      { normal: ['normal ', 'normal b'], dead: all('dead') },
    ],
    [
      { purgeType: 'DLQ', channelIds: ['a', 'b'] },
      { normal: all('normal'), dead: ['dead '] },
    ],
    [
      { purgeType: 'BOTH', channelIds: ['b'] },
      { normal: ['normal ', 'normal a'], dead: ['dead ', 'dead a'] },
    ],
    [
      { purgeType: 'BOTH', channelIds: ['none'] },
      { normal: all('normal'), dead: all('dead') },
    ],
    [
      { purgeType: 'NORMAL', consumerGroupId: 'all' },
      { normal: [], dead: all('dead') },
    ],
  ])('%j', async (details, expected) => {
    const queueId = await fill();
    const workRequestId = await purge(queueId, details);
    // Invisible from the answer on.
    expect((await sdk.data.getStats({ queueId })).queueStats).toMatchObject({
      queue: { visibleMessages: expected.normal.length },
      dlq: { visibleMessages: expected.dead.length },
    });
    expect(await finished(sdk, workRequestId)).toEqual({
      identifier: queueId,
      actionType: 'UPDATED',
      status: 'SUCCEEDED',
    });
    const { workRequest } = await sdk.admin.getWorkRequest({ workRequestId });
    expect(workRequest).toMatchObject({ operationType: 'PURGE_QUEUE', percentComplete: 100 });
    expect((await sdk.admin.getQueue({ queueId })).queue.lifecycleState).toBe('ACTIVE');
    expect((await sdk.data.getStats({ queueId })).queueStats).toMatchObject({
      queue: { visibleMessages: expected.normal.length, inFlightMessages: 0 },
      dlq: { visibleMessages: expected.dead.length, inFlightMessages: 0 },
    });
    expect(await left(queueId)).toEqual(expected);
  });

  it('takes one at a time, and shows itself while it runs', async () => {
    const queueId = await fill();
    const [held] = await get(queueId, { limit: 1, channelFilter: 'a', visibilityInSeconds: 600 });
    // Holds the purge up at its first message; the others are there to be taken by mistake.
    const blocker = new pg.Client({ connectionString: pods.test.url });
    await blocker.connect();
    try {
      await blocker.query('begin');
      await blocker.query(
        `select from towpath.message m join towpath.queue q on q.id = m.queue_id
        where q.ocid = $1 and not m.dead_letter order by m.id limit 1 for update of m`,
        [queueId],
      );
      const workRequestId = await purge(queueId, { purgeType: 'BOTH' });
      expect((await sdk.admin.getQueue({ queueId })).queue).toMatchObject({
        lifecycleState: 'UPDATING',
        lifecycleDetails: expect.stringMatching(/purging/i),
      });
      const { workRequest } = await sdk.admin.getWorkRequest({ workRequestId });
      expect(workRequest.timeFinished ?? null).toBeNull();
      // The resource is there already: Terraform reads it straight after the request.
      expect(workRequest.resources).toMatchObject([{ identifier: queueId, actionType: 'IN_PROGRESS' }]);
      await expect(purge(queueId, { purgeType: 'NORMAL' })).rejects.toEqual(ociError(409, 'IncorrectState'));
      // Nothing of it is delivered or counted; puts go on.
      expect(await get(queueId)).toEqual([]);
      expect(await get(`${queueId}/dlq`)).toEqual([]);
      // Whoever holds one may go on with it, but nobody gets it any more.
      await sdk.data.updateMessage({
        queueId,
        messageReceipt: held!.receipt,
        updateMessageDetails: { visibilityInSeconds: 0 },
      });
      expect(await get(queueId)).toEqual([]);
      await put(queueId, 'new');
      expect((await get(queueId)).map(({ content }) => content)).toEqual(['new']);
      expect((await sdk.data.getStats({ queueId })).queueStats).toMatchObject({
        queue: { visibleMessages: 0, inFlightMessages: 1 },
        dlq: { visibleMessages: 0, inFlightMessages: 0 },
      });
      // Another queue is purged meanwhile.
      const other = await createQueue(sdk, pods.credentials.compartmentId);
      await finished(sdk, await purge(other, { purgeType: 'BOTH' }));
      await blocker.query('rollback');
      await finished(sdk, workRequestId);
      expect((await sdk.data.getStats({ queueId })).queueStats).toMatchObject({
        queue: { visibleMessages: 0, inFlightMessages: 1 },
      });
    } finally {
      await blocker.end();
    }
  });

  it('knows no consumer group', async () => {
    const queueId = await createQueue(sdk, pods.credentials.compartmentId);
    await expect(purge(queueId, { purgeType: 'BOTH', consumerGroupId: 'ocid1.x' })).rejects.toEqual(
      ociError(404, 'NotAuthorizedOrNotFound'),
    );
    await expect(purge(queueId, { purgeType: 'SOME' })).rejects.toEqual(ociError(400, 'InvalidParameter'));
    await expect(purge(queueId, {})).rejects.toEqual(ociError(400, 'MissingParameter'));
  });

  it('is cancelled by the deletion of the queue', async () => {
    const queueId = await fill();
    const blocker = new pg.Client({ connectionString: pods.test.url });
    await blocker.connect();
    try {
      await blocker.query('begin');
      await blocker.query('select from towpath.message for update');
      const purgeId = await purge(queueId, { purgeType: 'BOTH' });
      const { opcWorkRequestId } = await sdk.admin.deleteQueue({ queueId });
      await blocker.query('rollback');
      await finished(sdk, opcWorkRequestId);
      expect((await finished(sdk, purgeId)).status).toMatch(/CANCELED|SUCCEEDED/);
      expect((await sdk.admin.getQueue({ queueId })).queue.lifecycleState).toBe('DELETED');
    } finally {
      await blocker.end();
    }
  });
});
