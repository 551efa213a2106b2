import { OPERATIONS } from '../openapi/contract.js';
import { operationsOf, type Document } from '../openapi/document.js';
import { Client, digestOf, type Answer, type Call } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { allow, makeCompartment, makeMember, withoutIds, type Member } from './support.js';

const VERBS = ['inspect', 'read', 'use', 'manage'];
const TYPES = ['queues', 'queue-push', 'queue-pull', 'consumer-groups', 'policies'];
const LEVELS = ['tenancy', 'parent', 'own', 'sibling'] as const;

interface Case {
  readonly verb: string;
  readonly type: string;
  readonly level: (typeof LEVELS)[number];
  readonly member: Member;
}

/** What a request names; the calls below are made about what there is, and about what does not exist. */
interface Names {
  readonly queueId: string;
  readonly consumerGroupId: string;
  readonly workRequestId: string;
  readonly policyId: string;
  readonly compartmentId: string;
}

const MISSING: Names = {
  queueId: 'ocid1.queue.oc1..nothing',
  consumerGroupId: 'ocid1.queueconsumergroup.oc1..nothing',
  workRequestId: 'ocid1.queueworkrequest.oc1..nothing',
  policyId: 'ocid1.policy.oc1..nothing',
  compartmentId: 'ocid1.compartment.oc1..nothing',
};

const send = (client: Client, id: string, call: Call): Promise<Answer> =>
  client.call({ method: OPERATIONS[id]!.method, ...call });

const seen = async ({ client }: Member, path: string, id: string): Promise<boolean> => {
  const { status, json } = await client.call({ path: `${path}limit=1000` });
  expect([path, status]).toEqual([path, 200]);
  return (json as { items: { id: string }[] }).items.some((item) => item.id === id);
};

describe('every operation, for every verb at every level', () => {
  let pods: TestPods;
  let admin: Client;
  let names: Names;
  let nobody: Member;
  const cases: Case[] = [];
  let receipt: string;

  beforeAll(async () => {
    pods = await startTestPods();
    admin = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    const { tenancyId } = pods.credentials;
    const parent = await makeCompartment(pods, tenancyId, 'parent');
    const own = await makeCompartment(pods, parent, 'own');
    await makeCompartment(pods, parent, 'sibling');
    const queueId = await admin.createQueue({
      compartmentId: own,
      displayName: 'orders',
      capabilities: [{ type: 'CONSUMER_GROUPS' }],
    });
    await admin.put(queueId, 'x', 'y');
    receipt = (await admin.get(queueId, 'limit=1&visibilityInSeconds=43200'))[0]!.receipt;
    const group = await admin.call({
      method: 'POST',
      path: '/consumerGroups',
      body: { queueId, displayName: 'another' },
    });
    if (group.status !== 202) throw new Error(group.text);
    const groups = (await admin.call({ path: `/consumerGroups?queueId=${queueId}&displayName=another` })).json as {
      items: { id: string }[];
    };
    const requests = (await admin.call({ path: '/workRequests' })).json as {
      items: { id: string; operationType: string }[];
    };
    const policy = await admin.call({
      method: 'POST',
      path: '/policies',
      body: {
        compartmentId: own,
        name: 'own',
        statements: ['allow group Administrators to read queues in compartment parent:own'],
      },
    });
    names = {
      queueId,
      consumerGroupId: groups.items[0]!.id,
      workRequestId: requests.items.find(({ operationType }) => operationType === 'CREATE_QUEUE')!.id,
      policyId: String(policy.json!['id']),
      compartmentId: own,
    };
    nobody = await makeMember(pods, 'nobody');
    const places = {
      tenancy: 'tenancy',
      parent: 'compartment parent',
      own: 'compartment parent:own',
      sibling: 'compartment parent:sibling',
    };
    for (const verb of VERBS) {
      for (const type of TYPES) {
        for (const level of LEVELS) {
          const name = `${verb}-${type}-${level}`;
          const member = await makeMember(pods, name);
          await allow(admin, tenancyId, name, `allow group ${name} to ${verb} ${type} in ${places[level]}`);
          cases.push({ verb, type, level, member });
        }
      }
    }
  }, 180_000);
  afterAll(async () => {
    admin.close();
    for (const { client } of [nobody, ...cases.map(({ member }) => member)]) client.close();
    await pods.stop();
  });

  /** A call of each operation that whoever is permitted may make again and again: what would end something has a wrong ETag. */
  function callsOf(of: Names): Record<string, Call> {
    const queue = `/queues/${of.queueId}`;
    const group = `/consumerGroups/${of.consumerGroupId}`;
    const request = `/workRequests/${of.workRequestId}`;
    const policy = `/policies/${of.policyId}`;
    const never = { headers: { 'if-match': 'never' } };
    const message = `${queue}/messages/${receipt}`;
    const statements = ['allow group Administrators to read queues in compartment parent:own'];
    return {
      createQueue: { path: '/queues', body: { displayName: 'new', compartmentId: of.compartmentId } },
      getQueue: { path: queue },
      listQueues: { path: `/queues?compartmentId=${of.compartmentId}` },
      updateQueue: { path: queue, body: { visibilityInSeconds: 1 }, ...never },
      deleteQueue: { path: queue, ...never },
      changeQueueCompartment: {
        path: `${queue}/actions/changeCompartment`,
        body: { compartmentId: names.compartmentId },
        ...never,
      },
      purgeQueue: { path: `${queue}/actions/purge`, body: { purgeType: 'BOTH' }, ...never },
      createConsumerGroup: { path: '/consumerGroups', body: { displayName: 'another', queueId: of.queueId } },
      getConsumerGroup: { path: group },
      listConsumerGroups: { path: `/consumerGroups?queueId=${of.queueId}` },
      updateConsumerGroup: { path: group, body: { isEnabled: false }, ...never },
      deleteConsumerGroup: { path: group, ...never },
      getWorkRequest: { path: request },
      listWorkRequests: { path: `/workRequests?compartmentId=${of.compartmentId}` },
      listWorkRequestErrors: { path: `${request}/errors` },
      listWorkRequestLogs: { path: `${request}/logs` },
      cancelWorkRequest: { path: request },
      putMessages: { path: `${queue}/messages`, body: { messages: [{ content: 'x' }] } },
      getMessages: { path: `${queue}/messages?timeoutInSeconds=0` },
      updateMessage: { path: message, body: { visibilityInSeconds: 43_200 } },
      updateMessages: {
        path: `${queue}/messages/actions/updateMessages`,
        body: { entries: [{ receipt, visibilityInSeconds: 43_200 }] },
      },
      deleteMessage: { path: message },
      deleteMessages: { path: `${queue}/messages/actions/deleteMessages`, body: { entries: [{ receipt }] } },
      peekMessages: { path: `${queue}/messages/actions/peekMessages` },
      getStats: { path: `${queue}/stats` },
      listChannels: { path: `${queue}/channels` },
      exportDeadLetters: { path: `${queue}/deadLetters/actions/export` },
      redriveDeadLetters: { path: `${queue}/deadLetters/actions/redrive`, body: {}, ...never },
      deleteDeadLetters: { path: `${queue}/deadLetters/actions/delete`, body: { messageIds: [1] } },
      resendDeadLetter: { path: `${queue}/deadLetters/actions/resend`, body: { messageId: 1 } },
      createPolicy: { path: '/policies', body: { compartmentId: of.compartmentId, name: 'own', statements } },
      getPolicy: { path: policy },
      listPolicies: { path: `/policies?compartmentId=${of.compartmentId}` },
      updatePolicy: { path: policy, body: { description: 'x' }, ...never },
      deletePolicy: { path: policy, ...never },
      explainAccess: {
        path: '/policies/actions/explain',
        body: { userId: nobody.userId, operation: 'getQueue', queueId: names.queueId },
      },
    };
  }

  /** Said from the contract's table and the page about policies. */
  function isPermitted(id: string, { verb, type, level }: Omit<Case, 'member'>): boolean {
    const [wantedVerb = '', wantedType = ''] = OPERATIONS[id]!.permission.split(' ');
    if (level === 'sibling' || VERBS.indexOf(wantedVerb) > VERBS.indexOf(verb)) return false;
    // The answer shows policies of the whole tenancy.
    if (id === 'explainAccess' && level !== 'tenancy') return false;
    if (type === wantedType) return true;
    return (
      type === 'queues' &&
      (wantedType === 'consumer-groups' || (verb === 'manage' && wantedType.startsWith('queue-pu')))
    );
  }

  it('has a call for every operation that needs a permission, and so has the contract', async () => {
    const document = (await admin.call({ path: '/openapi.json', root: true })).json as unknown as Document;
    const closed = operationsOf(document).filter(({ security }) => security?.length !== 0);
    expect(closed.length).toBeGreaterThan(30);
    expect(Object.keys(callsOf(names)).toSorted()).toEqual(closed.map(({ operationId }) => operationId).toSorted());
  });

  it('is answered as if there were nothing, in the same words, unless it is permitted', async () => {
    const nothing: Record<string, string> = {};
    for (const [id, call] of Object.entries(callsOf(MISSING))) {
      if (id === 'explainAccess') continue;
      const { status, text } = await send(admin, id, call);
      expect([id, status, text]).toEqual([id, 404, expect.stringContaining('NotAuthorizedOrNotFound')]);
      nothing[id] = withoutIds(text);
    }
    nothing['explainAccess'] = withoutIds(
      (await send(nobody.client, 'explainAccess', callsOf(names)['explainAccess']!)).text,
    );
    expect(nothing['explainAccess']).toContain('there is no such resource, or you may not use it');

    const before = await digestOf(pods);
    const wrong: unknown[] = [];
    const ask = async (client: Client, id: string, what: object, isAllowed: boolean): Promise<void> => {
      const { status, text } = await send(client, id, callsOf(names)[id]!);
      const isNothing = status === 404 && withoutIds(text) === nothing[id];
      if (isNothing === isAllowed || status === 401 || status >= 500)
        wrong.push({ id, ...what, isAllowed, status, text });
    };
    for (const id of Object.keys(nothing)) await ask(nobody.client, id, { nobody: true }, false);
    expect(wrong).toEqual([]);
    // Nobody has changed anything.
    expect(await digestOf(pods)).toBe(before);

    let allowed = 0;
    for (const { member, ...rest } of cases) {
      await Promise.all(
        Object.keys(nothing).map((id) => {
          // Whoever may list consumer groups may list what became of them.
          const isAllowed =
            isPermitted(id, rest) || (id === 'listWorkRequests' && isPermitted('listConsumerGroups', rest));
          if (isAllowed) allowed += 1;
          return ask(member.client, id, rest, isAllowed);
        }),
      );
    }
    expect(wrong).toEqual([]);
    expect(allowed).toBeGreaterThan(200);
  }, 240_000);

  it('lists of what is everywhere only what is permitted', async () => {
    const lists: readonly (readonly [string, string, string])[] = [
      ['listQueues', '/queues?', names.queueId],
      ['listConsumerGroups', '/consumerGroups?', names.consumerGroupId],
      ['listWorkRequests', '/workRequests?', names.workRequestId],
      ['listPolicies', '/policies?', names.policyId],
    ];
    for (const [id, path, item] of lists) {
      expect([id, await seen(nobody, path, item)]).toEqual([id, false]);
      for (const { member, ...rest } of cases) {
        expect([id, rest, await seen(member, path, item)]).toEqual([id, rest, isPermitted(id, rest)]);
      }
    }
  }, 120_000);
});
