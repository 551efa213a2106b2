import { readFileSync } from 'node:fs';
import type { ServerUser } from './run-command.js';

/** nobody: has no rights anywhere and exists, as a number, on every system. */
const NOBODY: ServerUser = { uid: 65534, gid: 65534 };

export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/**
 * PostgreSQL refuses to run as root, so root's children run as the system's `postgres` user where there is one, or as
 * nobody. No user is created.
 */
export function userForRoot(): ServerUser {
  try {
    const line = readFileSync('/etc/passwd', 'utf8').match(/^postgres:[^:]*:(\d+):(\d+):/m);
    if (line !== null && line[1] !== '0') return { uid: Number(line[1]), gid: Number(line[2]) };
  } catch {
    // No such file: a minimal container, or macOS, which keeps its users elsewhere.
  }
  return NOBODY;
}
