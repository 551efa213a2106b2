// What the SQL functions of the hot path take of the processors per message, beside the barest statements that could do the same:
// put, get (by one request and merged for several), delete; and put and delete where the queue is RELAXED; and what the look whether it is takes, beside the
// deletion of one message. One session, no commits that wait for a disk, so that work is all there is.
//
//   npm run bench:sql-functions              140 messages per statement, as seven requests of 20 are; half a minute
//   BENCH_MESSAGES=20 BENCH_ROUNDS=30 …
import { processorMsOf, serverProcessorMs } from './processor-time.mjs';
import { median, openBench, say } from './support.mjs';

const MESSAGES = Number(process.env.BENCH_MESSAGES ?? 140);
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 12);
/** Of each kind in a row: processor time is told in ticks of 10 ms. */
const STATEMENTS = 20;
const BYTES = 240;
const LOOKS = 20_000;
const SINGLES = 4000;

const all = (value) => Array.from({ length: MESSAGES }, () => value);
const bench = await openBench({ connections: 1, settings: { fsync: 'off' } });
try {
  const run = (name, text, values = []) => bench.database.run({ name, text }, values);
  const queue = await bench.makeQueue('sql', { visibilityInSeconds: 300 });
  await run(
    'make bare table',
    `create table bare_message (id bigint generated always as identity primary key, content text not null,
     visible_after timestamptz not null default now(), delivery_count integer not null default 0)`,
  );
  await run('make bare index', 'create index on bare_message (visible_after)');
  const relaxed = await bench.makeQueue('relaxed', { visibilityInSeconds: 300, durability: 'RELAXED' });
  // What pods send for a queue that is RELAXED.
  const asRelaxed = 'towpath.as_relaxed(array[$1::bigint], $1::bigint)';
  const remove = (found, name = 'delete', on = queue, first = '$1') =>
    run(name, `select * from towpath.delete_messages(${first}, 0, false, $2, $3)`, [
      on,
      found.map(({ id }) => id),
      found.map(({ receipt_number: number }) => number),
    ]);
  const put = (name = 'put', on = queue, first = '$1') =>
    run(name, `select * from towpath.put_sealed_messages(${first}, $2, $3, $4, $5, $6, $7)`, [
      on,
      Buffer.alloc(BYTES * MESSAGES, 1),
      ...[BYTES, '', null, 0, BYTES].map(all),
    ]);
  const sides = {
    'the barest': {
      put: () =>
        run('bare put', 'insert into bare_message (content) select u from unnest($1::text[]) u', [
          all('x'.repeat(BYTES)),
        ]),
      get: () =>
        run(
          'bare get',
          `update bare_message m set visible_after = now() + interval '300 seconds', delivery_count = m.delivery_count + 1
           from (select id from bare_message where visible_after <= now() order by visible_after limit $1 for update skip locked) f
           where m.id = f.id returning m.id, m.content, m.delivery_count`,
          [MESSAGES],
        ),
      delete: (found) =>
        run('bare delete', 'delete from bare_message where id = any($1::bigint[])', [found.map(({ id }) => id)]),
    },
    'one request': {
      put: () => put(),
      get: () => run('get', 'select * from towpath.get_messages($1, max_messages => $2)', [queue, MESSAGES]),
      delete: (found) => remove(found),
    },
    'as relaxed': {
      put: () => put('relaxed put', relaxed, asRelaxed),
      get: () => run('get', 'select * from towpath.get_messages($1, max_messages => $2)', [relaxed, MESSAGES]),
      delete: (found) => remove(found, 'relaxed delete', relaxed, asRelaxed),
    },
    'seven requests': {
      put: () => put(),
      get: () =>
        run('get for many', `select * from towpath.get_messages_for_many($1, 0, false, null, '', $2, $3, 300)`, [
          queue,
          Array.from({ length: 7 }, (_, n) => Math.floor((MESSAGES + n) / 7)).filter((share) => share > 0),
          Array.from({ length: Math.min(7, MESSAGES) }, () => 2_097_152),
        ]),
      delete: (found) => remove(found),
    },
  };
  say(`${MESSAGES} messages of ${BYTES} bytes per statement; processor time of the server in µs per message:`);
  for (const [name, side] of Object.entries(sides)) {
    const cpu = { put: 0, get: 0, delete: 0 };
    for (let round = -2; round < ROUNDS; round += 1) {
      const got = [];
      for (const kind of ['put', 'get', 'delete']) {
        const before = serverProcessorMs(bench.processId);
        for (let n = 0; n < STATEMENTS; n += 1) {
          const rows = await side[kind](got[n]);
          if (kind === 'get') got.push(rows);
        }
        if (round >= 0) cpu[kind] += serverProcessorMs(bench.processId) - before;
      }
      if (got.some(({ length }) => length !== MESSAGES)) throw new Error(`${name}: a get has brought too few`);
    }
    const per = (ms) => ((ms * 1000) / (ROUNDS * STATEMENTS * MESSAGES)).toFixed(1);
    say(`  ${name.padEnd(14)} put ${per(cpu.put)}, get ${per(cpu.get)}, delete ${per(cpu.delete)}`);
  }
  await tellLooks();

  /** as_relaxed in front of a statement, the same look inside of a function that has the settings already, and a deletion. */
  async function tellLooks() {
    const times = { call: [], inside: [], delete: [] };
    const [{ pid }] = await run('pid', 'select pg_backend_pid() as pid');
    const taken = async (act, count) => {
      const before = processorMsOf(pid);
      await act();
      return ((processorMsOf(pid) - before) * 1000) / count;
    };
    for (let round = 0; round < 5; round += 1) {
      times.call.push(
        await taken(
          () =>
            run('calls', `select count(towpath.as_relaxed(array[$1::bigint], g)) from generate_series(1, ${LOOKS}) g`, [
              relaxed,
            ]),
          LOOKS,
        ),
      );
      times.inside.push(
        await taken(
          () =>
            run(
              'looks',
              `do $$ begin for n in 1..${LOOKS} loop
                 perform from towpath.queue q where q.id = ${Number(relaxed)} and q.durability = 'RELAXED';
               end loop; end $$`,
            ),
          LOOKS,
        ),
      );
      for (let n = 0; n < SINGLES; n += MESSAGES) await put();
      const found = [];
      for (let n = 0; n < SINGLES; n += MESSAGES) found.push(...(await sides['one request'].get()));
      times.delete.push(
        await taken(async () => {
          for (const message of found) await remove([message]);
        }, found.length),
      );
    }
    say(
      `processor time of the session in µs, medians of ${times.call.length}: as_relaxed ${median(times.call).toFixed(1)}, ` +
        `the look alone ${median(times.inside).toFixed(1)}, a statement that deletes one message ${median(times.delete).toFixed(0)}`,
    );
  }
} finally {
  await bench.close();
}
