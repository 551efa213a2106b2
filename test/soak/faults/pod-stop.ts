import { anyOf } from '../random.js';
import type { Fault } from './fault.js';

export const podStop: Fault = {
  name: 'pod-stop',
  does: 'SIGSTOP of a pod: it stands still with all it has under way, and its connections stay',
  heals: 'SIGCONT',
  // A pod counts as gone after 15 seconds without a heartbeat: both sides of that are to come.
  seconds: [4, 19],
  // What the database answers while it stands still may be given up when it goes on.
  isOutage: true,
  begin: async (stage, random) => {
    const slot = anyOf(stage.slots.length, random);
    const { process: pod } = stage.slotAt(slot);
    pod.signal('SIGSTOP');
    return {
      hit: `pod ${slot}`,
      heal: async () => {
        pod.signal('SIGCONT');
        return null;
      },
    };
  },
};
