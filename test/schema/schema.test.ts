import { createTestDatabase, type TestDatabase } from '../support/database.js';

// Rules that hold for everything in the schema, also for what will be added.

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(async () => {
  await test.drop();
});

const names = async (query: string): Promise<string[]> =>
  (await test.sql<{ name: string }>(`${query} order by 1`)).map(({ name }) => name);
const OURS = `'towpath'::regnamespace`;

describe('every function', () => {
  it('has a comment', async () => {
    expect(await names(`select oid::regprocedure::text as name from pg_proc where pronamespace = ${OURS}`)).not.toEqual(
      [],
    );
    expect(
      await names(
        `select oid::regprocedure::text as name from pg_proc where pronamespace = ${OURS} and obj_description(oid, 'pg_proc') is null`,
      ),
    ).toEqual([]);
  });

  it('sets its search_path, with pg_temp last', async () => {
    expect(
      await names(
        `select oid::regprocedure::text as name from pg_proc
         where pronamespace = ${OURS} and not coalesce('search_path=towpath, pg_temp' = any (proconfig), false)`,
      ),
    ).toEqual([]);
  });

  it('runs with its caller’s rights, but for those of the SQL interface, which nobody may call unless granted', async () => {
    const withOwnersRights = `select oid::regprocedure::text as name from pg_proc where pronamespace = ${OURS} and prosecdef`;
    expect(await names(withOwnersRights)).toEqual([
      'towpath.put_messages(bigint,text[],text,jsonb,integer)',
      'towpath.queue_id(text)',
    ]);
    const byPublic = `exists (select from aclexplode(coalesce(proacl, acldefault('f', proowner))) a where a.grantee = 0)`;
    expect(await names(`${withOwnersRights} and ${byPublic}`)).toEqual([]);
  });

  it('that hides a plan from the planner’s guesses hides it from JIT too', async () => {
    expect(
      await names(
        `select oid::regprocedure::text as name from pg_proc
         where pronamespace = ${OURS} and 'enable_seqscan=off' = any (proconfig) and not 'jit=off' = any (proconfig)`,
      ),
    ).toEqual([]);
  });

  it('that touches messages depends on no statistics', async () => {
    // Trigger functions have no plans of their own; put only inserts.
    const needed = ['enable_seqscan=off', 'enable_bitmapscan=off', 'jit=off'];
    expect(
      await names(
        `select oid::regprocedure::text as name from pg_proc
         where pronamespace = ${OURS} and prosrc ~ '(from|update|join) towpath\\.message m' and not coalesce(proconfig @> '{${needed.join(',')}}', false)`,
      ),
    ).toEqual([]);
  });
});

describe('every table and view', () => {
  it('has a comment', async () => {
    expect(
      await names(
        `select oid::regclass::text as name from pg_class
         where relnamespace = ${OURS} and relkind in ('r', 'p', 'v', 'm') and obj_description(oid, 'pg_class') is null`,
      ),
    ).toEqual([]);
  });

  it('is logged unless it may be lost, has a primary key, and leads it with queue_id where it has one', async () => {
    expect(
      await names(
        `select oid::regclass::text as name from pg_class where relnamespace = ${OURS} and relkind = 'r' and relpersistence <> 'p'`,
      ),
      // Pods report it again.
    ).toEqual(['towpath.stomp_session_chunk']);
    expect(
      await names(
        `select c.oid::regclass::text as name from pg_class c
         where c.relnamespace = ${OURS} and c.relkind = 'r'
           and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)`,
      ),
    ).toEqual([]);
    expect(
      await names(
        `select c.relname as name from pg_class c
         join pg_index i on i.indrelid = c.oid and i.indisprimary
         join pg_attribute q on q.attrelid = c.oid and q.attname = 'queue_id' and not q.attisdropped
         where c.relnamespace = ${OURS} and i.indkey[0] <> q.attnum`,
      ),
      // About queues, not of one: found by its own id.
    ).toEqual(['work_request']);
  });

  it('has no foreign key between tables of messages, nor to queues', async () => {
    expect(
      await names(
        `select k.conname as name from pg_constraint k
         join pg_attribute q on q.attrelid = k.conrelid and q.attname = 'queue_id'
         where k.connamespace = ${OURS} and k.contype = 'f'`,
      ),
    ).toEqual([]);
  });
});

describe('every name', () => {
  it('of a check constraint says the rule', async () => {
    expect(
      await names(
        `select conname as name from pg_constraint where connamespace = ${OURS} and contype = 'c' and conname ~ '_check[0-9]*$'`,
      ),
    ).toEqual([]);
  });

  it('of text that is compared or sorted has the C collation, where it is a key', async () => {
    expect(
      await names(
        `select distinct a.attrelid::regclass || '.' || a.attname as name
         from pg_index i
         join pg_class c on c.oid = i.indrelid
         join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
         where c.relnamespace = ${OURS} and a.attcollation <> 0 and a.attcollation <> 'pg_catalog."C"'::regcollation`,
      ),
    ).toEqual([]);
  });
});

describe('ids', () => {
  it('of messages stay below 2^53, since the API has them as JSON numbers', async () => {
    expect(
      await test.sql(`select seqmax as max from pg_sequence where seqrelid = 'towpath.message_id'::regclass`),
    ).toEqual([{ max: Number.MAX_SAFE_INTEGER }]);
    await test.sql(`select setval('towpath.message_id', 9007199254740991)`);
    await expect(test.sql(`select nextval('towpath.message_id')`)).rejects.toMatchObject({ code: '2200H' });
  });
});
