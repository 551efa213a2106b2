import { diskFull, needsSmallFilesystem } from './disk-full.js';
import type { Fault } from './fault.js';
import { repeat } from './repeat.js';

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
    let panicked = false;
    // Whatever files the log has in store are soon used up.
    const stop = repeat(EVERY_MS, async () => {
      if (panicked) return;
      panicked = await stage.asSuperuser('select pg_switch_wal()').then(
        () => false,
        () => true,
      );
    });
    return {
      hit,
      heal: async () => {
        await stop();
        await heal();
        return panicked ? 'it panicked' : 'it had files left';
      },
    };
  },
};
