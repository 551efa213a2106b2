import { anyOf } from '../random.js';
import type { Fault } from './fault.js';

export const databaseStall: Fault = {
  name: 'database-stall',
  does: 'what a pod and PostgreSQL say to each other is held up',
  heals: 'all of it arrives, late',
  seconds: [3, 9],
  isOutage: true,
  begin: async (stage, random) => {
    const slot = anyOf(stage.slots.length, random);
    const { database } = stage.slotAt(slot);
    const connections = database.count();
    database.stall();
    return {
      hit: `pod ${slot}, ${connections} connections`,
      heal: async () => {
        database.resume();
        return null;
      },
    };
  },
};
