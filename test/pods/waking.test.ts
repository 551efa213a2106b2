import { jest } from '@jest/globals';
import { Notifications } from '../../src/database/notifications.js';
import { clock } from '../history/history.js';
import { message, quantile, startPodsAndQueue, until, untilParked, waitersOf, type PodsAndQueue } from './support.js';

const ROUNDS = 200;

describe('a long poll on one pod', () => {
  let all: PodsAndQueue;
  beforeAll(async () => {
    all = await startPodsAndQueue(2);
  });
  afterEach(async () => {
    // Nobody is left waiting, on either pod.
    for (const pod of all.pods.pods) await untilParked(pod, 0);
  });
  afterAll(() => all.pods.stop());

  it(
    'gets what is put on the other one within milliseconds',
    async () => {
      const { queue, pods } = all;
      const latencies: number[] = [];
      for (let round = 0; round < ROUNDS; round += 1) {
        const waiting = queue.get(1, { timeoutInSeconds: 20 }).then((messages) => ({ messages, at: clock() }));
        await untilParked(pods.pods[1]!, 1);
        const calledAt = clock();
        await queue.put(0, [message(`round ${round}`)]);
        const { messages, at } = await waiting;
        expect(messages?.map(({ key }) => key)).toEqual([`round ${round}`]);
        latencies.push(at - calledAt);
        await queue.delete(0, [messages?.[0]?.receipt ?? '']);
      }
      const [median, p99, max] = [0.5, 0.99, 1].map((share) => quantile(latencies, share).toFixed(1));
      process.stdout.write(
        `put on pod 1 to answer on pod 2, ${ROUNDS} times: p50 ${median} p99 ${p99} max ${max} ms\n`,
      );
      expect(quantile(latencies, 0.5)).toBeLessThan(250);
    },
    ROUNDS * 3000,
  );

  it('is woken by the end of a visibility timeout that began on the other one', async () => {
    const { queue, pods } = all;
    await queue.put(0, [message('timeout')]);
    const [first] = (await queue.get(0, { visibilityInSeconds: 2 })) ?? [];
    const waiting = queue.get(1, { timeoutInSeconds: 20 });
    await untilParked(pods.pods[1]!, 1);
    const [second] = (await waiting) ?? [];
    expect(second).toMatchObject({ key: 'timeout', deliveryCount: 2 });
    expectInTime('visibility timeout', first!.visibleAfter);
    await queue.delete(1, [second!.receipt]);
  });

  it('is woken when a timeout is shortened on the other one, to something or to nothing', async () => {
    const { queue, pods } = all;
    for (const seconds of [1, 0]) {
      await queue.put(0, [message(`shortened to ${seconds}`)]);
      const [first] = (await queue.get(0, { visibilityInSeconds: 600 })) ?? [];
      const waiting = queue.get(1, { timeoutInSeconds: 30 });
      await untilParked(pods.pods[1]!, 1);
      const calledAt = clock();
      await queue.update(0, [first!.receipt], seconds);
      const [second] = (await waiting) ?? [];
      expect(second).toMatchObject({ key: `shortened to ${seconds}`, deliveryCount: 2 });
      expectInTime(`update to ${seconds}`, calledAt + seconds * 1000);
      await queue.delete(1, [second!.receipt]);
    }
  });

  it('is woken by the end of a delay that began on the other one', async () => {
    const { queue, pods } = all;
    const waiting = queue.get(1, { timeoutInSeconds: 20 });
    await untilParked(pods.pods[1]!, 1);
    const calledAt = clock();
    await queue.put(0, [message('delayed', { delayInSeconds: 1 })]);
    const [delivery] = (await waiting) ?? [];
    expect(delivery).toMatchObject({ key: 'delayed', deliveryCount: 1 });
    expectInTime('delay', calledAt + 1000);
    await queue.delete(1, [delivery!.receipt]);
  });

  it('gets a message that is deep in a channel, whether it named the channel or not', async () => {
    const { queue, pods } = all;
    for (const channelId of ['deep', null]) {
      const waiting = queue.get(1, { timeoutInSeconds: 20, channelId });
      await untilParked(pods.pods[1]!, 1);
      await queue.put(0, [message(`channel ${channelId}`, { channelId: 'deep' })]);
      const [delivery] = (await waiting) ?? [];
      expect(delivery).toMatchObject({ key: `channel ${channelId}`, channelId: 'deep' });
      await queue.delete(1, [delivery!.receipt]);
    }
  });

  it('is served in its turn: first come, first served', async () => {
    const { queue, pods } = all;
    const served: number[] = [];
    const waiting: Promise<unknown>[] = [];
    for (let index = 0; index < 6; index += 1) {
      const poll = queue.get(1, { timeoutInSeconds: 30 }).then(async (messages) => {
        served.push(index);
        await queue.delete(0, [messages?.[0]?.receipt ?? '']);
      });
      waiting.push(poll);
      await untilParked(pods.pods[1]!, index + 1);
    }
    for (let index = 0; index < 6; index += 1) {
      await queue.put(index % 2, [message(`turn ${index}`)]);
      await until(() => served.length === index + 1, 'the next one is served');
    }
    await Promise.all(waiting);
    expect(served).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('waits for no more than a slow poll where notifications are lost', async () => {
    const { queue, pods } = all;
    const notifications = pods.pods[0]!.app.get(Notifications);
    const waiting = queue.get(1, { timeoutInSeconds: 30 });
    await untilParked(pods.pods[1]!, 1);
    const send = jest.spyOn(notifications, 'send').mockResolvedValue();
    const calledAt = clock();
    try {
      await queue.put(0, [message('unheard')]);
      const [delivery] = (await waiting) ?? [];
      expect(delivery).toMatchObject({ key: 'unheard', deliveryCount: 1 });
      process.stdout.write(`a lost notification cost ${Math.round(clock() - calledAt)} ms\n`);
      await queue.delete(1, [delivery!.receipt]);
    } finally {
      send.mockRestore();
    }
  });

  it('makes nobody notify while nobody waits', async () => {
    const { queue, pods, newQueue } = all;
    const { default: pg } = await import('pg');
    const listener = new pg.Client({ connectionString: pods.test.url });
    await listener.connect();
    try {
      const other = await newQueue();
      const heard: string[] = [];
      listener.on('notification', ({ payload = '' }) => heard.push(payload));
      await listener.query('listen towpath');
      const fence = async (): Promise<void> => {
        await pods.test.sql(`select pg_notify('towpath', '"fence"')`);
        await until(() => heard.includes('"fence"'), 'the fence arrives');
      };
      // Others may have waited on the first queue a moment ago; of the second one nobody knows.
      await fence();
      heard.length = 0;
      for (let round = 0; round < 20; round += 1) {
        await other.put(round, [message(`${round} a`), message(`${round} b`, { delayInSeconds: 1 })]);
        const [delivery] = (await other.get(round + 1)) ?? [];
        await other.update(round, [delivery!.receipt], 60);
        await other.update(round, [delivery!.receipt], 0);
        const [again] = (await other.get(round)) ?? [];
        await other.delete(round + 1, [again!.receipt]);
      }
      await fence();
      expect(heard.filter((payload) => payload !== '"fence"')).toEqual([]);
      // And while somebody waits, the many puts of a moment share a notification.
      const waiting = other.get(1, { timeoutInSeconds: 20, channelId: 'none-there' });
      await untilParked(pods.pods[1]!, 1);
      await until(() => heard.some((payload) => payload.includes('waiting')), 'the waiter is announced');
      heard.length = 0;
      await Promise.all(
        Array.from({ length: 50 }, (_, index) =>
          other.put(0, [message(`burst ${index}`, { channelId: 'none-there' })]),
        ),
      );
      expect(await waiting).toHaveLength(1);
      await fence();
      const told = heard.filter((payload) => payload.includes('visible')).length;
      process.stdout.write(`50 puts at once while somebody waits: ${told} notifications\n`);
      expect(told).toBeGreaterThan(0);
      expect(told).toBeLessThan(50);
      expect(waitersOf(pods.pods[1]!)).toBe(0);
      expect(queue.surprises).toEqual([]);
    } finally {
      await listener.end();
    }
  });
});

/** It was answered after `visibleAt` and not long after it. */
function expectInTime(what: string, visibleAt: number): void {
  const late = clock() - visibleAt;
  process.stdout.write(`${what}: woken ${late.toFixed(1)} ms after it\n`);
  expect(late).toBeGreaterThan(-100);
  expect(late).toBeLessThan(2500);
}
