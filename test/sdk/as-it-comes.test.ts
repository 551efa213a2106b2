import { createRequire } from 'node:module';
import type common from 'oci-common';
import queue from 'oci-queue';
import { startTestPods, type TestPods } from '../support/pod.js';
import { createQueue, ociError, sdkClients, type SdkClients } from '../support/sdk.js';

// The waiter's strategies must come from the copy of oci-common that oci-queue brings.
const requireNested = createRequire(createRequire(import.meta.url).resolve('oci-queue'));
const { FixedTimeDelayStrategy, MaxTimeTerminationStrategy } = requireNested('oci-common') as typeof common;

describe('the OCI SDK as it comes: its retries, its circuit breaker, its waiters', () => {
  let pods: TestPods;
  let sdk: SdkClients;

  beforeAll(async () => {
    pods = await startTestPods();
    sdk = sdkClients(pods.dataDirectory, pods.pods[0]!.url, { asItComes: true });
  });
  afterAll(async () => {
    sdk.close();
    await pods.stop();
  });

  const waiters = (): queue.QueueAdminWaiter =>
    sdk.admin.createWaiters({
      terminationStrategy: new MaxTimeTerminationStrategy(30),
      delayStrategy: new FixedTimeDelayStrategy(1),
    });

  it('waits for the work request and the queue with its own waiters', async () => {
    const { opcWorkRequestId } = await sdk.admin.createQueue({
      createQueueDetails: { displayName: 'waited', compartmentId: pods.credentials.compartmentId },
    });
    const { workRequest } = await waiters().forWorkRequest({ workRequestId: opcWorkRequestId });
    expect(workRequest).toMatchObject({ status: 'SUCCEEDED', percentComplete: 100 });
    const queueId = workRequest.resources[0]!.identifier;
    const { Active, Deleted } = queue.models.Queue.LifecycleState;
    const active = await waiters().forQueue({ queueId }, Active);
    expect(active?.queue).toMatchObject({ id: queueId, lifecycleState: 'ACTIVE' });
    const { opcWorkRequestId: deletion } = await sdk.admin.deleteQueue({ queueId });
    await waiters().forWorkRequest({ workRequestId: deletion });
    // Its way of taking a 404 for a deletion is broken, so a deleted queue is readable for a while.
    const deleted = await waiters().forQueue({ queueId }, Deleted);
    expect(deleted?.queue.lifecycleState).toBe('DELETED');
  });

  it('puts, gets, updates and deletes', async () => {
    const queueId = await createQueue(sdk, pods.credentials.compartmentId);
    const { queue: found } = await sdk.admin.getQueue({ queueId });
    // As its users do: the messages are where the queue says.
    sdk.data.endpoint = found.messagesEndpoint!;
    await sdk.data.putMessages({ queueId, putMessagesDetails: { messages: [{ content: 'a' }] } });
    const { getMessages } = await sdk.data.getMessages({ queueId });
    const [message] = getMessages.messages;
    expect(message).toMatchObject({ content: 'a', deliveryCount: 1 });
    await sdk.data.updateMessage({
      queueId,
      messageReceipt: message!.receipt,
      updateMessageDetails: { visibilityInSeconds: 100 },
    });
    await sdk.data.deleteMessage({ queueId, messageReceipt: message!.receipt });
    expect((await sdk.data.getMessages({ queueId, timeoutInSeconds: 0 })).getMessages.messages).toEqual([]);
  });

  it('does not repeat what is the caller’s mistake', async () => {
    const queueId = await createQueue(sdk, pods.credentials.compartmentId);
    let requests = 0;
    const count = (): number => (requests += 1);
    const server = pods.pods[0]!.app.getHttpServer();
    server.on('request', count);
    // Its repeats would begin after two seconds and end after minutes; and forty of them would open the breaker.
    for (let call = 0; call < 40; call += 1) {
      await expect(sdk.data.deleteMessage({ queueId, messageReceipt: 'garbled' })).rejects.toEqual(
        ociError(400, 'InvalidParameter'),
      );
    }
    await expect(sdk.admin.getQueue({ queueId: 'nothing' })).rejects.toEqual(ociError(404, 'NotAuthorizedOrNotFound'));
    await expect(sdk.admin.getQueue({ queueId: 'x'.repeat(1025) })).rejects.toEqual(ociError(414, 'URITooLong'));
    server.off('request', count);
    expect(requests).toBe(40 + 2);
    await expect(sdk.data.getStats({ queueId })).resolves.toBeDefined();
  });
});
