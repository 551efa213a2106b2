import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { Database } from '../../src/database/database.js';
import { MessageFunctions, type DeliveredMessage } from '../../src/database/message-functions.js';
import { PutFunctions } from '../../src/database/put-functions.js';
import { migrate } from '../../src/database/migrator.js';
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../src/embedded-postgres/embedded-postgres.js';
import type { Run } from '../sql/support.js';

const SETTINGS = {
  // Only the machine must not fall over.
  fsync: 'off',
  autovacuum: 'off',
  checkpoint_timeout: '1h',
  // A full buffer of WAL would be written.
  wal_buffers: '16MB',
};
const CONNECTIONS = 8;

/** A server with the schema, whose processes can be killed, and what pods do with messages on it. */
export class CrashingServer {
  private database: Database;
  private functions: MessageFunctions;
  private readonly pool: pg.Pool;
  private stopped: number[] = [];

  private constructor(
    private readonly dataDirectory: string,
    readonly server: EmbeddedPostgres,
  ) {
    this.database = new Database(server.url, CONNECTIONS, 10_000, () => undefined);
    this.functions = new MessageFunctions(this.database);
    const types = new pg.TypeOverrides();
    types.setTypeParser(pg.types.builtins.INT8, Number);
    // The superuser of this server sees its processes.
    const url = new URL(server.superuserUrl);
    url.pathname = new URL(server.url).pathname;
    this.pool = new pg.Pool({ connectionString: url.href, max: 1, types });
    this.pool.on('error', () => undefined);
  }

  static async start(): Promise<CrashingServer> {
    const dataDirectory = await mkdtemp(path.join(tmpdir(), 'towpath-crash-'));
    const server = await startEmbeddedPostgres({ dataDirectory, settings: SETTINGS });
    await migrate(server.url, path.resolve(import.meta.dirname, '../../migrations'), () => undefined);
    return new CrashingServer(dataDirectory, server);
  }

  readonly run: Run = async (text, values = []) => (await this.pool.query(text, [...values])).rows;

  /** Puts one message, as a pod that believes of any queue that it is RELAXED: the queue's row decides. */
  async put(queueId: number, content: string): Promise<void> {
    const message = {
      content: Buffer.from(content),
      channelId: '',
      properties: null,
      delayInSeconds: 0,
      sizeInBytes: content.length,
    };
    await new PutFunctions(this.database).put(queueId, [message], 256, undefined, 'RELAXED');
  }

  async get(queueId: number, limit: number): Promise<DeliveredMessage[]> {
    return this.functions.get({
      queueId,
      consumerGroupId: 0,
      deadLetter: false,
      channelId: null,
      afterChannelId: '',
      limit,
      visibilityInSeconds: 600,
      deliveredTo: 'somebody',
      maxBytes: 1_000_000,
      visibleFrom: null,
    });
  }

  /** Deletes the message. */
  async finish(queueId: number, delivery: DeliveredMessage): Promise<void> {
    const range = { queueId, consumerGroupId: 0, deadLetter: false };
    const [isDeleted] = await this.functions.delete(range, [delivery], 'RELAXED');
    if (isDeleted !== true) throw new Error('nobody else has the message');
  }

  /** From now on WAL is written by commits that wait for it, and by nothing else. */
  async stopBackgroundWriters(): Promise<void> {
    await this.run('checkpoint');
    const rows = await this.run<{ pid: number }>(
      `select pid from pg_stat_activity where backend_type in ('walwriter', 'background writer', 'checkpointer')`,
    );
    if (rows.length !== 3) throw new Error('processes that write by themselves were not found');
    for (const { pid } of rows) {
      process.kill(pid, 'SIGSTOP');
      this.stopped.push(pid);
    }
  }

  /** Kills all processes of the server, those that are stopped too, and starts it again. */
  async crash(): Promise<void> {
    const rows = await this.run<{ pid: number }>('select pid from pg_stat_activity');
    process.kill(this.server.processId, 'SIGKILL');
    for (const { pid } of rows) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has noticed that the postmaster is gone.
      }
    }
    this.stopped = [];
    await this.database.close();
    await this.server.restart();
    this.database = new Database(this.server.url, CONNECTIONS, 10_000, () => undefined);
    this.functions = new MessageFunctions(this.database);
  }

  async stop(): Promise<void> {
    // Of a test that has failed before its crash.
    for (const pid of this.stopped) process.kill(pid, 'SIGCONT');
    await this.database.close();
    await this.pool.end();
    await this.server.stop();
    await rm(this.dataDirectory, { recursive: true, force: true, maxRetries: 5 });
  }
}
