import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { startEmbeddedPostgres } from '../../src/embedded-postgres/embedded-postgres.js';
import type { EmbeddedPostgres, EmbeddedPostgresOptions } from '../../src/embedded-postgres/embedded-postgres.js';
import { App, compileSources, until } from './child-app.js';

export const IS_ROOT = process.getuid?.() === 0;
/** Somebody without rights, for what must hold for ordinary users when the tests run as root. */
export const NOBODY = { uid: 65534, gid: 65534 };

const FAST = { fsync: 'off' };

/** What one test uses; `dispose` ends it all and tells which processes were left. */
export class Workspace {
  readonly #folders: string[] = [];
  readonly #servers: EmbeddedPostgres[] = [];
  readonly #apps: App[] = [];

  /** An empty folder, which is neither closed for the server's user nor in the repository. */
  folder(mode = 0o755): string {
    const folder = realpathSync(mkdtempSync(join(tmpdir(), 'towpath-embedded-')));
    chmodSync(folder, mode);
    this.#folders.push(folder);
    return folder;
  }

  /** Removes this folder too in the end. */
  owns(folder: string): void {
    this.#folders.push(folder);
  }

  /** A data directory with an initialised cluster; copied, because initdb takes a second. */
  initialisedFolder(template: string): string {
    const folder = this.folder();
    const { status } = spawnSync('cp', ['-a', `${template}/.`, folder]);
    if (status !== 0) throw new Error(`cannot copy ${template}`);
    return folder;
  }

  async start(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
    const server = await startEmbeddedPostgres({ settings: FAST, ...options });
    this.#servers.push(server);
    return server;
  }

  /** Runs the embedded server in a process of its own, as an app would. */
  app(dataDirectory: string, user?: { uid: number; gid: number }, prepare?: (program: string) => void): App {
    const program = this.folder();
    compileSources(program);
    prepare?.(program);
    const app = new App(join(program, 'app.mjs'), dataDirectory, user);
    this.#apps.push(app);
    return app;
  }

  async dispose(): Promise<void> {
    for (const app of this.#apps) app.kill();
    for (const server of this.#servers) await server.stop();
    try {
      for (const folder of this.#folders) await expectNoProcessIn(folder);
    } finally {
      for (const folder of this.#folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    }
  }
}

export async function query(url: string, sql: string): Promise<unknown[][]> {
  const client = new Client({ connectionString: url, ssl: false });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const result = await client.query<unknown[]>({ text: sql, rowMode: 'array' });
    return result.rows;
  } finally {
    await client.end();
  }
}

/** Processes that work in a folder: PostgreSQL's all sit in their data directory. Linux only; elsewhere none are seen. */
export function processesIn(folder: string): number[] {
  const pids = existsSync('/proc') ? readdirSync('/proc') : [];
  return pids.filter((pid) => /^\d+$/.test(pid) && worksIn(pid, folder)).map(Number);
}

function worksIn(pid: string, folder: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/cwd`).startsWith(folder);
  } catch {
    // It went, or it is another user's.
    return false;
  }
}

export async function expectNoProcessIn(folder: string): Promise<void> {
  await until(() => processesIn(folder).length === 0, `no process is left in ${folder}`);
}

/** The user that a process runs as. */
export function userOf(pid: number): number {
  return Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** A stand-in for PostgreSQL's programs, for failures that no test can bring about for real. */
export function fakeBinaries(directory: string, initdb: string): string {
  const bin = join(directory, 'bin');
  mkdirSync(bin);
  const program = (name: string, script: string): void =>
    writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  program('postgres', 'echo "postgres (PostgreSQL) 18.4"');
  program('initdb', initdb);
  program('pg_ctl', 'exit 1');
  return bin;
}
