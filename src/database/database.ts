import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import { isDatabaseUnavailable } from '../errors/catalogue.js';
import { ServiceError } from '../errors/service-error.js';
import type { DB } from './schema.generated.js';

/** A statement that is prepared once per connection under its name. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

// Ids stay below 2^53 by their sequence's maximum, because OCI's `id` is a JSON number: so bigint is a number here.
const types = new pg.TypeOverrides();
types.setTypeParser(pg.types.builtins.INT8, Number);

const RETRY_EVERY_MS = 100;

/**
 * The pool of this pod. Hot statements go through `run`, everything else through `kysely`, which uses the same pool.
 *
 * While the database cannot be reached a request waits for a connection for at most `waitMs`, then fails with
 * ServiceUnavailable. A statement that was sent is never sent again: its outcome is unknown.
 */
export class Database {
  readonly kysely: Kysely<DB>;
  private readonly pool: pg.Pool;

  constructor(
    readonly url: string,
    poolSize: number,
    private readonly waitMs: number,
    onIdleError: (error: Error) => void,
  ) {
    this.pool = new pg.Pool({
      connectionString: url,
      max: poolSize,
      types,
      application_name: 'towpath',
      connectionTimeoutMillis: waitMs,
      // The isolation level is ours to choose whatever the server's default is; a forgotten transaction ends by itself.
      options: '-c default_transaction_isolation=read\\ committed -c idle_in_transaction_session_timeout=60000',
    });
    // An idle connection that breaks is no request's failure; the pool has dropped it already.
    this.pool.on('error', onIdleError);
    const connect = (): Promise<pg.PoolClient> => this.connect();
    this.kysely = new Kysely<DB>({
      // This pool of a pool waits for the server as `run` does; closing is our own `close`.
      dialect: new PostgresDialect({ pool: { connect, end: () => Promise.resolve(), options: {} } }),
    });
  }

  /** Runs one prepared statement in a transaction of its own and returns its rows. */
  async run<Row extends pg.QueryResultRow>(statement: Statement, values: readonly unknown[]): Promise<Row[]> {
    const client = await this.connect();
    try {
      const result = await client.query<Row>({ name: statement.name, text: statement.text, values: [...values] });
      client.release();
      return result.rows;
    } catch (error) {
      // A connection on which the server or the network failed is not used again.
      client.release(isDatabaseUnavailable(error));
      throw error;
    }
  }

  /** Connections in use, idle, and requests that wait for one. */
  get connections(): { readonly total: number; readonly idle: number; readonly waiting: number } {
    return { total: this.pool.totalCount, idle: this.pool.idleCount, waiting: this.pool.waitingCount };
  }

  async close(): Promise<void> {
    await this.pool.end();
  }

  /** Takes a connection, trying again while the server is away, for at most `waitMs`. Nothing was sent yet. */
  private async connect(): Promise<pg.PoolClient> {
    const deadline = performance.now() + this.waitMs;
    for (;;) {
      try {
        return await this.pool.connect();
      } catch (error) {
        if (!isDatabaseUnavailable(error)) throw error;
        if (performance.now() + RETRY_EVERY_MS >= deadline) {
          throw new ServiceError('ServiceUnavailable', 'the database cannot be reached at the moment: try again', {
            cause: error,
          });
        }
        await new Promise((resolve) => setTimeout(resolve, RETRY_EVERY_MS));
      }
    }
  }
}
