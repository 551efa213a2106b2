import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Pod } from '../../src/app.js';
import type { Frame } from '../../src/stomp/codec/frame.js';
import { MemoryBudget } from '../../src/memory/memory-budget.js';
import { until, waitersOf } from '../pods/support.js';
import { Client } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { expectFailure, stompClients, type RawClient, type StompClients } from './support.js';

const INDIVIDUAL = { ack: 'client-individual' };

const bodiesOf = (frames: readonly Frame[]): string[] => frames.map(({ body }) => body.toString());

const messages = (client: RawClient): Frame[] => client.frames.filter(({ command }) => command === 'MESSAGE');

const at = (frame: Frame, name: string): number => Date.parse(frame.headers.get(name)!);

async function untilMessages(client: RawClient, count: number): Promise<Frame[]> {
  await until(() => messages(client).length >= count || client.error, `${count} messages came`);
  return messages(client);
}

describe('SUBSCRIBE', () => {
  let pods: TestPods;
  let pod: Pod;
  let other: Pod;
  let strict: Pod;
  let rest: Client;
  let stomp: StompClients;

  const newQueue = (details: object = {}): Promise<string> =>
    rest.createQueue({ compartmentId: pods.credentials.compartmentId, ...details });
  const countOf = async (queueId: string): Promise<Record<string, number>> =>
    ((await rest.call({ path: `/queues/${queueId}/stats` })).json as { queue: Record<string, number> }).queue;
  const untilGone = (queueId: string): Promise<void> =>
    until(async () => {
      const { visibleMessages = 0, inFlightMessages = 0 } = await countOf(queueId);
      return visibleMessages + inFlightMessages === 0;
    }, 'all messages are deleted');

  beforeAll(async () => {
    pods = await startTestPods(1);
    [pod] = pods.pods as [Pod];
    other = await pods.add();
    strict = await pods.add({ TOWPATH_STOMP_STRICT: '1' });
    rest = new Client(pod.url, pods.credentials.apiKey);
    stomp = stompClients(pods);
  });
  afterEach(async () => {
    await stomp.close();
    for (const each of pods.pods) {
      await until(() => each.app.get(MemoryBudget).held === 0 && waitersOf(each) === 0, 'nothing is left');
    }
  });
  afterAll(async () => {
    rest.close();
    await pods.stop();
  });

  it('delivers what REST puts on another pod, while it waits', async () => {
    const queueId = await newQueue();
    const client = await stomp.client(other);
    await client.ask('SUBSCRIBE', { id: '1', destination: queueId, ...INDIVIDUAL });
    await until(() => waitersOf(other) === 1, 'it waits');
    const body = { messages: [{ content: 'hi', metadata: { channelId: 'c', customProperties: { a: 'b:c' } } }] };
    await rest.call({ method: 'POST', path: `/queues/${queueId}/messages`, body });
    const message = await client.take('MESSAGE');
    expect(Object.fromEntries(message.headers)).toEqual({
      subscription: '1',
      'message-id': expect.stringMatching(/^\d+-1$/),
      destination: queueId,
      ack: message.headers.get('message-id'),
      'oci-message-id': expect.stringMatching(/^\d+$/),
      'oci-channel-id': 'c',
      'oci-delivery-count': '1',
      'oci-created-at': expect.stringMatching(/Z$/),
      'oci-visible-after': expect.stringMatching(/Z$/),
      'oci-expire-after': expect.stringMatching(/Z$/),
      a: 'b:c',
      'content-length': '2',
    });
  });

  it.each([
    ['1.0', ({ headers }: Frame) => ({ 'message-id': headers.get('message-id')! })],
    ['1.1', ({ headers }: Frame) => ({ 'message-id': headers.get('message-id')!, subscription: 's' })],
    ['1.2', ({ headers }: Frame) => ({ id: headers.get('ack')! })],
  ])('takes ACKs in the form of %s', async (version, ackOf) => {
    const queueId = await newQueue();
    await rest.put(queueId, 'one');
    const client = await stomp.client(pod, { 'accept-version': version });
    client.write('SUBSCRIBE', { id: 's', destination: queueId, ...INDIVIDUAL });
    const message = await client.take('MESSAGE');
    expect(message.headers.has('ack')).toBe(version === '1.2');
    await client.ask('ACK', ackOf(message));
    await client.ask('DISCONNECT');
    expect(await rest.get(queueId)).toEqual([]);
  });

  it('in 1.0 goes by its destination', async () => {
    const queueId = await newQueue();
    await rest.put(queueId, 'one');
    const client = await stomp.client(pod, { 'accept-version': '1.0' });
    await client.ask('SUBSCRIBE', { destination: queueId, ack: 'client' });
    expect((await client.take('MESSAGE')).headers.get('destination')).toBe(queueId);
    await client.ask('UNSUBSCRIBE', { destination: queueId });
    expect((await rest.get(queueId)).length).toBe(1);
  });

  it('with ack:auto deletes what was sent', async () => {
    const queueId = await newQueue();
    await rest.put(queueId, 'one', 'two', 'three');
    const client = await stomp.client();
    client.write('SUBSCRIBE', { id: '1', destination: queueId });
    await untilMessages(client, 3);
    await untilGone(queueId);
    expect(messages(client)[0]?.headers.has('ack')).toBe(false);
  });

  it('with ack:client acknowledges all that came before', async () => {
    const queueId = await newQueue();
    await rest.put(queueId, '1', '2', '3', '4', '5');
    const client = await stomp.client();
    client.write('SUBSCRIBE', { id: '1', destination: queueId, ack: 'client' });
    const found = await untilMessages(client, 5);
    await client.ask('ACK', { id: found[2]!.headers.get('ack')! });
    await client.ask('DISCONNECT');
    expect((await rest.get(queueId)).map(({ content }) => content)).toEqual(bodiesOf(found.slice(3)));
  });

  it('delivers no more than prefetch-count that are not acknowledged, and goes on with each ACK', async () => {
    const queueId = await newQueue();
    for (let n = 0; n < 3; n += 1) await rest.put(queueId, ...Array.from({ length: 10 }, (_, i) => `${n * 10 + i}`));
    const client = await stomp.client();
    client.write('SUBSCRIBE', { id: '1', destination: queueId, 'prefetch-count': '4', ...INDIVIDUAL });
    const seen: string[] = [];
    for (let n = 0; n < 30; n += 1) {
      const message = await client.take('MESSAGE');
      seen.push(message.body.toString());
      expect((await countOf(queueId))['inFlightMessages']).toBeLessThanOrEqual(4);
      await client.ask('ACK', { id: message.headers.get('ack')! });
    }
    expect(seen.toSorted()).toEqual(Array.from({ length: 30 }, (_, n) => `${n}`).toSorted());
    await untilGone(queueId);
  });

  it('delivers the next messages while those that were acknowledged are being deleted, as many again at most', async () => {
    const queueId = await newQueue();
    await rest.put(queueId, 'one', 'two', 'three');
    const client = await stomp.client();
    client.write('SUBSCRIBE', { id: '1', destination: queueId, 'prefetch-count': '1', ...INDIVIDUAL });
    const first = await client.take('MESSAGE');
    const blocker = new pg.Client({ connectionString: pods.test.url });
    await blocker.connect();
    try {
      await blocker.query('begin');
      await blocker.query('select from towpath.message where id = $1 for update', [
        first.headers.get('oci-message-id'),
      ]);
      client.write('ACK', { id: first.headers.get('ack')!, receipt: 'first' });
      const second = await client.take('MESSAGE');
      client.write('ACK', { id: second.headers.get('ack')!, receipt: 'second' });
      // It is answered when the ACK before it was read.
      await client.ask('BEGIN', { transaction: 't' });
      expect(await countOf(queueId)).toMatchObject({ inFlightMessages: 2, visibleMessages: 1 });
      expect(client.frames).toEqual([]);
    } finally {
      await blocker.end();
    }
    await client.take('RECEIPT', { 'receipt-id': 'second' });
    const third = await client.take('MESSAGE');
    expect(third.body.toString()).toBe('three');
    await client.ask('ACK', { id: third.headers.get('ack')! });
    await untilGone(queueId);
  });

  it('goes by channel, consumer group, visibility and the dead letter queue', async () => {
    const queueId = await newQueue({ capabilities: [{ type: 'CONSUMER_GROUPS' }], deadLetterQueueDeliveryCount: 1 });
    const created = await rest.call({
      method: 'POST',
      path: '/consumerGroups',
      body: { displayName: 'second', queueId },
    });
    const request = await rest.call({ path: `/workRequests/${String(created.headers['opc-work-request-id'])}` });
    const group = (request.json as { resources: { identifier: string }[] }).resources[0]!.identifier;
    const put = (content: string, channelId: string): Promise<unknown> =>
      rest.call({
        method: 'POST',
        path: `/queues/${queueId}/messages`,
        body: { messages: [{ content, metadata: { channelId } }] },
      });
    await put('a', 'x');
    await put('b', 'y');
    const client = await stomp.client();
    client.write('SUBSCRIBE', { id: 'x', destination: `${queueId}/x`, ...INDIVIDUAL });
    client.write('SUBSCRIBE', {
      id: 'y',
      destination: queueId,
      channel: 'y',
      'consumer-group': group,
      'visibility-in-seconds': '100',
      ...INDIVIDUAL,
    });
    const ofX = await client.take('MESSAGE', { subscription: 'x' });
    expect(ofX.body.toString()).toBe('a');
    const ofY = await client.take('MESSAGE', { subscription: 'y' });
    expect(ofY.body.toString()).toBe('b');
    expect(at(ofY, 'oci-visible-after') - at(ofX, 'oci-visible-after')).toBeGreaterThan(60_000);
    // Its only delivery has failed.
    await client.ask('NACK', { id: ofX.headers.get('ack')! });
    client.write('SUBSCRIBE', { id: 'dead', destination: `${queueId}/dlq`, ...INDIVIDUAL });
    const dead = await client.take('MESSAGE', { subscription: 'dead' });
    expect([dead.body.toString(), messages(client).length]).toEqual(['a', 0]);
    await client.ask('ACK', { id: dead.headers.get('ack')! });
  });

  it('is fair between subscriptions of a connection', async () => {
    const [busy, quiet] = [await newQueue(), await newQueue()];
    for (let n = 0; n < 10; n += 1) await rest.put(busy, ...Array.from({ length: 20 }, () => 'busy'));
    await rest.put(quiet, 'quiet');
    const client = await stomp.client();
    client.write('SUBSCRIBE', { id: 'busy', destination: busy, ack: 'auto', 'prefetch-count': '5' });
    client.write('SUBSCRIBE', { id: 'quiet', destination: quiet, ack: 'auto' });
    await client.take('MESSAGE', { subscription: 'quiet' });
    expect((await countOf(busy))['visibleMessages']).toBeGreaterThan(0);
  });

  it('makes visible again what is refused, now or after a while', async () => {
    const queueId = await newQueue();
    await rest.put(queueId, 'one');
    const client = await stomp.client();
    client.write('SUBSCRIBE', { id: '1', destination: queueId, ...INDIVIDUAL });
    const first = await client.take('MESSAGE');
    await client.ask('NACK', { id: first.headers.get('ack')! });
    const second = await client.take('MESSAGE', { 'oci-delivery-count': '2' });
    const before = performance.now();
    await client.ask('NACK', { id: second.headers.get('ack')!, 'delay-in-seconds': '1' });
    await client.take('MESSAGE', { 'oci-delivery-count': '3' });
    expect(performance.now() - before).toBeGreaterThan(900);
  });

  it.each(['UNSUBSCRIBE', 'DISCONNECT', 'a cut'])('gives back at once what is not acknowledged, on %s', async (how) => {
    const queueId = await newQueue({ visibilityInSeconds: 600 });
    await rest.put(queueId, 'one', 'two');
    const client = await stomp.client();
    client.write('SUBSCRIBE', { id: '1', destination: queueId, ...INDIVIDUAL });
    const [first] = await untilMessages(client, 2);
    await client.ask('ACK', { id: first!.headers.get('ack')! });
    if (how === 'a cut') client.socket.resetAndDestroy();
    else await client.ask(how, how === 'UNSUBSCRIBE' ? { id: '1' } : {});
    const found: { content: string; deliveryCount: number }[] = [];
    await until(async () => {
      found.push(...((await rest.get(queueId)) as unknown as typeof found));
      return found.length > 0;
    }, 'the other is visible');
    expect(found).toMatchObject([{ content: 'two', deliveryCount: 2 }]);
  });

  it.each(['by its header', 'in strict mode'])('does not give back %s', async (how) => {
    const queueId = await newQueue({ visibilityInSeconds: 600 });
    await rest.put(queueId, 'one');
    const client = await stomp.client(how === 'in strict mode' ? strict : pod);
    const header = how === 'in strict mode' ? {} : { 'release-on-disconnect': 'false' };
    client.write('SUBSCRIBE', { id: '1', destination: queueId, ...INDIVIDUAL, ...header });
    await client.take('MESSAGE');
    await client.ask('DISCONNECT');
    expect(await rest.get(queueId)).toEqual([]);
    expect((await countOf(queueId))['inFlightMessages']).toBe(1);
  });

  it('delivers again what was not acknowledged in time, and takes no ACK of the first delivery then', async () => {
    const queueId = await newQueue({ visibilityInSeconds: 1 });
    await rest.put(queueId, 'one');
    const client = await stomp.client();
    client.write('SUBSCRIBE', { id: '1', destination: queueId, 'prefetch-count': '1', ...INDIVIDUAL });
    const first = await client.take('MESSAGE', { 'oci-delivery-count': '1' });
    const second = await client.take('MESSAGE', { 'oci-delivery-count': '2' });
    await client.ask('ACK', { id: first.headers.get('ack')!, 'stale-ack': 'ignore' });
    expect((await countOf(queueId))['inFlightMessages']).toBe(1);
    await client.ask('ACK', { id: second.headers.get('ack')! });
    await untilGone(queueId);
    client.write('ACK', { id: first.headers.get('ack')!, receipt: 'x' });
    expect((await expectFailure(client, 'NotAuthorizedOrNotFound', /stale-ack/)).headers.get('receipt-id')).toBe('x');
  });

  it('ignores stale ACKs where the subscription says so', async () => {
    const queueId = await newQueue();
    await rest.put(queueId, 'one');
    const client = await stomp.client();
    client.write('SUBSCRIBE', { id: '1', destination: queueId, 'stale-ack': 'ignore', ...INDIVIDUAL });
    const message = await client.take('MESSAGE');
    const ack = { id: message.headers.get('ack')!, subscription: '1' };
    await client.ask('ACK', ack);
    await client.ask('ACK', ack);
    client.write('ACK', { id: 'never' });
    await expectFailure(client, 'NotAuthorizedOrNotFound');
  });

  it('keeps the lease of what is held, where that is asked for', async () => {
    const queueId = await newQueue({ visibilityInSeconds: 1 });
    await rest.put(queueId, 'one');
    const client = await stomp.client();
    client.write('SUBSCRIBE', { id: '1', destination: queueId, lease: 'keep', ...INDIVIDUAL });
    const message = await client.take('MESSAGE');
    await sleep(3500);
    expect(messages(client)).toEqual([]);
    expect(await rest.get(queueId)).toEqual([]);
    await client.ask('ACK', { id: message.headers.get('ack')! });
    await untilGone(queueId);
  });

  it.each([
    ['no id', { ack: 'client' }, 'MissingParameter', /id/],
    ['an odd ack', { id: '1', ack: 'maybe' }, 'InvalidParameter', /ack: must be auto or client/],
    ['an odd prefetch', { id: '1', 'prefetch-count': '0' }, 'InvalidParameter', /from 1 to 1000/],
    ['an odd visibility', { id: '1', 'visibility-in-seconds': '0' }, 'InvalidParameter', /from 1 to 43200/],
    ['an odd channel', { id: '1', channel: 'a b' }, 'InvalidParameter', /channel/],
    ['an unknown group', { id: '1', 'consumer-group': 'x' }, 'NotAuthorizedOrNotFound', /./],
    ['an odd lease', { id: '1', lease: 'lose' }, 'InvalidParameter', /lease: must be keep/],
  ])('is refused with %s', async (_, headers, code, message) => {
    const queueId = await newQueue();
    const client = await stomp.client();
    client.write('SUBSCRIBE', { destination: queueId, ...headers });
    await expectFailure(client, code, message);
  });

  it('is refused twice with one id, and ended once', async () => {
    const queueId = await newQueue();
    const client = await stomp.client();
    await client.ask('SUBSCRIBE', { id: '1', destination: queueId });
    client.write('SUBSCRIBE', { id: '1', destination: queueId });
    await expectFailure(client, 'InvalidParameter', /of this id already/);
    const second = await stomp.client();
    second.write('UNSUBSCRIBE', { id: '1' });
    await expectFailure(second, 'InvalidParameter', /no subscription/);
  });

  it('ends where its queue is deleted', async () => {
    const queueId = await newQueue();
    await rest.put(queueId, 'one');
    const client = await stomp.client();
    client.write('SUBSCRIBE', { id: '1', destination: queueId, 'prefetch-count': '1', ...INDIVIDUAL });
    const message = await client.take('MESSAGE');
    await rest.call({ method: 'DELETE', path: `/queues/${queueId}` });
    client.write('NACK', { id: message.headers.get('ack')! });
    await expectFailure(client, 'NotAuthorizedOrNotFound');
  });
});
