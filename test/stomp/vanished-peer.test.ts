import type { Pod } from '../../src/app.js';
import { CuttingProxy } from '../history/stomp/cutting-proxy.js';
import { Client } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { RawClient, stompClients, type StompClients } from './support.js';

/** Nothing comes through any more, and neither side is told: a cable, a machine without power, a firewall that forgets. */
describe('a STOMP client that is gone without a word', () => {
  let pods: TestPods;
  let pod: Pod;
  let rest: Client;
  let stomp: StompClients;
  let proxy: CuttingProxy;

  beforeAll(async () => {
    pods = await startTestPods(1, { TOWPATH_STOMP_HEART_BEAT_SECONDS: '0.5' });
    [pod] = pods.pods as [Pod];
    rest = new Client(pod.url, pods.credentials.apiKey);
    stomp = stompClients(pods);
  });
  beforeEach(async () => {
    proxy = await CuttingProxy.start(() => pod.stompPort);
  });
  afterEach(async () => {
    proxy.close();
    await stomp.close();
  });
  afterAll(async () => {
    rest.close();
    await pods.stop();
  });

  /** A client behind the proxy that holds a message, for ten minutes by its timeout. */
  async function holder(headers: Record<string, string>): Promise<string> {
    const { compartmentId } = pods.credentials;
    const queueId = await rest.createQueue({ compartmentId, visibilityInSeconds: 600 });
    await rest.put(queueId, 'held');
    const client = await RawClient.open(proxy.port);
    await client.connect({ ...stomp.login, ...headers });
    // With no credit for what comes later, which is for the other one.
    client.write('SUBSCRIBE', { id: '1', destination: queueId, ack: 'client-individual', 'prefetch-count': '1' });
    await client.take('MESSAGE');
    return queueId;
  }

  it('leaves what it held to others once its heart-beats are missed', async () => {
    const queueId = await holder({ 'heart-beat': '500,500' });
    proxy.freeze();
    const other = await stomp.client();
    other.write('SUBSCRIBE', { id: '1', destination: queueId, ack: 'client-individual' });
    const message = await other.take('MESSAGE');
    expect([message.body.toString(), message.headers.get('oci-delivery-count')]).toEqual(['held', '2']);
  });

  it('holds it until its connection ends, where it promised no heart-beats', async () => {
    const queueId = await holder({ 'heart-beat': '0,500' });
    proxy.freeze();
    const other = await stomp.client();
    other.write('SUBSCRIBE', { id: '1', destination: queueId, ack: 'client-individual' });
    // Longer than the heart-beats of the other case, in which a byte comes at least.
    await other.ask('SEND', { destination: queueId, 'delay-in-seconds': '3' }, 'later');
    expect((await other.take('MESSAGE')).body.toString()).toBe('later');
    proxy.cut();
    expect((await other.take('MESSAGE')).body.toString()).toBe('held');
  });
});
