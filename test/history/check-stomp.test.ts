import { checkHistories } from './check.js';
import { PROPERTIES } from './check/properties.js';
import { aborted, broken, del, delivery, get, HAND_MADE_RULES, put, update } from './hand-made.js';
import type { CommitCall, Operation, Outcome, ReleaseCall } from './history.js';

/* Histories in which holders go away, and of transactions; see hand-made.ts for the times. */

function release(at: number, receipts: readonly string[], outcome: Outcome = 'done'): ReleaseCall {
  return { kind: 'release', calledAt: at, answeredAt: at + 10, outcome, receipts };
}

/** 'a' is delivered once, and then what is said. */
const delivered = (...operations: Operation[]) => broken(put(0, ['a']), get(20, [delivery(20, 'a', 1)]), ...operations);
const again = (at: number) => [get(at, [delivery(at, 'a', 2)]), del(at + 20, 'a2')];

/** A client with ack:auto is cut off, when 'a' was there. */
const cut = (at: number, more = {}) => broken(put(0, ['a']), aborted(at, { deletes: true, ...more }));
const nack = (at: number, seconds: number): Operation => ({ ...update(at, 'a1', seconds), visibleAfter: null });

describe('a holder that goes away', () => {
  it.each<Outcome>(['done', 'unknown'])('may leave its messages to others at once (%s)', (outcome) => {
    expect(delivered(release(100, ['a1'], outcome), ...again(120))).toEqual([]);
    expect(delivered(release(100, ['a1'], outcome), ...again(1100))).toEqual([]);
  });

  it('leaves nothing to others before it goes, nor what it does not hold, nor where the timeout has to run', () => {
    expect(delivered(release(500, ['a1']), ...again(120))).toEqual([PROPERTIES.holder]);
    expect(delivered(release(100, ['b1']), ...again(120))).toEqual([PROPERTIES.holder]);
    expect(delivered(...again(120))).toEqual([PROPERTIES.holder]);
  });

  it('has dead receipts, once that is confirmed', () => {
    expect(delivered(release(100, ['a1']), del(200, 'a1'))).toEqual([PROPERTIES.stale]);
    expect(delivered(release(100, ['a1']), update(200, 'a1', 3), ...again(3300))).toEqual([PROPERTIES.stale]);
    expect(delivered(release(100, ['a1']), del(200, 'a1', 'refused'), ...again(300))).toEqual([]);
    expect(delivered(release(100, ['a1'], 'unknown'), del(200, 'a1', 'refused'), ...again(300))).toEqual([]);
    expect(delivered(del(90, 'a1'), release(100, ['a1'], 'unknown'))).toEqual([]);
  });

  it('loses what it acknowledged too much', () => {
    const two = [put(0, ['a', 'b']), get(20, [delivery(20, 'a', 1), delivery(20, 'b', 1)])];
    expect(broken(...two, del(40, 'a1'), release(100, ['b1']))).toEqual([PROPERTIES.lost]);
  });

  it('may have had what was deleted as it was sent, from its channel and at that time only', () => {
    expect(cut(20)).toEqual([]);
    expect(cut(20, { deletes: false })).toEqual([PROPERTIES.lost]);
    expect(cut(20, { channelId: 'c' })).toEqual([PROPERTIES.lost]);
    expect(broken(put(2000, ['a']), aborted(20, { deletes: true }))).toEqual([PROPERTIES.lost]);
  });
});

describe('an update whose answer does not tell its time', () => {
  it('gives back at once, or hides for as long as it says', () => {
    expect(delivered(nack(100, 0), ...again(200))).toEqual([]);
    expect(delivered(nack(100, 3), ...again(3200))).toEqual([]);
    expect(delivered(nack(100, 3), ...again(2000))).toEqual([PROPERTIES.holder]);
  });

  it('has no effect on what another one holds', () => {
    expect(delivered(get(1030, [delivery(1030, 'a', 2)]), nack(1500, 0), del(1600, 'a2'))).toEqual([PROPERTIES.stale]);
  });
});

describe('a transaction of unknown outcome', () => {
  const commit: CommitCall = {
    calledAt: 100,
    answeredAt: 110,
    outcome: 'unknown',
    puts: [{ queue: 'out', key: 'b' }],
    deletes: [{ queue: 'in', receipt: 'a1' }],
  };
  const isGone: Operation[] = [put(0, ['a']), get(20, [delivery(20, 'a', 1)]), del(100, 'a1', 'unknown')];
  const isBack: Operation[] = [...isGone, get(1100, [delivery(1100, 'a', 2)]), del(1200, 'a2')];
  const isMissing: Operation[] = [put(100, ['b'], 'unknown')];
  const isThere: Operation[] = [...isMissing, get(200, [delivery(200, 'b', 1)]), del(300, 'b1')];
  const brokenBy = (consumed: readonly Operation[], produced: readonly Operation[]) => {
    const rules = HAND_MADE_RULES;
    const queues = new Map([
      ['in', { rules, operations: consumed }],
      ['out', { rules, operations: produced }],
    ]);
    return checkHistories(queues, [commit]).map(({ property }) => property);
  };

  it('has happened or has not', () => {
    expect(brokenBy(isGone, isThere)).toEqual([]);
    expect(brokenBy(isBack, isMissing)).toEqual([]);
  });

  it('has not produced without having consumed, nor the reverse', () => {
    expect(brokenBy(isBack, isThere)).toEqual([PROPERTIES.transaction]);
    expect(brokenBy(isGone, isMissing)).toEqual([PROPERTIES.transaction]);
  });
});
