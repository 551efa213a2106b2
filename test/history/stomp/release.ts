import type { StompPod, StompTarget } from './target.js';

/** What a signal takes to arrive. */
const SIGNAL_MS = 5;

/** What its client knows of a connection that is over. Times that did not come are infinite. */
export interface LostConnection {
  /** When the network, or the client itself, began to end it. */
  readonly cutAt: number;
  /** When the client asked for its end, or that of a subscription, and was not answered. */
  readonly endingSince: number;
  /** Nothing of the client came through any more. */
  readonly isSilent: boolean;
  /** The code of the ERROR that came; null: none. */
  readonly error: string | null;
  /** When the pod was last asked something that it has answered, and when it last claimed something that has come. */
  readonly answeredAsk: number;
  readonly lastClaim: number;
  /** When the first ACK or NACK was said that has no answer. */
  readonly unansweredSince: number;
  readonly isUnsubscribed: boolean;
}

/** The earliest moment at which the pod can have given back what the connection held; null: it died before. */
export function releaseAfter(
  { counts, surprises, heartBeatMs }: StompTarget,
  { killedAt, stoppedAt }: StompPod,
  { cutAt, endingSince, isSilent, error, answeredAsk, lastClaim, unansweredSince, isUnsubscribed }: LostConnection,
): number | null {
  const lastSign = Math.max(answeredAsk, lastClaim);
  // It was never there.
  if (lastSign === 0) return null;
  if (killedAt < Infinity) counts.killed += 1;
  else if (cutAt < Infinity) counts.cuts += 1;
  const causes = [cutAt, stoppedAt, endingSince];
  // A client that made a mistake is told so, and ended at once, though it may not read that before long.
  // And so is one for which the database could not be reached.
  const isDrained = error === 'ServiceUnavailable' && stoppedAt < Infinity;
  if (error !== null && error !== 'RequestTimeout' && !isDrained) causes.push(lastSign);
  // A client is given twice the interval from what the pod has read of it, which is at least what it has answered.
  else if (isSilent || error === 'RequestTimeout') causes.push(answeredAsk + 2 * heartBeatMs);
  // One that hears nothing any more is not told that what it said before was a mistake.
  if (isSilent && error === null) causes.push(unansweredSince);
  const at = Math.min(...causes);
  if (at < Infinity) return at < killedAt + SIGNAL_MS ? at : null;
  if (killedAt < Infinity) return null;
  if (!isUnsubscribed) surprises.push('a connection ended for no reason');
  return lastSign;
}
