import fc from 'fast-check';
import { makeQueue, one, runWorkRequests, useDatabase, type Queue, type Run } from './support.js';

const { run, session } = useDatabase();

interface Peeked {
  readonly id: number | null;
  readonly channel_id: string;
  readonly state: string;
  readonly delivery_count: number;
  readonly created_at: Date;
  readonly visible_after: Date;
  readonly delivered_at: Date | null;
  readonly delivered_to: string | null;
  readonly delivery_history: { deliveredAt: string; deliveredTo: string | null }[] | null;
  readonly dead_lettered_at: Date | null;
  readonly dead_letter_reason: string | null;
  readonly size_in_bytes: number;
  readonly properties: Record<string, string> | null;
  readonly body: Buffer;
  readonly next_cursor: string | null;
}

interface Options {
  readonly group?: number;
  readonly dead?: boolean;
  readonly channel?: string;
  readonly ids?: readonly number[];
  readonly filter?: string;
  readonly after?: Date;
  readonly before?: Date;
  readonly cursor?: string | null;
  readonly limit?: number;
  readonly examined?: number;
  readonly bytes?: number;
}

const byNumber = (a: number | null, b: number | null): number => (a ?? 0) - (b ?? 0);

/** One call, with its rows as they come. */
const peek = (queue: Queue, options: Options = {}): Promise<Peeked[]> =>
  queue.sql<Peeked>(
    `select * from towpath.peek_messages($1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce($10, 20), coalesce($11, 1000),
     coalesce($12, 2097152))`,
    [
      queue.id,
      options.group ?? 0,
      options.dead ?? false,
      options.channel ?? null,
      options.ids ?? null,
      options.filter ?? null,
      options.after ?? null,
      options.before ?? null,
      options.cursor ?? null,
      options.limit ?? null,
      options.examined ?? null,
      options.bytes ?? null,
    ],
  );

/** All pages; `pages` has the ids of each. */
async function peekAll(queue: Queue, options: Options = {}): Promise<{ rows: Peeked[]; pages: number[][] }> {
  const rows: Peeked[] = [];
  const pages: number[][] = [];
  let cursor: string | null = null;
  do {
    const page: Peeked[] = await peek(queue, { ...options, cursor });
    // Only the last row says where to go on; where there is nothing it is the only one.
    expect(page.slice(0, -1).every(({ id, next_cursor }) => id !== null && next_cursor === null)).toBe(true);
    expect(page.length === 1 || page.every(({ id }) => id !== null)).toBe(true);
    const found = page.filter(({ id }) => id !== null);
    rows.push(...found);
    pages.push(found.map(({ id }) => id!));
    cursor = page.at(-1)?.next_cursor ?? null;
    if (pages.length > 20_000) throw new Error('it has no end');
  } while (cursor !== null);
  return { rows, pages };
}
const idsOf = async (queue: Queue, options: Options = {}): Promise<number[]> =>
  (await peekAll(queue, options)).pages.flat();

const put = async (queue: Queue, properties: Record<string, string>[], channel = ''): Promise<number[]> => {
  const texts = properties.map((each) => JSON.stringify(each));
  const rows = await queue.sql<{ id: number }>(
    `select id from towpath.put_packed_messages($1, decode(repeat('78', $2), 'hex'), array_fill(1, array[$2]),
       array_fill($3::text, array[$2]), $4, array_fill(0, array[$2]), array_fill(1, array[$2]))`,
    [queue.id, properties.length, channel, texts],
  );
  return rows.map(({ id }) => id);
};

/** Everything the schema holds, with the version of each row. */
async function everything(by: Run = run): Promise<unknown> {
  const tables = await by<{ name: string }>(
    `select oid::regclass::text as name from pg_class where relnamespace = 'towpath'::regnamespace and relkind = 'r' order by 1`,
  );
  const found: Record<string, unknown> = {};
  for (const { name } of tables) {
    found[name] = await by(
      `select md5(string_agg(concat_ws(' ', t.ctid, t.xmin, t.xmax, t.cmin, t), '|' order by t.ctid)), count(*)::int from ${name} t`,
    );
  }
  found['sequence'] = await by('select last_value, is_called from towpath.message_id');
  return found;
}

/** In each of the queue itself and two channels: visible, in flight, delayed, dead, expired. */
async function mixed(): Promise<Queue> {
  const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
  for (const channel of ['', 'a', 'b']) {
    await queue.putMany(3, channel);
    await queue.get({ channel, limit: 2, to: 'ana' });
  }
  await queue.timeOut();
  await queue.sweepTimedOut();
  for (const channel of ['', 'a', 'b']) {
    await queue.putMany(3, channel);
    await queue.put(['late'], channel, 600);
    await queue.get({ channel, limit: 1, to: 'ben' });
  }
  const [expired] = await queue.put(['expired'], 'a');
  await run(`update towpath.message set expire_after = now() - interval '1 second' where queue_id = $1 and id = $2`, [
    queue.id,
    expired,
  ]);
  return queue;
}

describe('a peek', () => {
  it('shows what a message is and what became of it', async () => {
    const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 2 });
    const [first] = await queue.put(['grüße'], 'c');
    await run(`update towpath.message set properties = '{"kind": "x"}' where id = $1`, [first]);
    const stored = one(await queue.rows());
    expect(await peek(queue)).toEqual([
      expect.objectContaining({
        id: first,
        channel_id: 'c',
        state: 'VISIBLE',
        delivery_count: 0,
        created_at: stored.created_at,
        visible_after: stored.visible_after,
        expire_after: stored.expire_after,
        delivered_at: null,
        delivered_to: null,
        delivery_history: null,
        dead_lettered_at: null,
        dead_letter_reason: null,
        size_in_bytes: 7,
        key_id: null,
        properties: { kind: 'x' },
        body: Buffer.from('grüße'),
        next_cursor: null,
      }),
    ]);
    await queue.getOne({ to: 'ana' });
    expect(one(await peek(queue))).toMatchObject({ state: 'IN_FLIGHT', delivery_count: 1, delivered_to: 'ana' });
    await queue.timeOut();
    expect(one(await peek(queue))).toMatchObject({ state: 'VISIBLE', delivery_count: 1 });
    await queue.getOne({ to: 'ben' });
    await queue.timeOut();
    await queue.sweepTimedOut();
    expect(await peek(queue)).toEqual([]);
    expect(one(await peek(queue, { dead: true }))).toMatchObject({
      state: 'VISIBLE',
      delivery_count: 2,
      delivered_to: 'ben',
      delivery_history: [{ deliveredTo: 'ana' }],
      dead_lettered_at: expect.any(Date),
      dead_letter_reason: 'delivered 2 times and not deleted, and 2 deliveries are allowed',
    });
    await queue.put(['later'], '', 60);
    expect(one(await peek(queue))).toMatchObject({ state: 'DELAYED', delivery_count: 0 });
  });

  it('shows each message of each range once, whatever the page size, but expired ones', async () => {
    const queue = await mixed();
    const rows = await queue.rows();
    expect(rows).toHaveLength(22);
    for (const dead of [false, true]) {
      for (const channel of [undefined, '', 'a', 'b', 'none']) {
        const expected = rows
          .filter((row) => row.dead_letter === dead && row.expire_after > new Date())
          .filter((row) => channel === undefined || row.channel_id === channel);
        expect(channel === 'none' ? 2 : expected.length).toBeGreaterThan(1);
        for (const [limit, examined] of [
          [1, 1],
          [2, 1000],
          [1000, 3],
          [3, 2],
          [100, 100],
        ] as const) {
          const options = { dead, limit, examined, ...(channel === undefined ? {} : { channel }) };
          const { rows: seen, pages } = await peekAll(queue, options);
          expect(seen.map(({ id }) => id).toSorted(byNumber)).toEqual(expected.map(({ id }) => id).toSorted(byNumber));
          expect(pages.every((page) => page.length <= Math.min(limit, examined))).toBe(true);
          const times = seen.map((row) => (channel === undefined ? row.id! : row.visible_after.getTime()));
          expect(times).toEqual(times.toSorted(byNumber));
        }
      }
    }
  });

  it('finds each of a few among 5,000 once, over pages that are empty', async () => {
    const queue = await makeQueue(run);
    const properties = Array.from({ length: 5000 }, (_, index) => ({ kind: index % 617 === 400 ? 'rare' : 'common' }));
    const ids = await put(queue, properties);
    const rare = ids.filter((_, index) => properties[index]!.kind === 'rare');
    expect(rare.length).toBe(8);
    const filter = '$.kind == "rare"';
    for (const channel of [undefined, '']) {
      for (const [limit, examined] of [
        [20, 1000],
        [1, 100],
        [3, 617],
      ] as const) {
        const { pages } = await peekAll(queue, {
          filter,
          limit,
          examined,
          ...(channel === undefined ? {} : { channel }),
        });
        expect(pages.flat().toSorted(byNumber)).toEqual(rare);
        const empty = pages.filter((page) => page.length === 0).length;
        expect(empty).toBeGreaterThanOrEqual(5000 / examined - rare.length - 2);
        expect(pages.length).toBeLessThanOrEqual(5000 / examined + rare.length + 1);
      }
    }
  });

  it('goes on after what is put, delivered and deleted between two pages', async () => {
    const queue = await makeQueue(run);
    const ids = await queue.putMany(9);
    const first = await peek(queue, { limit: 3 });
    const got = await queue.get({ limit: 5 });
    await queue.delete(got.slice(3, 5));
    const more = await queue.putMany(2);
    const then = await peek(queue, { cursor: first.at(-1)!.next_cursor });
    expect([...first, ...then].map(({ id }) => id)).toEqual([...ids.slice(0, 3), ...ids.slice(5), ...more]);
  });

  it('filters by ids, in their order, each once', async () => {
    const queue = await mixed();
    const other = await makeQueue(run);
    const [foreign] = await other.put(['theirs']);
    const rows = await queue.rows();
    const live = rows.filter((row) => !row.dead_letter && row.expire_after > new Date()).map(({ id }) => id);
    const dead = rows.filter((row) => row.dead_letter).map(({ id }) => id);
    const ids = [...live, ...live, ...dead, foreign!, 9_000_000_000_000].toReversed();
    for (const limit of [1, 2, 100]) {
      expect(await idsOf(queue, { ids, limit })).toEqual(live);
      expect(await idsOf(queue, { ids, limit, dead: true })).toEqual(dead);
      expect(await idsOf(queue, { ids, examined: limit })).toEqual(live);
      const inChannel = rows.filter((row) => row.channel_id === 'b' && live.includes(row.id)).map(({ id }) => id);
      expect(await idsOf(queue, { ids, limit, channel: 'b' })).toEqual(inChannel);
    }
    expect(await idsOf(queue, { ids: [] })).toEqual([]);
  });

  it('filters by age', async () => {
    const queue = await makeQueue(run);
    const ids: number[] = [];
    const times: Date[] = [];
    for (let round = 0; round < 6; round += 1) {
      ids.push(...(await queue.putMany(40, round % 2 === 0 ? '' : 'c')));
      // An hour passes.
      await queue.age(3600);
    }
    // Ids follow time, but for seconds.
    await run(
      `update towpath.message set created_at = date_trunc('milliseconds', created_at) + make_interval(secs => (id % 7 - 3) * 0.7),
       visible_after = visible_after + make_interval(secs => (id % 7 - 3) * 0.7) where queue_id = $1`,
      [queue.id],
    );
    // Some of each hour failed.
    await run(
      `update towpath.message set dead_letter = true, dead_lettered_at = now() where queue_id = $1 and id % 4 = 0`,
      [queue.id],
    );
    const rows = await queue.rows();
    for (const row of rows.filter((_, index) => index % 40 === 0)) times.push(row.created_at);
    const moments = [...times, ...times.map((time) => new Date(time.getTime() + 1_800_000)), new Date(0), new Date()];
    for (const dead of [false, true]) {
      for (const channel of [undefined, 'c']) {
        for (const after of [undefined, ...moments]) {
          for (const before of [undefined, moments[2], moments[7], moments.at(-1)]) {
            const expected = rows
              .filter((row) => row.dead_letter === dead && (channel === undefined || row.channel_id === channel))
              // A Date has milliseconds; what it stands for may lie a little after it.
              .filter((row) => after === undefined || row.created_at >= after)
              .filter((row) => before === undefined || row.created_at < before);
            const conditions = { ...(after && { after }), ...(before && { before }), ...(channel && { channel }) };
            const seen = await idsOf(queue, { dead, limit: 1000, ...conditions });
            expect(seen.toSorted(byNumber)).toEqual(expected.map(({ id }) => id).toSorted(byNumber));
          }
        }
      }
    }
  });

  it('begins a search by age where that begins, in one page', async () => {
    const queue = await makeQueue(run);
    await queue.putMany(3000);
    await queue.age(3600);
    const recent = await queue.putMany(5);
    const after = new Date(Date.now() - 1_800_000);
    expect((await peekAll(queue, { after, examined: 100 })).pages).toEqual([recent]);
    expect((await peekAll(queue, { before: after, examined: 10_000, limit: 10_000 })).pages[0]).toHaveLength(3000);
    // What is younger is not looked through.
    expect((await peekAll(queue, { before: new Date(0), examined: 100 })).pages).toEqual([[]]);
  });

  it('evaluates filters as a put does', async () => {
    const queue = await makeQueue(run);
    const values = [{}, { a: '1' }, { a: '10', b: 'x' }, { b: 'y' }, { a: 'many' }];
    const ids = await put(queue, values);
    const [bare] = await queue.put(['no properties at all']);
    const path = fc.constantFrom(
      'exists($."a")',
      '!(exists($."a"))',
      '$."b" == "x"',
      '$."a".double() > 5',
      '!($."a".double() > 5)',
      '(exists($."a") || $."b" != "x")',
    );
    await fc.assert(
      fc.asyncProperty(path, async (filter) => {
        const taken = await run<{ n: number }>(
          'select n::int from unnest($2::jsonb[]) with ordinality u(p, n) where p @@ $1::jsonpath',
          [filter, [...values, {}].map((value) => JSON.stringify(value))],
        );
        expect(await idsOf(queue, { filter })).toEqual(taken.map(({ n }) => [...ids, bare!][n - 1]));
      }),
      { numRuns: 30 },
    );
  });

  it('returns so many bytes at most, and always one message', async () => {
    const queue = await makeQueue(run);
    const ids = await queue.put(['x'.repeat(60), 'x'.repeat(30), 'x'.repeat(200), 'x', 'x']);
    const { pages } = await peekAll(queue, { bytes: 90 });
    expect(pages).toEqual([ids.slice(0, 2), ids.slice(2, 3), ids.slice(3)]);
    const channel = await peekAll(queue, { bytes: 90, channel: '' });
    expect(channel.pages).toEqual(pages);
  });

  it('looks into a consumer group, active or not', async () => {
    const queue = await makeQueue(run, { capabilities: [{ type: 'CONSUMER_GROUPS' }] });
    const { identifier } = one(
      await run<{ identifier: string }>(`select * from towpath.create_consumer_group($1, $2, '$.kind == "a"')`, [
        queue.tenancy,
        { displayName: 'g', queueId: queue.ocid },
      ]),
    );
    const { id: group } = one(
      await run<{ id: number }>('select id from towpath.consumer_group where ocid = $1', [identifier]),
    );
    const [a, b] = await put(queue, [{ kind: 'a' }, { kind: 'b' }]);
    await run(`select towpath.get_messages($1, $2)`, [queue.id, group]);
    expect((await peek(queue)).map(({ id, state }) => [id, state])).toEqual([
      [a, 'VISIBLE'],
      [b, 'VISIBLE'],
    ]);
    expect((await peek(queue, { group })).map(({ id, state }) => [id, state])).toEqual([[a, 'IN_FLIGHT']]);
    await run('select towpath.update_consumer_group($1, $2, $3)', [queue.tenancy, identifier, { isEnabled: false }]);
    expect(await idsOf(queue, { group })).toEqual([a]);
    await expect(peek(queue, { group: group + 1 })).rejects.toMatchObject({ code: 'TP404' });
    await run('select towpath.delete_consumer_group($1, $2)', [queue.tenancy, identifier]);
    await expect(peek(queue, { group })).rejects.toMatchObject({ code: 'TP404' });
  });

  it('hides what a purge has taken from its commit on, and nothing else', async () => {
    for (const [details, isPurged] of [
      [{ purgeType: 'NORMAL' }, (dead: boolean): boolean => !dead],
      [{ purgeType: 'DLQ' }, (dead: boolean): boolean => dead],
      [{ purgeType: 'BOTH', channelIds: ['a'] }, (_: boolean, channel: string): boolean => channel === 'a'],
      [
        { purgeType: 'NORMAL', channelIds: ['a', 'b'] },
        (dead: boolean, channel: string): boolean => !dead && channel !== '',
      ],
    ] as const) {
      const queue = await mixed();
      const before = await queue.rows();
      await queue.purge(details);
      // Put, and died, since it began.
      const later = await queue.put(['later'], 'a');
      await queue.timeOut();
      await queue.sweepTimedOut(1000);
      const expected = async (dead: boolean): Promise<number[]> =>
        (await queue.rows())
          .filter((row) => row.dead_letter === dead && row.expire_after > new Date())
          .filter((row) => {
            const old = before.find(({ id }) => id === row.id);
            // What has died since is none of its range.
            return old === undefined || !isPurged(old.dead_letter, row.channel_id) || (dead && !old.dead_letter);
          })
          .map(({ id }) => id);
      for (const dead of [false, true]) {
        const seen = await idsOf(queue, { dead });
        const byChannel = await Promise.all(['', 'a', 'b'].map((channel) => idsOf(queue, { dead, channel })));
        expect(byChannel.flat().toSorted(byNumber)).toEqual(seen.toSorted(byNumber));
        expect([details, dead, await idsOf(queue, { dead, ids: before.map(({ id }) => id) })]).toEqual([
          details,
          dead,
          seen.filter((id) => id !== later[0]),
        ]);
        expect([details, dead, seen]).toEqual([details, dead, await expected(dead)]);
      }
      await runWorkRequests(run);
    }
  });

  it('refuses queues that are not there, and nonsense', async () => {
    const queue = await makeQueue(run);
    await queue.putMany(3);
    for (const options of [
      { cursor: 'x' },
      { cursor: '' },
      { cursor: '2026-11-22T10:26:16.123456Z 5' },
      { cursor: '5', channel: 'c' },
      { cursor: '-5' },
      { limit: 0 },
      { examined: 0 },
      { bytes: 0 },
    ]) {
      await expect(peek(queue, options)).rejects.toMatchObject({ code: 'TP400' });
    }
    await queue.remove();
    await expect(peek(queue)).rejects.toMatchObject({ code: 'TP404' });
    await expect(run('select * from towpath.peek_messages(0)')).rejects.toMatchObject({ code: 'TP404' });
  });
});

/** Every way to look. */
const ways = async (queue: Queue): Promise<number> => {
  const ids = (await queue.rows()).map(({ id }) => id);
  let seen = 0;
  for (const dead of [false, true]) {
    for (const options of [
      {},
      { channel: 'a' },
      { channel: '' },
      { ids },
      { filter: '!(exists($.x))' },
      { after: new Date(0), before: new Date(Date.now() + 60_000) },
    ]) {
      seen += (await idsOf(queue, { dead, limit: 3, ...options })).length;
    }
  }
  return seen;
};

describe('a peek has no side effect', () => {
  it('on any row of any table', async () => {
    const queue = await mixed();
    const before = await everything();
    expect(await ways(queue)).toBeGreaterThan(50);
    expect(await everything()).toEqual(before);
    // The comparison sees an update that changes nothing.
    await run('update towpath.message set body = body where queue_id = $1', [queue.id]);
    expect(await everything()).not.toEqual(before);
  });

  it('that PostgreSQL would let it have: it runs in a read-only transaction', async () => {
    const queue = await mixed();
    const reader = await session();
    await reader.run('begin read only');
    expect(await ways(queue.by(reader.run))).toBeGreaterThan(50);
    await reader.run('rollback');
    const volatile = await run(
      `select from pg_proc where proname in ('peek_messages', 'last_id_created_before') and provolatile <> 's'`,
    );
    expect(volatile).toEqual([]);
  });

  it('and waits for nobody: beside a transaction that holds every row', async () => {
    const queue = await mixed();
    const expected = await ways(queue);
    const holder = await session();
    await holder.run('begin');
    await holder.run('select from towpath.message where queue_id = $1 for update', [queue.id]);
    await holder.run('update towpath.message set delivery_count = 0 where queue_id = $1', [queue.id]);
    const looker = await session();
    await looker.run(`set lock_timeout = '1s'`);
    expect(await ways(queue.by(looker.run))).toBe(expected);
    await holder.run('rollback');
  });

  it('and nobody waits for it: gets, updates and deletes beside an open transaction that has peeked', async () => {
    const queue = await makeQueue(run);
    const ids = await queue.putMany(20);
    const looker = await session();
    await looker.run('begin');
    expect(await idsOf(queue.by(looker.run), { limit: 7 })).toEqual(ids);
    const locks = await run(
      `select distinct mode from pg_locks where pid = $1 and locktype in ('relation', 'tuple', 'transactionid')`,
      [looker.pid],
    );
    expect(locks).toEqual([{ mode: 'AccessShareLock' }]);
    const consumer = await session();
    await consumer.run(`set lock_timeout = '1s'`);
    const got = await queue.by(consumer.run).get({ limit: 20 });
    expect(got.map(({ id }) => id)).toEqual(ids);
    expect((await queue.by(consumer.run).update([{ ...got[0]!, seconds: 5 }]))[0]?.updated).toBe(true);
    expect(await queue.by(consumer.run).delete(got)).toEqual(Array(20).fill(true));
    expect(await idsOf(queue.by(looker.run))).toEqual([]);
    await looker.run('rollback');
  });
});

it('leaves no portal open, however often it is called in one transaction', async () => {
  const queue = await makeQueue(run);
  await queue.putMany(5);
  const looker = await session();
  await looker.run('begin');
  for (const options of [{}, { limit: 1 }, { channel: '' }, { dead: true }, { ids: [1] }]) {
    await peek(queue.by(looker.run), options);
  }
  expect(await looker.run(`select name from pg_cursors where name <> ''`)).toEqual([]);
  await looker.run('rollback');
});
