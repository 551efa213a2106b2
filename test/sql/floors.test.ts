import { makeQueue, one, useDatabase, type Queue, type Run } from './support.js';

const { run, session } = useDatabase();
const LAG_MS = 1000;

interface Found {
  /** In milliseconds since 1970. */
  readonly floor: number;
  readonly lookedAt: number;
}

async function floorOf(
  queue: Queue,
  {
    channel = null,
    dead = false,
    group = 0,
    from = '-infinity',
    lagMs = LAG_MS,
    by = run,
  }: {
    readonly channel?: string | null;
    readonly dead?: boolean;
    readonly group?: number;
    readonly from?: string;
    readonly lagMs?: number;
    readonly by?: Run;
  } = {},
): Promise<Found> {
  const [row] = await by<{ floor: number; lookedAt: number }>(
    `select extract(epoch from floor)::float8 * 1000 as floor, extract(epoch from looked_at)::float8 * 1000 as "lookedAt"
     from towpath.find_floor($1, $2, $3, $4, $5, $6)`,
    [queue.id, group, dead, channel, from, lagMs],
  );
  return row!;
}

/** Makes a message older in one consumer group; returns since when it is visible there, in milliseconds since 1970. */
async function age(queue: Queue, id: number, seconds: number, group = 0): Promise<number> {
  const [row] = await run<{ ms: number }>(
    `update towpath.message set visible_after = visible_after - make_interval(secs => $4)
     where queue_id = $1 and consumer_group_id = $2 and id = $3
     returning extract(epoch from visible_after)::float8 * 1000 as ms`,
    [queue.id, group, id, seconds],
  );
  return row!.ms;
}

/** A queue with a further consumer group, which takes all that is put. */
async function makeQueueWithGroup(): Promise<{ readonly queue: Queue; readonly group: number }> {
  const queue = await makeQueue(run, { capabilities: [{ type: 'CONSUMER_GROUPS' }] });
  const { ocid } = one(
    await run<{ ocid: string }>(
      `select identifier as ocid from towpath.create_consumer_group($1, jsonb_build_object('displayName', 'g', 'queueId', $2::text))`,
      [queue.tenancy, queue.ocid],
    ),
  );
  const { id } = one(await run<{ id: number }>('select id from towpath.consumer_group where ocid = $1', [ocid]));
  return { queue, group: id };
}

describe('find_floor', () => {
  it('is the time before the look less the lag where nothing is older', async () => {
    const queue = await makeQueue(run);
    const before = Date.now();
    const { floor, lookedAt } = await floorOf(queue);
    expect(lookedAt - floor).toBeCloseTo(LAG_MS, 1);
    expect(Math.abs(lookedAt - before)).toBeLessThan(60_000);
    await queue.putMany(3);
    expect((await floorOf(queue)).floor).toBeGreaterThan(floor);
  });

  it('is the oldest message that is visible, of the channel or of any', async () => {
    const queue = await makeQueue(run);
    const [here] = await queue.put(['here']);
    const [blue] = await queue.put(['blue'], 'blue');
    const [red] = await queue.put(['red'], 'red');
    const at = {
      here: await age(queue, here!, 20),
      blue: await age(queue, blue!, 40),
      red: await age(queue, red!, 30),
    };
    expect(await floorOf(queue, { channel: '' })).toMatchObject({ floor: at.here });
    expect(await floorOf(queue, { channel: 'red' })).toMatchObject({ floor: at.red });
    expect(await floorOf(queue)).toMatchObject({ floor: at.blue });
    // From one of them on, those before are not looked at.
    expect(await floorOf(queue, { from: new Date(at.red + 1).toISOString() })).toMatchObject({ floor: at.here });
    const empty = await floorOf(queue, { channel: 'none' });
    expect(empty.lookedAt - empty.floor).toBeCloseTo(LAG_MS, 1);
    const dead = await floorOf(queue, { dead: true });
    expect(dead.lookedAt - dead.floor).toBeCloseTo(LAG_MS, 1);
  });

  it('sees what a claim under way has locked, and what it has given back', async () => {
    const queue = await makeQueue(run);
    const [id] = await queue.put(['x']);
    const at = await age(queue, id!, 50);
    const claimer = await session();
    await claimer.run('begin');
    await queue.by(claimer.run).getOne();
    expect(await floorOf(queue)).toMatchObject({ floor: at });
    await claimer.run('rollback');
    expect(await floorOf(queue)).toMatchObject({ floor: at });
    const { visible_after: until } = await queue.getOne();
    expect((await floorOf(queue)).floor).toBeLessThan(until.getTime());
    expect((await floorOf(queue)).floor).toBeGreaterThan(at);
  });

  it('is not held down by what has expired, and is by what a purge hides', async () => {
    const queue = await makeQueue(run);
    const [expired, purged] = await queue.put(['expired', 'purged']);
    await age(queue, expired!, 50);
    await run(`update towpath.message set expire_after = now() - interval '1 second' where queue_id = $1 and id = $2`, [
      queue.id,
      expired,
    ]);
    const at = await age(queue, purged!, 40);
    await queue.purge({ purgeType: 'NORMAL' });
    expect(await queue.get()).toEqual([]);
    expect(await floorOf(queue)).toMatchObject({ floor: at });
  });
});

describe('find_floor with consumer groups', () => {
  it('is each one’s own, of a channel or of any', async () => {
    const { queue, group } = await makeQueueWithGroup();
    const [here] = await queue.put(['here']);
    const [red] = await queue.put(['red'], 'red');
    const ofQueue = { here: await age(queue, here!, 20), red: await age(queue, red!, 30) };
    const ofGroup = { here: await age(queue, here!, 60, group), red: await age(queue, red!, 50, group) };
    expect(await floorOf(queue)).toMatchObject({ floor: ofQueue.red });
    expect(await floorOf(queue, { channel: 'red' })).toMatchObject({ floor: ofQueue.red });
    expect(await floorOf(queue, { group })).toMatchObject({ floor: ofGroup.here });
    expect(await floorOf(queue, { group, channel: 'red' })).toMatchObject({ floor: ofGroup.red });
    expect(await floorOf(queue, { group, from: new Date(ofGroup.here + 1).toISOString() })).toMatchObject({
      floor: ofGroup.red,
    });
    const none = await floorOf(queue, { group: group + 1 });
    expect(none.lookedAt - none.floor).toBeCloseTo(LAG_MS, 1);
    // What one of them has claimed and deleted holds the other down still.
    await queue.delete(await queue.get({ channel: '' }));
    await queue.delete(await queue.get({ channel: 'red' }));
    const empty = await floorOf(queue);
    expect(empty.lookedAt - empty.floor).toBeCloseTo(LAG_MS, 1);
    expect(await floorOf(queue, { group })).toMatchObject({ floor: ofGroup.here });
  });

  it('sees what a claim of the group has locked, and its dead letters as such', async () => {
    const { queue, group } = await makeQueueWithGroup();
    const [id] = await queue.put(['x']);
    const at = await age(queue, id!, 50, group);
    const claimer = await session();
    await claimer.run('begin');
    expect(await claimer.run('select from towpath.get_messages($1, $2)', [queue.id, group])).toHaveLength(1);
    expect(await floorOf(queue, { group })).toMatchObject({ floor: at });
    await claimer.run('rollback');
    expect(await floorOf(queue, { group })).toMatchObject({ floor: at });
    await run(
      `update towpath.message set dead_letter = true, dead_lettered_at = visible_after
       where queue_id = $1 and consumer_group_id = $2`,
      [queue.id, group],
    );
    expect(await floorOf(queue, { group, dead: true })).toMatchObject({ floor: at });
    for (const other of [{ group }, { dead: true }]) {
      const { floor, lookedAt } = await floorOf(queue, other);
      expect(floor).toBeGreaterThan(at);
      expect(lookedAt - floor).toBeLessThanOrEqual(LAG_MS + 0.1);
    }
  });
});

describe('a claim from a floor', () => {
  it('finds what is not older, in any of its forms, and so does the look at what comes next', async () => {
    const queue = await makeQueue(run);
    const [old] = await queue.put(['old'], 'a');
    const [young] = await queue.put(['young'], 'b');
    await age(queue, old!, 50);
    const at = new Date(await age(queue, young!, 20));
    const next = async (from: string | Date): Promise<number> => {
      const [row] = await run<{ ms: number }>(
        'select extract(epoch from towpath.next_visible_after($1, 0, false, null, $2))::float8 * 1000 as ms',
        [queue.id, from],
      );
      return row!.ms;
    };
    expect(await next('-infinity')).toBeLessThan(at.getTime() - 1000);
    expect(Math.floor(await next(at))).toBe(at.getTime());
    const claim = (text: string): Promise<{ id: number }[]> => run(`select id from towpath.${text}`, [queue.id, at]);
    const give = `update towpath.message set visible_after = $2 where queue_id = $1 and id = ${young!}`;
    for (const text of [
      'get_messages($1, max_messages => 10, visible_from => $2)',
      `get_messages($1, channel_id => 'b', max_messages => 10, visible_from => $2)`,
      `get_messages($1, after_channel_id => 'b', max_messages => 10, visible_from => $2)`,
      `get_messages_for_many($1, 0, false, null, '', '{1,2}', '{99,99}', visible_from => $2)`,
      `get_messages_for_many($1, 0, false, 'b', '', '{1,2}', '{99,99}', visible_from => $2)`,
    ]) {
      expect(await claim(text)).toEqual([{ id: young }]);
      await run(give, [queue.id, at]);
    }
    expect(await claim(`get_messages($1, channel_id => 'a', max_messages => 10, visible_from => $2)`)).toEqual([]);
  });
});
