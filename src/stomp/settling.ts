import { ServiceError } from '../errors/service-error.js';
import type { Frame } from './codec/frame.js';
import { required, wordOf } from './header-fields.js';
import type { HeldDelivery } from './held-delivery.js';
import type { Session } from './session.js';
import { checkTransactionsAllowed } from './strict.js';

const STALE =
  'this connection does not hold that message: it was acknowledged already, its timeout has passed and somebody else has it, or it is gone; with the header stale-ack:ignore that is no error';

/**
 * The delivery that an ACK or NACK names: in 1.2 by `id`, the MESSAGE's `ack`; before by `message-id`, the MESSAGE's, and in
 * 1.1 `subscription`. Clients mix them up, so either is taken in any version: both have the same value. Null: it is not held
 * any more, and that is to be ignored. Throws MissingParameter, NotAuthorizedOrNotFound (it is not held), InvalidParameter.
 */
export function findNamed(session: Session, frame: Frame): HeldDelivery | null {
  const name = session.version === '1.2' ? 'id' : 'message-id';
  const other = session.version === '1.2' ? 'message-id' : 'id';
  const ackId = frame.headers.get(name) ?? frame.headers.get(other) ?? required(frame, name);
  const delivery = session.deliveries.find(ackId);
  if (delivery === undefined) {
    if (ignoresStale(frame, session.subscriptions.get(frame.headers.get('subscription') ?? ''))) return null;
    throw new ServiceError('NotAuthorizedOrNotFound', STALE);
  }
  const subscription = frame.headers.get('subscription');
  if (subscription !== undefined && subscription !== delivery.subscription.options.id) {
    throw new ServiceError('InvalidParameter', 'subscription: the message was delivered to another one');
  }
  if (delivery.subscription.options.ack === 'auto') {
    throw new ServiceError(
      'InvalidParameter',
      'the subscription has ack:auto: its messages need no ACK and take no NACK',
    );
  }
  return delivery;
}

/** Puts an ACK (`visibleInSeconds` null) or a NACK into the lane, or into its transaction: then it is accepted at once. */
export function settle(session: Session, frame: Frame, named: HeldDelivery, visibleInSeconds: number | null): void {
  const { subscription } = named;
  const deliveries = subscription.upTo(named);
  const name = frame.headers.get('transaction');
  if (name !== undefined) {
    checkTransactionsAllowed(session);
    const transaction = session.transactions.find(name);
    session.transactions.grow(transaction, deliveries.length, 0);
    transaction.settlings.push({
      named,
      deliveries,
      visibleInSeconds,
      ignoresStale: ignoresStale(frame, subscription),
    });
    session.deliveries.settling(deliveries);
    session.confirm(frame);
    return;
  }
  session.deliveries.settling(deliveries);
  subscription.leave(deliveries);
  session.settlements.add({
    caller: session.callerOf(visibleInSeconds === null ? 'ACK' : 'NACK'),
    subscription,
    visibleInSeconds,
    deliveries,
    named,
    afterSends: session.sends.taken,
    settled: (isStale, durability) => {
      if (isStale && !ignoresStale(frame, subscription)) {
        session.fail(new ServiceError('NotAuthorizedOrNotFound', STALE), frame);
      } else {
        session.confirm(frame, durability);
      }
    },
    failed: (error) => session.fail(error, frame),
  });
}

/** A message of a subscription with ack:auto is with the client: that is its acknowledgement. */
export function settleSent(session: Session, delivery: HeldDelivery): void {
  const { subscription } = delivery;
  session.deliveries.settling([delivery]);
  subscription.leave([delivery]);
  session.settlements.add({
    caller: session.callerOf('ACK'),
    subscription,
    visibleInSeconds: null,
    deliveries: [delivery],
    named: delivery,
    afterSends: 0,
    settled: () => undefined,
    failed: (error) => session.fail(error, null),
  });
  session.settlements.start();
}

function ignoresStale(
  frame: Frame,
  subscription: { readonly options: { readonly ignoresStale: boolean } } | undefined,
): boolean {
  const word = wordOf(frame, 'stale-ack', ['error', 'ignore']);
  return word === undefined ? (subscription?.options.ignoresStale ?? false) : word === 'ignore';
}
