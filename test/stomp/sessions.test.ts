import type { Pod } from '../../src/app.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { Client } from '../rest/support.js';
import { stompClients, type StompClients } from './support.js';

describe('a STOMP session', () => {
  let pods: TestPods;
  let pod: Pod;
  let rest: Client;
  let stomp: StompClients;
  let queueId: string;

  beforeAll(async () => {
    pods = await startTestPods(1);
    [pod] = pods.pods as [Pod];
    rest = new Client(pod.url, pods.credentials.apiKey);
    stomp = stompClients(pods);
    queueId = await rest.createQueue({ compartmentId: pods.credentials.compartmentId });
  });
  afterEach(() => stomp.close());
  afterAll(async () => {
    rest.close();
    await pods.stop();
  });

  it.each([
    ['1.0,1.1,1.2', '1.2'],
    ['1.1,1.0', '1.1'],
    ['1.0', '1.0'],
    ['9.9,1.2', '1.2'],
  ])('of a client that accepts %s speaks %s', async (accepted, version) => {
    const client = await stomp.stranger();
    const connected = await client.connect({ ...stomp.login, 'accept-version': accepted });
    expect(Object.fromEntries(connected.headers)).toMatchObject({ version, 'heart-beat': '10000,10000' });
  });

  it('stores what is sent, and delivers it, with an ACK that deletes it', async () => {
    const client = await stomp.client();
    await client.ask('SEND', { destination: queueId, kind: 'greeting', 'content-type': 'text/plain' }, 'hello');
    client.write('SUBSCRIBE', { id: 's1', destination: queueId, ack: 'client-individual' });
    const message = await client.take('MESSAGE');
    expect(message.body.toString()).toBe('hello');
    expect(Object.fromEntries(message.headers)).toMatchObject({
      destination: queueId,
      subscription: 's1',
      kind: 'greeting',
      'content-type': 'text/plain',
      'oci-delivery-count': '1',
    });
    await client.ask('ACK', { id: message.headers.get('ack')! });
    await client.ask('DISCONNECT');
    expect(await rest.get(queueId)).toEqual([]);
  });
});
