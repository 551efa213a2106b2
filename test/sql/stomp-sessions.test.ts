import { randomUUID } from 'node:crypto';
import { makeQueue, makeTenancy, one, useDatabase } from './support.js';

const { run, session } = useDatabase();

const STALE_SECONDS = 15;

const subscription = (more: object = {}): object => ({
  id: 'sub-0',
  destination: '/queue/orders',
  queue_id: 0,
  consumer_group_id: 0,
  dead_letter: false,
  channel_id: null,
  ack: 'client',
  prefetch: 20,
  unacknowledged: 3,
  delivered: 40,
  lease: null,
  visibility_in_seconds: null,
  ...more,
});

const reported = (id: string, more: object = {}): object => ({
  id,
  user_id: 'ocid1.user.x',
  peer_address: '192.0.2.7',
  transport: 'tls',
  version: '1.2',
  connected_at: '2026-11-22T10:26:16.123Z',
  heard_ms: 2500,
  sent_ms: null,
  unacknowledged: 3,
  open_transactions: 1,
  bytes_received: 4711,
  bytes_sent: 12,
  subscriptions: [],
  ...more,
});

interface Answer {
  readonly chunk_nos: number[];
  readonly disconnects: Record<string, string | null>;
}
const report = (podId: string, chunks: readonly object[], by = run): Promise<Answer[]> =>
  by('select * from towpath.report_stomp_sessions($1, $2, $3)', [podId, `host of ${podId}`, JSON.stringify(chunks)]);
const beat = (podId: string): Promise<unknown> => run('select towpath.record_heartbeat($1)', [podId]);
const sessions = (tenancy: string): Promise<Record<string, unknown>[]> =>
  run('select * from towpath.stomp_sessions where tenancy_id = $1 order by session_id', [tenancy]);
const rowsOf = async (podId: string): Promise<number> =>
  (await run('select from towpath.stomp_session_chunk where pod_id = $1', [podId])).length;

const at = (index: number): string => `2026-11-22T10:00:0${Math.floor(index / 2)}.000Z`;

/** A pod that lives, and a tenancy of its own. */
async function setup(): Promise<{ pod: string; tenancyId: string; id: string }> {
  const pod = randomUUID();
  await beat(pod);
  return { pod, tenancyId: await makeTenancy(run), id: randomUUID() };
}

describe('report_stomp_sessions', () => {
  it('shows sessions with names and times', async () => {
    const { pod, tenancyId, id } = await setup();
    const userId = one(await run<{ id: string }>('select id from towpath.create_user($1, $2)', [tenancyId, 'ana'])).id;
    const mine = reported(id, { user_id: userId, subscriptions: [subscription(), subscription({ id: 'b' })] });
    const answers = await report(pod, [{ no: 7, tenancyId, sessions: [mine] }]);
    expect(answers).toEqual([{ chunk_nos: [7], disconnects: {} }]);
    const row = one(await sessions(tenancyId));
    expect(row).toMatchObject({
      pod: `host of ${pod}`,
      pod_id: pod,
      session_id: id,
      user_name: 'ana',
      user_id: userId,
      peer_address: '192.0.2.7',
      transport: 'tls',
      version: '1.2',
      connected_at: new Date('2026-11-22T10:26:16.123Z'),
      last_sent_at: null,
      subscriptions: 2,
      unacknowledged: 3,
      open_transactions: 1,
      bytes_received: 4711,
      bytes_sent: 12,
    });
    const [heard, written] = [row['last_heard_at'] as Date, row['reported_at'] as Date];
    expect(written.getTime() - heard.getTime()).toBe(2500);
  });

  it('shows subscriptions with the names of what they are to', async () => {
    const { pod, id } = await setup();
    const queue = await makeQueue(run, { displayName: 'orders', capabilities: [{ type: 'CONSUMER_GROUPS' }] });
    const tenancyId = queue.tenancy;
    const subscriptions = [
      subscription({ queue_id: queue.id, lease: 'keep', channel_id: 'eu' }),
      subscription({ id: 'gone', queue_id: 9_999_999, dead_letter: true }),
    ];
    await report(pod, [{ no: 1, tenancyId, sessions: [reported(id, { subscriptions })] }]);
    const rows = await run('select * from towpath.list_stomp_subscriptions($1, $2)', [tenancyId, id]);
    expect(rows).toMatchObject([
      {
        subscription_id: 'sub-0',
        display_name: 'orders',
        queue_ocid: queue.ocid,
        consumer_group: expect.any(String),
        dead_letter: false,
        channel_id: 'eu',
        ack: 'client',
        prefetch: 20,
        unacknowledged: 3,
        delivered: 40,
        lease: 'keep',
      },
      { subscription_id: 'gone', display_name: null, queue_ocid: null, consumer_group: null, dead_letter: true },
    ]);
    expect(await run('select * from towpath.list_stomp_subscriptions($1, $2)', [await makeTenancy(run), id])).toEqual(
      [],
    );
  });

  it('replaces chunks, deletes those that are empty, and says which there are', async () => {
    const { pod, tenancyId, id } = await setup();
    const other = randomUUID();
    await report(pod, [
      { no: 1, tenancyId, sessions: [reported(id)] },
      { no: 2, tenancyId, sessions: [reported(other)] },
    ]);
    expect(await sessions(tenancyId)).toHaveLength(2);
    const answer = await report(pod, [
      { no: 1, tenancyId, sessions: [reported(other, { bytes_sent: 99 })] },
      { no: 2, tenancyId, sessions: [] },
      { no: 3, tenancyId, sessions: [] },
    ]);
    expect(answer).toEqual([{ chunk_nos: [1], disconnects: {} }]);
    expect(await sessions(tenancyId)).toMatchObject([{ session_id: other, bytes_sent: 99 }]);
    expect(await report(pod, [])).toEqual([{ chunk_nos: [1], disconnects: {} }]);
  });

  it('writes nothing for a pod that is not counted', async () => {
    const { tenancyId, id } = await setup();
    expect(await report('nobody', [{ no: 1, tenancyId, sessions: [reported(id)] }])).toEqual([]);
    expect(await sessions(tenancyId)).toEqual([]);
  });
});

describe('the sessions of a pod', () => {
  it('are gone with it, where it stops', async () => {
    const { pod, tenancyId, id } = await setup();
    await report(pod, [{ no: 1, tenancyId, sessions: [reported(id)] }]);
    await run('select towpath.forget_pod($1)', [pod]);
    expect(await rowsOf(pod)).toBe(0);
  });

  it('that has died are not shown after 15 seconds, and are swept by the next heartbeat of another', async () => {
    const { pod, tenancyId, id } = await setup();
    await report(pod, [{ no: 1, tenancyId, sessions: [reported(id, { subscriptions: [subscription()] })] }]);
    const age = (seconds: number): Promise<unknown> =>
      run('update towpath.pod set seen_at = clock_timestamp() - make_interval(secs => $2) where id = $1', [
        pod,
        seconds,
      ]);
    const shown = async (): Promise<unknown[]> => [
      (await sessions(tenancyId)).length,
      (await run('select from towpath.stomp_subscriptions where tenancy_id = $1', [tenancyId])).length,
      one(await run<{ is: boolean }>('select towpath.stomp_session_is_open($1) as is', [id])).is,
    ];
    await age(STALE_SECONDS - 10);
    expect(await shown()).toEqual([1, 1, true]);
    await age(STALE_SECONDS + 1);
    expect(await shown()).toEqual([0, 0, false]);
    await expect(run('select towpath.disconnect_stomp_session($1)', [id])).rejects.toMatchObject({ code: 'TP404' });
    expect(await rowsOf(pod)).toBe(1);
    await beat(randomUUID());
    expect(await rowsOf(pod)).toBe(0);
  });
});

describe('list_stomp_sessions', () => {
  it('lists those of a tenancy, newest first, page by page, by user, queue and pod', async () => {
    const { pod, tenancyId } = await setup();
    const another = await setup();
    const queue = await makeQueue(run, {}, tenancyId);
    const ids = Array.from({ length: 5 }, () => randomUUID());
    const all = ids.map((id, index) =>
      reported(id, {
        connected_at: at(index),
        user_id: index === 3 ? 'ben' : 'ana',
        subscriptions: index === 1 ? [subscription({ queue_id: queue.id }), subscription({ queue_id: queue.id })] : [],
      }),
    );
    await report(pod, [{ no: 1, tenancyId, sessions: all.slice(0, 3) }]);
    await report(another.pod, [
      { no: 1, tenancyId, sessions: all.slice(3) },
      { no: 2, tenancyId: another.tenancyId, sessions: [reported(another.id, { user_id: 'ana' })] },
    ]);
    const list = async (more: Record<string, unknown> = {}): Promise<string[]> => {
      const values = { tenancy_id: tenancyId, ...more };
      const names = Object.keys(values).map((name, index) => `${name} => $${index + 1}`);
      const rows = await run<{ session_id: string }>(
        `select session_id from towpath.list_stomp_sessions(${names.join(', ')})`,
        Object.values(values),
      );
      return rows.map(({ session_id }) => session_id);
    };
    const newestFirst = ids
      .map((id, index) => ({ id, at: at(index) }))
      .toSorted((a, b) => (a.at + a.id < b.at + b.id ? 1 : -1))
      .map(({ id }) => id);
    expect(await list()).toEqual(newestFirst);
    const paged: string[] = [];
    for (let before: string | null = null; ;) {
      const index = before === null ? -1 : ids.findIndex((id) => id === before);
      const page: string[] = await list({
        max_sessions: 2,
        before_time: before === null ? null : at(index),
        before_id: before,
      });
      paged.push(...page);
      before = page.at(-1) ?? null;
      if (page.length < 2) break;
    }
    expect(paged).toEqual(newestFirst);
    expect(await list({ user_id: 'ben' })).toEqual([ids[3]]);
    expect(await list({ queue_ocid: queue.ocid })).toEqual([ids[1]]);
    expect((await list({ pod_id: another.pod })).toSorted()).toEqual(ids.slice(3).toSorted());
    expect(await list({ pod_id: 'nobody' })).toEqual([]);
  });
});

const disconnect = (id: string, reason: string | null = null, tenancy: string | null = null): Promise<unknown[]> =>
  run('select towpath.disconnect_stomp_session($1, $2, $3) as pod', [id, reason, tenancy]);

describe('disconnect_stomp_session', () => {
  it('tells the pod, by a notification and with its next report, and the audit log', async () => {
    const { pod, tenancyId, id } = await setup();
    await report(pod, [{ no: 1, tenancyId, sessions: [reported(id)] }]);
    const listener = await session();
    const heard: unknown[] = [];
    listener.onNotification((payload) => heard.push(JSON.parse(payload)));
    await listener.run('listen towpath');
    expect(await disconnect(id, 'too many messages')).toEqual([{ pod: `host of ${pod}` }]);
    await listener.run('select 1');
    expect(heard).toContainEqual({ t: 'stomp-disconnect', sessionId: id });
    expect(await report(pod, [])).toMatchObject([{ disconnects: { [id]: 'too many messages' } }]);
    // Not of others.
    const other = await setup();
    expect(await report(other.pod, [])).toMatchObject([{ disconnects: {} }]);
    const event = one(
      await run(`select * from towpath.audit_event where operation = 'disconnectStompSession' and tenancy_id = $1`, [
        tenancyId,
      ]),
    );
    expect(event).toMatchObject({
      outcome: 'SUCCEEDED',
      credential: 'database-role',
      target_ids: [id, 'ocid1.user.x'],
      parameters: { userId: 'ocid1.user.x', peerAddress: '192.0.2.7', podId: pod, reason: 'too many messages' },
    });
  });

  it('refuses what there is not, and what is another tenancy’s', async () => {
    const { pod, tenancyId, id } = await setup();
    await report(pod, [{ no: 1, tenancyId, sessions: [reported(id)] }]);
    await expect(disconnect(randomUUID())).rejects.toMatchObject({ code: 'TP404' });
    await expect(disconnect('no uuid')).rejects.toMatchObject({ code: 'TP404' });
    await expect(disconnect(id, null, await makeTenancy(run))).rejects.toMatchObject({ code: 'TP404' });
    await expect(disconnect(id, 'x'.repeat(201))).rejects.toMatchObject({ code: 'TP400' });
    await expect(disconnect(id, '')).rejects.toMatchObject({ code: 'TP400' });
    expect(await report(pod, [])).toMatchObject([{ disconnects: {} }]);
    await disconnect(id, null, tenancyId);
    await disconnect(id, 'again');
    expect(await report(pod, [])).toMatchObject([{ disconnects: { [id]: null } }]);
  });

  it('forgets requests after a minute', async () => {
    const { pod, tenancyId, id } = await setup();
    const other = randomUUID();
    await report(pod, [{ no: 1, tenancyId, sessions: [reported(id), reported(other)] }]);
    await disconnect(id);
    await run(`update towpath.stomp_disconnect set requested_at = requested_at - interval '61 seconds'`);
    await disconnect(other);
    expect(await report(pod, [])).toMatchObject([{ disconnects: { [other]: null } }]);
  });

  it('keeps neither reports nor heartbeats waiting while its transaction is open', async () => {
    const { pod, tenancyId, id } = await setup();
    await report(pod, [{ no: 1, tenancyId, sessions: [reported(id)] }]);
    const psql = await session();
    await psql.run('begin');
    await psql.run('select towpath.disconnect_stomp_session($1)', [id]);
    const another = await session();
    await report(pod, [{ no: 1, tenancyId, sessions: [reported(id)] }], another.run);
    await another.run(`update towpath.pod set seen_at = seen_at - interval '20 seconds' where id = $1`, [pod]);
    await another.run('select towpath.record_heartbeat($1)', [randomUUID()]);
    expect(await rowsOf(pod)).toBe(0);
    await psql.run('rollback');
  });
});
