import type { GetShare } from '../../database/message-functions.js';

/**
 * Shares out what was claimed for several requests, as get_messages_for_many brings it: each request, in its order, takes messages of one
 * channel until the next one is more than its limit or its bytes; one in any case. `left` is what nobody has room for.
 */
export function shareOut<Message extends { readonly channelId: string; readonly sizeInBytes: number }>(
  messages: readonly Message[],
  shares: readonly GetShare[],
): { readonly answers: Message[][]; readonly left: Message[] } {
  const answers = shares.map((): Message[] => []);
  let next = 0;
  let bytes = 0;
  for (const [index, message] of messages.entries()) {
    const answer = answers[next];
    const share = shares[next];
    if (answer === undefined || share === undefined) return { answers, left: messages.slice(index) };
    const [first] = answer;
    const isFull =
      first !== undefined &&
      (answer.length >= share.limit ||
        bytes + message.sizeInBytes > share.maxBytes ||
        first.channelId !== message.channelId);
    if (isFull) {
      next += 1;
      bytes = 0;
      const following = answers[next];
      if (following === undefined) return { answers, left: messages.slice(index) };
      following.push(message);
    } else {
      answer.push(message);
    }
    bytes += message.sizeInBytes;
  }
  return { answers, left: [] };
}
