import type { Pod } from '../../src/app.js';
import { commandNamed } from '../../src/stomp/commands/commands.js';
import { COMMAND_PERMISSIONS } from '../../src/stomp/permissions.js';
import { until } from '../pods/support.js';
import { Client } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { expectFailure, RawClient, stompClients, type StompClients } from './support.js';

describe('access over STOMP', () => {
  let pods: TestPods;
  let first: Pod;
  let second: Pod;
  let rest: Client;
  let stomp: StompClients;
  let queueId: string;
  let users = 0;

  beforeAll(async () => {
    pods = await startTestPods(2);
    [first, second] = pods.pods as [Pod, Pod];
    rest = new Client(first.url, pods.credentials.apiKey);
    stomp = stompClients(pods);
    queueId = await rest.createQueue({ displayName: 'secret', compartmentId: pods.credentials.compartmentId });
  });
  afterEach(() => stomp.close());
  afterAll(async () => {
    rest.close();
    await pods.stop();
  });

  const post = async (path: string, body?: object, method = 'POST'): Promise<Record<string, string>> => {
    const answer = await rest.call({ method, path, ...(body === undefined ? {} : { body }) });
    if (answer.status >= 300) throw new Error(`${path}: ${answer.status} ${answer.text}`);
    return (answer.json ?? {}) as Record<string, string>;
  };

  /** A user who may do `verb`, with a connection to each pod. */
  async function userWho(verb: string) {
    users += 1;
    const name = `user-${users}`;
    const { id: userId = '' } = await post('/users', { name });
    const { id: groupId } = await post('/groups', { name: `Group-${users}` });
    await post(`/groups/${groupId}/members/${userId}`, undefined, 'PUT');
    await post('/policies', {
      compartmentId: pods.credentials.tenancyId,
      name: `policy-${users}`,
      statements: [`allow group Group-${users} to ${verb} in tenancy`],
    });
    const { id: tokenId, stompLogin = '', token = '' } = await post(`/users/${userId}/authTokens`);
    const login = { login: stompLogin, passcode: token };
    const connect = async (pod: Pod): Promise<RawClient> => {
      const client = await stomp.stranger(pod);
      await client.connect(login);
      return client;
    };
    return { userId, tokenId, login, connect };
  }

  it('wants a permission for every command that touches a queue', () => {
    const commands = Object.keys(COMMAND_PERMISSIONS);
    for (const command of commands) expect(commandNamed(command)).not.toBeNull();
    // Those that touch none by themselves. What is added to either list is looked at here.
    expect(commands.filter((command) => COMMAND_PERMISSIONS[command as 'SEND'] === null).toSorted()).toEqual(
      ['ABORT', 'BEGIN', 'COMMIT', 'CONNECT', 'DISCONNECT', 'STOMP', 'UNSUBSCRIBE'].toSorted(),
    );
  });

  it('lets who may push send and not subscribe, and who may pull the reverse; denied looks as missing does', async () => {
    const [producer, consumer] = [await userWho('use queue-push'), await userWho('use queue-pull')];
    const missing = `${queueId.slice(0, -4)}aaaa`;
    const sender = await producer.connect(first);
    await sender.ask('SEND', { destination: queueId }, 'x');
    await sender.ask('SEND', { destination: '/queue/secret' }, 'y');
    const receiver = await consumer.connect(first);
    receiver.write('SUBSCRIBE', { id: '1', destination: queueId, ack: 'client-individual' });
    const message = await receiver.take('MESSAGE');
    await receiver.ask('ACK', { id: message.headers.get('ack')! });
    for (const destination of [queueId, missing, '/queue/secret', '/queue/no-such-queue']) {
      const [denied, refused] = [await producer.connect(first), await consumer.connect(first)];
      denied.write('SUBSCRIBE', { id: '1', destination, ack: 'client' });
      const { headers } = await expectFailure(denied, 'NotAuthorizedOrNotFound');
      expect(headers.get('message')).not.toMatch(/permission|denied|policy/i);
      refused.write('SEND', { destination, receipt: 'r' }, 'z');
      expect((await expectFailure(refused, 'NotAuthorizedOrNotFound')).headers.get('receipt-id')).toBe('r');
    }
    const left = (await rest.get(queueId)).map(({ content }) => content);
    expect(left).not.toContain('z');
  });

  it('ends a session when its token is revoked, on every pod, and no other', async () => {
    const { userId, tokenId, login, connect } = await userWho('use queue-pull');
    const sessions = [await connect(first), await connect(second)];
    const other = await (await userWho('use queue-pull')).connect(second);
    sessions[0]!.write('SUBSCRIBE', { id: '1', destination: queueId, ack: 'client' });
    const revoked = await rest.call({ method: 'DELETE', path: `/users/${userId}/authTokens/${tokenId}` });
    expect(revoked.status).toBe(204);
    for (const session of sessions) await expectFailure(session, 'NotAuthenticated');
    const again = await stomp.stranger(second);
    again.write('CONNECT', { 'accept-version': '1.2', ...login });
    await expectFailure(again, 'NotAuthenticated');
    expect(other.isClosed).toBe(false);
    await other.ask('SUBSCRIBE', { id: '1', destination: queueId, ack: 'client' });
  });

  it('denies at once what a policy does not allow any more', async () => {
    const { connect } = await userWho('use queue-push');
    const session = await connect(second);
    await session.ask('SEND', { destination: queueId }, 'allowed');
    const policies = (await rest.call({ path: `/policies?compartmentId=${pods.credentials.tenancyId}` })).json as {
      items: { id: string; name: string }[];
    };
    const policy = policies.items.find(({ name }) => name === `policy-${users}`)!;
    expect((await rest.call({ method: 'DELETE', path: `/policies/${policy.id}` })).status).toBe(204);
    // The other pod knows of it within seconds.
    await until(async () => {
      if (session.isClosed) return true;
      await session.ask('SEND', { destination: queueId }, 'perhaps').catch(() => undefined);
      return session.isClosed;
    }, 'a SEND is refused');
    expect(session.error?.headers.get('code')).toBe('NotAuthorizedOrNotFound');
  });

  it('stores nothing that was not sealed, inside transactions and outside', async () => {
    const secret = 'planted in a body';
    const property = 'planted-in-a-header';
    const client = await stomp.client(first);
    await client.ask('SEND', { destination: queueId, kind: property }, secret);
    await client.ask('BEGIN', { transaction: 't' });
    await client.ask('SEND', { destination: queueId, transaction: 't', kind: property }, secret);
    await client.ask('COMMIT', { transaction: 't' });
    const rows = await pods.test.sql<{ key_id: number | null; row: string }>(
      `select m.key_id, m::text as row from towpath.message m`,
    );
    expect(rows.length).toBeGreaterThan(1);
    for (const { key_id, row } of rows) {
      expect(key_id).not.toBeNull();
      for (const text of [secret, property]) {
        expect(row).not.toContain(text);
        expect(row).not.toContain(Buffer.from(text).toString('hex'));
      }
    }
    const contents: unknown[] = [];
    await until(async () => {
      contents.push(...(await rest.get(queueId)));
      return contents.filter((each) => (each as { content: string }).content === secret).length === 2;
    }, 'both are delivered in the clear');
    expect(contents.filter((each) => (each as { content: string }).content === secret)).toMatchObject([
      { metadata: { customProperties: { kind: property } } },
      { metadata: { customProperties: { kind: property } } },
    ]);
  });
});
