import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import {
  EnvelopeError,
  KEY_ID_PROPERTY,
  openMessage,
  sealMessage,
  type Envelope,
  type EnvelopeFault,
  type PlainMessage,
} from '../../docs/examples/end-to-end-encryption/envelope.js';
import { makeKeyPair, openingKeys, sealingKey } from '../../docs/examples/end-to-end-encryption/keys.js';
import { consumeSealed, putSealed, type SealedQueue } from '../../docs/examples/end-to-end-encryption/rest.js';
import { sendSealed, subscribeSealed } from '../../docs/examples/end-to-end-encryption/stomp.js';
import { ROOT } from '../docs/documents.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { until } from '../pods/support.js';
import { stompjsOverTcp, stompjsOverWebSocket } from '../stomp/clients/stompjs.js';
import { createQueue, sdkClients, type SdkClients } from '../support/sdk.js';

const SECRET = 'transfer 100 to Ana';
const PLAIN: PlainMessage = {
  content: SECRET,
  secretProperties: { customer: 'Ana Álvarez' },
  openProperties: { kind: 'transfer' },
};

/** What the error of something that fails says. */
async function faultOf(act: Promise<unknown>): Promise<{ fault: EnvelopeFault; message: string }> {
  try {
    await act;
  } catch (error) {
    if (error instanceof EnvelopeError) return { fault: error.fault, message: error.message };
    throw error;
  }
  throw new Error('it did not fail');
}

describe('an envelope', () => {
  it('opens with the key that it was sealed for, and shows nothing but its open properties', async () => {
    const pair = await makeKeyPair('k1');
    const envelope = await sealMessage(PLAIN, 's', await sealingKey(pair.publicJwk));
    expect(envelope.properties).toEqual({ kind: 'transfer', [KEY_ID_PROPERTY]: 'k1' });
    const visible = envelope.content
      .split('.')
      .map((part) => Buffer.from(part, 'base64url').toString())
      .join();
    for (const secret of [SECRET, 'Ana', 'customer']) expect(visible).not.toContain(secret);
    // STOMP adds headers of its own.
    const arrived = { ...envelope, properties: { ...envelope.properties, 'content-type': 'text/plain' } };
    expect(await openMessage(arrived, 's', await openingKeys([pair.privateJwk]))).toEqual(PLAIN);
    // The same twice is not the same envelope.
    const again = await sealMessage(PLAIN, 's', await sealingKey(pair.publicJwk));
    expect(again.content).not.toBe(envelope.content);
  });

  it('opens with either of two keys while they rotate, and names the one that is missing after that', async () => {
    const [old, current] = [await makeKeyPair('old'), await makeKeyPair('current')];
    const both = await openingKeys([old.privateJwk, current.privateJwk]);
    const envelopes = [
      await sealMessage(PLAIN, 's', await sealingKey(old.publicJwk)),
      await sealMessage(PLAIN, 's', await sealingKey(current.publicJwk)),
    ];
    for (const envelope of envelopes) expect(await openMessage(envelope, 's', both)).toEqual(PLAIN);
    const one = await openingKeys([current.privateJwk]);
    expect(await faultOf(openMessage(envelopes[0]!, 's', one))).toEqual({
      fault: 'unknown-key',
      message: 'the message was sealed for key old, and this consumer has current',
    });
  });

  it('does not open where anything of it was changed', async () => {
    const [pair, other] = [await makeKeyPair('k1'), await makeKeyPair('k2')];
    const keys = await openingKeys([pair.privateJwk, other.privateJwk]);
    const good = await sealMessage(PLAIN, 's', await sealingKey(pair.publicJwk));
    const parts = good.content.split('.');
    expect(parts).toHaveLength(5);
    const changed: Envelope[] = [
      { ...good, properties: { ...good.properties, kind: 'refund' } },
      { ...good, properties: { [KEY_ID_PROPERTY]: 'k1' } },
      { ...good, properties: { ...good.properties, [KEY_ID_PROPERTY]: 'k2' } },
    ];
    for (let part = 1; part < parts.length; part += 1) {
      const bytes = Buffer.from(parts[part]!, 'base64url');
      bytes[0]! ^= 1;
      changed.push({ ...good, content: parts.with(part, bytes.toString('base64url')).join('.') });
    }
    const header = JSON.parse(Buffer.from(parts[0]!, 'base64url').toString()) as Record<string, unknown>;
    for (const change of [{ stream: 't' }, { kid: 'k2' }, { enc: 'A128GCM' }, { alg: 'dir' }]) {
      const part = Buffer.from(JSON.stringify({ ...header, ...change })).toString('base64url');
      const properties = 'kid' in change ? { ...good.properties, [KEY_ID_PROPERTY]: 'k2' } : good.properties;
      changed.push({ properties, content: parts.with(0, part).join('.') });
    }
    for (const envelope of changed) {
      const fault = await faultOf(openMessage(envelope, 's', keys));
      expect([envelope, fault.fault]).toEqual([envelope, 'not-authentic']);
    }
    expect((await faultOf(openMessage(good, 'another stream', keys))).fault).toBe('not-authentic');
    expect(await openMessage(good, 's', keys)).toEqual(PLAIN);
  });

  it('says clearly that a key of the same name is another one, and that a message is not sealed', async () => {
    const [pair, other] = [await makeKeyPair('k1'), await makeKeyPair('k1')];
    const envelope = await sealMessage(PLAIN, 's', await sealingKey(pair.publicJwk));
    const keys = await openingKeys([other.privateJwk]);
    const { fault, message } = await faultOf(openMessage(envelope, 's', keys));
    expect(fault).toBe('not-authentic');
    expect(message).toMatch(/^the message does not open with key k1: .* another key of that id$/);
    for (const content of ['hello', '', 'a.b.c', '{"kid":"k1"}']) {
      expect((await faultOf(openMessage({ content, properties: {} }, 's', keys))).fault).toBe('not-sealed');
    }
    await expect(sealingKey(pair.privateJwk)).rejects.toThrow(/private key/);
  });
});

describe('sealed messages over REST', () => {
  let pods: TestPods;
  let sdk: SdkClients;
  let sealed: SealedQueue;

  beforeAll(async () => {
    pods = await startTestPods();
    sdk = sdkClients(pods.dataDirectory, pods.pods[0]!.url);
    const queueId = await createQueue(sdk, pods.credentials.compartmentId, { visibilityInSeconds: 60 });
    sealed = { client: sdk.data, queueId, stream: 'transfers' };
  });
  afterAll(async () => {
    sdk.close();
    await pods.stop();
  });

  it('come through the unmodified SDK, while one for an unknown key, and a plain one, stay', async () => {
    const [mine, foreign] = [await makeKeyPair('mine'), await makeKeyPair('foreign')];
    await putSealed(sealed, await sealingKey(mine.publicJwk), [PLAIN, { content: 'second' }]);
    await putSealed(sealed, await sealingKey(foreign.publicJwk), [{ content: 'not for me' }]);
    const plain = { messages: [{ content: 'plain' }] };
    await sdk.data.putMessages({ queueId: sealed.queueId, putMessagesDetails: plain });
    // What the service has: nothing of it in any column.
    const rows = JSON.stringify(await pods.test.sql('select m::text as row from towpath.message m'));
    for (const secret of [SECRET, 'Álvarez', 'second', 'not for me'].flatMap((text) => [
      text,
      Buffer.from(text).toString('hex'),
    ])) {
      expect(rows).not.toContain(secret);
    }
    const opened: PlainMessage[] = [];
    const failures: string[] = [];
    const keys = await openingKeys([mine.privateJwk]);
    let seen = 0;
    while (seen < 4) {
      await consumeSealed(
        sealed,
        keys,
        async (message) => void opened.push(message),
        (error) => failures.push((error as EnvelopeError).fault),
      );
      seen = opened.length + failures.length;
    }
    expect(opened).toEqual([PLAIN, { content: 'second', secretProperties: {}, openProperties: {} }]);
    expect(failures.toSorted()).toEqual(['not-sealed', 'unknown-key']);
    const { queueStats } = await sdk.data.getStats({ queueId: sealed.queueId });
    expect(queueStats.queue.inFlightMessages).toBe(2);
  });

  it('come through STOMP, and from one protocol to the other', async () => {
    const { compartmentId, stompLogin: login, stompPasscode: passcode } = pods.credentials;
    const queueId = await createQueue(sdk, compartmentId, { visibilityInSeconds: 60 });
    const [mine, foreign] = [await makeKeyPair('mine'), await makeKeyPair('foreign')];
    const [pod] = pods.pods;
    const target = { host: '127.0.0.1', port: pod!.stompPort, login, passcode };
    const webSocketUrl = new URL('/stomp', pod!.url.replace(/^http/, 'ws')).href;
    const [producer, consumer] = [await stompjsOverTcp(target), await stompjsOverWebSocket(webSocketUrl, target)];
    const to = { client: producer, destination: queueId, stream: 'transfers' };
    await sendSealed(to, await sealingKey(mine.publicJwk), PLAIN);
    await sendSealed(to, await sealingKey(foreign.publicJwk), { content: 'not for me' });
    await putSealed({ ...sealed, queueId }, await sealingKey(mine.publicJwk), [{ content: 'over REST' }]);
    const opened: PlainMessage[] = [];
    const failures: string[] = [];
    subscribeSealed(
      { ...to, client: consumer },
      await openingKeys([mine.privateJwk]),
      async (message) => void opened.push(message),
      (error) => failures.push((error as EnvelopeError).fault),
    );
    await until(() => opened.length + failures.length === 3, 'all are handled');
    // Each is opened by itself: which one is first is not told.
    expect(opened.toSorted((a, b) => b.content.localeCompare(a.content))).toEqual([
      PLAIN,
      { content: 'over REST', secretProperties: {}, openProperties: {} },
    ]);
    expect(failures).toEqual(['unknown-key']);
    // What was opened is acknowledged, the other one is hidden for a minute.
    await until(async () => {
      const { queueStats } = await sdk.data.getStats({ queueId });
      return queueStats.queue.inFlightMessages === 1 && queueStats.queue.visibleMessages === 0;
    }, 'two are acknowledged');
    await Promise.all([producer.deactivate(), consumer.deactivate()]);
  });

  it('are what the documented command shows', async () => {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [path.join(ROOT, 'docs/examples/end-to-end-encryption/example.ts')],
      {
        cwd: ROOT,
        env: { PATH: process.env['PATH'], TOWPATH_DATA: pods.dataDirectory },
      },
    );
    expect(stdout).toContain('opened: invoice 1 {"customer":"Ana"}');
    expect(stdout).toContain('opened: invoice 2 {}');
  });
});
