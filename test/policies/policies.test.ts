import { hash } from 'node:crypto';
import { Notifications } from '../../src/database/notifications.js';
import { IdentityFunctions } from '../../src/database/identity-functions.js';
import { QueueFunctions } from '../../src/database/queue-functions.js';
import { Access } from '../../src/policies/access.js';
import { until } from '../pods/support.js';
import { Client, expectError } from '../rest/support.js';
import { createQueue, sdkClients } from '../support/sdk.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { allow, makeCompartment, makeMember, type Member } from './support.js';

/** Ten times what a pod may remember. */
const IN_TIME_MS = 20_000;

describe('policies', () => {
  let pods: TestPods;
  let admin: Client;
  let tenancyId: string;
  let compartmentId: string;
  let queueId: string;
  const members: Client[] = [];

  const member = async (name: string): Promise<Member> => {
    const made = await makeMember(pods, name);
    members.push(made.client);
    return made;
  };
  /** The same user on the second pod. */
  const onSecond = ({ client }: Member): Client => {
    const second = new Client(pods.pods[1]!.url, client.apiKey);
    members.push(second);
    return second;
  };
  const statusOf = async (client: Client, path = `/queues/${queueId}`): Promise<number> =>
    (await client.call({ path })).status;
  const change = async (path: string, statements: string[]): Promise<void> => {
    const { status, text } = await admin.call({ method: 'PUT', path, body: { statements } });
    if (status !== 200) throw new Error(text);
  };

  const create = (...statements: string[]): ReturnType<Client['call']> =>
    admin.call({ method: 'POST', path: '/policies', body: { compartmentId: tenancyId, name: 'wrong', statements } });

  beforeAll(async () => {
    pods = await startTestPods(2);
    admin = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    ({ tenancyId, compartmentId } = pods.credentials);
    queueId = await admin.createQueue({ compartmentId, displayName: 'orders' });
  });
  afterAll(async () => {
    for (const client of [admin, ...members]) client.close();
    await pods.stop();
  });

  it('give at once, on every pod, and take back in moments', async () => {
    const ana = await member('ana');
    const second = onSecond(ana);
    expect([await statusOf(ana.client), await statusOf(second)]).toEqual([404, 404]);
    const policy = await allow(admin, tenancyId, 'ana', 'allow group ana to read queues in compartment default');
    // Not until, but now: a no is never from memory.
    expect([await statusOf(second), await statusOf(ana.client)]).toEqual([200, 200]);

    await change(policy, ['allow group ana to inspect queues in tenancy']);
    for (const client of [second, ana.client]) {
      await until(async () => (await statusOf(client)) === 404, 'it is denied', IN_TIME_MS);
    }
    await change(policy, ['allow group ana to read queues in tenancy']);
    expect([await statusOf(second), await statusOf(ana.client)]).toEqual([200, 200]);
    expect((await admin.call({ method: 'DELETE', path: policy })).status).toBe(204);
    for (const client of [second, ana.client]) {
      await until(async () => (await statusOf(client)) === 404, 'it is denied', IN_TIME_MS);
    }
  });

  it('follow members and groups, changed by whomever', async () => {
    const ben = await member('ben');
    await allow(admin, tenancyId, 'ben', 'allow group ben to read queues in tenancy');
    const second = onSecond(ben);
    expect(await statusOf(second)).toBe(200);
    await pods.test.sql('delete from towpath.user_group_member where user_id = $1', [ben.userId]);
    await until(async () => (await statusOf(second)) === 404, 'who is no member may not', IN_TIME_MS);
    await pods.test.sql('insert into towpath.user_group_member (tenancy_id, group_id, user_id) values ($1, $2, $3)', [
      tenancyId,
      ben.groupId,
      ben.userId,
    ]);
    expect(await statusOf(second)).toBe(200);
    await pods.test.sql('delete from towpath.user_group where id = $1', [ben.groupId]);
    await until(async () => (await statusOf(second)) === 404, 'a group that is gone may not', IN_TIME_MS);
  });

  it('are asked for again where no notification comes', async () => {
    const pod = await pods.add();
    // Only the policies are deaf.
    const { events } = pod.app.get(Notifications);
    const access = pod.app.get<unknown, { onMessage: (payload: unknown) => void }>(Access);
    events.off('message', access.onMessage);
    const cem = await member('cem');
    const policy = await allow(admin, tenancyId, 'cem', 'allow group cem to read queues in tenancy');
    const client = new Client(pod.url, cem.client.apiKey);
    members.push(client);
    expect(await statusOf(client)).toBe(200);
    const start = performance.now();
    await admin.call({ method: 'DELETE', path: policy });
    await until(async () => (await statusOf(client)) === 404, 'it is denied', IN_TIME_MS);
    expect(performance.now() - start).toBeLessThan(IN_TIME_MS);
    expect(await statusOf(admin)).toBe(200);
  });

  it('hold under conditions: only queues of that name, listed, used, made, and named so', async () => {
    const dan = await member('dan');
    await allow(
      admin,
      tenancyId,
      'dan',
      'allow group dan to manage queues in compartment default where target.queue.name = /dev-*/',
    );
    expect(await statusOf(dan.client)).toBe(404);
    expectError(
      await dan.client.call({ method: 'POST', path: '/queues', body: { displayName: 'prod', compartmentId } }),
      404,
      'NotAuthorizedOrNotFound',
      /^compartment \S+ does not exist or you may not use it$/,
    );
    const mine = await dan.client.createQueue({ displayName: 'dev-1', compartmentId });
    await dan.client.put(mine, 'x');
    const { json } = await dan.client.call({ path: `/queues?compartmentId=${compartmentId}` });
    expect((json as { items: { id: string }[] }).items.map(({ id }) => id)).toEqual([mine]);
    const rename = (displayName: string): Promise<{ status: number }> =>
      dan.client.call({ method: 'PUT', path: `/queues/${mine}`, body: { displayName } });
    expect((await rename('prod')).status).toBe(404);
    expect((await rename('dev-2')).status).toBe(202);
    // The queue of another name cannot be the target either.
    const redrive = await dan.client.call({
      method: 'POST',
      path: `/queues/${mine}/deadLetters/actions/redrive`,
      body: { targetQueueId: queueId },
    });
    expectError(redrive, 404, 'NotAuthorizedOrNotFound', /^queue \S+ does not exist or you may not see it$/);
  });

  it('want a move to be permitted in both compartments', async () => {
    const eve = await member('eve');
    const from = await makeCompartment(pods, tenancyId, 'from');
    const to = await makeCompartment(pods, tenancyId, 'to');
    const moved = await admin.createQueue({ compartmentId: from });
    const move = (): Promise<{ status: number; text: string }> =>
      eve.client.call({
        method: 'POST',
        path: `/queues/${moved}/actions/changeCompartment`,
        body: { compartmentId: to },
      });
    const policy = await allow(admin, tenancyId, 'eve', 'allow group eve to manage queues in compartment from');
    const half = await move();
    expect([half.status, half.text]).toEqual([404, expect.stringContaining(`compartment ${to} does not exist`)]);
    await change(policy, ['allow group eve to manage queues in compartment to']);
    // Asked by a look: where the old half is still remembered, a move would be let through by both.
    await until(
      async () => (await eve.client.call({ path: `/queues/${moved}` })).status === 404,
      'the old half is gone',
      IN_TIME_MS,
    );
    const other = await move();
    expect([other.status, other.text]).toEqual([404, expect.stringContaining(`queue ${moved} does not exist`)]);
    await change(policy, [
      'allow group eve to manage queues in compartment to',
      'allow group eve to manage queues in compartment from',
    ]);
    expect((await move()).status).toBe(202);
  });

  it('let those who manage policies of a compartment give what is in it, and no more', async () => {
    const fay = await member('fay');
    await allow(admin, tenancyId, 'fay', 'allow group fay to manage policies in compartment default');
    const createThere = (inCompartment: string, statement: string): ReturnType<Client['call']> =>
      fay.client.call({
        method: 'POST',
        path: '/policies',
        body: { compartmentId: inCompartment, name: `fay ${statement.length}`, statements: [statement] },
      });
    expectError(
      await createThere(tenancyId, 'allow group fay to manage all-resources in tenancy'),
      404,
      'NotAuthorizedOrNotFound',
    );
    expectError(
      await createThere(compartmentId, 'allow group fay to manage all-resources in tenancy'),
      400,
      'InvalidParameter',
      /^statements\[0\]: the place must be/,
    );
    expect((await createThere(compartmentId, 'allow group fay to use queues in compartment default')).status).toBe(200);
    expect(await statusOf(fay.client)).toBe(200);
  });

  it('say where a statement is wrong, and which name there is not', async () => {
    const good = 'allow any-user to inspect queues in tenancy';
    expectError(
      await create(good, 'allow group Administrators to own queues in tenancy'),
      400,
      'InvalidParameter',
      /^statements\[1\]: at character 31, after .* before "own queues in tenanc": expected a verb/,
    );
    expectError(
      await create('allow group nobody-is to use queues in tenancy'),
      400,
      'InvalidParameter',
      /no group nobody-is/,
    );
    expectError(
      await create('allow group Administrators to use queues in compartment default:gone'),
      400,
      'InvalidParameter',
      /^statements\[0\]: the place must be the compartment/,
    );
    expectError(await create(), 400, 'InvalidParameter', /^statements must be an array of 1 to 50/);
  });

  it('cannot lock the administrators out', async () => {
    const { json } = await admin.call({ path: '/policies?name=Tenant%20Admin%20Policy' });
    const path = `/policies/${(json as { items: { id: string }[] }).items[0]!.id}`;
    expectError(
      await admin.call({ method: 'DELETE', path }),
      409,
      'IncorrectState',
      /Administrators cannot be changed/,
    );
    expectError(await admin.call({ method: 'PUT', path, body: { name: 'x' } }), 409, 'IncorrectState');
    for (const statement of [
      `delete from towpath.user_group where name = 'Administrators'`,
      `update towpath.user_group set name = 'x' where name = 'Administrators'`,
    ]) {
      await expect(pods.test.sql(statement)).rejects.toThrow(/neither renamed nor deleted/);
    }
  });

  it('explain who may do what, and by which statement', async () => {
    const gus = await member('gus');
    const statement = "allow group gus to use queue-push in compartment default where target.queue.name = 'orders'";
    await allow(admin, tenancyId, 'gus', statement);
    const ask = async (question: object): Promise<Record<string, unknown>> => {
      const body = { userId: gus.userId, ...question };
      const { status, text, json } = await admin.call({ method: 'POST', path: '/policies/actions/explain', body });
      expect([text, status]).toEqual([text, 200]);
      return json!;
    };
    expect(await ask({ operation: 'putMessages', queueId })).toEqual({
      isAllowed: true,
      permission: 'use queue-push',
      compartmentId,
      statements: [{ policyId: expect.stringMatching(/^ocid1\.policy\./), policyName: 'gus', statement }],
    });
    const no = { isAllowed: false, compartmentId, statements: [] };
    expect(await ask({ operation: 'getMessages', queueId })).toEqual({ ...no, permission: 'use queue-pull' });
    expect(await ask({ verb: 'use', resourceType: 'queue-push', compartmentId })).toEqual({
      ...no,
      permission: 'use queue-push',
    });
    // What it says is what happens.
    const put = { method: 'POST', path: `/queues/${queueId}/messages`, body: { messages: [{ content: 'x' }] } };
    expect([(await gus.client.call(put)).status, await statusOf(gus.client)]).toEqual([200, 404]);
    for (const [question, code, message] of [
      [{ queueId }, 'MissingParameter', /operation/],
      [{ operation: 'nothing', queueId }, 'InvalidParameter', /operation/],
      [{ operation: 'getQueue', verb: 'use', queueId }, 'InvalidParameter', /not both/],
      [{ operation: 'getQueue' }, 'MissingParameter', /queueId/],
      [{ operation: 'getQueue', queueId, compartmentId }, 'InvalidParameter', /not both/],
      [{ operation: 'getQueue', queueId: 'x' }, 'NotAuthorizedOrNotFound', /queue x/],
      [{ operation: 'getQueue', compartmentId: 'x' }, 'NotAuthorizedOrNotFound', /compartment x/],
    ] as const) {
      const body = { userId: gus.userId, ...question };
      const { json } = await admin.call({ method: 'POST', path: '/policies/actions/explain', body });
      expect([question, json]).toEqual([question, { code, message: expect.stringMatching(message) }]);
    }
  });

  it('page through lists of which little is permitted', async () => {
    const hal = await member('hal');
    await allow(
      admin,
      tenancyId,
      'hal',
      "allow group hal to inspect queues in tenancy where target.queue.name = 'hal'",
    );
    const mine: string[] = [];
    for (let index = 0; index < 3; index += 1) {
      for (const displayName of ['other', 'other', 'hal']) {
        const id = await admin.createQueue({ compartmentId, displayName });
        if (displayName === 'hal') mine.push(id);
      }
    }
    const found: string[] = [];
    let page = '';
    for (let pages = 0; pages < 50; pages += 1) {
      const { headers, json } = await hal.client.call({ path: `/queues?limit=2&sortOrder=ASC${page}` });
      const { items } = json as { items: { id: string }[] };
      expect(items.length).toBeLessThanOrEqual(2);
      found.push(...items.map(({ id }) => id));
      const next = headers['opc-next-page'];
      if (next === undefined) break;
      page = `&page=${String(next)}`;
    }
    expect(found).toEqual(mine);
  });

  it('are an old database’s users, all of them administrators, and a new tenancy’s group', async () => {
    const functions = new IdentityFunctions(pods.test.database);
    const tenancy = await functions.createTenancy('another');
    expect(
      await pods.test.sql(
        `select g.name as group, p.name, p.statements, p.is_protected from towpath.user_group g
         join towpath.policy p using (tenancy_id) where tenancy_id = $1`,
        [tenancy.id],
      ),
    ).toEqual([
      {
        group: 'Administrators',
        name: 'Tenant Admin Policy',
        statements: ['allow group Administrators to manage all-resources in tenancy'],
        is_protected: true,
      },
    ]);
  });

  it('let the SDK do what they allow, and nothing else', async () => {
    // The first user loses everything but this.
    const { userId } = pods.credentials;
    const sdk = sdkClients(pods.dataDirectory, pods.pods[1]!.url);
    const its = await createQueue(sdk, compartmentId, { displayName: 'sdk' });
    const putMessagesDetails = { messages: [{ content: 'x' }] };
    const ivy = await member('ivy');
    await pods.test.sql('insert into towpath.user_group_member (tenancy_id, group_id, user_id) values ($1, $2, $3)', [
      tenancyId,
      ivy.groupId,
      userId,
    ]);
    await allow(
      admin,
      tenancyId,
      'ivy',
      `allow group ivy to use queue-push in compartment default where target.queue.id = '${its}'`,
    );
    await pods.test.sql(
      `delete from towpath.user_group_member m using towpath.user_group g
       where g.id = m.group_id and g.name = 'Administrators' and m.user_id = $1`,
      [userId],
    );
    const refused = { statusCode: 404, serviceCode: 'NotAuthorizedOrNotFound' };
    await until(
      () =>
        sdk.admin.getQueue({ queueId: its }).then(
          () => false,
          (error: unknown) => {
            expect(error).toMatchObject(refused);
            return true;
          },
        ),
      'it is denied',
      IN_TIME_MS,
    );
    const { putMessages } = await sdk.data.putMessages({ queueId: its, putMessagesDetails });
    expect(putMessages.messages).toHaveLength(1);
    await expect(sdk.data.getMessages({ queueId: its, timeoutInSeconds: 0 })).rejects.toMatchObject(refused);
    await expect(sdk.data.putMessages({ queueId, putMessagesDetails })).rejects.toMatchObject(refused);
    await new IdentityFunctions(pods.test.database).addAdministrator(tenancyId, userId);
    expect((await sdk.admin.getQueue({ queueId: its })).queue.id).toBe(its);
    sdk.close();
  });

  it('cost a decision on a put next to nothing', async () => {
    const access = pods.pods[0]!.app.get(Access);
    const queue = await pods.pods[0]!.app.get(QueueFunctions).find(tenancyId, queueId);
    const { userId } = pods.credentials;
    const caller = {
      tenancyId,
      userId,
      credential: 'api-key',
      credentialId: 'ocid1.queueapikey.x',
      permission: 'use queue-push',
    } as const;
    await access.mayUse(caller, queue);
    const COUNT = 100_000;
    const timed = (what: () => unknown): number => {
      const start = performance.now();
      for (let index = 0; index < COUNT; index += 1) what();
      return ((performance.now() - start) * 1000) / COUNT;
    };
    const decide = (): unknown => access.mayUse(caller, queue);
    timed(decide);
    await access.mayUse(caller, queue);
    const decision = timed(decide);
    // What every request does besides: the digest of its key.
    const digest = timed(() => hash('sha256', caller.userId));
    const start = performance.now();
    const CALLS = 50;
    for (let index = 0; index < CALLS; index += 1) await statusOf(admin);
    const call = ((performance.now() - start) * 1000) / CALLS;
    process.stdout.write(
      `a decision: ${decision.toFixed(3)} µs; a SHA-256: ${digest.toFixed(3)} µs; a request: ${call.toFixed(0)} µs\n`,
    );
    // A thousandth of it, measured; so nothing that asks the database or walks statements.
    expect(decision).toBeLessThan(call / 20);
  });
});
