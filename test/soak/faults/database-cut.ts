import { anyOf } from '../random.js';
import type { Fault } from './fault.js';

export const databaseCut: Fault = {
  name: 'database-cut',
  does: 'the connections of a pod to PostgreSQL are reset on both sides, and further ones refused',
  heals: 'it can connect again',
  seconds: [1, 6],
  isOutage: true,
  begin: async (stage, random) => {
    const slot = anyOf(stage.slots.length, random);
    const { database } = stage.slotAt(slot);
    database.refuse();
    const connections = database.cut();
    return {
      hit: `pod ${slot}, ${connections} connections`,
      heal: async () => {
        await database.leadTo(stage.server.port);
        return null;
      },
    };
  },
};
