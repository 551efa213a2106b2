import { one, type Queue, type Run } from './support.js';

export interface Progress {
  readonly examined: number;
  readonly matched: number;
  readonly redriven: number;
  readonly skipped: number;
  readonly failed: number;
  readonly isDryRun: boolean;
  readonly messagesPerSecond?: number;
}

export interface Redrive {
  readonly id: number;
  readonly ocid: string;
  readonly status: string;
  readonly percent_complete: number;
  readonly run_after: Date | null;
  readonly progress: Progress;
}

const REDRIVE = `w.id, w.ocid, w.status, w.percent_complete, w.run_after, w.parameters -> 'redrive' as progress`;

/** Lets every message of the queue that can be got die in its own way: delivered once, and timed out. */
export async function killAll(queue: Queue, run: Run): Promise<void> {
  for (let delivered = -1; delivered !== 0;) {
    delivered = (await queue.get({ limit: 1000, visibility: 1000, to: 'killer' })).length;
  }
  await run(
    `update towpath.message set visible_after = now() where queue_id = $1 and not dead_letter and delivery_count > 0`,
    [queue.id],
  );
  while ((await queue.sweepTimedOut()) > 0);
}

/** Dead letters of a queue with deadLetterQueueDeliveryCount 1. */
export async function makeDead(queue: Queue, run: Run, count: number, channel = ''): Promise<number[]> {
  const ids = await queue.putMany(count, channel);
  await killAll(queue, run);
  return ids;
}

export async function startRedrive(
  queue: Queue,
  run: Run,
  details: Record<string, unknown> = {},
  filterPath: string | null = null,
  limits: { readonly ifMatch?: string; readonly maxMessageBytes?: number; readonly maxChannels?: number } = {},
): Promise<Redrive> {
  return one(
    await run<Redrive & Record<string, unknown>>(
      `select ${REDRIVE} from towpath.redrive_messages($1, $2, $3, $4::jsonpath, $5, $6, $7) w`,
      [
        queue.tenancy,
        queue.ocid,
        details,
        filterPath,
        limits.ifMatch ?? null,
        limits.maxMessageBytes ?? null,
        limits.maxChannels ?? 256,
      ],
    ),
  );
}

export async function step(run: Run, ocid: string | null, batch = 1000): Promise<string | null> {
  const rows = await run<{ status: string | null }>('select towpath.run_work_request_step($1, $2) as status', [
    ocid,
    batch,
  ]);
  return one(rows).status;
}

/** Runs a redrive to its end, without waiting for its rate limit to allow more. */
export async function runToEnd(run: Run, ocid: string, batch = 1000): Promise<Redrive> {
  while ((await step(run, ocid, batch)) === 'IN_PROGRESS');
  return find(run, ocid);
}

export async function find(run: Run, ocid: string): Promise<Redrive> {
  return one(
    await run<Redrive & Record<string, unknown>>(`select ${REDRIVE} from towpath.work_request w where w.ocid = $1`, [
      ocid,
    ]),
  );
}

export async function redrive(
  queue: Queue,
  run: Run,
  details: Record<string, unknown> = {},
  filterPath: string | null = null,
): Promise<Redrive> {
  return runToEnd(run, (await startRedrive(queue, run, details, filterPath)).ocid);
}

export async function errorsOf(run: Run, ocid: string): Promise<{ code: string; message: string }[]> {
  return run(
    `select e.code, e.message from towpath.work_request_error e join towpath.work_request w on w.id = e.work_request_id
     where w.ocid = $1 order by e.id`,
    [ocid],
  );
}

export async function logOf(run: Run, ocid: string): Promise<string[]> {
  const rows = await run<{ message: string }>(
    `select l.message from towpath.work_request_log l join towpath.work_request w on w.id = l.work_request_id
     where w.ocid = $1 order by l.id`,
    [ocid],
  );
  return rows.map(({ message }) => message);
}

/** Where the statistics of a queue are not what its rows say; an empty array where all is well. */
export async function wrongStats(run: Run, queueId: number): Promise<object[]> {
  return run(
    `with told as (
       select c.consumer_group_id, c.dead_letter, c.channel_id, sum(c.messages)::int as messages, sum(c.size_in_bytes)::int as bytes
       from (
         select consumer_group_id, dead_letter, channel_id, messages, size_in_bytes from towpath.message_total where queue_id = $1
         union all
         select consumer_group_id, dead_letter, channel_id, messages, size_in_bytes from towpath.message_delta where queue_id = $1
       ) c
       group by 1, 2, 3
     ),
     true_ones as (
       select consumer_group_id, dead_letter, channel_id, count(*)::int as messages, sum(size_in_bytes)::int as bytes
       from towpath.message where queue_id = $1 group by 1, 2, 3
     )
     select * from told t full join true_ones r using (consumer_group_id, dead_letter, channel_id)
     where coalesce(t.messages, 0) <> coalesce(r.messages, 0) or coalesce(t.bytes, 0) <> coalesce(r.bytes, 0)`,
    [queueId],
  );
}
