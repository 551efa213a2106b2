import { makeQueue, useDatabase, type Queue, type Receipt } from './support.js';

const { run } = useDatabase();

const giveBack = async (queue: Queue, receipts: readonly Receipt[]): Promise<number[]> => {
  const rows = await run<{ id: number }>(
    'select id from towpath.give_back_messages($1, 0, false, $2, $3) as id order by id',
    [queue.id, receipts.map(({ id }) => id), receipts.map((receipt) => receipt.receipt_number)],
  );
  return rows.map(({ id }) => id);
};

describe('give_back_messages', () => {
  it('makes messages visible at once: the delivery counted, the receipt dead', async () => {
    const queue = await makeQueue(run);
    await queue.putMany(2);
    const [a, b] = await queue.get({ limit: 2 });
    if (a === undefined || b === undefined) throw new Error('two messages');
    expect(await giveBack(queue, [b, { ...a, receipt_number: 7 }, b])).toEqual([b.id]);
    expect(await queue.delete([b])).toEqual([false]);
    expect(await giveBack(queue, [b])).toEqual([]);
    const again = await queue.getOne();
    expect(again).toMatchObject({ id: b.id, delivery_count: 2 });
    expect(await queue.delete([again, a])).toEqual([true, true]);
  });

  it('of the last allowed delivery makes a dead letter of it', async () => {
    const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
    await queue.putMany(1);
    await giveBack(queue, [await queue.getOne()]);
    expect(await queue.get()).toEqual([]);
    expect(await queue.get({ dead: true })).toMatchObject([{ delivery_count: 2, dead_letter: true }]);
  });
});

const put = (queue: Queue, contents: readonly string[]): object => ({
  queueId: queue.id,
  bytes: contents.join('').length,
  lengths: contents.map(({ length }) => length),
  channelIds: contents.map(() => ''),
  properties: contents.map(() => null),
  delays: contents.map(() => 0),
  sizes: contents.map(({ length }) => length),
  deduplicationIds: contents.map(() => null),
});

const bodiesOf = async (queue: Queue): Promise<string[]> =>
  (await queue.get({ limit: 10 })).map(({ body }) => body.toString()).toSorted();

describe('commit_transaction', () => {
  interface Settled {
    readonly queue: Queue;
    readonly receipt: Receipt;
    readonly visibility: number | null;
    readonly isRequired?: boolean;
  }
  const commit = (settled: readonly Settled[], puts: object[] = [], bodies = ''): Promise<unknown[]> =>
    run('select * from towpath.commit_transaction($1, $2, $3, $4, $5, $6, $7, $8, $9)', [
      settled.map(({ queue }) => queue.id),
      settled.map(() => 0),
      settled.map(() => false),
      settled.map(({ receipt }) => receipt.id),
      settled.map(({ receipt }) => receipt.receipt_number),
      settled.map(({ visibility }) => visibility),
      settled.map(({ isRequired = true }) => isRequired),
      JSON.stringify(puts),
      Buffer.from(bodies),
    ]);

  it('deletes, gives back and puts in several queues', async () => {
    const [from, to] = [await makeQueue(run), await makeQueue(run)];
    await from.put(['a', 'b']);
    const [a, b] = await from.get({ limit: 2 });
    if (a === undefined || b === undefined) throw new Error('two messages');
    const rows = await commit(
      [
        { queue: from, receipt: b, visibility: 0 },
        { queue: from, receipt: a, visibility: null },
      ],
      [put(to, ['one', 'three']), put(from, ['four'])],
      'onethreefour',
    );
    expect(rows).toMatchObject([
      { queue_id: from.id, n: 1, taken_by: ['0'] },
      { queue_id: to.id, n: 1 },
      { queue_id: to.id, n: 2 },
    ]);
    expect([await bodiesOf(from), await bodiesOf(to)]).toEqual([
      ['b', 'four'],
      ['one', 'three'],
    ]);
  });

  it('does nothing where a receipt that is required is dead, and goes on where it is not', async () => {
    const [from, to] = [await makeQueue(run), await makeQueue(run)];
    await from.put(['a', 'b']);
    const [a, b] = await from.get({ limit: 2 });
    if (a === undefined || b === undefined) throw new Error('two messages');
    const dead = { ...a, receipt_number: 7 };
    for (const visibility of [null, 0]) {
      await expect(
        commit(
          [
            { queue: from, receipt: b, visibility: null },
            { queue: from, receipt: dead, visibility },
          ],
          [put(to, ['x'])],
          'x',
        ),
      ).rejects.toMatchObject({ code: 'TP404' });
    }
    expect(await to.get()).toEqual([]);
    await commit(
      [
        { queue: from, receipt: b, visibility: null },
        { queue: from, receipt: dead, visibility: null, isRequired: false },
      ],
      [put(to, ['x'])],
      'x',
    );
    expect(await to.get()).toHaveLength(1);
    expect(await from.delete([a, b])).toEqual([true, false]);
  });
});
