import { setTimeout as sleep } from 'node:timers/promises';
import { clock } from '../history/history.js';
import type { Stage } from './stage.js';

/** Something that must be so once nobody does anything any more; `found` tells what is there instead. */
export interface Aftermath {
  readonly what: string;
  readonly found: string;
  readonly isGood: boolean;
}

/** A pod that was killed is forgotten after 15 seconds, by the next heartbeat of another one. */
const SETTLES_MS = 60_000;

/** Each counts what must not be there. */
const ROWS: readonly (readonly [what: string, query: string])[] = [
  ['no message is left', 'select count(*)::int as n from towpath.message'],
  ['no STOMP session is left', 'select count(*)::int as n from towpath.stomp_sessions'],
  [
    'no report of a pod that has ended is left',
    `select count(*)::int as n from towpath.stomp_session_chunk c
     where not exists (select from towpath.pod p where p.id = c.pod_id and p.seen_at > now() - interval '15 seconds')`,
  ],
  [
    'no pod that has ended is on the list',
    `select count(*)::int as n from towpath.pod p where p.seen_at < now() - interval '15 seconds'`,
  ],
  ['no purge is left', 'select count(*)::int as n from towpath.purge'],
  [
    'no work request is left undone',
    'select count(*)::int as n from towpath.work_request w where w.time_finished is null',
  ],
  ['no request to end a session is left', 'select count(*)::int as n from towpath.stomp_disconnect'],
  [
    'the totals and their changes add up to nothing',
    `select count(*)::int as n from (
       select from (
         select queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes from towpath.message_total
         union all
         select queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes from towpath.message_delta
       ) all_changes
       group by queue_id, consumer_group_id, dead_letter, channel_id
       having sum(messages) <> 0 or sum(size_in_bytes) <> 0
     ) wrong`,
  ],
  [
    'nobody is idle in a transaction',
    `select count(*)::int as n from pg_stat_activity where application_name like 'towpath%' and state like 'idle in transaction%'`,
  ],
];

/** Of each pod, with the value that each must have. */
const METRICS: readonly (readonly [name: string, value: number])[] = [
  ['towpath_listening', 1],
  ['towpath_waiters', 0],
  ['towpath_stomp_connections', 0],
  ['towpath_stomp_subscriptions', 0],
  ['towpath_stomp_unacknowledged_messages', 0],
  ['towpath_database_requests_waiting', 0],
  ['towpath_unreadable_messages_total', 0],
];

/** Looks until all is as it must be, or for a while; the last look counts. `isRed`: it is bad anyway, so once. */
export async function lookAt(stage: Stage, isRed: boolean): Promise<Aftermath[]> {
  const deadline = clock() + (isRed ? 0 : SETTLES_MS);
  for (;;) {
    const found = [...(await rows(stage)), ...(await metrics(stage)), await livingPods(stage)];
    if (found.every(({ isGood }) => isGood) || clock() > deadline) return found;
    await sleep(500);
  }
}

async function rows({ asSuperuser }: Stage): Promise<Aftermath[]> {
  const found: Aftermath[] = [];
  for (const [what, query] of ROWS) {
    const [row] = await asSuperuser<{ n: number }>(query);
    found.push({ what, found: `${row?.n ?? '?'}`, isGood: row?.n === 0 });
  }
  return found;
}

async function metrics({ slots }: Stage): Promise<Aftermath[]> {
  const texts = await Promise.all(
    slots.map(async ({ process: pod }) =>
      (await fetch(`${pod.url}/metrics`, { signal: AbortSignal.timeout(10_000) })).text(),
    ),
  );
  return METRICS.map(([name, value]) => {
    const found = texts.map((text) => new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1] ?? 'none');
    return {
      what: `${name} is ${value} on each pod`,
      found: found.join(', '),
      isGood: found.every((each) => Number(each) === value),
    };
  });
}

async function livingPods({ asSuperuser, slots }: Stage): Promise<Aftermath> {
  const [row] = await asSuperuser<{ n: number }>('select count(*)::int as n from towpath.pod');
  return { what: `the list of pods has ${slots.length}`, found: `${row?.n}`, isGood: row?.n === slots.length };
}
