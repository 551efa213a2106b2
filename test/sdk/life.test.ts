import { startTestPods, type TestPods } from '../support/pod.js';
import { createQueue, sdkClients, type SdkClients } from '../support/sdk.js';

describe('the life of a message, told by the OCI SDK', () => {
  let pods: TestPods;
  let sdk: SdkClients;

  beforeAll(async () => {
    pods = await startTestPods();
    sdk = sdkClients(pods.dataDirectory, pods.pods[0]!.url);
  });
  afterAll(async () => {
    sdk.close();
    await pods.stop();
  });

  it('goes through the nine steps', async () => {
    const { data } = sdk;
    const queueId = await createQueue(sdk, pods.credentials.compartmentId, { visibilityInSeconds: 5 });
    const get = async (timeoutInSeconds: number) =>
      (await data.getMessages({ queueId, timeoutInSeconds, limit: 1 })).getMessages.messages;

    // 1. A producer puts a message.
    const put = await data.putMessages({ queueId, putMessagesDetails: { messages: [{ content: 'wörk <&>\n' }] } });
    const [stored] = put.putMessages.messages;
    expect(stored?.id).toEqual(expect.any(Number));
    // 2. A gets it.
    const [first] = await get(0);
    expect(first).toMatchObject({ id: stored?.id, content: 'wörk <&>\n', deliveryCount: 1 });
    // 3. B gets nothing.
    expect(await get(0)).toEqual([]);
    // 4. A extends.
    const updated = await data.updateMessage({
      queueId,
      messageReceipt: first!.receipt,
      updateMessageDetails: { visibilityInSeconds: 6 },
    });
    const visibleAfter = Date.parse(String(updated.updatedMessage.visibleAfter));
    expect(visibleAfter).toBeGreaterThan(Date.parse(String(first!.visibleAfter)));
    // 5. B still gets nothing.
    expect(await get(0)).toEqual([]);
    // 6. and 7. B waits and gets it right after the timeout.
    const [second] = await get(20);
    const late = Date.now() - visibleAfter;
    expect(second).toMatchObject({ id: stored?.id, deliveryCount: 2 });
    expect(late).toBeGreaterThanOrEqual(0);
    // A waiter that nobody wakes looks again after ten seconds.
    expect(late).toBeLessThan(2500);
    expect(second!.receipt).not.toBe(first!.receipt);
    // 8. A's receipt is dead.
    await expect(data.deleteMessage({ queueId, messageReceipt: first!.receipt })).rejects.toMatchObject({
      statusCode: 404,
      serviceCode: 'NotAuthorizedOrNotFound',
    });
    await expect(
      data.updateMessage({ queueId, messageReceipt: first!.receipt, updateMessageDetails: { visibilityInSeconds: 5 } }),
    ).rejects.toMatchObject({ statusCode: 404 });
    // 9. B deletes it, for good.
    await data.deleteMessage({ queueId, messageReceipt: second!.receipt });
    expect(await get(3)).toEqual([]);
  });
});
