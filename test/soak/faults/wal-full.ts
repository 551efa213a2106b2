import { setTimeout as sleep } from 'node:timers/promises';
import { diskFull, needsSmallFilesystem } from './disk-full.js';
import type { Fault } from './fault.js';

const EVERY_MS = 100;

export const walFull: Fault = {
  name: 'wal-full',
  does: 'the file system is full, and PostgreSQL needs a further file for its log: it panics',
  heals: 'there is room again, and PostgreSQL is started where it has given up',
  seconds: [4, 10],
  isOutage: true,
  refusal: needsSmallFilesystem,
  begin: async (stage, random) => {
    const { hit, heal } = await diskFull.begin(stage, random);
    let goesOn = true;
    let panicked = false;
    // Whatever files the log has in store are soon used up.
    const switching = (async (): Promise<void> => {
      while (goesOn && !panicked) {
        panicked = await stage.asSuperuser('select pg_switch_wal()').then(
          () => false,
          () => true,
        );
        await sleep(EVERY_MS);
      }
    })();
    return {
      hit,
      heal: async () => {
        goesOn = false;
        await switching;
        await heal();
        return panicked ? 'it panicked' : 'it had files left';
      },
    };
  },
};
