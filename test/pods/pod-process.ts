import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Credentials } from '../../src/identity/credentials-file.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { until } from '../support/until.js';

const PROJECT = path.resolve(import.meta.dirname, '../..');

/** A pod as it is deployed: `node dist/main.js`. */
export class PodProcess {
  private readonly child: ChildProcess;
  private output = '';

  constructor(databaseUrl: string, dataDirectory: string, environment: Record<string, string> = {}) {
    this.child = spawn(process.execPath, [path.join(PROJECT, 'dist', 'main.js')], {
      cwd: dataDirectory,
      env: {
        PATH: process.env['PATH'] ?? '',
        // By which the watchdog of the tests knows whom to end when a run was killed.
        TMPDIR: process.env['TMPDIR'] ?? '',
        DATABASE_URL: databaseUrl,
        TOWPATH_DATA_DIR: dataDirectory,
        TOWPATH_PORT: '0',
        TOWPATH_STOMP_PORT: '0',
        TOWPATH_LOG_LEVEL: 'warn',
        ...environment,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
      // Ctrl-C at a terminal is for the run, which ends its pods.
      detached: true,
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    }
  }

  /** Known once it is ready. */
  get url(): string {
    const [, url] = /serves queues on (\S+)/.exec(this.output) ?? [];
    if (url === undefined) throw new Error('it is not ready');
    return url;
  }

  get log(): string {
    return this.output;
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  async ready(): Promise<void> {
    await until(() => this.hasEnded || this.output.includes('serves queues on'), 'the pod is ready');
    if (this.hasEnded) throw new Error(`the pod did not start:\n${this.output}`);
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  get processId(): number {
    return this.child.pid ?? 0;
  }

  /** The exit code, null where a signal ended it. */
  async ended(): Promise<number | null> {
    if (!this.hasEnded) await once(this.child, 'exit');
    return this.child.exitCode;
  }

  /** As a machine that loses its power: nothing in the pod gets to know. */
  async killed(): Promise<void> {
    this.signal('SIGKILL');
    await this.ended();
  }
}

export interface PodProcesses {
  readonly test: TestDatabase;
  readonly credentials: Credentials;
  readonly pods: PodProcess[];
  readonly add: (environment?: Record<string, string>) => Promise<PodProcess>;
  readonly stop: () => Promise<void>;
}

/**
 * Pods as processes of their own on one new database, all with this environment, and each of the first ones with its own
 * besides; the first one makes the first identity.
 */
export async function startPodProcesses(
  count: number,
  common: Record<string, string> = {},
  own: readonly Record<string, string>[] = [],
): Promise<PodProcesses> {
  const test = await createTestDatabase();
  const folders: string[] = [];
  // They have no folder in common, so they are given the master key.
  const key = { TOWPATH_MASTER_KEY: randomBytes(32).toString('base64') };
  const pods: PodProcess[] = [];
  const add = async (environment: Record<string, string> = {}): Promise<PodProcess> => {
    const folder = await mkdtemp(path.join(tmpdir(), 'towpath-process-'));
    folders.push(folder);
    const pod = new PodProcess(test.url, folder, { ...key, ...common, ...environment });
    pods.push(pod);
    await pod.ready();
    return pod;
  };
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> =>
    (stopping ??= (async (): Promise<void> => {
      await Promise.all(pods.map((pod) => pod.killed()));
      await test.drop();
      for (const folder of folders) await rm(folder, { recursive: true, force: true });
    })());
  try {
    for (let index = 0; index < count; index += 1) await add(own[index]);
    const file = path.join(folders[0] ?? '', 'credentials.json');
    const credentials = JSON.parse(await readFile(file, 'utf8')) as Credentials;
    return { test, credentials, pods, add, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
