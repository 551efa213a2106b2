import { randomBytes } from 'node:crypto';
import pg from 'pg';
import type { CallerContext } from '../../src/database/caller-context.js';
import { IdentityAdminFunctions } from '../../src/database/identity-admin-functions.js';
import { IdentityFunctions } from '../../src/database/identity-functions.js';
import { digestOfApiKey } from '../../src/identity/api-key.js';
import { until } from '../pods/support.js';
import { createTestDatabase } from '../support/database.js';
import { makeSigner } from './wire.js';

let test: Awaited<ReturnType<typeof createTestDatabase>>;
let lookUps: IdentityFunctions;
let admin: IdentityAdminFunctions;
beforeAll(async () => {
  test = await createTestDatabase();
  lookUps = new IdentityFunctions(test.database);
  admin = new IdentityAdminFunctions(test.database);
});
afterAll(async () => {
  await test.drop();
});

const pem = makeSigner().publicKey.export({ type: 'spki', format: 'pem' }).toString();
const FINGERPRINT = '00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff';
const signingKey = { fingerprint: FINGERPRINT, publicKey: pem };
const by = (tenancyId: string): CallerContext => ({
  tenancyId,
  userId: 'ocid1.user.tester',
  credential: 'api-key',
  credentialId: 'ocid1.queueapikey.tester',
});
const code = (name: string): { code: string } => ({ code: name });

/** A tenancy with some users, each with an API key. */
async function setup(users = 1): Promise<{ tenancyId: string; userIds: string[]; keyIds: string[]; name: string }> {
  const { id: tenancyId, name } = await lookUps.createTenancy(randomBytes(6).toString('hex'));
  const userIds: string[] = [];
  const keyIds: string[] = [];
  for (let index = 0; index < users; index += 1) {
    const { id } = await admin.createUser(by(tenancyId), `user-${index}`);
    userIds.push(id);
    keyIds.push((await addKey(tenancyId, id)).id);
  }
  return { tenancyId, userIds, keyIds, name };
}

const addKey = (tenancyId: string, userId: string, expiresAt?: string): Promise<{ id: string; digest: Buffer }> => {
  const digest = randomBytes(32);
  return admin
    .createApiKey(by(tenancyId), userId, { prefix: 'towpath_01234567', digest }, { expiresAt })
    .then(({ id }) => ({ id, digest }));
};

const administrators = async (tenancyId: string, ...members: string[]): Promise<string> => {
  const [group] = await admin.listGroups({ tenancyId, name: 'Administrators', afterName: null, limit: 1 });
  for (const member of members) await admin.addGroupMember(by(tenancyId), group!.id, member);
  return group!.id;
};

/** The SQLSTATE of a refusal; null where there was none. */
const refusalOf = (call: Promise<unknown>): Promise<string | null> =>
  call.then(
    () => null,
    (error: unknown) => (error as { code: string }).code,
  );

/** One session in a transaction that the test ends. */
async function session(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: test.url });
  await client.connect();
  await client.query('begin');
  return client;
}
const untilBlocked = (): Promise<void> =>
  until(
    async () =>
      (await test.sql(`select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`))
        .length > 0,
    'a session waits for a lock',
  );

describe('compartments', () => {
  it('lie six levels deep at most', async () => {
    const { tenancyId } = await setup();
    let parent = tenancyId;
    for (let level = 1; level <= 6; level += 1) parent = (await admin.createCompartment(by(tenancyId), parent, 'a')).id;
    await expect(admin.createCompartment(by(tenancyId), parent, 'a')).rejects.toMatchObject(code('TP4LE'));
  });

  it('are deleted when nothing is in them, and a deleted queue is nothing', async () => {
    const { tenancyId } = await setup();
    const outer = await admin.createCompartment(by(tenancyId), tenancyId, 'outer');
    const inner = await admin.createCompartment(by(tenancyId), outer.id, 'inner');
    await expect(admin.deleteCompartment(by(tenancyId), outer.id)).rejects.toMatchObject(code('TP409'));
    await test.sql('select towpath.create_queue($1, $2, null)', [
      tenancyId,
      { displayName: 'q', compartmentId: inner.id },
    ]);
    await expect(admin.deleteCompartment(by(tenancyId), inner.id)).rejects.toMatchObject(code('TP409'));
    await test.sql(`update towpath.queue set lifecycle_state = 'DELETED' where compartment_id = $1`, [inner.id]);
    await admin.deleteCompartment(by(tenancyId), inner.id);
    await admin.deleteCompartment(by(tenancyId), outer.id);
    await expect(admin.findCompartment(tenancyId, outer.id)).rejects.toMatchObject(code('TP404'));
    await expect(admin.deleteCompartment(by(tenancyId), tenancyId)).rejects.toMatchObject(code('TP409'));
    expect(await admin.listCompartments({ tenancyId, after: null, limit: 10 })).toMatchObject([{ id: tenancyId }]);
  });

  it.each(['create_queue', 'change_queue_compartment', 'create_compartment'])(
    'are not deleted while %s puts something in, and are if it does not',
    async (call) => {
      const { tenancyId } = await setup();
      const { id } = await admin.createCompartment(by(tenancyId), tenancyId, 'a');
      const createQueue = 'select (towpath.create_queue($1, $2, null)).identifier';
      const queueIn = (compartmentId: string): unknown[] => [tenancyId, { displayName: 'q', compartmentId }];
      const [elsewhere] = await test.sql<{ identifier: string }>(createQueue, queueIn(tenancyId));
      const statements: Record<string, [string, unknown[]]> = {
        create_queue: [createQueue, queueIn(id)],
        change_queue_compartment: [
          'select towpath.change_queue_compartment($1, $2, $3, null)',
          [tenancyId, elsewhere!.identifier, id],
        ],
        create_compartment: [`select towpath.create_compartment($1, $2, 'b')`, [tenancyId, id]],
      };
      const [text, values] = statements[call]!;
      for (const end of ['commit', 'rollback']) {
        const compartment = end === 'commit' ? id : (await admin.createCompartment(by(tenancyId), tenancyId, 'b')).id;
        const putter = await session();
        await putter.query(text, JSON.parse(JSON.stringify(values).replaceAll(id, () => compartment)) as unknown[]);
        const deletion = refusalOf(admin.deleteCompartment(by(tenancyId), compartment));
        await untilBlocked();
        await putter.query(end);
        await putter.end();
        expect([end, await deletion]).toEqual([end, end === 'commit' ? 'TP409' : null]);
      }
    },
  );

  it('that are being deleted take nothing any more', async () => {
    const { tenancyId } = await setup();
    const { id } = await admin.createCompartment(by(tenancyId), tenancyId, 'a');
    const deleter = await session();
    await deleter.query('select towpath.delete_compartment($1, $2)', [tenancyId, id]);
    const putting = refusalOf(
      test.sql('select towpath.create_queue($1, $2, null)', [tenancyId, { displayName: 'q', compartmentId: id }]),
    );
    const nesting = refusalOf(admin.createCompartment(by(tenancyId), id, 'b'));
    await untilBlocked();
    await deleter.query('commit');
    await deleter.end();
    expect([await putting, await nesting]).toEqual(['TP404', 'TP404']);
  });
});

describe('the last way in', () => {
  it('of the only user stays: neither its last key nor itself can be deleted', async () => {
    const { tenancyId, userIds, keyIds } = await setup();
    const [userId, keyId] = [userIds[0]!, keyIds[0]!];
    await administrators(tenancyId, userId);
    await expect(admin.deleteApiKey(by(tenancyId), userId, keyId)).rejects.toMatchObject(code('TP409'));
    await expect(admin.deleteUser(by(tenancyId), userId)).rejects.toMatchObject(code('TP409'));
    // A signing key is a way in as well, an auth token is none, nor is what has expired.
    await admin.createAuthToken(by(tenancyId), userId, randomBytes(32), {});
    const { id: expired } = await addKey(tenancyId, userId, '2036-01-01T00:00:00Z');
    await test.sql(`update towpath.api_key set expires_at = now() - interval '1 second' where id = $1`, [expired]);
    await expect(admin.deleteApiKey(by(tenancyId), userId, keyId)).rejects.toMatchObject(code('TP409'));
    await admin.createSigningKey(by(tenancyId), userId, signingKey, {});
    await admin.deleteApiKey(by(tenancyId), userId, keyId);
    await expect(admin.deleteSigningKey(by(tenancyId), userId, FINGERPRINT)).rejects.toMatchObject(code('TP409'));
    expect(await admin.listSigningKeys(tenancyId, userId)).toHaveLength(1);
    // What opens nothing may go.
    await admin.deleteApiKey(by(tenancyId), userId, expired);
  });

  it('is that of the group Administrators, where there is one', async () => {
    const { tenancyId, userIds, keyIds } = await setup(3);
    const [ana, ben, cy] = userIds as [string, string, string];
    const group = await administrators(tenancyId, ana, ben);
    await admin.deleteUser(by(tenancyId), ben);
    await expect(admin.deleteUser(by(tenancyId), ana)).rejects.toMatchObject(code('TP409'));
    await expect(admin.deleteApiKey(by(tenancyId), ana, keyIds[0]!)).rejects.toMatchObject(code('TP409'));
    await expect(admin.removeGroupMember(by(tenancyId), group, ana)).rejects.toMatchObject(code('TP409'));
    await expect(admin.deleteGroup(by(tenancyId), group)).rejects.toMatchObject(code('TP409'));
    // A member without a key is no administrator who can sign in.
    const dee = (await admin.createUser(by(tenancyId), 'dee')).id;
    await admin.addGroupMember(by(tenancyId), group, dee);
    await expect(admin.removeGroupMember(by(tenancyId), group, ana)).rejects.toMatchObject(code('TP409'));
    await admin.addGroupMember(by(tenancyId), group, cy);
    await admin.removeGroupMember(by(tenancyId), group, ana);
    await admin.deleteUser(by(tenancyId), ana);
    expect((await admin.listGroupMembers(tenancyId, group, null, 10)).map((row) => row.user_id).toSorted()).toEqual(
      [cy, dee].toSorted(),
    );
  });

  it('is not lost when two administrators delete each other at once', async () => {
    const { tenancyId, userIds } = await setup(2);
    const group = await administrators(tenancyId, ...userIds);
    const first = await session();
    await first.query('select towpath.delete_user($1, $2)', [tenancyId, userIds[1]]);
    const second = refusalOf(admin.removeGroupMember(by(tenancyId), group, userIds[0]!));
    await untilBlocked();
    await first.query('commit');
    await first.end();
    expect(await second).toBe('TP409');
    expect(await admin.listGroupMembers(tenancyId, group, null, 10)).toMatchObject([{ user_id: userIds[0] }]);
  });

  it('that was lost already keeps nobody from cleaning up', async () => {
    const { tenancyId, userIds } = await setup(1);
    const group = await administrators(tenancyId, userIds[0]!);
    await test.sql('delete from towpath.api_key where user_id = $1', [userIds[0]]);
    await admin.removeGroupMember(by(tenancyId), group, userIds[0]!);
    await admin.deleteUser(by(tenancyId), userIds[0]!);
    expect(await admin.listUsers({ tenancyId, afterName: null, limit: 10 })).toEqual([]);
  });
});

describe('credentials', () => {
  it('are found until they expire', async () => {
    const { tenancyId, userIds, name } = await setup();
    const userId = userIds[0]!;
    const expiresAt = new Date(Date.now() + 3_600_000).toISOString();
    const { digest } = await addKey(tenancyId, userId, expiresAt);
    const signing = { tenancyId, userId, fingerprint: FINGERPRINT };
    await admin.createSigningKey(by(tenancyId), userId, signingKey, { expiresAt });
    const login = { tenancyName: name, userName: 'user-0', digest: randomBytes(32) };
    const made = await admin.createAuthToken(by(tenancyId), userId, login.digest, { expiresAt });
    expect(made).toMatchObject({ login: `${name}/user-0`, expires_at: new Date(expiresAt), last_used_at: null });
    const found = async (): Promise<number[]> =>
      (
        await Promise.all([
          lookUps.findApiKeys([digest]),
          lookUps.findSigningKeys([signing]),
          lookUps.findStompLogins([login]),
        ])
      ).map(({ length }) => length);
    expect(await found()).toEqual([1, 1, 1]);
    for (const table of ['api_key', 'signing_key', 'auth_token']) {
      await test.sql(`update towpath.${table} set expires_at = now() where expires_at is not null`);
    }
    expect(await found()).toEqual([0, 0, 0]);
    await expect(addKey(tenancyId, userId, new Date(Date.now() - 1000).toISOString())).rejects.toMatchObject(
      code('TP400'),
    );
  });

  it('of one kind may be 100 per user, however many ask at once', async () => {
    const { tenancyId, userIds } = await setup();
    const answers = await Promise.allSettled(Array.from({ length: 110 }, () => addKey(tenancyId, userIds[0]!)));
    const refused = answers.filter((answer) => answer.status === 'rejected');
    expect(refused).toHaveLength(11);
    for (const { reason } of refused) expect(reason).toMatchObject(code('TP4LE'));
    expect(await admin.listApiKeys(tenancyId, userIds[0]!)).toHaveLength(100);
  });

  it('and everything else of another tenancy do not exist', async () => {
    const { tenancyId, userIds, keyIds } = await setup(2);
    const group = (await admin.createGroup(by(tenancyId), 'g')).id;
    const { tenancyId: other } = await setup();
    const [userId, keyId] = [userIds[0]!, keyIds[0]!];
    const stranger = by(other);
    const { id: strange } = await admin.createUser(stranger, 'stranger');
    for (const attempt of [
      () => admin.findUser(other, userId),
      () => admin.deleteUser(stranger, userId),
      () => admin.listApiKeys(other, userId),
      () => admin.listSigningKeys(other, userId),
      () => admin.listAuthTokens(other, userId),
      () => admin.createSigningKey(stranger, userId, signingKey, {}),
      () => admin.createAuthToken(stranger, userId, randomBytes(32), {}),
      () => addKey(other, userId),
      () => admin.deleteApiKey(stranger, userId, keyId),
      // Of the tenancy, but not of this user.
      () => admin.deleteApiKey(by(tenancyId), userIds[1]!, keyId),
      () => admin.deleteSigningKey(stranger, userId, FINGERPRINT),
      () => admin.deleteAuthToken(stranger, userId, keyId),
      () => admin.findGroup(other, group),
      () => admin.deleteGroup(stranger, group),
      () => admin.addGroupMember(stranger, group, userId),
      () => admin.addGroupMember(by(tenancyId), group, strange),
      () => admin.listGroupMembers(other, group, null, 10),
      () => admin.findCompartment(other, tenancyId),
      () => admin.renameCompartment(stranger, tenancyId, 'x'),
    ]) {
      await expect(attempt()).rejects.toMatchObject(code('TP404'));
    }
    expect(await admin.listApiKeys(tenancyId, userId)).toHaveLength(1);
  });

  it('say when they were last used, written no more than once in five minutes', async () => {
    const { tenancyId, userIds, keyIds } = await setup();
    const [userId, keyId] = [userIds[0]!, keyIds[0]!];
    await admin.createSigningKey(by(tenancyId), userId, signingKey, {});
    const token = await admin.createAuthToken(by(tenancyId), userId, randomBytes(32), {});
    const lastUses = async (): Promise<(Date | null)[]> =>
      [
        ...(await admin.listSigningKeys(tenancyId, userId)),
        ...(await admin.listApiKeys(tenancyId, userId)),
        ...(await admin.listAuthTokens(tenancyId, userId)),
      ].map((row) => row.last_used_at);
    const record = (): Promise<void> =>
      lookUps.recordUses([`${tenancyId}/${userId}/${FINGERPRINT}`, 'no/such/key'], [keyId, keyId, 'none'], [token.id]);
    expect(await lastUses()).toEqual([null, null, null]);
    await record();
    const first = await lastUses();
    expect(first).toEqual([expect.any(Date), expect.any(Date), expect.any(Date)]);
    await record();
    expect(await lastUses()).toEqual(first);
    for (const table of ['api_key', 'signing_key', 'auth_token']) {
      await test.sql(`update towpath.${table} set last_used_at = now() - interval '301 seconds' where user_id = $1`, [
        userId,
      ]);
    }
    await record();
    for (const [index, at] of (await lastUses()).entries()) {
      expect(at!.getTime()).toBeGreaterThanOrEqual(first[index]!.getTime());
    }
  });

  it('are told of to all pods when they are revoked or changed, and not when they are used', async () => {
    const { tenancyId, userIds, keyIds } = await setup(2);
    const [userId, keyId] = [userIds[0]!, keyIds[0]!];
    const fingerprint = FINGERPRINT;
    await admin.createSigningKey(by(tenancyId), userId, signingKey, {});
    const token = await admin.createAuthToken(by(tenancyId), userId, randomBytes(32), {});
    const group = await administrators(tenancyId, userIds[1]!);
    const listener = new pg.Client({ connectionString: test.url });
    const heard: unknown[] = [];
    listener.on('notification', ({ payload }) => heard.push(JSON.parse(payload ?? '')));
    await listener.connect();
    await listener.query('listen towpath');
    const hears = async (what: Promise<unknown>): Promise<unknown[]> => {
      await what;
      // Notifications come before the answer to what follows their commit.
      await listener.query('select 1');
      // Whoever is put into a group may do something else: that is told too, by 0019_policies.sql.
      return heard.splice(0).filter((payload) => (payload as { t: string }).t === 'identity');
    };
    const said = [{ t: 'identity', tenancyId, userId }];
    await lookUps.recordUses([], [keyId], []);
    expect(await hears(addKey(tenancyId, userId))).toEqual([]);
    expect(await hears(lookUps.recordUses([`${tenancyId}/${userId}/${fingerprint}`], [keyId], [token.id]))).toEqual([]);
    expect(await hears(test.sql('update towpath.api_key set expires_at = now() where id = $1', [keyId]))).toEqual(said);
    expect(await hears(admin.deleteApiKey(by(tenancyId), userId, keyId))).toEqual(said);
    expect(await hears(admin.deleteSigningKey(by(tenancyId), userId, fingerprint))).toEqual(said);
    expect(await hears(admin.deleteAuthToken(by(tenancyId), userId, token.id))).toEqual(said);
    expect(await hears(admin.addGroupMember(by(tenancyId), group, userId))).toEqual(said);
    expect(await hears(admin.removeGroupMember(by(tenancyId), group, userId))).toEqual(said);
    expect(await hears(admin.deleteUser(by(tenancyId), userId))).toEqual(said);
    await listener.end();
  });

  it('are made at psql too', async () => {
    const { name, userIds } = await setup();
    const [row] = await test.sql<{ key: string }>(`select towpath.issue_api_key($1, 'user-0', 'by hand') as key`, [
      name,
    ]);
    const digest = digestOfApiKey(row!.key);
    expect(await lookUps.findApiKeys([Buffer.from(digest!, 'base64')])).toMatchObject([{ user_id: userIds[0] }]);
    const [other] = await test.sql<{ key: string }>(`select towpath.issue_api_key($1, 'user-0') as key`, [name]);
    expect(other!.key).not.toBe(row!.key);
    await expect(test.sql(`select towpath.issue_api_key($1, 'nobody')`, [name])).rejects.toMatchObject(code('TP404'));
  });
});
