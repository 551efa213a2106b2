import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeOwnedFolder, writeOwnedFile } from './owned-files.js';
import { isSameProcessAlive, parseProcessRecord, thisProcess } from './process-identity.js';

/*
 * Who uses the server: one file per startEmbeddedPostgres() in a folder beside the cluster. The rule is: whoever leaves
 * last stops the server, no matter who started it. A user whose process is dead does not count (the app was killed), so a
 * killed app never keeps a server alive for ever; the next one adopts the server and stops it in the end.
 * Call these under the start lock only.
 */

/** Registers this process as a user of the server; returns the file that says so. */
export function registerUser(directory: string): string {
  makeOwnedFolder(directory);
  const record = thisProcess();
  const file = join(directory, `${record.pid}-${randomUUID()}`);
  writeOwnedFile(file, JSON.stringify(record), 0o600);
  return file;
}

/** Takes a user out; returns the pids of those that still live and use the server. */
export function unregisterUser(directory: string, file: string): number[] {
  rmSync(file, { force: true });
  const living: number[] = [];
  for (const name of readdirSync(directory)) {
    const other = join(directory, name);
    const record = parseProcessRecord(readFileSync(other, 'utf8'));
    if (record !== undefined && isSameProcessAlive(record)) living.push(record.pid);
    else rmSync(other, { force: true });
  }
  return living;
}
