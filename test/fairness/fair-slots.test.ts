import fc from 'fast-check';
import { FairSlots, type Turn } from '../../src/fairness/fair-slots.js';

function setup(slots: number): {
  readonly slots: FairSlots;
  readonly clock: { now: number };
  readonly entered: (string | null)[];
  readonly take: (lane: string | null) => Turn | undefined;
} {
  const clock = { now: 0 };
  const made = new FairSlots(slots, () => clock.now);
  const entered: (string | null)[] = [];
  const take = (lane: string | null): Turn | undefined => {
    const turn = made.take(lane);
    if (turn === undefined) entered.push(lane);
    else void turn.entered.then(() => entered.push(lane));
    return turn;
  };
  return { slots: made, clock, entered, take };
}

const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
};

describe('slots that callers share', () => {
  it('are all for one that is alone', () => {
    const { slots, take, entered } = setup(4);
    for (let request = 0; request < 4; request += 1) take('a');
    expect(entered).toHaveLength(4);
    expect(take('a')).toBeDefined();
    expect(slots.waiting).toBe(1);
  });

  it('come next to the caller that has none, before all that came earlier', async () => {
    const { slots, take, entered } = setup(4);
    for (let request = 0; request < 50; request += 1) take('flood');
    take('quiet');
    slots.give('flood');
    await settle();
    expect(entered[4]).toBe('quiet');
  });

  it('are not all for one while others were there within the last second', async () => {
    const { slots, clock, take, entered } = setup(4);
    take('quiet');
    slots.give('quiet');
    for (let request = 0; request < 50; request += 1) take('flood');
    expect(entered).toEqual(['quiet', 'flood', 'flood']);
    // So one is free when the other comes again.
    expect(take('quiet')).toBeUndefined();
    slots.give('quiet');
    clock.now = 1001;
    slots.give('flood');
    await settle();
    expect(entered.filter((lane) => lane === 'flood')).toHaveLength(5);
  });

  it('are for what the pod does by itself as for a caller that is not limited', async () => {
    const { slots, take, entered } = setup(2);
    for (let request = 0; request < 3; request += 1) take('a');
    take(null);
    slots.give('a');
    await settle();
    expect(entered).toEqual(['a', 'a', null]);
    slots.give('a');
    await settle();
    expect(entered.at(-1)).toBe('a');
  });

  it('go on to others when somebody leaves, waiting or just entered', async () => {
    const { slots, take, entered } = setup(1);
    take('a');
    const [leaver, other] = [take('b')!, take('c')!];
    leaver.leave();
    slots.give('a');
    other.leave();
    await settle();
    expect(slots.waiting).toBe(0);
    expect(take('d')).toBeUndefined();
    expect(entered).toEqual(['a', 'c', 'd']);
  });

  it('are never more than there are, never idle while somebody may enter, and nobody waits for ever', async () => {
    const step = fc.oneof(
      fc.record({ take: fc.constantFrom('a', 'b', 'c', null) }),
      fc.record({ give: fc.nat(100) }),
      fc.record({ sleep: fc.integer({ min: 1, max: 3000 }) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 6 }), fc.array(step, { maxLength: 120 }), async (size, steps) => {
        const { slots, clock, take, entered } = setup(size);
        const given: (string | null)[] = [];
        let asked = 0;
        const held = (): (string | null)[] => {
          const left = [...entered];
          for (const lane of given) left.splice(left.indexOf(lane), 1);
          return left;
        };
        const give = async (index: number): Promise<void> => {
          const now = held();
          if (now.length === 0) return;
          const lane = now[index % now.length]!;
          given.push(lane);
          slots.give(lane);
          await settle();
        };
        for (const each of steps) {
          if ('take' in each) {
            take(each.take);
            asked += 1;
          } else if ('give' in each) await give(each.give);
          else clock.now += each.sleep;
          const now = held();
          expect(now.length).toBeLessThanOrEqual(size);
          expect(slots.waiting).toBe(asked - entered.length);
          // With so many held by one, another one would be let in.
          expect(slots.waiting === 0 || now.length >= Math.ceil(size / 2)).toBe(true);
        }
        while (held().length > 0) await give(0);
        expect([slots.waiting, entered.length]).toEqual([0, asked]);
      }),
    );
  });
});
