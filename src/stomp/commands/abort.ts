import type { Frame } from '../codec/frame.js';
import { required } from '../header-fields.js';
import { checkTransactionsAllowed } from '../strict.js';
import type { Session } from '../session.js';

/** Forgets a transaction: nothing was sent, and the messages that it acknowledged are held as before. */
export function abort(session: Session, frame: Frame): void {
  checkTransactionsAllowed(session);
  const { settlings } = session.transactions.take(required(frame, 'transaction'));
  for (const { deliveries } of settlings) session.deliveries.restore(deliveries);
  session.confirm(frame);
}
