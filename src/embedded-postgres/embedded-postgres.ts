import { join } from 'node:path';
import { findBinaries } from './binaries.js';
import type { Binaries } from './binaries.js';
import {
  checkVersion,
  createCluster,
  hasCluster,
  removeDrafts,
  resetSuperuserPassword,
  writeSettings,
} from './cluster.js';
import { asEmbeddedPostgresError, EmbeddedPostgresError } from './embedded-postgres-error.js';
import { chooseHome } from './home.js';
import type { Home } from './home.js';
import { chooseFreePort } from './port.js';
import { BOUNDS, findPostmaster, startOrAdopt } from './postmaster.js';
import { prepareDatabase } from './prepare-database.js';
import { RunningServer } from './running-server.js';
import { generatePassword, readState, writeState } from './server-state.js';
import type { ServerState } from './server-state.js';
import { registerUser } from './server-users.js';
import { acquireStartLock } from './start-lock.js';

export { EmbeddedPostgresError } from './embedded-postgres-error.js';

/*
 * The zero-setup server: initialises, starts, adopts and stops a PostgreSQL under the data directory.
 *
 *   <home>/postgres            the cluster; its folder `log` holds the server's log, one file per weekday
 *   <home>/postgres.json       port and passwords (0600)
 *   <home>/postgres.lock/      the start lock (start-lock.ts)
 *   <home>/postgres.users/     who uses the server; the last one stops it (server-users.ts)
 *   <home>/postgres.new-…      a cluster in the making, renamed when done
 *   <home>/postgres-binaries-… a copy of the npm package, only where its own place cannot be used
 *
 * <home> is the data directory, or for root a folder that the server's user can reach (home.ts).
 */

export interface EmbeddedPostgresOptions {
  /** Folder that holds everything of Towpath's on this machine; the cluster goes to <dataDirectory>/postgres. Made if missing. */
  readonly dataDirectory: string;
  /** Settings over postgresql.conf, e.g. { fsync: 'off' } in tests. An adopted server keeps the settings it has. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Folder with initdb, pg_ctl and postgres of another installation. Default: the npm package's. */
  readonly binDirectory?: string;
  /** Receives one line per thing worth telling a person (first start, adopting, waiting for a lock, another port...). */
  readonly log?: (line: string) => void;
}

export interface EmbeddedPostgres {
  /** postgres://towpath:...@127.0.0.1:<port>/towpath : an ordinary role that owns the database `towpath`. */
  readonly url: string;
  /** As url, but the superuser and database `postgres`; used by tests only (create databases, terminate backends). */
  readonly superuserUrl: string;
  readonly port: number;
  /** The postmaster's process id. */
  readonly processId: number;
  /** The data directory of the cluster actually used. */
  readonly clusterDirectory: string;
  /** Leaves the server; the last one that leaves stops it. Safe twice. */
  stop(): Promise<void>;
  /** Stops and starts the server again on the same port and directory, whoever else uses it (tests of an outage). */
  restart(): Promise<void>;
}

/** An initdb on a slow disk, plus the recovery of a large cluster. */
const LOCK_WAIT_MILLISECONDS = 180_000;

/** Makes sure that a server runs on the data directory and that its database is ready. */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const log = options.log ?? (() => undefined);
  try {
    const home = await chooseHome(options.dataDirectory, log);
    const lock = join(home.directory, 'postgres.lock');
    const tellWait = (pid: number): void =>
      log(`Waiting for process ${pid}, which is starting or stopping the database.`);
    const held = await acquireStartLock(lock, tellWait, LOCK_WAIT_MILLISECONDS);
    try {
      return await startUnderLock(home, options, log);
    } finally {
      held.release();
    }
  } catch (error) {
    throw asEmbeddedPostgresError(error, `cannot start in ${options.dataDirectory}`);
  }
}

async function startUnderLock(
  home: Home,
  options: EmbeddedPostgresOptions,
  log: (line: string) => void,
): Promise<EmbeddedPostgres> {
  const binaries = await findBinaries(home, options.binDirectory, log);
  const stateFile = join(home.directory, 'postgres.json');
  const { newPasswords, ...known } = await makeReady(home, binaries, stateFile, log);
  let state: ServerState = known;
  const remember = (port: number): void => {
    if (port === state.port) return;
    state = { ...state, port };
    writeState(stateFile, state);
  };
  const server = await startOrAdopt(home, binaries, {
    port: state.port,
    otherPortAllowed: true,
    log,
    bounds: BOUNDS,
    beforeStart: (port) => {
      writeSettings(home, options.settings ?? {});
      remember(port);
    },
  });
  // An adopted server may have been started by hand, on another port.
  remember(server.port);
  if (server.adopted)
    log(`Using the database server that already runs on ${home.clusterDirectory} (process ${server.processId}).`);
  const userFile = registerUser(join(home.directory, 'postgres.users'));
  const running = new RunningServer(
    { home, binaries, state, userFile, settings: options.settings ?? {}, log },
    server.processId,
  );
  try {
    await prepareDatabase(home.clusterDirectory, state, newPasswords);
  } catch (error) {
    // Nobody gets a handle, so nobody else would stop it.
    await running.leave();
    throw error;
  }
  return running;
}

/** Sees to a complete cluster and to passwords that fit it. */
async function makeReady(
  home: Home,
  binaries: Binaries,
  stateFile: string,
  log: (line: string) => void,
): Promise<ServerState & { readonly newPasswords: boolean }> {
  removeDrafts(home);
  if (hasCluster(home)) {
    checkVersion(home, binaries);
    const state = readState(stateFile);
    if (state !== undefined) return { ...state, newPasswords: false };
    if (findPostmaster(home.clusterDirectory) !== undefined) {
      throw new EmbeddedPostgresError(
        `a server runs on ${home.clusterDirectory}, but ${stateFile} with its passwords is gone. Stop that server and start again.`,
      );
    }
    log(`${stateFile} is gone; setting new passwords.`);
    const fresh = await freshState();
    await resetSuperuserPassword(home, binaries, fresh.superuserPassword);
    writeState(stateFile, fresh);
    return { ...fresh, newPasswords: true };
  }
  log(`First start: making a PostgreSQL ${binaries.majorVersion} database in ${home.clusterDirectory}.`);
  // The passwords are safe before the cluster exists that needs them.
  const fresh = await freshState();
  writeState(stateFile, fresh);
  await createCluster(home, binaries, fresh.superuserPassword);
  return { ...fresh, newPasswords: false };
}

async function freshState(): Promise<ServerState> {
  return { port: await chooseFreePort(), superuserPassword: generatePassword(), password: generatePassword() };
}
