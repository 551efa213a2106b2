import { PROPERTIES } from './check/properties.js';
import { aborted, brokenIn, dead, del, delivery, get, inGroup, put, stats, update } from './hand-made.js';
import type { GroupRules, Operation } from './history.js';

/* Histories of a queue with three groups; see hand-made.ts for the times. In each group 'a' has a receipt of its own. */

const ORDERS: GroupRules = { name: 'orders', deliveryLimit: 1, takes: ({ kind }) => kind === 'order' };
const AUDIT: GroupRules = { name: 'audit', deliveryLimit: 0, takes: ({ kind }) => kind !== undefined };
const orders = inGroup('orders');
const audit = inGroup('audit');

const broken = (...operations: Operation[]) => brokenIn([ORDERS, AUDIT], ...operations);
const putOrder = put(0, ['a'], 'done', 0, { kind: 'order' });
const putNote = put(0, ['a'], 'done', 0, { kind: 'note' });
/** A delivery in a group: its receipt is like `orders a1`. */
const of = (group: string, at: number, count: number) => delivery(at, 'a', count, { receipt: `${group} a${count}` });
/** Got and deleted in one group. */
const done = (group: string, at = 20): Operation[] => [
  get(at, [of(group, at, 1)], inGroup(group)),
  { ...del(at + 20, `${group} a1`), ...inGroup(group) },
];

/** The receipt of the primary group is shown somewhere before it is used. */
const shown = (call: Operation) =>
  broken(putOrder, get(20, [of('', 20, 1)]), call, del(900, ' a1'), ...done('orders'), ...done('audit'));
/** Got in one group, got again, and deleted. */
const again = (group: string, at: number) => [
  get(20, [of(group, 20, 1)], inGroup(group)),
  get(at, [of(group, at, 2)], inGroup(group)),
  { ...del(at + 20, `${group} a2`), ...inGroup(group) },
];
const told = (group: string, visible: number) => ({ ...stats(50, visible, 0), group });

describe('a good history of consumer groups', () => {
  it('is one in which each group that takes a message gets and deletes it', () => {
    expect(broken(putOrder, ...done(''), ...done('orders'), ...done('audit', 3000))).toEqual([]);
    expect(broken(putNote, ...done(''), ...done('audit'))).toEqual([]);
    expect(broken(put(0, ['a']), ...done(''))).toEqual([]);
  });

  it('may deliver in all groups at once, and in one after the delete in another', () => {
    expect(
      broken(putOrder, get(20, [of('', 20, 1)]), ...done('orders'), ...done('audit', 100), del(200, ' a1')),
    ).toEqual([]);
  });

  it('has the limit of each group: after one delivery, after two, never', () => {
    const forgotten = (at: number, count: number) =>
      ['', 'audit'].map((group) => get(at, [of(group, at, count)], inGroup(group)));
    expect(
      broken(
        putOrder,
        get(20, [of('orders', 20, 1)], orders),
        get(1030, [of('orders', 1030, 2)], { ...orders, ...dead }),
        { ...del(1050, 'orders a2'), ...orders, ...dead },
        ...forgotten(20, 1),
        ...forgotten(1030, 2),
        get(2040, [of('', 2040, 3)], dead),
        { ...del(2060, ' a3'), ...dead },
        get(2040, [of('audit', 2040, 3)], audit),
        { ...del(2060, 'audit a3'), ...audit },
      ),
    ).toEqual([]);
  });

  it('refuses a receipt in another group and on the other side', () => {
    expect(
      broken(
        putNote,
        get(20, [of('', 20, 1)]),
        { ...update(40, ' a1', 0, 'refused'), ...audit },
        { ...del(40, ' a1', 'refused'), ...audit },
        { ...del(40, ' a1', 'refused'), ...dead },
        // Nor had this one an effect, which is why the message still has to be deleted.
        { ...del(40, ' a1', 'unknown'), ...orders },
        del(60, ' a1'),
        ...done('audit'),
      ),
    ).toEqual([]);
  });
});

describe('a history of consumer groups is bad when', () => {
  it('a group gets what its filter does not take', () => {
    expect(broken(putNote, ...done(''), ...done('audit'), ...done('orders'))).toEqual([PROPERTIES.filter]);
  });

  it('a group never gets what its filter takes', () => {
    expect(broken(putOrder, ...done(''), ...done('audit'))).toEqual([PROPERTIES.lost]);
  });

  it('a delete in one group deletes in all', () => {
    expect(broken(putOrder, ...done('orders'))).toEqual([PROPERTIES.lost]);
    expect(
      broken(putOrder, ...done('orders'), get(20, [of('', 20, 1)]), del(60, ' a1', 'refused'), ...done('audit')),
    ).toContain(PROPERTIES.live);
  });

  it('only a delete in another group could explain where a message is', () => {
    const elsewhere = { ...del(40, ' a1', 'unknown'), ...audit };
    expect(broken(putNote, get(20, [of('', 20, 1)]), elsewhere, ...done('audit'))).toEqual([PROPERTIES.lost]);
  });

  it('a put of unknown outcome is there in one group only', () => {
    expect(broken(put(0, ['a'], 'unknown', 0, { kind: 'note' }), ...done('audit'))).toEqual([PROPERTIES.atomic]);
    expect(broken(put(0, ['a'], 'unknown', 0, { kind: 'note' }), ...done(''), ...done('audit'))).toEqual([]);
  });

  it('a receipt is good in another group or on the other side', () => {
    expect(shown({ ...del(40, ' a1'), ...orders })).toEqual([PROPERTIES.stale]);
    expect(shown({ ...update(40, ' a1', 0), ...audit })).toEqual([PROPERTIES.stale]);
    expect(shown({ ...update(40, ' a1', 0), ...dead })).toEqual([PROPERTIES.stale]);
  });

  it('two hold one message in one group', () => {
    expect(
      broken(putNote, ...done(''), get(20, [of('audit', 20, 1)], audit), get(900, [of('audit', 900, 2)], audit), {
        ...del(920, 'audit a2'),
        ...audit,
      }),
    ).toEqual([PROPERTIES.holder]);
  });

  it('the limit of another group is used, or there is one where there is none', () => {
    expect(broken(putOrder, ...done(''), ...again('orders', 1030), ...done('audit'))).toEqual([PROPERTIES.deadLetter]);
    const died = (group: string) =>
      again(group, 1030).map((each, index) => (index === 0 ? each : { ...each, ...dead }) as Operation);
    expect(broken(putOrder, ...died(''), ...done('orders'), ...done('audit'))).toEqual([PROPERTIES.deadLetter]);
    expect(broken(putOrder, ...done(''), ...done('orders'), ...died('audit'))).toContain(PROPERTIES.deadLetter);
    expect(broken(putOrder, ...done(''), ...died('orders'), ...done('audit'))).toEqual([]);
  });

  it('a receipt is refused in a group that has no limit to explain it', () => {
    expect(
      broken(
        putNote,
        ...done(''),
        get(20, [of('audit', 20, 1)], audit),
        { ...del(1100, 'audit a1', 'refused'), ...audit },
        get(1130, [of('audit', 1130, 2)], audit),
        { ...del(1150, 'audit a2'), ...audit },
      ),
    ).toEqual([PROPERTIES.live]);
  });

  it('only an aborted poll of another group could explain a delivery that nobody saw', () => {
    const story = (poll: Operation) =>
      broken(putNote, ...done(''), poll, get(1030, [of('audit', 1030, 2)], audit), {
        ...del(1050, 'audit a2'),
        ...audit,
      });
    expect(story(aborted(20))).toEqual([PROPERTIES.count]);
    expect(story(aborted(20, audit))).toEqual([]);
  });

  it('the statistics of a group are those of another', () => {
    const rest = [putNote, ...done('', 100), ...done('audit', 100)];
    expect(broken(...rest, told('', 1), told('audit', 1), told('orders', 0))).toEqual([]);
    expect(broken(...rest, told('orders', 1))).toEqual([PROPERTIES.stats]);
    expect(broken(...rest, told('audit', 0))).toEqual([PROPERTIES.stats]);
  });
});
