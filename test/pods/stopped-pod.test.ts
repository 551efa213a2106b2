import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { checkHistory } from '../history/check.js';
import { clock } from '../history/history.js';
import { runLoad } from '../history/load.js';
import { RecordedQueue } from '../history/recorded-queue.js';
import { settle } from '../history/settle.js';
import { startPodProcesses, type PodProcesses } from './pod-process.js';
import { message, until } from './support.js';

const LOAD_SECONDS = 8;

describe('SIGTERM', () => {
  let all: PodProcesses;
  beforeEach(async () => {
    all = await startPodProcesses(1, { TOWPATH_DATABASE_WAIT_SECONDS: '30' });
  });
  afterEach(() => all.stop());

  /** Holds what writes into the table, until the answer is called. */
  async function hold(table: string): Promise<() => Promise<void>> {
    const client = new pg.Client({ connectionString: all.test.url });
    await client.connect();
    await client.query('begin');
    await client.query(`lock table towpath.${table} in exclusive mode`);
    return async () => {
      await client.query('commit');
      await client.end();
    };
  }

  async function untilHeld(call: string): Promise<void> {
    await until(async () => {
      const rows = await all.test.sql(
        `select from pg_stat_activity where wait_event_type = 'Lock' and query like $1 and datname = current_database()`,
        [`%${call}%`],
      );
      return rows.length > 0;
    }, `a statement with ${call} is held`);
  }

  it('drains: not ready, parked polls answered empty, work under way finished, exit code 0, nothing left', async () => {
    const [pod] = all.pods;
    if (pod === undefined) throw new Error('there is no pod');
    const queue = await RecordedQueue.create(
      { urls: [pod.url], ...all.credentials },
      { visibilityInSeconds: 30, deadLetterQueueDeliveryCount: 5 },
    );
    // Ten parked polls, a put under way, and the maintenance under way, which the stop waits for before it closes the
    // door: so there is time to look.
    const polls = Array.from({ length: 10 }, () => queue.get(0, { timeoutInSeconds: 30 }));
    const metrics = async (): Promise<string> => (await fetch(`${pod.url}/metrics`)).text();
    await until(async () => /^towpath_waiters 10$/m.test(await metrics()), 'ten polls are parked');
    const releaseLease = await hold('lease');
    const releasePut = await hold('message_delta');
    const putting = queue.put(0, [message('under way')]);
    await untilHeld('put_sealed_messages');
    await untilHeld('take_lease');
    expect((await fetch(`${pod.url}/readyz`)).status).toBe(200);

    pod.signal('SIGTERM');
    const stoppedAt = clock();
    await until(async () => (await fetch(`${pod.url}/readyz`)).status === 503, 'it is not ready any more');
    expect((await fetch(`${pod.url}/livez`)).status).toBe(200);
    // Empty, with 200: what the client's loop takes as nothing there.
    expect(await Promise.all(polls)).toEqual(polls.map(() => []));
    await releaseLease();
    // Give the stop the time to close the door, should it not wait for the put.
    await until(async () => {
      try {
        await fetch(`${pod.url}/livez`);
        return false;
      } catch {
        return true;
      }
    }, 'it takes no new connections');
    expect(pod.hasEnded).toBe(false);
    await releasePut();
    expect(await putting).toBe('done');
    expect(await pod.ended()).toBe(0);
    process.stdout.write(`a stop took ${Math.round(clock() - stoppedAt)} ms\n`);
    await until(async () => {
      const rows = await all.test.sql<{ application_name: string }>(
        `select application_name from pg_stat_activity
         where datname = current_database() and application_name like 'towpath%'`,
      );
      return rows.length === 0;
    }, 'no connection is left');
    const rows = await all.test.sql(`select from towpath.message`);
    expect(rows).toHaveLength(1);
    // The lease was given back, so the next pod need not wait for its end.
    expect(await all.test.sql(`select from towpath.lease`)).toEqual([]);
  }, 300_000);

  it('under load, one pod after the other, breaks no promise and answers no error', async () => {
    await all.add();
    const queue = await RecordedQueue.create(
      { urls: all.pods.map(({ url }) => url), ...all.credentials },
      { visibilityInSeconds: 1, deadLetterQueueDeliveryCount: 3 },
    );
    const restarting = (async (): Promise<void> => {
      for (const index of [0, 1]) {
        await sleep((LOAD_SECONDS * 1000) / 4);
        const successor = await all.add();
        const old = all.pods[index]!;
        queue.moveTo(index, successor.url);
        old.signal('SIGTERM');
        expect(await old.ended()).toBe(0);
      }
    })();
    const counts = await runLoad(queue, { seconds: LOAD_SECONDS });
    await restarting;
    await settle(queue, all.test);
    process.stdout.write(`both pods were replaced: ${JSON.stringify(counts)}\n`);
    expect(checkHistory(queue.history)).toEqual([]);
    expect(queue.surprises).toEqual([]);
    expect(queue.unavailable).toEqual([]);
  }, 420_000);
});
