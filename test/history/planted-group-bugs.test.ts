import { PROPERTIES } from './check/properties.js';
import { propertiesBroken, rewrite, TIMEOUT_MS } from './plant.js';

describe('the history checker finds', () => {
  it(
    'a put that ignores the filter of one group',
    async () => {
      const found = await propertiesBroken(
        PROPERTIES.filter,
        // The ids of three groups follow one another.
        (test) => rewrite(test, 'put_sealed_messages', [/where g\.filter_path is null/, '$& or g.id % 3 = 0']),
        { groups: true },
      );
      expect(found.has(PROPERTIES.filter)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    'a delete in one group that deletes in all',
    async () => {
      const everywhere = `$&
        delete from towpath.message m where m.queue_id = delete_messages.queue_id and m.id = any (ids);`;
      const found = await propertiesBroken(
        PROPERTIES.lost,
        (test) =>
          rewrite(test, 'delete_messages', [
            /delete from towpath\.message m where m\.ctid = any \(v_places\);/,
            everywhere,
          ]),
        { groups: true },
      );
      expect(found.has(PROPERTIES.lost)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    'the limit of the queue in a group that has one of its own',
    async () => {
      const found = await propertiesBroken(
        PROPERTIES.deadLetter,
        (test) =>
          rewrite(test, 'get_messages', [
            /coalesce\(g\.dead_letter_queue_delivery_count, (v_queue\.dead_letter_queue_delivery_count)\)/,
            '$1',
          ]),
        { groups: true },
      );
      expect(found.has(PROPERTIES.deadLetter)).toBe(true);
    },
    TIMEOUT_MS,
  );
});
