import { setTimeout as sleep } from 'node:timers/promises';
import type { TestDatabase } from '../support/database.js';
import { clock } from './history.js';
import type { RecordedQueue } from './recorded-queue.js';

const SETTLE_MS = 30_000;
const STATS_MS = 5000;

/**
 * Waits until no redrive runs, nothing is hidden and every message is where it belongs, reads the statistics, takes and
 * deletes all that is left, and reads the statistics again. After this the history is complete. The statistics have
 * `statsMs` to come to the truth.
 */
export async function settle(
  queue: RecordedQueue,
  { sql }: Pick<TestDatabase, 'sql'>,
  statsMs = STATS_MS,
): Promise<void> {
  const number = async (text: string, values: readonly string[] = []): Promise<number> => {
    const [row] = await sql<{ n: number }>(`select count(*)::int as n ${text}`, [queue.id, ...values]);
    return row?.n ?? 0;
  };
  const all = `from towpath.message m join towpath.queue q on q.id = m.queue_id where q.ocid = $1`;
  const unsettled = `${all} and (
    m.visible_after > clock_timestamp() or (not m.dead_letter and m.delivery_count >= m.delivery_limit))`;
  const redrives = `from towpath.work_request w join towpath.queue q on q.id = w.queue_id
    where q.ocid = $1 and w.operation_type = 'REDRIVE_MESSAGES' and w.time_finished is null`;
  const deadline = clock() + SETTLE_MS;
  while ((await number(redrives)) + (await number(unsettled)) > 0 && clock() < deadline) await sleep(50);

  const inGroup = `${all} and $2 = coalesce((
    select g.display_name from towpath.consumer_group g
    where g.queue_id = m.queue_id and g.id = m.consumer_group_id and g.id <> 0), '')`;
  const groups = queue.rules.groups.map(({ name }) => name);
  // The groups wait together: their figures converge at the same time.
  let until = clock() + statsMs;
  for (const group of groups) {
    const live = await number(`${inGroup} and not m.dead_letter`, [group]);
    const dead = await number(`${inGroup} and m.dead_letter`, [group]);
    await queue.stats(group, (told, dlq) => told.visibleMessages === live && dlq.visibleMessages === dead, until);
  }
  await drain(queue, async () => (await number(all)) === 0);
  until = clock() + statsMs;
  for (const group of groups) {
    await queue.stats(group, (told, dlq) => told.sizeInBytes + dlq.sizeInBytes + told.inFlightMessages === 0, until);
  }
}

async function drain(queue: RecordedQueue, isEmpty: () => Promise<boolean>): Promise<void> {
  const sides = queue.rules.groups.flatMap(({ name: group }) => [
    { group, deadLetter: false },
    { group, deadLetter: true },
  ]);
  const deadline = clock() + SETTLE_MS;
  while (!(await isEmpty()) && clock() < deadline) {
    for (const side of sides) {
      for (;;) {
        const messages = await queue.get(0, { ...side, limit: 20, visibilityInSeconds: 30, isFinal: true });
        if (messages === null || messages.length === 0) break;
        const receipts = messages.map(({ receipt }) => receipt);
        await queue.delete(0, receipts, side);
      }
    }
  }
}
