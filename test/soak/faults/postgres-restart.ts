import type { Fault } from './fault.js';

export const postgresRestart: Fault = {
  name: 'postgres-restart',
  does: 'PostgreSQL is stopped (fast) and stays away',
  heals: 'it is started again',
  seconds: [1, 6],
  isOutage: true,
  begin: async (stage) => {
    process.kill(stage.server.processId, 'SIGINT');
    return {
      hit: 'PostgreSQL',
      heal: async () => {
        await stage.server.restart();
        return null;
      },
    };
  },
};
