import { createPrivateKey, createPublicKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fingerprintOf } from '../../src/identity/first-identity.js';
import { signByHand, withHeaders, type Making, type Signer } from '../identity/wire.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { Client, digestOf, expectError, type Answer } from './support.js';

const expectRefused = async (answer: Promise<Answer>): Promise<void> => {
  expectError(await answer, 401, 'NotAuthenticated', /no credentials that are valid/);
};
const minutes = (count: number): Date => new Date(Date.now() + count * 60_000);

/** What test/identity proves of signatures, once each through HTTP with the key of the data directory. */
describe('signed requests over HTTP', () => {
  let pods: TestPods;
  let client: Client;
  let signer: Signer;
  let host: string;

  beforeAll(async () => {
    pods = await startTestPods();
    client = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    host = new URL(client.url).host;
    const pem = await readFile(path.join(pods.dataDirectory, 'oci', 'key.pem'), 'utf8');
    const privateKey = createPrivateKey(pem);
    const publicKey = createPublicKey(pem);
    const { tenancyId, userId } = pods.credentials;
    signer = { tenancyId, userId, fingerprint: fingerprintOf(publicKey), privateKey, publicKey, pem };
  });
  afterAll(async () => {
    client.close();
    await pods.stop();
  });

  const send = (
    making: Making,
    changes: { body?: string; target?: string; headers?: Record<string, string> } = {},
  ): Promise<Answer> => {
    const signed = signByHand(signer, { ...making, headers: { host, ...making.headers } });
    const { rawHeaders } = withHeaders(signed, changes.headers ?? {});
    const headers: Record<string, string> = {};
    for (let at = 0; at < rawHeaders.length; at += 2) headers[rawHeaders[at]!] = rawHeaders[at + 1]!;
    return client.call({
      method: signed.method,
      path: changes.target ?? signed.target,
      root: true,
      body: changes.body ?? signed.body,
      headers,
      apiKey: null,
    });
  };
  const body = (displayName: string): string =>
    JSON.stringify({ displayName, compartmentId: pods.credentials.compartmentId });
  const creation = (): Making => ({ method: 'POST', target: '/20210201/queues', body: body('signed') });

  it.each(['python', 'go', 'java', 'typescript'] as const)('are taken in the style of %s', async (style) => {
    expect((await send({ ...creation(), style })).status).toBe(202);
    expect((await send({ style })).status).toBe(200);
  });

  it('are refused with another body, target, method or host, and change nothing', async () => {
    const before = await digestOf(pods);
    await expectRefused(send(creation(), { body: body('forged') }));
    await expectRefused(send(creation(), { target: '/20210201/queues?x=1' }));
    await expectRefused(send(creation(), { headers: { host: 'elsewhere' } }));
    await expectRefused(send(creation(), { headers: { date: new Date(Date.now() + 1000).toUTCString() } }));
    await expectRefused(send({ target: '/20210201/queues' }, { target: '/20210201/workRequests' }));
    await expectRefused(
      send({ ...creation(), parameters: { signature: Buffer.from('x'.repeat(256)).toString('base64') } }),
    );
    expect(await digestOf(pods)).toBe(before);
  });

  it('are refused when replayed after five minutes, and told the time', async () => {
    expect((await send({ date: minutes(-4) })).status).toBe(200);
    expect((await send({ date: minutes(4) })).status).toBe(200);
    const before = await digestOf(pods);
    for (const date of [minutes(-6), minutes(6)]) {
      expectError(await send({ ...creation(), date }), 401, 'NotAuthenticated', /5 minutes.*clock.*GMT/);
    }
    expect(await digestOf(pods)).toBe(before);
  });

  it('cover an empty body too', async () => {
    const queueId = await client.createQueue({ compartmentId: pods.credentials.compartmentId });
    const making: Making = { method: 'PUT', target: `/20210201/queues/${queueId}`, body: '' };
    expect((await send(making)).status).toBe(202);
    const forged = '{"displayName":"forged"}';
    const headers = { 'content-length': String(forged.length) };
    expectError(await send(making, { body: forged, headers }), 401, 'NotAuthenticated');
  });
});
