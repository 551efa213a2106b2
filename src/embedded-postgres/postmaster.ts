import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Binaries } from './binaries.js';
import { EmbeddedPostgresError, errorCode, saysDiskFull } from './embedded-postgres-error.js';
import type { Home } from './home.js';
import { chooseFreePort, isPortFree } from './port.js';
import { existsForSignals, isPostgresProcess } from './process-identity.js';
import { lastLines, runCommand } from './run-command.js';

/** What postmaster.pid says. */
export interface Postmaster {
  readonly processId: number;
  readonly port: number;
  /** starting, ready, stopping… ; the server writes it. */
  readonly status: string;
}

export interface Bounds {
  /** For a server that is going away, or backends that outlived a killed one. */
  readonly leavingMilliseconds: number;
  /** For recovery after a crash. */
  readonly startingMilliseconds: number;
}

export const BOUNDS: Bounds = { leavingMilliseconds: 20_000, startingMilliseconds: 120_000 };
const POLL_MILLISECONDS = 50;
const RETRY_MILLISECONDS = 200;

export function startupLog(clusterDirectory: string): string {
  return join(clusterDirectory, 'startup.log');
}

/** The server that runs on this cluster, if one does. A pid file whose process is gone, or is no PostgreSQL, is none. */
export function findPostmaster(clusterDirectory: string): Postmaster | undefined {
  const lines = readPidFile(clusterDirectory);
  const processId = Number(lines[0]);
  // Negative or without a port: a single-user backend, or a file in the making. Not a server to talk to.
  if (!(processId > 0) || !isPostgresProcess(processId)) return undefined;
  return { processId, port: Number(lines[3] ?? 0), status: (lines[7] ?? 'starting').trim() };
}

export interface StartOptions {
  readonly port: number;
  /** Another port may be taken when this one is not free. */
  readonly otherPortAllowed: boolean;
  readonly log: (line: string) => void;
  readonly bounds: Bounds;
  /** Called right before the server is really started, with the port. */
  readonly beforeStart: (port: number) => void;
}

/**
 * Starts the server on the cluster, or adopts the one that runs there. Waits for what is on its way out: a server that
 * stops, or the backends of a killed one, which keep the shared memory until they notice. Called under the start lock.
 */
export async function startOrAdopt(
  home: Home,
  binaries: Binaries,
  options: StartOptions,
): Promise<Postmaster & { readonly adopted: boolean }> {
  const started = Date.now();
  let port = options.port;
  const told = new Set<string>();
  const tellOnce = (line: string): void => {
    if (!told.has(line)) options.log(line);
    told.add(line);
  };
  const waitOrGiveUp = async (bound: number, pause: number, what: string, advice: string): Promise<void> => {
    if (Date.now() - started > bound) {
      throw new EmbeddedPostgresError(`${what} (waited ${Math.round(bound / 1000)} s). ${advice}`);
    }
    tellOnce(`Waiting: ${what}.`);
    await sleep(pause);
  };

  for (;;) {
    const running = findPostmaster(home.clusterDirectory);
    if (running?.status === 'ready') return { ...running, adopted: true };
    if (running !== undefined) {
      const bound =
        running.status === 'stopping' ? options.bounds.leavingMilliseconds : options.bounds.startingMilliseconds;
      const what = `process ${running.processId} has the database open and is ${running.status}`;
      await waitOrGiveUp(bound, POLL_MILLISECONDS, what, `Look at ${startupLog(home.clusterDirectory)}, or end it.`);
      continue;
    }
    removeMisleadingPidFile(home.clusterDirectory);
    if (!(await isPortFree(port))) port = await anotherPort(port, options);
    options.beforeStart(port);
    const output = await tryStart(home, binaries, port, options.bounds);
    if (output === undefined) {
      const postmaster = findPostmaster(home.clusterDirectory);
      if (postmaster !== undefined) return { ...postmaster, adopted: false };
      throw new EmbeddedPostgresError(`the server ended right after its start. Look at ${home.clusterDirectory}/log.`);
    }
    if (/pre-existing shared memory block|lock file "postmaster\.pid" already exists/.test(output)) {
      const what = 'processes of a server that was killed still hold its memory';
      const advice = `Find them with "ps -ef | grep postgres:", end them, and start again.`;
      await waitOrGiveUp(options.bounds.leavingMilliseconds, RETRY_MILLISECONDS, what, advice);
    } else if (/could not bind|could not create any TCP\/IP sockets/.test(output)) {
      port = await anotherPort(port, options);
    } else {
      throw new EmbeddedPostgresError(explainStart(home, output));
    }
  }
}

async function anotherPort(port: number, options: StartOptions): Promise<number> {
  if (!options.otherPortAllowed) {
    throw new EmbeddedPostgresError(`port ${port} of 127.0.0.1 is taken by another program. End that program.`);
  }
  const other = await chooseFreePort();
  options.log(`Port ${port} is taken by another program; the database listens on port ${other} from now on.`);
  return other;
}

/** Returns undefined when the server runs, else what it and pg_ctl said. */
async function tryStart(home: Home, binaries: Binaries, port: number, bounds: Bounds): Promise<string | undefined> {
  const log = startupLog(home.clusterDirectory);
  // Anew at every start: it holds only what comes before the server's own log, which rotates.
  rmSync(log, { force: true });
  // On the command line, because there they win over ALTER SYSTEM. No Unix socket: its path could be too long.
  const serverOptions = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=`;
  const seconds = Math.round(bounds.startingMilliseconds / 1000);
  const { status, output } = await runCommand(
    binaries.pgCtl,
    ['start', '-w', '-t', String(seconds), '-D', home.clusterDirectory, '-l', log, '-o', serverOptions],
    { user: home.user, directory: home.directory },
  );
  if (status === 0) return undefined;
  try {
    return `${output}\n${readFileSync(log, 'utf8')}`;
  } catch {
    // pg_ctl failed before it could open the log.
    return output;
  }
}

/**
 * The number in a left pid file may belong by now to another program, even to a thread of ours (containers give out low
 * numbers again and again), or to the zombie of the killed server (as pid 1 an app inherits children that it does not know
 * of); PostgreSQL would then refuse to start. Without the file it still finds a predecessor's
 * shared memory, by the data directory's inode.
 */
function removeMisleadingPidFile(clusterDirectory: string): void {
  const processId = Math.abs(Number(readPidFile(clusterDirectory)[0]));
  if (!(processId > 0) || !existsForSignals(processId) || isPostgresProcess(processId)) return;
  rmSync(join(clusterDirectory, 'postmaster.pid'), { force: true });
}

function readPidFile(clusterDirectory: string): string[] {
  try {
    return readFileSync(join(clusterDirectory, 'postmaster.pid'), 'utf8').split('\n');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

function explainStart(home: Home, output: string): string {
  const details = `${lastLines(output)}\nMore may be in ${home.clusterDirectory}/log.`;
  if (saysDiskFull(output)) {
    return `cannot start, the disk is full. Free some space. ${details}`;
  }
  return `cannot start:\n${details}`;
}
