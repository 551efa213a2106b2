import { PROPERTIES } from './check/properties.js';
import { propertiesBroken, rewrite, TIMEOUT_MS } from './plant.js';

describe('the history checker finds', () => {
  it(
    'a claim that hands one message to two consumers',
    async () => {
      const found = await propertiesBroken(PROPERTIES.holder, (test) =>
        // The lock does not look again whether the message is still visible, nor does anything wait for it. What a claim has
        // seen is old by the time it takes it, so that another has taken it meanwhile.
        rewrite(
          test,
          'get_messages',
          [/for update skip locked/, ''],
          [/from fitting f$/m, 'from fitting f cross join (select pg_sleep(0.02)) late'],
        ),
      );
      expect(found.has(PROPERTIES.holder)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    'a merged get that hands the rows of one request to another one as well',
    async () => {
      const found = await propertiesBroken(PROPERTIES.holder, (test) =>
        rewrite(
          test,
          'get_messages_for_many',
          [/unnest\(v_claimed\);/, 'unnest(v_claimed || v_claimed);'],
          [/\) m;\s+return;/, ') m cross join generate_series(1, 2); return;'],
        ),
      );
      expect(found.has(PROPERTIES.holder)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    'a delete that takes any receipt of the message',
    async () => {
      const found = await propertiesBroken(PROPERTIES.stale, (test) =>
        rewrite(test, 'delete_messages', [/and \w+\.receipt_number = \w+\.receipt_number/g, '']),
      );
      expect(found.has(PROPERTIES.stale)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    'an update that takes any receipt of the message',
    async () => {
      const found = await propertiesBroken(PROPERTIES.stale, (test) =>
        rewrite(test, 'update_messages', [/and \w+\.receipt_number = \w+\.receipt_number/g, '']),
      );
      expect(found.has(PROPERTIES.stale)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    'a put that acknowledges one message in 200 without storing it',
    async () => {
      const found = await propertiesBroken(PROPERTIES.lost, ({ sql }) =>
        sql(`
        create function towpath.lose_one() returns trigger language plpgsql as $$
          begin if new.id % 200 = 0 then return null; end if; return new; end $$;
        create trigger lose_one before insert on towpath.message for each row execute function towpath.lose_one();`),
      );
      expect(found.has(PROPERTIES.lost)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    'a message that becomes a dead letter one delivery too early',
    async () => {
      const found = await propertiesBroken(PROPERTIES.deadLetter, ({ sql }) =>
        sql(`
        create or replace trigger move_to_dead_letter_queue
        before update of delivery_count on towpath.message
        for each row when (new.delivery_count >= new.delivery_limit and not new.dead_letter)
        execute function towpath.move_to_dead_letter_queue()`),
      );
      expect(found.has(PROPERTIES.deadLetter)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    'a sweep that kills deliveries whose window is still open',
    async () => {
      const found = await propertiesBroken(
        PROPERTIES.holder,
        (test) =>
          rewrite(test, 'sweep_timed_out_deliveries', [
            /and m\.visible_after <= v_now/,
            'and m.delivered_at <= v_now',
          ]).then(() => rewrite(test, 'queues_with_timed_out_deliveries', [/if v_oldest <= v_now/, 'if true'])),
        // It kills last deliveries only: here each is the last.
        { deliveryLimit: 1 },
      );
      expect(found.has(PROPERTIES.holder)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    'a dead letter trigger that counts the delivery that never happened',
    async () => {
      const found = await propertiesBroken(PROPERTIES.count, (test) =>
        rewrite(test, 'move_to_dead_letter_queue', [/new\.delivery_count := old\.delivery_count/, '$& + 1']),
      );
      expect(found.has(PROPERTIES.count)).toBe(true);
    },
    TIMEOUT_MS,
  );

  it(
    'statistics that forget a dead letter',
    async () => {
      const found = await propertiesBroken(
        PROPERTIES.stats,
        (test) => rewrite(test, 'sweep_timed_out_deliveries', [/\(false, -1\), \(true, 1\)/, '(true, 1)']),
        { lingerMs: 5000 },
      );
      expect([...found.keys()]).toEqual([PROPERTIES.stats]);
    },
    TIMEOUT_MS,
  );
});
