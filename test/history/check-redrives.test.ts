import { PROPERTIES } from './check/properties.js';
import {
  aborted,
  broken,
  brokenIn,
  dead,
  del,
  delivery,
  get,
  inGroup,
  put,
  redrive,
  stats,
  update,
} from './hand-made.js';
import type { GroupRules, Operation, ReceivedMessage } from './history.js';

/* Histories with redrives; see hand-made.ts for the times. The limit is 2, so the first dead delivery has the count 3. */

/** Put, delivered twice, and not deleted; visible among the dead letters from 2035 on. */
const died = [put(0, ['a']), get(20, [delivery(20, 'a', 1)]), get(1030, [delivery(1030, 'a', 2)])];
/** Delivered as a dead letter, and left alone: in flight from 2045 to 3045. */
const deadDelivery = get(2040, [delivery(2040, 'a', 3)], dead);
/** The delivery of 'a' after a redrive: receipts are like `again1`. */
const again = (at: number, count: number, more: Partial<ReceivedMessage> = {}) =>
  delivery(at, 'a', count, { receipt: `again${count}`, ...more });
/** Live again, and deleted. */
const gotAgain = (at: number, count = 1): Operation[] => [get(at, [again(at, count)]), del(at + 20, `again${count}`)];

/** The dead letter, under some id. */
const dlq = (at: number, id: number) => get(at, [delivery(at, 'a', 3, { id })], dead);
/** It comes back with something changed. */
const changed = (more: Partial<ReceivedMessage>) =>
  broken(...died, redrive(2040, 2100), get(2150, [again(2150, 1, more)]), del(2170, 'again1'));
/** The receipt of the dead letter is refused at 3160. */
const refused = (...redrives: Operation[]) =>
  broken(...died, deadDelivery, ...redrives, { ...del(3160, 'a3', 'refused'), ...dead }, ...gotAgain(3500));

describe('a good history of redrives', () => {
  it('counts from 1 again, whether the dead letter was delivered or not', () => {
    expect(broken(...died, redrive(2040, 2100), ...gotAgain(2150))).toEqual([]);
    expect(broken(...died, deadDelivery, redrive(3100, 3150), ...gotAgain(3200))).toEqual([]);
  });

  it('may have redriven the message at any moment from the call to the end', () => {
    expect(broken(...died, redrive(2040, 9000), ...gotAgain(2045))).toEqual([]);
    // It died after the call was sent and before it was answered.
    expect(broken(...died, { ...redrive(1000, 9000), answeredAt: 2040 }, ...gotAgain(8000))).toEqual([]);
  });

  it('may redrive nothing of what died after the call, or is held meanwhile', () => {
    const gone = { ...del(3220, 'a4'), ...dead };
    expect(
      broken(...died, redrive(1500, 2500), get(3200, [delivery(3200, 'a', 3)], dead), { ...gone, receipt: 'a3' }),
    ).toEqual([]);
    expect(broken(...died, deadDelivery, redrive(2500, 2900), get(3200, [delivery(3200, 'a', 4)], dead), gone)).toEqual(
      [],
    );
    // It was delivered before the redrive came to it.
    expect(broken(...died, deadDelivery, redrive(3100, 9000), get(3200, [delivery(3200, 'a', 4)], dead), gone)).toEqual(
      [],
    );
    // Extended.
    const extended = { ...update(2500, 'a3', 3), ...dead };
    const late = [get(5600, [delivery(5600, 'a', 4)], dead), { ...gone, calledAt: 5620, answeredAt: 5630 }];
    expect(broken(...died, deadDelivery, extended, redrive(3100, 3200), ...late)).toEqual([]);
    // Extended, maybe.
    const unknown = { ...update(2500, 'a3', 3, 'unknown'), ...dead };
    const soon = get(3300, [delivery(3300, 'a', 4)], dead);
    expect(broken(...died, deadDelivery, unknown, redrive(3100, 3200), soon, { ...gone, calledAt: 3320 })).toEqual([]);
  });

  it('lets it die again, and be redriven again', () => {
    expect(
      broken(
        ...died,
        redrive(2040, 2100),
        get(2150, [again(2150, 1)]),
        get(3160, [again(3160, 2)]),
        get(4170, [again(4170, 3)], dead),
        redrive(5200, 5300),
        get(5400, [delivery(5400, 'a', 1, { receipt: 'third' })]),
        del(5420, 'third'),
      ),
    ).toEqual([]);
  });

  it('refuses the receipts from before it', () => {
    expect(
      broken(
        ...died,
        deadDelivery,
        redrive(3100, 3150),
        del(3160, 'a2', 'refused'),
        del(3160, 'a3', 'refused'),
        { ...update(3160, 'a3', 0, 'refused'), ...dead },
        ...gotAgain(3200),
      ),
    ).toEqual([]);
  });

  it('allows aborted polls and calls of unknown outcome what they may have done', () => {
    expect(broken(...died, { ...redrive(2040, 0), outcome: 'unknown', finishedAt: null }, ...gotAgain(9000))).toEqual(
      [],
    );
    // It was called before the message died, and may have begun after that.
    const late = redrive(1700, 0, { outcome: 'unknown', finishedAt: null });
    expect(broken(...died, late, ...gotAgain(2300))).toEqual([]);
    // The second delivery, the death and the redrive were all missed; so was the first delivery after that.
    expect(
      broken(put(0, ['a']), get(20, [delivery(20, 'a', 1)]), aborted(1030), redrive(2100, 2200), ...gotAgain(2300)),
    ).toEqual([]);
    expect(broken(...died, redrive(2040, 2100), aborted(2150), ...gotAgain(3200, 2))).toEqual([]);
    // Somebody may have held it all the time.
    expect(
      broken(
        ...died,
        deadDelivery,
        aborted(3050, dead),
        redrive(3100, 3200),
        get(4100, [delivery(4100, 'a', 5)], dead),
        { ...del(4120, 'a5'), ...dead },
      ),
    ).toEqual([]);
  });

  it('leaves out what a cancelled or failed one did not come to', () => {
    const cancelled = redrive(3100, 3200, { isComplete: false });
    const still = [get(3300, [delivery(3300, 'a', 4)], dead), { ...del(3320, 'a4'), ...dead }];
    expect(broken(...died, deadDelivery, cancelled, ...still)).toEqual([]);
    expect(broken(...died, deadDelivery, cancelled, ...gotAgain(3300))).toEqual([]);
  });

  it('counts it in the queue', () => {
    expect(broken(...died, redrive(2060, 2100), stats(2110, 1, 0), ...gotAgain(2150))).toEqual([]);
  });
});

describe('a history of redrives is bad when', () => {
  it('a dead letter comes back without one: none, refused, over, not yet, or of another range', () => {
    const story = (...redrives: Operation[]) => broken(...died, deadDelivery, ...redrives, ...gotAgain(3200));
    expect(story()).toEqual([PROPERTIES.deadLetter, PROPERTIES.count]);
    expect(story(redrive(3100, 3150, { outcome: 'refused' }))).toContain(PROPERTIES.deadLetter);
    expect(story(redrive(1040, 1900))).toContain(PROPERTIES.deadLetter);
    // It was held until the end of that one.
    expect(story(redrive(2050, 2900))).toContain(PROPERTIES.deadLetter);
    expect(story(redrive(3300, 3400))).toContain(PROPERTIES.deadLetter);
    expect(story(redrive(3100, 3150, { channelIds: ['amber'] }))).toContain(PROPERTIES.deadLetter);
    expect(story(redrive(3100, 3150, { channelIds: ['amber', ''] }))).toEqual([]);
    expect(story(redrive(3100, 3150, { group: 'orders' }))).toContain(PROPERTIES.deadLetter);
    expect(story(redrive(3100, 3150, { group: '' }))).toEqual([]);
    // Which had not died when that one was called.
    expect(broken(...died, redrive(1500, 9000), ...gotAgain(3200))).toContain(PROPERTIES.count);
  });

  it('the count does not start again', () => {
    expect(broken(...died, redrive(2040, 2100), ...gotAgain(2150, 2))).toEqual([PROPERTIES.count]);
    expect(broken(...died, deadDelivery, redrive(3100, 3150), ...gotAgain(3200, 4))).toContain(PROPERTIES.deadLetter);
    // It was delivered once since, and is a dead letter again.
    expect(
      broken(...died, redrive(2040, 2100), get(2150, [again(2150, 1)]), get(3160, [again(3160, 2)], dead), {
        ...del(3180, 'again2'),
        ...dead,
      }),
    ).toEqual([PROPERTIES.deadLetter]);
  });

  it('a message comes back that had not died yet', () => {
    expect(broken(put(0, ['a']), get(20, [delivery(20, 'a', 1)]), redrive(1040, 1100), ...gotAgain(1200))).toEqual([
      PROPERTIES.count,
    ]);
    // In a group without a limit nothing dies.
    const free: GroupRules = { name: 'free', deliveryLimit: 0, takes: ({ kind }) => kind === 'free' };
    const inFree = gotAgain(1200).map((each) => ({ ...each, ...inGroup('free') }));
    expect(
      brokenIn(
        [free],
        put(0, ['a'], 'done', 0, { kind: 'free' }),
        get(20, [delivery(20, 'a', 1, { receipt: 'primary' })]),
        del(40, 'primary'),
        get(20, [delivery(20, 'a', 1)], inGroup('free')),
        redrive(1040, 1100),
        ...inFree,
      ),
    ).toEqual([PROPERTIES.count]);
  });

  it('one is taken that somebody holds', () => {
    expect(broken(...died, redrive(2010, 2020), ...gotAgain(2020))).toContain(PROPERTIES.holder);
    expect(broken(...died, deadDelivery, redrive(2500, 2900), ...gotAgain(2900))).toContain(PROPERTIES.holder);
    expect(
      broken(...died, deadDelivery, { ...update(2500, 'a3', 3), ...dead }, redrive(3100, 3200), ...gotAgain(3250)),
    ).toContain(PROPERTIES.holder);
  });

  it('a message is live and dead: delivered in both inside one window, deleted in one, counted in both', () => {
    const copied = [...died, redrive(2040, 2100), get(2150, [again(2150, 1)])];
    const deleted = { ...del(2220, 'a3'), ...dead };
    expect(broken(...copied, dlq(2200, 97), deleted)).toContain(PROPERTIES.holder);
    expect(broken(...copied, del(2170, 'again1'), dlq(2200, 97), deleted)).toContain(PROPERTIES.afterDelete);
    expect(broken(...copied, del(2170, 'again1'), dlq(4200, 7), deleted)).toEqual(
      expect.arrayContaining([PROPERTIES.once, PROPERTIES.nowhere, PROPERTIES.afterDelete]),
    );
    expect(broken(...died, redrive(2040, 2100), stats(2110, 1, 1), ...gotAgain(2150))).toEqual([PROPERTIES.stats]);
  });

  it('a receipt from before it deletes or changes, whether the message was delivered since or not', () => {
    const redriven = [...died, deadDelivery, redrive(3100, 3150)];
    expect(broken(...redriven, del(3160, 'a3'))).toContain(PROPERTIES.stale);
    expect(broken(...redriven, update(3160, 'a3', 5), ...gotAgain(3200))).toEqual([PROPERTIES.stale]);
    expect(broken(...redriven, get(3200, [again(3200, 1)]), { ...del(3220, 'a3'), ...dead })).toEqual([
      PROPERTIES.stale,
    ]);
    expect(broken(...redriven, { ...del(3160, 'a3'), ...dead }, ...gotAgain(3200))).toContain(PROPERTIES.afterDelete);
  });

  it('a dead letter is lost on the way', () => {
    expect(broken(...died, redrive(2040, 2100))).toEqual([PROPERTIES.lost]);
    expect(broken(...died, deadDelivery, redrive(3100, 3150))).toEqual([PROPERTIES.lost]);
  });

  it('a dead letter is left out that was there all the time', () => {
    const still = [get(3200, [delivery(3200, 'a', 4)], dead), { ...del(3220, 'a4'), ...dead }];
    expect(broken(...died, deadDelivery, redrive(3100, 3150), ...still)).toEqual([PROPERTIES.redriven]);
    // A refused extension is none.
    const refusedUpdate = { ...update(3060, 'a3', 3, 'refused'), ...dead };
    expect(broken(...died, deadDelivery, refusedUpdate, redrive(3100, 3150), ...still)).toContain(PROPERTIES.redriven);
  });

  it('the message is not what it was', () => {
    expect(changed({ createdAt: 'now' })).toEqual([PROPERTIES.kept]);
    expect(changed({ expireAfter: 'never' })).toEqual([PROPERTIES.kept]);
    expect(changed({ channelId: 'amber' })).toEqual([PROPERTIES.nowhere]);
  });

  it('a receipt is refused and no redrive can be the reason', () => {
    expect(refused(redrive(3100, 3400))).toEqual([]);
    expect(refused(redrive(3300, 3400))).toEqual([PROPERTIES.live]);
    expect(refused(redrive(2050, 2100), redrive(3300, 3400))).toEqual([PROPERTIES.live]);
  });
});
