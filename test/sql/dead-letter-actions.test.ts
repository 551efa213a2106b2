import { killAll, makeDead, startRedrive, step, wrongStats } from './redrive-support.js';
import { makeQueue, one, runWorkRequests, untilBlocked, useDatabase, type Queue, type Run } from './support.js';

// What operators do with single dead letters: delete them, or put a changed copy in their place.

const { run, session } = useDatabase();

const newQueue = (details: Record<string, unknown> = {}, tenancy?: string): Promise<Queue> =>
  makeQueue(run, { deadLetterQueueDeliveryCount: 1, ...details }, tenancy);
const fails = (code: string, message: RegExp): unknown =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

async function deleteDead(queue: Queue, ids: readonly number[], by: Run = run, group = 0): Promise<string[]> {
  const rows = await by<{ result: string }>('select result from towpath.delete_dead_letters($1, $2, $3) result', [
    queue.id,
    group,
    ids,
  ]);
  return rows.map(({ result }) => result);
}

interface Change {
  readonly group?: number;
  readonly content?: string;
  readonly channel?: string;
  readonly properties?: Record<string, string>;
  readonly target?: number;
  readonly maxBytes?: number;
  readonly maxChannels?: number;
}

async function resend(queue: Queue, id: number, change: Change = {}, by: Run = run): Promise<number> {
  return one(
    await by<{ id: number }>('select id from towpath.resend_dead_letter($1, $2, $3, $4, $5, $6, $7, $8, $9)', [
      queue.id,
      id,
      change.group ?? 0,
      change.content === undefined ? null : Buffer.from(change.content),
      change.channel ?? null,
      change.properties ?? null,
      change.target ?? null,
      change.maxBytes ?? null,
      change.maxChannels ?? 256,
    ]),
  ).id;
}

describe('delete', () => {
  it('says what became of each, in order', async () => {
    const queue = await newQueue();
    const [first, second, third] = await makeDead(queue, run, 3);
    const [alive] = await queue.put(['alive']);
    await queue.age(1);
    const held = await queue.getOne({ dead: true });
    expect(held.id).toBe(first);
    expect(await deleteDead(queue, [third!, alive!, first!, third!, 9_000_000_000_000_000])).toEqual([
      'deleted',
      'not found',
      'in flight',
      'deleted',
      'not found',
    ]);
    expect((await queue.rows()).map(({ id }) => id)).toEqual([first, second, alive]);
    expect(await deleteDead(queue, [third!])).toEqual(['not found']);
    expect(await deleteDead(queue, [])).toEqual([]);
    expect(await wrongStats(run, queue.id)).toEqual([]);
  });

  it('finds none in another group, none that has expired', async () => {
    const queue = await newQueue({ retentionInSeconds: 100 });
    const [id] = await makeDead(queue, run, 1);
    expect(await deleteDead(queue, [id!], run, 5)).toEqual(['not found']);
    await queue.age(101);
    expect(await deleteDead(queue, [id!])).toEqual(['not found']);
  });

  it('beside a redrive: whoever comes first has it', async () => {
    const queue = await newQueue();
    const ids = await makeDead(queue, run, 3);
    const { ocid } = await startRedrive(queue, run);
    const [runner, operator] = [await session(), await session()];
    await runner.run('begin');
    await step(runner.run, ocid);
    const deleting = deleteDead(queue, ids, operator.run);
    await untilBlocked(run, operator);
    await runner.run('commit');
    expect(await deleting).toEqual(['not found', 'not found', 'not found']);
    expect(await queue.stats()).toMatchObject({ visible_messages: 3, dead_visible_messages: 0 });
    expect(await wrongStats(run, queue.id)).toEqual([]);
  });

  it('during a purge of the dead letters is counted once', async () => {
    const queue = await newQueue();
    const ids = await makeDead(queue, run, 5);
    await queue.purge({ purgeType: 'DLQ' });
    expect(await deleteDead(queue, ids.slice(0, 2))).toEqual(['deleted', 'deleted']);
    await runWorkRequests(run);
    expect(await queue.rows()).toEqual([]);
    expect(await wrongStats(run, queue.id)).toEqual([]);
  });
});

describe('resend', () => {
  it('keeps what is not changed, and names the one that it replaces', async () => {
    const queue = await newQueue();
    await queue.sql(`select from towpath.put_messages($1, array['hello'], 'ch', '{"kind": "a"}')`, [queue.id]);
    await killAll(queue, run);
    const [old] = await queue.rows();
    const id = await resend(queue, old!.id);
    const rows = await queue.rows();
    expect(rows).toMatchObject([
      {
        id,
        channel_id: 'ch',
        properties: { kind: 'a', 'towpath.resentFrom': `${queue.ocid}/${old!.id}` },
        dead_letter: false,
        delivery_count: 0,
        receipt_number: 0,
        delivered_at: null,
      },
    ]);
    expect(rows[0]!.body.toString()).toBe('hello');
    expect(rows[0]!.created_at.getTime()).toBeGreaterThan(old!.created_at.getTime());
    const bytes = Object.entries(rows[0]!.properties!).flat().join('').length + 'hello'.length;
    expect(rows[0]!.size_in_bytes).toBe(bytes);
    expect(await wrongStats(run, queue.id)).toEqual([]);
    // And once more: it names its own predecessor.
    await killAll(queue, run);
    await resend(queue, id, { content: 'é', channel: '', properties: { a: 'b' } });
    const [again] = await queue.rows();
    expect(again).toMatchObject({
      channel_id: '',
      properties: { a: 'b', 'towpath.resentFrom': `${queue.ocid}/${id}` },
    });
    expect(again!.body.toString()).toBe('é');
  });

  it('all or nothing', async () => {
    const queue = await newQueue();
    const target = await newQueue({}, queue.tenancy);
    const [id, other] = await makeDead(queue, run, 2, 'a');
    const before = await queue.rows();
    await expect(resend(queue, 9_000_000_000_000_000)).rejects.toEqual(fails('TP404', /messageId/));
    await expect(resend(queue, id!, { maxBytes: 20 })).rejects.toEqual(fails('TP4LE', /the queue takes 20/));
    await target.put(['x'], 'one');
    await expect(resend(queue, id!, { target: target.id, maxChannels: 1 })).rejects.toEqual(fails('TP4LE', /channel/));
    await target.remove();
    await expect(resend(queue, id!, { target: target.id })).rejects.toEqual(fails('TP404', /does not exist/));
    await queue.get({ dead: true, limit: 1 });
    await expect(resend(queue, id!)).rejects.toEqual(fails('TP409', /holds the message until 20/));
    expect((await queue.rows()).map((row) => row.id)).toEqual(before.map((row) => row.id));
    expect(await resend(queue, other!)).toBeGreaterThan(other!);
    await runWorkRequests(run);
    expect(await wrongStats(run, queue.id)).toEqual([]);
  });

  it('brings no purged one back, but one that died after the purge began', async () => {
    const queue = await newQueue();
    const [id] = await makeDead(queue, run, 1);
    await queue.purge({ purgeType: 'DLQ' });
    const [later] = await makeDead(queue, run, 1);
    await expect(resend(queue, id!)).rejects.toEqual(fails('TP404', /messageId/));
    const copy = await resend(queue, later!);
    await runWorkRequests(run);
    expect((await queue.rows()).map((row) => row.id)).toEqual([copy]);
    expect(await wrongStats(run, queue.id)).toEqual([]);
  });

  it('twice at once is done once', async () => {
    const queue = await newQueue();
    const [id] = await makeDead(queue, run, 1);
    const [first, second] = [await session(), await session()];
    await first.run('begin');
    await resend(queue, id!, {}, first.run);
    const again = resend(queue, id!, {}, second.run).catch((error: unknown) => error);
    await untilBlocked(run, second);
    await first.run('commit');
    expect(await again).toEqual(fails('TP404', /messageId/));
    expect(await queue.rows()).toHaveLength(1);
  });

  it('is for the group whose dead letter it was; in another queue for the groups there, one at least', async () => {
    const queue = await newQueue({ capabilities: [{ type: 'CONSUMER_GROUPS' }] });
    const target = await newQueue(
      { capabilities: [{ type: 'CONSUMER_GROUPS', isPrimaryConsumerGroupEnabled: false }] },
      queue.tenancy,
    );
    const groupOf = async (owner: Queue, filterPath: string | null): Promise<number> => {
      await run('select from towpath.create_consumer_group($1, $2, $3::jsonpath)', [
        owner.tenancy,
        { queueId: owner.ocid, displayName: 'g' },
        filterPath,
      ]);
      return one(
        await run<{ id: number }>('select id from towpath.consumer_group where queue_id = $1 and id <> 0', [owner.id]),
      ).id;
    };
    const group = await groupOf(queue, null);
    const there = await groupOf(target, '$.kind == "a"');
    const [id] = await makeDead(queue, run, 1);
    await expect(resend(queue, id!, { group })).rejects.toEqual(fails('TP404', /messageId/));
    await expect(resend(queue, id!, { group: 999 })).rejects.toEqual(fails('TP404', /consumer group/));
    await expect(resend(queue, id!, { target: target.id })).rejects.toEqual(fails('TP409', /no consumer group/));
    const copy = await resend(queue, id!);
    expect(await run('select consumer_group_id from towpath.message where id = $1', [copy])).toEqual([
      { consumer_group_id: 0 },
    ]);
    await killAll(queue, run);
    const moved = await resend(queue, copy, { target: target.id, properties: { kind: 'a' } });
    expect(await run('select queue_id, consumer_group_id from towpath.message where id = $1', [moved])).toEqual([
      { queue_id: target.id, consumer_group_id: there },
    ]);
    expect([await wrongStats(run, queue.id), await wrongStats(run, target.id)]).toEqual([[], []]);
  });
});
