import { until } from '../pods/support.js';
import type { TestDatabase } from './database.js';

/**
 * Waits until so many messages of a queue (its OCID) are dead letters, in all consumer groups together. A get and the maintenance
 * move them alike, and each passes over what the other is just moving: so a get that finds nothing may come before
 * the move is committed.
 */
export async function untilDead({ sql }: Pick<TestDatabase, 'sql'>, queueId: string, count: number): Promise<void> {
  await until(async () => {
    const rows = await sql('select from towpath.message where queue_id = towpath.queue_id($1) and dead_letter', [
      queueId,
    ]);
    return rows.length === count;
  }, `${count} messages are dead letters`);
}
