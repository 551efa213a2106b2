import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { migrate } from '../../src/database/migrator.js';
import { createTestDatabase } from '../support/database.js';

const ours = path.resolve(import.meta.dirname, '../../migrations');

/** Migrates to `last`, such as 0026. */
async function migrateTo(last: string, url: string): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), 'towpath-migrations-'));
  try {
    for (const name of await readdir(ours)) {
      if (name.slice(0, 4) <= last) await cp(path.join(ours, name), path.join(folder, name));
    }
    await migrate(url, folder, () => undefined);
  } finally {
    await rm(folder, { recursive: true });
  }
}

it('tables are tuned without being rewritten, beside transactions that read and write, and what was collected of contents goes', async () => {
  const database = await createTestDatabase(null);
  const writer = new pg.Client({ connectionString: database.url });
  try {
    await migrateTo('0025', database.url);
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
    await migrateTo('0026', database.url);
    await writer.query('commit');

    expect(await database.sql(places)).toEqual(before);
    const [server] = await database.sql<{ version: number }>(
      `select current_setting('server_version_num')::int as version`,
    );
    expect(await collected()).toEqual(server!.version >= 180_000 ? ['id'] : ['body', 'id']);
  } finally {
    await writer.end();
    await database.drop();
  }
});

it('the constraint for channel ids is changed beside traffic, which is not held up while the table cannot be locked', async () => {
  const database = await createTestDatabase(null);
  const reader = new pg.Client({ connectionString: database.url });
  try {
    await migrateTo('0026', database.url);
    const [queue] = await database.sql<{ id: number }>(
      `select (towpath.create_queue(t.id, jsonb_build_object('displayName', 'q', 'compartmentId', t.id, 'acceptUnsealed', true))).queue_id as id
       from towpath.create_tenancy('acme') t`,
    );
    const put = (channel: string): Promise<unknown> =>
      database.sql(`select from towpath.put_messages($1, array['x'], $2)`, [queue!.id, channel]);
    await put('here');
    await reader.connect();
    await reader.query('begin');
    await reader.query('select count(*) from towpath.message');

    let isMigrated = false;
    const migrating = migrate(database.url, ours, () => undefined).then(() => (isMigrated = true));
    for (let n = 0; n < 20; n += 1) {
      await put(n % 2 === 0 ? '' : 'there');
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(isMigrated).toBe(false);
    await reader.query('commit');
    await migrating;

    const [constraint] = await database.sql<{ checked: boolean }>(
      `select convalidated as checked from pg_constraint where conname = 'channel_id_has_up_to_64_characters'`,
    );
    expect(constraint).toEqual({ checked: true });
    const [{ count } = {}] = await database.sql<{ count: string }>('select count(*)::text from towpath.message');
    expect(count).toBe('21');
    const change = (channel: string): Promise<unknown> =>
      database.sql('update towpath.message set channel_id = $1', [channel]);
    for (const channel of ['', 'a', '-._', 'x'.repeat(64)]) await change(channel);
    for (const channel of ['x'.repeat(65), 'a b', 'ä', 'a\n', '\n', ' ']) {
      await expect(change(channel)).rejects.toMatchObject({ constraint: 'channel_id_has_up_to_64_characters' });
    }
  } finally {
    await reader.end();
    await database.drop();
  }
});
