import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { Client } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';

// put_messages in a transaction of a user, beside consumers of the REST API.

/**
 * Between two slow polls of the polls below, at 25 and at 35 s: what comes at once comes by the notification. And later than any pod
 * believes what it was told of who waits without being told again.
 */
const COMMIT_AFTER_MS = 28_000;
const DELAY_SECONDS = 31;
const POLL_SECONDS = 25;

let pods: TestPods;
let clients: Client[];
beforeAll(async () => {
  pods = await startTestPods(2);
  clients = pods.pods.map(({ url }) => new Client(url, pods.credentials.apiKey));
});
afterAll(async () => {
  for (const client of clients) client.close();
  await pods.stop();
});

interface Delivery {
  readonly content: string;
  readonly at: number;
}

/** Polls again and again until something comes. */
async function poll(client: Client, queue: string, channel: string | null): Promise<Delivery> {
  const filter = channel === null ? '' : `&channelFilter=${channel}`;
  for (let round = 0; round < 8; round += 1) {
    const path = `/queues/${queue}/messages?timeoutInSeconds=${POLL_SECONDS}${filter}`;
    const { json } = await client.call({ path });
    const [message] = (json as { messages: { content: string }[] }).messages;
    if (message !== undefined) return { content: message.content, at: performance.now() };
  }
  throw new Error('nothing came');
}

it('a commit that takes half a minute delivers then, and a delay ends when it ends', async () => {
  const { compartmentId } = pods.credentials;
  const [queue, delayed] = [
    await clients[0]!.createQueue({ compartmentId, acceptUnsealed: true }),
    await clients[0]!.createQueue({ compartmentId, acceptUnsealed: true }),
  ];
  await pods.test.sql('create table orders (id bigint primary key)');
  const writer = new pg.Client({ connectionString: pods.test.url });
  await writer.connect();
  try {
    await writer.query('begin');
    await writer.query('insert into orders values (4711)');
    await writer.query(
      `select towpath.put_messages(towpath.queue_id($1), array['at once'], properties => '{"k": "v"}')`,
      [queue],
    );
    await writer.query(
      `select towpath.put_messages(towpath.queue_id($1), array['later'], 'late', delay_in_seconds => ${DELAY_SECONDS})`,
      [delayed],
    );
    const visibleAt = performance.now() + DELAY_SECONDS * 1000;
    const polls = [poll(clients[0]!, queue, null), poll(clients[1]!, queue, null), poll(clients[1]!, delayed, 'late')];
    const first = Promise.race(polls.slice(0, 2));
    const [committed] = await Promise.all([
      sleep(COMMIT_AFTER_MS).then(async () => {
        await writer.query('commit');
        return performance.now();
      }),
      first,
    ]);
    const { content, at } = await first;
    expect(content).toBe('at once');
    expect(at).toBeGreaterThan(committed - 1000);
    const lateness = { commit: Math.round(at - committed), delay: NaN };
    const late = await polls[2]!;
    expect(late.content).toBe('later');
    lateness.delay = Math.round(late.at - visibleAt);
    process.stdout.write(`after the commit: ${lateness.commit} ms; after the end of the delay: ${lateness.delay} ms\n`);
    // The slow poll would come 7 and 4 seconds later.
    expect(lateness.commit).toBeLessThan(3000);
    expect(lateness.delay).toBeGreaterThan(-500);
    expect(lateness.delay).toBeLessThan(2000);
    // The other poll of the first queue goes home.
    await clients[0]!.put(queue, 'for the other');
    await Promise.all(polls);
  } finally {
    await writer.end();
  }
}, 300_000);

it('what is put by SQL looks like any other message, and REST may put beside it', async () => {
  const queue = await clients[0]!.createQueue({
    compartmentId: pods.credentials.compartmentId,
    acceptUnsealed: true,
    visibilityInSeconds: 40,
  });
  await pods.test.sql(`select towpath.put_messages(towpath.queue_id($1), array['bý SQL'], 'c', '{"k": "v"}')`, [queue]);
  const metadata = { channelId: 'c', customProperties: { k: 'v' } };
  const body = { messages: [{ content: 'bý REST', metadata }] };
  await clients[0]!.call({ method: 'POST', path: `/queues/${queue}/messages`, body });
  const stats = await clients[1]!.call({ path: `/queues/${queue}/stats` });
  // 7 and 8 bytes of content, 2 of properties each.
  expect(stats.json).toMatchObject({ queue: { visibleMessages: 2, inFlightMessages: 0, sizeInBytes: 19 } });
  const messages = (await clients[1]!.get(queue)) as unknown as Record<string, unknown>[];
  expect(messages.map((message) => Object.keys(message).toSorted())).toEqual([
    Object.keys(messages[1]!).toSorted(),
    Object.keys(messages[1]!).toSorted(),
  ]);
  expect(messages).toMatchObject([
    { content: 'bý SQL', deliveryCount: 1, metadata },
    { content: 'bý REST', deliveryCount: 1, metadata },
  ]);
});
