import type { Frame } from '../codec/frame.js';
import { required } from '../header-fields.js';
import { withPatience } from '../patience.js';
import { checkTransactionsAllowed } from '../strict.js';
import type { Session } from '../session.js';

/**
 * Carries a transaction out, in one transaction of the database, after all that was sent outside of it before. Its receipt says
 * that it is durable, as far as the queues are. An ERROR says that nothing of it has happened, unless its code is of the kind that leaves it open.
 */
export async function commit(session: Session, frame: Frame): Promise<void> {
  checkTransactionsAllowed(session);
  const { puts, settlings } = session.transactions.take(required(frame, 'transaction'));
  await session.settle();
  // What was to happen before has failed.
  if (!session.isOpen) return;
  const settlements = settlings.flatMap(({ named, deliveries, visibleInSeconds, ignoresStale }) =>
    deliveries.map((delivery) => ({
      range: delivery.subscription.target.range,
      id: delivery.id,
      receiptNumber: delivery.receiptNumber,
      channelId: delivery.channelId,
      visibleInSeconds,
      isRequired: delivery === named && !ignoresStale,
      durability: delivery.durability,
    })),
  );
  const durability = await withPatience(() => session.services.transactions.commit(puts, settlements));
  for (const { named, deliveries } of settlings) named.subscription.settled(deliveries);
  session.confirm(frame, durability);
}
