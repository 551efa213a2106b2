import { makeDead, startRedrive } from './redrive-support.js';
import { makeQueue, makeTenancy, one, runWorkRequests, useDatabase, type Queue, type Run } from './support.js';

// The audit log: what is in it, what is not, and that nobody changes it.

const { run, session, test } = useDatabase();

interface Event extends Record<string, unknown> {
  readonly id: number;
  readonly operation: string;
  readonly outcome: string;
  readonly target_ids: string[];
  readonly user_id: string | null;
  readonly credential: string | null;
  readonly database_role: string;
  readonly address: string | null;
  readonly before: Record<string, unknown> | null;
  readonly after: Record<string, unknown> | null;
  readonly parameters: Record<string, unknown> | null;
}

const lastId = async (): Promise<number> =>
  one(await run<{ id: number }>('select coalesce(max(id), 0) as id from towpath.audit_event')).id;
/** What was recorded while something was done, but the making of the test's tenancy. */
async function eventsOf(act: () => Promise<unknown>): Promise<Event[]> {
  const since = await lastId();
  await act();
  return run<Event>(`select * from towpath.audit_event where id > $1 and operation <> 'createTenancy' order by id`, [
    since,
  ]);
}
const eventOf = async (act: () => Promise<unknown>): Promise<Event> => {
  const events = await eventsOf(act);
  expect(events.map(({ operation }) => operation)).toHaveLength(1);
  return events[0]!;
};

const GROUPS = { capabilities: [{ type: 'CONSUMER_GROUPS' }] };
const makeGroup = async (queue: Queue, displayName = 'group', filter = ''): Promise<string> =>
  one(
    await run<{ identifier: string }>('select identifier from towpath.create_consumer_group($1, $2)', [
      queue.tenancy,
      { queueId: queue.ocid, displayName, filter },
    ]),
  ).identifier;
const eventRow = (days: number, count: number): Promise<unknown> =>
  run(
    `insert into towpath.audit_event (operation, time_created)
     select 'old', clock_timestamp() - make_interval(days => $1, secs => g) from generate_series(1, $2::integer) g`,
    [days, count],
  );

describe('a change by SQL', () => {
  it('of a queue leaves one event, with the settings before and after, and with the role that made it', async () => {
    let queue!: Queue;
    const created = await eventOf(async () => {
      queue = await makeQueue(run, { displayName: 'first', ...GROUPS, freeformTags: { a: 'b' } });
    });
    const settings = {
      displayName: 'first',
      compartmentId: queue.tenancy,
      lifecycleState: 'ACTIVE',
      retentionInSeconds: 86_400,
      visibilityInSeconds: 30,
      timeoutInSeconds: 30,
      channelConsumptionLimit: 100,
      deadLetterQueueDeliveryCount: 5,
      customEncryptionKeyId: null,
      deduplicationWindowInSeconds: 300,
      acceptUnsealed: true,
      durability: 'FULL',
      capabilities: [{ type: 'CONSUMER_GROUPS' }],
      freeformTags: { a: 'b' },
      definedTags: {},
    };
    expect(created).toMatchObject({
      operation: 'createQueue',
      outcome: 'SUCCEEDED',
      code: null,
      tenancy_id: queue.tenancy,
      compartment_id: queue.tenancy,
      target_ids: [queue.ocid],
      user_id: null,
      credential: 'database-role',
      credential_id: null,
      request_id: null,
      database_role: 'towpath_test',
      parameters: null,
    });
    expect(created.address).toMatch(/^(local|[\d.]+|[\da-f:]+)$/);
    expect([created.before, created.after]).toEqual([null, settings]);

    const updated = await eventOf(() => queue.change({ visibilityInSeconds: 7, freeformTags: { c: 'd' } }));
    expect(updated).toMatchObject({ operation: 'updateQueue', target_ids: [queue.ocid] });
    expect(updated.before).toEqual(settings);
    expect(updated.after).toEqual({ ...settings, visibilityInSeconds: 7, freeformTags: { c: 'd' } });

    const unchanged = await eventOf(() => queue.change({}));
    expect(unchanged).toMatchObject({ operation: 'updateQueue', before: updated.after, after: updated.after });

    const { id: compartment } = one(
      await run<{ id: string }>(`select id from towpath.create_compartment($1, null, 'c')`, [queue.tenancy]),
    );
    const moved = await eventOf(() =>
      run('select towpath.change_queue_compartment($1, $2, $3)', [queue.tenancy, queue.ocid, compartment]),
    );
    expect(moved).toMatchObject({
      operation: 'changeQueueCompartment',
      compartment_id: compartment,
      before: { compartmentId: queue.tenancy },
      after: { compartmentId: compartment },
    });

    const deleted = await eventOf(() => queue.remove());
    expect(deleted).toMatchObject({
      operation: 'deleteQueue',
      before: { lifecycleState: 'ACTIVE' },
      after: { lifecycleState: 'DELETING' },
    });
  });

  it('of a consumer group leaves one event', async () => {
    const queue = await makeQueue(run, GROUPS);
    let group!: string;
    const created = await eventOf(async () => {
      group = await makeGroup(queue);
    });
    expect(created).toMatchObject({
      operation: 'createConsumerGroup',
      tenancy_id: queue.tenancy,
      target_ids: [group, queue.ocid],
      before: null,
    });
    const settings = {
      displayName: 'group',
      lifecycleState: 'ACTIVE',
      filter: '',
      deadLetterQueueDeliveryCount: null,
      freeformTags: {},
      definedTags: {},
    };
    expect(created.after).toEqual(settings);
    const change = (changes: object): Promise<unknown> =>
      run('select towpath.update_consumer_group($1, $2, $3)', [queue.tenancy, group, changes]);
    const disabled = await eventOf(() => change({ isEnabled: false }));
    expect(disabled).toMatchObject({ operation: 'updateConsumerGroup', before: settings });
    expect(disabled.after).toEqual({ ...settings, lifecycleState: 'INACTIVE' });
    expect(await eventOf(() => change({ displayName: 'other' }))).toMatchObject({
      operation: 'updateConsumerGroup',
      before: { displayName: 'group' },
      after: { displayName: 'other' },
    });
    expect(await eventOf(() => change({}))).toMatchObject({ operation: 'updateConsumerGroup' });
    expect(
      await eventOf(() => run('select towpath.delete_consumer_group($1, $2)', [queue.tenancy, group])),
    ).toMatchObject({ operation: 'deleteConsumerGroup', after: { lifecycleState: 'DELETING' } });
    // The primary one comes with the capability.
    const plain = await makeQueue(run);
    expect(await eventOf(() => plain.change(GROUPS))).toMatchObject({ operation: 'updateQueue', after: GROUPS });
  });

  it('that starts or cancels a work request leaves one event, with what was asked for', async () => {
    const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
    const target = await makeQueue(run, {}, queue.tenancy);
    const ids = await makeDead(queue, run, 3);
    let request!: { ocid: string };
    const redriven = await eventOf(async () => {
      request = await startRedrive(queue, run, {
        messageIds: ids,
        targetQueueId: target.ocid,
        targetChannelId: 'there',
        messagesPerSecond: 1,
      });
    });
    expect(redriven).toMatchObject({
      operation: 'redriveDeadLetters',
      target_ids: [queue.ocid, target.ocid, request.ocid],
      before: null,
      after: null,
    });
    expect(redriven.parameters).toEqual({
      messageIds: ids,
      hasFilter: false,
      targetChannelId: 'there',
      isDryRun: false,
      messagesPerSecond: 1,
    });
    const cancel = (): Promise<unknown> =>
      run('select towpath.cancel_work_request($1, $2)', [queue.tenancy, request.ocid]);
    expect(await eventOf(cancel)).toMatchObject({
      operation: 'cancelWorkRequest',
      target_ids: [request.ocid, queue.ocid],
      parameters: null,
    });
    // It is being cancelled already: nothing changes.
    expect(await eventsOf(cancel)).toEqual([]);
    expect(await eventsOf(() => runWorkRequests(run))).toEqual([]);
    const filtered = await eventOf(() =>
      run(`select towpath.redrive_messages($1, $2, '{}', '$.kind == "value"')`, [queue.tenancy, queue.ocid]),
    );
    expect(filtered.parameters).toMatchObject({ hasFilter: true });
    expect(JSON.stringify(filtered)).not.toMatch(/kind|value/);
    await runWorkRequests(run);
    // A kind of work request that this migration does not know.
    const rotated = await eventOf(() =>
      run(
        `select towpath.record_work_request(q, 'ROTATE_DATA_KEY', 'UPDATED', '{"key": "planted"}') from towpath.queue q where q.id = $1`,
        [queue.id],
      ),
    );
    expect(rotated).toMatchObject({ operation: 'rotateDataKey', parameters: null });
    expect(rotated.target_ids[0]).toBe(queue.ocid);
    const purged = await eventOf(() => queue.purge({ purgeType: 'BOTH', channelIds: ['a', 'b'], more: 'x' }));
    expect(purged).toMatchObject({ operation: 'purgeQueue', before: null, after: null });
    expect(purged.target_ids[0]).toBe(queue.ocid);
    expect(purged.parameters).toEqual({ purgeType: 'BOTH', channelIds: ['a', 'b'] });
  });

  it('of single dead letters leaves one event, with ids and without contents', async () => {
    const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
    const target = await makeQueue(run, {}, queue.tenancy);
    const ids = await makeDead(queue, run, 4);
    const remove = (some: readonly number[]) => (): Promise<unknown> =>
      run('select towpath.delete_dead_letters($1, 0, $2)', [queue.id, some]);
    const deleted = await eventOf(remove([ids[0]!, 4711]));
    expect(deleted).toMatchObject({ operation: 'deleteDeadLetters', tenancy_id: queue.tenancy });
    expect(deleted.target_ids).toEqual([queue.ocid]);
    expect(deleted.parameters).toEqual({ messageIds: [ids[0]], deleted: 1, asked: 2 });
    // Nothing was there.
    expect(await eventsOf(remove([4711]))).toEqual([]);
    const resend = (id: number, to: number | null) => (): Promise<unknown> =>
      run(`select towpath.resend_dead_letter($1, $2, 0, 'planted content', 'ch', '{"k": "planted"}', $3)`, [
        queue.id,
        id,
        to,
      ]);
    const resent = await eventOf(resend(ids[1]!, null));
    expect(resent).toMatchObject({ operation: 'resendDeadLetter', target_ids: [queue.ocid] });
    expect(resent.parameters).toEqual({
      messageId: ids[1],
      newMessageId: expect.any(Number),
      channelId: 'ch',
    });
    expect((await eventOf(resend(ids[2]!, target.id))).target_ids).toEqual([queue.ocid, target.ocid]);
    expect(JSON.stringify(resent)).not.toMatch(/planted/);
  });

  it('needs no function: a bare statement is recorded as what it amounts to', async () => {
    const queue = await makeQueue(run, GROUPS);
    const group = await makeGroup(queue);
    const change = (what: string) => (): Promise<unknown> =>
      run(`update towpath.queue set ${what} where id = $1`, [queue.id]);
    expect(await eventOf(change('visibility_in_seconds = 9'))).toMatchObject({
      operation: 'updateQueue',
      credential: 'database-role',
      before: { visibilityInSeconds: 30 },
      after: { visibilityInSeconds: 9 },
    });
    expect(await eventOf(change(`lifecycle_state = 'INACTIVE'`))).toMatchObject({
      operation: 'updateQueue',
      after: { lifecycleState: 'INACTIVE' },
    });
    expect(await eventsOf(change('time_updated = now()'))).toEqual([]);
    expect(
      await eventOf(() =>
        run(`update towpath.consumer_group set filter = ':a', version = version + 1 where ocid = $1`, [group]),
      ),
    ).toMatchObject({ operation: 'updateConsumerGroup', before: { filter: '' }, after: { filter: ':a' } });
    expect(await eventOf(() => run('delete from towpath.consumer_group where ocid = $1', [group]))).toMatchObject({
      operation: 'deleteConsumerGroup',
      before: { filter: ':a' },
      after: null,
    });
    expect(await eventOf(() => run('delete from towpath.queue where id = $1', [queue.id]))).toMatchObject({
      operation: 'deleteQueue',
      before: { lifecycleState: 'INACTIVE' },
      after: null,
    });
  });

  it('is in the log if and only if it was committed', async () => {
    const { run: by } = await session();
    const queue = await makeQueue(run);
    const events = await eventsOf(async () => {
      await by('begin');
      await queue.by(by).change({ visibilityInSeconds: 1 });
      await makeQueue(by, {}, queue.tenancy);
      await by('rollback');
      await by('begin');
      await by('savepoint s');
      await queue.by(by).change({ visibilityInSeconds: 2 });
      await by('rollback to savepoint s');
      await queue.by(by).change({ visibilityInSeconds: 3 });
      await by('commit');
      await expect(queue.change({ visibilityInSeconds: 0 })).rejects.toMatchObject({ code: '23514' });
      await expect(queue.change({ visibilityInSeconds: 4 }, '99')).rejects.toMatchObject({ code: 'TP412' });
    });
    expect(events.map(({ after }) => after?.['visibilityInSeconds'])).toEqual([3]);
  });

  it('that was done before is not done again: the repeat of a create leaves none', async () => {
    const tenancy = await makeTenancy(run);
    const create = (): Promise<unknown> =>
      run('select towpath.create_queue($1, $2, $3)', [tenancy, { displayName: 'x', compartmentId: tenancy }, 'token']);
    expect(await eventsOf(create)).toHaveLength(1);
    expect(await eventsOf(create)).toEqual([]);
  });
});

describe('what the service does by itself', () => {
  it('is not in the log', async () => {
    const queue = await makeQueue(run, { ...GROUPS, deadLetterQueueDeliveryCount: 1 });
    const group = await makeGroup(queue);
    await queue.putMany(5);
    await queue.purge({ purgeType: 'BOTH', consumerGroupId: 'all' });
    expect(await eventsOf(() => runWorkRequests(run, 2))).toEqual([]);
    await run('select towpath.delete_consumer_group($1, $2)', [queue.tenancy, group]);
    await makeGroup(queue, 'left');
    expect(await eventsOf(() => runWorkRequests(run, 2))).toEqual([]);
    await queue.putMany(5);
    const events = await eventsOf(async () => {
      await queue.get();
      await queue.timeOut();
      await queue.sweepTimedOut();
      await queue.fold();
      await queue.remove();
      await runWorkRequests(run, 2);
      // Not the queue itself any more, nor what is left of its groups.
      await run(`update towpath.queue set time_updated = now() - interval '2 hours' where id = $1`, [queue.id]);
      await run('select towpath.forget_old_records()');
    });
    expect(events.map(({ operation }) => operation)).toEqual(['deleteQueue']);
    expect(await run('select from towpath.queue where id = $1', [queue.id])).toEqual([]);
  });
});

describe('as_caller', () => {
  const caller = {
    userId: 'ocid1.user.x',
    credential: 'signature',
    credentialId: 'aa:bb',
    address: '192.0.2.7',
    requestId: 'R',
    operation: 'changeQueueCompartment',
  };
  const named = {
    user_id: 'ocid1.user.x',
    credential: 'signature',
    credential_id: 'aa:bb',
    address: '192.0.2.7',
    request_id: 'R',
    database_role: 'towpath_test',
  };
  const update = (by: Run, queue: Queue, seconds: number): Promise<unknown> =>
    by(`select towpath.update_queue(towpath.as_caller($1::jsonb, $2::text), $3, $4)`, [
      caller,
      queue.tenancy,
      queue.ocid,
      { visibilityInSeconds: seconds },
    ]);

  it('names the caller, for this transaction and no longer', async () => {
    const { run: by } = await session();
    const queue = await makeQueue(run);
    expect(await eventOf(() => update(by, queue, 1))).toMatchObject(named);
    // The same connection.
    expect(await eventOf(() => queue.by(by).change({ visibilityInSeconds: 2 }))).toMatchObject({
      user_id: null,
      credential: 'database-role',
      address: expect.any(String),
      request_id: null,
    });
    await by('begin');
    await update(by, queue, 3);
    await by('rollback');
    expect(await eventOf(() => queue.by(by).change({ visibilityInSeconds: 4 }))).toMatchObject({ user_id: null });
  });

  it('says which change it was that changes nothing', async () => {
    const queue = await makeQueue(run);
    const event = await eventOf(() => update(run, queue, 30));
    expect(event).toMatchObject({ ...named, operation: 'changeQueueCompartment' });
    expect(event.before).toEqual(event.after);
  });
});

describe('the settings', () => {
  it('have every column of a queue and a consumer group, or it was decided that they have not', async () => {
    const both = ['id', 'ocid', 'tenancyId', 'lifecycleDetails', 'timeCreated', 'timeUpdated', 'version'];
    // The filter is there as it was written.
    const unrecorded = { queue: both, consumer_group: [...both, 'queueId', 'filterPath'] };
    await makeGroup(await makeQueue(run, GROUPS));
    for (const [table, without] of Object.entries(unrecorded)) {
      const columns = await run<{ name: string }>(
        `select attname as name from pg_attribute where attrelid = ('towpath.' || $1::text)::regclass and attnum > 0 and not attisdropped`,
        [table],
      );
      const { settings } = one(
        await run<{ settings: object }>(
          `select towpath.${table}_settings(t) as settings from towpath.${table} t limit 1`,
        ),
      );
      const names = columns.map(({ name }) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase()));
      expect([...Object.keys(settings), ...without].toSorted()).toEqual(names.toSorted());
    }
  });
});

describe('the log', () => {
  it('is append-only', async () => {
    await makeQueue(run);
    const count = async (): Promise<number> =>
      one(await run<{ n: number }>('select count(*) as n from towpath.audit_event')).n;
    const before = await count();
    for (const statement of [
      `update towpath.audit_event set operation = 'x'`,
      `update towpath.audit_event set operation = 'x' where false`,
      'delete from towpath.audit_event',
      `delete from towpath.audit_event where time_created < now() - interval '90 days'`,
      'truncate towpath.audit_event',
      `insert into towpath.audit_event (id, operation) overriding system value select id, 'x' from towpath.audit_event
       on conflict (id) do update set operation = 'x'`,
    ]) {
      await expect(run(statement)).rejects.toMatchObject({
        code: 'TP409',
        message: expect.stringMatching(/append-only/),
      });
    }
    expect(await count()).toBe(before);
    // Nor in a transaction in which some were forgotten.
    const { run: by } = await session();
    await by('begin');
    await by('select towpath.forget_audit_events(90)');
    await expect(by('delete from towpath.audit_event')).rejects.toMatchObject({ code: 'TP409' });
    await by('rollback');
  });

  it('forgets what is older than the retention, the oldest first, in batches', async () => {
    const forget = async (days: number, batch: number): Promise<number> =>
      one(await run<{ n: number }>('select towpath.forget_audit_events($1, $2) as n', [days, batch])).n;
    const isDue = async (days: number): Promise<boolean> =>
      one(await run<{ due: boolean }>('select towpath.audit_events_are_due($1) as due', [days])).due;
    const young = await eventsOf(() => makeQueue(run));
    expect(await isDue(1)).toBe(false);
    await eventRow(90, 25);
    await eventRow(89, 5);
    expect([await isDue(90), await isDue(91)]).toEqual([true, false]);
    expect(await forget(91, 10)).toBe(0);
    expect([await forget(90, 10), await forget(90, 10)]).toEqual([10, 10]);
    const left = `select count(*) as n, min(extract(epoch from now() - time_created) - 90 * 86400)::float as s
      from towpath.audit_event where time_created < now() - interval '90 days'`;
    expect(one(await run<{ n: number; s: number }>(left)).n).toBe(5);
    // The youngest of them.
    expect(one(await run<{ n: number; s: number }>(left)).s).toBeLessThan(1 + 60);
    expect([await forget(90, 10), await forget(90, 10), await isDue(90)]).toEqual([5, 0, false]);
    expect(await forget(1, 100)).toBe(5);
    expect(await run('select from towpath.audit_event where id = $1', [young[0]!.id])).toHaveLength(1);
    for (const days of [0, -1, null]) {
      await expect(run('select towpath.forget_audit_events($1)', [days])).rejects.toMatchObject({ code: 'TP400' });
    }
  });

  it('can be forgotten by two at once', async () => {
    await eventRow(100, 20);
    const counts = await Promise.all(
      Array.from(
        { length: 4 },
        async () => one(await run<{ n: number }>('select towpath.forget_audit_events(90, 20) as n')).n,
      ),
    );
    expect(counts.reduce((a, b) => a + b)).toBe(20);
  });

  it('is read newest first, page by page, by every condition, and by one tenancy only', async () => {
    const queue = await makeQueue(run, GROUPS);
    const other = await makeQueue(run);
    for (let seconds = 1; seconds <= 6; seconds += 1) await queue.change({ visibilityInSeconds: seconds });
    await other.change({ visibilityInSeconds: 1 });
    const group = await makeGroup(queue);
    await run('select towpath.record_refused_requests($1)', [
      JSON.stringify([
        {
          tenancyId: queue.tenancy,
          operation: 'deleteQueue',
          code: 'IncorrectState',
          targetIds: [queue.ocid],
          userId: 'u',
        },
        { operation: 'getQueue', code: 'NotAuthenticated' },
      ]),
    ]);
    const list = (conditions: Record<string, unknown> = {}, tenancy = queue.tenancy): Promise<Event[]> => {
      const names = Object.keys(conditions);
      const named = names.map((name, index) => `, ${name} => $${index + 2}`).join('');
      return run<Event>(`select e.*, time_created::text as key from towpath.list_audit_events($1${named}) e`, [
        tenancy,
        ...names.map((name) => conditions[name]),
      ]);
    };
    const everything = await list();
    const [made] = everything.slice(-1);
    expect(made?.operation).toBe('createTenancy');
    const all = everything.slice(0, -1);
    expect(all.map(({ operation }) => operation)).toEqual([
      'deleteQueue',
      'createConsumerGroup',
      ...Array.from({ length: 6 }, () => 'updateQueue'),
      'createQueue',
    ]);
    expect(all.map(({ id }) => id)).toEqual(all.map(({ id }) => id).toSorted((a, b) => b - a));
    const paged: Event[] = [];
    for (let page = await list({ max_events: 2 }); page.length > 0;) {
      paged.push(...page);
      const { key, id } = page.at(-1)!;
      page = await list({ max_events: 2, before_time: key, before_id: id });
    }
    expect(paged).toEqual(everything);
    expect(await list({ operation: 'updateQueue' })).toEqual(all.slice(2, 8));
    expect(await list({ target_id: group })).toEqual([all[1]]);
    expect(await list({ target_id: queue.ocid })).toEqual(all);
    expect(await list({ target_id: other.ocid })).toEqual([]);
    expect(await list({ user_id: 'u' })).toEqual([all[0]]);
    expect(await list({ outcome: 'REFUSED' })).toEqual([all[0]]);
    expect(await list({ outcome: 'SUCCEEDED', operation: 'createQueue' })).toEqual([all[8]]);
    const { key } = all[3]! as { key?: unknown };
    expect(await list({ time_after: key })).toEqual(all.slice(0, 4));
    expect(await list({ time_before: key })).toEqual(everything.slice(4));
    expect((await list({}, other.tenancy)).map(({ operation }) => operation)).toEqual([
      'updateQueue',
      'createQueue',
      'createTenancy',
    ]);
    // What is nobody's is seen by operators only.
    expect((await run<Event>('select * from towpath.audit_event order by id desc limit 1'))[0]).toMatchObject({
      tenancy_id: null,
      operation: 'getQueue',
      outcome: 'REFUSED',
      code: 'NotAuthenticated',
      target_ids: [],
    });
  });

  it('walks an index, whichever way it is read or forgotten', async () => {
    await run(`insert into towpath.audit_event (tenancy_id, operation, time_created, target_ids)
      select 't' || g % 50, 'x', now() - g * interval '1 minute', array['q' || g % 5000] from generate_series(1, 50000) g`);
    await run('analyze towpath.audit_event');
    const planOf = async (statement: string): Promise<string> =>
      (await run<{ 'QUERY PLAN': string }>(`explain ${statement}`)).map((row) => row['QUERY PLAN']).join('\n');
    const order = 'order by time_created desc, id desc limit 101';
    expect(await planOf(`select * from towpath.audit_event where tenancy_id = 't1' ${order}`)).toMatch(
      /audit_event_by_tenancy/,
    );
    expect(
      await planOf(`select * from towpath.audit_event where tenancy_id = 't1' and target_ids @> array['q1'] ${order}`),
    ).toMatch(/audit_event_by_target/);
    expect(
      await planOf(
        `select id from towpath.audit_event where time_created < now() - interval '30 days' order by time_created limit 10`,
      ),
    ).toMatch(/audit_event_by_age/);
  });

  it('has a view for people', async () => {
    const queue = await makeQueue(run, { displayName: 'seen' });
    await queue.change({ visibilityInSeconds: 5 });
    await queue.purge({ purgeType: 'DLQ' });
    const rows = await run(
      'select who, operation, outcome, display_name, changes from towpath.audit_log where $1 = any (target_ids) order by id',
      [queue.ocid],
    );
    expect(rows.slice(1)).toEqual([
      {
        who: 'towpath_test',
        operation: 'updateQueue',
        outcome: 'done',
        display_name: 'seen',
        changes: { visibilityInSeconds: [30, 5] },
      },
      {
        who: 'towpath_test',
        operation: 'purgeQueue',
        outcome: 'done',
        display_name: 'seen',
        changes: { purgeType: 'DLQ' },
      },
    ]);
    expect(rows[0]?.['changes']).toMatchObject({ displayName: [null, 'seen'] });
  });

  it('survives the end of what it is about', async () => {
    const queue = await makeQueue(run);
    await queue.remove();
    await runWorkRequests(run);
    await run(`update towpath.queue set time_updated = now() - interval '2 hours' where id = $1`, [queue.id]);
    await run('select towpath.forget_old_records()');
    expect(
      await run('select operation from towpath.audit_log where $1 = any (target_ids) order by id', [queue.ocid]),
    ).toEqual([{ operation: 'createQueue' }, { operation: 'deleteQueue' }]);
    expect(test().url).toBeDefined();
  });
});
