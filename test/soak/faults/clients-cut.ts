import { setTimeout as sleep } from 'node:timers/promises';
import type { Fault } from './fault.js';

const EVERY_MS = 500;

export const clientsCut: Fault = {
  name: 'clients-cut',
  does: 'all connections of clients to all pods are reset, STOMP’s too, again and again',
  heals: 'it stops',
  seconds: [1, 4],
  isOutage: false,
  begin: async (stage) => {
    let cut = 0;
    let goesOn = true;
    const cutting = (async (): Promise<void> => {
      while (goesOn) {
        for (const { clients } of stage.slots) cut += clients.cut();
        for (const proxy of stage.target.proxies) proxy.cut();
        cut += stage.target.proxies.size;
        await sleep(EVERY_MS);
      }
    })();
    return {
      hit: 'all pods',
      heal: async () => {
        goesOn = false;
        await cutting;
        return `${cut} connections`;
      },
    };
  },
};
