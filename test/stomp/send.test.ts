import { randomBytes } from 'node:crypto';
import type { Pod } from '../../src/app.js';
import { StompFigures } from '../../src/stomp/stomp-figures.js';
import { Client, makeStranger } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { expectFailure, stompClients, type StompClients } from './support.js';

interface RestMessage {
  readonly id: number;
  readonly content: string;
  readonly contentEncoding?: string;
  readonly receipt: string;
  readonly metadata?: { readonly channelId?: string; readonly customProperties?: Record<string, string> };
}

describe('SEND', () => {
  let pods: TestPods;
  let pod: Pod;
  let strict: Pod;
  let rest: Client;
  let stomp: StompClients;

  const newQueue = (details: object = {}): Promise<string> =>
    rest.createQueue({ compartmentId: pods.credentials.compartmentId, ...details });
  const get = async (queueId: string, query?: string): Promise<RestMessage[]> => rest.get(queueId, query);

  beforeAll(async () => {
    pods = await startTestPods(1);
    [pod] = pods.pods as [Pod];
    strict = await pods.add({ TOWPATH_STOMP_STRICT: '1' });
    rest = new Client(pod.url, pods.credentials.apiKey);
    stomp = stompClients(pods);
  });
  afterEach(() => stomp.close());
  afterAll(async () => {
    rest.close();
    await pods.stop();
  });

  it('puts into a queue, a channel of it, by OCID and by name, and REST gets it', async () => {
    const queueId = await newQueue({ displayName: 'orders of today' });
    const client = await stomp.client();
    await client.ask('SEND', { destination: queueId }, 'one');
    await client.ask('SEND', { destination: `${queueId}/eu` }, 'two');
    await client.ask('SEND', { destination: '/queue/orders%20of%20today' }, 'three');
    await client.ask('SEND', { destination: '/queue/orders%20of%20today/eu' }, 'four');
    const found = [...(await get(queueId, 'limit=20')), ...(await get(queueId, 'limit=20'))];
    expect(found.map(({ content, metadata }) => `${content} ${metadata?.channelId ?? '-'}`).toSorted()).toEqual([
      'four eu',
      'one -',
      'three -',
      'two eu',
    ]);
  });

  it('keeps headers as properties, with escapes undone, and knows those with a meaning', async () => {
    const queueId = await newQueue();
    const client = await stomp.client();
    const headers = {
      'content-type': 'application/json',
      'a:b\\c': 'line 1\nline 2\r',
      'oci-property-destination': 'there',
      'oci-delivery-count': '3',
      'message-id': '7',
      ü: '€',
    };
    await client.ask('SEND', { destination: queueId, ...headers }, '{}');
    const [message] = await get(queueId);
    expect(message?.metadata?.customProperties).toEqual({
      'content-type': 'application/json',
      'a:b\\c': 'line 1\nline 2\r',
      destination: 'there',
      ü: '€',
    });
  });

  it('keeps bodies byte for byte, also across REST in both directions', async () => {
    const queueId = await newQueue();
    const client = await stomp.client();
    const binary = Buffer.concat([Buffer.from([0, 255, 10, 0]), randomBytes(500), Buffer.from([0])]);
    const bodies = [binary, Buffer.from('text with \0 and €'), Buffer.from(''), Buffer.from([0xef, 0xbb, 0xbf, 0x41])];
    for (const body of bodies) await client.ask('SEND', { destination: queueId }, body);
    const found = await get(queueId);
    expect(found.map(({ contentEncoding }) => contentEncoding)).toEqual(['base64', undefined, undefined, undefined]);
    const bytes = found.map(({ content, contentEncoding }) =>
      Buffer.from(content, contentEncoding as 'base64' | undefined),
    );
    expect(bytes).toEqual(bodies);

    const back = await newQueue();
    const messages = found.map(({ content, contentEncoding }) => ({ content, contentEncoding }));
    const put = await rest.call({ method: 'POST', path: `/queues/${back}/messages`, body: { messages } });
    expect(put.status).toBe(200);
    client.write('SUBSCRIBE', { id: '1', destination: back, ack: 'client' });
    for (const body of bodies) expect((await client.take('MESSAGE')).body).toEqual(body);
  });

  it('of what is no base64 says so', async () => {
    const queueId = await newQueue();
    const body = { messages: [{ content: 'a', contentEncoding: 'base64' }] };
    const answer = await rest.call({ method: 'POST', path: `/queues/${queueId}/messages`, body });
    expect([answer.status, answer.text]).toEqual([400, expect.stringMatching(/messages\.0\.content: must be base64/)]);
    const other = { messages: [{ content: 'a', contentEncoding: 'gzip' }] };
    expect((await rest.call({ method: 'POST', path: `/queues/${queueId}/messages`, body: other })).status).toBe(400);
  });

  it('delays, and stores a repeat once', async () => {
    const queueId = await newQueue();
    const client = await stomp.client();
    await client.ask('SEND', { destination: queueId, 'delay-in-seconds': '3600' }, 'later');
    await client.ask('SEND', { destination: queueId, 'oci-deduplication-id': 'x' }, 'once');
    await client.ask('SEND', { destination: queueId, 'oci-deduplication-id': 'x' }, 'once');
    expect((await get(queueId)).map(({ content }) => content)).toEqual(['once']);
  });

  it('answers each receipt of SENDs that do not wait, and merges them', async () => {
    const queueId = await newQueue();
    const client = await stomp.client();
    const figures = pod.app.get(StompFigures);
    const before = figures.puts;
    const frames: Buffer[] = [];
    for (let n = 0; n < 500; n += 1)
      frames.push(client.encode('SEND', { destination: queueId, receipt: `${n}` }, `${n}`));
    client.socket.write(Buffer.concat(frames));
    await client.take('RECEIPT', { 'receipt-id': '499' });
    expect(client.frames.map(({ headers }) => headers.get('receipt-id'))).toEqual(
      Array.from({ length: 499 }, (_, n) => `${n}`),
    );
    expect(figures.puts - before).toBeLessThan(50);
    const ids: number[] = [];
    const contents: string[] = [];
    for (let n = 0; n < 25; n += 1) {
      for (const message of await get(queueId)) {
        ids.push(message.id);
        contents.push(message.content);
      }
    }
    // In the order in which they were sent.
    expect(contents).toEqual(Array.from({ length: 500 }, (_, n) => `${n}`));
    expect(ids).toEqual(ids.toSorted((a, b) => a - b));
  });

  it('of merged SENDs stores those before the bad one, and tells which that is', async () => {
    const queueId = await newQueue({ retentionInSeconds: 60 });
    const client = await stomp.client();
    const send = (receipt: string, more = {}): Buffer =>
      client.encode('SEND', { destination: queueId, receipt, ...more }, receipt);
    client.socket.write(
      Buffer.concat([send('1'), send('2'), send('3', { 'delay-in-seconds': '61' }), send('4'), send('5')]),
    );
    const error = await expectFailure(client, 'InvalidParameter', /delayInSeconds/);
    expect(error.headers.get('receipt-id')).toBe('3');
    expect(client.frames.map(({ headers }) => headers.get('receipt-id'))).toEqual(['1', '2']);
    expect((await get(queueId)).map(({ content }) => content)).toEqual(['1', '2']);
  });

  it.each([
    ['no destination', {}, 'MissingParameter', /destination is missing/],
    ['a queue that there is not', { destination: 'ocid1.queue.oc1..x' }, 'NotAuthorizedOrNotFound', /./],
    ['a name that no queue has', { destination: '/queue/nobody' }, 'NotAuthorizedOrNotFound', /named nobody/],
    ['a name that two queues have', { destination: '/queue/twins' }, 'InvalidParameter', /several queues/],
    ['a destination of another broker', { destination: '/topic/news' }, 'InvalidParameter', /names no queue/],
    ['an odd channel', { destination: 'ocid1/a b' }, 'InvalidParameter', /names no queue/],
    ['a name that cannot be read', { destination: '/queue/%ff' }, 'InvalidParameter', /percent-encoded/],
    ['an odd delay', { destination: 'x', 'delay-in-seconds': 'soon' }, 'InvalidParameter', /delay-in-seconds/],
    [
      'an unknown header of ours',
      { destination: 'x', 'oci-deduplication': 'x' },
      'InvalidParameter',
      /there is no header/,
    ],
    ['a transaction that was not begun', { destination: 'x', transaction: 't' }, 'InvalidParameter', /BEGIN/],
  ])('is refused with %s', async (what, headers, code, message) => {
    if (what.includes('two queues')) {
      await newQueue({ displayName: 'twins' });
      await newQueue({ displayName: 'twins' });
    }
    const client = await stomp.client();
    client.write('SEND', { ...headers, receipt: 'x' }, 'hello');
    expect((await expectFailure(client, code, message)).headers.get('receipt-id')).toBe('x');
  });

  it('is refused for a dead letter queue, a queue of another tenancy, and a message that is too large', async () => {
    const queueId = await newQueue();
    const dead = await stomp.client();
    dead.write('SEND', { destination: `${queueId}/dlq` }, 'hello');
    await expectFailure(dead, 'InvalidParameter', /dead letter queue/);
    const stranger = await makeStranger(pods);
    const foreign = await stomp.client();
    foreign.write('SEND', { destination: stranger.queueId }, 'hello');
    await expectFailure(foreign, 'NotAuthorizedOrNotFound');
    stranger.client.close();
    const large = await stomp.client();
    large.write('SEND', { destination: queueId, receipt: 'x' }, 'x'.repeat(300_000));
    await expectFailure(large, 'LimitExceeded', /262144/);
  });

  it('takes large messages where the queue does', async () => {
    const queueId = await newQueue({ capabilities: [{ type: 'LARGE_MESSAGES' }] });
    const client = await stomp.client();
    const body = randomBytes(500_000);
    await client.ask('SEND', { destination: queueId }, body);
    client.write('SUBSCRIBE', { id: '1', destination: queueId, ack: 'client' });
    expect((await client.take('MESSAGE')).body.equals(body)).toBe(true);
  });

  it('in strict mode takes what OCI Queue takes, no more', async () => {
    const queueId = await newQueue({ displayName: 'strict' });
    const good = await stomp.client(strict);
    await good.ask('SEND', { destination: `${queueId}/c`, 'content-type': 'text/plain' }, 'hello');
    for (const headers of [{ kind: 'x' }, { 'delay-in-seconds': '1' }, { transaction: 't' }]) {
      const client = await stomp.client(strict);
      client.write('SEND', { destination: queueId, ...headers }, 'hello');
      await expectFailure(client, 'InvalidParameter', /TOWPATH_STOMP_STRICT/);
    }
    const named = await stomp.client(strict);
    named.write('SEND', { destination: '/queue/strict' }, 'hello');
    await expectFailure(named, 'InvalidParameter', /TOWPATH_STOMP_STRICT/);
    const automatic = await stomp.client(strict);
    automatic.write('SUBSCRIBE', { id: '1', destination: queueId });
    await expectFailure(automatic, 'InvalidParameter', /TOWPATH_STOMP_STRICT/);
  });
});
