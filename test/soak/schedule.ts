import { shuffled, within, type Random } from './random.js';

interface Schedulable {
  /** For how long it lasts, in seconds: from, to. */
  readonly seconds: readonly [number, number];
}

export interface Turn<Fault> {
  readonly fault: Fault;
  /** For how long nothing happens before it. */
  readonly quietSeconds: number;
  readonly seconds: number;
}

/**
 * Which fault comes next, for how long, and after how much quiet: a seed decides it. They come in rounds, so that none comes
 * again before each has come, and each round has an order of its own. Never the same one twice in a row.
 */
export class Schedule<Fault extends Schedulable> {
  private round: Fault[] = [];
  private last: Fault | null = null;

  constructor(
    private readonly faults: readonly Fault[],
    private readonly random: Random,
    private readonly quietSeconds: readonly [number, number],
  ) {}

  next(): Turn<Fault> | null {
    if (this.faults.length === 0) return null;
    if (this.round.length === 0) this.round = this.nextRound();
    const [fault] = this.round.splice(0, 1);
    if (fault === undefined) return null;
    this.last = fault;
    const quietSeconds = within(this.quietSeconds, this.random);
    return { fault, quietSeconds, seconds: within(fault.seconds, this.random) };
  }

  private nextRound(): Fault[] {
    const round = shuffled(this.faults, this.random);
    const [first] = round;
    if (first !== undefined && first === this.last && round.length > 1) round.push(...round.splice(0, 1));
    return round;
  }
}
