import { randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import { IdentityFunctions } from '../../src/database/identity-functions.js';
import { createTestDatabase } from '../support/database.js';
import { makeSigner } from './wire.js';

let test: Awaited<ReturnType<typeof createTestDatabase>>;
let functions: IdentityFunctions;
beforeAll(async () => {
  test = await createTestDatabase();
  functions = new IdentityFunctions(test.database);
});
afterAll(async () => {
  await test.drop();
});

const unique = (): string => randomBytes(6).toString('hex');
const pem = makeSigner().publicKey.export({ type: 'spki', format: 'pem' }).toString();
const FINGERPRINT = '00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff';

async function setup(): Promise<{ tenancyId: string; tenancyName: string; userId: string; userName: string }> {
  const tenancy = await functions.createTenancy(unique());
  const user = await functions.createUser(tenancy.id, `federated/${unique()}`);
  return { tenancyId: tenancy.id, tenancyName: tenancy.name, userId: user.id, userName: user.name };
}

describe('tenancies and compartments', () => {
  it('a tenancy’s id is its root compartment’s', async () => {
    const tenancy = await functions.createTenancy(unique());
    expect(tenancy.id).toMatch(/^ocid1\.tenancy\.oc1\..*[a-z0-9]+$/);
    const { rows } = await sql`select * from towpath.compartment where tenancy_id = ${tenancy.id}`.execute(
      test.database.kysely,
    );
    expect(rows).toEqual([{ ...tenancy, tenancy_id: tenancy.id, parent_id: null }]);
    await expect(functions.createTenancy(tenancy.name)).rejects.toMatchObject({ code: 'TP400' });
    await expect(functions.createTenancy('a/b')).rejects.toMatchObject({ constraint: 'tenancy_name_has_no_slash' });
  });

  it('a compartment lies in another of the same tenancy, under a name that is free there', async () => {
    const { tenancyId } = await setup();
    const child = await functions.createCompartment(tenancyId, tenancyId, 'a');
    const grandchild = await functions.createCompartment(tenancyId, child.id, 'a');
    expect(child.id).toMatch(/^ocid1\.compartment\./);
    expect([child.parent_id, grandchild.parent_id]).toEqual([tenancyId, child.id]);
    await expect(functions.createCompartment(tenancyId, tenancyId, 'a')).rejects.toMatchObject({ code: 'TP400' });
    const other = await setup();
    await expect(functions.createCompartment(other.tenancyId, child.id, 'b')).rejects.toMatchObject({ code: 'TP404' });
    await expect(functions.createCompartment('nonsense', 'nonsense', 'b')).rejects.toMatchObject({ code: 'TP404' });
  });
});

describe('credentials', () => {
  it('belong to a user of the tenancy', async () => {
    const { tenancyId, userId } = await setup();
    const other = await setup();
    const digest = randomBytes(32);
    const name = { tenancyId: other.tenancyId, userId, fingerprint: FINGERPRINT };
    await expect(functions.addSigningKey(name, pem)).rejects.toMatchObject({ code: 'TP404' });
    await expect(functions.addApiKey(other.tenancyId, userId, 'p', digest)).rejects.toMatchObject({ code: 'TP404' });
    await expect(functions.addAuthToken(other.tenancyId, userId, digest)).rejects.toMatchObject({ code: 'TP404' });
    await expect(functions.createUser('nonsense', 'a')).rejects.toMatchObject({ code: 'TP404' });
    await expect(functions.addApiKey(tenancyId, userId, 'p', randomBytes(31))).rejects.toMatchObject({
      constraint: 'api_key_digest_has_32_bytes',
    });
  });

  it('signing keys are found by all three parts of their name, several at once', async () => {
    const { tenancyId, userId } = await setup();
    const name = { tenancyId, userId, fingerprint: FINGERPRINT };
    await functions.addSigningKey(name, pem);
    await expect(functions.addSigningKey(name, pem)).rejects.toMatchObject({ code: 'TP400' });
    await expect(functions.addSigningKey({ ...name, fingerprint: 'AA' }, pem)).rejects.toMatchObject({
      constraint: 'fingerprint_is_16_hexadecimal_pairs',
    });
    const found = await functions.findSigningKeys([
      { ...name, tenancyId: 'x' },
      name,
      { ...name, userId: 'x' },
      { ...name, fingerprint: 'x' },
    ]);
    expect(found).toEqual([{ tenancy_id: tenancyId, user_id: userId, fingerprint: FINGERPRINT, public_key: pem }]);
  });

  it('API keys are found by their digest', async () => {
    const { tenancyId, userId } = await setup();
    const digest = randomBytes(32);
    const added = await functions.addApiKey(tenancyId, userId, 'towpath_01234567', digest);
    expect(await functions.findApiKeys([randomBytes(32), digest])).toEqual([
      { id: added.id, tenancy_id: tenancyId, user_id: userId, digest },
    ]);
    expect(await functions.findApiKeys([])).toEqual([]);
  });

  it('a STOMP login is right only with tenancy, user and token together', async () => {
    const { tenancyId, tenancyName, userId, userName } = await setup();
    const other = await setup();
    const digest = randomBytes(32);
    await functions.addAuthToken(tenancyId, userId, digest);
    const right = { tenancyName, userName, digest };
    const found = await functions.findStompLogins([
      { ...right, tenancyName: other.tenancyName },
      { ...right, userName: other.userName },
      { ...right, digest: randomBytes(32) },
      right,
    ]);
    expect(found).toHaveLength(1);
    expect(found).toMatchObject([
      { tenancy_name: tenancyName, user_name: userName, tenancy_id: tenancyId, user_id: userId },
    ]);
  });
});

describe('shared secrets', () => {
  it('are one for all who propose at once', async () => {
    const name = unique();
    const proposals = Array.from({ length: 10 }, () => randomBytes(32));
    const values = await Promise.all(proposals.map((proposal) => functions.shareSecret(name, proposal)));
    expect(new Set(values.map((value) => value.toString('hex'))).size).toBe(1);
    expect(proposals).toContainEqual(values[0]);
    expect(await functions.shareSecret(name, randomBytes(32))).toEqual(values[0]);
    await expect(functions.shareSecret(unique(), randomBytes(31))).rejects.toMatchObject({
      constraint: 'secret_has_at_least_32_bytes',
    });
  });

  it('a proposal waits for one that is not committed, and takes its place where that is rolled back', async () => {
    const name = unique();
    const mine = randomBytes(32);
    let answer: Promise<Buffer> | undefined;
    const rival = test.database.kysely.transaction().execute(async (transaction) => {
      await sql`select towpath.share_secret(${name}, ${randomBytes(32)})`.execute(transaction);
      answer = functions.shareSecret(name, mine);
      // Until it waits for us.
      for (;;) {
        const { rows } =
          await sql`select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`.execute(
            test.database.kysely,
          );
        if (rows.length > 0) break;
      }
      throw new Error('rolled back');
    });
    await expect(rival).rejects.toThrow('rolled back');
    expect(await answer).toEqual(mine);
  });
});

it('every function is described and has its search path', async () => {
  const { rows } = await sql`
    select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'towpath' and (obj_description(p.oid, 'pg_proc') is null
      or not coalesce(p.proconfig, '{}') @> array['search_path=towpath, pg_temp'])`.execute(test.database.kysely);
  expect(rows).toEqual([]);
});
