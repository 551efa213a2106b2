import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer, Client } from './client.js';
import { clock, type RedriveCall } from './history.js';

export interface RedriveOptions {
  /** Null: all groups. */
  readonly group: string | null;
  readonly channelIds?: readonly string[];
  readonly messagesPerSecond?: number;
  /** It counts and must change nothing, so it is not written down. */
  readonly isDryRun?: boolean;
  /** When to ask for its end. */
  readonly cancelAfterMs?: number;
  /** Told what its work request says, again and again until that has ended. */
  readonly onProgress?: (request: WorkRequestBody) => void;
}

export interface WorkRequestBody {
  readonly status: string;
  readonly redrive?: { readonly redriven: number };
  readonly timeFinished?: string;
}

const PROGRESS_MS = 50;
/** The limit is for what hangs, not for what is slow. */
const WAIT_MS = 120_000;
/** One redrive of a queue at a time; and one that has ended cannot be cancelled any more. */
const REFUSALS = [404, 409];

/** Starts a redrive, cancels it where that is asked for, and waits until its work request has ended. */
export async function redrive(
  client: Client,
  pod: number,
  queueId: string,
  groupId: string | undefined,
  options: RedriveOptions,
): Promise<{ answer: Answer; call: RedriveCall }> {
  const { group, channelIds = null, messagesPerSecond, isDryRun, cancelAfterMs = Infinity } = options;
  const body = { consumerGroupId: groupId, channelIds: channelIds ?? undefined, messagesPerSecond, isDryRun };
  const path = `/queues/${queueId}/deadLetters/actions/redrive`;
  const answer = await client.call(pod, 'POST', path, { body, refusals: REFUSALS });
  const request = await ended(client, pod, answer, cancelAfterMs, options.onProgress);
  const call: RedriveCall = {
    kind: 'redrive',
    outcome: answer.outcome,
    calledAt: answer.calledAt,
    answeredAt: answer.answeredAt,
    group,
    channelIds,
    finishedAt: request === null ? null : clock(),
    isComplete: request?.status === 'SUCCEEDED',
  };
  return { answer, call };
}

/** The work request when it has ended; null where that cannot be known. */
async function ended(
  client: Client,
  firstPod: number,
  { workRequestId, answeredAt }: Answer,
  cancelAfterMs: number,
  onProgress: (request: WorkRequestBody) => void = () => undefined,
): Promise<WorkRequestBody | null> {
  let isToBeCancelled = cancelAfterMs < Infinity;
  if (workRequestId === null) return null;
  // Whichever pod is there.
  for (let pod = firstPod; clock() < answeredAt + WAIT_MS; pod += 1) {
    await sleep(PROGRESS_MS);
    if (isToBeCancelled && clock() > answeredAt + cancelAfterMs) {
      await client.call(pod, 'DELETE', `/workRequests/${workRequestId}`, { refusals: REFUSALS });
      isToBeCancelled = false;
    }
    const { outcome, body } = await client.call(pod, 'GET', `/workRequests/${workRequestId}`);
    if (outcome !== 'done') continue;
    const request = body as unknown as WorkRequestBody;
    onProgress(request);
    if (request.timeFinished !== undefined) return request;
  }
  return null;
}
