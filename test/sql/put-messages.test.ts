import { readFile } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import { makeQueue, one, Session, useDatabase, type Queue } from './support.js';

// put_messages, for users' own transactions: what it takes, whom it wakes, and who may call it.

const { run, session, test } = useDatabase();

const put = (
  queue: Queue,
  contents: readonly (string | null)[] | null,
  more: { channel?: string | null; properties?: unknown; delay?: number | null } = {},
): Promise<{ id: number; expire_after: Date }[]> =>
  queue.sql('select * from towpath.put_messages($1, $2, $3, $4, $5)', [
    queue.id,
    contents,
    more.channel === undefined ? '' : more.channel,
    more.properties === undefined ? null : JSON.stringify(more.properties),
    more.delay === undefined ? 0 : more.delay,
  ]);

const listen = async (): Promise<{ told: Record<string, unknown>[]; client: pg.Client }> => {
  const client = new pg.Client({ connectionString: test().url });
  await client.connect();
  const told: Record<string, unknown>[] = [];
  client.on('notification', ({ payload }) => told.push(JSON.parse(payload ?? '') as Record<string, unknown>));
  await client.query('listen towpath');
  return { told, client };
};

/** Everything that the schema holds, but for what a put adds. */
const digest = async (): Promise<string> => {
  const tables = await run<{ name: string }>(
    `select oid::regclass::text as name from pg_class where relnamespace = 'towpath'::regnamespace and relkind = 'r' order by 1`,
  );
  const parts = await Promise.all(
    tables.map(async ({ name }) => {
      const [row] = await run<{ digest: string }>(
        `select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) as digest from ${name} t`,
      );
      return `${name} ${row?.digest}`;
    }),
  );
  return parts.join('\n');
};
const codeOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'no error',
    (error: unknown) => String((error as { code?: string }).code),
  );

describe('put_messages', () => {
  it('stores what a put by REST would store', async () => {
    const queue = await makeQueue(run);
    const stored = await put(queue, ['äö', ''], { channel: 'c', properties: { ü: '🛶', k: '' }, delay: 7 });
    const rows = await queue.rows();
    expect(stored).toEqual(rows.map(({ id, expire_after }) => ({ id, expire_after })));
    expect(
      rows.map((row) => [row.body.toString(), row.channel_id, row.properties, row.size_in_bytes]),
      // Content, keys and values in UTF-8; not the JSON around them.
    ).toEqual([
      ['äö', 'c', { ü: '🛶', k: '' }, 4 + 2 + 4 + 1],
      ['', 'c', { ü: '🛶', k: '' }, 0 + 2 + 4 + 1],
    ]);
    for (const { visible_after, created_at } of rows) expect(visible_after.getTime() - created_at.getTime()).toBe(7000);
    expect(await queue.stats()).toMatchObject({ delayed_messages: 2, size_in_bytes: 18 });
  });

  it('takes null as nothing, and nothing as no message', async () => {
    const queue = await makeQueue(run);
    expect(await put(queue, [])).toEqual([]);
    await queue.sql(`select towpath.put_messages($1, '{a}', null, 'null', null)`, [queue.id]);
    expect(await queue.rows()).toMatchObject([{ channel_id: '', properties: null, size_in_bytes: 1 }]);
  });

  it.each<[string, string, RegExp, Parameters<typeof put>[1], Parameters<typeof put>[2]]>([
    ['no contents', 'TP400', /^contents: must be an array/, null, {}],
    ['a null content', 'TP400', /^contents: message 2 of 3 is null/, ['a', null, 'b'], {}],
    ['a bad channel', 'TP400', /^channel_id: must have 1 to 64/, ['a'], { channel: 'no/t' }],
    ['a channel with a line end', 'TP400', /^channel_id: must have 1 to 64/, ['a'], { channel: 'c\n' }],
    ['a long channel', 'TP400', /^channel_id: must have 1 to 64/, ['a'], { channel: 'c'.repeat(65) }],
    ['the reserved channel', 'TP400', /^channel_id: must not be dlq/, ['a'], { channel: 'dlq' }],
    ['a list of properties', 'TP400', /^properties: must be an object of strings/, ['a'], { properties: ['a'] }],
    ['text as properties', 'TP400', /^properties: must be an object of strings/, ['a'], { properties: 'a' }],
    ['a number as property', 'TP400', /^properties: must be an object of strings/, ['a'], { properties: { a: 1 } }],
    ['null as property', 'TP400', /^properties: must be an object of strings/, ['a'], { properties: { a: null } }],
    ['an empty key', 'TP400', /^properties: .*keys have 1 to 255/, ['a'], { properties: { '': 'x' } }],
    ['a long key', 'TP400', /^properties: .*keys have 1 to 255/, ['a'], { properties: { ['k'.repeat(256)]: 'x' } }],
    ['the key __proto__', 'TP400', /^properties: .*__proto__/, ['a'], { properties: JSON.parse('{"__proto__":"x"}') }],
    [
      'a delay in the past',
      'TP400',
      /^delay_in_seconds: must be from 0 to less than .* 1000 sec/,
      ['a'],
      { delay: -1 },
    ],
    ['a delay as long as the retention', 'TP400', /^delay_in_seconds: must be from 0/, ['a'], { delay: 1000 }],
    [
      'a large content',
      'TP4LE',
      /^contents: message 2 of 2 has 262145 .* takes 262144/,
      ['a', 'x'.repeat(262_145)],
      {},
    ],
    [
      'a content made large by its properties',
      'TP4LE',
      /^contents: message 1 of 1 has 262145 bytes of content and properties/,
      [`${'é'.repeat(131_069)}x`],
      { properties: { key: 'é', k: '' } },
    ],
    [
      'many messages',
      'TP4LE',
      /^contents: one call takes 10000 messages, and these are 10001/,
      Array(10_001).fill(''),
      {},
    ],
    [
      'much together',
      'TP4LE',
      /^contents: one call takes 67108864 bytes .* 67118500: call it several times/,
      Array(500).fill('x'.repeat(134_137)),
      { properties: { k: 'x'.repeat(99) } },
    ],
  ])('refuses %s', async (_, code, message, contents, more) => {
    const queue = await makeQueue(run, { retentionInSeconds: 1000 });
    await expect(put(queue, contents, more)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(await queue.rows()).toEqual([]);
  });

  it('takes what is just allowed', async () => {
    const queue = await makeQueue(run, { retentionInSeconds: 1000 });
    await put(queue, ['x'.repeat(262_144)], { channel: 'c'.repeat(64), delay: 999 });
    expect(await put(queue, Array(10_000).fill(''), { properties: { ['k'.repeat(255)]: '' } })).toHaveLength(10_000);
    const large = await makeQueue(run, { capabilities: [{ type: 'LARGE_MESSAGES' }] });
    await put(large, ['x'.repeat(512_000)]);
    await expect(put(large, ['x'.repeat(512_001)])).rejects.toMatchObject({
      code: 'TP4LE',
      message: expect.stringMatching(/takes 512000/),
    });
  });

  it('puts only into queues that say so, from the moment on in which they do', async () => {
    const queue = await makeQueue(run, { acceptUnsealed: false });
    await expect(put(queue, ['a'])).rejects.toMatchObject({
      code: 'TP409',
      message: expect.stringMatching(/set acceptUnsealed on it/),
    });
    await queue.change({ acceptUnsealed: true });
    expect(await put(queue, ['a'])).toHaveLength(1);
    await queue.change({ acceptUnsealed: false });
    await expect(put(queue, ['a'])).rejects.toMatchObject({ code: 'TP409' });
    await queue.remove();
    await expect(put(queue, ['a'])).rejects.toMatchObject({ code: 'TP404' });
  });

  it('asks the filters of the consumer groups', async () => {
    const queue = await makeQueue(run, {
      capabilities: [{ type: 'CONSUMER_GROUPS', isPrimaryConsumerGroupEnabled: false }],
    });
    await run(
      `select towpath.create_consumer_group($1, jsonb_build_object('displayName', 'g', 'queueId', $2::text, 'filter', 'k = 1'), '$.k == "1"')`,
      [queue.tenancy, queue.ocid],
    );
    const [[taken], [dropped]] = [
      await put(queue, ['a'], { properties: { k: '1' } }),
      await put(queue, ['b'], { properties: { k: '2' } }),
    ];
    expect(dropped?.expire_after).toBeNull();
    expect((await queue.rows()).map(({ id }) => id)).toEqual([taken?.id]);
  });
});

describe('put_messages in a transaction', () => {
  it('tells those who wait, once per range, when it commits, that they may look now', async () => {
    const queue = await makeQueue(run);
    const { told, client } = await listen();
    try {
      const writer = await session();
      await writer.run('begin');
      const [{ now }] = (await writer.run<{ now: Date }>('select now()')) as [{ now: Date }];
      const mine = queue.by(writer.run);
      for (const delay of [0, 0, 5]) await put(mine, ['x'], { channel: 'c', delay });
      await put(mine, ['x']);
      await put(mine, []);
      await client.query('select 1');
      expect(told).toEqual([]);
      await writer.run('commit');
      while (told.length < 2) await client.query('select pg_sleep(0.01)');
      // A delay counts from its statement, and the commit may come after it: whoever looks finds out.
      expect(told.map(({ t, ranges }) => ({ t, ranges }))).toEqual(
        ['c', ''].map((channel) => ({ t: 'visible', ranges: [[queue.id, 0, false, channel, 0]] })),
      );
      for (const { since } of told) expect(new Date(String(since)).getTime()).toBe(now.getTime());
    } finally {
      await client.end();
    }
  });

  it('tells all groups, however many there are', async () => {
    const queue = await makeQueue(run, { capabilities: [{ type: 'CONSUMER_GROUPS' }] });
    const ids: number[] = [0];
    for (let group = 0; group < 120; group += 1) {
      await run(
        `select towpath.create_consumer_group($1, jsonb_build_object('displayName', $3::text, 'queueId', $2::text))`,
        [queue.tenancy, queue.ocid, `group ${group}`],
      );
    }
    const groups = await run<{ id: number }>('select id from towpath.consumer_group where queue_id = $1 and id > 0', [
      queue.id,
    ]);
    ids.push(...groups.map(({ id }) => id));
    const { told, client } = await listen();
    try {
      await put(queue, ['x'], { channel: 'c'.repeat(64) });
      const toldOf = (): unknown[] => told.flatMap(({ ranges }) => (ranges as number[][]).map(([, group]) => group));
      while (toldOf().length < 121) await client.query('select pg_sleep(0.01)');
      expect(toldOf().toSorted((a, b) => Number(a) - Number(b))).toEqual(ids.toSorted((a, b) => a - b));
    } finally {
      await client.end();
    }
  });

  it.each([
    ['commits', ['commit'], true, true],
    ['is rolled back', ['rollback'], false, false],
    ['is rolled back to before it', ['rollback to before', 'commit'], false, false],
    ['is rolled back to after it', ['rollback to after', 'commit'], true, true],
  ])('that %s', async (_, statements, isStored, isTold) => {
    const queue = await makeQueue(run);
    await run('create table if not exists business (queue_id bigint)');
    const { told, client } = await listen();
    try {
      const writer = await session();
      await writer.run('begin');
      await writer.run('savepoint before');
      await writer.run('insert into business values ($1)', [queue.id]);
      await put(queue.by(writer.run), ['x']);
      await writer.run('savepoint after');
      expect(await queue.get()).toEqual([]);
      for (const statement of statements) await writer.run(statement);
      expect(await queue.get()).toHaveLength(isStored ? 1 : 0);
      expect(await run('select from business where queue_id = $1', [queue.id])).toHaveLength(isStored ? 1 : 0);
      expect((await queue.stats()).in_flight_messages).toBe(isStored ? 1 : 0);
      await run(`notify towpath, '{"t": "end"}'`);
      while (!told.some(({ t }) => t === 'end')) await client.query('select pg_sleep(0.01)');
      expect(told.some(({ t }) => t === 'visible')).toBe(isTold);
    } finally {
      await client.end();
    }
  });

  it('whose session is killed leaves neither the message nor the business row', async () => {
    const queue = await makeQueue(run);
    await run('create table if not exists business (queue_id bigint)');
    const writer = await session();
    await writer.run('begin');
    await writer.run('insert into business values ($1)', [queue.id]);
    await put(queue.by(writer.run), ['x']);
    await run('select pg_terminate_backend($1, 20000)', [writer.pid]);
    expect(await run('select from business where queue_id = $1', [queue.id])).toEqual([]);
    expect(await queue.rows()).toEqual([]);
    expect(await queue.stats()).toMatchObject({ visible_messages: 0, size_in_bytes: 0 });
  });
});

describe('the role towpath_producer', () => {
  const LOGIN = `producer_of_test_${process.pid}`;
  let producer: Session;
  let asSuperuser: pg.Client;

  beforeAll(async () => {
    asSuperuser = new pg.Client({ connectionString: test().superuserUrl });
    await asSuperuser.connect();
    const script = await readFile(path.resolve(import.meta.dirname, '../../deploy/producer-role.sql'), 'utf8');
    // It may be run again.
    await asSuperuser.query(script);
    await asSuperuser.query(script);
    await asSuperuser.query(`create role ${LOGIN} login password '${LOGIN}' in role towpath_producer`);
    const url = new URL(test().url);
    url.username = LOGIN;
    url.password = LOGIN;
    producer = await Session.open(url.href);
  });
  afterAll(async () => {
    await producer.close();
    await asSuperuser.query(`drop owned by towpath_producer, ${LOGIN}`);
    await asSuperuser.query(`drop role ${LOGIN}`);
    await asSuperuser.query('drop role towpath_producer');
    await asSuperuser.end();
  });

  it('puts, by the name of the queue, what everybody else receives', async () => {
    const queue = await makeQueue(run, { displayName: 'for the producer' });
    const [row] = await producer.run<{ id: number }>(
      `select id from towpath.put_messages(towpath.queue_id('for the producer'), array['hello'], 'c', '{"k": "v"}', 0)`,
    );
    const message = await queue.getOne();
    expect(message).toMatchObject({ id: row?.id, channel_id: 'c', properties: { k: 'v' } });
    const sealed = await makeQueue(run, { acceptUnsealed: false });
    expect(await codeOf(queue.by(producer.run).put(['x']))).toBe('no error');
    expect(await codeOf(sealed.by(producer.run).put(['x']))).toBe('TP409');
  });

  it('is not fooled by objects of the producer with the names of ours', async () => {
    const queue = await makeQueue(run, { displayName: 'not fooled' });
    await producer.run('create temporary table queue (id bigint, accept_unsealed boolean)');
    await producer.run('create temporary table message (id bigint)');
    await producer.run(`create function pg_temp.fail(text, text) returns void language sql as 'select'`);
    await producer.run('set search_path = pg_temp, towpath, public');
    await queue.by(producer.run).put(['x']);
    await queue.change({ acceptUnsealed: false });
    expect(await codeOf(queue.by(producer.run).put(['x']))).toBe('TP409');
    expect(await queue.rows()).toHaveLength(1);
    await producer.run('reset search_path');
  });

  it('reads and changes no table, view or sequence', async () => {
    const queue = await makeQueue(run);
    await queue.put(['secret']);
    const before = await digest();
    const relations = await run<{ name: string; kind: string; column: string | null }>(
      `select c.oid::regclass::text as name, c.relkind as kind,
         (select a.attname from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attidentity = '' limit 1) as column
       from pg_class c where c.relnamespace = 'towpath'::regnamespace and c.relkind not in ('i', 't', 'c')`,
    );
    expect(relations.length).toBeGreaterThan(20);
    const { rows: privileges } = await asSuperuser.query(
      `select c.oid::regclass::text as name from pg_class c
       where c.relnamespace = 'towpath'::regnamespace and c.relkind not in ('i', 't', 'c')
         and case c.relkind
           when 'S' then has_sequence_privilege($1, c.oid, 'usage, select, update')
           else has_table_privilege($1, c.oid, 'select, insert, update, delete, truncate, references, trigger')
             or has_any_column_privilege($1, c.oid, 'select, insert, update, references')
         end`,
      [LOGIN],
    );
    expect(privileges).toEqual([]);
    const allowed: string[] = [];
    for (const { name, kind, column } of relations) {
      const statements = {
        S: [`select nextval('${name}')`, `select setval('${name}', 1)`, `select * from ${name}`],
        v: [
          `select from ${name}`,
          `select * from ${name}`,
          `copy (select * from ${name}) to stdout`,
          `drop view ${name}`,
        ],
        r: [
          `select from ${name}`,
          `select * from ${name} for update`,
          `insert into ${name} default values`,
          `update ${name} set ${column} = ${column}`,
          `delete from ${name}`,
          `truncate ${name}`,
          `do $$ begin lock table ${name} in access share mode; end $$`,
          `copy ${name} to stdout`,
          `create trigger t before insert on ${name} for each row execute function suppress_redundant_updates_trigger()`,
          `drop table ${name}`,
        ],
      }[kind];
      for (const statement of statements ?? [`${kind}: a kind of relation that this test does not know`]) {
        if ((await codeOf(producer.run(statement))) !== '42501') allowed.push(statement);
      }
    }
    expect(allowed).toEqual([]);
    expect(await codeOf(producer.run('create table towpath.mine (id bigint)'))).toBe('42501');
    expect(await codeOf(producer.run(`create function towpath.mine() returns void language sql as 'select'`))).toBe(
      '42501',
    );
    expect(await digest()).toBe(before);
  });

  it('may run no function with rights that are not its own, and no other does anything for it', async () => {
    const queue = await makeQueue(run, { displayName: 'target', deadLetterQueueDeliveryCount: 1 });
    await queue.put(['secret', 'secret']);
    const held = await queue.getOne();
    const { rows: withOwnersRights } = await asSuperuser.query<{ name: string }>(
      `select oid::regprocedure::text as name from pg_proc
       where pronamespace = 'towpath'::regnamespace and prosecdef and has_function_privilege($1, oid, 'execute') order by 1`,
      [LOGIN],
    );
    expect(withOwnersRights.map(({ name }) => name)).toEqual([
      'towpath.put_messages(bigint,text[],text,jsonb,integer)',
      'towpath.queue_id(text)',
    ]);

    const functions = await run<{ name: string; types: string[] }>(
      `select p.oid::regproc::text as name,
         array(select format_type(t.oid, null) from unnest(p.proargtypes::oid[]) with ordinality u(oid, n) join pg_type t on t.oid = u.oid order by u.n) as types
       from pg_proc p
       where p.pronamespace = 'towpath'::regnamespace and p.prorettype <> 'trigger'::regtype and not p.prosecdef`,
    );
    expect(functions.length).toBeGreaterThan(50);
    // What a caller could know: numbers and names of the queue, of the message, of its receipt.
    const values: Readonly<Record<string, readonly string[]>> = {
      bigint: [String(queue.id), String(held.id), '0'],
      integer: ['1', '500'],
      text: [`'${queue.ocid}'`, `'${queue.tenancy}'`, `'target'`],
      jsonb: [`'{"purgeType": "BOTH"}'`, `'{}'`],
      'bigint[]': [`'{${held.id}}'`, `'{${held.receipt_number}}'`],
      boolean: ['false', 'true'],
    };
    const before = await digest();
    const outcomes = new Map<string, Set<string>>();
    for (const { name, types } of functions) {
      for (let variant = 0; variant < 4; variant += 1) {
        const list = types.map((type, position) => {
          const some = variant === 3 ? undefined : values[type];
          return `${some?.[(variant + position) % some.length] ?? 'null'}::${type}`;
        });
        // The queue first, as the message functions have it.
        if (variant === 2 && types[0] === 'bigint') list[0] = `${queue.id}::bigint`;
        const outcome = await codeOf(producer.run(`select * from ${name}(${list.join(', ')})`));
        outcomes.set(name, (outcomes.get(name) ?? new Set()).add(outcome));
      }
    }
    expect(await digest()).toBe(before);
    // Those that read or write fail for want of rights; the walk has really come to them.
    for (const name of [
      'get_messages',
      'delete_messages',
      'put_packed_messages',
      'update_queue',
      'get_stats',
      'purge_queue',
    ]) {
      const codes = [...(outcomes.get(`towpath.${name}`) ?? [])];
      expect({ name, codes }).toEqual({ name, codes: expect.arrayContaining(['42501']) });
      expect({ name, codes }).not.toEqual({ name, codes: expect.arrayContaining(['no error']) });
    }
    expect(await queue.getOne()).toMatchObject({ delivery_count: 1 });
    expect(
      one(await run<{ n: number }>('select count(*)::int as n from towpath.message where queue_id = $1', [queue.id])).n,
    ).toBe(2);
  });

  it('is needed: without it nobody may put', async () => {
    const queue = await makeQueue(run);
    const other = `stranger_of_test_${process.pid}`;
    await asSuperuser.query(`create role ${other}`);
    try {
      await asSuperuser.query(`grant usage on schema towpath to ${other}`);
      await asSuperuser.query(`set role ${other}`);
      expect(await codeOf(asSuperuser.query(`select towpath.put_messages(${queue.id}, '{x}')`))).toBe('42501');
      expect(await codeOf(asSuperuser.query(`select towpath.queue_id('target')`))).toBe('42501');
    } finally {
      await asSuperuser.query('reset role');
      await asSuperuser.query(`drop owned by ${other}`);
      await asSuperuser.query(`drop role ${other}`);
    }
  });
});
