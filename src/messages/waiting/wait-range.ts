import type { MessageRange } from '../../database/message-functions.js';

/** What somebody waits for: messages of a range, in one channel or (null) in any. */
export interface WaitRange extends MessageRange {
  readonly channelId: string | null;
}

/** Something is, or will be, visible in one channel (null: in some channel) of a range. */
export interface VisibilityHint extends WaitRange {
  /** Milliseconds from now; 0: at once. */
  readonly inMs: number;
}

export function rangeKey(range: WaitRange): string {
  return `${range.queueId} ${range.consumerGroupId} ${range.deadLetter ? 'd' : 'n'} ${range.channelId ?? '*'}`;
}

/** The keys of all that wait for what the hint tells of, given who waits. */
export function keysConcernedBy(hint: WaitRange, waiting: Iterable<string>): string[] {
  if (hint.channelId !== null) return [rangeKey(hint), rangeKey({ ...hint, channelId: null })];
  const start = rangeKey(hint).slice(0, -1);
  return [...waiting].filter((key) => key.startsWith(start));
}
