// Indexes of the messages table: their size and WAL, as they are and otherwise.
import { compare, sealed } from './trial.mjs';

const BATCH = 20;
const CLAIM_COLUMNS = 'queue_id, consumer_group_id, dead_letter, channel_id, visible_after, id';
const claim = (columns, rest = '') =>
  `drop index towpath.message_claim;
   create index message_claim on towpath.message (${columns}) ${rest} where size_in_bytes >= 0`;
const without = (name) => `drop index towpath.${name}`;

export const VARIANTS = {
  'as they are': '',
  'message_claim without deduplication': 'alter index towpath.message_claim set (deduplicate_items = off)',
  'message_claim, fillfactor 70': 'alter index towpath.message_claim set (fillfactor = 70)',
  'message_claim, fillfactor 100': 'alter index towpath.message_claim set (fillfactor = 100)',
  'message_pkey, fillfactor 70': 'alter index towpath.message_pkey set (fillfactor = 70)',
  'message_pkey, fillfactor 100': 'alter index towpath.message_pkey set (fillfactor = 100)',
  // In which two messages of one put have no order.
  'message_claim without id': claim(CLAIM_COLUMNS.replace(', id', '')),
  // Two, as it would have to be: one for each value of dead_letter, which a generic plan cannot choose from.
  'message_claim without dead_letter': claim(CLAIM_COLUMNS.replace('dead_letter, ', '')),
  'without message_delayed': without('message_delayed'),
  'without message_last_delivery': without('message_last_delivery'),
  'without message_dead_letter': without('message_dead_letter'),
};

export const indexes = {
  name: 'indexes',
  run: async (trials, { quick }) => {
    for (const waiting of [2000, 20_000]) {
      await compare(trials, {
        title: `indexes of message, bodies of 200 bytes, ${waiting} wait`,
        variants: VARIANTS,
        rounds: quick ? 1 : 3,
        measure: (trial) => measure(trial, waiting, quick ? 2000 : 4000),
        columns: {
          'WAL/life': 0,
          'µs/life': 0,
          'pkey bytes waiting': 0,
          'claim bytes waiting': 0,
          'indexes kB after': 0,
        },
      });
    }
  },
};

async function measure(trial, waiting, lives) {
  const body = sealed(200);
  for (let n = 0; n < waiting; n += BATCH) await trial.put(BATCH, body);
  const [sizes] = await trial.run(
    'sizes',
    `select pg_relation_size('towpath.message_pkey') as pkey, pg_relation_size('towpath.message_claim') as claim`,
  );
  const { wal, ms } = await trial.taken(async () => {
    for (let n = 0; n < lives; n += BATCH) {
      await trial.put(BATCH, body);
      await trial.remove(await trial.get(BATCH));
    }
  });
  const { indexes: bytes } = await trial.counters();
  return {
    'WAL/life': wal / lives,
    'µs/life': (ms / lives) * 1000,
    'pkey bytes waiting': Number(sizes.pkey) / waiting,
    'claim bytes waiting': Number(sizes.claim) / waiting,
    'indexes kB after': bytes / 1024,
  };
}
