import { jest } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { startPod, type Pod } from '../../src/app.js';
import { readConfiguration } from '../../src/config/environment.js';
import { Notifications } from '../../src/database/notifications.js';
import { LivePods } from '../../src/limits/live-pods.js';
import { createLogger } from '../../src/operations/log.js';
import { StompFigures } from '../../src/stomp/stomp-figures.js';
import { until } from '../pods/support.js';
import { Client, expectError, makeStranger, type Answer } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { expectFailure, stompClients, type RawClient, type StompClients } from './support.js';

type Shown = Record<string, unknown> & { readonly id: string };

const idOf = (session: { headers: ReadonlyMap<string, string> }): string => session.headers.get('session') ?? '';

describe('what operators see of STOMP', () => {
  let pods: TestPods;
  let first: Pod;
  let second: Pod;
  let rest: Client;
  let stomp: StompClients;
  let queueId: string;

  beforeAll(async () => {
    pods = await startTestPods(2);
    [first, second] = pods.pods as [Pod, Pod];
    rest = new Client(first.url, pods.credentials.apiKey);
    stomp = stompClients(pods);
  });
  beforeEach(async () => {
    queueId = await rest.createQueue({ displayName: 'watched', compartmentId: pods.credentials.compartmentId });
  });
  afterEach(async () => {
    await stomp.close();
    await until(async () => (await rowsOf()) === 0, 'nothing of them is in the database');
  });
  afterAll(async () => {
    rest.close();
    await pods.stop();
  });

  const rowsOf = async (): Promise<number> => (await pods.test.sql('select from towpath.stomp_session_chunk')).length;
  const list = async (query = '', by = rest): Promise<Shown[]> => {
    const { status, text, json } = await by.call({ path: `/stompSessions?${query}` });
    if (status !== 200) throw new Error(text);
    return json!['items'] as Shown[];
  };
  const disconnect = (id: string, body: object = {}, by = rest): Promise<Answer> =>
    by.call({ method: 'POST', path: `/stompSessions/${id}/actions/disconnect`, body });

  /** A client and the id of its session, which is in the list. */
  async function shown(
    pod: Pod,
    login: StompClients['login'] = stomp.login,
  ): Promise<{ client: RawClient; id: string }> {
    const client = await stomp.stranger(pod);
    const id = idOf(await client.connect({ ...login, 'heart-beat': '0,0' }));
    const isShown = async (): Promise<boolean> =>
      (await pods.test.sql('select from towpath.stomp_sessions where session_id = $1', [id])).length === 1;
    await until(isShown, 'the session is shown');
    return { client, id };
  }

  it('is every session with its subscriptions, in SQL and by REST', async () => {
    for (let index = 0; index < 5; index += 1) await rest.put(queueId, 'x');
    const { client, id } = await shown(second);
    client.write('SUBSCRIBE', {
      id: 'mine',
      destination: `/queue/watched/eu`,
      ack: 'client',
      'prefetch-count': '7',
      lease: 'keep',
      'visibility-in-seconds': '60',
    });
    client.write('SUBSCRIBE', { id: `long${'\u{1f6b6}'.repeat(500)}`, destination: queueId, ack: 'client-individual' });
    await client.take('MESSAGE');
    client.write('BEGIN', { transaction: 't' });
    const get = async (): Promise<Shown> => (await rest.call({ path: `/stompSessions/${id}` })).json as Shown;
    await until(async () => (await get())['unacknowledgedMessages'] === 5, 'all are with the client');
    const session = await get();
    const summary = {
      id,
      podId: second.app.get(LivePods).id,
      userId: pods.credentials.userId,
      userName: expect.any(String),
      peerAddress: '127.0.0.1',
      transport: 'tcp',
      version: '1.2',
      timeConnected: expect.any(String),
      timeLastHeard: expect.any(String),
      timeLastSent: expect.any(String),
      timeReported: expect.any(String),
      subscriptionCount: 2,
      unacknowledgedMessages: 5,
      openTransactions: 1,
      bytesReceived: expect.any(Number),
      bytesSent: expect.any(Number),
    };
    expect(session).toEqual({
      ...summary,
      subscriptions: [
        {
          id: 'mine',
          destination: '/queue/watched/eu',
          queueId,
          isDeadLetterQueue: false,
          channelId: 'eu',
          ack: 'client',
          prefetchCount: 7,
          unacknowledgedMessages: 0,
          deliveredMessages: 0,
          keepsLease: true,
          visibilityInSeconds: 60,
        },
        {
          id: `long${'\u{1f6b6}'.repeat(98)}`,
          destination: queueId,
          queueId,
          isDeadLetterQueue: false,
          ack: 'client-individual',
          prefetchCount: 20,
          unacknowledgedMessages: 5,
          deliveredMessages: 5,
          keepsLease: false,
        },
      ],
    });
    expect(await list()).toMatchObject([summary]);
    for (const name of ['timeConnected', 'timeLastHeard', 'timeLastSent', 'timeReported']) {
      expect(Math.abs(Date.now() - Date.parse(String(session[name])))).toBeLessThan(60_000);
    }
    expect(session['bytesReceived']).toBe(client.socket.bytesWritten);
    const rows = await pods.test.sql(
      'select user_name, display_name, prefetch, unacknowledged, lease from towpath.stomp_subscriptions order by n',
    );
    expect(rows).toEqual([
      { user_name: session['userName'], display_name: 'watched', prefetch: 7, unacknowledged: 0, lease: 'keep' },
      { user_name: session['userName'], display_name: 'watched', prefetch: 20, unacknowledged: 5, lease: null },
    ]);
    const figures = second.app.get(StompFigures);
    expect(figures.unacknowledged).toBe(5);
    const { text } = await new Client(second.url, '').call({ path: '/metrics', root: true });
    expect(text).toMatch(/^towpath_stomp_unacknowledged_messages 5$/m);
    expect(text).toMatch(/^towpath_stomp_received_bytes_total [1-9]\d*$/m);
    expect(text).toMatch(/^towpath_stomp_sent_bytes_total [1-9]\d*$/m);
    await client.ask('DISCONNECT');
    await until(() => figures.unacknowledged === 0, 'nothing is held');
  });

  it('is a list in pages, filtered by queue, user and pod', async () => {
    const sessions = [await shown(first), await shown(second), await shown(second)];
    const newestFirst = sessions.map(({ id }) => id).toReversed();
    await sessions[0]!.client.ask('SUBSCRIBE', { id: 'a', destination: queueId });
    expect((await list()).map(({ id }) => id)).toEqual(newestFirst);
    const found: string[] = [];
    for (let page = ''; ;) {
      const answer = await rest.call({ path: `/stompSessions?limit=1${page}` });
      found.push(...(answer.json!['items'] as Shown[]).map(({ id }) => id));
      const next = answer.headers['opc-next-page'];
      if (next === undefined) break;
      page = `&page=${String(next)}`;
    }
    expect(found).toEqual(newestFirst);
    await until(async () => (await list(`queueId=${queueId}`)).length === 1, 'the subscription is known');
    expect(await list(`queueId=${queueId}`)).toMatchObject([{ id: sessions[0]!.id }]);
    expect(await list(`podId=${first.app.get(LivePods).id}`)).toMatchObject([{ id: sessions[0]!.id }]);
    expect(await list(`userId=${pods.credentials.userId}`)).toHaveLength(3);
    expect(await list('userId=nobody')).toEqual([]);
    await sessions[2]!.client.ask('DISCONNECT');
    await until(async () => (await list()).length === 2, 'it has gone from the list');
  });

  it('is of the own tenancy only', async () => {
    const stranger = await makeStranger(pods);
    const { login, passcode } = stranger.user;
    const theirs = await shown(first, { login, passcode });
    const ours = await shown(first);
    expect(await list()).toMatchObject([{ id: ours.id }]);
    expect(await list('', stranger.client)).toMatchObject([{ id: theirs.id }]);
    for (const id of [theirs.id, randomUUID(), 'x', '%00', theirs.id.toUpperCase()]) {
      expectError(await rest.call({ path: `/stompSessions/${id}` }), 404, 'NotAuthorizedOrNotFound');
      expectError(await disconnect(id), 404, 'NotAuthorizedOrNotFound');
    }
    expect(theirs.client.isClosed).toBe(false);
    await theirs.client.ask('DISCONNECT');
    stranger.client.close();
  });

  it.each(['the same pod', 'another pod'])('can be ended on %s, which gives back what it holds', async (where) => {
    const { client, id } = await shown(where === 'another pod' ? second : first);
    await client.ask('SUBSCRIBE', { id: 'a', destination: queueId, ack: 'client', 'visibility-in-seconds': '3600' });
    await rest.put(queueId, 'held');
    await client.take('MESSAGE');
    const { status, json } = await disconnect(id, { reason: 'moved: try later' });
    expect([status, json]).toEqual([200, { hasEnded: true }]);
    // At once, and not after an hour.
    expect(await rest.get(queueId)).toMatchObject([{ content: 'held', deliveryCount: 2 }]);
    await expectFailure(client, 'ServiceUnavailable', /^an operator has ended this connection: moved: try later;/);
    expect(await list()).toEqual([]);
    expectError(await disconnect(id), 404, 'NotAuthorizedOrNotFound');
  });

  it('can be ended at psql', async () => {
    const { client, id } = await shown(second);
    await pods.test.sql('select towpath.disconnect_stomp_session($1)', [id]);
    await expectFailure(client, 'ServiceUnavailable', /^an operator has ended this connection;/);
    await until(async () => (await list()).length === 0, 'it has gone from the list');
  });

  it('ends when what was read of it is carried out', async () => {
    const { client, id } = await shown(second);
    for (let index = 0; index < 50; index += 1)
      client.write('SEND', { destination: queueId, receipt: `r${index}` }, 'x');
    await client.take('RECEIPT', { 'receipt-id': 'r0' });
    expect((await disconnect(id)).json).toEqual({ hasEnded: true });
    await until(() => client.isClosed, 'it is closed');
    const confirmed = client.frames.filter(({ command }) => command === 'RECEIPT').length;
    const { json } = await rest.call({ path: `/queues/${queueId}/stats` });
    expect((json!['queue'] as { visibleMessages: number }).visibleMessages).toBeGreaterThanOrEqual(confirmed);
  });

  it('ends also where nobody hears the notification, with the next report', async () => {
    const { client, id } = await shown(second);
    const { events } = second.app.get(Notifications);
    const listeners = events.listeners('message');
    events.removeAllListeners('message');
    try {
      expect((await disconnect(id, { timeoutInSeconds: 0 })).json).toEqual({ hasEnded: false });
      await expectFailure(client, 'ServiceUnavailable');
    } finally {
      for (const listener of listeners) events.on('message', listener);
    }
  });

  it('is there again after the database has lost it', async () => {
    const { id } = await shown(first);
    await pods.test.sql('truncate towpath.stomp_session_chunk');
    await until(async () => (await list()).length === 1, 'the pod has reported it again');
    expect(await list()).toMatchObject([{ id }]);
  });

  it('goes at once with a pod that stops', async () => {
    const configuration = readConfiguration({
      DATABASE_URL: pods.test.url,
      TOWPATH_DATA_DIR: pods.dataDirectory,
      TOWPATH_PORT: '0',
      TOWPATH_STOMP_PORT: '0',
      TOWPATH_LOG_LEVEL: 'silent',
    });
    // One that the others do not stop.
    const third = await startPod(configuration, pods.test.url, createLogger('silent'));
    const { client } = await shown(third);
    await third.stop();
    expect(await rowsOf()).toBe(0);
    await expectFailure(client, 'ServiceUnavailable', /^shutting down/);
  });

  it('costs a pod without sessions no statement', async () => {
    const pool = [first, second].map(({ database }) => jest.spyOn(database, 'run'));
    const reports = (): number =>
      pool.flatMap(({ mock }) => mock.calls).filter(([{ name }]) => name === 'report_stomp_sessions').length;
    try {
      const quiet = reports();
      // Three times as long as from one report to the next.
      await new Promise((resolve) => setTimeout(resolve, 6000));
      expect(reports()).toBe(quiet);
      await shown(first);
      expect(reports()).toBeGreaterThan(quiet);
    } finally {
      for (const spy of pool) spy.mockRestore();
    }
  });
});
