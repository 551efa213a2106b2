import { find, logOf, makeDead, redrive, runToEnd, startRedrive, step, wrongStats } from './redrive-support.js';
import { makeQueue, one, runWorkRequests, untilBlocked, useDatabase, type Queue } from './support.js';

// A redrive as a work request: what refuses it, what ends it, how fast it is, and who else is at the same messages.

const { run, session } = useDatabase();

const newQueue = (details: Record<string, unknown> = {}): Promise<Queue> =>
  makeQueue(run, { deadLetterQueueDeliveryCount: 1, ...details });
const liveIds = async (queue: Queue): Promise<number[]> =>
  (await queue.rows()).filter((row) => !row.dead_letter).map(({ id }) => id);
const deadIds = async (queue: Queue): Promise<number[]> =>
  (await queue.rows()).filter((row) => row.dead_letter).map(({ id }) => id);
const fails = (code: string, message: RegExp): unknown =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });
const cancel = async (queue: Queue, ocid: string): Promise<string> =>
  one(await run<{ status: string }>('select status from towpath.cancel_work_request($1, $2)', [queue.tenancy, ocid]))
    .status;

describe('refused', () => {
  it('what makes no sense', async () => {
    const queue = await newQueue();
    const other = await newQueue();
    const start = (details: Record<string, unknown>): Promise<unknown> => startRedrive(queue, run, details);
    await expect(start({ targetQueueId: queue.ocid })).rejects.toEqual(fails('TP400', /leave it out/));
    await expect(start({ targetChannelId: 'a' })).rejects.toEqual(fails('TP400', /targetQueueId/));
    // Of another tenancy.
    await expect(start({ targetQueueId: other.ocid })).rejects.toEqual(fails('TP404', /targetQueueId/));
    await expect(start({ consumerGroupId: 'none' })).rejects.toEqual(fails('TP404', /consumerGroupId/));
    await expect(start({ messageIds: [] })).rejects.toEqual(fails('TP400', /messageIds/));
    await expect(start({ filter: ':a' })).rejects.toEqual(fails('TP400', /jsonpath/));
    await expect(start({ messagesPerSecond: 0 })).rejects.toEqual(fails('TP400', /messagesPerSecond/));
    await expect(startRedrive(queue, run, {}, null, { ifMatch: '7' })).rejects.toEqual(fails('TP412', /ETag/));
    await expect(redrive(queue, run)).resolves.toMatchObject({ status: 'SUCCEEDED', progress: { examined: 0 } });
  });

  it('a second one, and one during a purge', async () => {
    const queue = await newQueue();
    const { ocid } = await startRedrive(queue, run);
    await expect(startRedrive(queue, run)).rejects.toEqual(fails('TP409', /another redrive.*cancel/));
    await runToEnd(run, ocid);
    const purge = await queue.purge({ purgeType: 'NORMAL' });
    await expect(startRedrive(queue, run)).rejects.toEqual(fails('TP409', /purged/));
    await runToEnd(run, purge.ocid);
    expect((await redrive(queue, run)).status).toBe('SUCCEEDED');
  });

  it('of two at once one starts', async () => {
    const queue = await newQueue();
    const sessions = [await session(), await session()] as const;
    await sessions[0].run('begin');
    await startRedrive(queue, sessions[0].run);
    const second = startRedrive(queue, sessions[1].run).catch((error: unknown) => error);
    await untilBlocked(run, sessions[1]);
    await sessions[0].run('commit');
    expect(await second).toEqual(fails('TP409', /another redrive/));
    await runWorkRequests(run);
  });
});

describe('cancel', () => {
  it('leaves what was moved where it is', async () => {
    const queue = await newQueue();
    await makeDead(queue, run, 20);
    const { ocid } = await startRedrive(queue, run);
    await step(run, ocid, 10);
    expect(await cancel(queue, ocid)).toBe('CANCELING');
    expect(await cancel(queue, ocid)).toBe('CANCELING');
    expect(await step(run, ocid, 10)).toBe('CANCELED');
    expect(await step(run, ocid, 10)).toBeNull();
    expect(await queue.stats()).toMatchObject({ visible_messages: 5, dead_visible_messages: 15 });
    expect((await logOf(run, ocid)).at(-1)).toMatch(/^canceled.* 5 redriven/);
    await expect(cancel(queue, ocid)).rejects.toEqual(fails('TP409', /CANCELED/));
    // The queue is free for the next one.
    expect((await redrive(queue, run)).progress.redriven).toBe(15);
  });

  it('ends one that was never begun, and one that waits for its rate', async () => {
    const queue = await newQueue();
    await makeDead(queue, run, 3);
    const first = await startRedrive(queue, run);
    await cancel(queue, first.ocid);
    expect(await step(run, null)).toBe('CANCELED');
    const slow = await startRedrive(queue, run, { messagesPerSecond: 1 });
    expect(await step(run, slow.ocid)).toBe('WAITING');
    await cancel(queue, slow.ocid);
    expect(await step(run, null)).toBe('CANCELED');
    expect(await deadIds(queue)).toHaveLength(3);
  });

  it('is for redrives only, of the own tenancy', async () => {
    const queue = await newQueue();
    const other = await newQueue();
    const change = await queue.change({});
    await expect(cancel(queue, change.ocid)).rejects.toEqual(fails('TP409', /UPDATE_QUEUE/));
    const { ocid } = await startRedrive(queue, run);
    await expect(cancel(other, ocid)).rejects.toEqual(fails('TP404', /does not exist/));
    await runToEnd(run, ocid);
    await expect(cancel(queue, ocid)).rejects.toEqual(fails('TP409', /finished already: it is SUCCEEDED/));
  });

  it('waits for the batch under way, and comes after it', async () => {
    const queue = await newQueue();
    await makeDead(queue, run, 20);
    const { ocid } = await startRedrive(queue, run);
    const [runner, canceller] = [await session(), await session()];
    await runner.run('begin');
    await step(runner.run, ocid, 10);
    const canceled = canceller.run<{ status: string }>('select status from towpath.cancel_work_request($1, $2)', [
      queue.tenancy,
      ocid,
    ]);
    await untilBlocked(run, canceller);
    await runner.run('commit');
    expect(await canceled).toEqual([{ status: 'CANCELING' }]);
    expect(await step(run, ocid, 10)).toBe('CANCELED');
    expect((await find(run, ocid)).progress.redriven).toBe(5);
  });
});

describe('the rate limit', () => {
  it('allows what the clock has let through, and at most one second of it', async () => {
    const queue = await newQueue();
    await makeDead(queue, run, 100);
    const { ocid } = await startRedrive(queue, run, { messagesPerSecond: 10 });
    const backBy = (seconds: number): Promise<unknown> =>
      run(
        `update towpath.work_request set run_after = null, parameters = parameters || jsonb_build_object(
           'allowanceAt', clock_timestamp() - make_interval(secs => $2)) where ocid = $1`,
        [ocid, seconds],
      );
    /** However long the machine takes for the next step. */
    const clockStands = (): Promise<unknown> => backBy(-3600);
    await clockStands();
    expect(await step(run, ocid)).toBe('WAITING');
    expect((await find(run, ocid)).progress.redriven).toBe(0);
    // An hour without a step is worth one second.
    await backBy(3600);
    expect(await step(run, ocid)).toBe('IN_PROGRESS');
    expect((await find(run, ocid)).progress.redriven).toBe(10);
    await clockStands();
    expect(await step(run, ocid)).toBe('WAITING');
    const { run_after } = await find(run, ocid);
    expect(run_after!.getTime() - Date.now()).toBeLessThanOrEqual(100);
    await backBy(0.55);
    expect(await step(run, ocid)).toBe('IN_PROGRESS');
    const { progress } = await find(run, ocid);
    expect(progress.redriven).toBeGreaterThanOrEqual(15);
    expect(progress.redriven).toBeLessThanOrEqual(20);
    await run('select from towpath.cancel_work_request(null, $1)', [ocid]);
    await runWorkRequests(run);
  });

  it('a waiting one keeps neither the others nor the maintenance busy', async () => {
    const [slow, fast] = [await newQueue(), await newQueue()];
    await makeDead(slow, run, 5);
    await makeDead(fast, run, 5);
    const waiting = await startRedrive(slow, run, { messagesPerSecond: 1 });
    const other = await startRedrive(fast, run);
    expect(await step(run, waiting.ocid)).toBe('WAITING');
    expect(await step(run, null)).toBe('SUCCEEDED');
    expect((await find(run, other.ocid)).progress.redriven).toBe(5);
    // Long enough for the slowest machine to look in time.
    await run(`update towpath.work_request set run_after = now() + interval '1 hour' where ocid = $1`, [waiting.ocid]);
    expect(await step(run, null)).toBeNull();
    expect(await step(run, waiting.ocid)).toBe('WAITING');
    expect(one(await run('select towpath.work_request_is_waiting() as busy'))).toEqual({ busy: false });
    await run('select from towpath.cancel_work_request(null, $1)', [waiting.ocid]);
    expect(one(await run('select towpath.work_request_is_waiting() as busy'))).toEqual({ busy: true });
    await runWorkRequests(run);
  });
});

describe('beside others', () => {
  it('waits for a dead letter that somebody has locked, and leaves it to them', async () => {
    const queue = await newQueue();
    const ids = await makeDead(queue, run, 5);
    const { ocid } = await startRedrive(queue, run);
    const [consumer, runner] = [await session(), await session()];
    await consumer.run('begin');
    const held = await queue.by(consumer.run).getOne({ dead: true });
    const stepping = step(runner.run, ocid);
    await untilBlocked(run, runner);
    await consumer.run('commit');
    expect(await stepping).toBe('SUCCEEDED');
    expect((await find(run, ocid)).progress).toMatchObject({ matched: 5, redriven: 4, skipped: 1 });
    expect(await liveIds(queue)).toEqual(ids.filter((id) => id !== held.id));
    expect(await queue.delete([held], true)).toEqual([true]);
  });

  it('takes one whose claim is rolled back', async () => {
    const queue = await newQueue();
    await makeDead(queue, run, 5);
    const { ocid } = await startRedrive(queue, run);
    const [consumer, runner] = [await session(), await session()];
    await consumer.run('begin');
    await queue.by(consumer.run).getOne({ dead: true });
    const stepping = step(runner.run, ocid);
    await untilBlocked(run, runner);
    await consumer.run('rollback');
    await stepping;
    expect((await find(run, ocid)).progress).toMatchObject({ redriven: 5, skipped: 0 });
  });

  it('does not count what is deleted under its hands', async () => {
    const queue = await newQueue();
    await makeDead(queue, run, 3);
    const held = await queue.getOne({ dead: true, visibility: 1 });
    await queue.timeOut();
    const { ocid } = await startRedrive(queue, run);
    const [consumer, runner] = [await session(), await session()];
    await consumer.run('begin');
    expect(await queue.by(consumer.run).delete([held], true)).toEqual([true]);
    const stepping = step(runner.run, ocid);
    await untilBlocked(run, runner);
    await consumer.run('commit');
    await stepping;
    expect((await find(run, ocid)).progress).toMatchObject({ matched: 2, redriven: 2 });
    expect(await wrongStats(run, queue.id)).toEqual([]);
  });

  it('two that run the same request do not do the same', async () => {
    const queue = await newQueue();
    await makeDead(queue, run, 20);
    const { ocid } = await startRedrive(queue, run);
    const first = await session();
    await first.run('begin');
    expect(await step(first.run, ocid, 10)).toBe('IN_PROGRESS');
    expect(await step(run, ocid, 10)).toBeNull();
    await first.run('commit');
    expect((await runToEnd(run, ocid, 10)).progress).toMatchObject({ examined: 20, redriven: 20 });
  });

  it('ends with its queue', async () => {
    const queue = await newQueue();
    await makeDead(queue, run, 20);
    const { ocid } = await startRedrive(queue, run);
    await step(run, ocid, 10);
    await queue.remove();
    // Its own step, or the deletion's, whichever comes first.
    expect(await step(run, ocid, 10)).toBe('CANCELED');
    await runWorkRequests(run);
    expect((await queue.state()).lifecycle_state).toBe('DELETED');
  });
});

it('says what it did in a few lines, however many batches there were', async () => {
  const queue = await newQueue();
  await makeDead(queue, run, 300);
  const { ocid } = await startRedrive(queue, run);
  const { percent_complete } = await runToEnd(run, ocid, 4);
  expect(percent_complete).toBe(100);
  const log = await logOf(run, ocid);
  expect(log.length).toBeLessThanOrEqual(12);
  expect(log.at(-1)).toBe(
    'done: 300 dead letters examined, 300 matched, 300 redriven, 0 skipped because a consumer holds them, 0 failed',
  );
  expect(log).toContainEqual(expect.stringMatching(/of about 300 dead letters examined/));
});
