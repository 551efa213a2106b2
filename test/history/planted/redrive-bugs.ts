import { PROPERTIES } from '../check/properties.js';
import { rewrite, type PlantedBug } from './planted-bug.js';

const MOVES = 'redrive_to_origin';
/** Died only now, so that the redrive that made them does not take them again, without an end. */
const COPY = `
  insert into towpath.message (
    queue_id, consumer_group_id, id, visible_after, expire_after, created_at, dead_letter, dead_lettered_at,
    delivered_at, receipt_number, delivery_count, delivery_limit, size_in_bytes, channel_id, key_id, properties, body
  )
  select m.queue_id, m.consumer_group_id, nextval('towpath.message_id'), m.visible_after, m.expire_after, m.created_at,
    true, clock_timestamp(), m.delivered_at, m.receipt_number, m.delivery_count, m.delivery_limit, m.size_in_bytes,
    m.channel_id, m.key_id, m.properties, m.body
  from towpath.message m
  where m.queue_id = redrive_to_origin.queue_id
    and m.consumer_group_id = redrive_to_origin.consumer_group_id
    and m.id = any (ids);`;
/** But not the first of a batch: where nothing is moved the redrive fails, and is repeated until the test gives up. */
const DELETE = `
  delete from towpath.message m
  where m.queue_id = redrive_to_origin.queue_id
    and m.consumer_group_id = redrive_to_origin.consumer_group_id
    and m.id = any (ids)
    and m.id % 3 = 0
    and m.id <> ids[1];`;

/** Of redrives. */
export const REDRIVE_BUGS: readonly PlantedBug[] = [
  {
    name: 'redrive-keeps-receipts',
    what: 'a redrive that leaves the receipt number as it was',
    breaks: [PROPERTIES.stale],
    plant: (site) => rewrite(site, MOVES, [/receipt_number = m\.receipt_number \+ 1,/, '']),
  },
  {
    name: 'redrive-keeps-counts',
    what: 'a redrive that does not reset the delivery count',
    // The first get then makes it a dead letter again.
    breaks: [PROPERTIES.redriven],
    plant: (site) => rewrite(site, MOVES, [/delivery_count = 0,/, '']),
  },
  {
    name: 'redrive-copies',
    what: 'a redrive that copies instead of moving',
    breaks: [PROPERTIES.once],
    plant: (site) => rewrite(site, MOVES, [/^begin$/m, `$&${COPY}`]),
  },
  {
    name: 'redrive-loses',
    what: 'a redrive that skips a message and deletes it',
    breaks: [PROPERTIES.lost],
    plant: (site) =>
      rewrite(
        site,
        MOVES,
        [/^begin$/m, `$&${DELETE}`],
        [/from unnest\(ids\) u\(id\)/, '$& where u.id % 3 <> 0 or u.id = ids[1]'],
      ),
  },
  {
    name: 'redrive-of-held',
    what: 'a redrive that takes what a consumer of the dead letter queue holds',
    // No redrive can then explain that it is back; and where it is delivered at once, two hold it.
    breaks: [PROPERTIES.deadLetter],
    plant: (site) =>
      rewrite(site, 'run_redrive_step', [
        /where u\.visible_after <= v_now and u\.size <= v_max_message_bytes/,
        'where u.size <= v_max_message_bytes',
      ]),
  },
];
