import { makeQueue, one, runWorkRequests, untilBlocked, useDatabase, type Queue, type Session } from './support.js';

// Puts that may be repeated: what is stored once, for how long, and what two sessions do to each other.

const { run, session } = useDatabase();

interface Put {
  readonly id: number;
  readonly expire_after: Date | null;
  readonly consumer_group_ids: string[];
  readonly is_repeat: boolean;
}

interface Options {
  readonly contents?: readonly string[];
  readonly token?: string;
  readonly digest?: string;
  readonly channels?: readonly string[];
  readonly properties?: readonly (string | null)[];
  readonly delays?: readonly number[];
}

/** Puts one message per deduplication id; the content is its position. */
async function putOnce(queue: Queue, ids: readonly (string | null)[], options: Options = {}): Promise<Put[]> {
  const contents = (options.contents ?? ids.map((_, index) => String(index))).map((content) => Buffer.from(content));
  return queue.sql<Put & Record<string, unknown>>(
    'select * from towpath.put_packed_messages_once($1, $2, $3, $4, $5, $6, $7, 256, $8, $9, $10)',
    [
      queue.id,
      Buffer.concat(contents),
      contents.map(({ length }) => length),
      options.channels ?? ids.map(() => ''),
      options.properties ?? ids.map(() => null),
      options.delays ?? ids.map(() => 0),
      contents.map(({ length }) => length),
      [...ids],
      options.token ?? null,
      options.digest ?? null,
    ],
  );
}

const remembered = async ({ id }: Queue): Promise<string[]> =>
  (await run<{ key: string }>('select key from towpath.deduplication where queue_id = $1 order by key', [id])).map(
    ({ key }) => key,
  );
/** What the queue remembers gets older, as time would make it. */
const ageMemory = async ({ id }: Queue, seconds: number): Promise<void> => {
  await run(
    'update towpath.deduplication set forget_after = forget_after - make_interval(secs => $2) where queue_id = $1',
    [id, seconds],
  );
};
const forget = async (batch: number): Promise<number> =>
  one(await run<{ count: number }>('select towpath.forget_deduplications($1) as count', [batch])).count;
const isDue = async (): Promise<boolean> =>
  one(await run<{ due: boolean }>('select towpath.deduplication_is_due() as due')).due;
const idsOf = (answers: readonly Put[]): number[] => answers.map(({ id }) => id);
const storedIds = async (queue: Queue): Promise<number[]> => (await queue.rows()).map(({ id }) => id);

describe('a deduplication id', () => {
  it('is stored once; a repeat gets the first answer, whatever its content', async () => {
    const queue = await makeQueue(run);
    const [first] = await putOnce(queue, ['a'], { contents: ['first'] });
    expect(first).toMatchObject({ consumer_group_ids: ['0'], is_repeat: false });
    const [repeat] = await putOnce(queue, ['a'], { contents: ['second'], channels: ['c'], delays: [100] });
    expect(repeat).toEqual({ ...first, consumer_group_ids: [], is_repeat: true });
    expect((await queue.rows()).map(({ body }) => body.toString())).toEqual(['first']);
    expect(await queue.stats()).toMatchObject({ visible_messages: 1, size_in_bytes: 5 });
  });

  it('is one of its queue', async () => {
    const [queue, other] = [await makeQueue(run), await makeQueue(run)];
    expect(idsOf(await putOnce(queue, ['a']))).not.toEqual(idsOf(await putOnce(other, ['a'])));
    expect(await storedIds(other)).toHaveLength(1);
  });

  it('that stands twice in a request is answered the second time as the first', async () => {
    const queue = await makeQueue(run);
    const [a, none, b, again, alone] = await putOnce(queue, ['a', null, 'b', 'a', null]);
    expect(again).toEqual({ ...a, consumer_group_ids: [], is_repeat: true });
    expect(await storedIds(queue)).toEqual([a?.id, none?.id, b?.id, alone?.id]);
    expect((await queue.rows()).map(({ body }) => body.toString())).toEqual(['0', '1', '2', '4']);
  });

  it('leaves what is new beside it whole', async () => {
    const queue = await makeQueue(run);
    const old = await putOnce(queue, ['b', 'd']);
    const answers = await putOnce(queue, ['a', 'b', null, 'd', 'e'], {
      contents: ['ä', 'unused', '', 'unused too', 'third'],
      channels: ['one', '', '', '', 'two'],
      properties: ['{"k": "1"}', '{"k": "2"}', null, null, '{"k": "5"}'],
      delays: [0, 0, 50, 0, 0],
    });
    expect(answers.map(({ is_repeat }) => is_repeat)).toEqual([false, true, false, true, false]);
    expect([answers[1]?.id, answers[3]?.id]).toEqual(idsOf(old));
    const rows = (await queue.rows()).slice(2);
    expect(rows.map(({ id }) => id)).toEqual([answers[0]?.id, answers[2]?.id, answers[4]?.id]);
    expect(
      rows.map(({ body, channel_id, properties, size_in_bytes, visible_after, created_at }) => [
        body.toString(),
        channel_id,
        properties,
        size_in_bytes,
        (visible_after.getTime() - created_at.getTime()) / 1000,
      ]),
    ).toEqual([
      ['ä', 'one', { k: '1' }, 2, 0],
      ['', '', null, 0, 50],
      ['third', 'two', { k: '5' }, 5, 0],
    ]);
  });

  it('is remembered when its message is consumed, and when it is purged', async () => {
    const queue = await makeQueue(run);
    const first = await putOnce(queue, ['a', 'b']);
    await queue.delete([await queue.getOne()]);
    await queue.purge({ purgeType: 'BOTH' });
    await runWorkRequests(run);
    expect(await queue.rows()).toEqual([]);
    expect(idsOf(await putOnce(queue, ['b', 'a']))).toEqual(idsOf(first).toReversed());
    expect(await queue.rows()).toEqual([]);
  });

  it('of a message that no consumer group took is answered without an expiry again', async () => {
    const queue = await makeQueue(run, {
      capabilities: [{ type: 'CONSUMER_GROUPS', isPrimaryConsumerGroupEnabled: false }],
    });
    const [first] = await putOnce(queue, ['a']);
    expect(first).toMatchObject({ expire_after: null, consumer_group_ids: [], is_repeat: false });
    expect(await putOnce(queue, ['a'])).toEqual([{ ...first, is_repeat: true }]);
    expect(await putOnce(queue, ['x'], { token: 't', digest: 'd' })).toMatchObject([{ expire_after: null }]);
    expect(await putOnce(queue, ['x'], { token: 't', digest: 'd' })).toMatchObject([{ expire_after: null }]);
  });

  it('stores anew when the window has passed, before anybody has cleaned up, and counts from then', async () => {
    const queue = await makeQueue(run, { deduplicationWindowInSeconds: 100 });
    const [first] = await putOnce(queue, ['a']);
    await ageMemory(queue, 99);
    expect(idsOf(await putOnce(queue, ['a']))).toEqual([first?.id]);
    await ageMemory(queue, 2);
    const [second] = await putOnce(queue, ['a'], { contents: ['anew'] });
    expect(second).toMatchObject({ is_repeat: false });
    expect(second?.id).not.toBe(first?.id);
    await ageMemory(queue, 99);
    expect(idsOf(await putOnce(queue, ['a']))).toEqual([second?.id]);
    expect(await storedIds(queue)).toEqual([first?.id, second?.id]);
  });

  it('has the window that the queue had when it was put; 0 turns it off', async () => {
    const queue = await makeQueue(run, { deduplicationWindowInSeconds: 1000 });
    const [long] = await putOnce(queue, ['long']);
    await queue.change({ deduplicationWindowInSeconds: 10 });
    await putOnce(queue, ['short']);
    await ageMemory(queue, 100);
    expect(idsOf(await putOnce(queue, ['long', 'short']))[0]).toBe(long?.id);
    expect(await storedIds(queue)).toHaveLength(3);
    await queue.change({ deduplicationWindowInSeconds: 0 });
    const before = await remembered(queue);
    expect(await putOnce(queue, ['long', 'long'], { token: 't', digest: 'd' })).toMatchObject([
      { is_repeat: false },
      { is_repeat: false },
    ]);
    expect(await putOnce(queue, ['new'], { token: 't', digest: 'other' })).toMatchObject([{ is_repeat: false }]);
    expect(await remembered(queue)).toEqual(before);
  });

  it('is not remembered where the put failed', async () => {
    const queue = await makeQueue(run, { retentionInSeconds: 100 });
    await expect(putOnce(queue, ['a', 'b'], { delays: [0, 100], token: 't' })).rejects.toMatchObject({ code: 'TP400' });
    await expect(putOnce(queue, ['a'], { channels: ['not ok'] })).rejects.toMatchObject({ code: '23514' });
    expect(await remembered(queue)).toEqual([]);
    expect(await putOnce(queue, ['a', 'b'], { token: 't' })).toMatchObject([
      { is_repeat: false },
      { is_repeat: false },
    ]);
  });

  it('answers nothing for a queue that is gone', async () => {
    const queue = await makeQueue(run);
    await putOnce(queue, ['a'], { token: 't' });
    await queue.remove();
    await expect(putOnce(queue, ['a'])).rejects.toMatchObject({ code: 'TP404' });
    await expect(putOnce(queue, ['a'], { token: 't' })).rejects.toMatchObject({ code: 'TP404' });
    await runWorkRequests(run);
    await expect(putOnce(queue, ['a'])).rejects.toMatchObject({ code: 'TP404' });
  });
});

describe('a retry token', () => {
  it('is about the whole request: another one with it is refused, until the window has passed', async () => {
    const queue = await makeQueue(run, { deduplicationWindowInSeconds: 100 });
    const first = await putOnce(queue, [null, null], { token: 't', digest: 'one' });
    const repeat = await putOnce(queue, [null, null], { token: 't', digest: 'one' });
    expect(repeat).toEqual(first.map((answer) => ({ ...answer, consumer_group_ids: [], is_repeat: true })));
    await expect(putOnce(queue, [null], { token: 't', digest: 'two' })).rejects.toMatchObject({
      code: 'TP4RT',
      message: expect.stringMatching(/remembered for (?:100|99|9\d) more seconds/),
    });
    expect(await storedIds(queue)).toEqual(idsOf(first));
    await ageMemory(queue, 101);
    expect(await putOnce(queue, [null], { token: 't', digest: 'two' })).toMatchObject([{ is_repeat: false }]);
  });

  it('counts before the ids of the messages, and remembers what they were answered', async () => {
    const queue = await makeQueue(run);
    const [a] = await putOnce(queue, ['a']);
    const first = await putOnce(queue, ['a', 'b', 'b'], { token: 't', digest: 'd' });
    expect(first[0]?.id).toBe(a?.id);
    expect(first[2]?.id).toBe(first[1]?.id);
    await ageMemory(queue, 1);
    // Forgotten, so that only the token can answer.
    await run(`delete from towpath.deduplication where queue_id = $1 and key like 'id:%'`, [queue.id]);
    expect(idsOf(await putOnce(queue, ['a', 'b', 'b'], { token: 't', digest: 'd' }))).toEqual(idsOf(first));
    expect(await storedIds(queue)).toHaveLength(2);
  });

  it('is not a deduplication id of the same spelling', async () => {
    const queue = await makeQueue(run);
    await putOnce(queue, ['same'], { token: 'same', digest: 'd' });
    expect(await remembered(queue)).toEqual(['id:same', 'token:same']);
  });
});

/** Two sessions on one queue. */
const setup = async (): Promise<{ queue: Queue; a: Queue; b: Queue; sessionA: Session; sessionB: Session }> => {
  const queue = await makeQueue(run);
  const [sessionA, sessionB] = [await session(), await session()];
  return { queue, a: queue.by(sessionA.run), b: queue.by(sessionB.run), sessionA, sessionB };
};

describe('two puts of one id at once', () => {
  it.each([
    ['an id', 'a', {}],
    ['a token', null, { token: 't', digest: 'd' }],
  ])('by %s: the second waits for the commit of the first and answers with its ids', async (_, id, options) => {
    const { queue, a, b, sessionA, sessionB } = await setup();
    await sessionA.run('begin');
    const [first] = await putOnce(a, [id], options);
    const second = putOnce(b, [id], options);
    await untilBlocked(run, sessionB);
    await sessionA.run('commit');
    expect(await second).toEqual([{ ...first, consumer_group_ids: [], is_repeat: true }]);
    expect(await storedIds(queue)).toEqual([first?.id]);
  });

  it.each([
    ['is rolled back', ({ run: by }: Session): Promise<unknown> => by('rollback')],
    [
      'is killed',
      async ({ pid }: Session): Promise<void> => {
        await run('select pg_terminate_backend($1)', [pid]);
      },
    ],
  ])('the second stores where the first %s', async (_, end) => {
    const { queue, a, b, sessionA, sessionB } = await setup();
    await sessionA.run('begin');
    const [first] = await putOnce(a, ['a'], { token: 't', digest: 'd' });
    const second = putOnce(b, ['a'], { token: 't', digest: 'd' });
    await untilBlocked(run, sessionB);
    await end(sessionA);
    expect(await second).toMatchObject([{ is_repeat: false }]);
    expect(idsOf(await second)).not.toEqual([first?.id]);
    expect(await storedIds(queue)).toEqual(idsOf(await second));
  });

  it('when the window has passed: one of them stores anew', async () => {
    const { queue, a, b, sessionA, sessionB } = await setup();
    const [old] = await putOnce(queue, ['a']);
    await ageMemory(queue, 301);
    await sessionA.run('begin');
    const [first] = await putOnce(a, ['a']);
    const second = putOnce(b, ['a']);
    await untilBlocked(run, sessionB);
    await sessionA.run('commit');
    expect(idsOf(await second)).toEqual([first?.id]);
    expect(await storedIds(queue)).toEqual([old?.id, first?.id]);
  });

  it('do not wait where the ids differ', async () => {
    const { queue, a, b, sessionA } = await setup();
    await sessionA.run('begin');
    await putOnce(a, ['a'], { token: 't' });
    await putOnce(b, ['b'], { token: 'u' });
    await putOnce(b, [null]);
    await sessionA.run('rollback');
    expect(await storedIds(queue)).toHaveLength(2);
  });

  it('never deadlock, in whatever order they name them, beside the cleanup', async () => {
    const queue = await makeQueue(run, { deduplicationWindowInSeconds: 1 });
    const began = performance.now();
    const until = began + 4000;
    const names = Array.from({ length: 12 }, (_, index) => `n${index}`);
    let puts = 0;
    let forgotten = 0;
    const client = async ({ run: by }: Session, index: number): Promise<void> => {
      const mine = queue.by(by);
      for (let round = 0; performance.now() < until; round += 1) {
        const order = index % 2 === 0 ? names : names.toReversed();
        await putOnce(mine, order, { token: `t${round % 3}`, digest: String(index % 2) }).catch((error: unknown) => {
          if ((error as { code?: string }).code !== 'TP4RT') throw error;
        });
        forgotten += one(await by<{ count: number }>('select towpath.forget_deduplications(5) as count')).count;
        puts += 1;
      }
    };
    await Promise.all((await Promise.all([session(), session(), session(), session()])).map(client));
    expect(puts).toBeGreaterThan(8);
    expect(forgotten).toBeGreaterThan(0);
    // In 4 seconds a window of one begins at most five times; every second of a pair of puts was a repeat.
    const windows = Math.floor((performance.now() - began) / 1000) + 1;
    expect((await queue.rows()).length).toBeLessThanOrEqual(windows * names.length);
  });
});

describe('forgetting', () => {
  beforeEach(async () => {
    await run('delete from towpath.deduplication');
  });

  it('removes what is past its window, oldest first, in batches, of queues that are gone too', async () => {
    const [queue, gone, young] = [await makeQueue(run), await makeQueue(run), await makeQueue(run)];
    expect(await isDue()).toBe(false);
    await putOnce(queue, ['a', 'b', 'c'], { token: 't', digest: 'd' });
    await putOnce(gone, ['x']);
    await putOnce(young, ['y']);
    await gone.remove();
    await runWorkRequests(run);
    expect([await isDue(), await forget(10)]).toEqual([false, 0]);
    await ageMemory(gone, 400);
    await ageMemory(queue, 301);
    expect(await isDue()).toBe(true);
    expect(await forget(1)).toBe(1);
    expect(await remembered(gone)).toEqual([]);
    expect([await forget(3), await forget(3), await forget(3)]).toEqual([3, 1, 0]);
    expect(await isDue()).toBe(false);
    expect(await remembered(queue)).toEqual([]);
    expect(await remembered(young)).toEqual(['id:y']);
  });

  it('neither waits for a put that renews a row nor takes what it renewed', async () => {
    const queue = await makeQueue(run);
    await putOnce(queue, ['a', 'b']);
    await ageMemory(queue, 301);
    const putter = await session();
    await putter.run('begin');
    await putOnce(queue.by(putter.run), ['a']);
    expect(await forget(10)).toBe(1);
    await putter.run('commit');
    expect(await forget(10)).toBe(0);
    expect(await remembered(queue)).toEqual(['id:a']);
  });

  it('lets a put renew a row that it is about to remove', async () => {
    const queue = await makeQueue(run);
    await putOnce(queue, ['a']);
    await ageMemory(queue, 301);
    const [sweeper, putter] = [await session(), await session()];
    await sweeper.run('begin');
    await sweeper.run('select towpath.forget_deduplications(10)');
    const put = putOnce(queue.by(putter.run), ['a']);
    await untilBlocked(run, putter);
    await sweeper.run('commit');
    expect(await put).toMatchObject([{ is_repeat: false }]);
    expect(idsOf(await putOnce(queue, ['a']))).toEqual(idsOf(await put));
  });
});
