import { ServiceError } from '../../errors/service-error.js';
import type { Frame } from '../codec/frame.js';
import { required } from '../header-fields.js';
import type { Session } from '../session.js';

/** Ends a subscription and gives back what it holds. In 1.0 it may be named by its destination. */
export async function unsubscribe(session: Session, frame: Frame): Promise<void> {
  const id =
    session.version === '1.0' ? (frame.headers.get('id') ?? required(frame, 'destination')) : required(frame, 'id');
  const subscription = session.subscriptions.get(id);
  if (subscription === undefined) {
    throw new ServiceError('InvalidParameter', 'id: this connection has no subscription of this id');
  }
  await session.endSubscriptions([subscription]);
  session.confirm(frame);
}
