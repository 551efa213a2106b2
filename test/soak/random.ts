/** Numbers from 0 to below 1 that a seed decides. */
export type Random = () => number;

/** The generator mulberry32. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function shuffled<Item>(items: readonly Item[], random: Random): Item[] {
  return items
    .map((item) => ({ item, at: random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

export function within([low, high]: readonly [number, number], random: Random): number {
  return low + random() * (high - low);
}

/** An index of something with so many. */
export function anyOf(count: number, random: Random): number {
  return Math.floor(random() * count);
}
