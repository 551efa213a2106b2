import type { Fault } from './fault.js';

export const postgresKill: Fault = {
  name: 'postgres-kill',
  does: 'kill -9 of all processes of PostgreSQL at once: what only their memory held is lost',
  heals: 'it is started again, and recovers from its log',
  seconds: [0.5, 5],
  isOutage: true,
  begin: async (stage) => {
    const rows = await stage.asSuperuser<{ pid: number }>('select pid from pg_stat_activity');
    for (const pid of [stage.server.processId, ...rows.map((row) => row.pid)]) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // A backend that has ended meanwhile.
      }
    }
    return {
      hit: `PostgreSQL, ${rows.length + 1} processes`,
      heal: async () => {
        await stage.server.restart();
        return null;
      },
    };
  },
};
