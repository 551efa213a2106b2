import { makeQueue, makeTenancy, one, Queue, runWorkRequests, untilBlocked, useDatabase } from './support.js';
import type { WorkRequestRow } from './support.js';

const { run, session } = useDatabase();

const create = async (tenancy: string, details: object, token: string | null = null): Promise<WorkRequestRow> =>
  one(await run<WorkRequestRow & object>('select * from towpath.create_queue($1, $2, $3)', [tenancy, details, token]));
const list = async (
  tenancy: string,
  parameters: Record<string, unknown> = {},
): Promise<{ id: number; display_name: string; time: string }[]> => {
  const names = Object.keys(parameters);
  const given = names.map((name, index) => `, ${name} => $${index + 2}`).join('');
  return run(`select id, display_name, time_created::text as time from towpath.list_queues($1${given})`, [
    tenancy,
    ...Object.values(parameters),
  ]);
};

describe('create_queue', () => {
  it('uses the defaults of the contract, and five deliveries before the dead letter queue', async () => {
    const { id, ocid, tenancy } = await makeQueue(run, { displayName: 'orders' });
    const row = one(await run('select * from towpath.queue where id = $1', [id]));
    expect(row).toMatchObject({
      ocid,
      tenancy_id: tenancy,
      compartment_id: tenancy,
      display_name: 'orders',
      lifecycle_state: 'ACTIVE',
      retention_in_seconds: 86400,
      visibility_in_seconds: 30,
      timeout_in_seconds: 30,
      channel_consumption_limit: 100,
      dead_letter_queue_delivery_count: 5,
      custom_encryption_key_id: null,
      capabilities: [],
      freeform_tags: {},
      defined_tags: {},
      version: 1,
    });
    expect(ocid).toMatch(/^ocid1\.queue\.oc1\.local\.[a-z0-9]{60}$/);
  });

  it('takes every setting', async () => {
    const { id } = await makeQueue(run, {
      retentionInSeconds: 10,
      visibilityInSeconds: 43200,
      timeoutInSeconds: 0,
      channelConsumptionLimit: 1,
      deadLetterQueueDeliveryCount: 0,
      customEncryptionKeyId: 'ocid1.key',
      capabilities: [{ type: 'LARGE_MESSAGES' }],
      freeformTags: { a: 'b' },
      definedTags: { n: { k: 1 } },
    });
    expect(one(await run('select * from towpath.queue where id = $1', [id]))).toMatchObject({
      retention_in_seconds: 10,
      visibility_in_seconds: 43200,
      timeout_in_seconds: 0,
      channel_consumption_limit: 1,
      dead_letter_queue_delivery_count: 0,
      custom_encryption_key_id: 'ocid1.key',
      capabilities: [{ type: 'LARGE_MESSAGES' }],
      freeform_tags: { a: 'b' },
      defined_tags: { n: { k: 1 } },
    });
  });

  it('answers with a finished work request that names the queue', async () => {
    const tenancy = await makeTenancy(run);
    const request = await create(tenancy, { displayName: 'a', compartmentId: tenancy });
    expect(request).toMatchObject({
      operation_type: 'CREATE_QUEUE',
      status: 'SUCCEEDED',
      action_type: 'CREATED',
      percent_complete: 100,
      time_finished: expect.anything(),
    });
    expect(await run('select message from towpath.work_request_log where work_request_id = $1', [request.id])).toEqual([
      { message: 'done at once' },
    ]);
    const found = one(await run('select * from towpath.find_queue($1, $2)', [tenancy, request.identifier]));
    expect(found).toMatchObject({ display_name: 'a' });
  });

  it('refuses a foreign compartment and unknown capabilities', async () => {
    const tenancy = await makeTenancy(run);
    const foreign = await makeTenancy(run);
    await expect(create(tenancy, { displayName: 'a', compartmentId: foreign })).rejects.toMatchObject({
      code: 'TP404',
    });
    await expect(
      create(tenancy, { displayName: 'a', compartmentId: tenancy, capabilities: [{ type: 'OTHER' }] }),
    ).rejects.toMatchObject({ code: 'TP400' });
    expect(await list(tenancy)).toEqual([]);
  });

  it.each([
    ['retention', { retentionInSeconds: 9 }, 'retention_in_seconds_is_10_to_604800'],
    ['visibility', { visibilityInSeconds: 0 }, 'visibility_in_seconds_is_1_to_43200'],
    ['timeout', { timeoutInSeconds: 31 }, 'timeout_in_seconds_is_0_to_30'],
    ['consumption', { channelConsumptionLimit: 101 }, 'channel_consumption_limit_is_1_to_100'],
    ['deliveries', { deadLetterQueueDeliveryCount: 21 }, 'dead_letter_queue_delivery_count_is_0_to_20'],
    ['name', { displayName: '' }, 'display_name_has_1_to_255_characters'],
  ])('keeps the range of %s whoever writes it', async (_, details, constraint) => {
    await expect(makeQueue(run, details)).rejects.toMatchObject({ constraint });
  });
});

describe('the retry token', () => {
  it('answers a repeat with the first work request, another request with TP4RT', async () => {
    const tenancy = await makeTenancy(run);
    const details = { displayName: 'a', compartmentId: tenancy };
    const first = await create(tenancy, details, 'token');
    expect((await create(tenancy, { compartmentId: tenancy, displayName: 'a' }, 'token')).ocid).toBe(first.ocid);
    expect(await list(tenancy)).toHaveLength(1);
    await expect(create(tenancy, { ...details, displayName: 'b' }, 'token')).rejects.toMatchObject({ code: 'TP4RT' });
    expect((await create(tenancy, details, 'other')).ocid).not.toBe(first.ocid);
    const stranger = await makeTenancy(run);
    expect((await create(stranger, { displayName: 'a', compartmentId: stranger }, 'token')).ocid).not.toBe(first.ocid);
  });

  it('is forgotten after 24 hours', async () => {
    const tenancy = await makeTenancy(run);
    const first = await create(tenancy, { displayName: 'a', compartmentId: tenancy }, 'token');
    await run(
      `update towpath.retry_token set time_created = clock_timestamp() - interval '24 hours 1 second' where tenancy_id = $1`,
      [tenancy],
    );
    const second = await create(tenancy, { displayName: 'b', compartmentId: tenancy }, 'token');
    expect(second.ocid).not.toBe(first.ocid);
    expect((await create(tenancy, { displayName: 'b', compartmentId: tenancy }, 'token')).ocid).toBe(second.ocid);
  });

  it('of two sessions at once makes one queue', async () => {
    const tenancy = await makeTenancy(run);
    const details = { displayName: 'a', compartmentId: tenancy };
    const [a, b] = [await session(), await session()];
    const call = 'select ocid from towpath.create_queue($1, $2, $3)';
    await a.run('begin');
    const first = await a.run<{ ocid: string }>(call, [tenancy, details, 'token']);
    const second = b.run<{ ocid: string }>(call, [tenancy, details, 'token']);
    await untilBlocked(run, b);
    await a.run('commit');
    expect(await second).toEqual(first);
    expect(await list(tenancy)).toHaveLength(1);
  });

  it('whose first use failed may be used again', async () => {
    const tenancy = await makeTenancy(run);
    await expect(create(tenancy, { displayName: 'a', compartmentId: 'nowhere' }, 'token')).rejects.toMatchObject({
      code: 'TP404',
    });
    await expect(create(tenancy, { displayName: 'a', compartmentId: tenancy }, 'token')).resolves.toMatchObject({
      status: 'SUCCEEDED',
    });
  });
});

describe('find_queue, queue_id', () => {
  it('find within the tenancy only, operators everywhere', async () => {
    const queue = await makeQueue(run);
    const stranger = await makeTenancy(run);
    expect(await run('select id from towpath.find_queue($1, $2)', [queue.tenancy, queue.ocid])).toEqual([
      { id: queue.id },
    ]);
    expect(await run('select id from towpath.find_queue(null, $1)', [queue.ocid])).toEqual([{ id: queue.id }]);
    await expect(run('select towpath.find_queue($1, $2)', [stranger, queue.ocid])).rejects.toMatchObject({
      code: 'TP404',
    });
    await expect(run('select towpath.find_queue(null, $1)', ['nonsense'])).rejects.toMatchObject({ code: 'TP404' });
  });

  it('queue_id takes an OCID or a display name that is not ambiguous', async () => {
    const name = `name ${await makeTenancy(run)}`;
    const queue = await makeQueue(run, { displayName: name });
    const idOf = async (key: string): Promise<unknown> => one(await run('select towpath.queue_id($1) as id', [key]));
    expect(await idOf(name)).toEqual({ id: queue.id });
    expect(await idOf(queue.ocid)).toEqual({ id: queue.id });
    await expect(idOf('no such queue')).rejects.toMatchObject({ code: 'TP404' });
    const twin = await makeQueue(run, { displayName: name });
    await expect(idOf(name)).rejects.toMatchObject({ code: 'TP400' });
    await twin.remove();
    expect(await idOf(name)).toEqual({ id: queue.id });
  });
});

describe('list_queues', () => {
  it.each([
    ['timeCreated', true],
    ['timeCreated', false],
    ['displayName', true],
    ['displayName', false],
  ])('pages by %s, ascending %s, without gap or repeat', async (sortBy, ascending) => {
    const tenancy = await makeTenancy(run);
    // Two names thrice, so that the id has to decide.
    for (const name of ['b', 'a', 'b', 'a', 'B', 'ä', 'a', 'b']) await makeQueue(run, { displayName: name }, tenancy);
    // Some with the same time.
    await run(
      `update towpath.queue set time_created = '2026-01-01 00:00:00.123456Z'
       where id in (select id from towpath.queue where tenancy_id = $1 order by id limit 3)`,
      [tenancy],
    );
    const key = (row: { id: number; display_name: string; time: string }): string =>
      sortBy === 'timeCreated' ? row.time : row.display_name;
    const expected = (await list(tenancy, { max_queues: 1000 })).toSorted((a, b) => {
      const [x, y] = [Buffer.from(key(a)), Buffer.from(key(b))];
      return (Buffer.compare(x, y) || a.id - b.id) * (ascending ? 1 : -1);
    });
    const paged: typeof expected = [];
    for (;;) {
      const last = paged.at(-1);
      const cursor =
        last === undefined
          ? {}
          : { after_id: last.id, [sortBy === 'timeCreated' ? 'after_time' : 'after_name']: key(last) };
      const page = await list(tenancy, { sort_by: sortBy, ascending, max_queues: 3, ...cursor });
      paged.push(...page);
      if (page.length < 3) break;
    }
    expect(paged.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
    expect(paged).toHaveLength(8);
  });

  it('filters by compartment, state, whole name and OCID, in every order', async () => {
    const tenancy = await makeTenancy(run);
    const { id: child } = one(
      await run<{ id: string }>(`select id from towpath.create_compartment($1, null, 'child')`, [tenancy]),
    );
    const [a, b] = [
      await makeQueue(run, { displayName: 'a' }, tenancy),
      await makeQueue(run, { displayName: 'b', compartmentId: child }, tenancy),
    ];
    const gone = await makeQueue(run, { displayName: 'a' }, tenancy);
    await gone.remove();
    await runWorkRequests(run);
    await makeQueue(run);
    for (const sort_by of ['timeCreated', 'displayName']) {
      for (const ascending of [true, false]) {
        const ids = async (filter: object): Promise<number[]> =>
          (await list(tenancy, { sort_by, ascending, ...filter })).map(({ id }) => id).toSorted((x, y) => x - y);
        expect(await ids({})).toEqual([a.id, b.id]);
        expect(await ids({ compartment_id: child })).toEqual([b.id]);
        expect(await ids({ display_name: 'a' })).toEqual([a.id]);
        expect(await ids({ display_name: 'A' })).toEqual([]);
        expect(await ids({ queue_ocid: b.ocid })).toEqual([b.id]);
        expect(await ids({ queue_ocid: gone.ocid })).toEqual([gone.id]);
        expect(await ids({ lifecycle_state: 'DELETED' })).toEqual([gone.id]);
        expect(await ids({ lifecycle_state: 'ACTIVE' })).toEqual([a.id, b.id]);
        expect(await ids({ lifecycle_state: 'ACTIVE', queue_ocid: gone.ocid })).toEqual([]);
      }
    }
  });
});

describe('the ETag', () => {
  it('update_queue changes what is named, and the version goes up by one', async () => {
    const queue = await makeQueue(run, { customEncryptionKeyId: 'key' });
    const request = await queue.change(
      { displayName: 'new', visibilityInSeconds: 5, deadLetterQueueDeliveryCount: 0 },
      '1',
    );
    expect(request).toMatchObject({ operation_type: 'UPDATE_QUEUE', status: 'SUCCEEDED', action_type: 'UPDATED' });
    const row = async (): Promise<object> => one(await run('select * from towpath.queue where id = $1', [queue.id]));
    expect(await row()).toMatchObject({
      display_name: 'new',
      visibility_in_seconds: 5,
      timeout_in_seconds: 30,
      dead_letter_queue_delivery_count: 0,
      custom_encryption_key_id: 'key',
      version: 2,
    });
    await queue.change({ customEncryptionKeyId: '', retentionInSeconds: 10 });
    expect(await row()).toMatchObject({ custom_encryption_key_id: null, retention_in_seconds: 86400, version: 3 });
    await expect(queue.change({ capabilities: [{ type: 'X' }] })).rejects.toMatchObject({ code: 'TP400' });
  });

  it('guards every change', async () => {
    const queue = await makeQueue(run);
    const stale = { code: 'TP412' };
    await expect(queue.change({}, '2')).rejects.toMatchObject(stale);
    await expect(queue.purge({ purgeType: 'BOTH' }, '0')).rejects.toMatchObject(stale);
    await expect(queue.remove('nonsense')).rejects.toMatchObject(stale);
    const move = 'select * from towpath.change_queue_compartment($1, $2, $3, $4)';
    await expect(run(move, [queue.tenancy, queue.ocid, queue.tenancy, '2'])).rejects.toMatchObject(stale);
    expect((await queue.state()).version).toBe(1);
    await queue.change({}, '*');
    await queue.change({}, '2');
    expect((await queue.state()).version).toBe(3);
  });

  it('lets only one of two changes with the same ETag pass', async () => {
    const queue = await makeQueue(run);
    const [a, b] = [await session(), await session()];
    await a.run('begin');
    await queue.by(a.run).change({ displayName: 'a' }, '1');
    const second = queue
      .by(b.run)
      .change({ displayName: 'b' }, '1')
      .catch((error: unknown) => error);
    await untilBlocked(run, b);
    await a.run('commit');
    expect(await second).toMatchObject({ code: 'TP412' });
  });
});

describe('changes of queues', () => {
  it('are refused on a queue that is foreign, unknown, being deleted or deleted', async () => {
    const queue = await makeQueue(run);
    const stranger = new Queue(queue.id, queue.ocid, await makeTenancy(run), run);
    await expect(stranger.change({})).rejects.toMatchObject({ code: 'TP404' });
    await expect(stranger.purge({ purgeType: 'BOTH' })).rejects.toMatchObject({ code: 'TP404' });
    await expect(stranger.remove()).rejects.toMatchObject({ code: 'TP404' });
    await queue.remove();
    await expect(queue.change({})).rejects.toMatchObject({ code: 'TP409' });
    await expect(queue.purge({ purgeType: 'BOTH' })).rejects.toMatchObject({ code: 'TP409' });
    await expect(queue.remove()).rejects.toMatchObject({ code: 'TP409' });
    await runWorkRequests(run);
    await expect(queue.change({})).rejects.toMatchObject({ code: 'TP404' });
    await expect(queue.remove()).rejects.toMatchObject({ code: 'TP404' });
  });

  it('change_queue_compartment moves within the tenancy; older work requests stay where they were', async () => {
    const queue = await makeQueue(run);
    const { id: child } = one(
      await run<{ id: string }>(`select id from towpath.create_compartment($1, null, 'child')`, [queue.tenancy]),
    );
    const move = 'select * from towpath.change_queue_compartment($1, $2, $3)';
    const request = one(await run(move, [queue.tenancy, queue.ocid, child]));
    expect(request).toMatchObject({ operation_type: 'MOVE_QUEUE', status: 'SUCCEEDED', compartment_id: child });
    expect(await list(queue.tenancy, { compartment_id: child })).toHaveLength(1);
    await expect(run(move, [queue.tenancy, queue.ocid, await makeTenancy(run)])).rejects.toMatchObject({
      code: 'TP404',
    });
    const listed = await run<{ operation_type: string }>('select * from towpath.list_work_requests($1, $2)', [
      queue.tenancy,
      queue.tenancy,
    ]);
    expect(listed.map(({ operation_type }) => operation_type)).toEqual(['CREATE_QUEUE']);
  });
});

describe('work requests', () => {
  it('are listed newest first, by pages, of the own tenancy', async () => {
    const queue = await makeQueue(run);
    for (let change = 0; change < 4; change += 1) await queue.change({});
    const all = await run<{ id: number }>('select id from towpath.list_work_requests($1)', [queue.tenancy]);
    expect(all).toHaveLength(5);
    expect(all).toEqual(all.toSorted((a, b) => b.id - a.id));
    const page = await run('select id from towpath.list_work_requests($1, before_id => $2, max_requests => 2)', [
      queue.tenancy,
      all[1]?.id,
    ]);
    expect(page).toEqual(all.slice(2, 4));
    expect(await run('select id from towpath.list_work_requests($1)', [await makeTenancy(run)])).toEqual([]);
    const { ocid } = one(
      await run<{ ocid: string }>('select ocid from towpath.work_request where id = $1', [all[2]?.id]),
    );
    expect(
      await run('select id from towpath.list_work_requests($1, work_request_ocid => $2)', [queue.tenancy, ocid]),
    ).toEqual([all[2]]);
  });

  it('are found in their tenancy only', async () => {
    const queue = await makeQueue(run);
    const { ocid, id } = await queue.change({});
    expect(await run('select id from towpath.find_work_request($1, $2)', [queue.tenancy, ocid])).toEqual([{ id }]);
    expect(await run('select id from towpath.find_work_request(null, $1)', [ocid])).toEqual([{ id }]);
    await expect(run('select towpath.find_work_request($1, $2)', [await makeTenancy(run), ocid])).rejects.toMatchObject(
      { code: 'TP404' },
    );
  });

  it('say when they finished exactly where they did', async () => {
    const queue = await makeQueue(run);
    const { id } = await queue.change({});
    await expect(run('update towpath.work_request set time_finished = null where id = $1', [id])).rejects.toMatchObject(
      {
        constraint: 'finished_work_requests_say_when',
      },
    );
  });
});

describe('the small functions', () => {
  it('fail raises its code and message', async () => {
    await expect(run(`select towpath.fail('TP4LE', 'too much')`)).rejects.toMatchObject({
      code: 'TP4LE',
      message: 'too much',
    });
  });

  it('new_ocid names the type and never repeats', async () => {
    const rows = await run<{ ocid: string }>(`select towpath.new_ocid('thing') as ocid from generate_series(1, 1000)`);
    expect(new Set(rows.map(({ ocid }) => ocid)).size).toBe(1000);
    for (const { ocid } of rows) expect(ocid).toMatch(/^ocid1\.thing\.oc1\.local\.[a-z0-9]{60}$/);
  });

  it('check_compartment and check_capabilities pass what is right', async () => {
    const tenancy = await makeTenancy(run);
    await run('select towpath.check_compartment($1, $1)', [tenancy]);
    await expect(run('select towpath.check_compartment($1, null)', [tenancy])).rejects.toMatchObject({ code: 'TP404' });
    await run(`select towpath.check_capabilities('[]'), towpath.check_capabilities('[{"type": "LARGE_MESSAGES"}]')`);
    await expect(run(`select towpath.check_capabilities('[{}]')`)).rejects.toMatchObject({ code: 'TP400' });
  });
});
