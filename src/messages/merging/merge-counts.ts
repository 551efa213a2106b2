import { Injectable } from '@nestjs/common';

/** What is merged, each for itself. */
export const MERGE_KINDS = ['put', 'get', 'update', 'delete'] as const;
export type MergeKind = (typeof MERGE_KINDS)[number];

/** What the merging of this pod has done, for the metrics. */
@Injectable()
export class MergeCounts {
  /** Requests that wait for their statement to begin. */
  waiting = 0;
  /** Requests that were refused because too many waited. */
  refused = 0;
  /** Requests that were tried by themselves, because the statement that they were merged into was refused. */
  separated = 0;
  /** Set by the metrics: a statement was sent for so many requests. */
  onStatement: (kind: MergeKind, requests: number) => void = () => undefined;
}
