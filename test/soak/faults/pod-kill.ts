import { anyOf } from '../random.js';
import type { Fault } from './fault.js';

export const podKill: Fault = {
  name: 'pod-kill',
  does: 'SIGKILL of a pod: nothing in it gets to know',
  heals: 'another pod in its place',
  seconds: [0.5, 4],
  isOutage: false,
  begin: async (stage, random) => {
    const slot = anyOf(stage.slots.length, random);
    await stage.endPod(slot, 'SIGKILL');
    return {
      hit: `pod ${slot}`,
      heal: async () => {
        await stage.followPod(slot);
        return null;
      },
    };
  },
};
