import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { migrate } from '../../src/database/migrator.js';
import { createTestDatabase } from '../support/database.js';

const ours = path.resolve(import.meta.dirname, '../../migrations');
/** The last migration before the tables were tuned. */
const BEFORE = '0025';

it('tables are tuned without being rewritten, beside transactions that read and write, and what was collected of contents goes', async () => {
  const database = await createTestDatabase(null);
  const folder = await mkdtemp(path.join(tmpdir(), 'towpath-migrations-'));
  const writer = new pg.Client({ connectionString: database.url });
  try {
    for (const name of await readdir(ours)) {
      if (name.slice(0, 4) <= BEFORE) await cp(path.join(ours, name), path.join(folder, name));
    }
    await migrate(database.url, folder, () => undefined);
    const [queue] = await database.sql<{ id: number }>(
      `select (towpath.create_queue(t.id, jsonb_build_object('displayName', 'q', 'compartmentId', t.id, 'acceptUnsealed', true))).queue_id as id
       from towpath.create_tenancy('acme') t`,
    );
    const put = `select from towpath.put_messages($1, array(select 'secret ' || n from generate_series(1, 300) n))`;
    await database.sql(put, [queue!.id]);
    await database.sql('analyze towpath.message');
    const collected = async (): Promise<string[]> => {
      const rows = await database.sql<{ name: string }>(
        `select attname as name from pg_stats where schemaname = 'towpath' and tablename = 'message' and attname in ('id', 'body') order by 1`,
      );
      return rows.map(({ name }) => name);
    };
    expect(await collected()).toEqual(['body', 'id']);
    const places = `select relname, pg_relation_filenode(oid) as place from pg_class where relnamespace = 'towpath'::regnamespace and relkind in ('r', 'i') order by 1`;
    const before = await database.sql(places);

    await writer.connect();
    await writer.query('begin');
    await writer.query(put, [queue!.id]);
    await writer.query('select from towpath.get_messages($1)', [queue!.id]);
    await writer.query(`update towpath.lease set holder = 'somebody'`);
    // Waits for nothing: the writer ends after it.
    await migrate(database.url, ours, () => undefined);
    await writer.query('commit');

    expect(await database.sql(places)).toEqual(before);
    const [server] = await database.sql<{ version: number }>(
      `select current_setting('server_version_num')::int as version`,
    );
    expect(await collected()).toEqual(server!.version >= 180_000 ? ['id'] : ['body', 'id']);
  } finally {
    await writer.end();
    await rm(folder, { recursive: true });
    await database.drop();
  }
});
