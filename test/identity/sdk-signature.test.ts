import type common from 'oci-common';
import queue from 'oci-queue';
import { readSignature, type SignedRequest, verifySignature } from '../../src/identity/request-signature.js';
import { makeSigner, SDKS, startRecorder } from './wire.js';

const signer = makeSigner();
const HOSTILE = [
  'é',
  '日本',
  '😀',
  'é %C3',
  '{}',
  '{"a":1}',
  '|',
  '^',
  '`',
  '\\',
  '"',
  "'",
  'it\'s {é}|^`\\"日本',
  'a b',
  '<>',
  '+*/~!()',
  '%41',
  '%C3%A9',
  'a/b:c;d,e@f$g',
  '[]',
  '',
];

let recorder: Awaited<ReturnType<typeof startRecorder>>;
beforeAll(async () => {
  recorder = await startRecorder();
});
beforeEach(() => {
  recorder.requests.length = 0;
});
afterAll(async () => {
  await recorder.stop();
});

function check(request: SignedRequest): string {
  const claim = readSignature(request);
  return claim === null ? 'refused' : verifySignature(request, claim, signer.publicKey, Date.now());
}

function provider(sdk: typeof common): common.SimpleAuthenticationDetailsProvider {
  const { tenancyId, userId, fingerprint, pem } = signer;
  return new sdk.SimpleAuthenticationDetailsProvider(tenancyId, userId, fingerprint, pem, null);
}

/** What became of everything that was received; of a valid request also what becomes of it when it is changed. */
function verdicts(): string[] {
  return recorder.requests.map((request) => {
    const verdict = check(request);
    if (verdict !== 'valid') return `${verdict}: ${request.method} ${request.target}`;
    const changed = [
      { ...request, target: `${request.target}x` },
      { ...request, body: Buffer.from('tampered') },
    ];
    return changed.every((other) => check(other) === 'invalid') ? 'valid' : 'valid even when changed';
  });
}

describe('requests as the OCI SDKs send them', () => {
  it('are what this test believes: the two copies of oci-common differ', () => {
    expect(SDKS.nestedVersion).toBe('2.139.1');
    expect(SDKS.newerVersion).not.toBe('2.139.1');
  });

  it('verify for every operation of the queue clients', async () => {
    const data = new queue.QueueClient({ authenticationDetailsProvider: provider(SDKS.nested) });
    const admin = new queue.QueueAdminClient({ authenticationDetailsProvider: provider(SDKS.nested) });
    data.endpoint = recorder.url;
    admin.endpoint = recorder.url;
    const queueId = 'ocid1.queue.oc1.local.amaaaaaaexample';
    await data.putMessages({ queueId, putMessagesDetails: { messages: [{ content: 'héllo 日本 <&>\n' }] } });
    await data.getMessages({ queueId, visibilityInSeconds: 0, timeoutInSeconds: 0, limit: 20, consumerGroupId: 'g' });
    await data.updateMessage({
      queueId,
      messageReceipt: 'AZ_-09==',
      updateMessageDetails: { visibilityInSeconds: 60 },
    });
    await data.deleteMessage({ queueId, messageReceipt: "it's (é) {日本}" });
    await data.getStats({ queueId, channelId: 'ch-1' });
    await data.listChannels({ queueId: "it's é", page: 'é', channelFilter: '{日本}' });
    await admin.updateQueue({ queueId, updateQueueDetails: {} });
    await admin.purgeQueue({
      queueId,
      ifMatch: 'etag1',
      purgeQueueDetails: { purgeType: queue.models.PurgeQueueDetails.PurgeType.Both },
    });
    await admin.deleteQueue({ queueId });
    data.close();
    admin.close();
    expect(verdicts()).toEqual(Array.from({ length: 9 }, () => 'valid'));
  });

  it.each(HOSTILE)('verify with the query value %j', async (channelFilter) => {
    const data = new queue.QueueClient({ authenticationDetailsProvider: provider(SDKS.nested) });
    data.endpoint = recorder.url;
    await data.getMessages({ queueId: 'q', channelFilter, limit: 1 });
    await data.listChannels({ queueId: 'q', limit: 1, channelFilter });
    data.close();
    for (const sdk of [SDKS.nested, SDKS.newer]) {
      const client = new sdk.FetchHttpClient(new sdk.DefaultRequestSigner(provider(sdk)));
      for (const method of ['GET', 'POST', 'HEAD'] as const) {
        await client.send({
          uri: `${recorder.url}/20210201/queues/q/messages?channelFilter=${channelFilter}`,
          method,
          headers: new Headers(),
          ...(method === 'POST' && { body: `{"channelFilter":${JSON.stringify(channelFilter)}}` }),
        });
      }
    }
    expect(verdicts()).toEqual(Array.from({ length: 8 }, () => 'valid'));
  });
});
