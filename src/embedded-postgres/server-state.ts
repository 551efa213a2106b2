import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { EmbeddedPostgresError } from './embedded-postgres-error.js';
import { writeOwnedFile } from './owned-files.js';

/** What must outlive the process: kept in a file that only the user that runs Towpath can read. */
export interface ServerState {
  readonly port: number;
  readonly superuserPassword: string;
  readonly password: string;
}

export function databaseUrl(state: ServerState): string {
  return `postgres://towpath:${state.password}@127.0.0.1:${state.port}/towpath?sslmode=disable`;
}

/** Letters and digits only: goes into URLs, SQL and a password file as it is. */
export function generatePassword(): string {
  return randomBytes(24).toString('hex');
}

export function readState(file: string): ServerState | undefined {
  if (!existsSync(file)) return undefined;
  const text = readFileSync(file, 'utf8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Said below, as for any other content that is not ours.
    value = undefined;
  }
  if (!isState(value)) {
    throw new EmbeddedPostgresError(`${file} is not what Towpath wrote. Delete it; new passwords will be set.`);
  }
  return { port: value.port, superuserPassword: value.superuserPassword, password: value.password };
}

export function writeState(file: string, state: ServerState): void {
  // The URL is for people, to give to psql.
  const content = JSON.stringify({ url: databaseUrl(state), ...state }, null, 2);
  writeOwnedFile(file, `${content}\n`, 0o600, { flush: true });
}

function isState(value: unknown): value is ServerState {
  if (typeof value !== 'object' || value === null) return false;
  if (!('port' in value && 'superuserPassword' in value && 'password' in value)) return false;
  return (
    Number.isInteger(value.port) && typeof value.superuserPassword === 'string' && typeof value.password === 'string'
  );
}
