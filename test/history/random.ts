export function range(length: number): number[] {
  return Array.from({ length }, (_, index) => index);
}

export function chance(share: number): boolean {
  return Math.random() < share;
}

/** A whole number from `low` to `high`. */
export function between(low: number, high: number): number {
  return low + Math.floor(Math.random() * (high - low + 1));
}

export function pick<Item>(items: readonly [Item, ...Item[]]): Item;
export function pick<Item>(items: readonly Item[]): Item | undefined;
export function pick<Item>(items: readonly Item[]): Item | undefined {
  return items[Math.floor(Math.random() * items.length)];
}
