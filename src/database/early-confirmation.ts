import type { Statement } from './database.js';
import type { Durability } from './queue-functions.js';

/** One that asks for an early confirmation, which the queue's row decides, where the pod knows of one; a FULL queue pays nothing for it. */
export const byDurability = (
  name: string,
  text: (queue: string) => string,
): Readonly<Record<Durability, Statement>> => ({
  FULL: { name, text: text('$1') },
  RELAXED: { name: `${name}_relaxed`, text: text('towpath.as_relaxed(array[$1::bigint], $1::bigint)') },
});
