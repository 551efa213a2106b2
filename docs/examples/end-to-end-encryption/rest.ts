import type { QueueClient } from 'oci-queue';
import { openMessage, sealMessage, type OpeningKeys, type PlainMessage, type SealingKey } from './envelope.ts';

/** Where messages go and come from. `stream` binds them to it: the same name for producer and consumer. */
export interface SealedQueue {
  readonly client: QueueClient;
  readonly queueId: string;
  readonly stream: string;
}

/** Seals messages and puts them. */
export async function putSealed(
  { client, queueId, stream }: SealedQueue,
  key: SealingKey,
  messages: readonly PlainMessage[],
): Promise<void> {
  const envelopes = await Promise.all(messages.map((message) => sealMessage(message, stream, key)));
  await client.putMessages({
    queueId,
    putMessagesDetails: {
      messages: envelopes.map(({ content, properties }) => ({
        content,
        // The SDK's type wants a channel, the service does not.
        metadata: { customProperties: properties } as never,
      })),
    },
  });
}

/**
 * Gets messages, opens each, gives it to `handle`, and deletes it. One that does not open, or that `handle` fails on, is told
 * to `onFailure` and stays: it comes again after its visibility timeout, and becomes a dead letter in the end. So a key
 * that was forgotten can still be brought. Returns how many were handled.
 */
export async function consumeSealed(
  { client, queueId, stream }: SealedQueue,
  keys: OpeningKeys,
  handle: (message: PlainMessage) => Promise<void>,
  onFailure: (error: unknown, messageId: number) => void,
): Promise<number> {
  const { getMessages } = await client.getMessages({ queueId, limit: 20, timeoutInSeconds: 5 });
  let handled = 0;
  for (const { id, content, receipt, metadata } of getMessages.messages) {
    try {
      await handle(await openMessage({ content, properties: metadata?.customProperties ?? {} }, stream, keys));
      await client.deleteMessage({ queueId, messageReceipt: receipt });
      handled += 1;
    } catch (error) {
      onFailure(error, id);
    }
  }
  return handled;
}
