import { OPERATIONS } from '../openapi/contract.js';
import type { Answer, Call, Client } from '../rest/support.js';
import type { TestPods } from '../support/pod.js';
import { makeCompartment, makeMember } from './support.js';

/** What a request names; the calls below are made about what there is, and about what does not exist. */
export interface Names {
  readonly tenancyId: string;
  readonly queueId: string;
  readonly receipt: string;
  readonly consumerGroupId: string;
  readonly workRequestId: string;
  readonly policyId: string;
  readonly compartmentId: string;
  /** In which `compartmentId` lies. */
  readonly parentId: string;
  /** Of a user who has nothing to do with those who call. */
  readonly userId: string;
  /** In which that user is alone. */
  readonly groupId: string;
  readonly administratorId: string;
  readonly administratorsId: string;
}

export const missingNames = (names: Names): Names => ({
  tenancyId: 'ocid1.tenancy.oc1..nothing',
  queueId: 'ocid1.queue.oc1..nothing',
  receipt: names.receipt,
  consumerGroupId: 'ocid1.queueconsumergroup.oc1..nothing',
  workRequestId: 'ocid1.queueworkrequest.oc1..nothing',
  policyId: 'ocid1.policy.oc1..nothing',
  compartmentId: 'ocid1.compartment.oc1..nothing',
  parentId: 'ocid1.compartment.oc1..nothing',
  userId: 'ocid1.user.oc1..nothing',
  groupId: 'ocid1.group.oc1..nothing',
  administratorId: 'ocid1.user.oc1..nothing',
  administratorsId: 'ocid1.group.oc1..nothing',
});

/** Something of everything in the first tenancy: in the compartment parent:own, beside which is parent:sibling. */
export async function makeNames(pods: TestPods, admin: Client): Promise<Names> {
  const { tenancyId, userId: administratorId } = pods.credentials;
  const parentId = await makeCompartment(pods, tenancyId, 'parent');
  const compartmentId = await makeCompartment(pods, parentId, 'own');
  await makeCompartment(pods, parentId, 'sibling');
  const queueId = await admin.createQueue({
    compartmentId,
    displayName: 'orders',
    capabilities: [{ type: 'CONSUMER_GROUPS' }],
  });
  await admin.put(queueId, 'x', 'y');
  const { receipt } = (await admin.get(queueId, 'limit=1&visibilityInSeconds=43200'))[0]!;
  const group = await admin.call({
    method: 'POST',
    path: '/consumerGroups',
    body: { queueId, displayName: 'another' },
  });
  if (group.status !== 202) throw new Error(group.text);
  const groups = itemsOf(await admin.call({ path: `/consumerGroups?queueId=${queueId}&displayName=another` }));
  const requests = itemsOf(await admin.call({ path: '/workRequests' }));
  const statements = ['allow group Administrators to read queues in compartment parent:own'];
  const policy = await admin.call({
    method: 'POST',
    path: '/policies',
    body: { compartmentId, name: 'own', statements },
  });
  const somebody = await makeMember(pods, 'somebody');
  somebody.client.close();
  const administrators = itemsOf(await admin.call({ path: '/groups?name=Administrators' }));
  return {
    tenancyId,
    queueId,
    receipt,
    consumerGroupId: groups[0]!.id,
    workRequestId: requests.find(({ operationType }) => operationType === 'CREATE_QUEUE')!.id,
    policyId: String(policy.json!['id']),
    compartmentId,
    parentId,
    userId: somebody.userId,
    groupId: somebody.groupId,
    administratorId,
    administratorsId: administrators[0]!.id,
  };
}

/** A call of each operation that whoever is permitted may make again and again: what would end something cannot. */
export function callsOf(of: Names): Record<string, Call> {
  const queue = `/queues/${of.queueId}`;
  const group = `/consumerGroups/${of.consumerGroupId}`;
  const request = `/workRequests/${of.workRequestId}`;
  const policy = `/policies/${of.policyId}`;
  const user = `/users/${of.userId}`;
  // Who is permitted is told that there is none, in other words than who is not.
  const session = '/stompSessions/7c9e6679-7425-40de-944b-e07fc1f90ae7';
  const never = { headers: { 'if-match': 'never' } };
  const { receipt } = of;
  const message = `${queue}/messages/${receipt}`;
  const statements = ['allow group Administrators to read queues in compartment parent:own'];
  const over = { expiresAt: '2001-01-01T00:00:00Z' };
  const calls: Record<string, Omit<Call, 'method'>> = {
    createQueue: { path: '/queues', body: { displayName: 'new', compartmentId: of.compartmentId } },
    getQueue: { path: queue },
    listQueues: { path: `/queues?compartmentId=${of.compartmentId}` },
    updateQueue: { path: queue, body: { visibilityInSeconds: 1 }, ...never },
    deleteQueue: { path: queue, ...never },
    changeQueueCompartment: {
      path: `${queue}/actions/changeCompartment`,
      body: { compartmentId: of.compartmentId },
      ...never,
    },
    purgeQueue: { path: `${queue}/actions/purge`, body: { purgeType: 'BOTH' }, ...never },
    rotateDataKey: { path: `${queue}/actions/rotateDataKey`, ...never },
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
      body: { userId: of.userId, operation: 'getQueue', queueId: of.queueId },
    },
    listAuditEvents: { path: '/auditEvents?limit=1' },
    exportAuditEvents: { path: '/auditEvents/actions/export?limit=1' },
    listStompSessions: { path: '/stompSessions?limit=1' },
    getStompSession: { path: session },
    disconnectStompSession: { path: `${session}/actions/disconnect`, body: { timeoutInSeconds: 0 } },
    createCompartment: { path: '/compartments', body: { name: 'own', compartmentId: of.parentId } },
    getCompartment: { path: `/compartments/${of.compartmentId}` },
    listCompartments: { path: '/compartments?limit=1' },
    updateCompartment: { path: `/compartments/${of.tenancyId}`, body: { name: 'x' } },
    deleteCompartment: { path: `/compartments/${of.tenancyId}` },
    createUser: { path: '/users', body: { name: 'somebody' } },
    getUser: { path: user },
    listUsers: { path: '/users?limit=1' },
    deleteUser: { path: `/users/${of.administratorId}` },
    createGroup: { path: '/groups', body: { name: 'somebody' } },
    getGroup: { path: `/groups/${of.groupId}` },
    listGroups: { path: '/groups?limit=1' },
    deleteGroup: { path: `/groups/${of.administratorsId}` },
    listGroupMembers: { path: `/groups/${of.groupId}/members` },
    addGroupMember: { path: `/groups/${of.groupId}/members/${of.userId}` },
    removeGroupMember: { path: `/groups/${of.administratorsId}/members/${of.administratorId}` },
    createSigningKey: { path: `${user}/signingKeys`, body: { publicKey: 'none' } },
    listSigningKeys: { path: `${user}/signingKeys` },
    deleteSigningKey: { path: `${user}/signingKeys/00:11:22` },
    createApiKey: { path: `${user}/apiKeys`, body: over },
    listApiKeys: { path: `${user}/apiKeys` },
    deleteApiKey: { path: `${user}/apiKeys/ocid1.queueapikey.oc1..nothing` },
    createAuthToken: { path: `${user}/authTokens`, body: over },
    listAuthTokens: { path: `${user}/authTokens` },
    deleteAuthToken: { path: `${user}/authTokens/ocid1.authtoken.oc1..nothing` },
  };
  return Object.fromEntries(
    Object.entries(calls).map(([id, call]) => [id, { method: OPERATIONS[id]!.method, ...call }]),
  );
}

const itemsOf = ({ json, text }: Answer): { id: string; operationType?: string }[] => {
  if (json?.['items'] === undefined) throw new Error(text);
  return json['items'] as { id: string }[];
};
