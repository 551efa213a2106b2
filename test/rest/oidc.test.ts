import { AUDIENCE, Issuer } from '../identity/issuer.js';
import { until } from '../pods/support.js';
import { allow } from '../policies/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { Client, expectError } from './support.js';

describe('a bearer token of an issuer', () => {
  let issuer: Issuer;
  let pods: TestPods;
  let admin: Client;
  /** On a pod that takes users from the database. */
  let known: Client;
  /** On a pod that takes users and groups from the token. */
  let told: Client;
  let queueId: string;

  beforeAll(async () => {
    issuer = await Issuer.start();
    pods = await startTestPods();
    admin = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    const oidc = { TOWPATH_OIDC_ISSUER: issuer.url, TOWPATH_OIDC_AUDIENCE: AUDIENCE };
    known = new Client((await pods.add(oidc)).url, '');
    told = new Client((await pods.add({ ...oidc, TOWPATH_OIDC_GROUPS_CLAIM: 'groups' })).url, '');
    queueId = await admin.createQueue({ compartmentId: pods.credentials.compartmentId });
    const { tenancyId } = pods.credentials;
    await admin.call({ method: 'POST', path: '/groups', body: { name: 'Workers' } });
    await allow(admin, tenancyId, 'workers', 'allow group Workers to use queue-push in tenancy');
  }, 60_000);
  afterAll(async () => {
    for (const client of [admin, known, told]) client.close();
    await pods.stop();
    await issuer.stop();
  });

  const put = (by: Client, token: string): ReturnType<Client['call']> =>
    by.call({
      method: 'POST',
      path: `/queues/${queueId}/messages`,
      body: { messages: [{ content: 'x' }] },
      apiKey: token,
    });
  const id = async (path: string, body: object): Promise<string> =>
    String((await admin.call({ method: 'POST', path, body })).json!['id']);

  it('is of the user whose name it tells, with what that user may do, until the user is deleted', async () => {
    const token = await issuer.token('worker');
    expectError(await put(known, token), 401, 'NotAuthenticated');
    const user = await id('/users', { name: 'worker' });
    // That there is none is remembered for half a second.
    await until(async () => (await put(known, token)).status === 404, 'the user is known');
    const [group] = (await admin.call({ path: '/groups?name=Workers' })).json!['items'] as { id: string }[];
    await admin.call({ method: 'PUT', path: `/groups/${group!.id}/members/${user}` });
    expect((await put(known, token)).status).toBe(200);
    expectError(await known.call({ path: `/queues/${queueId}`, apiKey: token }), 404, 'NotAuthorizedOrNotFound');
    // Itself it may see.
    expect((await known.call({ path: `/users/${user}`, apiKey: token })).json).toMatchObject({ name: 'worker' });
    const { rows } = { rows: await pods.test.sql('select from towpath.signing_key where user_id = $1', [user]) };
    expect(rows).toEqual([]);
    await admin.call({ method: 'DELETE', path: `/users/${user}` });
    await until(async () => (await put(known, token)).status === 401, 'the user is gone');
    // A pod without an issuer takes none.
    expectError(await put(admin, token), 401, 'NotAuthenticated');
  }, 60_000);

  it('is of whom it tells, in the groups that it tells, where the configuration says so', async () => {
    const asked = async (groups: unknown): Promise<number> => {
      issuer.claims = { groups };
      return (await put(told, await issuer.token('nobody'))).status;
    };
    expect(await asked(['Workers', 'no such group'])).toBe(200);
    expect(await asked([])).toBe(404);
    expect(await asked('Workers')).toBe(404);
    expect(await asked(['workers'])).toBe(404);
    expect(await asked(['Workers'])).toBe(200);
    expect(await asked(['Administrators'])).toBe(200);
    const token = await issuer.token('nobody');
    const body = { name: 'by-token' };
    const made = await told.call({ method: 'POST', path: '/users', body, apiKey: token });
    expect(made.status).toBe(200);
    const events = await admin.call({ path: '/auditEvents?operation=createUser&limit=1' });
    expect((events.json!['items'] as object[])[0]).toMatchObject({
      userId: 'oidc/nobody',
      credential: 'oidc',
      credentialId: `${issuer.url} nobody`,
    });
    // Only what the token says counts: not who has that name.
    await id('/users', { name: 'nobody' });
    expect(await asked([])).toBe(404);
  }, 60_000);

  it('goes on with the keys that are known while the issuer is away, and says so where none is', async () => {
    issuer.claims = {};
    await id('/users', { name: 'worker' });
    const token = await issuer.token('worker');
    await until(async () => (await put(known, token)).status === 404, 'the user is known');
    const oidc = { TOWPATH_OIDC_ISSUER: issuer.url, TOWPATH_OIDC_AUDIENCE: AUDIENCE };
    const fresh = new Client((await pods.add(oidc)).url, pods.credentials.apiKey);
    issuer.isDown = true;
    try {
      expect((await put(known, token)).status).toBe(404);
      const answer = await put(fresh, token);
      expectError(answer, 503, 'ServiceUnavailable', /issuer of the token/);
      expect(answer.headers['retry-after']).toBe('5');
      // Other credentials do not need it.
      expect((await put(fresh, pods.credentials.apiKey)).status).toBe(200);
    } finally {
      issuer.isDown = false;
      fresh.close();
    }
  }, 60_000);
});
