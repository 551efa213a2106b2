// Once before all tests: a real PostgreSQL with a migrated template database that every test clones.
// TEST_DATABASE_URL (a superuser's) names a server; TEST_POSTGRES=container starts one with testcontainers; otherwise
// the embedded server runs in a temporary folder. All temporary folders of the run lie in one, and a watchdog stops
// and removes what is left of it, however the run ends.
import { spawn } from 'node:child_process';
import { chmod, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { migrate } from '../../dist/database/migrator.js';
import { startEmbeddedPostgres } from '../../dist/embedded-postgres/embedded-postgres.js';

const ROLE = 'towpath_test';
const PASSWORD = 'towpath_test';

export default async function globalSetup() {
  const folder = await mkdtemp(path.join(tmpdir(), 'towpath-test-'));
  // As /tmp itself: some tests work as another user.
  await chmod(folder, 0o1777);
  process.env.TMPDIR = folder;
  watch(folder);
  const server = await startServer();
  globalThis.towpathTestServer = server;
  process.env.TOWPATH_TEST_SUPERUSER_URL = server.url;
  await prepareTemplate(server.url);
}

function watch(folder) {
  const watchdog = spawn(
    process.execPath,
    [path.join(import.meta.dirname, 'watchdog.mjs'), String(process.pid), folder],
    { detached: true, stdio: 'ignore' },
  );
  watchdog.unref();
}

async function startServer() {
  if (process.env.TEST_DATABASE_URL) return { url: process.env.TEST_DATABASE_URL, stop: async () => undefined };
  if (process.env.TEST_POSTGRES === 'container') {
    const { PostgreSqlContainer } = await import('@testcontainers/postgresql');
    const container = await new PostgreSqlContainer('postgres:18')
      .withCommand(['-c', 'fsync=off', '-c', 'max_connections=300'])
      .start();
    return { url: container.getConnectionUri(), stop: () => container.stop() };
  }
  const server = await startEmbeddedPostgres({
    dataDirectory: await mkdtemp(path.join(tmpdir(), 'server-')),
    settings: { fsync: 'off', full_page_writes: 'off', max_connections: '300' },
  });
  return { url: server.superuserUrl, stop: () => server.stop() };
}

async function prepareTemplate(superuserUrl) {
  const admin = new pg.Client({ connectionString: superuserUrl });
  await admin.connect();
  try {
    // An ordinary role: what needs a superuser must not pass the tests. The template is made anew, since migrations
    // may have changed since the last run on this server.
    await admin.query(`drop database if exists towpath_template with (force)`);
    await admin.query(`
      do $$ begin
        if not exists (select from pg_roles where rolname = '${ROLE}') then
          create role ${ROLE} login password '${PASSWORD}';
        end if;
      end $$`);
    await admin.query(`create database towpath_template owner ${ROLE}`);
  } finally {
    await admin.end();
  }
  const url = new URL(superuserUrl);
  url.username = ROLE;
  url.password = PASSWORD;
  url.pathname = '/towpath_template';
  await migrate(url.href, path.resolve(import.meta.dirname, '../../migrations'), () => undefined);
}
