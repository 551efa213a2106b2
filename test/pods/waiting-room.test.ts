import { setTimeout as sleep } from 'node:timers/promises';
import { WaitingRoom } from '../../src/messages/waiting/waiting-room.js';
import { until } from './support.js';

const NEVER = new AbortController().signal;
const LONG_MS = 60_000;

/** A room over a store of messages; each claim is ended by the test. */
function setup() {
  const visible: string[] = [];
  const claims: { readonly of: number; readonly end: () => void }[] = [];
  const given: [waiter: number, message: string][] = [];
  const left: Promise<void>[] = [];
  const room = new WaitingRoom<number, string>({
    claim: async (of) => {
      // What is visible when it begins is its own; a commit comes later.
      const message = visible.shift() ?? null;
      const { promise, resolve } = Promise.withResolvers<void>();
      claims.push({ of, end: resolve });
      await promise;
      return message;
    },
    giveBack: async (message) => void visible.unshift(message),
    millisecondsUntilVisible: async () => null,
    closed: () => undefined,
  });
  const wait = async (waiter: number): Promise<void> => {
    const message = await room.wait(waiter, LONG_MS, NEVER);
    if (message !== null) given.push([waiter, message]);
  };
  const endAll = (): void => {
    for (const { end } of claims) end();
  };
  return {
    room,
    claims,
    given,
    endAll,
    come: (count: number): void => {
      for (let waiter = 0; waiter < count; waiter += 1) left.push(wait(waiter));
    },
    put: (message: string): void => {
      visible.push(message);
      room.hint(0);
    },
    /** Sends everybody away. */
    over: async (): Promise<void> => {
      room.close();
      const ending = setInterval(endAll, 1);
      await Promise.all(left);
      clearInterval(ending);
    },
  };
}

describe('a waiting room', () => {
  it('claims for the next in line when something comes while a claim is under way', async () => {
    const { claims, given, come, put, over } = setup();
    come(3);
    await until(() => claims.length === 1, 'the first look');
    put('a');
    put('b');
    // The first look saw neither.
    expect(claims.map(({ of }) => of)).toEqual([0, 1, 2]);
    claims[2]!.end();
    await until(() => given.length === 1, 'the one does not wait for the others');
    claims[1]!.end();
    await until(() => given.length === 2, 'the other one');
    expect(given).toEqual([
      [2, 'b'],
      [1, 'a'],
    ]);
    await over();
  });

  it('wakes one for one message', async () => {
    const { claims, given, endAll, come, put, over } = setup();
    come(100);
    await until(() => claims.length === 1, 'the first look');
    endAll();
    await sleep(20);
    expect(claims).toHaveLength(1);
    put('a');
    await until(() => claims.length === 2, 'one is woken');
    endAll();
    await until(() => given.length === 1, 'it has the message');
    // Where there was one message there may be more; then nobody is woken any more.
    for (let turn = 0; turn < 20; turn += 1) {
      await sleep(2);
      endAll();
    }
    expect(claims.length).toBeLessThanOrEqual(4);
    await over();
  });

  it('has a bounded number of claims under way, and misses nothing beyond it', async () => {
    const { claims, given, endAll, come, put, over } = setup();
    const COUNT = 100;
    come(COUNT);
    await until(() => claims.length === 1, 'the first look');
    for (let n = 0; n < COUNT; n += 1) put(`message ${n}`);
    await sleep(20);
    expect(claims).toHaveLength(32);
    const ending = setInterval(endAll, 1);
    await until(() => given.length === COUNT, 'all have one');
    clearInterval(ending);
    expect(new Set(given.map(([waiter]) => waiter)).size).toBe(COUNT);
    expect(new Set(given.map(([, message]) => message)).size).toBe(COUNT);
    await over();
  });
});
