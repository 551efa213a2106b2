import { jest } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { MessageFunctions } from '../../src/database/message-functions.js';
import { Floors, LAG_MS } from '../../src/messages/floors/floors.js';
import { Client } from '../rest/support.js';
import { until } from '../pods/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';

/** A pod that is asked so often knows its floors. */
const CLAIM_EVERY_MS = 15;
/** Ten times what the slowest takes: the time between looks from the beginning, or of the notification. */
const FOUND_WITHIN_MS = 25_000;

interface Message {
  readonly content: string;
  readonly receipt: string;
  readonly deliveryCount: number;
}

let pods: TestPods;
let clients: Client[];
let claimers: { stop: () => Promise<void> }[] = [];
beforeAll(async () => {
  pods = await startTestPods(2);
  clients = pods.pods.map(({ url }) => new Client(url, pods.credentials.apiKey));
});
afterEach(async () => {
  jest.restoreAllMocks();
  await Promise.all(claimers.map(({ stop }) => stop()));
  claimers = [];
});
afterAll(async () => {
  for (const client of clients) client.close();
  await pods.stop();
});

const makeQueue = (details: object = {}): Promise<string> =>
  clients[0]!.createQueue({ compartmentId: pods.credentials.compartmentId, ...details });

async function get(client: Client, queue: string, query = ''): Promise<Message[]> {
  const { json } = await client.call({ path: `/queues/${queue}/messages?timeoutInSeconds=0&limit=20${query}` });
  return (json as { messages: Message[] }).messages;
}

const put = (queue: string, contents: readonly string[], client = clients[0]!): Promise<unknown> =>
  client.call({
    method: 'POST',
    path: `/queues/${queue}/messages`,
    body: { messages: contents.map((content) => ({ content })) },
  });

/** Gets by both pods, again and again: what came, and when. */
function claimAllTheTime(queue: string, query = ''): Map<string, { at: number; message: Message }> {
  const found = new Map<string, { at: number; message: Message }>();
  const end = new AbortController();
  const claim = async (client: Client): Promise<void> => {
    while (!end.signal.aborted) {
      for (const message of await get(client, queue, query))
        found.set(message.content, { at: performance.now(), message });
      await sleep(CLAIM_EVERY_MS);
    }
  };
  const claiming = Promise.all(clients.map(claim));
  claimers.push({
    stop: async () => {
      end.abort();
      await claiming;
    },
  });
  return found;
}

async function idOf(queue: string): Promise<number> {
  const [row] = await pods.test.sql<{ id: number }>('select id from towpath.queue where ocid = $1', [queue]);
  return row!.id;
}

const rangeOf = (queueId: number, channelId: string | null = null) => ({
  queueId,
  consumerGroupId: 0,
  deadLetter: false,
  channelId,
});

/** How often looks from the beginning have found what claims had missed. */
function missedByEach(): number[] {
  return pods.pods.map(({ app }) => app.get(Floors).missed);
}

/** Until both pods know where to begin. */
async function untilKnown(queue: string, channelId: string | null = null): Promise<void> {
  const range = rangeOf(await idOf(queue), channelId);
  await until(
    () => pods.pods.every(({ app }) => app.get(Floors).forLook(range) !== null),
    'floors are known',
    FOUND_WITHIN_MS,
  );
}

/** Until both pods begin later than that: without a look from the beginning they would not find it any more. */
async function untilAbove(queue: string, ms: number): Promise<void> {
  const range = rangeOf(await idOf(queue));
  await until(
    () => pods.pods.every(({ app }) => (app.get(Floors).forLook(range)?.getTime() ?? 0) > ms),
    'floors have risen',
    FOUND_WITHIN_MS,
  );
}

/** When each pod looks at the queue from now on, in milliseconds since 1970. */
function looksAt(queueId: number): number[][] {
  return pods.pods.map(({ app }) => {
    const functions = app.get(MessageFunctions);
    const findFloor = functions.findFloor.bind(functions);
    const times: number[] = [];
    jest.spyOn(functions, 'findFloor').mockImplementation(async (...all) => {
      const look = await findFloor(...all);
      if (all[0].queueId === queueId) times.push(look.lookedAtMs);
      return look;
    });
    return times;
  });
}

/** When the message of the queue is visible, in milliseconds since 1970; `by` is the session that sees it. */
async function visibleAt(queue: string, by: pg.Client): Promise<number> {
  const { rows } = await by.query<{ ms: number }>(
    `select extract(epoch from max(visible_after))::float8 * 1000 as ms from towpath.message where queue_id = towpath.queue_id($1)`,
    [queue],
  );
  return rows[0]!.ms;
}

const untilFound = (found: ReadonlyMap<string, unknown>, content: string): Promise<void> =>
  until(() => found.has(content), `${content} is found`, FOUND_WITHIN_MS);

async function connect(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: pods.test.url });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

describe('a pod that knows where to begin', () => {
  it('finds what is put, and what is put by another pod, at once', async () => {
    const queue = await makeQueue();
    const found = claimAllTheTime(queue);
    await untilKnown(queue);
    let late = 0;
    for (let n = 0; n < 40; n += 1) {
      const began = performance.now();
      await put(queue, [`message ${n}`], clients[n % 2]);
      if (performance.now() - began > LAG_MS) late += 1;
      await untilFound(found, `message ${n}`);
    }
    // None, unless the machine took longer for a commit than looks allow for.
    for (const missed of missedByEach()) expect(missed).toBeLessThanOrEqual(late);
  });

  it('finds what is visible later: after a delay, a timeout, an update', async () => {
    const queue = await makeQueue({ deadLetterQueueDeliveryCount: 0 });
    const found = claimAllTheTime(queue, '&visibilityInSeconds=2');
    await untilKnown(queue);
    await clients[0]!.call({
      method: 'POST',
      path: `/queues/${queue}/messages`,
      body: { messages: [{ content: 'comes back', delayInSeconds: 2 }] },
    });
    await untilFound(found, 'comes back');
    await until(() => found.get('comes back')!.message.deliveryCount > 2, 'it came back twice', FOUND_WITHIN_MS);
    const { receipt, deliveryCount } = found.get('comes back')!.message;
    const { status } = await clients[1]!.call({
      method: 'PUT',
      path: `/queues/${queue}/messages/${receipt}`,
      body: { visibilityInSeconds: 0 },
    });
    expect(status).toBe(200);
    await until(
      () => found.get('comes back')!.message.deliveryCount > deliveryCount,
      'it was given back',
      FOUND_WITHIN_MS,
    );
  });

  it('finds what the transaction of a user commits late, as its notification comes', async () => {
    const queue = await makeQueue({ acceptUnsealed: true });
    const found = claimAllTheTime(queue);
    await untilKnown(queue);
    const writer = await connect();
    await writer.query('begin');
    await writer.query(`select towpath.put_messages(towpath.queue_id($1), array['late'])`, [queue]);
    await untilAbove(queue, await visibleAt(queue, writer));
    // No look ends any more, so it is the notification that brings it. (After looks that fail a slow pod would forget.)
    for (const { app } of pods.pods) {
      jest.spyOn(app.get(MessageFunctions), 'findFloor').mockReturnValue(new Promise(() => undefined));
    }
    await writer.query('commit');
    await writer.end();
    await untilFound(found, 'late');
    expect(found.get('late')!.message.deliveryCount).toBe(1);
  });

  it('finds what is committed late and tells nobody, by the look from the beginning', async () => {
    const queue = await makeQueue({ acceptUnsealed: true });
    const found = claimAllTheTime(queue);
    await untilKnown(queue);
    const before = missedByEach();
    const writer = await connect();
    await writer.query('begin');
    await writer.query(
      `select from towpath.put_packed_messages(towpath.queue_id($1), 'silent', '{6}', '{""}', '{null}', '{0}', '{6}')`,
      [queue],
    );
    await untilAbove(queue, await visibleAt(queue, writer));
    await writer.query('commit');
    await writer.end();
    await untilFound(found, 'silent');
    expect(missedByEach()).not.toEqual(before);
  });

  it('finds what a claim gives back that was rolled back, or whose backend was killed', async () => {
    const queue = await makeQueue();
    await put(queue, ['rolled back', 'killed']);
    const [rolledBack, killed] = [await connect(), await connect()];
    // Before they claim: each would see the end of its own claim's timeout.
    const at = await visibleAt(queue, rolledBack);
    const claims = [];
    for (const claimer of [rolledBack, killed]) {
      await claimer.query('begin');
      const { rows } = await claimer.query<{ pid: number }>(
        'select pg_backend_pid() as pid from towpath.get_messages(towpath.queue_id($1))',
        [queue],
      );
      claims.push(...rows);
    }
    expect(claims).toHaveLength(2);
    const before = missedByEach();
    const looks = looksAt(await idOf(queue));
    const found = claimAllTheTime(queue);
    // The floors would be above them by now if looks did not see what is locked.
    await until(() => looks.every((times) => times.some((ms) => ms > at + 2 * LAG_MS)), 'both look', FOUND_WITHIN_MS);
    expect(found.size).toBe(0);
    await rolledBack.query('rollback');
    await pods.test.sql('select pg_terminate_backend($1)', [claims[1]!.pid]);
    await untilFound(found, 'rolled back');
    await untilFound(found, 'killed');
    await rolledBack.end();
    // Their floors have not gone by what was locked.
    expect(missedByEach()).toEqual(before);
  });

  it('has one for each channel that is asked for, and for any channel that of all', async () => {
    // They compete for what is in red, so it may be delivered often before both have had it.
    const queue = await makeQueue({ deadLetterQueueDeliveryCount: 0 });
    const any = claimAllTheTime(queue, '&visibilityInSeconds=1');
    const red = claimAllTheTime(queue, '&visibilityInSeconds=1&channelFilter=red');
    await untilKnown(queue);
    await untilKnown(queue, 'red');
    for (const channelId of ['red', 'blue', '']) {
      const metadata = channelId === '' ? {} : { metadata: { channelId } };
      await clients[0]!.call({
        method: 'POST',
        path: `/queues/${queue}/messages`,
        body: { messages: [{ content: `in ${channelId}`, ...metadata }] },
      });
    }
    for (const channelId of ['red', 'blue', '']) await untilFound(any, `in ${channelId}`);
    await untilFound(red, 'in red');
    expect(red.size).toBe(1);
  });
});

describe('while somebody holds a snapshot', () => {
  it('claims from the floor read a small part of what claims from the beginning read', async () => {
    const queue = await makeQueue();
    const queueId = await idOf(queue);
    const reader = await connect();
    await reader.query('begin isolation level repeatable read');
    await reader.query('select count(*) from towpath.message');
    try {
      // Whole lives, whose index entries stay.
      for (let n = 0; n < 60; n += 1) {
        await put(
          queue,
          Array.from({ length: 20 }, (_, index) => `${n}-${index}`),
        );
        const entries = (await get(clients[0]!, queue)).map(({ receipt }) => ({ receipt }));
        await clients[0]!.call({
          method: 'POST',
          path: `/queues/${queue}/messages/actions/deleteMessages`,
          body: { entries },
        });
      }
      const ended = Date.now();
      claimAllTheTime(queue);
      await untilAbove(queue, ended);
      const from = pods.pods[0]!.app.get(Floors).forLook(rangeOf(queueId));
      const pagesOf = async (visibleFrom: Date | string): Promise<number> => {
        const [row] = await pods.test.sql<{ 'QUERY PLAN': [{ Plan: Record<string, number> }] }>(
          `explain (analyze, buffers, format json) select * from towpath.get_messages($1, channel_id => '', visible_from => $2)`,
          [queueId, visibleFrom],
        );
        const { Plan: plan } = row!['QUERY PLAN'][0];
        return plan['Shared Hit Blocks']! + plan['Shared Read Blocks']!;
      };
      // The first call of a connection reads catalogs too.
      await pagesOf('-infinity');
      const [all, few] = [await pagesOf('-infinity'), await pagesOf(from!)];
      process.stdout.write(
        `pages of a claim under a held snapshot: ${all} from the beginning, ${few} from the floor\n`,
      );
      expect(few).toBeLessThan(all / 5);
    } finally {
      await reader.query('rollback');
      await reader.end();
    }
  });
});
