import { setTimeout as sleep } from 'node:timers/promises';
import { clock } from '../history/history.js';
import type { Pace } from '../history/load.js';

/** So many messages per second over all who ask. Nobody is given what was left unused before. */
export function paced(messagesPerSecond: number, now = clock, wait: (ms: number) => Promise<unknown> = sleep): Pace {
  let nextAt = now();
  return async (messages) => {
    const at = Math.max(now(), nextAt);
    nextAt = at + (messages * 1000) / messagesPerSecond;
    const ms = at - now();
    if (ms > 0) await wait(ms);
  };
}
