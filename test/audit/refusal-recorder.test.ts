import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { RefusalRecorder } from '../../src/audit/refusal-recorder.js';
import type { AuditFunctions, RefusedRequest } from '../../src/database/audit-functions.js';

interface Setup {
  readonly recorder: RefusalRecorder;
  readonly written: RefusedRequest[];
  /** How the database answers from now on. */
  answer: (batch: readonly RefusedRequest[]) => Promise<void>;
}

function setup(): Setup {
  const written: RefusedRequest[] = [];
  const state: Setup = {
    recorder: new RefusalRecorder({
      recordRefused: (batch: readonly RefusedRequest[]) => state.answer(batch),
    } as AuditFunctions),
    written,
    answer: (batch) => {
      written.push(...batch);
      return Promise.resolve();
    },
  };
  return state;
}

const AWAY = Object.assign(new Error('away'), { code: 'ECONNREFUSED' });
let number = 0;
const refusal = (userId?: string): RefusedRequest => ({
  operation: 'getQueue',
  code: 'NotAuthorizedOrNotFound',
  targetIds: [],
  address: '192.0.2.7',
  requestId: String((number += 1)),
  ...(userId === undefined ? {} : { userId }),
});
const times = (count: number, act: (index: number) => void): void => {
  for (let index = 0; index < count; index += 1) act(index);
};

describe('the recorder of refusals', () => {
  beforeAll(() => {
    Logger.overrideLogger(false);
  });
  beforeEach(() => {
    jest.useFakeTimers({ now: 0 });
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  it('writes in order, a batch at a time, and only beside the request', async () => {
    const { recorder, written } = setup();
    const sent = Array.from({ length: 240 }, (_, index) => refusal(`user ${index % 6}`));
    for (const each of sent) recorder.record(each);
    expect(written).toEqual([]);
    await jest.advanceTimersByTimeAsync(200);
    expect(written).toEqual(sent);
    expect(recorder.dropped).toBe(0);
  });

  it('takes of each user, of all users and of strangers what their rate allows', async () => {
    const { recorder, written } = setup();
    times(1000, () => recorder.record(refusal('loud')));
    times(1000, () => recorder.record(refusal()));
    times(10, () => recorder.record(refusal('quiet')));
    await jest.advanceTimersByTimeAsync(200);
    const of = (userId?: string): number => written.filter((each) => each.userId === userId).length;
    expect([of('loud'), of(), of('quiet')]).toEqual([50, 50, 10]);
    expect(recorder.dropped).toBe(1900);
    await jest.advanceTimersByTimeAsync(60_000);
    times(1000, () => recorder.record(refusal('loud')));
    await jest.advanceTimersByTimeAsync(200);
    expect(of('loud')).toBe(50 + 30);
    times(100, (user) => times(50, () => recorder.record(refusal(`user ${user}`))));
    await jest.advanceTimersByTimeAsync(200);
    expect(written.length).toBeLessThanOrEqual(50 + 50 + 10 + 30 + 500);
    expect(written.length).toBeGreaterThan(500);
  });

  it('takes at most 500,000 a day, however many users there are and however long it lasts', async () => {
    const { recorder, written } = setup();
    for (let second = 0; second < 1000; second += 1) {
      times(20, (user) => recorder.record(refusal(`user ${(second * 20 + user) % 5000}`)));
      recorder.record(refusal());
      await jest.advanceTimersByTimeAsync(1000);
    }
    expect(written.length).toBeLessThanOrEqual(500 + 50 + 1000 * 5.5);
    expect(written.length + recorder.dropped).toBe(21_000);
  });

  it('keeps what the database does not take, up to a bound, and tries again', async () => {
    const state = setup();
    const { recorder, written } = state;
    const { answer } = state;
    let tries = 0;
    state.answer = () => {
      tries += 1;
      return Promise.reject(AWAY);
    };
    const first = refusal('a');
    recorder.record(first);
    await jest.advanceTimersByTimeAsync(10_000);
    expect(tries).toBeGreaterThan(5);
    expect(tries).toBeLessThan(12);
    for (let minute = 0; minute < 60; minute += 1) {
      times(500, (user) => recorder.record(refusal(`user ${user}`)));
      await jest.advanceTimersByTimeAsync(60_000);
    }
    expect(written).toEqual([]);
    state.answer = answer;
    await jest.advanceTimersByTimeAsync(2000);
    expect(written).toHaveLength(1000);
    expect(written[0]).toEqual(first);
    expect(recorder.dropped).toBe(60 * 500 + 1 - 1000);
  });

  it('leaves out a batch that the database refuses, and goes on', async () => {
    const state = setup();
    const { recorder, written, answer } = state;
    state.answer = () => Promise.reject(Object.assign(new Error('check'), { code: '23514' }));
    recorder.record(refusal('a'));
    await jest.advanceTimersByTimeAsync(200);
    expect(recorder.dropped).toBe(1);
    state.answer = answer;
    recorder.record(refusal('a'));
    await jest.advanceTimersByTimeAsync(200);
    expect(written).toHaveLength(1);
  });

  it('writes what waits when the pod stops, in one try, and takes no more', async () => {
    const { recorder, written } = setup();
    recorder.record(refusal('a'));
    await recorder.onApplicationShutdown();
    expect(written).toHaveLength(1);
    recorder.record(refusal('a'));
    expect(recorder.dropped).toBe(1);

    const away = setup();
    away.answer = () => Promise.reject(AWAY);
    away.recorder.record(refusal('a'));
    await away.recorder.onApplicationShutdown();
    expect(away.recorder.dropped).toBe(1);
    expect(jest.getTimerCount()).toBe(0);
  });
});
