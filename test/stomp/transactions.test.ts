import type { Pod } from '../../src/app.js';
import { until } from '../pods/support.js';
import { Client } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { expectFailure, stompClients, type RawClient, type StompClients } from './support.js';

describe('a STOMP transaction', () => {
  let pods: TestPods;
  let pod: Pod;
  let strict: Pod;
  let rest: Client;
  let stomp: StompClients;

  const newQueue = (details: object = {}): Promise<string> =>
    rest.createQueue({ compartmentId: pods.credentials.compartmentId, visibilityInSeconds: 600, ...details });
  const contents = async (queueId: string): Promise<string[]> =>
    (await rest.get(queueId)).map(({ content }) => content);
  const subscribed = async (queueId: string, headers = {}, to = pod): Promise<RawClient> => {
    const client = await stomp.client(to);
    client.write('SUBSCRIBE', { id: '1', destination: queueId, ack: 'client-individual', ...headers });
    return client;
  };

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

  it('consumes and produces in several queues, at its COMMIT and not before', async () => {
    const [from, to, also] = [await newQueue(), await newQueue(), await newQueue()];
    await rest.put(from, 'in', 'refused');
    const client = await subscribed(from);
    const [one, two] = [await client.take('MESSAGE'), await client.take('MESSAGE')];
    await client.ask('BEGIN', { transaction: 't' });
    await client.ask('SEND', { destination: to, transaction: 't', kind: 'x' }, 'out');
    await client.ask('SEND', { destination: `${also}/c`, transaction: 't' }, Buffer.from([0, 255]));
    await client.ask('SEND', { destination: to, transaction: 't' }, '');
    await client.ask('ACK', { id: one.headers.get('ack')!, transaction: 't' });
    await client.ask('NACK', { id: two.headers.get('ack')!, transaction: 't', 'delay-in-seconds': '0' });
    expect([await contents(to), await contents(also), await contents(from)]).toEqual([[], [], []]);
    await client.ask('COMMIT', { transaction: 't' });
    expect((await client.take('MESSAGE')).headers.get('oci-delivery-count')).toBe('2');
    const found = (await rest.get(to)) as { content: string; metadata?: unknown }[];
    expect(found.map(({ content, metadata }) => [content, metadata])).toEqual([
      ['out', { customProperties: { kind: 'x' } }],
      ['', undefined],
    ]);
    expect(await rest.get(also)).toMatchObject([{ content: 'AP8=', contentEncoding: 'base64' }]);
    await client.ask('DISCONNECT');
    expect(await contents(from)).toEqual(['refused']);
  });

  it('that is aborted has done nothing, and its messages may be acknowledged anew', async () => {
    const [from, to] = [await newQueue(), await newQueue()];
    await rest.put(from, 'in');
    const client = await subscribed(from);
    const message = await client.take('MESSAGE');
    await client.ask('BEGIN', { transaction: 't' });
    await client.ask('SEND', { destination: to, transaction: 't' }, 'out');
    await client.ask('ACK', { id: message.headers.get('ack')!, transaction: 't' });
    await client.ask('ABORT', { transaction: 't' });
    await client.ask('ACK', { id: message.headers.get('ack')! });
    await client.ask('BEGIN', { transaction: 't' });
    await client.ask('COMMIT', { transaction: 't' });
    await client.ask('DISCONNECT');
    expect([await contents(from), await contents(to)]).toEqual([[], []]);
  });

  it('of a connection that is cut is aborted, and the message is given back', async () => {
    const [from, to] = [await newQueue(), await newQueue()];
    await rest.put(from, 'in');
    const client = await subscribed(from);
    const message = await client.take('MESSAGE');
    await client.ask('BEGIN', { transaction: 't' });
    await client.ask('SEND', { destination: to, transaction: 't' }, 'out');
    await client.ask('ACK', { id: message.headers.get('ack')!, transaction: 't' });
    client.destroy();
    await until(async () => (await contents(from)).length === 1, 'it is visible again');
    expect(await contents(to)).toEqual([]);
  });

  it('does nothing where a message of it is with somebody else by then', async () => {
    const [from, to] = [await newQueue({ visibilityInSeconds: 1 }), await newQueue()];
    await rest.put(from, 'a', 'b');
    const client = await subscribed(from, { 'prefetch-count': '2' });
    const held = [await client.take('MESSAGE'), await client.take('MESSAGE')];
    await client.ask('BEGIN', { transaction: 't' });
    for (const message of held) await client.ask('ACK', { id: message.headers.get('ack')!, transaction: 't' });
    await client.ask('SEND', { destination: to, transaction: 't' }, 'out');
    let taken: string[] = [];
    await until(async () => {
      taken = [...taken, ...(await rest.get(from, 'limit=1&visibilityInSeconds=600')).map(({ content }) => content)];
      return taken.length > 0;
    }, 'somebody else has one of them');
    client.write('COMMIT', { transaction: 't', receipt: 'x' });
    const error = await expectFailure(client, 'NotAuthorizedOrNotFound', /not held any more/);
    expect(error.headers.get('receipt-id')).toBe('x');
    expect(await contents(to)).toEqual([]);
    // The other one is not deleted.
    let left: string[] = [];
    await until(async () => {
      left = await contents(from);
      return left.length > 0;
    }, 'the other one is visible');
    expect([...taken, ...left].toSorted()).toEqual(['a', 'b']);
  });

  it('goes on without such a message where that is to be ignored', async () => {
    const [from, to] = [await newQueue({ visibilityInSeconds: 1 }), await newQueue()];
    await rest.put(from, 'a');
    const client = await subscribed(from, { 'prefetch-count': '1', 'stale-ack': 'ignore' });
    const message = await client.take('MESSAGE');
    await client.ask('BEGIN', { transaction: 't' });
    await client.ask('ACK', { id: message.headers.get('ack')!, transaction: 't' });
    await client.ask('SEND', { destination: to, transaction: 't' }, 'out');
    await until(async () => (await rest.get(from)).length > 0, 'somebody else has it');
    await client.ask('COMMIT', { transaction: 't' });
    expect(await contents(to)).toEqual(['out']);
  });

  it('does nothing where one of its messages cannot be stored', async () => {
    const [from, short, to] = [await newQueue(), await newQueue({ retentionInSeconds: 60 }), await newQueue()];
    await rest.put(from, 'in');
    const client = await subscribed(from);
    const message = await client.take('MESSAGE');
    await client.ask('BEGIN', { transaction: 't' });
    await client.ask('SEND', { destination: to, transaction: 't' }, 'out');
    await client.ask('ACK', { id: message.headers.get('ack')!, transaction: 't' });
    await client.ask('SEND', { destination: short, transaction: 't', 'delay-in-seconds': '61' }, 'out');
    client.write('COMMIT', { transaction: 't' });
    await expectFailure(client, 'InvalidParameter', /delayInSeconds/);
    await until(async () => (await contents(from)).length === 1, 'it is given back');
    expect(await contents(to)).toEqual([]);
  });

  it('of many at once over the same queues all come through', async () => {
    const [a, b] = [await newQueue(), await newQueue()];
    const contentsOfRound = Array.from({ length: 20 }, (_, n) => `${n}`);
    await rest.put(a, ...contentsOfRound);
    await rest.put(b, ...contentsOfRound);
    const clients = await Promise.all(Array.from({ length: 4 }, () => stomp.client()));
    let moved = 0;
    await Promise.all(
      clients.map(async (client) => {
        client.write('SUBSCRIBE', { id: 'a', destination: a, ack: 'client-individual', 'prefetch-count': '5' });
        client.write('SUBSCRIBE', { id: 'b', destination: b, ack: 'client-individual', 'prefetch-count': '5' });
        for (let n = 0; n < 10; n += 1) {
          const [ofA, ofB] = [
            await client.take('MESSAGE', { subscription: 'a' }),
            await client.take('MESSAGE', { subscription: 'b' }),
          ];
          client.write('BEGIN', { transaction: `${n}` });
          client.write('ACK', { id: ofB.headers.get('ack')!, transaction: `${n}` });
          client.write('ACK', { id: ofA.headers.get('ack')!, transaction: `${n}` });
          client.write('SEND', { destination: b, transaction: `${n}` }, ofA.body);
          client.write('SEND', { destination: a, transaction: `${n}` }, ofB.body);
          await client.ask('COMMIT', { transaction: `${n}` });
          moved += 1;
        }
      }),
    );
    expect(moved).toBe(40);
    await Promise.all(clients.map((client) => client.ask('DISCONNECT')));
    const found: string[] = [];
    for (const queueId of [a, b]) {
      const here = [...(await contents(queueId)), ...(await contents(queueId))];
      expect(here).toHaveLength(20);
      found.push(...here);
    }
    expect(found.toSorted()).toEqual([...contentsOfRound, ...contentsOfRound].toSorted());
  });

  it.each([
    ['begun twice', ['BEGIN', 'BEGIN'], /open already/],
    ['committed before it was begun', ['COMMIT'], /none of this name/],
    ['aborted twice', ['BEGIN', 'ABORT', 'ABORT'], /none of this name/],
  ])('cannot be %s', async (_, commands, message) => {
    const client = await stomp.client();
    for (const command of commands) client.write(command, { transaction: 't' });
    await expectFailure(client, 'InvalidParameter', message);
  });

  it('is limited in number and size', async () => {
    const queueId = await newQueue();
    const many = await stomp.client();
    for (let n = 0; n < 17; n += 1) many.write('BEGIN', { transaction: `${n}` });
    await expectFailure(many, 'LimitExceeded', /16 open transactions/);
    const large = await stomp.client();
    await large.ask('BEGIN', { transaction: 't' });
    for (let n = 0; n < 9; n += 1) large.write('SEND', { destination: queueId, transaction: 't' }, 'x'.repeat(250_000));
    await expectFailure(large, 'LimitExceeded', /too large/);
    expect(await contents(queueId)).toEqual([]);
  });

  it('is refused in strict mode', async () => {
    const client = await stomp.client(strict);
    client.write('BEGIN', { transaction: 't' });
    await expectFailure(client, 'InvalidParameter', /TOWPATH_STOMP_STRICT/);
  });
});
