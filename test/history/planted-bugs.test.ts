import { PROPERTIES } from './check/properties.js';
import { propertiesBroken, TIMEOUT_MS } from './plant.js';
import { QUEUE_BUGS } from './planted/queue-bugs.js';

describe('the history checker finds', () => {
  it.each(QUEUE_BUGS)(
    '$what',
    async (bug) => {
      const found = await propertiesBroken(bug);
      expect(bug.breaks.some((property) => found.has(property))).toBe(true);
      // Statistics decide nothing, so a bug of theirs breaks nothing else.
      const mayBreakOthers = !bug.breaks.includes(PROPERTIES.stats);
      expect(mayBreakOthers || found.size === 1).toBe(true);
    },
    TIMEOUT_MS,
  );
});
