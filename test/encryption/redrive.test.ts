import { RedriveBatches } from '../../src/dead-letters/redrive-batches.js';
import { RedriveFunctions } from '../../src/database/redrive-functions.js';
import { Client } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';

describe('redriving sealed dead letters', () => {
  let pods: TestPods;
  let client: Client;
  let compartmentId: string;
  beforeAll(async () => {
    pods = await startTestPods();
    client = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    ({ compartmentId } = pods.credentials);
  });
  afterAll(async () => {
    client.close();
    await pods.stop();
  });

  /** A queue with sealed dead letters of these kinds, and a redrive of it that nobody has begun with. */
  async function setup(kinds: readonly string[], filter: string | null, target?: string) {
    const queueId = await client.createQueue({ compartmentId });
    const messages = kinds.map((kind) => ({ content: `a ${kind}`, metadata: { customProperties: { kind } } }));
    await client.call({ method: 'POST', path: `/queues/${queueId}/messages`, body: { messages } });
    await pods.test.sql(
      `with dead as (
         update towpath.message m set dead_letter = true, dead_lettered_at = now(), visible_after = now()
         from towpath.queue q where q.id = m.queue_id and q.ocid = $1 returning m.queue_id, m.size_in_bytes
       )
       insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
       select d.queue_id, 0, k.dead, '', k.sign, k.sign * d.size_in_bytes
       from dead d cross join (values (true, 1), (false, -1)) k(dead, sign)`,
      [queueId],
    );
    const details = target === undefined ? {} : { targetQueueId: target };
    const [request] = await pods.test.sql<{ id: string }>(
      'select w.ocid as id from towpath.redrive_sealed_messages(null, $1, $2, $3) w',
      [queueId, details, filter],
    );
    // As the runner does, but for going on by itself. The maintenance may be at it as well: so much the better.
    await pods.test.sql(
      `update towpath.work_request set status = 'IN_PROGRESS', time_started = now() where ocid = $1`,
      [request!.id],
    );
    return { queueId, request: request!.id };
  }
  const contents = async (queueId: string): Promise<string[]> =>
    (await client.get(queueId)).map(({ content }) => content).toSorted();

  it('moves what its filter takes, and leaves who was delivered meanwhile with its consumer', async () => {
    const { queueId, request } = await setup(['a', 'b', 'a', 'a'], ':kind = "a"');
    const functions = pods.pods[0]!.app.get(RedriveFunctions);
    const batch = (await functions.take(request, 100))!;
    expect(batch.candidates).toHaveLength(4);
    expect(batch.candidates.every(({ keyId, properties }) => keyId !== null && properties === null)).toBe(true);
    // Nobody else gets the same batch meanwhile.
    expect(await functions.take(request, 100)).toBeNull();
    const [taken] = await client.get(`${queueId}%2Fdlq`, 'limit=1');
    expect(taken?.content).toBe('a a');
    const wanted = batch.candidates.filter((_, index) => index !== 1);
    const choice = { ...batch.plan, chosen: wanted, examined: batch.examined, unreadable: 0, sealed: null };
    expect(await functions.move(batch.plan, choice)).toBe('SUCCEEDED');
    const redrive = (await client.call({ path: `/workRequests/${request}` })).json?.['redrive'];
    expect(redrive).toMatchObject({ examined: 4, matched: 3, redriven: 2, skipped: 1, failed: 0 });
    expect(await contents(queueId)).toEqual(['a a', 'a a']);
    // Whoever comes with the same batch once more changes nothing.
    expect(await functions.move(batch.plan, choice)).toBe('SUCCEEDED');
    expect(await contents(queueId)).toEqual([]);
  });

  it('seals anew for another queue, whose key may be replaced at that moment', async () => {
    const target = await client.createQueue({ compartmentId });
    await client.put(target, 'first');
    const { queueId, request } = await setup(['a', 'b'], 'not :kind = "b"', target);
    await client.call({ method: 'POST', path: `/queues/${target}/actions/rotateDataKey` });
    expect(await pods.pods[0]!.app.get(RedriveBatches).step(request)).toBe('SUCCEEDED');
    expect(await contents(target)).toEqual(['a a', 'first']);
    expect(await contents(`${queueId}%2Fdlq`)).toEqual(['a b']);
    const rows = await pods.test.sql<{ key_id: number }>(
      'select m.key_id from towpath.message m join towpath.queue q on q.id = m.queue_id where q.ocid = $1 order by m.id',
      [target],
    );
    expect(new Set(rows.map(({ key_id }) => key_id)).size).toBe(2);
  });
});
