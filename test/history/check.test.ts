import { PROPERTIES } from './check/properties.js';
import { aborted, broken, dead, del, delivery, get, put, stats, update } from './hand-made.js';
import type { GetCall, Operation } from './history.js';

/* Histories of a queue without consumer groups; see hand-made.ts for the times. */

/** 'a' is delivered once, and then what is said. */
const delivered = (...operations: Operation[]) => broken(put(0, ['a']), get(20, [delivery(20, 'a', 1)]), ...operations);
/** Only this poll could have been given the first delivery of 'a'. */
const missedBy = (poll: GetCall) => broken(put(600, ['a']), poll, get(630, [delivery(630, 'a', 2)]), del(650, 'a2'));

describe('a good history', () => {
  it('is one in which a message is put, got and deleted', () => {
    expect(broken(put(0, ['a']), get(20, [delivery(20, 'a', 1)]), del(40, 'a1'))).toEqual([]);
  });

  it('may deliver again after the window, to whom the old receipt is dead', () => {
    expect(
      broken(
        put(0, ['a']),
        get(20, [delivery(20, 'a', 1)]),
        get(1030, [delivery(1030, 'a', 2)]),
        del(1050, 'a1', 'refused'),
        update(1050, 'a1', 5, 'refused'),
        del(1070, 'a2'),
      ),
    ).toEqual([]);
  });

  it('may deliver at the end of an extended window, or at once after an update to 0', () => {
    expect(
      broken(
        put(0, ['a', 'b']),
        get(20, [delivery(20, 'a', 1), delivery(20, 'b', 1)]),
        update(500, 'a1', 2),
        update(500, 'b1', 0),
        get(520, [delivery(520, 'b', 2)]),
        del(540, 'b2'),
        get(2510, [delivery(2510, 'a', 2)]),
        del(2530, 'a2'),
      ),
    ).toEqual([]);
  });

  it('moves a message to the dead letter queue after its last delivery, with one receipt more', () => {
    expect(
      broken(
        put(0, ['a']),
        get(20, [delivery(20, 'a', 1)]),
        get(1030, [delivery(1030, 'a', 2)]),
        del(2100, 'a2', 'refused'),
        stats(2110, 0, 1),
        get(2140, [delivery(2140, 'a', 3)], dead),
        { ...del(2160, 'a3'), ...dead },
        stats(2180, 0, 0),
      ),
    ).toEqual([]);
  });

  it('allows an aborted poll a delivery that nobody saw', () => {
    expect(broken(put(0, ['a']), aborted(20), get(1030, [delivery(1030, 'a', 2)]), del(1050, 'a2'))).toEqual([]);
  });

  it('allows what is of unknown outcome to have happened or not', () => {
    expect(delivered(del(40, 'a1', 'unknown'))).toEqual([]);
    expect(delivered(del(40, 'a1', 'unknown'), get(1030, [delivery(1030, 'a', 2)]), del(1050, 'a2'))).toEqual([]);
    expect(delivered(update(40, 'a1', 0, 'unknown'), get(60, [delivery(60, 'a', 2)]), del(80, 'a2'))).toEqual([]);
    expect(delivered(update(40, 'a1', 5, 'unknown'), get(1030, [delivery(1030, 'a', 2)]), del(1050, 'a2'))).toEqual([]);
    expect(broken(put(0, ['a', 'b'], 'unknown'))).toEqual([]);
  });

  it('allows overlapping calls any order', () => {
    // The delete and the next claim overlap: the claim came first and the delete was refused.
    expect(
      broken(
        put(0, ['a']),
        get(20, [delivery(20, 'a', 1)]),
        { ...del(1000, 'a1', 'refused'), answeredAt: 1100 },
        { ...get(1020, [delivery(1030, 'a', 2)]), answeredAt: 1090 },
        del(1110, 'a2'),
      ),
    ).toEqual([]);
  });

  it('does not miss what the final drain has found', () => {
    expect(broken(put(0, ['a']), get(20, [delivery(20, 'a', 1)], { isFinal: true }), del(40, 'a1', 'unknown'))).toEqual(
      [],
    );
  });
});

describe('a history is bad when', () => {
  it('an acknowledged message was never seen again', () => {
    expect(broken(put(0, ['a', 'b']), get(20, [delivery(20, 'a', 1)]), del(40, 'a1'))).toEqual([PROPERTIES.lost]);
  });

  it('a refused delete took the message with it', () => {
    expect(
      broken(
        put(0, ['a']),
        get(20, [delivery(20, 'a', 1)]),
        get(1030, [delivery(1030, 'a', 2)]),
        del(1050, 'a1', 'refused'),
      ),
    ).toEqual([PROPERTIES.lost]);
  });

  it('something comes that nobody put, or whose put was refused, or before it was put', () => {
    expect(broken(get(20, [delivery(20, 'a', 1)]))).toEqual([PROPERTIES.nowhere]);
    expect(broken(put(0, ['a'], 'refused'), get(20, [delivery(20, 'a', 1)]), del(40, 'a1'))).toEqual([
      PROPERTIES.nowhere,
    ]);
    expect(broken(put(100, ['a']), get(20, [delivery(20, 'a', 1)]), del(140, 'a1'))).toEqual([PROPERTIES.nowhere]);
  });

  it('a message changes its id or its channel', () => {
    expect(broken(put(0, ['a']), get(20, [delivery(20, 'a', 1, { id: 1 })]), del(40, 'a1'))).toEqual([
      PROPERTIES.nowhere,
    ]);
    expect(broken(put(0, ['a']), get(20, [delivery(20, 'a', 1, { channelId: 'c' })]), del(40, 'a1'))).toEqual([
      PROPERTIES.nowhere,
    ]);
  });

  it('half of a put exists', () => {
    expect(broken(put(0, ['a', 'b'], 'unknown'), get(20, [delivery(20, 'a', 1)]), del(40, 'a1'))).toEqual([
      PROPERTIES.atomic,
    ]);
  });

  it('a delayed message comes before its time', () => {
    expect(broken(put(0, ['a'], 'done', 2), get(1900, [delivery(1900, 'a', 1)]), del(1940, 'a1'))).toEqual([
      PROPERTIES.early,
    ]);
  });

  it('two hold one message', () => {
    expect(
      broken(put(0, ['a']), get(20, [delivery(20, 'a', 1)]), get(1000, [delivery(1000, 'a', 2)]), del(1040, 'a2')),
    ).toEqual([PROPERTIES.holder]);
    // The same delivery, given to two.
    expect(
      broken(put(0, ['a']), get(20, [delivery(20, 'a', 1)]), get(20, [delivery(20, 'a', 1)]), del(40, 'a1')),
    ).toEqual([PROPERTIES.holder, PROPERTIES.count]);
  });

  it('an extension did not hold, or a refused update to 0 took effect', () => {
    expect(
      broken(
        put(0, ['a']),
        get(20, [delivery(20, 'a', 1)]),
        update(500, 'a1', 2),
        get(1030, [delivery(1030, 'a', 2)]),
        del(1050, 'a2'),
      ),
    ).toEqual([PROPERTIES.holder]);
    expect(
      broken(
        put(0, ['a']),
        get(20, [delivery(20, 'a', 1)]),
        get(1030, [delivery(1030, 'a', 2)]),
        update(1050, 'a1', 0, 'refused'),
        get(1070, [delivery(1070, 'a', 3)]),
        del(1090, 'a3'),
      ),
    ).toContain(PROPERTIES.holder);
  });

  it('a message comes after its delete was confirmed', () => {
    expect(
      broken(put(0, ['a']), get(20, [delivery(20, 'a', 1)]), del(40, 'a1'), get(1030, [delivery(1030, 'a', 2)])),
    ).toEqual([PROPERTIES.afterDelete]);
  });

  it('a stale receipt deletes or changes', () => {
    const again = [put(0, ['a']), get(20, [delivery(20, 'a', 1)]), get(1030, [delivery(1030, 'a', 2)])];
    expect(broken(...again, del(1050, 'a1'))).toEqual([PROPERTIES.stale]);
    expect(broken(...again, update(1050, 'a1', 3), del(1070, 'a2'))).toEqual([PROPERTIES.stale]);
    expect(broken(...again, del(1050, 'a2'), del(1070, 'a2'))).toEqual([PROPERTIES.stale]);
    expect(broken(...again, del(1050, 'a2'), update(1070, 'a2', 3))).toEqual([PROPERTIES.stale]);
  });

  it('a live receipt is refused', () => {
    expect(
      broken(put(0, ['a']), get(20, [delivery(20, 'a', 1)]), update(40, 'a1', 5, 'refused'), del(60, 'a1')),
    ).toEqual([PROPERTIES.live]);
    // Its window is over, but nobody has it and it has a delivery left.
    expect(
      broken(
        put(0, ['a']),
        get(20, [delivery(20, 'a', 1)]),
        del(1100, 'a1', 'refused'),
        get(1130, [delivery(1130, 'a', 2)]),
        del(1150, 'a2'),
      ),
    ).toEqual([PROPERTIES.live]);
  });

  it('a delivery is counted twice or not at all', () => {
    expect(broken(put(0, ['a']), get(20, [delivery(20, 'a', 2)]), del(40, 'a2'))).toEqual([PROPERTIES.count]);
    expect(
      broken(
        put(0, ['a']),
        get(20, [delivery(20, 'a', 1)]),
        get(1030, [delivery(1030, 'a', 1, { receipt: 'other' })]),
        del(1050, 'other'),
      ),
    ).toEqual([PROPERTIES.count]);
  });

  it('aborted polls cannot account for what nobody saw: too late, elsewhere, or too few', () => {
    expect(missedBy(aborted(0))).toEqual([PROPERTIES.count]);
    expect(missedBy(aborted(700))).toEqual([PROPERTIES.count]);
    expect(missedBy(aborted(620, dead))).toEqual([PROPERTIES.count]);
    expect(missedBy(aborted(620, { channelId: 'c' }))).toEqual([PROPERTIES.count]);
    expect(missedBy(aborted(620))).toEqual([]);
    expect(
      broken(
        put(0, ['a', 'b']),
        aborted(20, { limit: 1 }),
        get(1030, [delivery(1030, 'a', 2), delivery(1030, 'b', 2)]),
        del(1050, 'a2'),
        del(1050, 'b2'),
      ),
    ).toEqual([PROPERTIES.count]);
  });

  it('a message is a dead letter too early, too late, or comes back', () => {
    const once = [put(0, ['a']), get(20, [delivery(20, 'a', 1)])];
    expect(broken(...once, get(1030, [delivery(1030, 'a', 2)], dead), { ...del(1050, 'a2'), ...dead })).toEqual([
      PROPERTIES.deadLetter,
    ]);
    // Counted as delivered twice, and nobody can have seen the second time.
    expect(broken(...once, get(1030, [delivery(1030, 'a', 3)], dead), { ...del(1050, 'a3'), ...dead })).toContain(
      PROPERTIES.deadLetter,
    );
    const twice = [...once, get(1030, [delivery(1030, 'a', 2)])];
    expect(broken(...twice, get(2040, [delivery(2040, 'a', 3)]), del(2060, 'a3'))).toEqual([PROPERTIES.deadLetter]);
    // While its last delivery is still being worked on.
    expect(broken(...twice, get(1600, [delivery(1600, 'a', 3)], dead), { ...del(1620, 'a3'), ...dead })).toEqual([
      PROPERTIES.holder,
    ]);
    expect(
      broken(...twice, get(2040, [delivery(2040, 'a', 3)], dead), get(3050, [delivery(3050, 'a', 4)]), del(3070, 'a4')),
    ).toEqual([PROPERTIES.deadLetter]);
  });

  it('the answered time is not that of the delivery or the update', () => {
    expect(broken(put(0, ['a']), get(20, [delivery(20, 'a', 1, { visibleAfter: 5025 })]), del(40, 'a1'))).toContain(
      PROPERTIES.times,
    );
    expect(
      broken(
        put(0, ['a']),
        get(20, [delivery(20, 'a', 1)]),
        { ...update(40, 'a1', 2), visibleAfter: 9000 },
        del(60, 'a1'),
      ),
    ).toContain(PROPERTIES.times);
  });

  it('the statistics do not come to the truth', () => {
    const rest = [put(0, ['a']), get(100, [delivery(100, 'a', 1)]), del(120, 'a1')];
    expect(broken(...rest, stats(50, 1, 0))).toEqual([]);
    expect(broken(...rest, stats(50, 0, 0))).toEqual([PROPERTIES.stats]);
    expect(broken(...rest, stats(50, 0, 1))).toEqual([PROPERTIES.stats]);
    expect(broken(...rest, stats(50, 1, 0, 1))).toEqual([PROPERTIES.stats]);
    expect(broken(...rest, stats(200, 1, 0))).toEqual([PROPERTIES.stats]);
  });
});
