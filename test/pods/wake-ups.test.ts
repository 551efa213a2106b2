import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Notifications } from '../../src/database/notifications.js';
import type { WaitRange } from '../../src/messages/waiting/wait-range.js';
import { WakeUps } from '../../src/messages/waiting/wake-ups.js';
import { until } from './support.js';

interface Told {
  readonly t: string;
  readonly ranges: readonly (readonly [number, number, boolean, string | null, number])[];
}

const SLOW_MS = 50;

/** One pod among others, whose notifications a slow database takes: each for a while, or until `answer` resolves. */
function setup(answer: () => Promise<unknown> = () => sleep(SLOW_MS)) {
  const told: Told[] = [];
  const events = new EventEmitter();
  let underWay = 0;
  let mostAtOnce = 0;
  const send = async (payload: object): Promise<void> => {
    told.push(payload as Told);
    underWay += 1;
    mostAtOnce = Math.max(mostAtOnce, underWay);
    await answer();
    underWay -= 1;
  };
  const wakeUps = new WakeUps({ events, send } as unknown as Notifications);
  const remoteWaiter = ({ queueId, consumerGroupId, deadLetter, channelId }: WaitRange): void => {
    const ranges = [[queueId, consumerGroupId, deadLetter, channelId, 0]];
    events.emit('message', { t: 'waiting', pod: 'another', ranges });
  };
  return { wakeUps, told, remoteWaiter, mostAtOnce: () => mostAtOnce };
}

const range = (queueId: number, channelId: string | null = ''): WaitRange => ({
  queueId,
  consumerGroupId: 0,
  deadLetter: false,
  channelId,
});

describe('what a pod tells the others', () => {
  it('is nothing while nobody waits there', async () => {
    const { wakeUps, told } = setup();
    wakeUps.hint({ ...range(1), inMs: 0 });
    await sleep(20);
    expect(told).toEqual([]);
    wakeUps.onApplicationShutdown();
  });

  it('is told once for all that happened while the last notification was under way', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const { wakeUps, told, remoteWaiter, mostAtOnce } = setup(() => promise);
    remoteWaiter(range(1, null));
    wakeUps.hint({ ...range(1), inMs: 0 });
    await until(() => told.length > 0, 'the first is under way');
    for (let round = 0; round < 40; round += 1) {
      wakeUps.hint({ ...range(1), inMs: 0 });
      await sleep(5);
    }
    expect(told).toHaveLength(1);
    resolve();
    await until(() => told.length > 1, 'the rest is told');
    await sleep(SLOW_MS);
    expect(told).toHaveLength(2);
    expect(mostAtOnce()).toBe(1);
    wakeUps.onApplicationShutdown();
  });

  it('includes what happened shortly before it learned of the waiter', async () => {
    const { wakeUps, told, remoteWaiter } = setup();
    wakeUps.hint({ ...range(1), inMs: 0 });
    wakeUps.hint({ ...range(2), inMs: 0 });
    remoteWaiter(range(1, null));
    await until(() => told.length > 0, 'it is told');
    expect(told).toMatchObject([{ t: 'visible', ranges: [[1, 0, false, '', 0]] }]);
    wakeUps.onApplicationShutdown();
  });

  it('is, of many times that lie ahead, the earliest', async () => {
    const { wakeUps, told, remoteWaiter } = setup();
    remoteWaiter(range(1, null));
    for (const inMs of [9000, 5000, 7000]) wakeUps.hint({ ...range(1), inMs });
    await until(() => told.length > 0, 'it is told');
    await sleep(SLOW_MS * 2);
    expect(told).toHaveLength(1);
    const [, , , , inMs = NaN] = told[0]?.ranges[0] ?? [];
    expect(inMs).toBeGreaterThan(0);
    expect(inMs).toBeLessThanOrEqual(5000);
    wakeUps.onApplicationShutdown();
  });

  it('fits into notifications, however many ranges there are', async () => {
    const { wakeUps, told, remoteWaiter } = setup();
    for (let queueId = 1; queueId <= 120; queueId += 1) {
      remoteWaiter(range(queueId, 'c'.repeat(64)));
      wakeUps.hint({ ...range(queueId, 'c'.repeat(64)), inMs: 0 });
    }
    await until(() => told.flatMap(({ ranges }) => ranges).length === 120, 'all are told');
    for (const payload of told) expect(JSON.stringify(payload).length).toBeLessThan(7500);
    wakeUps.onApplicationShutdown();
  });
});
