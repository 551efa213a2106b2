import type { Frame } from '../codec/frame.js';
import { integerOf } from '../header-fields.js';
import { findNamed, settle } from '../settling.js';
import type { Session } from '../session.js';

const MAX_DELAY = 43_200;

/** Makes the message visible to others, now or after `delay-in-seconds`; in the mode `client` also those delivered before it. */
export function nack(session: Session, frame: Frame): void {
  const delayInSeconds = integerOf(frame, 'delay-in-seconds', 0, MAX_DELAY) ?? 0;
  const named = findNamed(session, frame);
  if (named === null) session.confirm(frame);
  else settle(session, frame, named, delayInSeconds);
}
