import type { Queue } from '../database/queue-functions.js';

/** 512 KB, for queues with the capability LARGE_MESSAGES. */
const LARGE_MESSAGE_BYTES = 512_000;

/** How many bytes of content and properties a message of the queue may have. `usual` is the limit without capabilities. */
export function maxMessageBytesOf(queue: Queue, usual: number): number {
  const isLarge = queue.capabilities.some(({ type }) => type === 'LARGE_MESSAGES');
  return isLarge ? Math.max(LARGE_MESSAGE_BYTES, usual) : usual;
}
