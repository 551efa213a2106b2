import { randomBytes } from 'node:crypto';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Pod } from '../../src/app.js';
import { StompFigures } from '../../src/stomp/stomp-figures.js';
import { until } from '../pods/support.js';
import { Client } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { stompClients, type StompClients } from './support.js';

describe('a subscription of a queue whose master key is disabled', () => {
  let keys: string;
  let pods: TestPods;
  let pod: Pod;
  let rest: Client;
  let stomp: StompClients;

  beforeAll(async () => {
    keys = await mkdtemp(path.join(tmpdir(), 'towpath-keys-'));
    await writeFile(path.join(keys, 'ours.key'), `${randomBytes(32).toString('base64')}\n`);
    pods = await startTestPods(1, { TOWPATH_MASTER_KEY_DIRECTORY: keys });
    [pod] = pods.pods as [Pod];
    rest = new Client(pod.url, pods.credentials.apiKey);
    stomp = stompClients(pods);
  });
  afterEach(() => stomp.close());
  afterAll(async () => {
    rest.close();
    await pods.stop();
    await rm(keys, { recursive: true, force: true });
  });

  it('waits until that is there again, and the other subscriptions of its connection go on', async () => {
    const { compartmentId } = pods.credentials;
    const sealed = await rest.createQueue({ compartmentId, customEncryptionKeyId: 'ours' });
    const other = await rest.createQueue({ compartmentId });
    await rest.put(sealed, 'before');
    const client = await stomp.client();
    // One that waits for messages already, and one that begins while the key is away.
    client.write('SUBSCRIBE', { id: 'first', destination: sealed, ack: 'client', 'prefetch-count': '1' });
    await client.take('MESSAGE', { subscription: 'first' });
    await rename(path.join(keys, 'ours.key'), path.join(keys, 'ours.disabled'));
    const figures = pod.app.get(StompFigures);
    client.write('SUBSCRIBE', { id: 'second', destination: sealed, ack: 'client' });
    client.write('SUBSCRIBE', { id: 'other', destination: other, ack: 'client' });
    // It is noticed within half a second; until then there is nothing to be had, so the subscription is parked.
    await until(
      async () => (await rest.call({ path: `/queues/${sealed}/messages?timeoutInSeconds=0` })).status === 409,
      'it is disabled',
    );
    client.write('SUBSCRIBE', { id: 'third', destination: sealed, ack: 'client' });
    await until(() => figures.waits > 1, 'it is tried again');
    await rest.put(other, 'meanwhile');
    expect((await client.take('MESSAGE', { subscription: 'other' })).body.toString()).toBe('meanwhile');
    const metrics = await (await fetch(new URL('/metrics', pod.url))).text();
    expect(metrics).toMatch(/^towpath_stomp_subscription_waits_total [1-9]/m);
    await rename(path.join(keys, 'ours.disabled'), path.join(keys, 'ours.key'));
    await until(
      async () => (await rest.call({ path: `/queues/${sealed}/messages?timeoutInSeconds=0` })).status === 200,
      'it is enabled',
    );
    await rest.put(sealed, 'after');
    expect((await client.take('MESSAGE')).body.toString()).toBe('after');
    expect(client.error).toBeUndefined();
  });
});
