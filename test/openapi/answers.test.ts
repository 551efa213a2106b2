import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { makeSigner } from '../identity/wire.js';
import { until } from '../pods/support.js';
import { Client, type Answer, type Call } from '../rest/support.js';
import { plantSession } from '../support/planted-session.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { operationsOf, Validator, type Document, type NamedOperation } from './document.js';

const idOf = ({ json }: Answer): string => String(json!['id']);

/** What the running service answers, held against its own description; a field that is not described is a fault too. */
describe('the answers', () => {
  let pods: TestPods;
  let client: Client;
  let validator: Validator;
  let operations: ReadonlyMap<string, NamedOperation>;
  let compartmentId: string;
  let keys: string;
  const answered = new Map<string, Set<number>>();

  beforeAll(async () => {
    keys = await mkdtemp(join(tmpdir(), 'towpath-keys-'));
    await writeFile(join(keys, 'ocid1.key.oc1..mine.key'), randomBytes(32).toString('base64'));
    pods = await startTestPods(1, { TOWPATH_MASTER_KEY_DIRECTORY: keys });
    client = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    ({ compartmentId } = pods.credentials);
    const document = (await client.call({ path: '/openapi.json', root: true })).json as unknown as Document;
    validator = new Validator(document);
    operations = new Map(operationsOf(document).map((operation) => [operation.operationId, operation]));
  });
  afterAll(async () => {
    client.close();
    await pods.stop();
    await rm(keys, { recursive: true, force: true });
  });

  async function expectAnswer(
    id: string,
    status: number,
    path: string,
    rest: Omit<Call, 'path' | 'method'> = {},
  ): Promise<Answer> {
    const operation = operations.get(id)!;
    const answer = await client.call({ method: operation.method, path, ...rest });
    expect([id, answer.status, answer.text]).toEqual([id, status, answer.text]);
    expect([id, status, validator.problemsOfAnswer(operation, answer)]).toEqual([id, status, null]);
    answered.set(id, (answered.get(id) ?? new Set()).add(status));
    return answer;
  }

  it('are as described: through the life of a queue', async () => {
    const everything = {
      displayName: 'described',
      compartmentId,
      deadLetterQueueDeliveryCount: 1,
      customEncryptionKeyId: 'ocid1.key.oc1..mine',
      capabilities: [{ type: 'LARGE_MESSAGES' }],
      freeformTags: { a: 'b' },
      definedTags: { a: { b: { c: [1] } } },
    };
    const headers = { 'opc-retry-token': 'described' };
    const created = await expectAnswer('createQueue', 202, '/queues', { body: everything, headers });
    await expectAnswer('createQueue', 409, '/queues', { body: { ...everything, displayName: 'other' }, headers });
    await expectAnswer('createQueue', 400, '/queues', { body: {} });
    await expectAnswer('createQueue', 404, '/queues', { body: { ...everything, compartmentId: 'x' } });
    await expectAnswer('createQueue', 415, '/queues', { body: 'x', headers: { 'content-type': 'text/plain' } });
    await expectAnswer('createQueue', 413, '/queues', { body: 'x'.repeat(2_000_000) });
    const workRequest = `/workRequests/${String(created.headers['opc-work-request-id'])}`;
    const { json } = await expectAnswer('getWorkRequest', 200, workRequest);
    const [resource] = (json as { resources: { identifier: string }[] }).resources;
    const queue = `/queues/${resource!.identifier}`;
    await expectAnswer('getWorkRequest', 404, '/workRequests/x');
    await expectAnswer('listWorkRequests', 200, '/workRequests?limit=1');
    await expectAnswer('listWorkRequestErrors', 200, `${workRequest}/errors`);
    await expectAnswer('listWorkRequestLogs', 200, `${workRequest}/logs`);
    await expectAnswer('getQueue', 200, queue);
    await expectAnswer('getQueue', 401, queue, { apiKey: null });
    await expectAnswer('listQueues', 200, '/queues?limit=1');
    await expectAnswer('updateQueue', 202, queue, { body: '' });
    await expectAnswer('updateQueue', 412, queue, { body: '', headers: { 'if-match': 'x' } });
    await expectAnswer('changeQueueCompartment', 202, `${queue}/actions/changeCompartment`, {
      body: { compartmentId },
    });

    const message = { content: 'x', metadata: { channelId: 'ch', customProperties: { a: 'b' } } };
    await expectAnswer('putMessages', 200, `${queue}/messages`, {
      body: { messages: [message, message, message, { content: '' }] },
    });
    const once = { body: { messages: [{ ...message, deduplicationId: 'once' }] }, headers };
    await expectAnswer('putMessages', 200, `${queue}/messages`, once);
    await expectAnswer('putMessages', 200, `${queue}/messages`, once);
    await expectAnswer('putMessages', 409, `${queue}/messages`, { body: { messages: [message] }, headers });
    await expectAnswer('createConsumerGroup', 409, '/consumerGroups', {
      body: { displayName: 'group', queueId: resource!.identifier },
    });
    await expectAnswer('updateQueue', 202, queue, {
      body: { capabilities: [{ type: 'LARGE_MESSAGES' }, { type: 'CONSUMER_GROUPS' }] },
    });
    await expectAnswer('getQueue', 200, queue);
    const grouped = await expectAnswer('createConsumerGroup', 202, '/consumerGroups', {
      body: { displayName: 'group', queueId: resource!.identifier, deadLetterQueueDeliveryCount: 3 },
    });
    const groupRequest = await expectAnswer(
      'getWorkRequest',
      200,
      `/workRequests/${String(grouped.headers['opc-work-request-id'])}`,
    );
    const [group] = (groupRequest.json as { resources: { identifier: string }[] }).resources;
    const groupPath = `/consumerGroups/${group!.identifier}`;
    await expectAnswer('getConsumerGroup', 200, groupPath);
    await expectAnswer('getConsumerGroup', 404, '/consumerGroups/x');
    await expectAnswer('listConsumerGroups', 200, '/consumerGroups?limit=1');
    await expectAnswer('updateConsumerGroup', 202, groupPath, { body: { deadLetterQueueDeliveryCount: -1 } });
    await expectAnswer('updateConsumerGroup', 400, groupPath, { body: { filter: ':' } });
    await expectAnswer('updateConsumerGroup', 412, groupPath, { body: '', headers: { 'if-match': 'x' } });
    await expectAnswer('deleteConsumerGroup', 202, groupPath);
    await expectAnswer('putMessages', 413, `${queue}/messages`, {
      body: { messages: [{ content: 'x'.repeat(500_000) }, { content: 'x'.repeat(500_000) }] },
    });
    const got = await expectAnswer('getMessages', 200, `${queue}/messages?channelFilter=ch&limit=3`);
    const receipts = (got.json as { messages: { receipt: string }[] }).messages.map(({ receipt }) => receipt);
    await expectAnswer('getMessages', 200, `${queue}/messages?channelFilter=none&timeoutInSeconds=0`);
    await expectAnswer('getMessages', 400, `${queue}/messages?limit=0`);
    await expectAnswer('updateMessage', 200, `${queue}/messages/${receipts[0]}`, { body: { visibilityInSeconds: 10 } });
    await expectAnswer('updateMessages', 200, `${queue}/messages/actions/updateMessages`, {
      body: { entries: ['x', receipts[0]].map((receipt) => ({ receipt, visibilityInSeconds: 0 })) },
    });
    await expectAnswer('deleteMessage', 204, `${queue}/messages/${receipts[1]}`);
    await expectAnswer('deleteMessage', 404, `${queue}/messages/${receipts[1]}`);
    await expectAnswer('deleteMessages', 200, `${queue}/messages/actions/deleteMessages`, {
      body: { entries: ['x', receipts[2]].map((receipt) => ({ receipt })) },
    });
    // The one that was made visible again has had its only delivery.
    await expectAnswer('getMessages', 200, `${queue}/messages?timeoutInSeconds=0&channelFilter=ch&limit=20`);
    await expectAnswer('getMessages', 200, `${queue}%2Fdlq/messages?timeoutInSeconds=0`);
    const peeks = `messages/actions/peekMessages`;
    await expectAnswer('peekMessages', 200, `${queue}/${peeks}?limit=1`);
    await expectAnswer('peekMessages', 200, `${queue}%2Fdlq/${peeks}`);
    await expectAnswer('peekMessages', 400, `${queue}/${peeks}?filter=x`);
    const exported = await expectAnswer('exportDeadLetters', 200, `${queue}/deadLetters/actions/export`);
    const line = operations.get('exportDeadLetters')!.responses['200']!.content!['application/x-ndjson']!.schema;
    expect(exported.text).toMatch(/"deadLetter"/);
    for (const text of exported.text.split('\n').filter(Boolean)) {
      expect([text, validator.problems(line, JSON.parse(text))]).toEqual([text, null]);
    }
    await expectAnswer('exportDeadLetters', 400, `${queue}/deadLetters/actions/export?limit=0`);
    await expectAnswer('getStats', 200, `${queue}/stats`);
    await expectAnswer('getStats', 200, `${queue}/stats?channelId=ch`);
    await expectAnswer('getStats', 200, `${queue}%2Fdlq/stats`);
    await expectAnswer('listChannels', 200, `${queue}/channels`);
    await expectAnswer('listChannels', 200, `${queue}%2Fdlq/channels`);

    // The one that died above, and two more, one of which is held.
    const deadLetters = `${queue}/deadLetters/actions`;
    const dead = await pods.test.sql<{ id: number }>(
      `insert into towpath.message (queue_id, id, visible_after, expire_after, created_at, size_in_bytes, body, dead_letter, dead_lettered_at)
       select q.id, nextval('towpath.message_id'), now() + n * interval '1 hour', now() + interval '1 day', now(), 1, 'x', true, now()
       from towpath.queue q, generate_series(0, 1) n where q.ocid = $1 returning id`,
      [resource!.identifier],
    );
    const messageIds = [...dead.map(({ id }) => id), Number.MAX_SAFE_INTEGER];
    await expectAnswer('resendDeadLetter', 404, `${deadLetters}/resend`, {
      body: { messageId: Number.MAX_SAFE_INTEGER },
    });
    await expectAnswer('resendDeadLetter', 409, `${deadLetters}/resend`, { body: { messageId: messageIds[1] } });
    await expectAnswer('resendDeadLetter', 400, `${deadLetters}/resend`, {
      body: { messageId: messageIds[0], content: 'x'.repeat(513_000) },
    });
    await expectAnswer('resendDeadLetter', 200, `${queue}%2Fdlq/deadLetters/actions/resend`, {
      body: { messageId: messageIds[0], content: 'y', metadata: { customProperties: { a: 'b' } } },
    });
    await expectAnswer('deleteDeadLetters', 200, `${deadLetters}/delete`, { body: { messageIds } });
    const redrive = await expectAnswer('redriveDeadLetters', 202, `${deadLetters}/redrive`, {
      body: { messagesPerSecond: 1 },
    });
    const redriveRequest = `/workRequests/${String(redrive.headers['opc-work-request-id'])}`;
    await expectAnswer('redriveDeadLetters', 409, `${deadLetters}/redrive`);
    await expectAnswer('redriveDeadLetters', 400, `${deadLetters}/redrive`, { body: { filter: ':' } });
    await expectAnswer('redriveDeadLetters', 412, `${deadLetters}/redrive`, { headers: { 'if-match': 'x' } });
    await expectAnswer('getWorkRequest', 200, redriveRequest);
    await expectAnswer('cancelWorkRequest', 202, redriveRequest);
    await expectAnswer('cancelWorkRequest', 409, workRequest);
    await expectAnswer('cancelWorkRequest', 404, '/workRequests/x');
    await until(async () => (await client.call({ path: redriveRequest })).json?.['status'] === 'CANCELED', 'it ends');
    await expectAnswer('listWorkRequests', 200, '/workRequests?limit=1');

    await expectAnswer('rotateDataKey', 202, `${queue}/actions/rotateDataKey`);
    await expectAnswer('rotateDataKey', 412, `${queue}/actions/rotateDataKey`, { headers: { 'if-match': 'x' } });
    // A queue whose master key nobody has.
    const shut = await client.createQueue({ compartmentId, customEncryptionKeyId: 'unknown' });
    await expectAnswer('putMessages', 409, `/queues/${shut}/messages`, { body: { messages: [{ content: 'x' }] } });
    await expectAnswer('getMessages', 409, `/queues/${shut}/messages`);
    await expectAnswer('peekMessages', 409, `/queues/${shut}/messages/actions/peekMessages`);
    await expectAnswer('exportDeadLetters', 409, `/queues/${shut}/deadLetters/actions/export`);
    await expectAnswer('getStats', 200, `/queues/${shut}/stats`);

    // A purge that is held up, to see its states.
    const blocker = new pg.Client({ connectionString: pods.test.url });
    await blocker.connect();
    try {
      await blocker.query('begin');
      await blocker.query('select from towpath.message for update');
      const purge = await expectAnswer('purgeQueue', 202, `${queue}/actions/purge`, { body: { purgeType: 'BOTH' } });
      await expectAnswer('purgeQueue', 409, `${queue}/actions/purge`, { body: { purgeType: 'BOTH' } });
      await expectAnswer('getQueue', 200, queue);
      await expectAnswer('listQueues', 200, '/queues?lifecycleState=UPDATING');
      await expectAnswer('getWorkRequest', 200, `/workRequests/${String(purge.headers['opc-work-request-id'])}`);
      await blocker.query('rollback');
    } finally {
      await blocker.end();
    }
    await expectAnswer('deleteQueue', 202, queue);
    await expectAnswer('listAuditEvents', 200, '/auditEvents?limit=1000');
    await expectAnswer('listAuditEvents', 400, '/auditEvents?outcome=x');
    const audit = await expectAnswer('exportAuditEvents', 200, '/auditEvents/actions/export');
    const event = operations.get('exportAuditEvents')!.responses['200']!.content!['application/x-ndjson']!.schema;
    expect(audit.text).toMatch(/"before"/);
    for (const text of audit.text.split('\n').filter(Boolean)) {
      expect([text, validator.problems(event, JSON.parse(text))]).toEqual([text, null]);
    }
    await expectAnswer('exportAuditEvents', 400, '/auditEvents/actions/export?limit=0');
    await expectAnswer('getStats', 404, `${queue}x/stats`);
  });

  it('are as described: of STOMP sessions', async () => {
    const session = `/stompSessions/${await plantSession(pods)}`;
    const disconnect = `${session}/actions/disconnect`;
    await expectAnswer('listStompSessions', 200, '/stompSessions?limit=1');
    await expectAnswer('listStompSessions', 400, '/stompSessions?page=x');
    await expectAnswer('getStompSession', 200, session);
    await expectAnswer('getStompSession', 404, '/stompSessions/x');
    await expectAnswer('disconnectStompSession', 200, disconnect, { body: { timeoutInSeconds: 0, reason: 'x' } });
    await expectAnswer('disconnectStompSession', 400, disconnect, { body: { timeoutInSeconds: 11 } });
    await expectAnswer('disconnectStompSession', 404, '/stompSessions/x/actions/disconnect', { body: {} });
    await expectAnswer('disconnectStompSession', 413, disconnect, { body: 'x'.repeat(2_000_000) });
    const text = { body: 'x', headers: { 'content-type': 'text/plain' } };
    await expectAnswer('disconnectStompSession', 415, disconnect, text);
  });

  it('are as described: of compartments, users and groups', async () => {
    const nothing = 'ocid1.nothing';
    const compartment = idOf(await expectAnswer('createCompartment', 200, '/compartments', { body: { name: 'a' } }));
    const inner = { name: 'a', compartmentId: compartment };
    const innerPath = `/compartments/${idOf(await expectAnswer('createCompartment', 200, '/compartments', { body: inner }))}`;
    await expectAnswer('createCompartment', 400, '/compartments', { body: inner });
    await expectAnswer('createCompartment', 404, '/compartments', { body: { name: 'a', compartmentId: nothing } });
    await expectAnswer('getCompartment', 200, innerPath);
    await expectAnswer('getCompartment', 404, `/compartments/${nothing}`);
    await expectAnswer('listCompartments', 200, '/compartments?limit=1');
    await expectAnswer('updateCompartment', 200, innerPath, { body: { name: 'b' } });
    const root = `/compartments/${pods.credentials.tenancyId}`;
    await expectAnswer('updateCompartment', 409, root, { body: { name: 'b' } });
    await expectAnswer('deleteCompartment', 409, `/compartments/${compartment}`);
    await expectAnswer('deleteCompartment', 204, innerPath);

    const user = idOf(await expectAnswer('createUser', 200, '/users', { body: { name: 'ben' } }));
    await expectAnswer('createUser', 400, '/users', { body: { name: 'ben' } });
    await expectAnswer('getUser', 200, `/users/${user}`);
    await expectAnswer('listUsers', 200, '/users?name=ben');
    const group = `/groups/${idOf(await expectAnswer('createGroup', 200, '/groups', { body: { name: 'G' } }))}`;
    await expectAnswer('addGroupMember', 204, `${group}/members/${user}`);
    await expectAnswer('addGroupMember', 404, `${group}/members/${nothing}`);
    await expectAnswer('getGroup', 200, group);
    await expectAnswer('listGroups', 200, `/groups?userId=${user}`);
    await expectAnswer('listGroupMembers', 200, `${group}/members`);
    await expectAnswer('removeGroupMember', 204, `${group}/members/${user}`);
    await expectAnswer('removeGroupMember', 404, `${group}/members/${user}`);
    await expectAnswer('deleteGroup', 204, group);
    await expectAnswer('deleteUser', 204, `/users/${user}`);
    await expectAnswer('deleteUser', 409, `/users/${pods.credentials.userId}`);
  });

  it('are as described: of credentials', async () => {
    const user = `/users/${pods.credentials.userId}`;
    const details = { description: 'what for', expiresAt: '2036-11-22T10:26:16.123+01:00' };
    const { publicKey } = makeSigner();
    const pem = publicKey.export({ type: 'pkcs1', format: 'pem' });
    const key = await expectAnswer('createSigningKey', 200, `${user}/signingKeys`, {
      body: { publicKey: pem, ...details },
    });
    await expectAnswer('createSigningKey', 400, `${user}/signingKeys`, { body: { publicKey: pem } });
    await expectAnswer('createSigningKey', 400, `${user}/signingKeys`, { body: { publicKey: 'x' } });
    await expectAnswer('listSigningKeys', 200, `${user}/signingKeys`);
    await expectAnswer('deleteSigningKey', 204, `${user}/signingKeys/${String(key.json!['fingerprint'])}`);
    await expectAnswer('deleteSigningKey', 404, `${user}/signingKeys/${String(key.json!['fingerprint'])}`);
    const apiKey = await expectAnswer('createApiKey', 200, `${user}/apiKeys`, { body: details });
    await expectAnswer('createApiKey', 400, `${user}/apiKeys`, { body: { expiresAt: '2001-01-01T00:00:00Z' } });
    await expectAnswer('listApiKeys', 200, `${user}/apiKeys`);
    await expectAnswer('deleteApiKey', 204, `${user}/apiKeys/${String(apiKey.json!['id'])}`);
    await expectAnswer('listApiKeys', 404, '/users/x/apiKeys');
    const token = await expectAnswer('createAuthToken', 200, `${user}/authTokens`);
    await expectAnswer('createAuthToken', 415, `${user}/authTokens`, {
      body: 'x',
      headers: { 'content-type': 'text/plain' },
    });
    await expectAnswer('listAuthTokens', 200, `${user}/authTokens`);
    await expectAnswer('deleteAuthToken', 204, `${user}/authTokens/${String(token.json!['id'])}`);
    await expectAnswer('deleteAuthToken', 404, `${user}/authTokens/x`);
  });

  it('are as described: of policies', async () => {
    const { tenancyId, userId } = pods.credentials;
    const statements = ['allow group Administrators to read queues in tenancy'];
    const body = { compartmentId: tenancyId, name: 'described', description: 'd', statements };
    const created = await expectAnswer('createPolicy', 200, '/policies', { body });
    await expectAnswer('createPolicy', 400, '/policies', { body });
    await expectAnswer('createPolicy', 404, '/policies', { body: { ...body, compartmentId: 'x' } });
    const path = `/policies/${String(created.json!['id'])}`;
    await expectAnswer('getPolicy', 200, path);
    await expectAnswer('getPolicy', 404, '/policies/x');
    const { json } = await expectAnswer('listPolicies', 200, '/policies?limit=1');
    await expectAnswer('updatePolicy', 409, `/policies/${(json as { items: { id: string }[] }).items[0]!.id}`, {
      body: { name: 'other' },
    });
    await expectAnswer('updatePolicy', 200, path, { body: { description: '' } });
    await expectAnswer('updatePolicy', 412, path, { body: {}, headers: { 'if-match': '1' } });
    await expectAnswer('updatePolicy', 400, path, { body: { statements: ['allow'] } });
    const question = { userId, operation: 'getQueue', compartmentId };
    await expectAnswer('explainAccess', 200, '/policies/actions/explain', { body: question });
    await expectAnswer('explainAccess', 400, '/policies/actions/explain', { body: { userId } });
    await expectAnswer('explainAccess', 404, '/policies/actions/explain', { body: { ...question, userId: 'x' } });
    await expectAnswer('deletePolicy', 412, path, { headers: { 'if-match': '1' } });
    await expectAnswer('deletePolicy', 204, path);
    await expectAnswer('deletePolicy', 404, path);
  });

  it('are as described: of the probes and the metrics', async () => {
    await expectAnswer('livez', 200, '/livez', { root: true, apiKey: null });
    await expectAnswer('readyz', 200, '/readyz', { root: true, apiKey: null });
    await expectAnswer('metrics', 200, '/metrics', { root: true, apiKey: null });
  });

  it('were had from every operation', () => {
    for (const [id, operation] of operations) {
      const success = Object.keys(operation.responses).find((status) => status.startsWith('2'));
      expect([id, [...(answered.get(id) ?? [])]]).toEqual([id, expect.arrayContaining([Number(success)])]);
    }
  });

  it('are held against something', () => {
    const operation = operations.get('getStats')!;
    const figures = { visibleMessages: 0, inFlightMessages: 0, delayedMessages: 0, sizeInBytes: 0 };
    const headers = { 'opc-request-id': 'x' };
    const answer = (json: unknown, status = 200): string | null =>
      validator.problemsOfAnswer(operation, { status, json, headers, text: JSON.stringify(json) });
    expect(answer({ queue: figures, dlq: figures })).toBeNull();
    expect(answer({ queue: figures })).toMatch(/dlq/);
    expect(answer({ queue: figures, dlq: { ...figures, more: 1 } })).toMatch(/additional/);
    expect(answer({ queue: { ...figures, sizeInBytes: '0' }, dlq: figures })).toMatch(/integer/);
    expect(answer({ queue: figures, dlq: figures }, 201)).toMatch(/not documented/);
    expect(validator.problemsOfAnswer(operation, { status: 200, json: {}, headers: {}, text: '{}' })).toMatch(
      /opc-request-id/,
    );
  });
});
