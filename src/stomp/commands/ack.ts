import type { Frame } from '../codec/frame.js';
import { findNamed, settle } from '../settling.js';
import type { Session } from '../session.js';

/** Deletes the message, in the mode `client` also those delivered before it. The receipt is answered when they are gone. */
export function ack(session: Session, frame: Frame): void {
  const named = findNamed(session, frame);
  if (named === null) session.confirm(frame);
  else settle(session, frame, named, null);
}
