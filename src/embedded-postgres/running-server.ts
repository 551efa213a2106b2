import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Binaries } from './binaries.js';
import { writeSettings } from './cluster.js';
import { asEmbeddedPostgresError, EmbeddedPostgresError } from './embedded-postgres-error.js';
import type { EmbeddedPostgres } from './embedded-postgres.js';
import type { Home } from './home.js';
import { BOUNDS, startOrAdopt } from './postmaster.js';
import { prepareDatabase } from './prepare-database.js';
import { databaseUrl } from './server-state.js';
import type { ServerState } from './server-state.js';
import { unregisterUser } from './server-users.js';
import { acquireStartLock } from './start-lock.js';
import { stopServer } from './stop-server.js';

const LOCK_WAIT_MILLISECONDS = 60_000;

export interface RunningServerParts {
  readonly home: Home;
  readonly binaries: Binaries;
  readonly state: ServerState;
  /** Our entry among the server's users. */
  readonly userFile: string;
  readonly settings: Readonly<Record<string, string>>;
  readonly log: (line: string) => void;
}

/** The handle that the app holds; see EmbeddedPostgres. */
export class RunningServer implements EmbeddedPostgres {
  readonly url: string;
  readonly superuserUrl: string;
  readonly port: number;
  readonly clusterDirectory: string;
  #processId: number;
  #stopping: Promise<void> | undefined;
  readonly #parts: RunningServerParts;

  constructor(parts: RunningServerParts, processId: number) {
    const { port, superuserPassword } = parts.state;
    this.url = databaseUrl(parts.state);
    this.superuserUrl = `postgres://postgres:${superuserPassword}@127.0.0.1:${port}/postgres?sslmode=disable`;
    this.port = port;
    this.clusterDirectory = parts.home.clusterDirectory;
    this.#processId = processId;
    this.#parts = parts;
  }

  get processId(): number {
    return this.#processId;
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#underLock('stop', () => this.leave());
    return this.#stopping;
  }

  restart(): Promise<void> {
    const { home, binaries, state, settings, log } = this.#parts;
    return this.#underLock('restart', async () => {
      if (this.#stopping !== undefined) throw new EmbeddedPostgresError('it was stopped and cannot be restarted.');
      await stopServer(home, binaries, this.#processId);
      const server = await startOrAdopt(home, binaries, {
        port: state.port,
        // The app's pool knows this port and no other.
        otherPortAllowed: false,
        log,
        bounds: BOUNDS,
        beforeStart: () => writeSettings(home, settings),
      });
      this.#processId = server.processId;
      await prepareDatabase(home.clusterDirectory, state, false);
    });
  }

  /** As stop(), for who holds the start lock already. */
  async leave(): Promise<void> {
    const { home, binaries, userFile, log } = this.#parts;
    const others = existsSync(dirname(userFile)) ? unregisterUser(dirname(userFile), userFile) : [];
    if (others.length > 0) {
      log(`The database server goes on: process ${others.join(', ')} still uses it.`);
      return;
    }
    await stopServer(home, binaries, this.#processId);
  }

  async #underLock(what: string, action: () => Promise<void>): Promise<void> {
    const { home } = this.#parts;
    // Deleted while the server ran: there is nothing left to lock, and nobody else who could find it.
    if (!existsSync(home.directory)) return action();
    try {
      const tellWait = (pid: number): void => this.#parts.log(`Waiting for process ${pid} before the ${what}.`);
      const lock = await acquireStartLock(join(home.directory, 'postgres.lock'), tellWait, LOCK_WAIT_MILLISECONDS);
      try {
        await action();
      } finally {
        lock.release();
      }
    } catch (error) {
      throw asEmbeddedPostgresError(error, `cannot ${what} the server on ${home.clusterDirectory}`);
    }
  }
}
