import { clock } from '../../history/history.js';
import { until } from '../../support/until.js';
import { anyOf } from '../random.js';
import type { Fault } from './fault.js';

const NOTICED = /the listening connection is gone/g;
/** A connection is probed every 10 seconds and must answer in 5; a slow machine may need more. */
const NOTICE_MS = 60_000;

/** PostgreSQL is told the name of the program when a connection begins. */
const isListening = (greeting: string): boolean => greeting.includes('application_name\0towpath listen\0');

export const listenHalfOpen: Fault = {
  name: 'listen-half-open',
  does: 'the LISTEN connection of a pod goes half-open: both ends think it is there, and whatever they say is lost',
  heals: 'the pod notices, and makes another one',
  seconds: [5, 8],
  isOutage: false,
  begin: async (stage, random) => {
    const slot = anyOf(stage.slots.length, random);
    const { database, process: pod } = stage.slotAt(slot);
    const noticed = (): number => pod.log.match(NOTICED)?.length ?? 0;
    const before = noticed();
    const since = clock();
    const lost = database.lose(isListening);
    if (lost !== 1) throw new Error(`pod ${slot} has ${lost} listening connections`);
    return {
      hit: `pod ${slot}`,
      heal: async () => {
        await until(
          () => noticed() > before,
          `pod ${slot} notices that its listening connection is half-open`,
          NOTICE_MS,
        );
        return `noticed after ${((clock() - since) / 1000).toFixed(1)} s`;
      },
    };
  },
};
