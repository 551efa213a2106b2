import type { GetCall, Rules } from '../history.js';

/** Gets that may have delivered what nobody saw, of one group and one side of it, found by the times in which they may have. */
export class BlindGets {
  private readonly sorted: readonly GetCall[];
  /** The latest end of any of them up to each, in the order of their begins: before that time nothing further back can reach. */
  private readonly latestEnds: readonly number[];

  constructor(
    gets: readonly GetCall[],
    private readonly rules: Pick<Rules, 'clockToleranceMs' | 'lingerMs'>,
  ) {
    this.sorted = gets.toSorted((a, b) => a.calledAt - b.calledAt);
    let latest = -Infinity;
    this.latestEnds = this.sorted.map((get) => (latest = Math.max(latest, this.endOf(get))));
  }

  get all(): readonly GetCall[] {
    return this.sorted;
  }

  /** Those that may have delivered something of the channel at a time from `since` to `until`. */
  between(since: number, until: number, channelId: string): GetCall[] {
    const found: GetCall[] = [];
    for (let index = this.begunBy(until) - 1; index >= 0 && (this.latestEnds[index] ?? 0) >= since; index -= 1) {
      const get = this.sorted[index];
      if (get === undefined || this.endOf(get) < since) continue;
      if (get.channelId === null || get.channelId === channelId) found.push(get);
    }
    return found;
  }

  /** How many of them had begun. */
  private begunBy(at: number): number {
    let [low, high] = [0, this.sorted.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const get = this.sorted[middle];
      if (get !== undefined && get.calledAt - this.rules.clockToleranceMs <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  private endOf({ answeredAt }: GetCall): number {
    return answeredAt + this.rules.lingerMs + this.rules.clockToleranceMs;
  }
}
