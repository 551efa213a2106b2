import type { Random } from '../random.js';
import type { Stage } from '../stage.js';

export interface Fault {
  /** By which it is asked for. */
  readonly name: string;
  readonly does: string;
  readonly heals: string;
  /** For how long, in seconds: from, to. */
  readonly seconds: readonly [number, number];
  /** Pods may not reach the database, or lose what it answers. */
  readonly isOutage: boolean;
  /** Why this stage cannot have it; null: it can. Absent: any can. */
  readonly refusal?: (stage: Stage) => string | null;
  readonly begin: (stage: Stage, random: Random) => Promise<Inflicted>;
}

/** A fault that has begun. */
export interface Inflicted {
  /** What was hit. */
  readonly hit: string;
  /** Ends it. What was observed then, if there is something to tell. Throws where what must have happened has not. */
  readonly heal: () => Promise<string | null>;
}
