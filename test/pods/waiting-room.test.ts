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
  const questions: { readonly answer: (ms: number | null) => void; readonly fail: (error: Error) => void }[] = [];
  let isAskedForReal = false;
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
    millisecondsUntilVisible: async () => {
      if (!isAskedForReal) return null;
      const { promise, resolve, reject } = Promise.withResolvers<number | null>();
      questions.push({ answer: resolve, fail: reject });
      return promise;
    },
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
    questions,
    endAll,
    /** From now on the test answers when something is visible next. */
    answerYourself: (): void => {
      isAskedForReal = true;
    },
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

  it('does not wait for the answer when the next is visible once something is', async () => {
    const { claims, given, questions, answerYourself, come, put, over } = setup();
    answerYourself();
    come(2);
    await until(() => claims.length === 1, 'the first look');
    claims[0]!.end();
    await until(() => questions.length === 1, 'nothing was found');
    put('a');
    await until(() => claims.length === 2, 'the second look');
    claims[1]!.end();
    await until(() => given.length === 1 && claims.length === 3, 'there may be more');
    claims[2]!.end();
    await sleep(20);
    // The first question is still under way, and what it will tell is old.
    expect(questions).toHaveLength(1);
    questions[0]!.answer(LONG_MS);
    await until(() => questions.length === 2, 'the second question');
    questions[1]!.answer(30);
    await until(() => claims.length === 4, 'a look at that time');
    await over();
  });

  it('sleeps until what the database says, whatever later hints come before the answer', async () => {
    const { room, claims, questions, answerYourself, come, over } = setup();
    answerYourself();
    come(1);
    await until(() => claims.length === 1, 'the first look');
    claims[0]!.end();
    await until(() => questions.length === 1, 'nothing was found');
    room.hint(LONG_MS);
    await sleep(5);
    questions[0]!.answer(30);
    await until(() => claims.length === 2, 'a look at that time');
    expect(questions).toHaveLength(1);
    await over();
  });

  it('tells the first in line that the question has failed, and nobody where it was not waited for', async () => {
    const { room, claims, questions, answerYourself, come, put, given, over } = setup();
    answerYourself();
    const first = room.wait(7, LONG_MS, NEVER);
    await until(() => claims.length === 1, 'the first look');
    claims[0]!.end();
    await until(() => questions.length === 1, 'nothing was found');
    questions[0]!.fail(new Error('no answer'));
    await expect(first).rejects.toThrow('no answer');
    come(1);
    await until(() => claims.length === 2, 'the next look');
    claims[1]!.end();
    await until(() => questions.length === 2, 'nothing was found again');
    put('a');
    await until(() => claims.length === 3, 'the last look');
    questions[1]!.fail(new Error('no answer'));
    claims[2]!.end();
    await until(() => given.length === 1, 'the message');
    await over();
  });
});
