import { propertiesBroken, TIMEOUT_MS } from './plant.js';
import { REDRIVE_BUGS } from './planted/redrive-bugs.js';

describe('the history checker finds', () => {
  it.each(REDRIVE_BUGS)(
    '$what',
    async (bug) => {
      const found = await propertiesBroken(bug, { groups: true, redrives: true });
      expect(bug.breaks.some((property) => found.has(property))).toBe(true);
    },
    TIMEOUT_MS,
  );
});
