import fc from 'fast-check';
import { shareOut } from '../../src/messages/merging/share-out.js';
import { makeQueue, useDatabase, type MessageRow, type Queue } from './support.js';

const { run } = useDatabase();

interface Share {
  readonly limit: number;
  readonly maxBytes?: number;
}

/** What each request is given, and what is left over. */
async function getForMany(
  queue: Queue,
  shares: readonly Share[],
  { channel = null, after = '' }: { channel?: string | null; after?: string } = {},
): Promise<{ readonly answers: MessageRow[][]; readonly left: MessageRow[] }> {
  const all = shares.map(({ limit, maxBytes = 2_097_152 }) => ({ limit, maxBytes }));
  const rows = await run<MessageRow>(
    'select * from towpath.get_messages_for_many($1, 0, false, $2, $3, $4, $5, 30, $6)',
    [queue.id, channel, after, all.map(({ limit }) => limit), all.map(({ maxBytes }) => maxBytes), 'somebody'],
  );
  const claimed = rows.map((row) => ({ ...row, channelId: row.channel_id, sizeInBytes: row.size_in_bytes }));
  return shareOut(claimed, all);
}

const idsOf = (messages: readonly MessageRow[]): number[] => messages.map(({ id }) => id);
const share = fc.record({ limit: fc.integer({ min: 1, max: 5 }) });
const shares = fc.array(share, { minLength: 1, maxLength: 12 });

describe('get_messages_for_many', () => {
  it('gives of a named channel what gets one after another would be given', async () => {
    await fc.assert(
      fc.asyncProperty(shares, fc.nat(30), async (all, count) => {
        const [together, one] = [await makeQueue(run), await makeQueue(run)];
        for (const queue of [together, one]) {
          if (count > 0) await queue.putMany(count, 'a');
          await queue.putMany(3, 'b');
        }
        const { answers, left } = await getForMany(together, all, { channel: 'a' });
        const expected: number[] = [];
        for (const { limit } of all) expected.push((await one.get({ channel: 'a', limit })).length);
        expect(answers.map(({ length }) => length)).toEqual(expected);
        expect(left).toEqual([]);
        // Oldest first over all of them, each once.
        const ids = (await together.rows()).filter((row) => row.channel_id === 'a').map(({ id }) => id);
        expect(answers.flatMap(idsOf)).toEqual(ids.slice(0, answers.flat().length));
      }),
      { numRuns: 25 },
    );
  });

  it('gives everybody something while there is something, of one channel each, and nothing twice', async () => {
    const counts = fc.array(fc.nat(12), { minLength: 1, maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(shares, counts, fc.constantFrom('', 'b', 'zz'), async (all, channels, after) => {
        const queue = await makeQueue(run);
        for (const [index, count] of channels.entries()) {
          if (count > 0) await queue.putMany(count, ['', 'a', 'b', 'c', 'd'][index]);
        }
        const { answers, left } = await getForMany(queue, all, { after });
        expect(left).toEqual([]);
        expect(new Set(answers.flatMap(idsOf)).size).toBe(answers.flat().length);
        for (const [index, messages] of answers.entries()) {
          expect(messages.length).toBeLessThanOrEqual(all[index]!.limit);
          expect(new Set(messages.map((message) => message.channel_id)).size).toBeLessThanOrEqual(1);
        }
        const rest = (await queue.rows()).filter((row) => row.delivery_count === 0);
        // Who got nothing came after all who got something, and left nothing behind.
        const empty = answers.findIndex(({ length }) => length === 0);
        expect(empty < 0 ? [] : [answers.slice(empty).flat(), rest]).toEqual(empty < 0 ? [] : [[], []]);
        for (const row of await queue.rows()) expect(row.delivery_count).toBeLessThanOrEqual(1);
      }),
      { numRuns: 25 },
    );
  });

  it('takes channels in turn, from the one after the last, however much one of them has', async () => {
    const queue = await makeQueue(run);
    await queue.putMany(100, 'a');
    for (const channel of ['', 'b', 'c']) await queue.putMany(20, channel);
    for (const count of [1, 2, 3, 5, 9, 14, 20]) {
      const one = Array.from({ length: count }, () => ({ limit: 1 }));
      const { answers } = await getForMany(queue, one, { after: 'a' });
      const channels = answers.map(([message]) => message?.channel_id);
      expect(channels.slice(0, 4)).toEqual(['b', 'c', '', 'a'].slice(0, count));
      const turns = ['b', 'c', '', 'a'].map((each) => channels.filter((channel) => channel === each).length);
      expect(Math.max(...turns) - Math.min(...turns)).toBeLessThanOrEqual(2);
      await queue.timeOut();
    }
  });

  it('is one claim for a queue without channels, and three for one with messages in one of its channels only', async () => {
    const queue = await makeQueue(run);
    for (const [channel, claims] of [
      ['', 1],
      ['a', 3],
    ] as const) {
      await queue.putMany(200, channel);
      // Each claim reads the clock once, and messages of one claim have one time of delivery.
      const { answers } = await getForMany(
        queue,
        Array.from({ length: 100 }, () => ({ limit: 2 })),
      );
      expect(answers.map(({ length }) => length)).toEqual(Array(100).fill(2));
      const times = new Set(answers.flat().map(({ delivered_at }) => delivered_at?.getTime()));
      expect(times.size).toBeLessThanOrEqual(claims);
    }
  });

  it('keeps each answer below its bytes, but for one message, and says what fits into none', async () => {
    const queue = await makeQueue(run);
    await queue.put(
      Array.from({ length: 9 }, () => 'x'.repeat(40)),
      'a',
    );
    const { answers, left } = await getForMany(
      queue,
      [
        { limit: 5, maxBytes: 110 },
        { limit: 5, maxBytes: 10 },
        { limit: 1, maxBytes: 100 },
        { limit: 5, maxBytes: 119 },
      ],
      { channel: 'a' },
    );
    // 339 bytes hold eight; two, one, one and two of them find their place.
    expect([...answers.map(({ length }) => length), left.length]).toEqual([2, 1, 1, 2, 2]);
    expect([...answers.flat(), ...left].map(({ id }) => id)).toEqual(idsOf(await queue.rows()).slice(0, 8));
    // And they can be given back.
    expect(await queue.release(left)).toEqual(idsOf(left));
  });

  it('lets die what is past its limit, on the way', async () => {
    const queue = await makeQueue(run, { deadLetterQueueDeliveryCount: 1 });
    const dying = await queue.putMany(4);
    await queue.get({ limit: 4 });
    await queue.timeOut();
    const fresh = await queue.putMany(3);
    const { answers } = await getForMany(queue, [{ limit: 2 }, { limit: 2 }]);
    expect(answers.map(idsOf)).toEqual([fresh.slice(0, 2), fresh.slice(2)]);
    const rows = await queue.rows();
    expect(rows.filter((row) => row.dead_letter).map(({ id }) => id)).toEqual(dying);
    expect(await queue.stats()).toMatchObject({ in_flight_messages: 3, dead_visible_messages: 4 });
  });

  it('has the errors of get_messages', async () => {
    const queue = await makeQueue(run);
    await queue.remove();
    await expect(getForMany(queue, [{ limit: 1 }])).rejects.toMatchObject({ code: 'TP404' });
  });
});
