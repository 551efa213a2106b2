import type { Fault } from './fault.js';
import { repeat } from './repeat.js';

const EVERY_MS = 700;

export const backendsTerminate: Fault = {
  name: 'backends-terminate',
  does: 'pg_terminate_backend of all connections of the pods, listening ones too, again and again',
  heals: 'it stops',
  seconds: [1, 5],
  isOutage: true,
  begin: async (stage) => {
    let terminated = 0;
    const stop = repeat(EVERY_MS, async () => {
      const rows = await stage.asSuperuser(
        `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'towpath%'`,
      );
      terminated += rows.length;
    });
    return {
      hit: 'all pods',
      heal: async () => {
        await stop();
        return `${terminated} backends`;
      },
    };
  },
};
