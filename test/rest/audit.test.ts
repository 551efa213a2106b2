import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { Writable } from 'node:stream';
import pg from 'pg';
import { startPod, type Pod } from '../../src/app.js';
import { readConfiguration } from '../../src/config/environment.js';
import { fingerprintOf } from '../../src/identity/first-identity.js';
import { createLogger } from '../../src/operations/log.js';
import { makeSigner, signByHand, type Signer } from '../identity/wire.js';
import { operationsOf, type Document } from '../openapi/document.js';
import { until } from '../pods/support.js';
import { plantSession } from '../support/planted-session.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { Client, expectError, makeStranger, type Answer, type Call } from './support.js';

/** How each operation is called, and what its event has besides. */
type Calls = Record<string, () => Promise<readonly [Call, Partial<Event>]>>;

interface Event {
  readonly id: number;
  readonly timeCreated: string;
  readonly operation: string;
  readonly outcome: string;
  readonly code?: string;
  readonly targetIds: readonly string[];
  readonly userId?: string;
  readonly credential?: string;
  readonly credentialId?: string;
  readonly address?: string;
  readonly requestId?: string;
  readonly databaseRole: string;
  readonly before?: Record<string, unknown>;
  readonly after?: Record<string, unknown>;
  readonly parameters?: Record<string, unknown>;
}

const jwtPart = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const unique = (): string => randomBytes(8).toString('hex');
const publicPem = (): string => makeSigner().publicKey.export({ type: 'spki', format: 'pem' }).toString();

describe('the audit log over HTTP', () => {
  let pods: TestPods;
  let client: Client;
  let compartmentId: string;
  let apiKeyId: string;

  beforeAll(async () => {
    pods = await startTestPods();
    client = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    ({ compartmentId } = pods.credentials);
    apiKeyId = (await pods.test.sql<{ id: string }>('select id from towpath.api_key'))[0]!.id;
  });
  afterAll(async () => {
    client.close();
    await pods.stop();
  });

  async function list(query = '', by = client): Promise<Event[]> {
    const answer = await by.call({ path: `/auditEvents${query}` });
    expect([answer.status, answer.text]).toEqual([200, answer.text]);
    return (answer.json as { items: Event[] }).items;
  }
  /** What is in the log of one request. A refusal is written after its answer. */
  const eventsOf = async (answer: Answer): Promise<Event[]> =>
    (await list('?limit=1000')).filter(({ requestId }) => requestId === answer.headers['opc-request-id']);
  const written = async (answer: Answer): Promise<Event> => {
    await until(async () => (await eventsOf(answer)).length > 0, 'it is written');
    const events = await eventsOf(answer);
    expect(events).toHaveLength(1);
    return events[0]!;
  };
  const storedOf = (answer: Answer): Promise<Record<string, unknown>[]> =>
    pods.test.sql('select * from towpath.audit_event where request_id = $1', [answer.headers['opc-request-id']]);
  const resourceOf = async (answer: Answer): Promise<string> => {
    expect([answer.status, answer.text]).toEqual([202, '']);
    const found = await client.call({ path: `/workRequests/${String(answer.headers['opc-work-request-id'])}` });
    return (found.json as { resources: { identifier: string }[] }).resources[0]!.identifier;
  };
  const dead = async (queueId: string, count: number): Promise<number[]> => {
    const rows = await pods.test.sql<{ id: number }>(
      `insert into towpath.message (queue_id, id, visible_after, expire_after, created_at, size_in_bytes, body, dead_letter, dead_lettered_at)
       select towpath.queue_id($1), nextval('towpath.message_id'), now(), now() + interval '1 day', now(), 1, 'x', true, now()
       from generate_series(1, $2::integer) returning id`,
      [queueId, count],
    );
    return rows.map(({ id }) => id);
  };

  /** Makes something by a POST; returns its id. */
  const made = async (at: string, body: object): Promise<string> => {
    const { status, text, json } = await client.call({ method: 'POST', path: at, body });
    if (status !== 200) throw new Error(`${at}: ${status} ${text}`);
    return String(json!['id'] ?? json!['fingerprint']);
  };

  async function identityCalls(): Promise<Calls> {
    const user = await made('/users', { name: 'audited' });
    const group = await made('/groups', { name: 'Audited' });
    const u = `/users/${user}`;
    const member = { parameters: { groupName: 'Audited', userName: 'audited' }, targetIds: [group, user] };
    const expiresAt = '2036-11-22T10:26:16Z';
    return {
      createCompartment: async () => [
        { method: 'POST', path: '/compartments', body: { name: 'made', compartmentId } },
        { after: { name: 'made', compartmentId } },
      ],
      updateCompartment: async () => {
        const id = await made('/compartments', { name: 'old' });
        return [
          { method: 'PUT', path: `/compartments/${id}`, body: { name: 'new' } },
          {
            targetIds: [id],
            before: expect.objectContaining({ name: 'old' }),
            after: expect.objectContaining({ name: 'new' }),
          },
        ];
      },
      deleteCompartment: async () => {
        const id = await made('/compartments', { name: 'gone' });
        return [
          { method: 'DELETE', path: `/compartments/${id}` },
          { targetIds: [id], before: expect.objectContaining({ name: 'gone' }) },
        ];
      },
      createUser: async () => [{ method: 'POST', path: '/users', body: { name: 'made' } }, { after: { name: 'made' } }],
      // With all that it has: one event.
      deleteUser: async () => {
        const id = await made('/users', { name: 'gone' });
        await made(`/users/${id}/apiKeys`, {});
        await made(`/users/${id}/authTokens`, {});
        await made(`/users/${id}/signingKeys`, { publicKey: publicPem() });
        await client.call({ method: 'PUT', path: `/groups/${group}/members/${id}` });
        return [
          { method: 'DELETE', path: `/users/${id}` },
          { targetIds: [id], before: { name: 'gone' } },
        ];
      },
      createGroup: async () => [
        { method: 'POST', path: '/groups', body: { name: 'Made' } },
        { after: { name: 'Made' } },
      ],
      deleteGroup: async () => {
        const id = await made('/groups', { name: 'Gone' });
        await client.call({ method: 'PUT', path: `/groups/${id}/members/${user}` });
        return [
          { method: 'DELETE', path: `/groups/${id}` },
          { targetIds: [id], before: { name: 'Gone' } },
        ];
      },
      addGroupMember: async () => [{ method: 'PUT', path: `/groups/${group}/members/${user}` }, member],
      removeGroupMember: async () => [{ method: 'DELETE', path: `/groups/${group}/members/${user}` }, member],
      createSigningKey: async () => [
        { method: 'POST', path: `${u}/signingKeys`, body: { publicKey: publicPem(), description: 'd' } },
        { targetIds: [user], after: { fingerprint: expect.stringMatching(/^[0-9a-f:]{47}$/), description: 'd' } },
      ],
      deleteSigningKey: async () => {
        const fingerprint = await made(`${u}/signingKeys`, { publicKey: publicPem() });
        return [
          { method: 'DELETE', path: `${u}/signingKeys/${fingerprint}` },
          { targetIds: [user], before: { fingerprint } },
        ];
      },
      createApiKey: async () => [
        { method: 'POST', path: `${u}/apiKeys`, body: { description: 'd', expiresAt } },
        {
          targetIds: [expect.stringMatching(/^ocid1\.queueapikey\./), user],
          after: {
            prefix: expect.stringMatching(/^towpath_[0-9a-f]{8}$/),
            description: 'd',
            expiresAt: expect.stringContaining('2036-11-22T10:26:16'),
          },
        },
      ],
      deleteApiKey: async () => {
        const id = await made(`${u}/apiKeys`, {});
        return [
          { method: 'DELETE', path: `${u}/apiKeys/${id}` },
          { targetIds: [id, user], before: { prefix: expect.any(String) } },
        ];
      },
      createAuthToken: async () => [
        { method: 'POST', path: `${u}/authTokens`, body: { description: 'd' } },
        { targetIds: [expect.stringMatching(/^ocid1\.authtoken\./), user], after: { description: 'd' } },
      ],
      deleteAuthToken: async () => {
        const id = await made(`${u}/authTokens`, {});
        return [
          { method: 'DELETE', path: `${u}/authTokens/${id}` },
          { targetIds: [id, user], before: {} },
        ];
      },
    };
  }

  function policyCalls(): Calls {
    const statements = ['allow group Administrators to read queues in tenancy'];
    const policy = { compartmentId: pods.credentials.tenancyId, description: '', statements };
    return {
      createPolicy: async () => [
        { method: 'POST', path: '/policies', body: { ...policy, name: 'made' } },
        { after: { ...policy, name: 'made' } },
      ],
      updatePolicy: async () => {
        const id = await made('/policies', { ...policy, name: unique() });
        return [
          { method: 'PUT', path: `/policies/${id}`, body: { description: 'other' } },
          {
            targetIds: [id],
            before: expect.objectContaining({ description: '', statements }),
            after: expect.objectContaining({ description: 'other', statements }),
          },
        ];
      },
      deletePolicy: async () => {
        const id = await made('/policies', { ...policy, name: unique() });
        return [
          { method: 'DELETE', path: `/policies/${id}` },
          { targetIds: [id], before: expect.objectContaining(policy) },
        ];
      },
    };
  }

  it('has exactly one event of each change, with who made it, from where, and what it was', async () => {
    const queue = await client.createQueue({ compartmentId, deadLetterQueueDeliveryCount: 1 });
    const q = `/queues/${queue}`;
    const group = async (): Promise<string> => {
      await client.call({
        method: 'PUT',
        path: q,
        body: { capabilities: [{ type: 'CONSUMER_GROUPS' }] },
      });
      const body = { displayName: randomBytes(8).toString('hex'), queueId: queue };
      return resourceOf(await client.call({ method: 'POST', path: '/consumerGroups', body }));
    };
    const redrive = { method: 'POST', path: `${q}/deadLetters/actions/redrive`, body: { messagesPerSecond: 1 } };
    const calls: Calls = {
      createQueue: async () => [
        { method: 'POST', path: '/queues', body: { displayName: 'made', compartmentId } },
        { after: expect.objectContaining({ displayName: 'made', visibilityInSeconds: 30 }) },
      ],
      updateQueue: async () => [
        { method: 'PUT', path: q, body: { visibilityInSeconds: 9 } },
        {
          targetIds: [queue],
          before: expect.objectContaining({ visibilityInSeconds: 30 }),
          after: expect.objectContaining({ visibilityInSeconds: 9 }),
        },
      ],
      // It is there already.
      changeQueueCompartment: async () => [
        { method: 'POST', path: `${q}/actions/changeCompartment`, body: { compartmentId } },
        { targetIds: [queue], before: expect.any(Object), after: expect.any(Object) },
      ],
      purgeQueue: async () => [
        { method: 'POST', path: `${q}/actions/purge`, body: { purgeType: 'NORMAL', channelIds: ['a'] } },
        { parameters: { purgeType: 'NORMAL', channelIds: ['a'] } },
      ],
      rotateDataKey: async () => [
        { method: 'POST', path: `${q}/actions/rotateDataKey` },
        { targetIds: expect.arrayContaining([queue]) },
      ],
      createConsumerGroup: async () => {
        await group();
        return [
          { method: 'POST', path: '/consumerGroups', body: { displayName: 'g', queueId: queue, filter: ':a' } },
          {
            targetIds: [expect.stringMatching(/^ocid1\.queueconsumergroup\./), queue],
            after: expect.objectContaining({ displayName: 'g', filter: ':a' }),
          },
        ];
      },
      updateConsumerGroup: async () => {
        const id = await group();
        return [
          { method: 'PUT', path: `/consumerGroups/${id}`, body: { isEnabled: false } },
          {
            targetIds: [id, queue],
            before: expect.objectContaining({ lifecycleState: 'ACTIVE' }),
            after: expect.objectContaining({ lifecycleState: 'INACTIVE' }),
          },
        ];
      },
      deleteConsumerGroup: async () => {
        const id = await group();
        return [
          { method: 'DELETE', path: `/consumerGroups/${id}` },
          { targetIds: [id, queue], after: expect.objectContaining({ lifecycleState: 'DELETING' }) },
        ];
      },
      deleteDeadLetters: async () => {
        const messageIds = await dead(queue, 2);
        return [
          { method: 'POST', path: `${q}/deadLetters/actions/delete`, body: { messageIds } },
          { targetIds: expect.arrayContaining([queue]), parameters: { messageIds, deleted: 2, asked: 2 } },
        ];
      },
      resendDeadLetter: async () => {
        const [messageId] = await dead(queue, 1);
        return [
          { method: 'POST', path: `${q}/deadLetters/actions/resend`, body: { messageId, content: 'y' } },
          { parameters: expect.objectContaining({ messageId, newMessageId: expect.any(Number) }) },
        ];
      },
      redriveDeadLetters: async () => [redrive, { parameters: expect.objectContaining({ messagesPerSecond: 1 }) }],
      cancelWorkRequest: async () => {
        const other = await client.createQueue({ compartmentId });
        await dead(other, 5);
        const started = await client.call({ ...redrive, path: `/queues/${other}/deadLetters/actions/redrive` });
        const id = String(started.headers['opc-work-request-id']);
        return [{ method: 'DELETE', path: `/workRequests/${id}` }, { targetIds: [id, other] }];
      },
      disconnectStompSession: async () => {
        const id = await plantSession(pods);
        const body = { timeoutInSeconds: 0, reason: 'why' };
        const parameters = { userId: pods.credentials.userId, peerAddress: '192.0.2.7', reason: 'why' };
        return [
          { method: 'POST', path: `/stompSessions/${id}/actions/disconnect`, body },
          { targetIds: [id, pods.credentials.userId], parameters: expect.objectContaining(parameters) },
        ];
      },
      deleteQueue: async () => {
        const id = await client.createQueue({ compartmentId });
        return [
          { method: 'DELETE', path: `/queues/${id}` },
          { targetIds: [id], after: expect.objectContaining({ lifecycleState: 'DELETING' }) },
        ];
      },
    };
    Object.assign(calls, await identityCalls(), policyCalls());
    const document = (await client.call({ path: '/openapi.json', root: true })).json as unknown as Document;
    // Everything that changes something, but messages by those who put and get them: what is added later is missed here.
    const changing = operationsOf(document).filter(
      ({ method, description = '' }) => method !== 'GET' && /`(?:use|manage) (?!queue-pu)/.test(description),
    );
    expect(changing.map(({ operationId }) => operationId).toSorted()).toEqual(Object.keys(calls).toSorted());
    for (const [operation, prepare] of Object.entries(calls)) {
      const [call, more] = await prepare();
      const answer = await client.call(call);
      if (![200, 202, 204].includes(answer.status)) throw new Error(`${operation}: ${answer.status} ${answer.text}`);
      const events = await eventsOf(answer);
      expect([operation, events]).toEqual([
        operation,
        [
          expect.objectContaining({
            operation,
            outcome: 'SUCCEEDED',
            userId: pods.credentials.userId,
            credential: 'api-key',
            credentialId: apiKeyId,
            address: '127.0.0.1',
            databaseRole: 'towpath_test',
            ...more,
          }),
        ],
      ]);
      expect(events[0]).not.toHaveProperty('code');
    }
  });

  it('knows a signing key by its fingerprint, and keeps the id that the client gave its request', async () => {
    const pem = await readFile(path.join(pods.dataDirectory, 'oci', 'key.pem'), 'utf8');
    const [privateKey, publicKey] = [createPrivateKey(pem), createPublicKey(pem)];
    const { tenancyId, userId } = pods.credentials;
    const signer: Signer = { tenancyId, userId, fingerprint: fingerprintOf(publicKey), privateKey, publicKey, pem };
    const body = JSON.stringify({ displayName: 'signed', compartmentId });
    const { rawHeaders } = signByHand(signer, {
      method: 'POST',
      target: '/20210201/queues',
      body,
      headers: { host: new URL(client.url).host },
    });
    const headers: Record<string, string> = { 'opc-request-id': 'mine/1' };
    for (let at = 0; at < rawHeaders.length; at += 2) headers[rawHeaders[at]!] = rawHeaders[at + 1]!;
    const answer = await client.call({ method: 'POST', path: '/queues', body, headers, apiKey: null });
    expect(answer.status).toBe(202);
    expect(await eventsOf(answer)).toMatchObject([
      { operation: 'createQueue', credential: 'signature', credentialId: signer.fingerprint, requestId: 'mine/1' },
    ]);
  });

  it('has no event of what failed but its refusal, and none of what only reads', async () => {
    const queue = await client.createQueue({ compartmentId });
    const refused = async (call: Call, status: number): Promise<Event> => {
      const answer = await client.call(call);
      expect(answer.status).toBe(status);
      return written(answer);
    };
    const mine = { userId: pods.credentials.userId, credential: 'api-key', credentialId: apiKeyId, outcome: 'REFUSED' };
    const target = `/queues/${queue}`;
    const update = { method: 'PUT', path: target, body: { visibilityInSeconds: 7 } };
    expect(await refused({ ...update, headers: { 'if-match': '99' } }, 412)).toMatchObject({
      ...mine,
      operation: 'updateQueue',
      code: 'NoEtagMatch',
      targetIds: [queue],
      address: '127.0.0.1',
    });
    expect(await refused({ ...update, body: { visibilityInSeconds: 0 } }, 400)).toMatchObject({
      ...mine,
      code: 'InvalidParameter',
    });
    expect(await refused({ ...update, path: `${target}x` }, 404)).toMatchObject({
      ...mine,
      code: 'NotAuthorizedOrNotFound',
      targetIds: [`${queue}x`],
    });
    expect(await refused({ path: '/queues/not-an-ocid' }, 404)).toMatchObject({ operation: 'getQueue', targetIds: [] });
    expect(await refused({ method: 'DELETE', path: '/workRequests/ocid1.x.y' }, 404)).toMatchObject({
      operation: 'cancelWorkRequest',
    });
    // Neither the data plane nor what only reads.
    const others = [
      await client.call({ path: target }),
      await client.call({ path: '/queues' }),
      await client.call({ method: 'POST', path: `${target}/messages`, body: { messages: [{ content: 5 }] } }),
      await client.call({ path: `${target}/messages?limit=0` }),
    ];
    // Later ones are written, so these would have been.
    await refused({ path: '/queues/not-an-ocid' }, 404);
    for (const answer of others) expect(await eventsOf(answer)).toEqual([]);
  });

  it('has wrong credentials as nobody’s: tenancies do not see them, SQL does', async () => {
    const wrong = [
      await client.call({ path: '/queues', apiKey: 'towpath_wrong' }),
      await client.call({ path: '/queues/ocid1.queue.oc1.local.x/messages', apiKey: null }),
    ];
    for (const [index, answer] of wrong.entries()) {
      expect(answer.status).toBe(401);
      await until(async () => (await storedOf(answer)).length > 0, 'it is written');
      expect(await storedOf(answer)).toMatchObject([
        {
          operation: ['listQueues', 'getMessages'][index],
          code: 'NotAuthenticated',
          tenancy_id: null,
          user_id: null,
          credential: null,
          credential_id: null,
          address: '127.0.0.1',
        },
      ]);
      expect(await eventsOf(answer)).toEqual([]);
    }
  });

  it('shows a tenancy its own events, also of what was done by SQL', async () => {
    const stranger = await makeStranger(pods);
    const theirs = await list('', stranger.client);
    expect(theirs.map(({ operation }) => operation)).toEqual([
      'createQueue',
      'createAuthToken',
      'createApiKey',
      'createSigningKey',
      'addGroupMember',
      'createUser',
      'createTenancy',
    ]);
    const ours = await client.createQueue({ compartmentId });
    expect(await list(`?targetId=${ours}`, stranger.client)).toEqual([]);
    expect(await list(`?targetId=${stranger.queueId}`)).toEqual([]);
    // Their attempt at our queue is theirs.
    const attempt = await stranger.client.call({ method: 'DELETE', path: `/queues/${ours}` });
    expectError(attempt, 404, 'NotAuthorizedOrNotFound');
    await until(async () => (await list('?outcome=REFUSED', stranger.client)).length === 1, 'it is written');
    expect(await eventsOf(attempt)).toEqual([]);
    await pods.test.sql(`update towpath.queue set visibility_in_seconds = 8 where ocid = $1`, [ours]);
    expect(await list(`?targetId=${ours}&limit=1`)).toMatchObject([
      { operation: 'updateQueue', credential: 'database-role', databaseRole: 'towpath_test' },
    ]);
    const page = await stranger.client.call({ path: '/auditEvents?limit=1' });
    const token = String(page.headers['opc-next-page']);
    // A page is a place in time, not a key to a tenancy.
    expect((await list(`?page=${token}`)).every(({ targetIds }) => !targetIds.includes(stranger.queueId))).toBe(true);
    stranger.client.close();
  });

  it('is read page by page, by conditions, and exported whole', async () => {
    const queue = await client.createQueue({ compartmentId });
    for (let seconds = 1; seconds <= 250; seconds += 1) {
      await pods.test.sql(`update towpath.queue set visibility_in_seconds = $2 where ocid = $1`, [
        queue,
        seconds + 100,
      ]);
    }
    const all = await list(`?targetId=${queue}&limit=1000`);
    expect(all).toHaveLength(251);
    const paged: Event[] = [];
    for (let query = `targetId=${queue}&limit=100`; ;) {
      const answer = await client.call({ path: `/auditEvents?${query}` });
      paged.push(...(answer.json as { items: Event[] }).items);
      const next = answer.headers['opc-next-page'];
      if (next === undefined) break;
      query = `targetId=${queue}&limit=100&page=${String(next)}`;
    }
    expect(paged).toEqual(all);
    const exported = async (query: string): Promise<Event[]> => {
      const answer = await client.call({ path: `/auditEvents/actions/export${query}` });
      expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/x-ndjson']);
      return answer.text
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as Event);
    };
    expect(await exported(`?targetId=${queue}`)).toEqual(all);
    expect(await exported(`?targetId=${queue}&limit=101`)).toEqual(all.slice(0, 101));
    expect(await exported('?operation=none')).toEqual([]);
    expect((await exported('')).length).toBeGreaterThan(250);
    const userId = encodeURIComponent(pods.credentials.userId);
    expect(await list(`?targetId=${queue}&userId=${userId}`)).toEqual([all[250]]);
    expect(await list(`?targetId=${queue}&operation=createQueue&outcome=SUCCEEDED`)).toEqual([all[250]]);
    const from = encodeURIComponent(all[9]!.timeCreated.replace('Z', '+00:00'));
    const since = await list(`?targetId=${queue}&timeAfter=${from}`);
    expect(since.length).toBeGreaterThanOrEqual(10);
    const before = await list(`?targetId=${queue}&timeBefore=${from}&limit=1000`);
    expect([...since, ...before]).toEqual(all);
    for (const query of ['outcome=x', 'timeAfter=yesterday', 'limit=0', 'page=x', 'userId=', 'operation=%00']) {
      expectError(await client.call({ path: `/auditEvents?${query}` }), 400, 'InvalidParameter');
    }
  });

  it('has pages of bounded size, however large the tags are', async () => {
    const target = `ocid1.queue.oc1.local.${randomBytes(8).toString('hex')}`;
    await pods.test.sql(
      `insert into towpath.audit_event (tenancy_id, operation, target_ids, before)
       select $1, 'large', array[$2], jsonb_build_object('tags', repeat('x', 100000)) from generate_series(1, 120)`,
      [pods.credentials.tenancyId, target],
    );
    const ids = new Set<number>();
    let pages = 0;
    for (let page = ''; ; pages += 1) {
      const answer = await client.call({ path: `/auditEvents?limit=1000&targetId=${target}${page}` });
      expect(answer.text.length).toBeLessThan(8_000_000);
      for (const { id } of (answer.json as { items: Event[] }).items) ids.add(id);
      if (answer.headers['opc-next-page'] === undefined) break;
      page = `&page=${String(answer.headers['opc-next-page'])}`;
    }
    expect([ids.size, pages]).toEqual([120, 2]);
  });

  it('forgets by itself what is older than the retention', async () => {
    const pod = await pods.add({ TOWPATH_AUDIT_RETENTION_DAYS: '90' });
    await pods.test.sql(
      `insert into towpath.audit_event (operation, time_created) select 'old', now() - interval '91 days' from generate_series(1, 2500)`,
    );
    await pods.test.sql(
      `insert into towpath.audit_event (operation, time_created) values ('old', now() - interval '89 days')`,
    );
    const old = async (): Promise<number> =>
      (await pods.test.sql<{ n: number }>(`select count(*) as n from towpath.audit_event where operation = 'old'`))[0]!
        .n;
    await until(async () => (await old()) === 1, 'it forgets');
    expect(pod.port).toBeGreaterThan(0);
  });

  it('stays bounded in a flood of refused requests, and counts what it leaves out', async () => {
    const pod = await pods.add();
    const flooding = new Client(pod.url, pods.credentials.apiKey);
    const count = async (): Promise<number> =>
      (
        await pods.test.sql<{ n: number }>(`select count(*) as n from towpath.audit_event where outcome = 'REFUSED'`)
      )[0]!.n;
    const before = await count();
    const since = performance.now();
    const flood = async (call: Call): Promise<void> => {
      for (let round = 0; round < 20; round += 1) {
        await Promise.all(Array.from({ length: 20 }, () => flooding.call(call)));
      }
    };
    await flood({ path: '/queues', apiKey: null });
    await flood({ path: '/queues/ocid1.queue.oc1.local.none' });
    // One who is not part of it is still heard.
    const stranger = await makeStranger(pods);
    const quiet = new Client(pod.url, stranger.user.apiKey);
    const answer = await quiet.call({ path: '/queues/ocid1.queue.oc1.local.none' });
    await until(
      async () =>
        (
          await pods.test.sql('select from towpath.audit_event where request_id = $1', [
            answer.headers['opc-request-id'],
          ])
        ).length === 1,
      'the quiet one is heard',
    );
    const seconds = (performance.now() - since) / 1000;
    const metrics = await flooding.call({ path: '/metrics', root: true, apiKey: null });
    const dropped = Number(/^towpath_audit_events_dropped_total (\d+)$/m.exec(metrics.text)?.[1]);
    // The burst of each and what came back since; and the stranger's.
    expect((await count()) - before).toBeLessThanOrEqual(2 * (50 + 0.5 * seconds) + 1);
    expect(dropped).toBeGreaterThanOrEqual(800 - 2 * (50 + 0.5 * seconds));
    expect((await count()) - before + dropped).toBe(800 + 1);
    flooding.close();
    quiet.close();
    stranger.client.close();
  });

  it('has no contents, properties or secrets in it, whatever goes wrong; nor has the log of the pod', async () => {
    const secret = `planted-${randomBytes(8).toString('hex')}`;
    // A role of its own, since everybody may know the name of the usual one, which is its password.
    const role = `audit_${randomBytes(4).toString('hex')}`;
    const admin = new pg.Client({ connectionString: pods.test.superuserUrl });
    await admin.connect();
    await admin.query(`create role ${role} login password '${secret}' in role towpath_test`);
    let log = '';
    let pod: Pod | null = null;
    try {
      const url = new URL(pods.test.url);
      url.username = role;
      url.password = secret;
      const destination = new Writable({
        write: (chunk: Buffer, _, done) => {
          log += chunk.toString();
          done();
        },
      });
      const configuration = readConfiguration({
        DATABASE_URL: url.href,
        TOWPATH_DATA_DIR: pods.dataDirectory,
        TOWPATH_PORT: '0',
        TOWPATH_STOMP_PORT: '0',
      });
      pod = await startPod(configuration, url.href, createLogger('trace', destination));
      const by = new Client(pod.url, pods.credentials.apiKey);
      const queueId = await by.createQueue({ compartmentId, capabilities: [{ type: 'CONSUMER_GROUPS' }] });
      const [first, second, third] = await dead(queueId, 3);
      await pods.test.sql(
        `update towpath.message set body = convert_to($2, 'UTF8'), properties = jsonb_build_object('kind', $2::text)
        where queue_id = towpath.queue_id($1)`,
        [queueId, secret],
      );
      const q = `/queues/${queueId}`;
      const customProperties = { [`key-${secret}`]: `value ${secret}`, kind: secret };
      const message = { content: `content ${secret}`, metadata: { channelId: 'ch', customProperties } };
      const put = { method: 'POST', path: `${q}/messages` };
      const deadLetters = `${q}/deadLetters/actions`;
      const json = { 'content-type': 'text/plain' };
      const user = `/users/${pods.credentials.userId}`;
      const secretOf = async (at: string, name: string): Promise<string> =>
        String((await by.call({ method: 'POST', path: at, body: { description: 'd' } })).json![name]);
      const apiKey = await secretOf(`${user}/apiKeys`, 'key');
      const authToken = (await by.call({ method: 'POST', path: `${user}/authTokens` })).json;
      const [token, stompPasscode] = [String(authToken!['token']), String(authToken!['stompPasscode'])];
      const authorization = `Signature version="1",keyId="${secret}/${secret}/${secret}",algorithm="rsa-sha256",headers="date (request-target) host",signature="${secret}"`;
      const calls: Call[] = [
        { ...put, body: { messages: [message] } },
        { ...put, body: { messages: [message, { content: 5, metadata: secret }] } },
        { ...put, body: `{"messages":[{"content":"${secret}` },
        { ...put, body: { messages: [message] }, headers: json },
        { ...put, body: { messages: [message] }, apiKey: `towpath_${secret}` },
        { ...put, body: { messages: [message] }, headers: { authorization } },
        { path: `${q}/messages?timeoutInSeconds=0` },
        { path: `${q}/messages/actions/peekMessages?filter=${encodeURIComponent(`:kind = "${secret}"`)}` },
        { path: `${deadLetters}/export?filter=${encodeURIComponent(`:kind ${secret}`)}` },
        { path: `/queues?key=towpath_${secret}` },
        { path: '/queues', headers: { cookie: secret, 'x-api-key': secret, authorization: `Bearer ${secret}` } },
        { path: '/queues', headers: { authorization: `Basic ${Buffer.from(secret).toString('base64')}` } },
        { path: `/queues/towpath_${secret}` },
        { method: 'POST', path: '/queues', body: { displayName: 'x', compartmentId, visibilityInSeconds: secret } },
        { method: 'POST', path: '/queues', body: `"${secret}` },
        { method: 'PUT', path: q, body: { visibilityInSeconds: 0, content: secret } },
        { method: 'PUT', path: q, body: { visibilityInSeconds: 9, content: secret } },
        { method: 'POST', path: `${q}/actions/purge`, body: { purgeType: secret } },
        { method: 'POST', path: `${q}/actions/changeCompartment`, body: { compartmentId, content: secret } },
        { method: 'POST', path: '/consumerGroups', body: { displayName: 'g', queueId, filter: `(${secret}` } },
        { method: 'POST', path: '/consumerGroups', body: { displayName: 'g', queueId, content: secret } },
        { method: 'POST', path: `${deadLetters}/resend`, body: { messageId: first, ...message } },
        { method: 'POST', path: `${deadLetters}/resend`, body: { messageId: second } },
        { method: 'POST', path: `${deadLetters}/resend`, body: { messageId: 1, ...message } },
        { method: 'POST', path: `${deadLetters}/resend`, body: { messageId: third, content: secret.repeat(50_000) } },
        { method: 'POST', path: `${deadLetters}/delete`, body: { messageIds: [third, secret] } },
        { method: 'POST', path: `${deadLetters}/delete`, body: { messageIds: [third] } },
        { method: 'POST', path: `${deadLetters}/redrive`, body: { filter: `:kind = "${secret}"` } },
        { method: 'POST', path: `${deadLetters}/redrive`, body: { filter: `:kind "${secret}"` } },
        { method: 'DELETE', path: `/workRequests/${secret}` },
        { method: 'DELETE', path: q },
        // What people send where it does not belong, and what is no name.
        { method: 'POST', path: `${user}/signingKeys`, body: { publicKey: `-----BEGIN PRIVATE KEY-----\n${secret}` } },
        { method: 'POST', path: `${user}/signingKeys`, body: { publicKey: publicPem(), privateKey: secret } },
        { method: 'POST', path: `${user}/apiKeys`, body: { key: secret, digest: secret } },
        { method: 'POST', path: `${user}/authTokens`, body: { token: secret, expiresAt: secret } },
        { method: 'POST', path: '/users', body: { name: `${secret}!`, password: secret } },
        { method: 'POST', path: '/policies', body: { compartmentId, name: 'p', statements: [`allow ${secret}`] } },
        { path: '/queues', apiKey: `${jwtPart({ alg: 'none' })}.${jwtPart({ sub: secret })}.` },
        { path: '/queues', apiKey: `${jwtPart({ alg: 'RS256', kid: secret })}.${jwtPart({ sub: secret })}.${secret}` },
        // Those that are right.
        { path: '/queues', apiKey: apiKey },
      ];
      const shown = [apiKey, token, stompPasscode, apiKey.slice(16)];
      const statuses = new Set<number>();
      for (const call of calls) {
        const answer = await by.call(call);
        statuses.add(answer.status);
      }
      await pods.test.sql(`alter table towpath.audit_event add constraint planted check (operation = '') not valid`);
      // PostgreSQL quotes a row that breaks a rule.
      try {
        const failed = await by.call({ method: 'POST', path: '/queues', body: { displayName: 'x', compartmentId } });
        expect(failed.status).toBe(500);
        await by.call({ path: `/queues/${secret}` });
        await until(() => log.includes('refused requests could not be written'), 'the log tells it');
      } finally {
        await pods.test.sql(`alter table towpath.audit_event drop constraint planted`);
      }
      expect([...statuses]).toEqual(expect.arrayContaining([200, 202, 400, 401, 404, 415]));
      by.close();
      await pod.stop();
      pod = null;
      // What is stored of a secret is its digest.
      for (const table of ['api_key', 'auth_token', 'signing_key', 'user_account', 'policy']) {
        const stored = await pods.test.sql<{ row: string }>(`select t::text as row from towpath.${table} t`);
        const text = stored.map(({ row }) => row).join('\n');
        expect([table, [secret, ...shown].filter((one) => text.includes(one))]).toEqual([table, []]);
      }
      const rows = await pods.test.sql<{ row: string }>('select e::text as row from towpath.audit_event e');
      const events = rows.map(({ row }) => row).join('\n');
      // Something of it is there to be found.
      for (const operation of [
        'createApiKey',
        'createAuthToken',
        'createSigningKey',
        'resendDeadLetter',
        'deleteDeadLetters',
        'redriveDeadLetters',
        'deleteQueue',
      ]) {
        expect(events).toMatch(new RegExp(`${operation},SUCCEEDED`));
      }
      expect(events).toContain('NotAuthenticated');
      expect(log.split('\n').length).toBeGreaterThan(calls.length);
      for (const [where, text] of Object.entries({ events, log: withoutPaths(log) })) {
        expect([where, text.split('\n').filter((line) => line.includes(secret))]).toEqual([where, []]);
        for (const one of [pods.credentials.apiKey, ...shown]) {
          expect([where, text.includes(one)]).toEqual([where, false]);
        }
        expect([where, text.includes(Buffer.from(secret).toString('base64'))]).toEqual([where, false]);
        expect([where, text.includes(jwtPart({ sub: secret }))]).toEqual([where, false]);
        expect([where, /BEGIN|Bearer|authorization/i.exec(text)]).toEqual([where, null]);
      }
    } finally {
      await pod?.stop();
      await admin.query(`drop role ${role}`);
      await admin.end();
    }
  });
});

/** Two calls have the secret, as it is, in the path: an id that is none. The log says what path was asked for. */
const withoutPaths = (log: string): string =>
  log.replaceAll(/"path":"\/20210201\/(?:workRequests|queues)\/planted-\w+"/g, '"path":"…"');
