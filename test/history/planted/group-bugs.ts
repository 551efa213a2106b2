import { PROPERTIES } from '../check/properties.js';
import { rewrite, type PlantedBug } from './planted-bug.js';

const DELETE_EVERYWHERE = `$&
        delete from towpath.message m where m.queue_id = delete_messages.queue_id and m.id = any (ids);`;

/** Of queues with consumer groups. */
export const GROUP_BUGS: readonly PlantedBug[] = [
  {
    name: 'ignored-filter',
    what: 'a put that ignores the filter of one group',
    breaks: [PROPERTIES.filter],
    // The ids of three groups follow one another.
    plant: (site) => rewrite(site, 'put_sealed_messages', [/where g\.filter_path is null/, '$& or g.id % 3 = 0']),
  },
  {
    name: 'delete-in-all-groups',
    what: 'a delete in one group that deletes in all',
    breaks: [PROPERTIES.lost],
    plant: (site) =>
      rewrite(site, 'delete_messages', [
        /delete from towpath\.message m where m\.ctid = any \(v_places\);/,
        DELETE_EVERYWHERE,
      ]),
  },
  {
    name: 'limit-of-the-queue',
    what: 'the limit of the queue in a group that has one of its own',
    breaks: [PROPERTIES.deadLetter],
    plant: (site) =>
      rewrite(site, 'get_messages', [
        /coalesce\(g\.dead_letter_queue_delivery_count, (v_queue\.dead_letter_queue_delivery_count)\)/,
        '$1',
      ]),
  },
];
