import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { checkHistory } from '../history/check.js';
import { clock } from '../history/history.js';
import { runLoad } from '../history/load.js';
import { settle } from '../history/settle.js';
import { RecordedQueue, type QueueSettings } from '../history/recorded-queue.js';
import { startPodProcesses, type PodProcesses } from './pod-process.js';
import { message, until } from './support.js';

const LOAD_SECONDS = 10;
const ROUNDS = 8;
/** A client that puts 20 messages at a time, one put after another, and says when the first was done. */
const PUTTER = `
  const { PUT_URL, API_KEY, ROUND } = process.env;
  const headers = { authorization: 'Bearer ' + API_KEY, 'content-type': 'application/json' };
  for (let put = 0; ; put += 1) {
    const messages = Array.from({ length: 20 }, () => ({ content: ROUND + '/' + put + ' ' + 'x'.repeat(5000) }));
    await fetch(PUT_URL, { method: 'POST', headers, body: JSON.stringify({ messages }) });
    console.log(put);
  }`;

describe('kill -9', () => {
  let all: PodProcesses;
  beforeEach(async () => {
    all = await startPodProcesses(2);
  });
  afterEach(() => all.stop());

  function newQueue(settings: QueueSettings): Promise<RecordedQueue> {
    return RecordedQueue.create({ urls: all.pods.map(({ url }) => url), ...all.credentials }, settings);
  }

  it('of a pod with a claim under way costs a visibility timeout and one delivery, no more', async () => {
    const queue = await newQueue({ visibilityInSeconds: 2, deadLetterQueueDeliveryCount: 5 });
    await queue.put(0, [message('held'), message('under way')]);
    const [held] = (await queue.get(0)) ?? [];
    const client = new pg.Client({ connectionString: all.test.url });
    await client.connect();
    await client.query('begin');
    await client.query('lock table towpath.message in access exclusive mode');
    // One, which has to be the other: the first is visible again in a moment, but later than that.
    const underWay = queue.get(0, { limit: 1 });
    await until(async () => {
      const rows = await all.test.sql(
        `select from pg_stat_activity
         where wait_event_type = 'Lock' and query like '%get_messages%' and datname = current_database()`,
      );
      return rows.length > 0;
    }, 'a claim waits');
    await all.pods[0]!.killed();
    await client.query('commit');
    await client.end();
    expect(await underWay).toBeNull();

    const back: { key: string; deliveryCount: number; at: number }[] = [];
    while (back.length < 2) {
      for (const { key, deliveryCount, receipt } of (await queue.get(1, { limit: 20, timeoutInSeconds: 20 })) ?? []) {
        back.push({ key, deliveryCount, at: clock() });
        await queue.delete(1, [receipt]);
      }
    }
    expect(back.map(({ key }) => key).toSorted()).toEqual(['held', 'under way']);
    const again = back.find(({ key }) => key === held?.key);
    expect(again?.deliveryCount).toBe(2);
    expect(again?.at).toBeGreaterThanOrEqual(held!.visibleAfter - 100);
    // PostgreSQL may have finished the claim that nobody waited for any more, or not.
    expect([1, 2]).toContain(back.find(({ key }) => key !== held?.key)?.deliveryCount);
    queue.moveTo(0, all.pods[1]!.url);
    await settle(queue, all.test);
    expect(checkHistory(queue.history)).toEqual([]);
  }, 300_000);

  it('of a pod under load breaks no promise', async () => {
    const queue = await newQueue({ visibilityInSeconds: 1, deadLetterQueueDeliveryCount: 3 });
    const killing = sleep((LOAD_SECONDS * 1000) / 2).then(() => all.pods[0]!.killed());
    const counts = await runLoad(queue, { seconds: LOAD_SECONDS });
    await killing;
    const again = await all.add();
    queue.moveTo(0, again.url);
    await settle(queue, all.test);
    process.stdout.write(`a pod was killed: ${JSON.stringify(counts)}\n`);
    expect(checkHistory(queue.history)).toEqual([]);
    expect(queue.surprises).toEqual([]);
    expect(counts.unknown).toBeGreaterThan(0);
  }, 420_000);

  it('of the pod that does the maintenance lets another one take over', async () => {
    const holder = async (): Promise<string | undefined> => {
      const rows = await all.test.sql<{ holder: string }>(
        `select holder from towpath.lease where expires_at > clock_timestamp()`,
      );
      return rows[0]?.holder;
    };
    await until(async () => (await holder()) !== undefined, 'one pod has the lease');
    const first = await holder();
    // It was taken by one of the two that run; both die, so the leader is among them.
    await all.add();
    const queue = await newQueue({ visibilityInSeconds: 1, deadLetterQueueDeliveryCount: 1 });
    const killedAt = clock();
    await Promise.all([all.pods[0]!.killed(), all.pods[1]!.killed()]);
    await until(async () => ![undefined, first].includes(await holder()), 'another pod has the lease');
    process.stdout.write(`the maintenance was taken over after ${Math.round(clock() - killedAt)} ms\n`);
    // And it does the work: a last delivery that times out becomes a dead letter without anybody reading the queue.
    await queue.put(2, [message('dead soon')]);
    expect(await queue.get(2)).toHaveLength(1);
    const [dead] = (await queue.get(2, { deadLetter: true, timeoutInSeconds: 30 })) ?? [];
    expect(dead).toMatchObject({ key: 'dead soon', deliveryCount: 2 });
  }, 300_000);

  it('of a client whose put is under way leaves all of its messages or none', async () => {
    const queue = await newQueue({ visibilityInSeconds: 30, deadLetterQueueDeliveryCount: 5 });
    const url = `${all.pods[0]!.url}/20210201/queues/${queue.id}/messages`;
    for (let round = 0; round < ROUNDS; round += 1) {
      const client = spawn(process.execPath, ['--input-type=module', '-e', PUTTER], {
        env: { PUT_URL: url, API_KEY: all.credentials.apiKey, ROUND: String(round) },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      // It has put at least once; then it is cut off somewhere in the following puts.
      await once(client.stdout, 'data');
      await sleep(Math.random() * 50);
      client.kill('SIGKILL');
      await once(client, 'exit');
    }
    // Whatever arrived of the last puts is done with.
    await until(async () => {
      const [row] = await all.test.sql<{ n: number }>(
        `select count(*)::int as n from pg_stat_activity
         where application_name = 'towpath' and state <> 'idle' and datname = current_database()`,
      );
      return row?.n === 0;
    }, 'no statement is under way');
    const puts = await all.test.sql<{ put: string; messages: number }>(
      // Contents are sealed; those of one put have one time.
      `select created_at::text as put, count(*)::int as messages from towpath.message group by 1`,
    );
    expect(puts.length).toBeGreaterThanOrEqual(ROUNDS);
    expect(puts.filter(({ messages }) => messages !== 20)).toEqual([]);
  }, 300_000);
});
