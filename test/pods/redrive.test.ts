import { Client } from '../rest/support.js';
import { wrongStats } from '../sql/redrive-support.js';
import { startPodProcesses, type PodProcesses } from './pod-process.js';
import { until } from './support.js';

const DEAD = 3000;

describe('kill -9 of the pod that carries out a redrive', () => {
  let all: PodProcesses;
  let clients: Client[];
  beforeEach(async () => {
    all = await startPodProcesses(2);
    clients = all.pods.map(({ url }) => new Client(url, all.credentials.apiKey));
  });
  afterEach(async () => {
    for (const client of clients) client.close();
    await all.stop();
  });

  it.each([
    ['SQL carries out', {}],
    // Messages may be sealed: a pod takes a batch, looks at the properties, and gives back what to move.
    ['pods carry out', { filter: 'not :absent' }],
  ])(
    'loses nothing and moves nothing twice, where %s: another pod goes on',
    async (_, selection) => {
      const [first, second] = [clients[0]!, clients[1]!];
      const { compartmentId } = all.credentials;
      const queueId = await first.createQueue({ compartmentId });
      const [queue] = await all.test.sql<{ id: number }>('select id from towpath.queue where ocid = $1', [queueId]);
      await all.test.sql(
        `with dead as (
         insert into towpath.message (
           queue_id, id, visible_after, expire_after, created_at, size_in_bytes, body, dead_letter, dead_lettered_at, receipt_number)
         select $1, nextval('towpath.message_id'), now(), now() + interval '1 day', now(), 1, 'x', true, now(), 7
         from generate_series(1, ${DEAD}) returning 1
       )
       insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
       select $1, 0, true, '', count(*), count(*) from dead`,
        [queue!.id],
      );
      // Slow enough to be killed in the middle.
      const started = await first.call({
        method: 'POST',
        path: `/queues/${queueId}/deadLetters/actions/redrive`,
        body: { messagesPerSecond: 500, ...selection },
      });
      expect(started.status).toBe(202);
      const path = `/workRequests/${String(started.headers['opc-work-request-id'])}`;
      const progress = async (): Promise<{ status: string; redriven: number }> => {
        const { json } = await second.call({ path });
        const { status, redrive } = json as { status: string; redrive: { redriven: number } };
        return { status, redriven: redrive.redriven };
      };
      await until(async () => (await progress()).redriven > 0, 'it has begun');
      await all.pods[0]!.killed();
      const atDeath = await progress();
      expect(atDeath).toMatchObject({ status: 'IN_PROGRESS' });
      expect(atDeath.redriven).toBeLessThan(DEAD);
      await until(async () => (await progress()).status !== 'IN_PROGRESS', 'another pod ends it', 120_000);
      expect(await progress()).toEqual({ status: 'SUCCEEDED', redriven: DEAD });
      // Moved once each: the receipt number has grown by one.
      const rows = await all.test.sql<{ dead_letter: boolean; receipt_number: number; count: number }>(
        'select dead_letter, receipt_number, count(*)::int as count from towpath.message group by 1, 2',
      );
      expect(rows).toEqual([{ dead_letter: false, receipt_number: 8, count: DEAD }]);
      expect(await wrongStats(all.test.sql, queue!.id)).toEqual([]);
    },
    420_000,
  );
});
