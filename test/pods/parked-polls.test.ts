import { Agent, request } from 'node:http';
import pg from 'pg';
import { MergeCounts } from '../../src/messages/merging/merge-counts.js';
import { WakeUps } from '../../src/messages/waiting/wake-ups.js';
import { clock } from '../history/history.js';
import { message, startPodsAndQueue, until, untilParked, waitersOf, type PodsAndQueue } from './support.js';

const POLLS = 200;

describe('parked long polls', () => {
  let all: PodsAndQueue;
  beforeAll(async () => {
    all = await startPodsAndQueue(2);
  });
  afterAll(() => all.pods.stop());

  /** Holds every claim, until the answer is called, and ends all delays behind it. */
  async function holdClaims(): Promise<() => Promise<void>> {
    const client = new pg.Client({ connectionString: all.pods.test.url });
    await client.connect();
    await client.query('begin');
    await client.query('lock table towpath.message in access exclusive mode');
    await client.query('update towpath.message set visible_after = clock_timestamp() where delivery_count = 0');
    return async () => {
      await client.query('commit');
      await client.end();
    };
  }

  async function statementsUnderWay(condition: string): Promise<number> {
    const rows = await all.pods.test.sql<{ n: number }>(
      `select count(*)::int as n from pg_stat_activity
       where datname = current_database() and application_name = 'towpath' and state <> 'idle' and ${condition}`,
    );
    return rows[0]?.n ?? 0;
  }

  it('hold no connection to the database, however many they are', async () => {
    const { pods, queue } = all;
    const gone = new AbortController();
    const polls = Array.from({ length: POLLS }, () => queue.get(1, { timeoutInSeconds: 30, signal: gone.signal }));
    await untilParked(pods.pods[1]!, POLLS);
    const { database } = pods.pods[1]!;
    await until(() => database.connections.idle === database.connections.total, 'all connections are idle');
    expect(database.connections.waiting).toBe(0);
    // But now and then the heartbeats, and what the maintenance has to do.
    await until(async () => (await statementsUnderWay('true')) === 0, 'no statement is under way');
    const [backends] = await pods.test.sql<{ n: number }>(
      `select count(*)::int as n from pg_stat_activity
       where datname = current_database() and application_name like 'towpath%'`,
    );
    // Two pools of ten and two that listen.
    expect(backends?.n).toBeLessThanOrEqual(22);
    // One message is for one of them; the rest leave together, and nothing stays behind.
    await queue.put(0, [message('for one')]);
    const found = await Promise.race(polls);
    expect(found).toMatchObject([{ key: 'for one', deliveryCount: 1 }]);
    gone.abort();
    await Promise.all(polls);
    await untilParked(pods.pods[1]!, 0);
    await queue.delete(0, [found![0]!.receipt]);
  });

  it('join a line that was just looked for without a look of their own', async () => {
    const { pods, newQueue } = all;
    const queue = await newQueue();
    const counts = pods.pods[1]!.app.get(MergeCounts);
    const observed = counts.onStatement;
    let claims = 0;
    counts.onStatement = (kind, requests): void => {
      if (kind === 'get') claims += 1;
      observed(kind, requests);
    };
    const gone = new AbortController();
    const began = performance.now();
    const polls = Array.from({ length: POLLS }, () => queue.get(1, { timeoutInSeconds: 30, signal: gone.signal }));
    await untilParked(pods.pods[1]!, POLLS);
    // Those of the first turn each look before there is a line; then one look a second, and what the slow poll adds.
    const seconds = (performance.now() - began) / 1000;
    expect(claims).toBeLessThan(POLLS / 10 + 2 * seconds);
    counts.onStatement = observed;
    gone.abort();
    await Promise.all(polls);
    await untilParked(pods.pods[1]!, 0);
  });

  it('take no message with them when their clients go away', async () => {
    const { pods, queue } = all;
    for (let round = 0; round < 5; round += 1) {
      const gone = new AbortController();
      const polls = [0, 1, 2].map(() => queue.get(1, { timeoutInSeconds: 30, signal: gone.signal }));
      await untilParked(pods.pods[1]!, 3);
      gone.abort();
      await Promise.all(polls);
      await untilParked(pods.pods[1]!, 0);
      await queue.put(0, [message(`after ${round}`)]);
      // A claim for those that have gone may be under way; what it takes it gives back, uncounted and at once.
      const [delivery] = (await queue.get(1, { timeoutInSeconds: 20 })) ?? [];
      expect(delivery).toMatchObject({ key: `after ${round}`, deliveryCount: 1 });
      await queue.delete(1, [delivery!.receipt]);
    }
  });

  it.each([
    ['its own get', 0],
    ['a parked poll', 20],
  ])(
    'of a client that goes away while a claim for it is under way give the message to another: %s',
    async (what, timeoutInSeconds) => {
      const { pods, queue } = all;
      const pod = pods.pods[1]!;
      // For the parked one it is delayed until claims are held: nothing can be put then, and before it would be delivered.
      await queue.put(0, [message(what, { delayInSeconds: timeoutInSeconds === 0 ? 0 : 600 })]);
      const agent = new Agent();
      const path = `/20210201/queues/${queue.id}/messages?timeoutInSeconds=${timeoutInSeconds}`;
      const headers = { authorization: `Bearer ${pods.credentials.apiKey}` };
      const goneBefore = await connectionsOf(pod.app.getHttpServer());
      let release: (() => Promise<void>) | undefined;
      if (timeoutInSeconds === 0) release = await holdClaims();
      const first = request(`${pod.url}${path}`, { agent, headers });
      first.on('error', () => undefined);
      first.on('response', () => first.destroy(new Error('it was answered')));
      first.end();
      if (timeoutInSeconds > 0) {
        await untilParked(pod, 1);
        release = await holdClaims();
        const [row] = await pods.test.sql<{ id: number }>('select towpath.queue_id($1) as id', [queue.id]);
        pod.app.get(WakeUps).hint({ queueId: row!.id, consumerGroupId: 0, deadLetter: false, channelId: '', inMs: 0 });
      }
      await until(
        () => statementsUnderWay(`wait_event_type = 'Lock' and query like '%get_messages%'`),
        'a claim waits',
      );
      first.destroy();
      await until(async () => (await connectionsOf(pod.app.getHttpServer())) <= goneBefore, 'the pod knows');
      await release?.();
      const [delivery] = (await queue.get(0, { timeoutInSeconds: 20 })) ?? [];
      // Not counted, since nobody saw it, and at once, not after the 30 s of its visibility timeout.
      expect(delivery).toMatchObject({ key: what, deliveryCount: 1 });
      await queue.delete(0, [delivery!.receipt]);
      agent.destroy();
      await untilParked(pod, 0);
    },
  );

  it('wait as long as they were told to', async () => {
    const { pods, queue } = all;
    const timed = async (timeoutInSeconds: number): Promise<number> => {
      const startedAt = clock();
      expect(await queue.get(1, { timeoutInSeconds })).toEqual([]);
      return clock() - startedAt;
    };
    const thirty = timed(30);
    expect(await timed(0)).toBeLessThan(10_000);
    const two = await timed(2);
    expect(two).toBeGreaterThan(1990);
    expect(two).toBeLessThan(20_000);
    const refused = await Promise.all(
      [31, -1].map(async (seconds) => {
        const url = `${pods.pods[1]!.url}/20210201/queues/${queue.id}/messages?timeoutInSeconds=${seconds}`;
        const { status } = await fetch(url, { headers: { authorization: `Bearer ${pods.credentials.apiKey}` } });
        return status;
      }),
    );
    expect(refused).toEqual([400, 400]);
    expect(waitersOf(pods.pods[1]!)).toBe(1);
    expect(await thirty).toBeGreaterThan(29_990);
    expect(queue.surprises).toEqual([]);
  });
});

function connectionsOf(server: {
  getConnections(done: (error: Error | null, count: number) => void): void;
}): Promise<number> {
  return new Promise((resolve, reject) =>
    server.getConnections((error, count) => (error === null ? resolve(count) : reject(error))),
  );
}
