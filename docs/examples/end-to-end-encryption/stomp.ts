import type { Client, IMessage } from '@stomp/stompjs';
import { openMessage, sealMessage, type OpeningKeys, type PlainMessage, type SealingKey } from './envelope.ts';

/** Where messages go and come from. `stream` binds them to it: the same name for producer and consumer. */
export interface SealedDestination {
  /** Connected. */
  readonly client: Client;
  /** The OCID of a queue, or /queue/<name>. */
  readonly destination: string;
  readonly stream: string;
}

let receipts = 0;

/** Seals a message and sends it: properties are headers. Resolves when the service has confirmed that it is stored. */
export async function sendSealed(
  { client, destination, stream }: SealedDestination,
  key: SealingKey,
  message: PlainMessage,
): Promise<void> {
  const { content, properties } = await sealMessage(message, stream, key);
  receipts += 1;
  const receipt = `sealed-${receipts}`;
  const stored = new Promise<void>((resolve) => {
    client.watchForReceipt(receipt, () => resolve());
  });
  client.publish({ destination, body: content, headers: { ...properties, receipt } });
  return stored;
}

/**
 * Subscribes, opens each message, gives it to `handle`, and acknowledges it. One that does not open, or that `handle` fails on,
 * is told to `onFailure` and refused: it comes again a minute later, and becomes a dead letter in the end.
 */
export function subscribeSealed(
  { client, destination, stream }: SealedDestination,
  keys: OpeningKeys,
  handle: (message: PlainMessage) => Promise<void>,
  onFailure: (error: unknown, messageId: string) => void,
): void {
  const receive = async (message: IMessage): Promise<void> => {
    try {
      // Headers that are no properties do no harm: what was sealed says which ones there must be.
      await handle(await openMessage({ content: message.body, properties: message.headers }, stream, keys));
      message.ack();
    } catch (error) {
      onFailure(error, message.headers['oci-message-id'] ?? '');
      message.nack({ 'delay-in-seconds': '60' });
    }
  };
  client.subscribe(destination, (message) => void receive(message), { ack: 'client-individual' });
}
