import { anyOf } from '../random.js';
import type { Fault } from './fault.js';

export const podTerminate: Fault = {
  name: 'pod-terminate',
  does: 'SIGTERM of a pod: it carries out what it has read, and ends',
  heals: 'another pod in its place',
  seconds: [0.5, 2],
  isOutage: false,
  begin: async (stage, random) => {
    const slot = anyOf(stage.slots.length, random);
    const code = await stage.endPod(slot, 'SIGTERM');
    return {
      hit: `pod ${slot}`,
      heal: async () => {
        await stage.followPod(slot);
        if (code !== 0) throw new Error(`pod ${slot} did not end with 0 after SIGTERM, but with ${code}`);
        return null;
      },
    };
  },
};
