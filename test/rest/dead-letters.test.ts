import { until } from '../pods/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { Client, expectError, makeStranger, type Answer } from './support.js';

interface WorkRequest {
  readonly operationType: string;
  readonly status: string;
  readonly percentComplete: number;
  readonly resources: readonly { readonly actionType: string; readonly identifier: string }[];
  readonly timeFinished?: string;
  readonly redrive: Record<string, unknown>;
}

const of = (kind: string, amount: string): object => ({
  content: kind,
  metadata: { customProperties: { kind, amount } },
});

describe('dead letters over REST', () => {
  let pods: TestPods;
  let client: Client;

  beforeAll(async () => {
    pods = await startTestPods();
    client = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
  });
  afterAll(async () => {
    client.close();
    await pods.stop();
  });

  const newQueue = (details: Record<string, unknown> = {}): Promise<string> =>
    client.createQueue({
      compartmentId: pods.credentials.compartmentId,
      deadLetterQueueDeliveryCount: 1,
      visibilityInSeconds: 600,
      ...details,
    });
  const act = (queueId: string, action: string, body: unknown, headers = {}): Promise<Answer> =>
    client.call({ method: 'POST', path: `/queues/${queueId}/deadLetters/actions/${action}`, body, headers });

  /** Puts messages, delivers each once, and lets that time out. Returns their ids. */
  async function makeDead(queueId: string, messages: readonly object[]): Promise<number[]> {
    const put = await client.call({ method: 'POST', path: `/queues/${queueId}/messages`, body: { messages } });
    expect(put.status).toBe(200);
    const ids = (put.json as { messages: { id: number }[] }).messages.map(({ id }) => id);
    for (let delivered = 0; delivered < ids.length;) {
      delivered += (await client.get(queueId, 'limit=20&visibilityInSeconds=600')).length;
    }
    await pods.test.sql('update towpath.message set visible_after = now() where id = any ($1)', [ids]);
    expect(await client.get(queueId)).toEqual([]);
    // Those of other channels than the one that the get looked at have been swept, or will be.
    await until(async () => {
      const rows = await pods.test.sql(
        'select from towpath.message where id = any ($1) and consumer_group_id = 0 and not dead_letter',
        [ids],
      );
      return rows.length === 0;
    }, 'all are dead');
    return ids;
  }

  async function ended(answer: Answer): Promise<WorkRequest> {
    expect([answer.status, answer.text]).toEqual([202, '']);
    const path = `/workRequests/${String(answer.headers['opc-work-request-id'])}`;
    let found: WorkRequest | undefined;
    await until(async () => {
      found = (await client.call({ path })).json as unknown as WorkRequest;
      return found.timeFinished !== undefined;
    }, 'the work request ends');
    return found!;
  }
  const rowsOf = (ids: readonly number[]): Promise<{ id: number; dead_letter: boolean; consumer_group_id: number }[]> =>
    pods.test.sql('select id, dead_letter, consumer_group_id from towpath.message where id = any ($1) order by id', [
      ids,
    ]);

  describe('redrive', () => {
    it('puts all of them back, and the work request tells of it', async () => {
      const queueId = await newQueue();
      const ids = await makeDead(queueId, [{ content: 'a' }, { content: 'b' }]);
      const dry = await ended(await act(queueId, 'redrive', { isDryRun: true }));
      expect(dry).toMatchObject({ status: 'SUCCEEDED', redrive: { matched: 2, redriven: 0, isDryRun: true } });
      expect((await rowsOf(ids)).map((row) => row.dead_letter)).toEqual([true, true]);
      // An SDK drops a body of {}.
      const request = await ended(await act(`${queueId}%2Fdlq`, 'redrive', undefined));
      expect(request).toMatchObject({
        operationType: 'REDRIVE_MESSAGES',
        status: 'SUCCEEDED',
        percentComplete: 100,
        resources: [{ entityType: 'QUEUE', actionType: 'UPDATED', identifier: queueId }],
        redrive: { examined: 2, matched: 2, redriven: 2, skipped: 0, failed: 0, isDryRun: false },
      });
      const messages = await client.get(queueId);
      expect(messages.map(({ id }) => id)).toEqual(ids);
      expect(messages[0]).toMatchObject({ content: 'a', deliveryCount: 1 });
    });

    it('takes a filter as consumer groups do, and points at the place where it is wrong', async () => {
      const queueId = await newQueue();
      const ids = await makeDead(queueId, [of('invoice', '150'), of('invoice', '50'), of('order', '150')]);
      const filter = ':kind = "invoice" and :amount > 100';
      expect((await ended(await act(queueId, 'redrive', { filter }))).redrive).toMatchObject({
        examined: 3,
        redriven: 1,
      });
      expect((await rowsOf(ids)).map((row) => row.dead_letter)).toEqual([false, true, true]);
      expectError(await act(queueId, 'redrive', { filter: ':kind = invoice' }), 400, 'InvalidParameter', /character 9/);
      expect((await ended(await act(queueId, 'redrive', { filter: ' ' }))).redrive).toMatchObject({ redriven: 2 });
    });

    it('takes ids, channels and times in any zone', async () => {
      const queueId = await newQueue();
      const ids = await makeDead(queueId, [
        { content: 'a', metadata: { channelId: 'ch' } },
        { content: 'b', metadata: { channelId: 'ch' } },
        { content: 'c' },
      ]);
      const dry = async (body: object): Promise<unknown> =>
        (await ended(await act(queueId, 'redrive', { ...body, isDryRun: true }))).redrive['matched'];
      expect(await dry({ messageIds: [ids[0], ids[2]] })).toBe(2);
      expect(await dry({ channelIds: ['ch'] })).toBe(2);
      expect(await dry({ createdBefore: '1999-01-01T00:00:00+23:59' })).toBe(0);
      expect(
        await dry({ diedAfter: '1999-01-01T00:00:00.123456789-18:00', createdAfter: '1999-01-01T00:00:00Z' }),
      ).toBe(3);
      for (const body of [
        { createdBefore: '2026-11-22' },
        { createdBefore: '0000-01-01T00:00:00Z' },
        { diedBefore: '2026-02-30T00:00:00Z' },
        { diedAfter: 5 },
      ]) {
        expectError(await act(queueId, 'redrive', body), 400, 'InvalidParameter', /must be a time with its zone/);
      }
      expectError(await act(queueId, 'redrive', { messageIds: [] }), 400, 'InvalidParameter', /1 to 1000/);
      expectError(await act(queueId, 'redrive', { messagesPerSecond: 0 }), 400, 'InvalidParameter', /1 to 100000/);
    });

    it('wakes a long poll', async () => {
      const queueId = await newQueue();
      const [id] = await makeDead(queueId, [{ content: 'a' }]);
      const polling = client.call({ path: `/queues/${queueId}/messages?timeoutInSeconds=30` });
      await ended(await act(queueId, 'redrive', {}));
      expect((await polling).json).toMatchObject({ messages: [{ id }] });
    });

    it('moves to another queue, unless it is somebody else’s', async () => {
      const [queueId, target, stranger] = [await newQueue(), await newQueue(), await makeStranger(pods)];
      await makeDead(queueId, [{ content: 'a' }, { content: 'b' }]);
      expectError(await act(queueId, 'redrive', { targetQueueId: stranger.queueId }), 404, 'NotAuthorizedOrNotFound');
      expectError(await act(queueId, 'redrive', { targetQueueId: queueId }), 400, 'InvalidParameter', /leave it out/);
      const request = await ended(await act(queueId, 'redrive', { targetQueueId: target, targetChannelId: 'ch' }));
      expect(request.redrive).toMatchObject({ redriven: 2 });
      expect((await client.get(target, 'channelFilter=ch&limit=20')).map(({ content }) => content)).toEqual(['a', 'b']);
      // And theirs is nobody's business.
      expectError(
        await stranger.client.call({ method: 'POST', path: `/queues/${queueId}/deadLetters/actions/redrive` }),
        404,
        'NotAuthorizedOrNotFound',
      );
      stranger.client.close();
    });

    it('is refused while another one runs, which can be canceled', async () => {
      const queueId = await newQueue();
      const ids = await makeDead(
        queueId,
        Array.from({ length: 20 }, () => ({ content: 'x' })),
      );
      const slow = await act(queueId, 'redrive', { messagesPerSecond: 1 });
      expectError(await act(queueId, 'redrive', {}), 409, 'IncorrectState', /another redrive/);
      expectError(await act(queueId, 'redrive', {}, { 'if-match': '"7"' }), 412, 'NoEtagMatch');
      const path = `/workRequests/${String(slow.headers['opc-work-request-id'])}`;
      const canceled = await client.call({ method: 'DELETE', path });
      expect([canceled.status, canceled.text]).toEqual([202, '']);
      const request = await ended(slow);
      expect(request).toMatchObject({ status: 'CANCELED', redrive: { messagesPerSecond: 1 } });
      expect(request.redrive['redriven']).toBeLessThan(20);
      expect((await rowsOf(ids)).filter((row) => !row.dead_letter)).toHaveLength(Number(request.redrive['redriven']));
      expectError(await client.call({ method: 'DELETE', path }), 409, 'IncorrectState', /CANCELED/);
      expect((await ended(await act(queueId, 'redrive', {}))).redrive).toMatchObject({ failed: 0, skipped: 0 });
      expect((await rowsOf(ids)).filter((row) => row.dead_letter)).toEqual([]);
    });

    it('keeps its rate', async () => {
      const queueId = await newQueue();
      await makeDead(
        queueId,
        Array.from({ length: 20 }, () => ({ content: 'x' })),
      );
      const started = performance.now();
      await ended(await act(queueId, 'redrive', { messagesPerSecond: 10 }));
      // Two seconds' worth, none of it saved up before.
      expect(performance.now() - started).toBeGreaterThan(1500);
    });
  });

  describe('delete', () => {
    it('takes ids, and leaves alone what a consumer holds', async () => {
      const queueId = await newQueue();
      const ids = await makeDead(queueId, [{ content: 'a' }, { content: 'b' }, { content: 'c' }]);
      await client.put(queueId, 'alive');
      const [held] = await client.get(`${queueId}%2Fdlq`, 'limit=1');
      const [alive] = await client.get(queueId);
      const others = ids.filter((id) => id !== held!.id);
      const answer = await act(queueId, 'delete', { messageIds: [others[0], held!.id, alive!.id, others[0], 1] });
      expect(answer.json).toEqual({
        serverFailures: 0,
        clientFailures: 3,
        entries: [
          {},
          { errorCode: 409, errorMessage: expect.stringMatching(/holds/) },
          { errorCode: 404, errorMessage: expect.stringMatching(/no such/) },
          {},
          { errorCode: 404, errorMessage: expect.any(String) },
        ],
      });
      expect((await rowsOf([...ids, alive!.id])).map(({ id }) => id)).toEqual(
        [others[1]!, held!.id, alive!.id].toSorted((a, b) => a - b),
      );
      // Its holder deletes it with the receipt.
      const path = `/queues/${queueId}%2Fdlq/messages/${held!.receipt}`;
      expect((await client.call({ method: 'DELETE', path })).status).toBe(204);
      expectError(await act(queueId, 'delete', { messageIds: [] }), 400, 'InvalidParameter', /1 to 20/);
    });
  });

  describe('resend', () => {
    it('puts a changed copy in its place, which names it', async () => {
      const queueId = await newQueue();
      const properties = { kind: 'a', n: '1' };
      const [id] = await makeDead(queueId, [
        { content: 'worng', metadata: { channelId: 'ch', customProperties: properties } },
      ]);
      const answer = await act(queueId, 'resend', { messageId: id, content: 'right' });
      expect([answer.status, answer.text]).toEqual([200, answer.text]);
      const [message] = await client.get(queueId, 'channelFilter=ch');
      expect(message).toMatchObject({
        id: answer.json!['id'],
        expireAfter: answer.json!['expireAfter'],
        content: 'right',
        deliveryCount: 1,
        metadata: { channelId: 'ch', customProperties: { ...properties, 'towpath.resentFrom': `${queueId}/${id}` } },
      });
      expect(await rowsOf([id!])).toEqual([]);
      expectError(await act(queueId, 'resend', { messageId: id }), 404, 'NotAuthorizedOrNotFound', /messageId/);
    });

    it('in the same queue is for the group whose dead letter it was', async () => {
      const queueId = await newQueue({ capabilities: [{ type: 'CONSUMER_GROUPS' }] });
      const group = await client.call({ method: 'POST', path: '/consumerGroups', body: { queueId, displayName: 'g' } });
      expect(group.status).toBe(202);
      const { items } = (await client.call({ path: `/consumerGroups?queueId=${queueId}&displayName=g` })).json as {
        items: { id: string }[];
      };
      const consumerGroupId = items[0]!.id;
      // The copy of the second group lives.
      const [id] = await makeDead(queueId, [{ content: 'a' }]);
      expectError(await act(queueId, 'resend', { messageId: id, consumerGroupId }), 404, 'NotAuthorizedOrNotFound');
      const answer = await act(queueId, 'resend', { messageId: id });
      expect(await rowsOf([Number(answer.json!['id'])])).toMatchObject([{ consumer_group_id: 0, dead_letter: false }]);
    });

    it('to another queue, within its limits', async () => {
      const [queueId, target] = [await newQueue(), await newQueue()];
      const [id, other] = await makeDead(queueId, [{ content: 'a' }, { content: 'x'.repeat(262_140) }]);
      expectError(
        await act(queueId, 'resend', { messageId: id, targetQueueId: target, content: 'x'.repeat(262_145) }),
        400,
        'LimitExceeded',
        /names the old message/,
      );
      // With the property that is added it has grown over the limit.
      expectError(await act(queueId, 'resend', { messageId: other, targetQueueId: target }), 400, 'LimitExceeded');
      const large = await newQueue({ capabilities: [{ type: 'LARGE_MESSAGES' }] });
      expect((await act(queueId, 'resend', { messageId: other, targetQueueId: large })).status).toBe(200);
      const body = {
        messageId: id,
        targetQueueId: target,
        metadata: { channelId: 'ch', customProperties: { a: 'b' } },
      };
      expect((await act(queueId, 'resend', body)).status).toBe(200);
      expect(await client.get(target, 'channelFilter=ch')).toMatchObject([
        { content: 'a', metadata: { customProperties: { a: 'b', 'towpath.resentFrom': `${queueId}/${id}` } } },
      ]);
      expect(await rowsOf([id!, other!])).toEqual([]);
    });

    it('is refused while a consumer holds it, and wakes a long poll', async () => {
      const queueId = await newQueue();
      const [id] = await makeDead(queueId, [{ content: 'a' }]);
      const [held] = await client.get(`${queueId}%2Fdlq`);
      expectError(await act(queueId, 'resend', { messageId: id }), 409, 'IncorrectState', /holds the message until/);
      const path = `/queues/${queueId}%2Fdlq/messages/${held!.receipt}`;
      expect((await client.call({ method: 'PUT', path, body: { visibilityInSeconds: 0 } })).status).toBe(200);
      const polling = client.call({ path: `/queues/${queueId}/messages?timeoutInSeconds=30` });
      const answer = await act(queueId, 'resend', { messageId: id });
      expect((await polling).json).toMatchObject({ messages: [{ id: answer.json!['id'] }] });
    });
  });
});
