import { existsSync } from 'node:fs';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { migrate, MigrationError, readMigrations } from '../../src/database/migrator.js';
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../src/embedded-postgres/embedded-postgres.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

const ours = path.resolve(import.meta.dirname, '../../migrations');
const silent = (): void => undefined;

const databases: TestDatabase[] = [];
const folders: string[] = [];
afterEach(async () => {
  for (const database of databases.splice(0)) {
    await expectNoMigrator(database);
    await database.drop();
  }
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

async function expectNoMigrator(database: TestDatabase): Promise<void> {
  const left = await database.sql(
    `select from pg_stat_activity where application_name = 'towpath migrations' and datname = current_database()`,
  );
  expect(left).toEqual([]);
}

async function emptyDatabase(): Promise<TestDatabase> {
  const database = await createTestDatabase(null);
  databases.push(database);
  return database;
}

async function makeFolder(files: Readonly<Record<string, string>> = {}): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), 'towpath-migrations-'));
  folders.push(directory);
  for (const [name, text] of Object.entries(files)) await writeFile(path.join(directory, name), text);
  return directory;
}

/** Three small files; `0002` may be another. */
const small = (second = '-- oldest program: 1\ncreate table towpath.b (n integer);'): Record<string, string> => ({
  '0001_a.sql': '-- oldest program: 1\ncreate table towpath.a (n integer);',
  '0002_b.sql': second,
});

const index = (column: string): string =>
  `-- oldest program: 1; transaction: none\ncreate index concurrently if not exists b on towpath.a (${column});`;

const tables = async (database: TestDatabase): Promise<string[]> => {
  const rows = await database.sql<{ name: string }>(
    `select relname as name from pg_class where relnamespace = to_regnamespace('towpath') and relkind = 'r' order by 1`,
  );
  return rows.map(({ name }) => name);
};
const applied = async (database: TestDatabase): Promise<string[]> =>
  (await database.sql<{ name: string }>('select name from towpath.migration order by number')).map(({ name }) => name);

describe('our migrations', () => {
  it('are numbered, and each says the oldest program that can work on its result', async () => {
    const migrations = await readMigrations(ours);
    expect(migrations.map(({ name }) => name)).toEqual((await readdir(ours)).toSorted());
    for (const { number, oldestProgram } of migrations) expect(oldestProgram).toBeLessThanOrEqual(number);
  });

  it('run once, whichever of ten pods comes first to an empty database', async () => {
    const database = await emptyDatabase();
    const lines: string[] = [];
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => migrate(database.url, ours, (line) => lines.push(line))),
    );
    const names = (await readdir(ours)).toSorted();
    expect(answers.filter((answer) => answer.length > 0)).toEqual([names]);
    expect(lines).toHaveLength(names.length);
    expect(await applied(database)).toEqual(names);
    expect(await migrate(database.url, ours, silent)).toEqual([]);
  });

  it('need no superuser, and no right to create schemas once they are there', async () => {
    const database = await emptyDatabase();
    const [role] = await database.sql<{ rolsuper: boolean; rolcreatedb: boolean }>(
      'select rolsuper, rolcreatedb from pg_roles where rolname = current_user',
    );
    expect(role).toEqual({ rolsuper: false, rolcreatedb: false });
    await migrate(database.url, ours, silent);
    const superuser = new pg.Client({ connectionString: database.superuserUrl });
    await superuser.connect();
    const [owner] = await database.sql<{ name: string }>('select current_user as name');
    const name = new URL(database.url).pathname.slice(1);
    await superuser.query(
      `alter database ${name} owner to current_user; revoke create on database ${name} from public`,
    );
    await superuser.end();
    expect(owner?.name).not.toBe('');
    const [right] = await database.sql(`select has_database_privilege(current_database(), 'create') as may`);
    expect(right).toEqual({ may: false });
    expect(await migrate(database.url, ours, silent)).toEqual([]);
  });

  it('use no extension', async () => {
    const database = await emptyDatabase();
    await migrate(database.url, ours, silent);
    expect(await database.sql(`select extname from pg_extension where extname <> 'plpgsql'`)).toEqual([]);
  });
});

describe('a database that does not fit', () => {
  it('is refused where an applied file was changed', async () => {
    const database = await emptyDatabase();
    const directory = await makeFolder(small());
    await migrate(database.url, directory, silent);
    await writeFile(
      path.join(directory, '0001_a.sql'),
      '-- oldest program: 1\n-- innocent\ncreate table towpath.a (n integer);',
    );
    const refused = migrate(database.url, directory, silent);
    await expect(refused).rejects.toThrow(MigrationError);
    await expect(refused).rejects.toThrow(/0001_a\.sql differs .* add another one/);
  });

  it('is refused, and left as it is, though there would be new files to apply', async () => {
    const database = await emptyDatabase();
    const directory = await makeFolder(small());
    await migrate(database.url, directory, silent);
    await writeFile(path.join(directory, '0002_b.sql'), '-- oldest program: 1\nselect 1;');
    await writeFile(path.join(directory, '0003_c.sql'), '-- oldest program: 1\ncreate table towpath.c (n integer);');
    await expect(migrate(database.url, directory, silent)).rejects.toThrow(/0002_b\.sql differs/);
    expect(await tables(database)).toEqual(['a', 'b', 'migration']);
  });

  it.each([
    ['accepted', 2],
    ['refused', 3],
  ])('that a newer program migrated is %s where that says so', async (_, oldestProgram) => {
    const database = await emptyDatabase();
    const newer = await makeFolder({
      ...small(),
      '0003_c.sql': `-- oldest program: ${oldestProgram}\ncreate table towpath.c (n integer);`,
    });
    await migrate(database.url, newer, silent);
    const older = await makeFolder(small());
    const answer = await migrate(database.url, older, silent).catch((error: unknown) => error);
    const refusal =
      '0003_c.sql, which needs a program that knows migration 3 at least; this one knows 2. Run a newer release on it.';
    expect(answer).toEqual(oldestProgram === 2 ? [] : new MigrationError(`The database has ${refusal}`));
    expect(await applied(database)).toHaveLength(3);
  });

  it('is refused where its files are not the ones that we have under these numbers', async () => {
    const database = await emptyDatabase();
    await migrate(database.url, await makeFolder(small()), silent);
    const other = await makeFolder({
      '0001_a.sql': small()['0001_a.sql'] ?? '',
      '0002_other.sql': '-- oldest program: 1\nselect 2;',
    });
    await expect(migrate(database.url, other, silent)).rejects.toThrow(
      /0002_other\.sql differs .* applied to this database as 0002_b\.sql/,
    );
  });

  it('is refused where a row of the middle is gone', async () => {
    const database = await emptyDatabase();
    const directory = await makeFolder({ ...small(), '0003_c.sql': '-- oldest program: 1\nselect 3;' });
    await migrate(database.url, directory, silent);
    await database.sql('delete from towpath.migration where number = 2');
    await expect(migrate(database.url, directory, silent)).rejects.toThrow(MigrationError);
  });
});

describe('a folder that does not fit', () => {
  it.each([
    [
      'a gap',
      { '0001_a.sql': '-- oldest program: 1', '0003_c.sql': '-- oldest program: 1' },
      /0003_c\.sql: must be numbered/,
    ],
    [
      'a number twice',
      { '0001_a.sql': '-- oldest program: 1', '0001_b.sql': '-- oldest program: 1' },
      /0001_b\.sql: must be/,
    ],
    ['no number', { 'a.sql': '-- oldest program: 1' }, /a\.sql: must be numbered/],
    ['a start at 2', { '0002_a.sql': '-- oldest program: 1' }, /0002_a\.sql: must be/],
    [
      'no oldest program',
      { '0001_a.sql': 'select 1; -- nothing said' },
      /begin with a line like "-- oldest program: 1"/,
    ],
    ['oldest program below the first line', { '0001_a.sql': '\n-- oldest program: 1' }, /begin with a line/],
  ])('is refused for %s, before the database is touched', async (_, files, message) => {
    const database = await emptyDatabase();
    await expect(migrate(database.url, await makeFolder(files), silent)).rejects.toThrow(message);
    expect(await tables(database)).toEqual([]);
  });

  it('may hold other files', async () => {
    const database = await emptyDatabase();
    expect(await migrate(database.url, await makeFolder({ ...small(), 'README.md': '' }), silent)).toHaveLength(2);
  });
});

describe('a migration that fails', () => {
  it('leaves nothing half done, and the ones before it', async () => {
    const database = await emptyDatabase();
    const directory = await makeFolder(
      small('-- oldest program: 1\ncreate table towpath.b (n integer);\nselect 1 / 0;'),
    );
    await expect(migrate(database.url, directory, silent)).rejects.toThrow(
      '0002_b.sql could not be applied: division by zero',
    );
    expect(await tables(database)).toEqual(['a', 'migration']);
    expect(await applied(database)).toEqual(['0001_a.sql']);
    // Repaired, it goes on from there.
    await writeFile(path.join(directory, '0002_b.sql'), small()['0002_b.sql'] ?? '');
    expect(await migrate(database.url, directory, silent)).toEqual(['0002_b.sql']);
    expect(await tables(database)).toEqual(['a', 'b', 'migration']);
  });

  it('lets those who wait go on, each with the same failure', async () => {
    const database = await emptyDatabase();
    const directory = await makeFolder(small('-- oldest program: 1\nselect 1 / 0;'));
    const answers = await Promise.allSettled(Array.from({ length: 3 }, () => migrate(database.url, directory, silent)));
    expect(answers.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    expect(await applied(database)).toEqual(['0001_a.sql']);
  });

  it('must not end the transaction that it runs in', async () => {
    const database = await emptyDatabase();
    for (const word of ['commit', 'rollback']) {
      const directory = await makeFolder(small(`-- oldest program: 1\ncreate table towpath.b (n integer);\n${word};`));
      await expect(migrate(database.url, directory, silent)).rejects.toThrow(
        /0002_b\.sql could not be applied: it must not end/,
      );
      expect(await applied(database)).toEqual(['0001_a.sql']);
      await database.sql('drop table if exists towpath.b');
    }
  });
});

describe('transaction: none', () => {
  it('runs what refuses to run in a transaction', async () => {
    const database = await emptyDatabase();
    const directory = await makeFolder(
      small('-- oldest program: 1; transaction: none\ncreate index concurrently if not exists b on towpath.a (n)'),
    );
    await migrate(database.url, directory, silent);
    expect(await applied(database)).toEqual(['0001_a.sql', '0002_b.sql']);
    expect(
      await database.sql(`select indisvalid as valid from pg_index where indexrelid = 'towpath.b'::regclass`),
    ).toEqual([{ valid: true }]);
  });

  it('takes one statement per file, which PostgreSQL would run as one transaction otherwise', async () => {
    const database = await emptyDatabase();
    const text = `-- oldest program: 1; transaction: none
create index concurrently if not exists b on towpath.a (n);
create index concurrently if not exists c on towpath.a (n);`;
    await expect(migrate(database.url, await makeFolder(small(text)), silent)).rejects.toThrow(
      /0002_b\.sql .*multiple commands/,
    );
    expect(await tables(database)).toEqual(['a', 'migration']);
    expect(await database.sql(`select from pg_class where relname in ('b', 'c')`)).toEqual([]);
  });

  it('that fails is not recorded and is run again', async () => {
    const database = await emptyDatabase();
    const directory = await makeFolder(small(index('m')));
    await expect(migrate(database.url, directory, silent)).rejects.toThrow(
      /0002_b\.sql could not be applied: column "m"/,
    );
    expect(await applied(database)).toEqual(['0001_a.sql']);
    await writeFile(path.join(directory, '0002_b.sql'), index('n'));
    expect(await migrate(database.url, directory, silent)).toEqual(['0002_b.sql']);
  });

  it('does not deadlock with pods that wait', async () => {
    // CREATE INDEX CONCURRENTLY waits for every older snapshot, also one that waits for the migrator's lock.
    const database = await emptyDatabase();
    const directory = await makeFolder(
      small('-- oldest program: 1; transaction: none\ncreate index concurrently if not exists b on towpath.a (n)'),
    );
    const answers = await Promise.all(Array.from({ length: 5 }, () => migrate(database.url, directory, silent)));
    expect(answers.flat()).toHaveLength(2);
  });
});

describe('the connection', () => {
  it('waits for a lock no longer than the pod that holds it is there', async () => {
    const database = await emptyDatabase();
    const holder = new pg.Client({ connectionString: database.url });
    await holder.connect();
    await holder.query('select pg_advisory_lock($1)', [0x746f7770]);
    const migrating = migrate(database.url, await makeFolder(small()), silent);
    for (;;) {
      const rows = await database.sql(
        `select from pg_stat_activity where application_name = 'towpath migrations' and datname = current_database()`,
      );
      if (rows.length > 0) break;
    }
    expect(await tables(database)).toEqual([]);
    await holder.end();
    expect(await migrating).toHaveLength(2);
  });
});

const OLD_SERVER = '/usr/lib/postgresql/15/bin';
if (!existsSync(OLD_SERVER)) {
  process.stderr.write(`test/migrations: ${OLD_SERVER} is not there, so PostgreSQL 15 IS NOT TESTED\n`);
}
(existsSync(OLD_SERVER) ? describe : describe.skip)('on PostgreSQL 15', () => {
  let server: EmbeddedPostgres;
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'towpath-15-'));
    server = await startEmbeddedPostgres({
      dataDirectory: directory,
      binDirectory: OLD_SERVER,
      settings: { fsync: 'off' },
    });
  });
  afterAll(async () => {
    await server?.stop();
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  });

  it('our migrations run, and a message lives its life', async () => {
    expect(await migrate(server.url, ours, silent)).toHaveLength((await readMigrations(ours)).length);
    const client = new pg.Client({ connectionString: server.url });
    await client.connect();
    try {
      const query = async (text: string): Promise<unknown[]> => (await client.query(text)).rows;
      await query(
        `select towpath.create_queue(id, jsonb_build_object('displayName', 'q', 'compartmentId', id, 'acceptUnsealed', true)) from towpath.create_tenancy('t')`,
      );
      await query(`select towpath.put_messages(towpath.queue_id('q'), array['a', 'b'], 'c')`);
      await query(`select towpath.get_messages(towpath.queue_id('q'), max_messages => 2)`);
      expect(
        await query(
          `select updated from towpath.update_messages(towpath.queue_id('q'), 0, false, '{1,2}', '{1,0}', '{9,9}')`,
        ),
      ).toEqual([{ updated: true }, { updated: false }]);
      expect(
        await query(`select towpath.delete_messages(towpath.queue_id('q'), 0, false, '{1}', '{1}') as deleted`),
      ).toEqual([{ deleted: true }]);
      expect(await query('select visible_messages::int, in_flight_messages::int from towpath.queue_stats')).toEqual([
        { visible_messages: 0, in_flight_messages: 1 },
      ]);
    } finally {
      await client.end();
    }
  });
});

it('the migrations that are built into a release are those of the repository', async () => {
  // Copied byte by byte: the checksum is over what lies on the disk.
  const copy = await makeFolder();
  await cp(ours, copy, { recursive: true });
  const [original, copied] = [await readMigrations(ours), await readMigrations(copy)];
  expect(copied).toEqual(original);
  for (const { name } of original) expect(await readFile(path.join(ours, name), 'utf8')).not.toContain('\r');
});
