import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import { isDatabaseUnavailable } from '../errors/catalogue.js';
import { ServiceError } from '../errors/service-error.js';
import { FairSlots, type Turn } from '../fairness/fair-slots.js';
import { currentLane } from '../fairness/lane.js';
import type { DB } from './schema.generated.js';
import { parseTimestamp } from './timestamps.js';

/** A statement that is prepared once per connection under its name. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

// Ids stay below 2^53 by their sequence's maximum, because OCI's `id` is a JSON number: so bigint is a number here.
const types = new pg.TypeOverrides();
types.setTypeParser(pg.types.builtins.INT8, Number);
types.setTypeParser(pg.types.builtins.TIMESTAMPTZ, parseTimestamp);

const PING = { name: 'ping', text: 'select 1' };
const RETRY_EVERY_MS = 100;
/** As the pool says it. */
const TOO_LATE = 'timeout exceeded when trying to connect';
/** No statement of ours takes nearly as long: one that does hangs on a dead connection, or on somebody's lock. */
const STATEMENT_MS = 30_000;

/**
 * The pool of this pod. Hot statements go through `run`, everything else through `kysely`, which uses the same pool.
 * Where all connections are in use, callers get them in turn.
 *
 * While the database cannot be reached a request waits for a connection for at most `waitMs`, then fails with
 * ServiceUnavailable. A statement that was sent is never sent again: its outcome is unknown.
 */
export class Database {
  readonly kysely: Kysely<DB>;
  private readonly pool: pg.Pool;
  private readonly slots: FairSlots;

  constructor(
    readonly url: string,
    poolSize: number,
    private readonly waitMs: number,
    onIdleError: (error: Error) => void,
  ) {
    this.slots = new FairSlots(poolSize);
    this.pool = new pg.Pool({
      connectionString: url,
      max: poolSize,
      types,
      application_name: 'towpath',
      connectionTimeoutMillis: waitMs,
      query_timeout: STATEMENT_MS,
      keepAlive: true,
      // The isolation level and the time zone are ours to choose whatever the server's defaults are; a forgotten transaction ends by itself.
      options:
        '-c default_transaction_isolation=read\\ committed -c timezone=UTC -c idle_in_transaction_session_timeout=60000',
    });
    // An idle connection that breaks is no request's failure; the pool has dropped it already.
    this.pool.on('error', onIdleError);
    // One that breaks while it is in use but runs nothing tells it as an event too, and one that nobody listens to
    // would end the process. The statement that comes next fails.
    this.pool.on('connect', (client) => client.on('error', () => undefined));
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
      // A connection on which the server or the network failed is not used again. Nor is one on which a value could not
      // be sent: the half-sent statement would fail the next request too. Only the server's own no leaves it sound.
      client.release(isDatabaseUnavailable(error) || !(error instanceof pg.DatabaseError));
      throw error;
    }
  }

  /** Throws where the server does not answer. */
  async ping(): Promise<void> {
    await this.run(PING, []);
  }

  /** Connections in use, idle, and requests that wait for one. */
  get connections(): { readonly total: number; readonly idle: number; readonly waiting: number } {
    return { total: this.pool.totalCount, idle: this.pool.idleCount, waiting: this.slots.waiting };
  }

  async close(): Promise<void> {
    await this.pool.end();
  }

  /** Takes a connection, trying again while the server is away, for at most `waitMs`. Nothing was sent yet. */
  private async connect(): Promise<pg.PoolClient> {
    const deadline = performance.now() + this.waitMs;
    const lane = currentLane();
    for (;;) {
      try {
        const turn = this.slots.take(lane);
        if (turn !== undefined) await enterUntil(deadline, turn);
        return await this.connectUntil(deadline, lane);
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

  /** The pool gives every attempt the whole time; a connection that comes too late goes back, and with it the slot. */
  private async connectUntil(deadline: number, lane: string | null): Promise<pg.PoolClient> {
    const { promise: tooLate, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(new Error(TOO_LATE)), Math.max(0, deadline - performance.now()));
    const connecting = this.pool.connect().then(
      (client) => {
        const release = client.release.bind(client);
        client.release = (broken) => {
          release(broken);
          this.slots.give(lane);
        };
        return client;
      },
      (error: unknown) => {
        this.slots.give(lane);
        throw error;
      },
    );
    try {
      return await Promise.race([connecting, tooLate]);
    } catch (error) {
      connecting.then(
        (client) => client.release(),
        // It has failed, or fails, by itself.
        () => undefined,
      );
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Waits for a slot until the deadline; then it fails as the pool does. */
async function enterUntil(deadline: number, { entered, leave }: Turn): Promise<void> {
  const { promise: tooLate, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(TOO_LATE)), Math.max(0, deadline - performance.now()));
  try {
    await Promise.race([entered, tooLate]);
  } catch (error) {
    leave();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
