// The tables beside the messages that are updated: what free room on the page does for them. Their updates change no column of an index, so they are
// HOT as long as the page has room.
import { compare } from './trial.mjs';

const CHANNELS = [1, 256, 2000];

const fillfactors = (table, percents) =>
  Object.fromEntries(
    percents.map((percent) => [`${percent} %`, `alter table towpath.${table} set (fillfactor = ${percent})`]),
  );

export const small = {
  name: 'small',
  run: async (trials, { quick }) => {
    const rounds = quick ? 1 : 3;
    const columns = { 'HOT %': 0, 'WAL/update': 0, 'heap kB': 0, 'indexes kB': 0 };
    for (const channels of CHANNELS) {
      await compare(trials, {
        title: `fillfactor of message_total, ${channels} channels`,
        variants: fillfactors('message_total', [100, 85, 70, 50]),
        rounds,
        measure: (trial) => measure(trial, 'towpath.message_total', 50, () => fold(trial, channels)),
        columns,
      });
    }
    await compare(trials, {
      title: 'fillfactor of message_delay, 256 channels, an hour of minutes',
      variants: fillfactors('message_delay', [100, 85, 70, 50]),
      rounds,
      measure: (trial) => measure(trial, 'towpath.message_delay', 30, (n) => foldDelays(trial, n)),
      columns,
    });
    for (const [table, act] of Object.entries({
      lease: (trial) => (n) =>
        trial.run('lease', `select towpath.take_lease('maintenance', 'holder-' || ($1::int / 1000), 15)`, [n]),
      pod: (trial) => (n) => trial.run('pod', `select towpath.record_heartbeat('pod-' || $1::text)`, [n % 8]),
      // As report_stomp_sessions does, with what 100 sessions are.
      stomp_session_chunk: (trial) => (n) =>
        trial.run(
          'chunk',
          `with alive as (
             insert into towpath.pod (id, started_at, seen_at) values ('pod', now(), now()) on conflict do nothing
           )
           insert into towpath.stomp_session_chunk (pod_id, chunk_no, tenancy_id, host, reported_at, session_ids, sessions)
           select 'pod', $1, 'tenancy', 'host', clock_timestamp(), array_agg(u.id),
             jsonb_agg(jsonb_build_object('id', u.id, 'peer', md5(u.id::text), 'sent', n))
           from (select gen_random_uuid() as id, n from generate_series(1, 100) n) u
           on conflict on constraint stomp_session_chunk_pkey do update
           set reported_at = excluded.reported_at, session_ids = excluded.session_ids, sessions = excluded.sessions`,
          [n % 50],
        ),
    })) {
      await compare(trials, {
        title: `fillfactor of ${table}`,
        variants: fillfactors(table, [100, 50]),
        rounds,
        measure: (trial) => measure(trial, `towpath.${table}`, 1000, act(trial)),
        columns,
      });
    }
  },
};

async function measure(trial, table, times, act) {
  await act(0);
  const before = await trial.counters(table);
  for (let n = 1; n < times; n += 1) await act(n);
  const after = await trial.counters(table);
  const updates = after.updates - before.updates;
  return {
    'HOT %': ((after.hot - before.hot) / updates) * 100,
    'WAL/update': (after.wal - before.wal) / updates,
    'heap kB': after.heap / 1024,
    'indexes kB': after.indexes / 1024,
  };
}

/** A change per channel, and what the maintenance does with them. */
async function fold(trial, channels) {
  await trial.run(
    'change',
    `insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
     select $1, 0, false, 'channel-' || c, 1, 200 from generate_series(1, $2::int) c`,
    [trial.queue, channels],
  );
  await trial.run('fold', 'select towpath.fold_message_deltas($1, 5000)', [trial.queue]);
}

async function foldDelays(trial, n) {
  await trial.run(
    'delay',
    `insert into towpath.message_delay (queue_id, consumer_group_id, channel_id, visible_minute, messages)
     select $1, 0, 'channel-' || c, date_trunc('minute', now()) + make_interval(mins => 10 + ($2::int + c) % 60), 1
     from generate_series(1, 256) c`,
    [trial.queue, n % 2],
  );
  await trial.run('fold delays', 'select towpath.fold_message_delays(5000)');
}
