import { createHash } from 'node:crypto';
import type { MessageToPut } from '../database/put-functions.js';

/**
 * The same for two requests that put the same messages, however their JSON was written: the order of fields, and of
 * properties, says nothing.
 */
export function digestOf(messages: readonly MessageToPut[]): string {
  const hash = createHash('sha256');
  for (const { content, channelId, properties, delayInSeconds, deduplicationId = null } of messages) {
    const sorted = Object.entries(properties ?? {}).toSorted(([a], [b]) => (a < b ? -1 : 1));
    // The length of the content stands before it, so that no two requests can be read as the same bytes.
    hash.update(JSON.stringify([content.length, channelId, sorted, delayInSeconds, deduplicationId])).update(content);
  }
  return hash.digest('hex');
}
