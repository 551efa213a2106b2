import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import pg from 'pg';

/** One file of migrations/, named `0001_topic.sql`. */
interface Migration {
  readonly number: number;
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
  /** The newest migration that a program must know at least to work on a database that has this one. */
  readonly oldestProgram: number;
  /** False: marked `transaction: none` in its first line, for one statement that refuses to run in a transaction. */
  readonly inTransaction: boolean;
}

interface AppliedMigration {
  readonly number: number;
  readonly name: string;
  readonly checksum: string;
  readonly oldest_program: number;
}

export class MigrationError extends Error {
  override readonly name = 'MigrationError';
}

// Any number that nobody else is likely to take ("towpath" in ASCII, shortened).
const ADVISORY_LOCK = 0x746f7770;
const LOOK_FOR_LOCK_EVERY_MS = 100;

/** Reads and checks the migrations in `directory`: numbered from 1 without gaps, each with its `oldest program`. */
export async function readMigrations(directory: string): Promise<readonly Migration[]> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.sql')).toSorted();
  return Promise.all(
    names.map(async (name, index) => {
      const sql = await readFile(path.join(directory, name), 'utf8');
      const [firstLine = ''] = sql.split('\n', 1);
      const oldestProgram = /oldest program: (\d+)/.exec(firstLine)?.[1];
      if (Number(name.slice(0, 4)) !== index + 1 || oldestProgram === undefined) {
        throw new MigrationError(
          `${name}: must be numbered without gaps and begin with a line like "-- oldest program: 1"`,
        );
      }
      return {
        number: index + 1,
        name,
        sql,
        checksum: createHash('sha256').update(sql).digest('hex'),
        oldestProgram: Number(oldestProgram),
        inTransaction: !firstLine.includes('transaction: none'),
      };
    }),
  );
}

/**
 * Brings the database at `url` to the newest schema that this program knows, in one transaction per file. Any number
 * of pods may call it at once: an advisory lock lets one work while the others wait. A database that a newer program
 * has migrated is left as it is, and accepted while its migrations say that this program can still work on it.
 *
 * @returns the names of the files applied by this call
 * @throws MigrationError where a file was changed after it was applied, or this program is too old
 */
export async function migrate(url: string, directory: string, log: (line: string) => void): Promise<string[]> {
  const migrations = await readMigrations(directory);
  const client = new pg.Client({ connectionString: url, application_name: 'towpath migrations' });
  // An error while no statement runs ends the connection; the next statement reports it.
  client.on('error', () => undefined);
  await client.connect();
  try {
    await lock(client);
    await prepare(client);
    const { rows: applied } = await client.query<AppliedMigration>(
      'select number, name, checksum, oldest_program from towpath.migration order by number',
    );
    check(migrations, applied);
    const missing = migrations.slice(applied.length);
    for (const migration of missing) {
      log(`migrating the database: ${migration.name}`);
      await apply(client, migration);
    }
    return missing.map(({ name }) => name);
  } finally {
    // Ending the session gives the lock back.
    await client.end();
  }
}

/**
 * Waits for the lock by asking again: a session that waits inside a statement has a snapshot, for whose end CREATE INDEX
 * CONCURRENTLY of the one that has the lock would wait in turn.
 */
async function lock(client: pg.Client): Promise<void> {
  for (;;) {
    const { rows } = await client.query<{ locked: boolean }>('select pg_try_advisory_lock($1) as locked', [
      ADVISORY_LOCK,
    ]);
    if (rows[0]?.locked) return;
    await setTimeout(LOOK_FOR_LOCK_EVERY_MS);
  }
}

async function prepare(client: pg.Client): Promise<void> {
  // "if not exists" needs the right to create schemas even where there is nothing to create, so look first.
  const { rows } = await client.query<{ ready: boolean }>(
    `select to_regclass('towpath.migration') is not null as ready`,
  );
  if (rows[0]?.ready) return;
  await client.query(`
    create schema if not exists towpath;
    create table towpath.migration (
      number integer primary key,
      name text not null,
      checksum text not null,
      oldest_program integer not null,
      applied_at timestamptz not null default clock_timestamp()
    );
    comment on schema towpath is 'The message queues of Towpath.';
    comment on table towpath.migration is 'Which files of migrations/ were applied, and the oldest program that can work on the result.';
  `);
}

function check(known: readonly Migration[], applied: readonly AppliedMigration[]): void {
  for (const [index, row] of applied.entries()) {
    const migration = known[index];
    if (migration === undefined) {
      if (row.oldest_program > known.length) {
        throw new MigrationError(
          `The database has ${row.name}, which needs a program that knows migration ${row.oldest_program} at least; ` +
            `this one knows ${known.length}. Run a newer release on it.`,
        );
      }
    } else if (migration.checksum !== row.checksum) {
      throw new MigrationError(
        `${migration.name} differs from the file that was applied to this database as ${row.name}. ` +
          `Migrations are never edited: restore the file and add another one.`,
      );
    }
  }
}

async function apply(client: pg.Client, migration: Migration): Promise<void> {
  const record = (): Promise<unknown> =>
    client.query('insert into towpath.migration (number, name, checksum, oldest_program) values ($1, $2, $3, $4)', [
      migration.number,
      migration.name,
      migration.checksum,
      migration.oldestProgram,
    ]);
  try {
    if (!migration.inTransaction) {
      // One statement per file: PostgreSQL runs several that come together as one transaction. This protocol refuses them.
      const statement: pg.QueryConfig & { queryMode: 'extended' } = { text: migration.sql, queryMode: 'extended' };
      await client.query(statement);
      await record();
      return;
    }
    await client.query('begin');
    const transaction = await currentTransaction(client);
    await client.query(migration.sql);
    if ((await currentTransaction(client)) !== transaction)
      throw new Error('it must not end the transaction that it runs in');
    await record();
    await client.query('commit');
  } catch (error) {
    await client.query('rollback').catch(() => undefined);
    const reason = error instanceof Error ? error.message : String(error);
    throw new MigrationError(`${migration.name} could not be applied: ${reason}`, { cause: error });
  }
}

async function currentTransaction(client: pg.Client): Promise<string | undefined> {
  const { rows } = await client.query<{ id: string }>('select pg_current_xact_id()::text as id');
  return rows[0]?.id;
}
