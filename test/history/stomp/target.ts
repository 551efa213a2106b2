import type { CommitCall } from '../history.js';
import type { RecordedQueue } from '../recorded-queue.js';

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
  /** What no client should ever see: failures of the test. */
  readonly surprises: string[];
  readonly counts: StompCounts;
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

export function queueOf({ queues }: StompTarget, name: string): RecordedQueue {
  const queue = queues.get(name);
  if (queue === undefined) throw new Error(`there is no queue ${name}`);
  return queue;
}
