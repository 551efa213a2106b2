import { createHash } from 'node:crypto';
import { IdentityFunctions } from '../../src/database/identity-functions.js';
import { makeApiKey } from '../../src/identity/api-key.js';
import { makeUser, type User } from '../identity/user.js';
import { makeSigner, signByHand, STYLES, type Making, type Signer } from '../identity/wire.js';
import { until } from '../pods/support.js';
import { API, Client, digestOf, expectError, type Answer, type Call } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { callsOf, makeNames, missingNames, type Names } from './calls.js';
import { withoutIds } from './support.js';

/** About nothing that a tenancy has, so that those of another one are done for it: what they show is looked at. */
const OF_THE_CALLER = ['createUser', 'createGroup', 'listCompartments', 'listUsers', 'listGroups'].concat(
  'listAuditEvents',
  'listStompSessions',
  'exportAuditEvents',
);

/** With a body, or without, as the method itself. */
const OTHER_METHOD: Readonly<Record<string, string>> = { GET: 'DELETE', DELETE: 'GET', POST: 'PUT', PUT: 'POST' };

describe('every operation, for every credential', () => {
  let pods: TestPods;
  let admin: Client;
  let names: Names;
  let signer: Signer;
  let stranger: User;
  let calls: readonly (readonly [string, Call])[];

  beforeAll(async () => {
    pods = await startTestPods();
    admin = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    names = await makeNames(pods, admin);
    calls = Object.entries(callsOf(names));
    signer = await addSigner();
    stranger = await makeUser(new IdentityFunctions(pods.test.database));
  }, 60_000);
  afterAll(async () => {
    admin.close();
    await pods.stop();
  });

  /** One more signing key of the administrator. */
  async function addSigner(): Promise<Signer> {
    const { tenancyId, userId } = pods.credentials;
    const made = { ...makeSigner(), tenancyId, userId };
    const pem = made.publicKey.export({ type: 'spki', format: 'pem' }).toString();
    await new IdentityFunctions(pods.test.database).addSigningKey(made, pem);
    return made;
  }

  /** The call, signed. What is put into `making` is signed too, unless `spoil` changes it afterwards. */
  function signed(call: Call, making: Making = {}, by = signer, spoil: Record<string, string> = {}): Call {
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    const { rawHeaders } = signByHand(by, {
      method: call.method ?? 'GET',
      target: API + call.path,
      ...(body === undefined ? {} : { body }),
      ...making,
      headers: { host: new URL(admin.url).host, ...(call.headers as Record<string, string>), ...making.headers },
    });
    const headers: Record<string, string> = {};
    for (let at = 0; at < rawHeaders.length; at += 2) headers[rawHeaders[at]!] = rawHeaders[at + 1]!;
    return { ...call, body, headers: { ...headers, ...spoil }, apiKey: null };
  }

  const all = (callOf: (call: Call) => Call): Promise<(readonly [string, Answer])[]> =>
    Promise.all(calls.map(async ([id, call]) => [id, await admin.call(callOf(call))] as const));

  async function expectAllRefused(callOf: (call: Call) => Call, message?: RegExp): Promise<void> {
    const before = await digestOf(pods);
    for (const [id, answer] of await all(callOf)) {
      expect([id, answer.status, answer.text]).toEqual([id, 401, answer.text]);
      expectError(answer, 401, 'NotAuthenticated', message ?? /^The request has no credentials that are valid here/);
    }
    expect(await digestOf(pods)).toBe(before);
  }

  it('is done for a signature as each SDK makes it', async () => {
    for (const style of Object.keys(STYLES) as (keyof typeof STYLES)[]) {
      for (const [id, { status }] of await all((call) => signed(call, { style }))) {
        expect([style, id, status === 401 || status >= 500]).toEqual([style, id, false]);
      }
    }
  });

  const other = makeSigner();
  const SPOILT: Readonly<Record<string, (call: Call) => Call>> = {
    'without credentials': (call) => ({ ...call, apiKey: null }),
    'with a made-up API key': (call) => ({ ...call, apiKey: makeApiKey().key }),
    'with an API key that is cut': (call) => ({ ...call, apiKey: pods.credentials.apiKey.slice(0, -1) }),
    'with the prefix of an API key': (call) => ({ ...call, apiKey: pods.credentials.apiKey.slice(0, 16) }),
    'with the digest of an API key': (call) => ({
      ...call,
      apiKey: createHash('sha256').update(pods.credentials.apiKey).digest('hex'),
    }),
    'with a STOMP passcode as the key': (call) => ({ ...call, apiKey: pods.credentials.stompPasscode }),
    'with a token of an issuer, where there is none': (call) => ({ ...call, apiKey: 'eyJhbGciOiJub25lIn0.e30.' }),
    'signed by another key': (call) => signed(call, {}, { ...signer, privateKey: other.privateKey }),
    'signed by a key that is not known': (call) => signed(call, {}, { ...signer, fingerprint: other.fingerprint }),
    'signed for another path': (call) => signed(call, { target: `${API}${call.path}x` }),
    'signed for another method': (call) => signed(call, { method: OTHER_METHOD[call.method ?? 'GET']! }),
    'signed for another host': (call) => signed(call, {}, signer, { host: 'queues.example.com' }),
    'by the user of another tenancy': (call) => signed(call, {}, { ...signer, tenancyId: stranger.owner.tenancyId }),
    'by a user with the key of another one': (call) => signed(call, {}, { ...signer, userId: names.userId }),
  };

  it.each(Object.keys(SPOILT))('is refused %s', async (how) => {
    await expectAllRefused((call) => SPOILT[how]!(call));
  });

  it.each([-6, 6])('is refused %d minutes off, and told the time', async (minutes) => {
    const date = new Date(Date.now() + minutes * 60_000);
    await expectAllRefused((call) => signed(call, { date }), /^The signature is valid but its date/);
  });

  it('is refused once the key is revoked or has expired, on all of them', async () => {
    const { tenancyId, userId } = pods.credentials;
    const functions = new IdentityFunctions(pods.test.database);
    const [revoked, expired] = [makeApiKey(), makeApiKey()];
    const row = await functions.addApiKey(tenancyId, userId, revoked.prefix, revoked.digest);
    const late = await functions.addApiKey(tenancyId, userId, expired.prefix, expired.digest);
    const gone = await addSigner();
    const credentials: readonly ((call: Call) => Call)[] = [
      (call) => ({ ...call, apiKey: revoked.key }),
      (call) => ({ ...call, apiKey: expired.key }),
      (call) => signed(call, {}, gone),
    ];
    for (const callOf of credentials) {
      for (const [id, { status }] of await all(callOf)) expect([id, status === 401]).toEqual([id, false]);
    }
    await admin.call({ method: 'DELETE', path: `/users/${userId}/apiKeys/${row.id}` });
    await admin.call({ method: 'DELETE', path: `/users/${userId}/signingKeys/${gone.fingerprint}` });
    await pods.test.sql(`update towpath.api_key set expires_at = now() where id = $1`, [late.id]);
    for (const callOf of credentials) {
      await until(async () => (await admin.call(callOf({ path: '/queues' }))).status === 401, 'the pod knows');
      await expectAllRefused(callOf);
    }
  });

  it('finds nothing of ours for the administrator of another tenancy, in the same words as nothing at all', async () => {
    const theirs = new Client(admin.url, stranger.apiKey);
    const missing = callsOf(missingNames(names));
    const before = await digestOf(pods);
    for (const [id, call] of calls.filter(([name]) => !OF_THE_CALLER.includes(name))) {
      const [answer, nothing] = [await theirs.call(call), await theirs.call(missing[id]!)];
      // What is no key is refused before its user is looked for.
      expect([id, answer.status]).toEqual([id, id === 'createSigningKey' ? 400 : 404]);
      expect([id, withoutIds(answer.text)]).toEqual([id, withoutIds(nothing.text)]);
    }
    expect(await digestOf(pods)).toBe(before);
    const ours = Object.entries(names).map(([, value]) => value as string);
    for (const id of [
      'listCompartments',
      'listUsers',
      'listGroups',
      'listAuditEvents',
      'exportAuditEvents',
      'listStompSessions',
    ]) {
      // That they have just tried it is theirs.
      const done = id.endsWith('AuditEvents') ? '&outcome=SUCCEEDED' : '';
      const path = callsOf(names)[id]!.path.replace('limit=1', `limit=1000${done}`);
      const { status, text } = await theirs.call({ path });
      expect([id, status, ours.filter((value) => text.includes(value))]).toEqual([id, 200, []]);
    }
    theirs.close();
  });
});
