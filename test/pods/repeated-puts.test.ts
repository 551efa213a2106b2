import fc from 'fast-check';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { API, Client } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { until } from './support.js';

// Repeats of puts over two pods, all at once. Whoever comes first, whichever pod it meets: within a window each
// deduplication id and each token is stored once, and everybody is told the same ids.

const RUNS = Number(process.env['TEST_REPEATED_PUTS_RUNS'] ?? 25);

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

const newQueue = (): Promise<string> => clients[0]!.createQueue({ compartmentId: pods.credentials.compartmentId });
const idsInTable = async (queue: string): Promise<number[]> =>
  (
    await pods.test.sql<{ id: number }>(
      'select m.id from towpath.message m join towpath.queue q on q.id = m.queue_id where q.ocid = $1 order by m.id',
      [queue],
    )
  ).map(({ id }) => id);
const consume = async (queue: string): Promise<number[]> => {
  const messages = await clients[0]!.get(queue);
  for (const { receipt } of messages) {
    await clients[1]!.call({ method: 'DELETE', path: `/queues/${queue}/messages/${receipt}` });
  }
  return messages.map(({ id }) => id);
};
const repeatedMessages = async (): Promise<number> => {
  const texts = await Promise.all(pods.pods.map(async ({ url }) => (await fetch(`${url}/metrics`)).text()));
  return texts.reduce((sum, text) => sum + Number(/^towpath_repeated_messages_total (\d+)$/m.exec(text)?.[1]), 0);
};

interface Request {
  readonly pod: number;
  /** Of each message; null: none. */
  readonly ids: readonly (string | null)[];
  readonly token: string | null;
}

/** What one token is about, always. */
const TOKENS: Readonly<Record<string, readonly (string | null)[]>> = {
  t1: [null],
  t2: ['a', null],
  t3: ['b', 'a', 'b'],
};

const request: fc.Arbitrary<Request> = fc
  .record({
    pod: fc.nat(1),
    token: fc.option(fc.constantFrom(...Object.keys(TOKENS)), { freq: 2 }),
    free: fc.array(fc.option(fc.constantFrom('a', 'b', 'c', 'd'), { freq: 3 }), { minLength: 1, maxLength: 4 }),
  })
  .map(({ pod, token, free }) => ({ pod, token, ids: token === null ? free : (TOKENS[token] ?? []) }));

/** Requests that are sent at once, and what happens before the next ones. */
const round = fc.record({
  requests: fc.array(request, { minLength: 1, maxLength: 8 }),
  isConsumed: fc.boolean(),
  isWindowOver: fc.boolean(),
});

/** What each id and each token was answered within a window, and what all were answered before it. */
class Window {
  readonly answered = new Set<number>();
  private readonly byId = new Map<string, number>();
  private readonly byToken = new Map<string, string>();
  private past = new Set<number>();

  /** What is wrong with an answer. Requests may be looked at in any order. */
  faultsOf({ ids, token }: Request, answer: readonly number[]): string[] {
    const faults: string[] = [];
    if (answer.length !== ids.length) faults.push(`${answer.length} answers to ${ids.length} messages`);
    for (const [position, messageId] of answer.entries()) {
      const id = ids[position] ?? null;
      if (this.past.has(messageId)) faults.push(`${id ?? token} is answered as in a window that is over`);
      // What has no name is new each time, unless the request has one.
      if (id === null && token === null && this.answered.has(messageId)) faults.push(`${messageId} is not new`);
      if (id !== null) {
        if ((this.byId.get(id) ?? messageId) !== messageId) faults.push(`${id} was stored twice`);
        this.byId.set(id, messageId);
      }
      this.answered.add(messageId);
    }
    if (token !== null) {
      if ((this.byToken.get(token) ?? answer.join()) !== answer.join()) faults.push(`${token} has two answers`);
      this.byToken.set(token, answer.join());
    }
    return faults;
  }

  ends(): void {
    this.byId.clear();
    this.byToken.clear();
    this.past = new Set(this.answered);
  }
}

it('in any interleaving over two pods, each id and each token is stored once per window', async () => {
  let contents = 0;
  const send = async (queue: string, { pod, ids, token }: Request): Promise<number[]> => {
    const messages = ids.map((deduplicationId) => {
      // A token is about one and the same request; an id is not about its content.
      contents += 1;
      return { content: token ?? String(contents), deduplicationId };
    });
    const answer = await clients[pod]!.call({
      method: 'POST',
      path: `/queues/${queue}/messages`,
      body: { messages },
      headers: token === null ? {} : { 'opc-retry-token': token },
    });
    expect(answer.status).toBe(200);
    return (answer.json as { messages: { id: number }[] }).messages.map(({ id }) => id);
  };

  await fc.assert(
    fc.asyncProperty(fc.array(round, { minLength: 1, maxLength: 5 }), async (rounds) => {
      const queue = await newQueue();
      const consumed: number[] = [];
      const window = new Window();
      for (const { requests, isConsumed, isWindowOver } of rounds) {
        const answers = await Promise.all(requests.map((each) => send(queue, each)));
        expect(requests.flatMap((each, index) => window.faultsOf(each, answers[index] ?? []))).toEqual([]);
        // Nothing was stored that nobody was told of, nor told of and not stored.
        const stored = new Set([...consumed, ...(await idsInTable(queue))]);
        expect([...stored].toSorted((a, b) => a - b)).toEqual([...window.answered].toSorted((a, b) => a - b));
        if (isConsumed) consumed.push(...(await consume(queue)));
        if (isWindowOver) {
          await pods.test.sql('update towpath.deduplication set forget_after = clock_timestamp()');
          window.ends();
        }
      }
    }),
    { numRuns: RUNS },
  );
}, 300_000);

it('a put whose answer is lost and that is repeated with its token is stored once', async () => {
  const queue = await newQueue();
  const before = await repeatedMessages();
  const answered: number[] = [];
  const PUTS = 40;
  for (let put = 0; put < PUTS; put += 1) {
    const body = JSON.stringify({ messages: [{ content: `message ${put}` }] });
    const url = new URL(clients[put % 2]!.url);
    const socket = connect(Number(url.port), url.hostname);
    const sent = new Promise((resolve, reject) => {
      socket.on('error', reject);
      socket.write(
        `POST ${API}/queues/${queue}/messages HTTP/1.1\r\nhost: ${url.host}\r\nauthorization: Bearer ${pods.credentials.apiKey}\r\n` +
          `opc-retry-token: put ${put}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
        resolve,
      );
    });
    await sent;
    // Before it is stored, while it is, or after.
    await sleep(put % 8);
    socket.destroy();
    const repeat = await clients[(put + 1) % 2]!.call({
      method: 'POST',
      path: `/queues/${queue}/messages`,
      body,
      headers: { 'opc-retry-token': `put ${put}`, 'content-type': 'application/json' },
    });
    expect(repeat.status).toBe(200);
    answered.push(...(repeat.json as { messages: { id: number }[] }).messages.map(({ id }) => id));
  }
  // Those that came late were repeats themselves.
  await sleep(300);
  expect(await idsInTable(queue)).toEqual(answered.toSorted((a, b) => a - b));
  expect(answered).toHaveLength(PUTS);
  expect((await repeatedMessages()) - before).toBeGreaterThan(0);
});

it('the maintenance forgets what is past its window, and keeps up', async () => {
  const queue = await newQueue();
  await pods.test.sql(
    `insert into towpath.deduplication (queue_id, forget_after, key, message_ids, expiries)
     select q.id, clock_timestamp(), 'id:' || g, '{1}', '{null}' from generate_series(1, 20000) g, towpath.queue q where q.ocid = $1`,
    [queue],
  );
  await clients[0]!.call({
    method: 'POST',
    path: `/queues/${queue}/messages`,
    body: { messages: [{ content: 'x', deduplicationId: 'kept' }] },
  });
  const keys = async (): Promise<string[]> =>
    (
      await pods.test.sql<{ key: string }>(
        'select d.key from towpath.deduplication d join towpath.queue q on q.id = d.queue_id where q.ocid = $1',
        [queue],
      )
    ).map(({ key }) => key);
  await until(async () => (await keys()).length === 1, 'all that is past is forgotten');
  expect(await keys()).toEqual(['id:kept']);
});
