import type { Frame } from '../codec/frame.js';
import type { Session } from '../session.js';

/** Ends the connection once everything before it is carried out and what the client holds is given back. */
export async function disconnect(session: Session, frame: Frame): Promise<void> {
  await session.endSubscriptions();
  session.confirm(frame);
  if (session.isOpen) session.close();
}
