import { randomUUID } from 'node:crypto';
import type { DeliveredMessage } from '../../src/database/message-functions.js';
import { quantile, until } from '../pods/support.js';
import { makeQueue, type Queue } from '../sql/support.js';
import { CrashingServer } from './crashing-server.js';

/*
 * What is left of what was confirmed when the server crashes: all of its processes are killed. What they have written is with the kernel and
 * survives; what only their memory held of the WAL is lost, and that is what the confirmations of a FULL queue wait for.
 *
 * Nothing here is luck: the processes that write WAL by themselves are stopped (SIGSTOP) before what is to be lost. From then
 * on nothing reaches the kernel but what a commit waits for.
 */

const BEFORE = 20;
const WRITERS = 4;
const ROUNDS = 25;
const LAST = 40;
const LAST_DELETED = 5;

interface Confirmed {
  /** Contents, in the order of their confirmations. */
  readonly put: string[];
  readonly deleted: string[];
  /** Whose deletion was asked for, confirmed or not. */
  readonly asked: Set<string>;
  /** Message and receipt number of each delivery. */
  readonly delivered: string[];
}

const receiptOf = ({ id, receiptNumber }: DeliveredMessage): string => `${id}/${receiptNumber}`;

/** All at once, each for so many rounds: puts, and deliveries of which every other is finished. */
async function load(service: CrashingServer, { queue, confirmed }: Side): Promise<void> {
  const write = async (): Promise<void> => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const content = randomUUID();
      await service.put(queue.id, content);
      confirmed.put.push(content);
      for (const delivery of await service.get(queue.id, 1)) {
        confirmed.delivered.push(receiptOf(delivery));
        if (round % 2 === 0) await finish(service, { queue, confirmed }, delivery);
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: WRITERS }, write));
  const failed = ends.find(({ status }) => status === 'rejected');
  if (failed !== undefined) throw new Error('a request has failed', { cause: failed });
}

async function finish(service: CrashingServer, { queue, confirmed }: Side, delivery: DeliveredMessage): Promise<void> {
  const content = delivery.content.toString();
  confirmed.asked.add(content);
  await service.finish(queue.id, delivery);
  confirmed.deleted.push(content);
}

interface Side {
  readonly queue: Queue;
  readonly confirmed: Confirmed;
}

interface Crash {
  readonly confirmed: Confirmed;
  /** Puts that were confirmed and are undone, in the order of their confirmations. */
  readonly lost: readonly string[];
  /** Messages that are there though their deletion was confirmed. */
  readonly undeleted: readonly string[];
  /** Receipts that were given out before the crash and again after it. */
  readonly repeated: readonly string[];
}

async function makeSide(service: CrashingServer, durability: string): Promise<Side> {
  const queue = await makeQueue(service.run, { durability });
  const confirmed: Confirmed = { put: [], deleted: [], asked: new Set(), delivered: [] };
  for (let n = 0; n < BEFORE; n += 1) {
    await service.put(queue.id, `before ${n}`);
    confirmed.put.push(`before ${n}`);
  }
  return { queue, confirmed };
}

/** Load on a FULL queue beside a RELAXED one, then puts and deletions without deliveries, on the RELAXED one at last; and a crash. */
async function crash(service: CrashingServer): Promise<{ readonly full: Crash; readonly relaxed: Crash }> {
  const [full, relaxed] = [await makeSide(service, 'FULL'), await makeSide(service, 'RELAXED')];
  const sides = [full, relaxed];
  await service.stopBackgroundWriters();
  await Promise.all(sides.map((side) => load(service, side)));
  // The last that waits for the disk, but for what a FULL queue does.
  const toFinish = new Map<object, DeliveredMessage[]>();
  for (const { queue, confirmed } of sides) {
    const deliveries = await service.get(queue.id, LAST_DELETED);
    confirmed.delivered.push(...deliveries.map(receiptOf));
    toFinish.set(queue, deliveries);
  }
  for (const { queue, confirmed } of [full, relaxed]) {
    for (let n = 0; n < LAST; n += 1) {
      await service.put(queue.id, `last ${n}`);
      confirmed.put.push(`last ${n}`);
      const delivery = toFinish.get(queue)?.[n];
      if (delivery !== undefined) await finish(service, { queue, confirmed }, delivery);
    }
  }
  await service.crash();
  return { full: await lookInto(service, full), relaxed: await lookInto(service, relaxed) };
}

async function lookInto(service: CrashingServer, { queue, confirmed }: Side): Promise<Crash> {
  await queue.timeOut();
  const found: DeliveredMessage[] = [];
  for (let some = await service.get(queue.id, 100); some.length > 0; some = await service.get(queue.id, 100)) {
    found.push(...some);
  }
  const contents = new Set(found.map(({ content }) => content.toString()));
  expect(contents.size).toBe(found.length);
  const before = new Set(confirmed.delivered);
  expect(before.size).toBe(confirmed.delivered.length);
  return {
    confirmed,
    lost: confirmed.put.filter((content) => !contents.has(content) && !confirmed.asked.has(content)),
    undeleted: confirmed.deleted.filter((content) => contents.has(content)),
    repeated: found.map(receiptOf).filter((receipt) => before.has(receipt)),
  };
}

describe('when the server of the database crashes', () => {
  let service: CrashingServer;
  beforeEach(async () => {
    service = await CrashingServer.start();
  });
  afterEach(() => service.stop());

  it('a FULL queue keeps all that was confirmed, a RELAXED one beside it all but the last, and no receipt repeats', async () => {
    const { full, relaxed } = await crash(service);
    expect(full).toMatchObject({ lost: [], undeleted: [], repeated: [] });
    expect(full.confirmed.deleted.length).toBeGreaterThan(WRITERS);
    // All of them since the last commit that waited for the disk, which took everything before it along.
    const last = Array.from({ length: LAST }, (_, n) => `last ${n}`);
    expect(relaxed).toMatchObject({
      lost: last,
      undeleted: relaxed.confirmed.deleted.slice(-LAST_DELETED),
      repeated: [],
    });
  });

  it('and no less when it is killed in the midst of all that', async () => {
    const [full, relaxed] = [await makeSide(service, 'FULL'), await makeSide(service, 'RELAXED')];
    // Each ends with an error, when the server is gone.
    const loads = [full, relaxed].map(async (side) => {
      for (;;) await load(service, side);
    });
    const ended = Promise.allSettled(loads);
    await until(() => full.confirmed.put.length > 500 && relaxed.confirmed.put.length > 500, 'much is done');
    await service.crash();
    expect((await ended).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(await lookInto(service, full)).toMatchObject({ lost: [], undeleted: [], repeated: [] });
    expect(await lookInto(service, relaxed)).toMatchObject({ repeated: [] });
  });

  it('a RELAXED queue keeps what was confirmed some moments ago', async () => {
    const queue = await makeQueue(service.run, { durability: 'RELAXED' });
    const took: number[] = [];
    for (let round = 0; round < 10; round += 1) {
      await service.put(queue.id, `early ${round}`);
      const start = performance.now();
      const [{ lsn } = { lsn: '' }] = await service.run<{ lsn: string }>('select pg_current_wal_insert_lsn() as lsn');
      await until(async () => {
        const [row] = await service.run<{ done: boolean }>('select pg_current_wal_flush_lsn() >= $1::pg_lsn as done', [
          lsn,
        ]);
        return row?.done;
      }, 'it is on disk, with nobody waiting for that');
      took.push(performance.now() - start);
    }
    process.stdout.write(
      `on disk after: p50 ${quantile(took, 0.5).toFixed(0)}, at most ${quantile(took, 1).toFixed(0)} ms\n`,
    );
    // Three times wal_writer_delay are 600 ms; the machine may be busy.
    expect(Math.max(...took)).toBeLessThan(10_000);
    await service.stopBackgroundWriters();
    await service.put(queue.id, 'late');
    await service.crash();
    const found = await service.get(queue.id, 20);
    expect(found.map(({ content }) => content.toString())).toEqual(
      Array.from({ length: 10 }, (_, round) => `early ${round}`),
    );
  });

  it('this test would see it if FULL queues were relaxed', async () => {
    await service.run(`create or replace function towpath.as_relaxed(queue_ids bigint[], value anyelement)
      returns anyelement language plpgsql as $$
      begin
        perform set_config('synchronous_commit', 'off', true);
        return value;
      end $$`);
    const { full } = await crash(service);
    expect(full.lost).toContain(`last ${LAST - 1}`);
    expect(full.undeleted).toHaveLength(LAST_DELETED);
  });

  it('this test would see it if deliveries were relaxed', async () => {
    // All that happens to messages, or what else happens would take the deliveries along.
    await service.run(`create function public.relax() returns trigger language plpgsql as $$
      begin
        perform set_config('synchronous_commit', 'off', true);
        return null;
      end $$`);
    await service.run(`create trigger relax before insert or update or delete on towpath.message
      for each statement execute function public.relax()`);
    const { full, relaxed } = await crash(service);
    expect(full.repeated.length).toBeGreaterThan(0);
    expect(relaxed.repeated.length).toBeGreaterThan(0);
  });
});
