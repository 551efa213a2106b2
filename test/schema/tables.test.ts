import { createTestDatabase, type TestDatabase } from '../support/database.js';

// What migrations set for tables and columns beyond what PostgreSQL does by default, with the reasons there and in docs/performance.md. There are no
// partitions and no tables per queue: what is set here holds for every message.

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(async () => {
  await test.drop();
});

it('tables have the settings that were measured, and no others', async () => {
  const rows = await test.sql<{ name: string; options: string[] }>(
    `select c.relname as name,
       coalesce(c.reloptions, '{}') || array(select 'toast.' || o from pg_class x cross join unnest(x.reloptions) o where x.oid = c.reltoastrelid) as options
     from pg_class c
     where c.relnamespace = 'towpath'::regnamespace and c.relkind in ('r', 'p', 'i', 'm')`,
  );
  const found = rows
    .filter(({ options }) => options.length > 0)
    .map(({ name, options }) => [name, options.toSorted((a, b) => a.localeCompare(b))]);
  const oftenVacuumed = ['autovacuum_vacuum_scale_factor=0.05', 'autovacuum_vacuum_threshold=2000'];
  expect(Object.fromEntries(found)).toEqual({
    deduplication: oftenVacuumed,
    message: ['autovacuum_vacuum_scale_factor=0.02', 'autovacuum_vacuum_threshold=1000', 'fillfactor=70'],
    message_delay: [...oftenVacuumed, 'fillfactor=70'],
    message_delta: oftenVacuumed,
    message_total: ['fillfactor=50'],
    stomp_session_chunk: [
      'autovacuum_vacuum_scale_factor=0',
      'autovacuum_vacuum_threshold=500',
      'fillfactor=50',
      'toast.autovacuum_vacuum_scale_factor=0',
      'toast.autovacuum_vacuum_threshold=5000',
    ],
  });
});

it('columns are stored as PostgreSQL does by default, bodies too: sealed ones cost nothing by it, others take an eighth', async () => {
  expect(
    await test.sql(
      `select a.attrelid::regclass::text as name, a.attname from pg_attribute a join pg_type t on t.oid = a.atttypid join pg_class c on c.oid = a.attrelid
       where c.relnamespace = 'towpath'::regnamespace and c.relkind = 'r' and a.attnum > 0 and (a.attstorage <> t.typstorage or a.attcompression <> '')`,
    ),
  ).toEqual([]);
});

it('analyze takes nothing of what messages say', async () => {
  const [queue] = await test.sql<{ id: number }>(
    `select (towpath.create_queue(t.id, jsonb_build_object('displayName', 'q', 'compartmentId', t.id, 'acceptUnsealed', true))).queue_id as id
     from towpath.create_tenancy('acme') t`,
  );
  await test.sql(
    `select from towpath.put_messages($1, array(select 'secret ' || n from generate_series(1, 300) n), properties => '{"card": "4711"}')`,
    [queue!.id],
  );
  await test.sql('analyze towpath.message');
  const collected = await test.sql<{ attname: string; text: string }>(
    `select attname, concat(most_common_vals::text, histogram_bounds::text, most_common_elems::text) as text
     from pg_stats where schemaname = 'towpath' and tablename = 'message'`,
  );
  expect(collected.map(({ attname }) => attname)).toContain('id');
  expect(collected.map(({ attname }) => attname)).not.toContain('properties');
  const shown = collected.map(({ text }) => text).join('\n');
  // bytea is shown in hexadecimal.
  for (const content of ['secret', Buffer.from('secret').toString('hex'), '4711']) expect(shown).not.toContain(content);
});
