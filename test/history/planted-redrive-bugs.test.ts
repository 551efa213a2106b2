import type { TestDatabase } from '../support/database.js';
import { PROPERTIES, type Property } from './check/properties.js';
import { propertiesBroken, rewrite, TIMEOUT_MS } from './plant.js';

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

/** Each with the property that it breaks, the function, and what is changed there. */
const BUGS: readonly [bug: string, property: Property, name: string, ...changes: [from: RegExp, to: string][]][] = [
  ['leaves the receipt number as it was', PROPERTIES.stale, MOVES, [/receipt_number = m\.receipt_number \+ 1,/, '']],
  // The first get then makes it a dead letter again.
  ['does not reset the delivery count', PROPERTIES.redriven, MOVES, [/delivery_count = 0,/, '']],
  ['copies instead of moving', PROPERTIES.once, MOVES, [/^begin$/m, `$&${COPY}`]],
  [
    'skips a message and deletes it',
    PROPERTIES.lost,
    MOVES,
    [/^begin$/m, `$&${DELETE}`],
    [/from unnest\(ids\) u\(id\)/, '$& where u.id % 3 <> 0 or u.id = ids[1]'],
  ],
  // No redrive can then explain that it is back; and where it is delivered at once, two hold it.
  [
    'takes what a consumer of the dead letter queue holds',
    PROPERTIES.deadLetter,
    'run_redrive_step',
    [/where u\.visible_after <= v_now and u\.size <= v_max_message_bytes/, 'where u.size <= v_max_message_bytes'],
  ],
];

describe('the history checker finds a redrive that', () => {
  it.each(BUGS)(
    '%s',
    async (_bug, property, name, ...changes) => {
      const plant = (test: TestDatabase): Promise<void> => rewrite(test, name, ...changes);
      const found = await propertiesBroken(property, plant, { groups: true, redrives: true });
      expect(found.has(property)).toBe(true);
    },
    TIMEOUT_MS,
  );
});
