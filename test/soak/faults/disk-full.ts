import type { Stage } from '../stage.js';
import type { Fault } from './fault.js';

/** Both faults of a full disk need a file system that others do not share. */
export function needsSmallFilesystem({ filesystem }: Stage): string | null {
  return typeof filesystem === 'string' ? filesystem : null;
}

export const diskFull: Fault = {
  name: 'disk-full',
  does: 'the file system of PostgreSQL is full: no table grows any more',
  heals: 'there is room again',
  seconds: [3, 10],
  isOutage: true,
  refusal: needsSmallFilesystem,
  begin: async (stage) => {
    const filesystem = stage.smallFilesystem;
    const used = await filesystem.usedMib();
    await filesystem.fill();
    return {
      hit: `PostgreSQL, at ${Math.round(used)} MiB`,
      heal: async () => {
        await filesystem.free();
        await stage.databaseBack();
        return null;
      },
    };
  },
};
