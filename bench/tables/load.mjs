// Autovacuum under a steady load: lives at a fixed rate, settings per table and how often it comes. It looks at tables once in autovacuum_naptime, so that
// thresholds matter only where fewer rows die in that time; the trials of thresholds have it come every second.
import pg from 'pg';
import { fill } from './vacuum.mjs';
import { sealed, table } from './trial.mjs';
import { say } from '../support.mjs';

const COUNTS = `
  select s.autovacuum_count as vacuums, s.autoanalyze_count as analyzes, s.n_dead_tup as dead,
    s.total_autovacuum_time as vacuum, s.total_autoanalyze_time as analyze,
    pg_total_relation_size(s.relid) as bytes, coalesce(t.autovacuum_count, 0) as toasts
  from pg_stat_user_tables s
  join pg_class c on c.oid = s.relid
  left join pg_stat_all_tables t on t.relid = c.reltoastrelid
  where s.relid = 'towpath.message'::regclass`;

const scale = (factor, threshold, prefix = '') =>
  `alter table towpath.message set (${prefix}autovacuum_vacuum_scale_factor = ${factor}, ${prefix}autovacuum_vacuum_threshold = ${threshold})`;
const THRESHOLDS = {
  'PostgreSQL’s: 0.2, 50': scale(0.2, 50),
  '0.02, 1000': scale(0.02, 1000),
  '0, 1000': scale(0, 1000),
  '0, 20000': scale(0, 20_000),
};

export const load = {
  name: 'load',
  run: async (trials, { quick }) => {
    const seconds = quick ? 12 : 30;
    const waiting = quick ? 20_000 : 200_000;
    await each(
      trials,
      `scale factor and threshold, ${waiting} wait, 1,000 lives per second for ${seconds} s, looked at every second`,
      {
        variants: THRESHOLDS,
        naptime: 1,
        seconds,
        waiting,
        perSecond: 1000,
        bytes: 200,
      },
    );
    await each(
      trials,
      `how slowly autovacuum goes, ${waiting} wait, 1,000 lives per second for ${seconds} s, looked at every second`,
      {
        variants: {
          'PostgreSQL’s: a delay of 2 ms at a limit of 200': scale(0.02, 1000),
          'a limit of 2000': `${scale(0.02, 1000)}; alter table towpath.message set (autovacuum_vacuum_cost_limit = 2000)`,
          'no delay': `${scale(0.02, 1000)}; alter table towpath.message set (autovacuum_vacuum_cost_delay = 0)`,
        },
        naptime: 1,
        seconds,
        waiting,
        perSecond: 1000,
        bytes: 200,
      },
    );
    await each(trials, `bodies of 8,000 bytes, 200 lives per second for ${seconds} s, looked at every second`, {
      variants: {
        '0.02, 1000, for TOAST too': scale(0.02, 1000),
        'TOAST as PostgreSQL’s: 0.2, 50': `${scale(0.02, 1000)}; ${scale(0.2, 50, 'toast.')}`,
        'TOAST: 0.02, 10000': `${scale(0.02, 1000)}; ${scale(0.02, 10_000, 'toast.')}`,
      },
      naptime: 1,
      seconds,
      waiting: 0,
      perSecond: 200,
      bytes: 8000,
    });
    await each(trials, `only puts, 2,000 per second for ${seconds} s, looked at every second`, {
      variants: {
        'PostgreSQL’s: vacuum after inserts': scale(0.02, 1000),
        'without it': `${scale(0.02, 1000)}; alter table towpath.message set (autovacuum_vacuum_insert_threshold = -1)`,
      },
      naptime: 1,
      seconds,
      waiting: 0,
      perSecond: 2000,
      bytes: 200,
      isPutOnly: true,
    });
  },
};

/** Longer than a minute, which is how often autovacuum looks by default. */
export const naptime = {
  name: 'naptime',
  run: async (trials, { quick }) => {
    for (const seconds of quick ? [10, 5] : [60, 15, 10]) {
      await each(trials, `autovacuum_naptime ${seconds} s, 1,000 lives per second for ${quick ? 15 : 130} s`, {
        variants: { '0.02, 1000': scale(0.02, 1000) },
        naptime: seconds,
        seconds: quick ? 15 : 130,
        waiting: 0,
        perSecond: 1000,
        bytes: 200,
      });
    }
  },
};

async function each({ main, trial: open }, title, { variants, naptime: every, ...settings }) {
  await main.query(`alter system set autovacuum_naptime = '${every}s'`);
  const rows = [];
  for (const [name, sql] of Object.entries(variants)) {
    const trial = await open(sql);
    try {
      await fill(trial, settings.waiting, sealed(settings.bytes));
      rows.push([name, ...(await measure(main, trial, settings))]);
    } finally {
      await trial.drop();
    }
  }
  await main.query('alter system reset autovacuum_naptime');
  say(`\n${title}`);
  table([
    [
      '',
      'lives',
      'most dead',
      'vacuums',
      'their ms',
      'of TOAST',
      'analyzes',
      'their ms',
      'most kB',
      'kB at the end',
      'WAL/life',
      'buffers of a get',
    ],
    ...rows,
  ]);
}

async function measure(main, trial, { seconds, perSecond, bytes, isPutOnly = false }) {
  const watcher = new pg.Client({ connectionString: trial.url });
  await watcher.connect();
  const look = async () => {
    await watcher.query('select pg_stat_clear_snapshot()');
    const { rows } = await watcher.query(COUNTS);
    return Object.fromEntries(Object.entries(rows[0]).map(([name, value]) => [name, Number(value)]));
  };
  await main.query('alter system set autovacuum = on');
  await main.query('select pg_reload_conf()');
  const wal = await trial.wal();
  const batch = Math.ceil(perSecond / 50);
  const body = sealed(bytes);
  const start = performance.now();
  const most = { dead: 0, bytes: 0 };
  let lives = 0;
  let looked = start;
  for (let now = start; now < start + seconds * 1000; now = performance.now()) {
    await trial.put(batch, body);
    if (!isPutOnly) await trial.remove(await trial.get(batch));
    lives += batch;
    if (now > looked + 500) {
      looked = now;
      const found = await look();
      for (const name of Object.keys(most)) most[name] = Math.max(most[name], found[name]);
    }
    const early = start + (lives / perSecond) * 1000 - performance.now();
    if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
  }
  const written = (await trial.wal()) - wal;
  const found = await look();
  const { rows } = await trial.client.query(
    `explain (analyze, buffers, format json) select id from towpath.get_messages(${trial.queue}, channel_id => '', max_messages => 20)`,
  );
  await main.query('alter system set autovacuum = off');
  await main.query('select pg_reload_conf()');
  await watcher.end();
  return [
    lives,
    most.dead,
    found.vacuums,
    found.vacuum.toFixed(0),
    found.toasts,
    found.analyzes,
    found.analyze.toFixed(0),
    (most.bytes / 1024).toFixed(0),
    (found.bytes / 1024).toFixed(0),
    (written / lives).toFixed(0),
    rows[0]['QUERY PLAN'][0].Plan['Shared Hit Blocks'],
  ].map(String);
}
