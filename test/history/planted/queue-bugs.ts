import { PROPERTIES } from '../check/properties.js';
import { rewrite, type PlantedBug } from './planted-bug.js';

export const QUEUE_BUGS: readonly PlantedBug[] = [
  {
    name: 'double-claim',
    what: 'a claim that hands one message to two consumers',
    breaks: [PROPERTIES.holder],
    // The lock does not look again whether the message is still visible, nor does anything wait for it. What a claim has
    // seen is old by the time it takes it, so that another has taken it meanwhile.
    plant: (site) =>
      rewrite(
        site,
        'get_messages',
        [/for update skip locked/, ''],
        [/from fitting f$/m, 'from fitting f cross join (select pg_sleep(0.02)) late'],
      ),
  },
  {
    name: 'shared-get',
    what: 'a merged get that hands the rows of one request to another one as well',
    breaks: [PROPERTIES.holder],
    plant: (site) =>
      rewrite(
        site,
        'get_messages_for_many',
        [/unnest\(v_claimed\);/, 'unnest(v_claimed || v_claimed);'],
        [/\) m;\s+return;/, ') m cross join generate_series(1, 2); return;'],
      ),
  },
  {
    name: 'stale-delete',
    what: 'a delete that takes any receipt of the message',
    breaks: [PROPERTIES.stale],
    plant: (site) => rewrite(site, 'delete_messages', [/and \w+\.receipt_number = \w+\.receipt_number/g, '']),
  },
  {
    name: 'stale-update',
    what: 'an update that takes any receipt of the message',
    breaks: [PROPERTIES.stale],
    plant: (site) => rewrite(site, 'update_messages', [/and \w+\.receipt_number = \w+\.receipt_number/g, '']),
  },
  {
    name: 'lost-put',
    what: 'a put that acknowledges one message in 200 without storing it',
    breaks: [PROPERTIES.lost],
    plant: ({ sql }) =>
      sql(`
        create function towpath.lose_one() returns trigger language plpgsql as $$
          begin if new.id % 200 = 0 then return null; end if; return new; end $$;
        create trigger lose_one before insert on towpath.message for each row execute function towpath.lose_one();`),
  },
  {
    name: 'early-death',
    what: 'a message that becomes a dead letter one delivery too early',
    breaks: [PROPERTIES.deadLetter],
    plant: ({ sql }) =>
      sql(`
        create or replace trigger move_to_dead_letter_queue
        before update of delivery_count on towpath.message
        for each row when (new.delivery_count >= new.delivery_limit and not new.dead_letter)
        execute function towpath.move_to_dead_letter_queue()`),
  },
  {
    name: 'early-sweep',
    what: 'a sweep that kills deliveries whose window is still open',
    breaks: [PROPERTIES.holder],
    // It kills last deliveries only: here each is the last.
    deliveryLimit: 1,
    plant: async (site) => {
      await rewrite(site, 'sweep_timed_out_deliveries', [
        /and m\.visible_after <= v_now/,
        'and m.delivered_at <= v_now',
      ]);
      await rewrite(site, 'queues_with_timed_out_deliveries', [/if v_oldest <= v_now/, 'if true']);
    },
  },
  {
    name: 'counted-death',
    what: 'a dead letter trigger that counts the delivery that never happened',
    breaks: [PROPERTIES.count],
    plant: (site) =>
      rewrite(site, 'move_to_dead_letter_queue', [/new\.delivery_count := old\.delivery_count/, '$& + 1']),
  },
  {
    name: 'wrong-stats',
    what: 'statistics that forget a dead letter',
    breaks: [PROPERTIES.stats],
    plant: (site) => rewrite(site, 'sweep_timed_out_deliveries', [/\(false, -1\), \(true, 1\)/, '(true, 1)']),
    lingerMs: 5000,
  },
];
