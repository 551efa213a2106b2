import { anyOf } from '../random.js';
import type { Fault } from './fault.js';

export const clientsStall: Fault = {
  name: 'clients-stall',
  does: 'what clients of REST and a pod say to each other is held up. (STOMP’s clients stall and freeze all the time.)',
  heals: 'all of it arrives, late',
  seconds: [3, 8],
  isOutage: false,
  begin: async (stage, random) => {
    const slot = anyOf(stage.slots.length, random);
    const { clients } = stage.slotAt(slot);
    const connections = clients.count();
    clients.stall();
    return {
      hit: `pod ${slot}, ${connections} connections`,
      heal: async () => {
        clients.resume();
        return null;
      },
    };
  },
};
