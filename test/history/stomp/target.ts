import type { CommitCall } from '../history.js';
import type { RecordedQueue } from '../recorded-queue.js';
import type { CuttingProxy } from './cutting-proxy.js';

/** A pod, as its STOMP clients know it; the times are those at which the test began to end it. */
export interface StompPod {
  readonly port: number;
  /** By SIGKILL: from then on it gives nothing back. */
  killedAt: number;
  /** By SIGTERM. */
  stoppedAt: number;
}

/** What clients of one load have in common. */
export interface StompTarget {
  readonly login: string;
  readonly passcode: string;
  /** By their slots: a pod that was ended is followed by another one in its slot. */
  readonly pods: StompPod[];
  readonly heartBeatMs: number;
  /** By the names that transactions go by. */
  readonly queues: ReadonlyMap<string, RecordedQueue>;
  readonly commits: CommitCall[];
  /** Those of the connections that are open. */
  readonly proxies: Set<CuttingProxy>;
  /**
   * When pods could not work with the database, or lost what it answered them: a claim may then have been for nobody, on a
   * connection that goes on, and clients may be told that the database cannot be reached.
   */
  readonly outages: Outage[];
  /** What no client should ever see: failures of the test. */
  readonly surprises: string[];
  readonly counts: StompCounts;
}

export interface Outage {
  readonly from: number;
  /** Infinite while it goes on. */
  until: number;
}

/** What a load came to, where the history does not tell. */
export interface StompCounts {
  sessions: number;
  cuts: number;
  /** Connections that were ended by the pod because no heart-beat came. */
  silent: number;
  drained: number;
  killed: number;
  commits: number;
  unknownCommits: number;
  refusedCommits: number;
}

export function newCounts(): StompCounts {
  return { sessions: 0, cuts: 0, silent: 0, drained: 0, killed: 0, commits: 0, unknownCommits: 0, refusedCommits: 0 };
}

/** The outages that a time from `since` to `at` has seen something of. */
export function outagesWithin({ outages }: Pick<StompTarget, 'outages'>, since: number, at: number): Outage[] {
  return outages.filter(({ from, until }) => from <= at && until >= since);
}

export function queueOf({ queues }: StompTarget, name: string): RecordedQueue {
  const queue = queues.get(name);
  if (queue === undefined) throw new Error(`there is no queue ${name}`);
  return queue;
}
