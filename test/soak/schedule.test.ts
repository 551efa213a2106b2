import { seeded, within } from './random.js';
import { Schedule, type Turn } from './schedule.js';

interface Named {
  readonly name: string;
  readonly seconds: readonly [number, number];
}

const FAULTS: readonly Named[] = ['a', 'b', 'c', 'd', 'e'].map((name, index) => ({
  name,
  seconds: [index, index + 2] as const,
}));
const QUIET = [3, 8] as const;

function turnsOf(seed: number, count: number, faults = FAULTS): Turn<Named>[] {
  const schedule = new Schedule(faults, seeded(seed), QUIET);
  return Array.from({ length: count }, () => schedule.next()).filter((turn) => turn !== null);
}

const SEEDS = Array.from({ length: 50 }, (_, seed) => seed * 7919);

describe('a schedule of faults', () => {
  it('is the same for the same seed, and another one for another', () => {
    expect(turnsOf(1, 40)).toEqual(turnsOf(1, 40));
    expect(turnsOf(1, 40)).not.toEqual(turnsOf(2, 40));
  });

  it.each(SEEDS)('has each fault once before any comes again, and none twice in a row (seed %i)', (seed) => {
    const names = turnsOf(seed, 10 * FAULTS.length).map(({ fault }) => fault.name);
    for (let round = 0; round < 10; round += 1) {
      const some = names.slice(round * FAULTS.length, (round + 1) * FAULTS.length);
      expect(some.toSorted()).toEqual(FAULTS.map(({ name }) => name));
    }
    expect(names.filter((name, index) => name === names[index + 1])).toEqual([]);
  });

  it('has rounds in different orders', () => {
    const names = turnsOf(1, 4 * FAULTS.length).map(({ fault }) => fault.name);
    const rounds = [0, 1, 2, 3].map((round) =>
      names.slice(round * FAULTS.length, (round + 1) * FAULTS.length).join(''),
    );
    expect(new Set(rounds).size).toBeGreaterThan(1);
  });

  it('keeps to the durations of the faults and of the quiet between them', () => {
    for (const { fault, seconds, quietSeconds } of turnsOf(3, 200)) {
      expect(seconds).toBeGreaterThanOrEqual(fault.seconds[0]);
      expect(seconds).toBeLessThan(fault.seconds[1]);
      expect(quietSeconds).toBeGreaterThanOrEqual(QUIET[0]);
      expect(quietSeconds).toBeLessThan(QUIET[1]);
    }
  });

  it('of one fault has that again and again; of none nothing', () => {
    expect(turnsOf(1, 3, FAULTS.slice(0, 1)).map(({ fault }) => fault.name)).toEqual(['a', 'a', 'a']);
    expect(turnsOf(1, 3, [])).toEqual([]);
  });
});

describe('numbers of a seed', () => {
  it('are spread evenly', () => {
    const random = seeded(42);
    const tenths = Array.from({ length: 10 }, () => 0);
    for (let n = 0; n < 10_000; n += 1) tenths[Math.floor(within([0, 10], random))]! += 1;
    for (const count of tenths) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });
});
