import type { models } from 'oci-queue';
import { IdentityFunctions } from '../../src/database/identity-functions.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { createQueue, finished, ociError, sdkClients, type SdkClients } from '../support/sdk.js';

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

describe('the control plane, through the OCI SDK', () => {
  let pods: TestPods;
  let sdk: SdkClients;
  let compartmentId: string;

  beforeAll(async () => {
    pods = await startTestPods();
    sdk = sdkClients(pods.dataDirectory, pods.pods[0]!.url);
    compartmentId = pods.credentials.compartmentId;
  });
  afterAll(async () => {
    sdk.close();
    await pods.stop();
  });

  const secondCompartment = async (name: string): Promise<string> =>
    (
      await new IdentityFunctions(pods.test.database).createCompartment(
        pods.credentials.tenancyId,
        pods.credentials.compartmentId,
        name,
      )
    ).id;

  it('creates a queue with the defaults', async () => {
    const created = await sdk.admin.createQueue({ createQueueDetails: { displayName: 'plain', compartmentId } });
    expect(created.opcWorkRequestId).toMatch(/^ocid1\.queueworkrequest\./);
    expect(created.opcRequestId).toMatch(/./);
    const { workRequest, retryAfter } = await sdk.admin.getWorkRequest({ workRequestId: created.opcWorkRequestId });
    expect(retryAfter).toBeGreaterThan(0);
    expect(workRequest).toMatchObject({
      id: created.opcWorkRequestId,
      operationType: 'CREATE_QUEUE',
      status: 'SUCCEEDED',
      percentComplete: 100,
      compartmentId,
      timeAccepted: expect.stringMatching(TIME),
      timeStarted: expect.stringMatching(TIME),
      timeFinished: expect.stringMatching(TIME),
      resources: [{ entityType: 'QUEUE', actionType: 'CREATED', identifier: expect.stringMatching(/^ocid1\.queue\./) }],
    });
    const queueId = workRequest.resources[0]!.identifier;
    const { queue, etag } = await sdk.admin.getQueue({ queueId });
    expect(etag).toMatch(/./);
    expect(queue).toMatchObject({
      id: queueId,
      displayName: 'plain',
      compartmentId,
      lifecycleState: 'ACTIVE',
      messagesEndpoint: pods.pods[0]!.url,
      retentionInSeconds: 86_400,
      visibilityInSeconds: 30,
      timeoutInSeconds: 30,
      channelConsumptionLimit: 100,
      deadLetterQueueDeliveryCount: 5,
      capabilities: [],
      freeformTags: {},
      definedTags: {},
      timeCreated: expect.stringMatching(TIME),
      timeUpdated: expect.stringMatching(TIME),
    });
  });

  it('creates a queue with everything said', async () => {
    const details = {
      displayName: 'ünïcode 🛶',
      retentionInSeconds: 604_800,
      visibilityInSeconds: 43_200,
      timeoutInSeconds: 0,
      channelConsumptionLimit: 10,
      deadLetterQueueDeliveryCount: 0,
      customEncryptionKeyId: 'ocid1.key.oc1..mine',
      capabilities: [{ type: 'LARGE_MESSAGES' }],
      freeformTags: { department: 'sales' },
      definedTags: { operations: { costCenter: 42, nested: { deep: [1, 'a', null] } } },
    };
    const queueId = await createQueue(sdk, compartmentId, details);
    expect((await sdk.admin.getQueue({ queueId })).queue).toMatchObject(details);
    // The summary says less, and capabilities in another form.
    const { queueCollection } = await sdk.admin.listQueues({ id: queueId });
    expect(queueCollection.items).toHaveLength(1);
    const [summary] = queueCollection.items;
    expect(summary).toMatchObject({ id: queueId, displayName: 'ünïcode 🛶', capabilities: ['LARGE_MESSAGES'] });
    expect(Object.keys(summary!)).not.toContain('retentionInSeconds');
  });

  describe('listing', () => {
    const names = ['delta', 'alpha', 'echo', 'bravo', 'charlie'];
    let place: string;
    let ids: Record<string, string>;

    beforeAll(async () => {
      place = await secondCompartment('for-lists');
      ids = {};
      for (const displayName of names) ids[displayName] = await createQueue(sdk, place, { displayName });
    });

    const pages = async (request: object): Promise<string[][]> => {
      const result: string[][] = [];
      let page: string | undefined;
      do {
        const answer = await sdk.admin.listQueues({
          compartmentId: place,
          limit: 2,
          ...request,
          ...(page && { page }),
        });
        result.push(answer.queueCollection.items.map(({ displayName }) => displayName!));
        page = answer.opcNextPage;
      } while (page !== undefined && page !== null);
      return result;
    };

    const by = async (request: object): Promise<(string | undefined)[]> =>
      (await sdk.admin.listQueues({ compartmentId: place, ...request })).queueCollection.items.map(
        ({ displayName }) => displayName,
      );

    it.each([
      [{}, ['charlie', 'bravo', 'echo', 'alpha', 'delta']],
      [{ sortBy: 'timeCreated', sortOrder: 'ASC' }, names],
      [{ sortBy: 'timeCreated', sortOrder: 'DESC' }, names.toReversed()],
      [{ sortBy: 'displayName' }, names.toSorted()],
      [{ sortBy: 'displayName', sortOrder: 'ASC' }, names.toSorted()],
      [{ sortBy: 'displayName', sortOrder: 'DESC' }, names.toSorted().toReversed()],
      [{ sortBy: 'displayName', sortOrder: 'desc' }, names.toSorted().toReversed()],
    ])('pages of two in the order of %j', async (request, expected) => {
      const found = await pages(request);
      expect(found.map(({ length }) => length)).toEqual([2, 2, 1]);
      expect(found.flat()).toEqual(expected);
    });

    it('has no next page where the last one is full', async () => {
      const answer = await sdk.admin.listQueues({ compartmentId: place, limit: 5 });
      expect(answer.queueCollection.items).toHaveLength(5);
      expect(answer.opcNextPage ?? null).toBeNull();
    });

    it('filters by name, id and state', async () => {
      expect(await by({ displayName: 'echo' })).toEqual(['echo']);
      expect(await by({ displayName: 'ech' })).toEqual([]);
      expect(await by({ displayName: 'ECHO' })).toEqual([]);
      expect(await by({ id: ids['bravo'] })).toEqual(['bravo']);
      expect(await by({ id: 'ocid1.queue.oc1..nothing' })).toEqual([]);
      expect(await by({ lifecycleState: 'ACTIVE' })).toHaveLength(5);
      expect(await by({ lifecycleState: 'CREATING' })).toEqual([]);
    });

    it('refuses a page of another list', async () => {
      const { opcNextPage } = await sdk.admin.listQueues({ compartmentId: place, limit: 1 });
      await expect(sdk.admin.listQueues({ limit: 1, sortOrder: 'ASC' as never, page: opcNextPage })).rejects.toEqual(
        ociError(400, 'InvalidParameter'),
      );
      await expect(sdk.admin.listWorkRequests({ page: opcNextPage })).rejects.toEqual(
        ociError(400, 'InvalidParameter'),
      );
    });
  });

  it('takes an update of nothing, whose body the SDK drops', async () => {
    const queueId = await createQueue(sdk, compartmentId, { displayName: 'same' });
    const before = (await sdk.admin.getQueue({ queueId })).queue;
    const { opcWorkRequestId } = await sdk.admin.updateQueue({ queueId, updateQueueDetails: {} });
    expect(await finished(sdk, opcWorkRequestId)).toMatchObject({ actionType: 'UPDATED', status: 'SUCCEEDED' });
    const { timeUpdated: _, ...after } = (await sdk.admin.getQueue({ queueId })).queue;
    expect(before).toMatchObject(after);
  });

  it.each<[string, Partial<models.UpdateQueueDetails>]>([
    ['displayName', { displayName: 'another' }],
    ['visibilityInSeconds', { visibilityInSeconds: 77 }],
    ['timeoutInSeconds', { timeoutInSeconds: 3 }],
    ['channelConsumptionLimit', { channelConsumptionLimit: 50 }],
    ['deadLetterQueueDeliveryCount', { deadLetterQueueDeliveryCount: 0 }],
    ['customEncryptionKeyId', { customEncryptionKeyId: 'ocid1.key.oc1..other' }],
    ['capabilities', { capabilities: [{ type: 'LARGE_MESSAGES' }] }],
    ['freeformTags', { freeformTags: { a: 'b' } }],
    ['definedTags', { definedTags: { a: { b: 'c' } } }],
  ])('updates %s and nothing else', async (field, updateQueueDetails) => {
    const queueId = await createQueue(sdk, compartmentId);
    const before = await sdk.admin.getQueue({ queueId });
    const { opcWorkRequestId } = await sdk.admin.updateQueue({ queueId, updateQueueDetails, ifMatch: before.etag });
    await finished(sdk, opcWorkRequestId);
    const after = await sdk.admin.getQueue({ queueId });
    expect(after.etag).not.toBe(before.etag);
    const { timeUpdated: _, [field as never]: __, ...rest } = before.queue;
    expect(after.queue).toMatchObject({ ...(rest as object), ...updateQueueDetails });
  });

  it('removes a custom key with an empty string', async () => {
    const queueId = await createQueue(sdk, compartmentId, { customEncryptionKeyId: 'ocid1.key.oc1..mine' });
    await sdk.admin.updateQueue({ queueId, updateQueueDetails: { customEncryptionKeyId: '' } });
    expect((await sdk.admin.getQueue({ queueId })).queue.customEncryptionKeyId ?? null).toBeNull();
  });

  it('changes nothing where the ETag is an old one', async () => {
    const queueId = await createQueue(sdk, compartmentId);
    const { etag: old } = await sdk.admin.getQueue({ queueId });
    await sdk.admin.updateQueue({ queueId, updateQueueDetails: { displayName: 'first' }, ifMatch: old });
    const refused = ociError(412, 'NoEtagMatch');
    const other = await secondCompartment('for-etags');
    await expect(
      sdk.admin.updateQueue({ queueId, updateQueueDetails: { displayName: 'second' }, ifMatch: old }),
    ).rejects.toEqual(refused);
    await expect(sdk.admin.deleteQueue({ queueId, ifMatch: old })).rejects.toEqual(refused);
    await expect(
      sdk.admin.purgeQueue({ queueId, purgeQueueDetails: { purgeType: 'BOTH' as never }, ifMatch: old }),
    ).rejects.toEqual(refused);
    await expect(
      sdk.admin.changeQueueCompartment({
        queueId,
        changeQueueCompartmentDetails: { compartmentId: other },
        ifMatch: old,
      }),
    ).rejects.toEqual(refused);
    expect((await sdk.admin.getQueue({ queueId })).queue).toMatchObject({
      displayName: 'first',
      lifecycleState: 'ACTIVE',
      compartmentId,
    });
    await sdk.admin.updateQueue({ queueId, updateQueueDetails: { displayName: 'third' }, ifMatch: '*' });
    expect((await sdk.admin.getQueue({ queueId })).queue.displayName).toBe('third');
  });

  it('answers a repeat with the same retry token with the first work request', async () => {
    const createQueueDetails = { displayName: 'once', compartmentId, freeformTags: { a: '1', b: '2' } };
    const first = await sdk.admin.createQueue({ createQueueDetails, opcRetryToken: 'token-1' });
    const again = await sdk.admin.createQueue({
      createQueueDetails: { freeformTags: { b: '2', a: '1' }, compartmentId, displayName: 'once' },
      opcRetryToken: 'token-1',
    });
    expect(again.opcWorkRequestId).toBe(first.opcWorkRequestId);
    await expect(
      sdk.admin.createQueue({
        createQueueDetails: { ...createQueueDetails, displayName: 'twice' },
        opcRetryToken: 'token-1',
      }),
    ).rejects.toEqual(ociError(409, 'InvalidatedRetryToken'));
    const { queueCollection } = await sdk.admin.listQueues({ displayName: 'once' });
    expect(queueCollection.items).toHaveLength(1);
    // Without a token of the caller's the SDK makes one, so these are two.
    await createQueue(sdk, compartmentId, { displayName: 'two' });
    await createQueue(sdk, compartmentId, { displayName: 'two' });
    expect((await sdk.admin.listQueues({ displayName: 'two' })).queueCollection.items).toHaveLength(2);
  });

  it('makes one queue of many simultaneous repeats', async () => {
    const request = { createQueueDetails: { displayName: 'racing', compartmentId }, opcRetryToken: 'token-race' };
    const answers = await Promise.all(Array.from({ length: 8 }, () => sdk.admin.createQueue(request)));
    expect(new Set(answers.map(({ opcWorkRequestId }) => opcWorkRequestId)).size).toBe(1);
  });

  it('moves a queue to another compartment', async () => {
    const queueId = await createQueue(sdk, compartmentId, { displayName: 'mover' });
    const other = await secondCompartment('elsewhere');
    const { opcWorkRequestId } = await sdk.admin.changeQueueCompartment({
      queueId,
      changeQueueCompartmentDetails: { compartmentId: other },
    });
    expect(await finished(sdk, opcWorkRequestId)).toMatchObject({ identifier: queueId, actionType: 'UPDATED' });
    expect((await sdk.admin.getWorkRequest({ workRequestId: opcWorkRequestId })).workRequest.operationType).toBe(
      'MOVE_QUEUE',
    );
    expect((await sdk.admin.getQueue({ queueId })).queue.compartmentId).toBe(other);
    const listed = async (place: string): Promise<string[]> =>
      (await sdk.admin.listQueues({ compartmentId: place, displayName: 'mover' })).queueCollection.items.map(
        ({ id }) => id,
      );
    expect(await listed(other)).toEqual([queueId]);
    expect(await listed(compartmentId)).toEqual([]);
    await expect(
      sdk.admin.changeQueueCompartment({
        queueId,
        changeQueueCompartmentDetails: { compartmentId: 'ocid1.compartment.oc1..nothing' },
      }),
    ).rejects.toEqual(ociError(404, 'NotAuthorizedOrNotFound'));
    await expect(createQueue(sdk, 'ocid1.compartment.oc1..nothing')).rejects.toEqual(
      ociError(404, 'NotAuthorizedOrNotFound'),
    );
  });

  it('lists work requests, their errors and their logs', async () => {
    const place = await secondCompartment('for-work-requests');
    const queueId = await createQueue(sdk, place);
    for (const displayName of ['a', 'b', 'c', 'd']) {
      await sdk.admin.updateQueue({ queueId, updateQueueDetails: { displayName } });
    }
    const found: models.WorkRequestSummary[] = [];
    let page: string | undefined;
    do {
      const answer = await sdk.admin.listWorkRequests({ compartmentId: place, limit: 2, ...(page && { page }) });
      found.push(...answer.workRequestSummaryCollection.items);
      page = answer.opcNextPage;
    } while (page !== undefined && page !== null);
    expect(found.map(({ operationType }) => operationType)).toEqual([
      ...Array.from({ length: 4 }, () => 'UPDATE_QUEUE'),
      'CREATE_QUEUE',
    ]);
    const workRequestId = found[0]!.id;
    const only = await sdk.admin.listWorkRequests({ workRequestId });
    expect(only.workRequestSummaryCollection.items.map(({ id }) => id)).toEqual([workRequestId]);
    const logs = await sdk.admin.listWorkRequestLogs({ workRequestId });
    expect(logs.workRequestLogEntryCollection.items).toEqual([
      { message: expect.stringMatching(/./), timestamp: expect.stringMatching(TIME) },
    ]);
    const errors = await sdk.admin.listWorkRequestErrors({ workRequestId });
    expect(errors.workRequestErrorCollection.items).toEqual([]);
    for (const call of ['getWorkRequest', 'listWorkRequestErrors', 'listWorkRequestLogs'] as const) {
      await expect(sdk.admin[call]({ workRequestId: 'ocid1.queueworkrequest.oc1..nothing' })).rejects.toEqual(
        ociError(404, 'NotAuthorizedOrNotFound'),
      );
    }
  });

  it('deletes a queue, which then reads DELETED and takes nothing', async () => {
    const queueId = await createQueue(sdk, compartmentId, { displayName: 'goner' });
    await sdk.data.putMessages({ queueId, putMessagesDetails: { messages: [{ content: 'a' }] } });
    const { etag } = await sdk.admin.getQueue({ queueId });
    const { opcWorkRequestId } = await sdk.admin.deleteQueue({ queueId, ifMatch: etag });
    expect(await finished(sdk, opcWorkRequestId)).toEqual({
      identifier: queueId,
      actionType: 'DELETED',
      status: 'SUCCEEDED',
    });
    expect((await sdk.admin.getQueue({ queueId })).queue.lifecycleState).toBe('DELETED');
    const missing = ociError(404, 'NotAuthorizedOrNotFound');
    const put = { queueId, putMessagesDetails: { messages: [{ content: 'a' }] } };
    await expect(sdk.data.putMessages(put)).rejects.toEqual(missing);
    await expect(sdk.data.getMessages({ queueId, timeoutInSeconds: 0 })).rejects.toEqual(missing);
    await expect(sdk.data.getMessages({ queueId, timeoutInSeconds: 5 })).rejects.toEqual(missing);
    await expect(sdk.data.getStats({ queueId })).rejects.toEqual(missing);
    await expect(sdk.data.listChannels({ queueId })).rejects.toEqual(missing);
    await expect(sdk.admin.updateQueue({ queueId, updateQueueDetails: {} })).rejects.toEqual(missing);
    await expect(sdk.admin.deleteQueue({ queueId })).rejects.toEqual(missing);
    const listed = async (request: object): Promise<string[]> =>
      (await sdk.admin.listQueues({ displayName: 'goner', ...request })).queueCollection.items.map(({ id }) => id);
    expect(await listed({})).toEqual([]);
    expect(await listed({ lifecycleState: 'DELETED' })).toEqual([queueId]);
  });

  it('answers whoever waits in a queue that is deleted meanwhile', async () => {
    const queueId = await createQueue(sdk, compartmentId);
    const waiting = sdk.data.getMessages({ queueId, timeoutInSeconds: 5 }).then(
      ({ getMessages }) => getMessages.messages,
      (error: { statusCode: number }) => error.statusCode,
    );
    await new Promise((resolve) => setTimeout(resolve, 100));
    await sdk.admin.deleteQueue({ queueId });
    // Nothing, or that the queue is gone: never an error of ours.
    expect([404, '[]']).toContain(
      await waiting.then((answer) => (Array.isArray(answer) ? JSON.stringify(answer) : answer)),
    );
  });
});
