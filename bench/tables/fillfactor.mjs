// Free room on the page of the messages table. A claim changes what indexes are about (visible_after, delivery_count), so it can never be a HOT update; but
// on the same page the new version's WAL leaves out what both have in common, which is the body.
import { compare, sealed } from './trial.mjs';

const BATCH = 20;

export const fillfactor = {
  name: 'fillfactor',
  run: async (trials, { quick }) => {
    for (const [bytes, waiting] of [
      [200, 0],
      [200, 2000],
      [1000, 2000],
      [1800, 2000],
    ]) {
      await compare(trials, {
        title: `fillfactor of message, bodies of ${bytes} bytes, ${waiting === 0 ? 'got at once' : `${waiting} wait`}`,
        variants: Object.fromEntries(
          [100, 85, 70, 50].map((percent) => [
            `${percent} %`,
            `alter table towpath.message set (fillfactor = ${percent})`,
          ]),
        ),
        rounds: quick ? 1 : 3,
        measure: (trial) => measure(trial, { bytes, waiting, lives: quick ? 2000 : 4000 }),
        columns: {
          'WAL/life': 0,
          'of the get': 0,
          'of vacuum': 0,
          'other page %': 0,
          'HOT %': 0,
          'µs/life': 0,
          'heap bytes waiting': 0,
        },
      });
    }
  },
};

/** The oldest is taken, as many as wait in front of it; vacuum comes every 2,000 lives. */
async function measure(trial, { bytes, waiting, lives }) {
  const body = sealed(bytes);
  for (let n = 0; n < waiting; n += BATCH) await trial.put(BATCH, body);
  const { heap } = await trial.counters();
  const before = await trial.counters();
  const cost = { wal: 0, ms: 0, get: 0, vacuum: 0 };
  for (let n = BATCH; n <= lives; n += BATCH) {
    const all = await trial.taken(async () => {
      await trial.put(BATCH, body);
      let found = [];
      cost.get += (await trial.taken(async () => (found = await trial.get(BATCH)))).wal;
      await trial.remove(found);
    });
    cost.wal += all.wal;
    cost.ms += all.ms;
    if (n % 2000 === 0) cost.vacuum += (await trial.taken(() => trial.client.query('vacuum towpath.message'))).wal;
  }
  const after = await trial.counters();
  const updates = after.updates - before.updates;
  return {
    'WAL/life': cost.wal / lives,
    'of the get': cost.get / lives,
    'of vacuum': cost.vacuum / lives,
    'other page %': ((after.elsewhere - before.elsewhere) / updates) * 100,
    'HOT %': ((after.hot - before.hot) / updates) * 100,
    'µs/life': (cost.ms / lives) * 1000,
    'heap bytes waiting': waiting === 0 ? NaN : heap / waiting,
  };
}
