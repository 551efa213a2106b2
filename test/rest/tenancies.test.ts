import { IdentityFunctions } from '../../src/database/identity-functions.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { Client, digestOf, expectError, makeStranger, type Answer, type Call } from './support.js';

const withoutIds = (text: string): string => text.replace(/ocid1\.[a-z0-9.]+/g, 'ID');
const ids = async (client: Client, path: string): Promise<string[]> =>
  ((await client.call({ path })).json as { items: { id: string }[] }).items.map(({ id }) => id);
const create = (client: Client, compartmentId: string): Promise<Answer> =>
  client.call({
    method: 'POST',
    path: '/queues',
    body: { displayName: 'same', compartmentId },
    headers: { 'opc-retry-token': 'shared' },
  });

/** Everything of another tenancy answers as if it did not exist, with the very same text. */
describe('two tenancies', () => {
  let pods: TestPods;
  let ours: Client;
  let theirs: Client;
  let theirQueue: string;
  let theirCompartment: string;
  let theirWorkRequest: string;
  let theirReceipt: string;
  let ourQueue: string;

  beforeAll(async () => {
    pods = await startTestPods();
    ours = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    ourQueue = await ours.createQueue({ compartmentId: pods.credentials.compartmentId });
    const stranger = await makeStranger(pods);
    ({ client: theirs, queueId: theirQueue } = stranger);
    const { tenancyId } = stranger.user.owner;
    const functions = new IdentityFunctions(pods.test.database);
    theirCompartment = (await functions.createCompartment(tenancyId, tenancyId, 'theirs')).id;
    const { items } = (await theirs.call({ path: '/workRequests' })).json as { items: { id: string }[] };
    theirWorkRequest = items[0]!.id;
    await theirs.put(theirQueue, 'theirs');
    theirReceipt = (await theirs.get(theirQueue, 'visibilityInSeconds=1000'))[0]!.receipt;
  });
  afterAll(async () => {
    ours.close();
    theirs.close();
    await pods.stop();
  });

  const everything = (queueId: string, workRequestId: string, receipt: string): Call[] => [
    { path: `/queues/${queueId}` },
    { method: 'PUT', path: `/queues/${queueId}`, body: { displayName: 'stolen' } },
    { method: 'DELETE', path: `/queues/${queueId}` },
    { method: 'POST', path: `/queues/${queueId}/actions/purge`, body: { purgeType: 'BOTH' } },
    {
      method: 'POST',
      path: `/queues/${queueId}/actions/changeCompartment`,
      body: { compartmentId: pods.credentials.compartmentId },
    },
    { method: 'POST', path: `/queues/${queueId}/messages`, body: { messages: [{ content: 'x' }] } },
    { path: `/queues/${queueId}/messages?timeoutInSeconds=0` },
    { path: `/queues/${queueId}/messages?timeoutInSeconds=20` },
    { path: `/queues/${queueId}%2Fdlq/messages?timeoutInSeconds=0` },
    { method: 'PUT', path: `/queues/${queueId}/messages/${receipt}`, body: { visibilityInSeconds: 0 } },
    { method: 'DELETE', path: `/queues/${queueId}/messages/${receipt}` },
    {
      method: 'POST',
      path: `/queues/${queueId}/messages/actions/deleteMessages`,
      body: { entries: [{ receipt }] },
    },
    {
      method: 'POST',
      path: `/queues/${queueId}/messages/actions/updateMessages`,
      body: { entries: [{ receipt, visibilityInSeconds: 0 }] },
    },
    { path: `/queues/${queueId}/stats` },
    { path: `/queues/${queueId}%2Fdlq/stats` },
    { path: `/queues/${queueId}/channels` },
    { path: `/workRequests/${workRequestId}` },
    { path: `/workRequests/${workRequestId}/errors` },
    { path: `/workRequests/${workRequestId}/logs` },
  ];

  it('answers what is theirs as what does not exist', async () => {
    const before = await digestOf(pods);
    const foreign = everything(theirQueue, theirWorkRequest, theirReceipt);
    const missing = everything('ocid1.queue.oc1..nothing', 'ocid1.queueworkrequest.oc1..nothing', theirReceipt);
    for (const [index, call] of foreign.entries()) {
      const answer = await ours.call(call);
      expectError(answer, 404, 'NotAuthorizedOrNotFound');
      expect(withoutIds(answer.text)).toBe(withoutIds((await ours.call(missing[index]!)).text));
    }
    expect(await digestOf(pods)).toBe(before);
    expect((await theirs.call({ path: `/queues/${theirQueue}` })).status).toBe(200);
  });

  it('answers their compartments as missing ones', async () => {
    const calls: Call[] = [
      { method: 'POST', path: '/queues', body: { displayName: 'x', compartmentId: theirCompartment } },
      {
        method: 'POST',
        path: `/queues/${ourQueue}/actions/changeCompartment`,
        body: { compartmentId: theirCompartment },
      },
      { path: `/queues?compartmentId=${theirCompartment}` },
      { path: `/workRequests?compartmentId=${theirCompartment}` },
    ];
    for (const call of calls) expectError(await ours.call(call), 404, 'NotAuthorizedOrNotFound');
  });

  it('takes their receipts for those of another queue', async () => {
    const path = `/queues/${ourQueue}/messages`;
    expectError(await ours.call({ method: 'DELETE', path: `${path}/${theirReceipt}` }), 404, 'NotAuthorizedOrNotFound');
    const body = { entries: [{ receipt: theirReceipt }] };
    const batch = await ours.call({ method: 'POST', path: `${path}/actions/deleteMessages`, body });
    expect(batch.json).toMatchObject({ clientFailures: 1, entries: [{ errorCode: 404 }] });
    // Still good where it belongs.
    const good = await theirs.call({ method: 'DELETE', path: `/queues/${theirQueue}/messages/${theirReceipt}` });
    expect(good.status).toBe(204);
  });

  it('lists nothing of theirs', async () => {
    expect(await ids(ours, '/queues')).toEqual([ourQueue]);
    expect(await ids(theirs, '/queues')).toEqual([theirQueue]);
    expect(await ids(ours, `/queues?id=${theirQueue}`)).toEqual([]);
    expect(await ids(ours, '/workRequests')).not.toContain(theirWorkRequest);
    expect(await ids(ours, `/workRequests?workRequestId=${theirWorkRequest}`)).toEqual([]);
  });

  it('has retry tokens and page tokens of its own', async () => {
    const first = await create(ours, pods.credentials.compartmentId);
    const second = await create(theirs, theirCompartment);
    expect([first.status, second.status]).toEqual([202, 202]);
    expect(first.headers['opc-work-request-id']).not.toBe(second.headers['opc-work-request-id']);
    // A place in their list is at most a place in ours: never anything of theirs.
    const next = String((await theirs.call({ path: '/queues?limit=1' })).headers['opc-next-page']);
    const page = await ours.call({ path: `/queues?limit=100&page=${next}` });
    expect(page.text).not.toContain(theirQueue);
  });

  it('keeps those out whose key was taken away, at once or in moments', async () => {
    const { user, client } = await makeStranger(pods);
    expect((await client.call({ path: '/queues' })).status).toBe(200);
    await pods.test.sql('delete from towpath.api_key where user_id = $1', [user.owner.userId]);
    const deadline = Date.now() + 30_000;
    for (;;) {
      const { status } = await client.call({ path: '/queues' });
      if (status === 401) break;
      expect(Date.now()).toBeLessThan(deadline);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    client.close();
  });
});
