// Where bodies are stored: in the row or beside it (TOAST), compressed or not. The claim writes the row anew, with what of the body is in it. Rows of
// up to 2,032 bytes are never stored otherwise, whatever toast_tuple_target says.
import { say } from '../support.mjs';
import { compare, sealed, unsealed } from './trial.mjs';

const storage = (text) => `alter table towpath.message alter column body ${text}`;

export const bodies = {
  name: 'bodies',
  run: async (trials, { quick }) => {
    const rounds = quick ? 1 : 3;
    const { rows } = await trials.main.query(
      `select 'lz4' = any (enumvals) as has from pg_settings where name = 'default_toast_compression'`,
    );
    if (!rows[0].has) say('\nlz4 is left out: this server was built without it');
    for (const bytes of [200, 1000, 1800, 2000, 4000, 8000]) {
      await compare(trials, {
        title: `a body of ${bytes} bytes that cannot be compressed: WAL of a life`,
        variants: {
          'pglz, out of line above 2 kB (default)': storage('set compression pglz'),
          'toast_tuple_target 256': 'alter table towpath.message set (toast_tuple_target = 256)',
          'toast_tuple_target 8160': 'alter table towpath.message set (toast_tuple_target = 8160)',
          external: storage('set storage external'),
        },
        rounds: 1,
        measure: (trial) => measure(trial, sealed(bytes), quick ? 400 : 1000, 20),
        columns: { 'WAL/life': 0, 'of the put': 0, 'of the get': 0, 'of the delete': 0 },
      });
    }
    for (const [kind, make] of Object.entries({ sealed, 'JSON that is not sealed': unsealed })) {
      for (const [bytes, lives] of [
        [2048, 4000],
        [65_536, 600],
        [262_144, 160],
      ]) {
        await compare(trials, {
          title: `a body of ${bytes / 1024} KiB, ${kind}: processor time of the session`,
          variants: {
            'pglz (default)': storage('set compression pglz'),
            ...(rows[0].has ? { lz4: storage('set compression lz4') } : {}),
            external: storage('set storage external'),
          },
          rounds,
          measure: (trial) => measure(trial, make(bytes), quick ? lives / 4 : lives, bytes > 10_000 ? 4 : 20),
          columns: { 'put µs': 0, 'get µs': 0, 'WAL/life': 0, 'bytes stored': 0 },
        });
      }
    }
  },
};

/** All are put, then all are got, then all are deleted. */
async function measure(trial, body, lives, batch) {
  const found = [];
  const times = Math.ceil(lives / batch);
  const count = times * batch;
  const repeat = (act) =>
    trial.taken(async () => {
      for (let n = 0; n < times; n += 1) await act(n);
    });
  const empty = await trial.counters();
  const put = await repeat(() => trial.put(batch, body));
  const { heap, toast } = await trial.counters();
  const get = await repeat(async () => found.push(await trial.get(batch)));
  const remove = await repeat((n) => trial.remove(found[n]));
  return {
    'WAL/life': (put.wal + get.wal + remove.wal) / count,
    'of the put': put.wal / count,
    'of the get': get.wal / count,
    'of the delete': remove.wal / count,
    'put µs': (put.ms / count) * 1000,
    'get µs': (get.ms / count) * 1000,
    'bytes stored': (heap - empty.heap + toast - empty.toast) / count,
  };
}
