import { anyOf } from '../random.js';
import type { Fault } from './fault.js';

export const backendKill: Fault = {
  name: 'backend-kill',
  does: 'kill -9 of one backend: PostgreSQL ends all others and recovers from its log',
  heals: 'PostgreSQL itself',
  seconds: [0, 1],
  isOutage: true,
  begin: async (stage, random) => {
    const rows = await stage.asSuperuser<{ pid: number }>(
      `select pid from pg_stat_activity where application_name = 'towpath' order by pid`,
    );
    const pid = rows[anyOf(rows.length, random)]?.pid;
    if (pid === undefined) throw new Error('pods have no connections');
    process.kill(pid, 'SIGKILL');
    return {
      hit: `one of ${rows.length} backends`,
      heal: async () => {
        await stage.databaseBack();
        return null;
      },
    };
  },
};
