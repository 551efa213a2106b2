import { randomUUID } from 'node:crypto';
import { linkSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EmbeddedPostgresError, errorCode } from './embedded-postgres-error.js';
import { makeOwnedFolder, writeOwnedFile } from './owned-files.js';
import { isSameProcessAlive, parseProcessRecord, thisProcess } from './process-identity.js';

/*
 * The lock under which a server is initialised, started, adopted and stopped.
 *
 * A lock file that is removed when its owner is dead has a well-known hole: two processes see the dead owner, the first
 * removes the file and takes the lock, the second removes the first one's file. So nothing is ever removed before it is
 * replaced: the lock is a folder of numbered files, the highest number is the lock, and who finds it released, or its
 * owner dead, creates the next number, which succeeds for one process only (link() fails when the name is taken, and the
 * content is complete at once). Lower numbers are swept by the new owner. A process that read an old listing may still
 * create a number that was swept; it then sees a higher one and withdraws.
 */

const RELEASED = 'released';
const POLL_MILLISECONDS = 25;

export interface StartLock {
  release(): void;
}

/** Waits until the lock is ours. `onWait` is called once, with the pid of the living owner. */
export async function acquireStartLock(
  directory: string,
  onWait: (pid: number) => void,
  waitMilliseconds: number,
): Promise<StartLock> {
  makeOwnedFolder(directory);
  const deadline = Date.now() + waitMilliseconds;
  let told = false;
  for (;;) {
    const owner = livingOwner(directory);
    if (owner === undefined) {
      const lock = tryNextNumber(directory);
      if (lock !== undefined) return lock;
      continue;
    }
    if (!told) onWait(owner);
    told = true;
    if (Date.now() > deadline) {
      throw new EmbeddedPostgresError(
        `process ${owner} has been starting or stopping the server for ${Math.round(waitMilliseconds / 1000)} s ` +
          `and holds the lock ${directory}. Look at what it does, or end it, and start again.`,
      );
    }
    await sleep(POLL_MILLISECONDS);
  }
}

function highestNumber(directory: string): number {
  const numbers = readdirSync(directory).filter((name) => /^\d+$/.test(name));
  return Math.max(0, ...numbers.map(Number));
}

function livingOwner(directory: string): number | undefined {
  const number = highestNumber(directory);
  if (number === 0) return undefined;
  try {
    const content = readFileSync(join(directory, String(number)), 'utf8');
    const owner = content === RELEASED ? undefined : parseProcessRecord(content);
    return owner !== undefined && isSameProcessAlive(owner) ? owner.pid : undefined;
  } catch (error) {
    // Swept by the owner of a higher number: the attempt for the next number fails, and we look again.
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function tryNextNumber(directory: string): StartLock | undefined {
  const number = highestNumber(directory) + 1;
  // Looked at again: between the caller's look and this listing somebody may have taken a number and live.
  if (livingOwner(directory) !== undefined) return undefined;
  const file = join(directory, String(number));
  const draft = join(directory, `draft-${randomUUID()}`);
  writeOwnedFile(draft, JSON.stringify(thisProcess()), 0o600);
  try {
    linkSync(draft, file);
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return undefined;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
  if (highestNumber(directory) !== number) {
    rmSync(file, { force: true });
    return undefined;
  }
  sweep(directory, number);
  return {
    release() {
      try {
        writeOwnedFile(file, RELEASED, 0o600, { draft });
      } catch (error) {
        // The whole folder was deleted meanwhile, and the lock with it.
        if (errorCode(error) !== 'ENOENT') throw error;
      }
    },
  };
}

function sweep(directory: string, number: number): void {
  for (const name of readdirSync(directory)) {
    if (/^\d+$/.test(name) && Number(name) < number) rmSync(join(directory, name), { force: true });
  }
}
