import { PROPERTIES } from './check/properties.js';
import { propertiesBroken, TIMEOUT_MS } from './plant.js';
import { QUEUE_BUGS } from './planted/queue-bugs.js';

describe('the history checker finds', () => {
  it.each(QUEUE_BUGS)(
    '$what',
    async (bug) => {
      const found = await propertiesBroken(bug);
      expect(bug.breaks.some((property) => found.has(property))).toBe(true);
      // Statistics decide nothing, so theirs break nothing else.
      const others = [...found.keys()].filter((property) => property !== PROPERTIES.stats);
      if (bug.breaks.includes(PROPERTIES.stats)) expect(others).toEqual([]);
    },
    TIMEOUT_MS,
  );
});
