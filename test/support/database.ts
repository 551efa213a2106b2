import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { Database } from '../../src/database/database.js';

const ROLE = 'towpath_test';

export interface TestDatabase {
  /** As an ordinary role that owns the database. */
  readonly url: string;
  readonly superuserUrl: string;
  readonly database: Database;
  /** Runs one statement as the owner, on a connection of its own pool. */
  readonly sql: <Row extends pg.QueryResultRow>(text: string, values?: readonly unknown[]) => Promise<Row[]>;
  /** For what is asked very often: each connection plans it once. */
  readonly prepared: <Row extends pg.QueryResultRow>(name: string, text: string) => Promise<Row[]>;
  readonly drop: () => Promise<void>;
}

function superuserUrl(): string {
  const url = process.env['TOWPATH_TEST_SUPERUSER_URL'];
  if (url === undefined) throw new Error('global-setup has not run');
  return url;
}

async function asSuperuser(statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: superuserUrl() });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

function urlOf(name: string, user?: string): string {
  const url = new URL(superuserUrl());
  url.pathname = `/${name}`;
  if (user !== undefined) {
    url.username = user;
    url.password = user;
  }
  return url.href;
}

/** A database of the test's own, with all migrations (`template: null`: an empty one). */
export async function createTestDatabase(template: string | null = 'towpath_template'): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`;
  await asSuperuser(`create database ${name} owner ${ROLE}${template === null ? '' : ` template ${template}`}`);
  const url = urlOf(name, ROLE);
  const types = new pg.TypeOverrides();
  types.setTypeParser(pg.types.builtins.INT8, Number);
  const pool = new pg.Pool({ connectionString: url, max: 10, types });
  pool.on('error', () => undefined);
  const database = new Database(url, 10, 3000, () => undefined);
  return {
    url,
    superuserUrl: urlOf(name),
    database,
    sql: async (text, values = []) => (await pool.query(text, [...values])).rows,
    prepared: async (as, text) => (await pool.query({ name: as, text })).rows,
    drop: async () => {
      await database.close();
      await pool.end();
      await asSuperuser(`drop database ${name} with (force)`);
    },
  };
}
