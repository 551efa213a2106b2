import type { Fault } from './fault.js';
import { repeat } from './repeat.js';

const EVERY_MS = 500;

export const clientsCut: Fault = {
  name: 'clients-cut',
  does: 'all connections of clients to all pods are reset, STOMP’s too, again and again',
  heals: 'it stops',
  seconds: [1, 4],
  isOutage: false,
  begin: async (stage) => {
    let cut = 0;
    const stop = repeat(EVERY_MS, () => {
      for (const { clients } of stage.slots) cut += clients.cut();
      for (const proxy of stage.target.proxies) proxy.cut();
      cut += stage.target.proxies.size;
    });
    return {
      hit: 'all pods',
      heal: async () => {
        await stop();
        return `${cut} connections`;
      },
    };
  },
};
