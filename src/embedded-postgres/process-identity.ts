import { existsSync, readFileSync } from 'node:fs';
import { errorCode } from './embedded-postgres-error.js';

/**
 * A process, recognisable later. A pid alone is not enough: in a container the app often has the same pid after every
 * restart, so the note that a killed app left behind would seem to belong to the living one.
 */
export interface ProcessRecord {
  readonly pid: number;
  readonly identity: string;
}

const hasProc = existsSync('/proc/self/stat');

/** Something that only this process, in this boot, has; undefined when there is no such process, or only its zombie. */
export function processIdentity(pid: number): string | undefined {
  if (!hasProc) return existsForSignals(pid) ? String(pid) : undefined;
  try {
    // The command's name (field 2) may hold spaces and brackets, so count from its closing one: state, …, start time.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    return `${pid} ${fields[19]} ${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}`;
  } catch {
    // No such process (or it went while we read).
    return undefined;
  }
}

export function isProcessAlive(pid: number): boolean {
  return processIdentity(pid) !== undefined;
}

/**
 * Whether a living process with this pid is a PostgreSQL server. A pid file survives the machine, or the container, and
 * its number then belongs to anybody, even to a thread of our own.
 */
export function isPostgresProcess(pid: number): boolean {
  if (!isProcessAlive(pid)) return false;
  if (!hasProc) return true;
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('postgres');
  } catch {
    // Gone in between.
    return false;
  }
}

export function thisProcess(): ProcessRecord {
  return { pid: process.pid, identity: processIdentity(process.pid) ?? String(process.pid) };
}

export function isSameProcessAlive(record: ProcessRecord): boolean {
  return processIdentity(record.pid) === record.identity;
}

/** Reads a record that another process wrote; undefined for what is no record. */
export function parseProcessRecord(text: string): ProcessRecord | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null || !('pid' in value) || !('identity' in value)) return undefined;
    if (typeof value.pid !== 'number' || typeof value.identity !== 'string') return undefined;
    return { pid: value.pid, identity: value.identity };
  } catch {
    // Not JSON: half written by a process that died.
    return undefined;
  }
}

/** What PostgreSQL takes for a living process: zombies, threads and other users' processes too. */
export function existsForSignals(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it lives and belongs to another user.
    return errorCode(error) === 'EPERM';
  }
}
