import fc from 'fast-check';
import { setTimeout as sleep } from 'node:timers/promises';
import { MemoryBudget, type Hold } from '../../src/memory/memory-budget.js';

const fast = { isSlow: (): boolean => false, cut: (): void => undefined };

/** A hold that has taken so many bytes, without waiting. */
function holdOf(budget: MemoryBudget, bytes: number): Hold {
  const hold = budget.open();
  expect(hold.take('small', bytes)).toBeUndefined();
  return hold;
}

describe('the memory budget', () => {
  it('gives at once what there is room for, and the rest in the order of asking', async () => {
    const budget = new MemoryBudget({ bytes: 1000, waitMs: 10_000 });
    const first = holdOf(budget, 700);
    const order: string[] = [];
    const [second, third] = [budget.open(), budget.open()];
    const both = [
      second.take('large', 300)!.then(() => order.push('second')),
      // It would fit, but others were there before.
      third.take('large', 10)!.then(() => order.push('third')),
    ];
    expect([budget.held, budget.waiting]).toEqual([700, 2]);
    first.release();
    await Promise.all(both);
    expect(order).toEqual(['second', 'third']);
    expect([budget.held, budget.waiting]).toEqual([310, 0]);
  });

  it('keeps a quarter for the small, and an eighth of it for gets', () => {
    const budget = new MemoryBudget({ bytes: 800, waitMs: 10_000 });
    expect(budget.open().take('large', 600)).toBeUndefined();
    expect(budget.open().takeUpTo(500, 100)).toBe(100);
    expect(budget.open().takeUpTo(500, 1)).toBe(0);
    expect(budget.open().take('small', 100)).toBeUndefined();
    expect(budget.held).toBe(800);
  });

  it('gives a get what is left rather than all it wants', () => {
    const budget = new MemoryBudget({ bytes: 800, waitMs: 10_000 });
    holdOf(budget, 400);
    expect(budget.open().takeUpTo(500, 50)).toBe(200);
  });

  it('refuses after a while, with a time to try again', async () => {
    const budget = new MemoryBudget({ bytes: 1000, waitMs: 20 });
    holdOf(budget, 800);
    await expect(budget.open().take('large', 100)).rejects.toMatchObject({
      code: 'ServiceUnavailable',
      retryAfterSeconds: expect.any(Number),
    });
    expect([budget.waiting, budget.refused, budget.held]).toEqual([0, 1, 800]);
  });

  it('gives nothing to those that have gone while they waited', async () => {
    const budget = new MemoryBudget({ bytes: 1000, waitMs: 10_000 });
    const [first, gone] = [holdOf(budget, 700), holdOf(budget, 50)];
    const turn = gone.take('large', 300);
    gone.release();
    expect([budget.held, budget.waiting]).toEqual([700, 0]);
    await turn;
    first.release();
    await sleep(300);
    expect(budget.held).toBe(0);
  });

  it('cuts slow transfers off, but only when somebody needs room', async () => {
    const budget = new MemoryBudget({ bytes: 1000, waitMs: 10_000 });
    const cuts: string[] = [];
    const [slow, quick] = [holdOf(budget, 500), holdOf(budget, 200)];
    slow.arrives({ isSlow: () => true, cut: () => cuts.push('slow') });
    quick.arrives({ isSlow: () => false, cut: () => cuts.push('quick') });
    await sleep(600);
    expect(cuts).toEqual([]);
    await budget.open().take('large', 500);
    expect(cuts).toEqual(['slow']);
    expect([budget.held, budget.cutOff]).toEqual([700, 1]);
  });

  it('gives up an answer that nobody reads', async () => {
    const budget = new MemoryBudget({ bytes: 1000, waitMs: 10_000, unreadMs: 20 });
    const { promise, resolve } = Promise.withResolvers<void>();
    budget.open().sends(700, { isSlow: () => false, cut: resolve });
    expect(budget.held).toBe(700);
    await promise;
    expect(budget.held).toBe(0);
  });

  it('never gives more than there is, forgets nobody, and has everything back in the end', async () => {
    const step = fc.record({
      line: fc.constantFrom('small', 'claim', 'large'),
      bytes: fc.integer({ min: 1, max: 700 }),
      rounds: fc.integer({ min: 0, max: 5 }),
      twice: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const budget = new MemoryBudget({ bytes: 1000, waitMs: 30_000 });
        await Promise.all(
          steps.map(async ({ line, bytes, rounds, twice }) => {
            const hold = budget.open();
            await hold.take(line, bytes);
            expect(budget.held).toBeLessThanOrEqual(1000);
            hold.arrives(fast);
            for (let round = 0; round < rounds; round += 1) await Promise.resolve();
            hold.release();
            if (twice) hold.release();
          }),
        );
        expect([budget.held, budget.waiting, budget.refused]).toEqual([0, 0, 0]);
      }),
    );
  });
});
