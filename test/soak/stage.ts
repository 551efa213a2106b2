import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../src/embedded-postgres/embedded-postgres.js';
import type { Credentials } from '../../src/identity/credentials-file.js';
import { GROUPS } from '../history/groups.js';
import { clock } from '../history/history.js';
import { RecordedQueue } from '../history/recorded-queue.js';
import { environmentOf, freePort, podAt } from '../history/stomp/pods.js';
import { newCounts, type StompTarget } from '../history/stomp/target.js';
import { PodProcess } from '../pods/pod-process.js';
import { until } from '../support/until.js';
import { Relay } from './relay.js';
import { SmallFilesystem } from './small-filesystem.js';

export interface StageOptions {
  readonly pods: number;
  /** Of the file system of PostgreSQL; the disk is not used where it can be had. */
  readonly diskMib: number;
  /** For all pods. */
  readonly environment: Readonly<Record<string, string>>;
  /** See `Rules`. */
  readonly lingerMs: number;
}

/** A place for a pod: one that ends is followed by another one. */
export interface Slot {
  process: PodProcess;
  /** Between clients of REST and the pod; its address stays. (STOMP's have a proxy per connection.) */
  readonly clients: Relay;
  /** Between the pod and PostgreSQL. */
  readonly database: Relay;
}

const HEART_BEAT_SECONDS = 1;
const POD_ENVIRONMENT = { TOWPATH_STOMP_HEART_BEAT_SECONDS: String(HEART_BEAT_SECONDS) };
/** Small files, so that a small file system does; all that matters to durability is as PostgreSQL has it by default. */
const SERVER_SETTINGS = { min_wal_size: '32MB', max_wal_size: '96MB', autovacuum_naptime: '10s' };
/** It recovers by itself from the end of a backend; who waits longer starts it. */
const RECOVERS_MS = 15_000;
const READY_MS = 90_000;
/** A pod that stood still for longer than a request may take to arrive says so of those that it had not read yet. */
const TOO_SLOW = 408;
/** Of a superuser's statement beside a fault. */
const ANSWER_MS = 5000;

/** A PostgreSQL, pods before it, what lies between, and three queues: all of a soak's own, and gone with it. */
export class Stage {
  readonly slots: Slot[] = [];
  /** All pods that there were, with when they were started. */
  readonly pods: { readonly process: PodProcess; readonly slot: number; isEnded: boolean }[] = [];
  private superuser: pg.Pool | null = null;
  private owner: pg.Pool | null = null;
  private running: EmbeddedPostgres | null = null;
  private reached: StompTarget | null = null;
  private readonly masterKey = randomBytes(32).toString('base64');

  private constructor(
    readonly folder: string,
    readonly filesystem: SmallFilesystem | string,
    private readonly options: StageOptions,
  ) {}

  static async start(options: StageOptions): Promise<Stage> {
    const folder = await mkdtemp(path.join(tmpdir(), 'towpath-soak-'));
    // PostgreSQL does not run as root.
    await chmod(folder, 0o711);
    watch(folder);
    const stage = new Stage(folder, await SmallFilesystem.mount(path.join(folder, 'disk'), options.diskMib), options);
    try {
      await stage.build();
      return stage;
    } catch (error) {
      await stage.stop();
      throw error;
    }
  }

  get server(): EmbeddedPostgres {
    if (this.running === null) throw new Error('there is no server yet');
    return this.running;
  }

  get target(): StompTarget {
    if (this.reached === null) throw new Error('there are no pods yet');
    return this.reached;
  }

  get smallFilesystem(): SmallFilesystem {
    if (typeof this.filesystem === 'string') throw new Error(this.filesystem);
    return this.filesystem;
  }

  get queues(): readonly RecordedQueue[] {
    return [...this.target.queues.values()];
  }

  slotAt(index: number): Slot {
    const slot = this.slots[index];
    if (slot === undefined) throw new Error(`there is no pod ${index}`);
    return slot;
  }

  /** One statement as the owner of the database, past all relays. */
  readonly sql = async <Row extends pg.QueryResultRow>(text: string, values: readonly unknown[] = []): Promise<Row[]> =>
    (await this.poolOf(this.owner).query<Row>(text, [...values])).rows;

  readonly asSuperuser = async <Row extends pg.QueryResultRow>(text: string): Promise<Row[]> =>
    (await this.poolOf(this.superuser).query<Row>(text)).rows;

  /** A connection of a superuser to the database of the pods. */
  async connect(): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: this.superuserUrl });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  }

  /** Resolves with its exit code when it has ended. */
  async endPod(index: number, signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null> {
    const slot = this.slotAt(index);
    const stompPod = this.target.pods[index];
    const at = clock();
    if (stompPod !== undefined && signal === 'SIGKILL') stompPod.killedAt = at;
    if (stompPod !== undefined && signal === 'SIGTERM') stompPod.stoppedAt = at;
    for (const pod of this.pods) if (pod.process === slot.process) pod.isEnded = true;
    slot.process.signal(signal);
    const code = await slot.process.ended();
    slot.clients.refuse();
    return code;
  }

  /** Another pod in the place of one that has ended. */
  async followPod(index: number): Promise<void> {
    const slot = this.slotAt(index);
    const port = await freePort();
    slot.process = await this.startPod(index, slot.database, port);
    this.target.pods[index] = podAt(port);
    await slot.clients.leadTo(portOf(slot.process.url));
  }

  /** PostgreSQL has recovered by itself, or is started. */
  async databaseBack(): Promise<void> {
    const deadline = clock() + RECOVERS_MS;
    while (clock() < deadline) {
      if (
        await this.asSuperuser('select 1').then(
          () => true,
          () => false,
        )
      )
        return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await this.server.restart();
  }

  /** All pods say that they are ready. */
  async ready(): Promise<void> {
    for (const [index, { process: pod }] of this.slots.entries()) {
      const isReady = async (): Promise<boolean> => {
        const signal = AbortSignal.timeout(ANSWER_MS);
        return fetch(`${pod.url}/readyz`, { signal }).then(
          ({ status }) => status === 200,
          () => false,
        );
      };
      await until(isReady, `pod ${index} is ready`, READY_MS);
    }
  }

  /** Ends all that was started, and removes all that was made. Safe after any failure. */
  async stop(): Promise<void> {
    await Promise.all(this.pods.map((pod) => pod.process.killed()));
    for (const { clients, database } of this.slots) {
      clients.close();
      database.close();
    }
    await Promise.allSettled([this.owner?.end(), this.superuser?.end()]);
    if (typeof this.filesystem !== 'string') await this.filesystem.free().catch(() => undefined);
    await this.running?.stop();
    if (typeof this.filesystem !== 'string') await this.filesystem.unmount();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  private get superuserUrl(): string {
    const url = new URL(this.server.superuserUrl);
    url.pathname = new URL(this.server.url).pathname;
    return url.href;
  }

  private async build(): Promise<void> {
    const dataDirectory = path.join(this.folder, typeof this.filesystem === 'string' ? 'server' : 'disk');
    this.running = await startEmbeddedPostgres({ dataDirectory, settings: SERVER_SETTINGS });
    this.owner = newPool(this.server.url);
    this.superuser = newPool(this.superuserUrl);
    const ports: number[] = [];
    for (let index = 0; index < this.options.pods; index += 1) {
      const port = await freePort();
      const database = await Relay.start(this.server.port);
      const clients = await Relay.start(null);
      const process = await this.startPod(index, database, port);
      await clients.leadTo(portOf(process.url));
      this.slots.push({ process, clients, database });
      ports.push(port);
    }
    const file = path.join(this.folder, 'pod-0', 'credentials.json');
    const credentials = JSON.parse(await readFile(file, 'utf8')) as Credentials;
    this.reached = {
      login: credentials.stompLogin,
      passcode: credentials.stompPasscode,
      pods: ports.map(podAt),
      heartBeatMs: HEART_BEAT_SECONDS * 1000,
      queues: await this.createQueues(credentials),
      commits: [],
      proxies: new Set(),
      outages: [],
      surprises: [],
      counts: newCounts(),
    };
  }

  private async createQueues(credentials: Credentials): Promise<Map<string, RecordedQueue>> {
    const urls = this.slots.map(({ clients }) => `http://127.0.0.1:${clients.port}`);
    const target = { urls, ...credentials, refusals: [TOO_SLOW] };
    const { lingerMs } = this.options;
    const mixed = { visibilityInSeconds: 2, deadLetterQueueDeliveryCount: 4, lingerMs };
    const grouped = { visibilityInSeconds: 1, deadLetterQueueDeliveryCount: 3, lingerMs, groups: GROUPS };
    return new Map([
      ['in', await RecordedQueue.create(target, mixed)],
      ['out', await RecordedQueue.create(target, mixed)],
      ['groups', await RecordedQueue.create(target, grouped)],
    ]);
  }

  private async startPod(slot: number, database: Relay, stompPort: number): Promise<PodProcess> {
    const folder = path.join(this.folder, `pod-${this.pods.length}`);
    await mkdir(folder);
    const url = new URL(this.server.url);
    url.port = String(database.port);
    const process = new PodProcess(url.href, folder, {
      TOWPATH_MASTER_KEY: this.masterKey,
      ...POD_ENVIRONMENT,
      ...environmentOf(stompPort),
      ...this.options.environment,
      // By which the watchdog knows it.
      TMPDIR: this.folder,
    });
    this.pods.push({ process, slot, isEnded: false });
    await process.ready();
    return process;
  }

  private poolOf(pool: pg.Pool | null): pg.Pool {
    if (pool === null) throw new Error('there is no database yet');
    return pool;
  }
}

function newPool(connectionString: string): pg.Pool {
  const types = new pg.TypeOverrides();
  types.setTypeParser(pg.types.builtins.INT8, Number);
  const pool = new pg.Pool({
    connectionString,
    max: 3,
    types,
    connectionTimeoutMillis: ANSWER_MS,
    query_timeout: ANSWER_MS,
  });
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  return pool;
}

function portOf(url: string): number {
  return Number(new URL(url).port);
}

/** Clears up where this process cannot: it was killed. */
function watch(folder: string): void {
  const program = path.join(import.meta.dirname, '..', 'support', 'watchdog.mjs');
  spawn(process.execPath, [program, String(process.pid), folder], { detached: true, stdio: 'ignore' }).unref();
}
