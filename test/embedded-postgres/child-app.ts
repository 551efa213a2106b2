import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { transformSync } from '@swc/core';

export const PROJECT = resolve(import.meta.dirname, '../..');

const APP = `
import { startEmbeddedPostgres } from './embedded-postgres.js';
const say = (event) => console.log(JSON.stringify(event));
try {
  const server = await startEmbeddedPostgres({
    dataDirectory: process.argv[2],
    settings: { fsync: 'off' },
    log: (line) => say({ log: line }),
  });
  const { url, superuserUrl, port, processId, clusterDirectory } = server;
  say({ ready: { url, superuserUrl, port, processId, clusterDirectory } });
  process.stdin.once('data', async () => {
    await server.stop();
    say({ stopped: true });
    process.exit(0);
  });
} catch (error) {
  say({ failed: error.message });
}
`;

export interface Ready {
  readonly url: string;
  readonly superuserUrl: string;
  readonly port: number;
  readonly processId: number;
  readonly clusterDirectory: string;
}

interface AppEvent {
  readonly log?: string;
  readonly ready?: Ready;
  readonly stopped?: boolean;
  readonly failed?: string;
}

function parseEvent(line: string): AppEvent {
  // Written by the program above, which this file holds too.
  const event: AppEvent = JSON.parse(line);
  return event;
}

export class App {
  readonly child: ChildProcess;
  readonly events: AppEvent[] = [];
  #exited = false;

  constructor(script: string, dataDirectory: string, user?: { uid: number; gid: number }) {
    this.child = spawn(process.execPath, [script, dataDirectory], {
      ...user,
      cwd: '/',
      // What a user's shell may hold; none of it may lead the server elsewhere.
      env: {
        ...process.env,
        PGDATA: '/nowhere',
        PGPORT: '1',
        PGHOST: 'example.invalid',
        PGUSER: 'nobody',
        PGSSLMODE: 'require',
      },
      stdio: ['pipe', 'pipe', 'inherit'],
      // A process group of its own, as a shell gives it, for Ctrl-C.
      detached: true,
    });
    let rest = '';
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.events.push(parseEvent(line));
    });
    this.child.on('exit', () => (this.#exited = true));
  }

  get logs(): string[] {
    return this.events.flatMap((event) => event.log ?? []);
  }

  async ready(): Promise<Ready> {
    await until(() => this.#exited || this.events.some((event) => event.ready ?? event.failed), 'the app is ready');
    const ready = this.events.find((event) => event.ready)?.ready;
    if (ready === undefined) throw new Error(`the app did not start: ${JSON.stringify(this.events)}`);
    return ready;
  }

  async failure(): Promise<string> {
    await until(() => this.events.some((event) => event.ready ?? event.failed), 'the app failed');
    return this.events.find((event) => event.failed)?.failed ?? 'did not fail';
  }

  async stop(): Promise<void> {
    this.child.stdin?.write('stop\n');
    await until(() => this.events.some((event) => event.stopped), 'the app stopped');
  }

  /** As the kernel does it: nothing in the app gets to know. */
  async killed(): Promise<void> {
    const exit = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exit;
  }

  /** Ctrl-C in a terminal reaches the app and its children at the same time. */
  async interrupted(): Promise<void> {
    const exit = once(this.child, 'exit');
    process.kill(-(this.child.pid ?? 0), 'SIGINT');
    await exit;
  }

  kill(): void {
    if (!this.#exited) this.child.kill('SIGKILL');
  }
}

/** Compiles src/embedded-postgres to where plain node can run it; a child process has no jest to do that for it. */
export function compileSources(directory: string): void {
  const sources = join(PROJECT, 'src/embedded-postgres');
  for (const name of readdirSync(sources)) {
    const { code } = transformSync(readFileSync(join(sources, name), 'utf8'), {
      jsc: { target: 'es2024', parser: { syntax: 'typescript' } },
      module: { type: 'es6' },
    });
    writeFileSync(join(directory, name.replace(/\.ts$/, '.js')), code);
  }
  writeFileSync(join(directory, 'app.mjs'), APP);
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }');
  symlinkSync(join(PROJECT, 'node_modules'), join(directory, 'node_modules'));
}

export async function until(condition: () => unknown, what: string, milliseconds = 120_000): Promise<void> {
  const deadline = Date.now() + milliseconds;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await sleep(10);
  }
}
