import { MessageFunctions } from '../../src/database/message-functions.js';
import { PutFunctions, type MessageToPut } from '../../src/database/put-functions.js';
import { TransactionFunctions } from '../../src/database/transaction-functions.js';
import type { Durability } from '../../src/database/queue-functions.js';
import { makeQueue, one, useDatabase, type Queue, type Run } from './support.js';

const { run, test, session } = useDatabase();
const DURABILITIES = ['FULL', 'RELAXED'] as const;

const message = (content: string, deduplicationId: string | null = null): MessageToPut => ({
  content: Buffer.from(content),
  channelId: '',
  properties: null,
  delayInSeconds: 0,
  sizeInBytes: content.length,
  deduplicationId,
});
const rangeOf = ({ id }: Queue): { queueId: number; consumerGroupId: number; deadLetter: boolean } => ({
  queueId: id,
  consumerGroupId: 0,
  deadLetter: false,
});
const held = (rows: readonly { id: number; receipt_number: number }[]): { id: number; receiptNumber: number }[] =>
  rows.map(({ id, receipt_number: receiptNumber }) => ({ id, receiptNumber }));
const settingIn = async (by: Run): Promise<string> =>
  one(await by<{ value: string }>(`select current_setting('synchronous_commit') as value`)).value;

const functions = (): MessageFunctions => new MessageFunctions(test().database);
const putFunctions = (): PutFunctions => new PutFunctions(test().database);
/** What the setting was in each transaction that changed messages, as a trigger saw it. */
const seen = async (act: () => Promise<unknown>): Promise<string[]> => {
  await run('truncate seen');
  await act();
  const rows = await run<{ setting: string }>('select distinct setting from seen');
  return rows.map(({ setting }) => setting);
};

describe('the setting durability', () => {
  it('is FULL unless it is asked for, and can be changed', async () => {
    const of = async (queue: Queue): Promise<string> =>
      one(await run<{ durability: string }>('select durability from towpath.queue where id = $1', [queue.id]))
        .durability;
    const queue = await makeQueue(run);
    expect(await of(queue)).toBe('FULL');
    await queue.change({ durability: 'RELAXED' });
    expect(await of(queue)).toBe('RELAXED');
    await queue.change({ visibilityInSeconds: 7 });
    expect(await of(queue)).toBe('RELAXED');
    await queue.change({ durability: 'FULL' });
    expect(await of(queue)).toBe('FULL');
    expect(await of(await makeQueue(run, { durability: 'RELAXED' }))).toBe('RELAXED');
    for (const durability of ['relaxed', 'NONE', '']) {
      await expect(makeQueue(run, { durability })).rejects.toThrow(/durability_is_full_or_relaxed/);
      await expect(queue.change({ durability })).rejects.toThrow(/durability_is_full_or_relaxed/);
    }
  });
});

describe('as_relaxed', () => {
  const AS = 'towpath.as_relaxed(array[$1::bigint], $1::bigint)';
  const ONE = "'x', array[1], array[''], array[null], array[0], array[1]";
  const CALLS: readonly (readonly [string, string])[] = [
    ['put_packed_messages', ONE],
    ['put_packed_messages_once', ONE],
    ['put_sealed_messages', ONE],
    ['put_sealed_messages_once', ONE],
    ['delete_messages', '0, false, array[1], array[1]'],
    ['give_back_messages', '0, false, array[1], array[1]'],
  ];

  it.each(CALLS)('relaxes a transaction with %s, of a RELAXED queue only, and no other', async (name, rest) => {
    for (const durability of DURABILITIES) {
      const queue = await makeQueue(run, { durability });
      const { run: by } = await session();
      expect(await settingIn(by)).toBe('on');
      await by('begin');
      await by(`select * from towpath.${name}(${AS}, ${rest})`, [queue.id]);
      expect([durability, await settingIn(by)]).toEqual([durability, durability === 'FULL' ? 'on' : 'off']);
      await by('commit');
      expect(await settingIn(by)).toBe('on');
      // The one statement of a transaction leaves nothing behind either.
      await by(`select * from towpath.${name}(${AS}, ${rest})`, [queue.id]);
      expect(await settingIn(by)).toBe('on');
    }
  });

  it('needs each of the queues to be RELAXED', async () => {
    const full = await makeQueue(run);
    const [a, b] = [await makeQueue(run, { durability: 'RELAXED' }), await makeQueue(run, { durability: 'RELAXED' })];
    const { run: by } = await session();
    const cases: readonly (readonly [readonly number[], string])[] = [
      [[a.id, b.id], 'off'],
      [[a.id, full.id], 'on'],
      [[full.id, a.id], 'on'],
      [[a.id, 0], 'on'],
    ];
    for (const [ids, setting] of cases) {
      await by('begin');
      const [row] = await by('select towpath.as_relaxed($1::bigint[], $2::text) as value', [ids, 'same']);
      expect([ids, row, await settingIn(by)]).toEqual([ids, { value: 'same' }, setting]);
      await by('rollback');
    }
  });

  it('is asked for by nobody else: the transactions of users, redrives, dead letters, deliveries', async () => {
    const queue = await makeQueue(run, { durability: 'RELAXED', deadLetterQueueDeliveryCount: 1 });
    const { run: by } = await session();
    const its = queue.by(by);
    for (const chosen of ['on', 'local']) {
      await by('begin');
      await by(`set local synchronous_commit = ${chosen}`);
      await its.put(['a', 'b', 'c']);
      expect(await settingIn(by)).toBe(chosen);
      await by('commit');
    }
    const full = async (what: string, act: () => Promise<unknown>): Promise<void> => {
      await by('begin');
      await act();
      expect([what, await settingIn(by)]).toEqual([what, 'on']);
      await by('commit');
    };
    await full('get', () => its.get({ limit: 4, visibility: 0 }));
    await full('a get that makes dead letters', () => its.get({ limit: 4 }));
    const dead = await its.get({ dead: true, limit: 4 });
    expect(dead).toHaveLength(4);
    await full('release', () => its.release(dead, true));
    await full('resend', () => by('select towpath.resend_dead_letter($1, $2)', [queue.id, dead[0]!.id]));
    await full('delete dead letters', () =>
      by('select towpath.delete_dead_letters($1, 0, $2)', [queue.id, [dead[1]!.id]]),
    );
    await full('redrive', () => by('select towpath.redrive_messages($1, $2)', [queue.tenancy, queue.ocid]));
    await full('its step', () => by('select towpath.run_work_request_step(null, 1000)'));
    await full('purge', () => its.purge({ purgeType: 'BOTH' }));
    await full('its step', () => by('select towpath.run_work_request_step(null, 1000)'));
  });
});

describe('the statements of pods', () => {
  beforeAll(async () => {
    await run('create table public.seen (setting text)');
    await run(`create function public.see() returns trigger language plpgsql as $$
      begin insert into public.seen values (current_setting('synchronous_commit')); return null; end $$`);
    await run(
      'create trigger see after insert or update or delete on towpath.message for each statement execute function public.see()',
    );
  });

  /** The queue's, and what the pod believes; where these differ the queue was changed a moment ago. */
  const CASES: readonly (readonly [Durability, Durability, string])[] = [
    ['FULL', 'FULL', 'on'],
    ['FULL', 'RELAXED', 'on'],
    ['RELAXED', 'FULL', 'on'],
    ['RELAXED', 'RELAXED', 'off'],
  ];

  it.each(CASES)('on a queue that is %s, and known as %s, have it %s', async (durability, known, setting) => {
    const queue = await makeQueue(run, { durability, visibilityInSeconds: 600 });
    const range = rangeOf(queue);
    const token = { retryToken: null, requestDigest: '' };
    expect(await seen(() => putFunctions().put(queue.id, [message('a')], 256, undefined, known))).toEqual([setting]);
    expect(
      await seen(() => putFunctions().putOnce(queue.id, [message('b', 'id')], 256, token, undefined, known)),
    ).toEqual([setting]);
    const claim = {
      ...range,
      channelId: null,
      afterChannelId: '',
      limit: 2,
      visibilityInSeconds: null,
      deliveredTo: 'somebody',
      maxBytes: 1000,
      visibleFrom: null,
    };
    expect(await seen(() => functions().get(claim))).toEqual(['on']);
    const [a, b] = held(await queue.rows());
    const extended = { ...a!, visibilityInSeconds: 700 };
    expect(await seen(() => functions().update(range, [extended]))).toEqual(['on']);
    expect(await seen(() => functions().giveBack(range, [a!], known))).toEqual([setting]);
    expect(await seen(() => functions().delete(range, [b!], known))).toEqual([setting]);
    expect((await queue.rows()).map(({ body }) => body.toString())).toEqual(['a']);
  });

  it('are relaxed in a transaction over queues where all of them are', async () => {
    const transactions = new TransactionFunctions(test().database);
    const queues = {
      FULL: await makeQueue(run),
      RELAXED: await makeQueue(run, { durability: 'RELAXED' }),
    };
    for (const [from, into] of DURABILITIES.flatMap((a) => DURABILITIES.map((b) => [a, b] as const))) {
      await queues[from].put(['in']);
      const [delivery] = held([await queues[from].getOne()]);
      const settled = { ...rangeOf(queues[from]), ...delivery!, visibleInSeconds: null, isRequired: true };
      const messages = [message('out')];
      const seal = { contents: [Buffer.from('out')], keyId: null, needsProperties: true };
      const put = { queue: { queueId: queues[into].id }, messages, seal };
      // Whatever the pod believes.
      const setting = from === 'RELAXED' && into === 'RELAXED' ? 'off' : 'on';
      expect([from, into, await seen(() => transactions.commit([settled], [put], 256, 'RELAXED'))]).toEqual([
        from,
        into,
        [setting],
      ]);
      expect(await seen(() => transactions.commit([], [put], 256, 'RELAXED'))).toEqual([
        into === 'RELAXED' ? 'off' : 'on',
      ]);
      expect(await seen(() => transactions.commit([], [put], 256, 'FULL'))).toEqual(['on']);
      for (const queue of Object.values(queues))
        await run('delete from towpath.message where queue_id = $1', [queue.id]);
    }
  });
});
