import { setTimeout as sleep } from 'node:timers/promises';
import { clock } from '../history/history.js';
import type { Outage } from '../history/stomp/target.js';
import type { Fault } from './faults/fault.js';
import { isOfRest } from './figures.js';
import type { Probe } from './probe.js';
import type { Random } from './random.js';
import type { Schedule, Turn } from './schedule.js';
import type { Stage } from './stage.js';

/** One fault that came, with what was observed. Times as of `clock`. */
export interface Inflicted {
  readonly name: string;
  readonly hit: string;
  readonly beganAt: number;
  /** When it had ended, and when each pod had answered again. */
  readonly healedAt: number;
  readonly recoveredAt: number;
  /** For how long a pod did not answer, at most. */
  readonly silentMs: number;
  /** Operations of REST that began or ended in that time: those that were done or refused, and those of unknown outcome. */
  readonly answered: number;
  readonly unanswered: number;
  readonly note: string | null;
}

/** Who waits for so long after a fault has recovered nothing. */
const RECOVERS_MS = 90_000;
/** What an outage has lost may be told a moment later. */
const LATE_MS = 1000;

/** Inflicts one fault after another on a stage. */
export class Inflicting {
  readonly inflicted: Inflicted[] = [];
  /** Failures of what must hold in a fault. */
  readonly complaints: string[] = [];
  private current: { readonly name: string; readonly beganAt: number } | null = null;
  private turn: Turn<Fault> | null = null;

  constructor(
    private readonly stage: Stage,
    private readonly schedule: Schedule<Fault>,
    private readonly random: Random,
    private readonly probe: Probe,
  ) {}

  /** The one that goes on, or the last one, for people. */
  get now(): string {
    if (this.current !== null)
      return `${this.current.name} for ${Math.round((clock() - this.current.beganAt) / 1000)} s`;
    const last = this.inflicted.at(-1);
    return last === undefined ? 'none yet' : `none, ${last.name} was the last`;
  }

  /** One after another, as long as each can have ended by `until`. */
  async run(until: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted && this.complaints.length === 0) {
      // What does not fit in any more comes first the next time.
      this.turn ??= this.schedule.next();
      const { turn } = this;
      if (turn === null || clock() + (turn.quietSeconds + turn.seconds) * 1000 > until) return;
      await pause(turn.quietSeconds * 1000, signal);
      if (signal.aborted) return;
      this.turn = null;
      await this.inflict(turn, signal);
    }
  }

  private async inflict({ fault, seconds }: Turn<Fault>, signal: AbortSignal): Promise<void> {
    const beganAt = clock();
    const outage: Outage = { from: beganAt, until: Infinity };
    if (fault.isOutage) this.stage.target.outages.push(outage);
    const lengths = this.stage.queues.map(({ operations }) => operations.length);
    this.current = { name: fault.name, beganAt };
    let hit = '';
    let note: string | null = null;
    try {
      const inflicted = await fault.begin(this.stage, this.random);
      hit = inflicted.hit;
      await pause(seconds * 1000, signal);
      note = await inflicted.heal();
    } catch (error) {
      this.complaints.push(`${fault.name}: ${String(error)}`);
    }
    const healedAt = clock();
    const recoveredAt = await this.recovered(healedAt);
    if (recoveredAt === null)
      this.complaints.push(`${fault.name}: not all pods answered within ${RECOVERS_MS / 1000} s`);
    const endedAt = recoveredAt ?? clock();
    outage.until = endedAt + LATE_MS;
    const operations = this.stage.queues.flatMap(({ operations: all }, index) =>
      all.slice(lengths[index]).filter(isOfRest),
    );
    const unanswered = operations.filter(({ outcome }) => outcome === 'unknown').length;
    this.inflicted.push({
      name: fault.name,
      hit,
      beganAt,
      healedAt,
      recoveredAt: endedAt,
      silentMs: this.probe.longestSilenceMs(beganAt, endedAt),
      answered: operations.length - unanswered,
      unanswered,
      note,
    });
    this.current = null;
  }

  private async recovered(since: number): Promise<number | null> {
    while (!this.probe.hasRecovered(since)) {
      if (clock() > since + RECOVERS_MS) return null;
      await sleep(20);
    }
    return this.probe.recoveredAt(since);
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  // Cut short by the end of the soak.
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}
