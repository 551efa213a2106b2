import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

export interface MessageRow {
  readonly id: number;
  readonly channel_id: string;
  readonly body: Buffer;
  readonly delivery_count: number;
  readonly delivery_limit: number | null;
  readonly receipt_number: number;
  readonly dead_letter: boolean;
  readonly visible_after: Date;
  readonly expire_after: Date;
  readonly created_at: Date;
  readonly delivered_at: Date | null;
  readonly delivered_to: string | null;
  readonly dead_lettered_at: Date | null;
  readonly properties: Record<string, string> | null;
  readonly size_in_bytes: number;
}

export interface WorkRequestRow {
  readonly id: number;
  readonly ocid: string;
  readonly operation_type: string;
  readonly status: string;
  readonly action_type: string;
  readonly identifier: string;
  readonly compartment_id: string;
  readonly percent_complete: number;
  readonly time_started: Date | null;
  readonly time_finished: Date | null;
}

export interface StatsRow {
  readonly visible_messages: number;
  readonly in_flight_messages: number;
  readonly size_in_bytes: number;
  readonly dead_visible_messages: number;
  readonly dead_in_flight_messages: number;
  readonly dead_size_in_bytes: number;
}

/** Anything that runs one statement: the test's pool, or one session of it. */
export type Run = TestDatabase['sql'];

export interface Receipt {
  readonly id: number;
  readonly receipt_number: number;
}

export interface GetOptions {
  readonly dead?: boolean;
  /** Absent: the next in turn. */
  readonly channel?: string | null;
  readonly after?: string;
  readonly limit?: number;
  readonly visibility?: number | null;
  readonly maxBytes?: number;
  readonly to?: string;
}

/** One queue and the SQL functions on it; `by` lets one session of several do it. */
export class Queue {
  constructor(
    readonly id: number,
    readonly ocid: string,
    readonly tenancy: string,
    private readonly run: Run,
  ) {}

  by(run: Run): Queue {
    return new Queue(this.id, this.ocid, this.tenancy, run);
  }

  sql<Row extends pg.QueryResultRow>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    return this.run<Row>(text, values);
  }

  async put(contents: readonly string[], channel = '', delay = 0): Promise<number[]> {
    const rows = await this.run<{ id: number }>(
      'select id from towpath.put_messages($1, $2, channel_id => $3, delay_in_seconds => $4)',
      [this.id, [...contents], channel, delay],
    );
    return rows.map(({ id }) => id);
  }

  async putMany(count: number, channel = ''): Promise<number[]> {
    return this.put(
      Array.from({ length: count }, (_, index) => String(index)),
      channel,
    );
  }

  async get(options: GetOptions = {}): Promise<MessageRow[]> {
    return this.run<MessageRow & pg.QueryResultRow>(
      'select * from towpath.get_messages($1, 0, $2, $3, $4, $5, $6, $7, $8)',
      [
        this.id,
        options.dead ?? false,
        options.channel ?? null,
        options.after ?? '',
        options.limit ?? 1,
        options.visibility === undefined ? 30 : options.visibility,
        options.to ?? 'somebody',
        options.maxBytes ?? 2_097_152,
      ],
    );
  }

  async getOne(options: GetOptions = {}): Promise<MessageRow> {
    const [message] = await this.get(options);
    if (message === undefined) throw new Error('nothing was delivered');
    return message;
  }

  async update(
    entries: readonly (Receipt & { readonly seconds: number })[],
    dead = false,
  ): Promise<{ updated: boolean; visible_after: Date | null; channel_id: string | null }[]> {
    return this.run('select * from towpath.update_messages($1, 0, $2, $3, $4, $5)', [
      this.id,
      dead,
      entries.map(({ id }) => id),
      entries.map(({ receipt_number }) => receipt_number),
      entries.map(({ seconds }) => seconds),
    ]);
  }

  async delete(receipts: readonly Receipt[], dead = false): Promise<boolean[]> {
    const rows = await this.run<{ deleted: boolean }>(
      'select deleted from towpath.delete_messages($1, 0, $2, $3, $4) as deleted',
      [this.id, dead, receipts.map(({ id }) => id), receipts.map(({ receipt_number }) => receipt_number)],
    );
    return rows.map(({ deleted }) => deleted);
  }

  async release(receipts: readonly Receipt[], dead = false): Promise<number[]> {
    const rows = await this.run<{ id: number }>('select id from towpath.release_messages($1, 0, $2, $3, $4) as id', [
      this.id,
      dead,
      receipts.map(({ id }) => id),
      receipts.map(({ receipt_number }) => receipt_number),
    ]);
    return rows.map(({ id }) => id);
  }

  async stats(channel: string | null = null): Promise<StatsRow> {
    return one(
      await this.run<StatsRow & pg.QueryResultRow>('select * from towpath.get_stats($1, 0, $2)', [this.id, channel]),
    );
  }

  async inFlight(channel: string | null = null, atMost = 100_000, dead = false): Promise<number> {
    return this.value('towpath.count_in_flight($1, 0, $2, $3, $4)', [dead, channel, atMost]);
  }

  async channels(dead = false, channel: string | null = null, after = '', max = 1000): Promise<string[]> {
    const rows = await this.run<{ c: string }>('select c from towpath.list_channels($1, 0, $2, $3, $4, $5) as c', [
      this.id,
      dead,
      channel,
      after,
      max,
    ]);
    return rows.map(({ c }) => c);
  }

  /** Seconds from now until the next message is visible. */
  async nextVisible(channel: string | null = null, dead = false): Promise<number | null> {
    return this.value('extract(epoch from towpath.next_visible_after($1, 0, $2, $3) - clock_timestamp())::float8', [
      dead,
      channel,
    ]);
  }

  async sweepTimedOut(batch = 500): Promise<number> {
    return this.value('towpath.sweep_timed_out_deliveries($1, $2)', [batch]);
  }

  async sweepExpired(batch = 500): Promise<number> {
    return this.value('towpath.sweep_expired_messages($1, 0, $2)', [batch]);
  }

  async fold(batch = 2000): Promise<number> {
    return this.value('towpath.fold_message_deltas($1, $2)', [batch]);
  }

  async change(changes: object, ifMatch: string | null = null): Promise<WorkRequestRow> {
    return this.workRequest('update_queue($1, $2, $3, $4)', [changes, ifMatch]);
  }

  async purge(details: object, ifMatch: string | null = null): Promise<WorkRequestRow> {
    return this.workRequest('purge_queue($1, $2, $3, $4)', [details, ifMatch]);
  }

  async remove(ifMatch: string | null = null): Promise<WorkRequestRow> {
    return this.workRequest('delete_queue($1, $2, $3)', [ifMatch]);
  }

  async state(): Promise<{ lifecycle_state: string; lifecycle_details: string | null; version: number }> {
    return one(
      await this.run('select lifecycle_state, lifecycle_details, version from towpath.queue where id = $1', [this.id]),
    );
  }

  /** What the table has, oldest first. */
  async rows(): Promise<MessageRow[]> {
    return this.run<MessageRow & pg.QueryResultRow>('select * from towpath.message where queue_id = $1 order by id', [
      this.id,
    ]);
  }

  /** Lets the visibility timeouts of all messages end, as time would. */
  async timeOut(): Promise<void> {
    await this.run(
      // One time for all, so that the order among them is that of their ids.
      `update towpath.message set visible_after = now() where queue_id = $1 and visible_after > now()`,
      [this.id],
    );
  }

  /** Makes everything that there is so many seconds older. */
  async age(seconds: number): Promise<void> {
    await this.run(
      `update towpath.message set visible_after = visible_after - make_interval(secs => $2),
       expire_after = expire_after - make_interval(secs => $2), created_at = created_at - make_interval(secs => $2)
       where queue_id = $1`,
      [this.id, seconds],
    );
  }

  private async value<Value>(expression: string, values: readonly unknown[]): Promise<Value> {
    return one(await this.run<{ value: Value }>(`select ${expression} as value`, [this.id, ...values])).value;
  }

  private async workRequest(call: string, values: readonly unknown[]): Promise<WorkRequestRow> {
    return one(
      await this.run<WorkRequestRow & pg.QueryResultRow>(`select * from towpath.${call}`, [
        this.tenancy,
        this.ocid,
        ...values,
      ]),
    );
  }
}

export function one<Row>(rows: readonly Row[]): Row {
  const [row] = rows;
  if (row === undefined) throw new Error('no row');
  return row;
}

export async function makeTenancy(run: Run): Promise<string> {
  const name = `t-${randomBytes(6).toString('hex')}`;
  return one(await run<{ id: string }>('select id from towpath.create_tenancy($1)', [name])).id;
}

export async function makeQueue(run: Run, details: Record<string, unknown> = {}, tenancy?: string): Promise<Queue> {
  const owner = tenancy ?? (await makeTenancy(run));
  const { identifier, queue_id } = one(
    await run<{ identifier: string; queue_id: number }>('select * from towpath.create_queue($1, $2)', [
      owner,
      { displayName: 'test', compartmentId: owner, ...details },
    ]),
  );
  return new Queue(queue_id, identifier, owner, run);
}

/** Runs the work requests of this database to their end; returns the number of steps. */
export async function runWorkRequests(run: Run, batch = 1000): Promise<number> {
  for (let steps = 0; ; steps += 1) {
    const [row] = await run<{ status: string | null }>('select towpath.run_work_request_step(null, $1) as status', [
      batch,
    ]);
    if (row?.status === null || row === undefined) return steps;
  }
}

/** A connection of its own, for what happens between two sessions. */
export class Session {
  private constructor(
    private readonly client: pg.Client,
    readonly pid: number,
  ) {}

  static async open(url: string): Promise<Session> {
    const types = new pg.TypeOverrides();
    types.setTypeParser(pg.types.builtins.INT8, Number);
    // What waits for a lock where it should not fails, long after the slowest machine would have been done.
    const client = new pg.Client({ connectionString: url, types, options: '-c lock_timeout=20000' });
    client.on('error', () => undefined);
    await client.connect();
    const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
    return new Session(client, one(rows).pid);
  }

  readonly run: Run = async (text, values = []) => (await this.client.query(text, [...values])).rows;

  /** Calls with the payload of every notification that this session hears. */
  onNotification(listener: (payload: string) => void): void {
    this.client.on('notification', ({ payload }) => listener(payload ?? ''));
  }

  async close(): Promise<void> {
    await this.client.end();
  }
}

/** Resolves when the session waits for a lock: what it was asked to do has come to the point where it must. */
export async function untilBlocked(run: Run, session: Session): Promise<void> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    if (performance.now() > deadline) throw new Error('the session does not wait for a lock');
    const rows = await run(`select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'`, [session.pid]);
    if (rows.length > 0) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A database for a test file, with all that it opens closed in the end. */
export function useDatabase(): {
  readonly run: Run;
  readonly test: () => TestDatabase;
  readonly session: () => Promise<Session>;
} {
  let test: TestDatabase | undefined;
  const sessions: Session[] = [];
  const opened = (): TestDatabase => {
    if (test === undefined) throw new Error('beforeAll has not run');
    return test;
  };
  beforeAll(async () => {
    test = await createTestDatabase();
  });
  afterEach(async () => {
    await Promise.all(sessions.splice(0).map((session) => session.close()));
  });
  afterAll(async () => {
    await test?.drop();
  });
  return {
    run: (text, values) => opened().sql(text, values),
    test: opened,
    session: async () => {
      const session = await Session.open(opened().url);
      sessions.push(session);
      return session;
    },
  };
}
