import fc from 'fast-check';
import { FairTurns } from '../../src/fairness/fair-turns.js';

/** Turns of the event loop that the test makes. */
function setup(): {
  readonly turns: FairTurns;
  readonly next: () => Promise<void>;
  /** Takes a turn, and says so when it has it. */
  readonly take: (lane: string, cost?: number) => void;
  readonly begun: string[];
} {
  const callBacks: (() => void)[] = [];
  const turns = new FairTurns((callBack) => callBacks.push(callBack));
  const begun: string[] = [];
  return {
    turns,
    begun,
    next: async () => {
      for (const callBack of callBacks.splice(0)) callBack();
      await Promise.resolve();
    },
    take: (lane, cost) => {
      const turn = turns.take(lane, cost);
      if (turn === undefined) begun.push(lane);
      else void turn.then(() => begun.push(lane));
    },
  };
}

describe('the turns of requests', () => {
  it('are there at once while few come', async () => {
    const { turns, next } = setup();
    for (let round = 0; round < 10; round += 1) {
      for (let request = 0; request < 4; request += 1) expect(turns.take('a')).toBeUndefined();
      await next();
    }
    expect(turns.size).toBe(0);
  });

  it('come to whoever had the least: one request does not wait behind a hundred', async () => {
    const { take, begun, next, turns } = setup();
    for (let request = 0; request < 100; request += 1) take('flood');
    expect(begun).toHaveLength(4);
    take('quiet');
    await next();
    expect(begun[4]).toBe('quiet');
    expect(begun).toHaveLength(8);
    while (turns.waiting > 0) await next();
    expect(begun).toHaveLength(101);
    await next();
    expect(turns.size).toBe(0);
  });

  it('count what a request costs: a large one is followed by small ones of others', async () => {
    const { take, begun, next } = setup();
    for (let request = 0; request < 10; request += 1) take('large', 33);
    expect(begun).toEqual(['large']);
    for (let request = 0; request < 20; request += 1) take('small');
    await next();
    await next();
    expect(begun.slice(1)).toEqual(Array.from({ length: 8 }, () => 'small'));
    await next();
    expect(begun.slice(9, 13)).toEqual(['small', 'small', 'small', 'small']);
  });

  it('give no credit for having asked for nothing before', async () => {
    const { take, begun, next } = setup();
    for (let request = 0; request < 200; request += 1) take('old');
    for (let turn = 0; turn < 5; turn += 1) await next();
    for (let request = 0; request < 100; request += 1) take('new');
    const before = begun.length;
    await next();
    await next();
    // Half each from then on.
    expect(begun.slice(before).filter((lane) => lane === 'new').length).toBeLessThanOrEqual(5);
  });

  it('never keep two lanes that both wait further apart than one request, and lose nobody', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ lane: fc.constantFrom<string>('a', 'b', 'c'), cost: fc.integer({ min: 1, max: 40 }) }), {
          minLength: 1,
          maxLength: 80,
        }),
        async (requests) => {
          const { take, begun, next, turns } = setup();
          // Fills the turn, so that all of them wait.
          take('first', 4);
          for (const { lane, cost } of requests) take(lane, cost);
          const queues = Map.groupBy(requests, ({ lane }) => lane);
          const had = new Map([...queues.keys()].map((lane) => [lane, 0]));
          while (turns.waiting > 0) await next();
          for (const lane of begun.slice(1)) {
            const waiting = [...queues].filter(([, left]) => left.length > 0).map(([name]) => had.get(name)!);
            // Whoever begins has had no more than anybody else who waits.
            expect(had.get(lane)).toBe(Math.min(...waiting));
            had.set(lane, had.get(lane)! + queues.get(lane)!.shift()!.cost);
          }
          expect([...queues.values()].flat()).toEqual([]);
        },
      ),
    );
  });
});
