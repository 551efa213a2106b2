import { startTestPods, type TestPods } from '../support/pod.js';
import type { Pod } from '../../src/app.js';
import { Client } from '../rest/support.js';
import { stompClients, type RawClient, type StompClients } from './support.js';

const HEADER = 'oci-durability';

/** Resolves to the next message there: what it is acknowledged by, and what it says. */
async function subscribed(
  client: RawClient,
  destination: string,
): Promise<() => Promise<[string, string | undefined]>> {
  client.write('SUBSCRIBE', { id: destination, destination, ack: 'client-individual' });
  return async () => {
    const { headers } = await client.take('MESSAGE', { destination });
    return [headers.get('ack')!, headers.get(HEADER)];
  };
}

describe('on a queue that is less durable', () => {
  let pods: TestPods;
  let strict: Pod;
  let rest: Client;
  let stomp: StompClients;

  beforeAll(async () => {
    pods = await startTestPods(1);
    strict = await pods.add({ TOWPATH_STOMP_STRICT: '1' });
    rest = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    stomp = stompClients(pods);
  });
  afterEach(() => stomp.close());
  afterAll(async () => {
    rest.close();
    await pods.stop();
  });

  const newQueue = (durability = 'RELAXED'): Promise<string> =>
    rest.createQueue({ compartmentId: pods.credentials.compartmentId, durability });
  let receipts = 0;
  /** What the receipt of a frame says. */
  async function told(client: RawClient, command: string, headers: object, body?: string): Promise<string | undefined> {
    receipts += 1;
    const receipt = `told-${receipts}`;
    client.write(command, { ...headers, receipt }, body);
    return (await client.take('RECEIPT', { 'receipt-id': receipt })).headers.get(HEADER);
  }

  it.each([
    ['RELAXED', 'relaxed'],
    ['FULL', undefined],
  ])('(%s) receipts of SEND, ACK and NACK say so, and messages: %s', async (durability, says) => {
    const queueId = await newQueue(durability);
    const client = await stomp.client();
    expect(await told(client, 'SEND', { destination: queueId }, 'a')).toBe(says);
    const next = await subscribed(client, queueId);
    const [first, ofFirst] = await next();
    expect(ofFirst).toBe(says);
    expect(await told(client, 'NACK', { id: first })).toBe(says);
    const [second, ofSecond] = await next();
    expect(ofSecond).toBe(says);
    expect(await told(client, 'ACK', { id: second })).toBe(says);
    expect(await told(client, 'UNSUBSCRIBE', { id: queueId })).toBeUndefined();
    expect(await rest.get(queueId)).toEqual([]);
  });

  it('a transaction is as durable as the most durable of its queues', async () => {
    const queues = { RELAXED: await newQueue(), FULL: await newQueue('FULL') };
    const client = await stomp.client();
    const next = { RELAXED: await subscribed(client, queues.RELAXED), FULL: await subscribed(client, queues.FULL) };
    for (const from of ['RELAXED', 'FULL'] as const) {
      for (const into of ['RELAXED', 'FULL'] as const) {
        await client.ask('SEND', { destination: queues[from] }, 'in');
        const [ack] = await next[from]();
        await client.ask('BEGIN', { transaction: 't' });
        // Accepted, and nothing confirmed yet.
        expect(await told(client, 'SEND', { destination: queues[into], transaction: 't' }, 'out')).toBeUndefined();
        expect(await told(client, 'ACK', { id: ack, transaction: 't' })).toBeUndefined();
        const says = from === 'RELAXED' && into === 'RELAXED' ? 'relaxed' : undefined;
        expect([from, into, await told(client, 'COMMIT', { transaction: 't' })]).toEqual([from, into, says]);
        const [out] = await next[into]();
        await client.ask('ACK', { id: out });
      }
    }
    await client.ask('BEGIN', { transaction: 'empty' });
    expect(await told(client, 'COMMIT', { transaction: 'empty' })).toBeUndefined();
  });

  it('a client that passes a message on may leave the header there', async () => {
    const queueId = await newQueue('FULL');
    const client = await stomp.client();
    await client.ask('SEND', { destination: queueId, [HEADER]: 'relaxed' }, 'a');
    const next = await subscribed(client, queueId);
    expect((await next())[1]).toBeUndefined();
  });

  it('strict mode says nothing, as OCI Queue does not', async () => {
    const queueId = await newQueue();
    const client = await stomp.client(strict);
    expect(await told(client, 'SEND', { destination: queueId }, 'a')).toBeUndefined();
    const next = await subscribed(client, queueId);
    const [ack, says] = await next();
    expect(says).toBeUndefined();
    expect(await told(client, 'ACK', { id: ack })).toBeUndefined();
  });
});
