import { setTimeout as sleep } from 'node:timers/promises';
import type { Fault } from './fault.js';

const EVERY_MS = 700;

export const backendsTerminate: Fault = {
  name: 'backends-terminate',
  does: 'pg_terminate_backend of all connections of the pods, listening ones too, again and again',
  heals: 'it stops',
  seconds: [1, 5],
  isOutage: true,
  begin: async (stage) => {
    let terminated = 0;
    let goesOn = true;
    const terminating = (async (): Promise<void> => {
      while (goesOn) {
        const rows = await stage.asSuperuser(
          `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'towpath%'`,
        );
        terminated += rows.length;
        await sleep(EVERY_MS);
      }
    })();
    // Told by `heal`.
    terminating.catch(() => undefined);
    return {
      hit: 'all pods',
      heal: async () => {
        goesOn = false;
        await terminating;
        return `${terminated} backends`;
      },
    };
  },
};
