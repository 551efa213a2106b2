import { realpathSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { EmbeddedPostgresError, errorCode, errorMessage } from './embedded-postgres-error.js';
import type { ServerState } from './server-state.js';

const CONNECT_ATTEMPTS = 100;
const CONNECT_TIMEOUT_MILLISECONDS = 5000;
const RETRY_MILLISECONDS = 50;
const CANNOT_CONNECT_NOW = '57P03';
const TOO_MANY_CONNECTIONS = '53300';
const INVALID_PASSWORD = '28P01';

/**
 * Connects as the superuser; makes sure that the server at this port is the one on this cluster, and that it has the role
 * and the database `towpath`. Both are made when missing, at every start, so an interrupted first start needs no repair.
 */
export async function prepareDatabase(
  clusterDirectory: string,
  state: ServerState,
  newPasswords: boolean,
): Promise<void> {
  const client = await connect(state);
  try {
    await checkIdentity(client, clusterDirectory, state.port);
    const { rows } = await client.query<{ role: boolean; database: boolean }>(
      `select exists (select from pg_catalog.pg_roles where rolname = 'towpath') as role,
              exists (select from pg_catalog.pg_database where datname = 'towpath') as database`,
    );
    const password = client.escapeLiteral(state.password);
    if (rows[0]?.role !== true) {
      await client.query(`create role towpath login nosuperuser nocreatedb nocreaterole password ${password}`);
    } else if (newPasswords) {
      await client.query(`alter role towpath password ${password}`);
    }
    if (rows[0]?.database !== true) await client.query('create database towpath owner towpath');
  } finally {
    await client.end();
  }
}

/** A pid and a port prove little; the server's own word for its data directory does. */
async function checkIdentity(client: Client, clusterDirectory: string, port: number): Promise<void> {
  const { rows } = await client.query<{ directory: string }>(`select current_setting('data_directory') as directory`);
  const directory = rows[0]?.directory ?? '';
  if (realpathSync(directory) === realpathSync(clusterDirectory)) return;
  throw new EmbeddedPostgresError(
    `the server on port ${port} runs on ${directory} instead of ${clusterDirectory}. Stop that server.`,
  );
}

async function connect(state: ServerState): Promise<Client> {
  for (let attempt = 1; ; attempt++) {
    const client = new Client({
      host: '127.0.0.1',
      port: state.port,
      user: 'postgres',
      database: 'postgres',
      password: state.superuserPassword,
      // Said, so that PGSSLMODE and PGOPTIONS of the user's environment do not count.
      ssl: false,
      options: '-c statement_timeout=0',
      application_name: 'towpath-supervisor',
      connectionTimeoutMillis: CONNECT_TIMEOUT_MILLISECONDS,
    });
    // A server that dies meanwhile fails the query; without a listener the event would end the process.
    client.on('error', () => undefined);
    try {
      await client.connect();
      return client;
    } catch (error) {
      const code = errorCode(error);
      const passing = code === CANNOT_CONNECT_NOW || code === TOO_MANY_CONNECTIONS || code === 'ECONNREFUSED';
      if (passing && attempt < CONNECT_ATTEMPTS) {
        await sleep(RETRY_MILLISECONDS);
        continue;
      }
      throw new EmbeddedPostgresError(explainConnect(state.port, error), { cause: error });
    }
  }
}

function explainConnect(port: number, error: unknown): string {
  if (errorCode(error) === INVALID_PASSWORD) {
    return (
      `the server on port ${port} does not accept the password in postgres.json beside the cluster. ` +
      `Stop the server, delete that file and start again: new passwords will be set.`
    );
  }
  return `the server on port ${port} runs but cannot be used: ${errorMessage(error)}.`;
}
