import { jest } from '@jest/globals';
import { MessageFunctions } from '../../src/database/message-functions.js';
import { PutFunctions } from '../../src/database/put-functions.js';
import { ServiceError } from '../../src/errors/service-error.js';
import type { Caller } from '../../src/identity/caller.js';
import { MemoryBudget } from '../../src/memory/memory-budget.js';
import { DeliveriesService } from '../../src/messages/deliveries.service.js';
import { MergeCounts, type MergeKind } from '../../src/messages/merging/merge-counts.js';
import type { Message, PutMessagesDetails } from '../../src/messages/message.schemas.js';
import { GetsService } from '../../src/messages/gets.service.js';
import { PutsService } from '../../src/messages/puts.service.js';
import { toServiceError } from '../../src/errors/catalogue.js';
import type { Pod } from '../../src/app.js';
import { until, untilParked } from '../pods/support.js';
import { Client, expectError } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';

type Outcome<Value> = { readonly value: Value } | { readonly error: ServiceError };

const settled = <Value>(promise: Promise<Value>): Promise<Outcome<Value>> =>
  promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error: toServiceError(error) }),
  );
const codeOf = (outcome: Outcome<unknown>): string => ('error' in outcome ? outcome.error.code : 'done');
function valueOf<Value>(outcome: Outcome<Value>): Value {
  if ('error' in outcome) throw outcome.error;
  return outcome.value;
}

const inChannel = (channelId: string) => ({ content: channelId, metadata: { channelId } });

describe('requests that come together', () => {
  let pods: TestPods;
  let pod: Pod;
  let client: Client;
  let caller: Caller;
  /** One entry per statement: how many requests it was for. */
  let statements: Record<MergeKind, number[]>;

  beforeAll(async () => {
    pods = await startTestPods(1, { TOWPATH_MAX_CHANNELS: '3' });
    [pod] = pods.pods as [Pod];
    client = new Client(pod.url, pods.credentials.apiKey);
    caller = {
      tenancyId: pods.credentials.tenancyId,
      userId: pods.credentials.userId,
      permission: 'use queue-push',
    } as Caller;
    pod.app.get(MergeCounts).onStatement = (kind, requests): void => void statements[kind].push(requests);
  });
  beforeEach(() => {
    statements = { put: [], get: [], update: [], delete: [] };
  });
  afterEach(() => {
    jest.restoreAllMocks();
    if (pod.app.get(MergeCounts).waiting !== 0) throw new Error('requests are left waiting');
  });
  afterAll(async () => {
    client.close();
    await pods.stop();
  });

  /** A queue that the pod knows already, so that requests reach the merging in the turn in which they come. */
  async function makeQueue(details: object = {}): Promise<string> {
    const { compartmentId } = pods.credentials;
    const id = await client.createQueue({ compartmentId, visibilityInSeconds: 600, ...details });
    await put(id, [{ content: 'first' }]);
    const [found] = await get(id, {});
    await deletions().delete(caller, id, undefined, found!.receipt);
    statements = { put: [], get: [], update: [], delete: [] };
    return id;
  }
  const deletions = (): DeliveriesService => pod.app.get(DeliveriesService);
  const put = async (id: string, messages: PutMessagesDetails['messages']): Promise<number[]> => {
    const { outcome } = await pod.app.get(PutsService).put(caller, id, { messages });
    return outcome.messages.map((message) => message.id);
  };
  const get = async (
    id: string,
    query: object,
    { signal = new AbortController().signal, by = caller }: { signal?: AbortSignal; by?: Caller } = {},
  ): Promise<Message[]> => {
    const hold = pod.app.get(MemoryBudget).open();
    try {
      const { outcome } = await pod.app.get(GetsService).get(by, id, { timeoutInSeconds: 0, ...query }, signal, hold);
      return outcome.messages;
    } finally {
      hold.release();
    }
  };
  const rows = async (id: string): Promise<{ id: number; delivery_count: number; receipt_number: number }[]> =>
    pods.test.sql(
      `select m.id, m.delivery_count, m.receipt_number from towpath.message m
       join towpath.queue q on q.id = m.queue_id where q.ocid = $1 order by m.id`,
      [id],
    );
  const fill = async (id: string, count: number, channelId?: string): Promise<number[]> => {
    const metadata = channelId === undefined ? {} : { metadata: { channelId } };
    const ids: number[] = [];
    for (let left = count; left > 0; left -= 20) {
      const messages = Array.from({ length: Math.min(20, left) }, (_, index) => ({ content: `${index}`, ...metadata }));
      ids.push(...(await put(id, messages)));
    }
    return ids;
  };

  it('are put by one statement, each answered with its own ids in its order', async () => {
    const id = await makeQueue();
    const requests = Array.from({ length: 30 }, (_, index) =>
      Array.from({ length: 1 + (index % 3) }, (__, n) => ({ content: `${index}/${n}` })),
    );
    const answers = await Promise.all(requests.map((messages) => put(id, messages)));
    expect(statements.put).toEqual([30]);
    expect(answers.flat()).toEqual((await rows(id)).map((row) => row.id));
    const found = [
      ...(await get(id, { limit: 20 })),
      ...(await get(id, { limit: 20 })),
      ...(await get(id, { limit: 20 })),
    ];
    const contents = new Map(found.map((message) => [message.id, message.content]));
    for (const [index, ids] of answers.entries()) {
      expect(ids.map((each) => contents.get(each))).toEqual(requests[index]!.map(({ content }) => content));
    }
  });

  it('do not fail with one that is bad, and it is all or none by itself', async () => {
    const id = await makeQueue();
    await put(id, [inChannel('a')]);
    const outcomes = await Promise.all(
      [
        [{ content: 'good' }],
        // Four channels, of which three may be: refused with all that is in it.
        [{ content: 'bad' }, inChannel('b'), inChannel('c'), inChannel('d')],
        [inChannel('e')],
        [{ content: 'late', delayInSeconds: 5 }],
      ].map((messages) => settled(put(id, messages))),
    );
    expect(outcomes.map(codeOf)).toEqual(['done', 'LimitExceeded', 'done', 'done']);
    expect(statements.put).toEqual([1, 4, 1, 1, 1, 1]);
    expect(await rows(id)).toHaveLength(4);
  });

  it('are sealed with one data key, and once more where it was replaced just then', async () => {
    const id = await makeQueue();
    // By SQL, so that the pod does not know of it.
    await pods.test.sql('select from towpath.rotate_data_key($1, $2)', [caller.tenancyId, id]);
    const calls = jest.spyOn(pod.app.get(PutFunctions), 'put');
    const answers = await Promise.all(Array.from({ length: 6 }, (_, index) => put(id, [{ content: `${index}` }])));
    expect(new Set(answers.flat()).size).toBe(6);
    expect([statements.put, calls.mock.calls.length]).toEqual([[6], 2]);
    const keys = await pods.test.sql<{ keys: number }>(
      `select count(distinct m.key_id) as keys from towpath.message m join towpath.queue q on q.id = m.queue_id
       where q.ocid = $1`,
      [id],
    );
    expect(keys).toEqual([{ keys: 1 }]);
    expect((await get(id, { limit: 20 })).map(({ content }) => content)).toEqual(['0', '1', '2', '3', '4', '5']);
  });

  it('do not meet one whose delay is too long', async () => {
    const id = await makeQueue({ retentionInSeconds: 60 });
    const puts = [put(id, [{ content: 'good' }]), put(id, [{ content: 'bad', delayInSeconds: 60 }])];
    expect((await Promise.all(puts.map(settled))).map(codeOf)).toEqual(['done', 'InvalidParameter']);
    expect(statements.put).toEqual([1, 1]);
    expect(await rows(id)).toHaveLength(1);
  });

  it('all get 5xx where the connection breaks, before or after the commit, and nothing is run twice', async () => {
    const id = await makeQueue();
    const functions = pod.app.get(PutFunctions);
    const run = functions.put.bind(functions);
    // The commit is there, its answer is not.
    const calls = jest.spyOn(functions, 'put').mockImplementationOnce(async (...args) => {
      await run(...args);
      throw new Error('Connection terminated unexpectedly');
    });
    const puts = Array.from({ length: 10 }, (_, index) => settled(put(id, [{ content: `${index}` }])));
    expect((await Promise.all(puts)).map(codeOf)).toEqual(Array(10).fill('ServiceUnavailable'));
    expect(await rows(id)).toHaveLength(10);
    expect(calls).toHaveBeenCalledTimes(1);

    // The backend is ended in the middle, before it has stored the statistics.
    const { sql } = pods.test;
    const blocker = await blockDeltas(pods);
    const more = Array.from({ length: 10 }, (_, index) => settled(put(id, [{ content: `again ${index}` }])));
    await until(async () => (await blocked(pods)).length === 1, 'the statement waits');
    await sql('select pg_terminate_backend(pid) from unnest($1::integer[]) pid', [await blocked(pods)]);
    expect((await Promise.all(more)).map(codeOf)).toEqual(Array(10).fill('ServiceUnavailable'));
    await blocker.release();
    expect(calls).toHaveBeenCalledTimes(2);
    expect(await rows(id)).toHaveLength(10);
    // And the pod goes on.
    await put(id, [{ content: 'after' }]);
    expect(await rows(id)).toHaveLength(11);
  });

  it('are given messages by one statement: the oldest first, nobody more than asked, all different', async () => {
    const id = await makeQueue();
    const ids = await fill(id, 12);
    const limits = [1, 4, 2, 3, 5, 1];
    const answers = await Promise.all(limits.map((limit) => get(id, { limit })));
    expect(statements.get).toEqual([6]);
    expect(answers.map(({ length }) => length)).toEqual([1, 4, 2, 3, 2, 0]);
    expect(answers.flat().map((message) => message.id)).toEqual(ids);
    for (const message of answers.flat()) expect(message).toMatchObject({ deliveryCount: 1 });
    const deleted = await Promise.all(
      answers.flat().map(({ receipt }) => settled(deletions().delete(caller, id, undefined, receipt))),
    );
    expect(deleted.map(codeOf)).toEqual(Array(12).fill('done'));
    expect(statements.delete).toEqual([12]);
    expect(await rows(id)).toEqual([]);
  });

  it('take channels in turn, each with messages of one', async () => {
    const id = await makeQueue();
    await fill(id, 40, 'a');
    await fill(id, 5, 'b');
    await fill(id, 2, 'c');
    const answers = await Promise.all(Array.from({ length: 12 }, () => get(id, { limit: 2 })));
    const channels = answers.map((messages) => [...new Set(messages.map(({ metadata }) => metadata?.channelId))]);
    expect(statements.get).toEqual([12]);
    expect(channels.every(({ length }) => length === 1)).toBe(true);
    const counts = (channel: string): number => channels.flat().filter((each) => each === channel).length;
    // Three gets empty b, one empties c, and both come although a has more than all ask for.
    expect([counts('b'), counts('c'), counts('a')]).toEqual([3, 1, 8]);
    expect(answers.flat()).toHaveLength(23);
  });

  it('are merged only where channel, visibility and caller are the same', async () => {
    const id = await makeQueue();
    await fill(id, 20, 'a');
    const answers = await Promise.all([
      get(id, { channelFilter: 'a' }),
      get(id, { channelFilter: 'a' }),
      get(id, {}),
      get(id, { visibilityInSeconds: 20 }),
      get(id, { visibilityInSeconds: 20 }),
      get(id, { visibilityInSeconds: 0 }),
      get(id, { visibilityInSeconds: 0 }),
      get(id, {}, { by: { ...caller, userId: 'oidc/other', groups: ['Administrators'] } }),
    ]);
    expect(answers.map(({ length }) => length)).toEqual(Array(8).fill(1));
    expect(statements.get.toSorted((a, b) => a - b)).toEqual([1, 1, 1, 1, 2, 2]);
    const [row] = await pods.test.sql<{ count: number }>(
      `select count(*) from towpath.message where delivered_to = 'oidc/other'`,
    );
    expect(row).toEqual({ count: 1 });
  });

  it('get nothing, and cost no delivery, where their clients have gone', async () => {
    const id = await makeQueue();
    const ids = await fill(id, 3);
    const gone = new AbortController();
    // Gone before the statement is sent: somebody else has what it would have had.
    const answers = [get(id, {}), get(id, {}, { signal: gone.signal }), get(id, {})];
    gone.abort();
    expect((await Promise.all(answers)).map((messages) => messages.map((message) => message.id))).toEqual([
      [ids[0]],
      [],
      [ids[1]],
    ]);
    // Gone while it is under way: what was claimed for it goes back, not counted, and with another receipt number.
    const later = new AbortController();
    const functions = pod.app.get(MessageFunctions);
    const run = functions.getForMany.bind(functions);
    jest.spyOn(functions, 'getForMany').mockImplementationOnce(async (...args) => {
      const delivered = await run(...args);
      later.abort();
      return delivered;
    });
    const both = await Promise.all([get(id, {}, { signal: later.signal }), get(id, {})]);
    expect(both).toEqual([[], []]);
    expect((await rows(id)).at(-1)).toEqual({ id: ids[2], delivery_count: 0, receipt_number: 2 });
    expect(await get(id, {})).toMatchObject([{ id: ids[2], deliveryCount: 1 }]);
  });

  it('are served together where they wait, one message each, and none to who has gone', async () => {
    const id = await makeQueue();
    const gone = new AbortController();
    const waiting = Array.from({ length: 40 }, (_, index) =>
      get(id, { timeoutInSeconds: 30 }, index === 5 ? { signal: gone.signal } : {}),
    );
    await untilParked(pod, 40);
    gone.abort();
    await untilParked(pod, 39);
    statements.get = [];
    const contents = Array.from({ length: 13 }, (_, index) => ({ content: `${index}` }));
    const ids = (await Promise.all([put(id, contents), put(id, contents), put(id, contents)])).flat();
    const answers = await Promise.all(waiting);
    expect(answers.map(({ length }) => length)).toEqual(waiting.map((_, index) => (index === 5 ? 0 : 1)));
    // First come, first served.
    expect(answers.flat().map((message) => message.id)).toEqual(ids);
    // 1, 2, 4, … at once; one by one it would be 39.
    expect(statements.get.length).toBeLessThan(20);
  });

  it('have answers of their own size, and what fits into none goes back', async () => {
    const id = await makeQueue();
    const message = { content: 'x'.repeat(200_000), metadata: { channelId: 'a' } };
    for (let index = 0; index < 24; index += 1) await put(id, [message]);
    const answers = await Promise.all([20, 1, 20].map((limit) => get(id, { limit, channelFilter: 'a' })));
    expect(statements.get).toEqual([3]);
    // 2 MiB hold ten of these; the two and a quarter of all three together hold 22.
    expect(answers.map(({ length }) => length)).toEqual([10, 1, 10]);
    const left = async (): Promise<number[]> =>
      (await rows(id)).filter((row) => row.delivery_count === 0).map((row) => row.receipt_number);
    await until(async () => (await left()).length === 3, 'it went back');
    expect(await left()).toEqual([2, 0, 0]);
    expect((await get(id, { limit: 20, channelFilter: 'a' })).length).toBe(3);
  });

  it('extend and delete by one statement each, with a result per entry', async () => {
    const id = await makeQueue();
    await fill(id, 6);
    const [a, b, c, d, e, f] = await get(id, { limit: 6 });
    await deletions().delete(caller, id, undefined, f!.receipt);
    statements.delete = [];
    const extended = await Promise.all([
      settled(deletions().update(caller, id, undefined, { receipt: a!.receipt, visibilityInSeconds: 900 })),
      settled(deletions().update(caller, id, undefined, { receipt: f!.receipt, visibilityInSeconds: 900 })),
      settled(deletions().update(caller, id, undefined, { receipt: 'garbled', visibilityInSeconds: 900 })),
      settled(
        deletions().updateMany(caller, id, undefined, [
          { receipt: d!.receipt, visibilityInSeconds: 30 },
          { receipt: f!.receipt, visibilityInSeconds: 30 },
          { receipt: b!.receipt, visibilityInSeconds: 60 },
        ]),
      ),
    ]);
    expect(extended.map(codeOf)).toEqual(['done', 'NotAuthorizedOrNotFound', 'InvalidParameter', 'done']);
    expect(valueOf(extended[3])).toMatchObject({
      outcome: { clientFailures: 1, entries: [{ id: d!.id }, { errorCode: 404 }, { id: b!.id }] },
    });
    expect(statements.update).toEqual([3]);
    const deleted = await Promise.all([
      settled(deletions().delete(caller, id, undefined, c!.receipt)),
      // The same once more: it deletes once.
      settled(deletions().delete(caller, id, undefined, c!.receipt)),
      settled(deletions().deleteMany(caller, id, undefined, [e!.receipt, f!.receipt, a!.receipt])),
    ]);
    expect(deleted.map(codeOf)).toEqual(['done', 'NotAuthorizedOrNotFound', 'done']);
    expect(valueOf(deleted[2])).toMatchObject({
      outcome: { clientFailures: 1, entries: [{}, { errorCode: 404 }, {}] },
    });
    expect(statements.delete).toEqual([3]);
    expect((await rows(id)).map((row) => row.id)).toEqual([b!.id, d!.id]);
  });

  it('fail with the queue where it is deleted meanwhile, and are done where it is purged', async () => {
    const id = await makeQueue();
    await fill(id, 3);
    const purge = { method: 'POST', path: `/queues/${id}/actions/purge`, body: { purgeType: 'NORMAL' } };
    expect((await client.call(purge)).status).toBe(202);
    const blocker = await blockDeltas(pods);
    const puts = Array.from({ length: 4 }, (_, index) => settled(put(id, [{ content: `${index}` }])));
    await until(async () => (await blocked(pods)).length >= 1, 'the put waits');
    await blocker.release();
    expect((await Promise.all(puts)).map(codeOf)).toEqual(Array(4).fill('done'));
    await until(async () => (await rows(id)).length === 4, 'what was there before the purge is gone');
    expect((await get(id, { limit: 20 })).length).toBe(4);

    expect((await client.call({ method: 'DELETE', path: `/queues/${id}` })).status).toBe(202);
    const late = await Promise.all([
      ...Array.from({ length: 3 }, () => settled(put(id, [{ content: 'late' }]))),
      ...Array.from({ length: 3 }, () => settled(get(id, {}))),
    ]);
    expect(late.map(codeOf)).toEqual(Array(6).fill('NotAuthorizedOrNotFound'));
  });

  it('are refused with 503 where too many wait, and with nothing done', async () => {
    const other = await pods.add({ TOWPATH_MAX_WAITING_REQUESTS: '2' });
    const id = await makeQueue();
    const blocker = await blockDeltas(pods);
    const clients = Array.from({ length: 5 }, () => new Client(other.url, pods.credentials.apiKey));
    const body = { messages: [{ content: 'x' }] };
    const putBy = (index: number) => clients[index]!.call({ method: 'POST', path: `/queues/${id}/messages`, body });
    const counts = other.app.get(MergeCounts);
    const answers = [putBy(0)];
    await until(async () => (await blocked(pods)).length === 1, 'the first statement waits');
    answers.push(putBy(1));
    await until(async () => (await blocked(pods)).length === 2, 'the second statement waits');
    answers.push(putBy(2), putBy(3));
    await until(() => counts.waiting === 2, 'two requests wait');
    const refused = await putBy(4);
    expectError(refused, 503, 'ServiceUnavailable', /too many put requests of this queue wait/);
    expect(refused.headers['retry-after']).toBe('1');
    // Gets of the same queue are not concerned.
    expect(await clients[4]!.get(id)).toEqual([]);
    await blocker.release();
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect([counts.waiting, counts.refused]).toEqual([0, 1]);
    expect(await rows(id)).toHaveLength(4);
    for (const each of clients) each.close();
  });

  it('are counted, per statement, in the metrics', async () => {
    const other = await pods.add();
    const metrics = new Client(other.url, pods.credentials.apiKey);
    const id = await makeQueue();
    await Promise.all(
      Array.from({ length: 5 }, () =>
        other.app.get(PutsService).put(caller, id, { messages: [{ content: 'counted' }] }),
      ),
    );
    const { text } = await metrics.call({ path: '/metrics', root: true });
    metrics.close();
    expect(text).toMatch(/^towpath_merged_requests_sum\{kind="put"\} 5$/m);
    expect(text).toMatch(/^towpath_merged_requests_bucket\{le="\+Inf",kind="put"\} [1-5]$/m);
    for (const name of ['waiting', 'refused_total', 'separated_total']) {
      expect(text).toMatch(new RegExp(`^towpath_merge_${name} 0$`, 'm'));
    }
  });
});

/** Has every statement wait that writes statistics, as puts and deletes do, until `release`. */
async function blockDeltas({ test }: TestPods): Promise<{ readonly release: () => Promise<void> }> {
  const pg = (await import('pg')).default;
  const session = new pg.Client({ connectionString: test.url });
  await session.connect();
  await session.query('begin; lock table towpath.message_delta in share mode');
  return { release: () => session.end() };
}

/** The backends of pods that wait for a lock. */
async function blocked({ test }: TestPods): Promise<number[]> {
  const found = await test.sql<{ pid: number }>(
    `select pid from pg_stat_activity
     where datname = current_database() and application_name = 'towpath' and wait_event_type = 'Lock'
       and query like '%put_sealed_messages%'`,
  );
  return found.map(({ pid }) => pid);
}
