import { generateKeyPairSync } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { Writable } from 'node:stream';
import { startPod, type Pod } from '../../src/app.js';
import { readConfiguration } from '../../src/config/environment.js';
import { AuthenticationService } from '../../src/identity/authentication.service.js';
import { CredentialUses } from '../../src/identity/credential-uses.js';
import { createLogger } from '../../src/operations/log.js';
import { Client, digestOf, expectError, makeStranger, type Answer } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { makeSigner, signByHand, type Signer } from './wire.js';

/** The body of an answer that must be good. */
const json = async (answer: Promise<Answer>): Promise<Record<string, string>> => {
  const { status, text, json: body } = await answer;
  expect([status, text]).toEqual([200, text]);
  return body as Record<string, string>;
};

const publicPem = (pair: { publicKey: Signer['publicKey'] }): string =>
  pair.publicKey.export({ type: 'spki', format: 'pem' }).toString();

/** The REST API of identities, on one pod whose log is read. */
describe('the API of identities', () => {
  let pods: TestPods;
  let pod: Pod;
  let client: Client;
  let log = '';

  beforeAll(async () => {
    pods = await startTestPods();
    const configuration = readConfiguration({ DATABASE_URL: pods.test.url, TOWPATH_PORT: '0' });
    const destination = new Writable({
      write: (chunk: Buffer, _, done) => {
        log += chunk.toString();
        done();
      },
    });
    pod = await startPod(configuration, pods.test.url, createLogger('trace', destination));
    client = new Client(pod.url, pods.credentials.apiKey);
  });
  afterAll(async () => {
    client.close();
    await pod.stop();
    await pods.stop();
  });

  const post = (path: string, body?: object, apiKey?: string): Promise<Answer> =>
    client.call({ method: 'POST', path, ...(body && { body }), ...(apiKey !== undefined && { apiKey }) });
  const remove = (path: string, apiKey?: string): Promise<Answer> =>
    client.call({ method: 'DELETE', path, ...(apiKey !== undefined && { apiKey }) });
  const items = async (path: string): Promise<Record<string, string>[]> =>
    ((await client.call({ path })).json as { items: Record<string, string>[] }).items;
  const status = async (apiKey: string): Promise<number> => (await client.call({ path: '/queues', apiKey })).status;
  let number = 0;
  const newUser = async (): Promise<{ id: string; name: string; path: string }> => {
    number += 1;
    const name = `user-${number}`;
    const { id } = await json(post('/users', { name }));
    return { id: id!, name, path: `/users/${id!}` };
  };

  /** Sends a signed request over the network. */
  const sendSigned = (signer: Signer): Promise<number> => {
    const { method, target, rawHeaders } = signByHand(signer, { target: '/20210201/queues' });
    const { hostname, port } = new URL(pod.url);
    return new Promise((resolve, reject) => {
      const request = httpRequest({ hostname, port, method, path: target, headers: [...rawHeaders], agent: false });
      request.on('error', reject);
      request.on('response', (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode ?? 0));
      });
      request.end();
    });
  };

  it('nests compartments, lists them page by page, renames and deletes them', async () => {
    const { tenancyId, compartmentId } = pods.credentials;
    const outer = await json(post('/compartments', { name: 'outer' }));
    expect(outer).toMatchObject({ compartmentId: tenancyId, name: 'outer' });
    const inner = await json(post('/compartments', { name: 'inner', compartmentId: outer['id'] }));
    expectError(await post('/compartments', { name: 'outer' }), 400, 'InvalidParameter', /^name: /);
    const queue = await client.createQueue({ compartmentId: inner['id'] });
    expectError(await remove(`/compartments/${inner['id']}`), 409, 'IncorrectState', /queues/);
    expectError(await remove(`/compartments/${outer['id']}`), 409, 'IncorrectState', /not empty/);
    const ids: string[] = [];
    let page = '';
    do {
      const answer = await client.call({ path: `/compartments?limit=1${page && `&page=${page}`}` });
      ids.push(...(answer.json as { items: { id: string }[] }).items.map(({ id }) => id));
      page = String(answer.headers['opc-next-page'] ?? '');
    } while (page !== '');
    expect(ids.toSorted()).toEqual([tenancyId, compartmentId, outer['id']!, inner['id']!].toSorted());
    const nested = await items(`/compartments?compartmentId=${outer['id']}`);
    expect(nested).toEqual([inner]);
    expect(await items('/compartments?name=outer')).toEqual([outer]);
    const renamed = await json(
      client.call({ method: 'PUT', path: `/compartments/${inner['id']}`, body: { name: 'renamed' } }),
    );
    expect(renamed).toEqual({ ...inner, name: 'renamed' });
    await client.call({
      method: 'POST',
      path: `/queues/${queue}/actions/changeCompartment`,
      body: { compartmentId: tenancyId },
    });
    for (const id of [inner['id'], outer['id']]) expect((await remove(`/compartments/${id}`)).status).toBe(204);
    expectError(await client.call({ path: `/compartments/${outer['id']}` }), 404, 'NotAuthorizedOrNotFound');
    expectError(
      await client.call({ method: 'PUT', path: `/compartments/${tenancyId}`, body: { name: 'x' } }),
      409,
      'IncorrectState',
    );
  });

  it('keeps who is in which group', async () => {
    const [ana, ben] = [await newUser(), await newUser()];
    const group = await json(post('/groups', { name: 'Consumers' }));
    const members = `/groups/${group['id']}/members`;
    for (const { id } of [ana, ben, ana]) {
      expect((await client.call({ method: 'PUT', path: `${members}/${id}` })).status).toBe(204);
    }
    const names = async (): Promise<string[]> => (await items(members)).map(({ name }) => name!).toSorted();
    expect(await names()).toEqual([ana.name, ben.name]);
    const first = await client.call({ path: `${members}?limit=1` });
    const rest = await items(`${members}?page=${String(first.headers['opc-next-page'])}`);
    expect([...(first.json as { items: { name: string }[] }).items, ...rest]).toHaveLength(2);
    expect(await items(`/groups?userId=${ben.id}`)).toEqual([group]);
    expect((await remove(`${members}/${ben.id}`)).status).toBe(204);
    expect(await items(`/groups?userId=${ben.id}`)).toEqual([]);
    expect((await remove(ana.path)).status).toBe(204);
    expect(await names()).toEqual([]);
    expect((await remove(`/groups/${group['id']}`)).status).toBe(204);
    expectError(await client.call({ path: members }), 404, 'NotAuthorizedOrNotFound');
    expect(await items(`/users?name=${ben.name}`)).toMatchObject([
      { id: ben.id, tenancyId: pods.credentials.tenancyId },
    ]);
  });

  it('lets users sign with several keys, in any form of PEM, until each is revoked', async () => {
    const { id: userId, path } = await newUser();
    const { tenancyId } = pods.credentials;
    const signers: Signer[] = [];
    for (const type of ['spki', 'pkcs1'] as const) {
      const pair = makeSigner();
      const publicKey = pair.publicKey.export({ type, format: 'pem' });
      const added = await json(post(`${path}/signingKeys`, { publicKey, description: type }));
      expect(added).toMatchObject({
        fingerprint: pair.fingerprint,
        keyId: `${tenancyId}/${userId}/${pair.fingerprint}`,
      });
      signers.push({ ...pair, tenancyId, userId });
    }
    expect(await Promise.all(signers.map(sendSigned))).toEqual([200, 200]);
    expect((await items(`${path}/signingKeys`)).map(({ description }) => description)).toEqual(['spki', 'pkcs1']);
    expect((await remove(`${path}/signingKeys/${signers[0]!.fingerprint}`)).status).toBe(204);
    await untilStatus(() => sendSigned(signers[0]!), 401);
    expect(await sendSigned(signers[1]!)).toBe(200);
  });

  it('takes no public key that is none, and above all no private one', async () => {
    const { path } = await newUser();
    const weak = generateKeyPairSync('rsa', { modulusLength: 1024 });
    const small = generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 });
    const curve = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const good = makeSigner();
    for (const [publicKey, message] of [
      [good.pem, /private key/],
      [good.privateKey.export({ type: 'pkcs8', format: 'pem' }), /private key/],
      [publicPem(good) + good.pem, /private key/],
      [publicPem(good) + publicPem(good), /one PEM block/],
      [publicPem(good).replace('MII', 'MIA'), /cannot be read/],
      ['-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----', /cannot be read/],
      [publicPem(weak), /2048 to 8192 bits; it has 1024/],
      [publicPem(small), /exponent/],
      [publicPem(curve), /RSA/],
      ['ssh-rsa AAAA', /one PEM block/],
    ] as const) {
      const answer = await post(`${path}/signingKeys`, { publicKey: String(publicKey) });
      expectError(answer, 400, 'InvalidParameter', /^publicKey /);
      expect(answer.json?.['message']).toMatch(message);
    }
    expect(await items(`${path}/signingKeys`)).toEqual([]);
  });

  it('makes API keys that work until they expire or are revoked', async () => {
    const { path } = await newUser();
    const expiresAt = new Date(Date.now() + 3_600_000).toISOString();
    const made = await json(post(`${path}/apiKeys`, { description: 'what for', expiresAt }));
    const key = made['key']!;
    expect(made).toMatchObject({ prefix: key.slice(0, 16), description: 'what for', expiresAt });
    const other = (await json(post(`${path}/apiKeys`)))['key']!;
    expect([await status(key), await status(other)]).toEqual([200, 200]);
    await pods.test.sql('update towpath.api_key set expires_at = now() where id = $1', [made['id']]);
    await untilStatus(() => status(key), 401);
    expect(await status(other)).toBe(200);
    expect(await items(`${path}/apiKeys`)).toMatchObject([{ id: made['id'] }, { prefix: other.slice(0, 16) }]);
    const [, second] = await items(`${path}/apiKeys`);
    expect((await remove(`${path}/apiKeys/${second!['id']}`)).status).toBe(204);
    await untilStatus(() => status(other), 401);
  });

  it('makes auth tokens that log in to STOMP, as they are and in base64', async () => {
    const { path, name } = await newUser();
    const made = await json(post(`${path}/authTokens`));
    const { stompLogin = '', stompPasscode = '', token = '' } = made;
    expect(stompLogin).toBe(`towpath/${name}`);
    const authentication = pod.app.get(AuthenticationService);
    for (const passcode of [token, stompPasscode]) {
      expect(await authentication.authenticateLogin(stompLogin, passcode)).toMatchObject({ credential: 'auth-token' });
    }
    expect((await remove(`${path}/authTokens/${made['id']}`)).status).toBe(204);
    await untilStatus(
      () =>
        authentication.authenticateLogin(stompLogin, token).then(
          () => 200,
          (error: unknown) => (error as { status: number }).status,
        ),
      401,
    );
  });

  it('says when a credential was last used, and writes it after the request', async () => {
    const { id: userId, path } = await newUser();
    const { key } = await json(post(`${path}/apiKeys`));
    const pair = makeSigner();
    const publicKey = pair.publicKey.export({ type: 'spki', format: 'pem' });
    await json(post(`${path}/signingKeys`, { publicKey }));
    const signer = { ...pair, tenancyId: pods.credentials.tenancyId, userId };
    // Who only knows the keyId has not used the key.
    expect(await sendSigned({ ...signer, privateKey: makeSigner().privateKey })).toBe(401);
    await pod.app.get(CredentialUses).write();
    const lastUses = async (): Promise<unknown[]> =>
      [...(await items(`${path}/apiKeys`)), ...(await items(`${path}/signingKeys`))].map((item) => item['lastUsedAt']);
    expect(await lastUses()).toEqual([undefined, undefined]);
    for (let use = 0; use < 3; use += 1) {
      await client.call({ path: '/queues', apiKey: key! });
      expect(await sendSigned(signer)).toBe(200);
    }
    expect(await lastUses()).toEqual([undefined, undefined]);
    await pod.app.get(CredentialUses).write();
    const first = await lastUses();
    expect(first).toEqual([expect.stringMatching(/^20/), expect.stringMatching(/^20/)]);
    await client.call({ path: '/queues', apiKey: key! });
    await pod.app.get(CredentialUses).write();
    expect(await lastUses()).toEqual(first);
  });

  it('does not let the last administrator lock everybody out', async () => {
    const { client: theirs, user } = await makeStranger(pods);
    const of = (what: string): Promise<Answer> =>
      theirs.call({ method: 'DELETE', path: `/users/${user.owner.userId}${what}` });
    expectError(await of(''), 409, 'IncorrectState', /administrator/);
    const keys = (await theirs.call({ path: `/users/${user.owner.userId}/apiKeys` })).json as {
      items: { id: string }[];
    };
    expect((await of(`/signingKeys/${user.signer.fingerprint}`)).status).toBe(204);
    expectError(await of(`/apiKeys/${keys.items[0]!.id}`), 409, 'IncorrectState', /administrator/);
    expect((await theirs.call({ path: '/queues' })).status).toBe(200);
    theirs.close();
  });

  it('shows nothing of another tenancy, and takes nothing from it', async () => {
    const { client: theirs, user } = await makeStranger(pods);
    const { id, path } = await newUser();
    const { id: keyId } = await json(post(`${path}/apiKeys`));
    const { id: group } = await json(post('/groups', { name: 'Ours' }));
    const { id: compartment } = await json(post('/compartments', { name: 'ours' }));
    const before = await digestOf(pods);
    for (const call of [
      { path },
      { path: `${path}/apiKeys` },
      { path: `${path}/signingKeys` },
      { path: `${path}/authTokens` },
      { path: `/groups/${group}` },
      { path: `/groups/${group}/members` },
      { path: `/groups?userId=${id}` },
      { path: `/compartments/${compartment}` },
      { path: `/compartments?compartmentId=${compartment}` },
      { method: 'POST', path: `${path}/apiKeys` },
      { method: 'POST', path: `${path}/authTokens` },
      { method: 'POST', path: '/compartments', body: { name: 'a', compartmentId: compartment } },
      { method: 'PUT', path: `/compartments/${compartment}`, body: { name: 'a' } },
      { method: 'PUT', path: `/groups/${group}/members/${user.owner.userId}` },
      { method: 'DELETE', path: `${path}/apiKeys/${keyId}` },
      { method: 'DELETE', path },
      { method: 'DELETE', path: `/groups/${group}` },
      { method: 'DELETE', path: `/compartments/${compartment}` },
    ]) {
      const answer = await theirs.call(call);
      expectError(answer, 404, 'NotAuthorizedOrNotFound');
    }
    expect(await digestOf(pods)).toBe(before);
    expect(((await theirs.call({ path: '/users' })).json as { items: { id: string }[] }).items).toMatchObject([
      { id: user.owner.userId },
    ]);
    theirs.close();
  });

  it('shows a secret in one answer, and nowhere else: no list, no log, no database', async () => {
    const { id, path } = await newUser();
    const answers = [await post(`${path}/apiKeys`), await post(`${path}/authTokens`)];
    const secrets: string[] = [];
    for (const answer of answers) {
      expect(answer.headers['cache-control']).toBe('no-store');
      const { key, token, stompPasscode } = answer.json as Record<string, string>;
      secrets.push(...[key, token, stompPasscode].filter((secret) => secret !== undefined));
    }
    expect(secrets).toHaveLength(3);
    // Used rightly and wrongly, with an error that is logged in detail.
    await client.call({ path: '/queues', apiKey: secrets[0]! });
    await client.call({ path: '/queues', apiKey: `${secrets[0]!}x` });
    await pods.test.sql('alter function towpath.list_api_keys(text, text) rename to list_api_keys_away');
    try {
      expect((await client.call({ path: `${path}/apiKeys`, apiKey: secrets[0]! })).status).toBe(500);
    } finally {
      await pods.test.sql('alter function towpath.list_api_keys_away(text, text) rename to list_api_keys');
    }
    expect((await post(`${path}/apiKeys`, { description: secrets[1]!, expiresAt: secrets[0]! })).status).toBe(400);
    const shown = [path, `${path}/apiKeys`, `${path}/authTokens`, '/users'].map(
      async (place) => (await client.call({ path: place })).text,
    );
    const stored = await Promise.all(
      ['user_account', 'api_key', 'auth_token', 'signing_key'].map(async (table) =>
        JSON.stringify(await pods.test.sql(`select r::text from towpath.${table} r`)),
      ),
    );
    const everywhere = [...(await Promise.all(shown)), ...stored, log].join('\n');
    // It was looked at where they would be.
    for (const known of [id, '/apiKeys', secrets[0]!.slice(0, 16)]) expect(everywhere).toContain(known);
    for (const secret of secrets) expect(everywhere).not.toContain(secret);
    expect(everywhere).not.toContain(secrets[0]!.slice(17));
  });
});

/** Revocations come by a notification, or after two seconds. */
async function untilStatus(status: () => Promise<number>, wanted: number): Promise<void> {
  const deadline = Date.now() + 20_000;
  while ((await status()) !== wanted) {
    expect(Date.now()).toBeLessThan(deadline);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
