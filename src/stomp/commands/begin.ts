import type { Frame } from '../codec/frame.js';
import { required } from '../header-fields.js';
import { checkTransactionsAllowed } from '../strict.js';
import type { Session } from '../session.js';

/** Opens a transaction: frames that name it take effect with its COMMIT, together. */
export function begin(session: Session, frame: Frame): void {
  checkTransactionsAllowed(session);
  session.transactions.begin(required(frame, 'transaction'));
  session.confirm(frame);
}
