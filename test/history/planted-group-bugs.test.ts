import { propertiesBroken, TIMEOUT_MS } from './plant.js';
import { GROUP_BUGS } from './planted/group-bugs.js';

describe('the history checker finds', () => {
  it.each(GROUP_BUGS)(
    '$what',
    async (bug) => {
      const found = await propertiesBroken(bug, { groups: true });
      expect(bug.breaks.some((property) => found.has(property))).toBe(true);
    },
    TIMEOUT_MS,
  );
});
