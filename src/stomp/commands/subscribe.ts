import { ServiceError } from '../../errors/service-error.js';
import type { Frame } from '../codec/frame.js';
import { readDestination } from '../destination.js';
import { integerOf, required, wordOf } from '../header-fields.js';
import { headersOf } from '../message-headers.js';
import type { Session } from '../session.js';
import { settleSent } from '../settling.js';
import type { AckMode, SubscriptionTarget } from '../subscription-options.js';
import { Subscription, type SubscriptionTasks } from '../subscription.js';

const DEFAULT_PREFETCH = 20;
const MAX_PREFETCH = 1000;
const MAX_VISIBILITY = 43_200;
const MAX_SUBSCRIPTIONS = 64;
const CHANNEL_ID = /^[A-Za-z0-9._-]{1,64}$/;

/** Delivers messages from now on, as long as there is credit. */
export async function subscribe(session: Session, frame: Frame): Promise<void> {
  const { configuration } = session.services;
  const id = idOf(session, frame);
  const ack = ackModeOf(frame, configuration.stompStrict);
  const caller = session.callerOf('SUBSCRIBE');
  const released = wordOf(frame, 'release-on-disconnect', ['true', 'false']) ?? 'true';
  const options = {
    id,
    destination: required(frame, 'destination'),
    caller,
    ack,
    prefetch: integerOf(frame, 'prefetch-count', 1, MAX_PREFETCH) ?? DEFAULT_PREFETCH,
    visibilityInSeconds: integerOf(frame, 'visibility-in-seconds', 1, MAX_VISIBILITY),
    releasesOnDisconnect: released === 'true' && !configuration.stompStrict,
    keepsLease: wordOf(frame, 'lease', ['keep']) === 'keep',
    ignoresStale: wordOf(frame, 'stale-ack', ['error', 'ignore']) === 'ignore',
    target: await targetOf(session, frame),
  };
  // Meanwhile it may have gone.
  if (!session.isOpen) return;
  const subscription = new Subscription(options, session.services, tasksOf(session));
  session.subscriptions.set(id, subscription);
  session.confirm(frame);
  subscription.start();
}

function idOf(session: Session, frame: Frame): string {
  // In 1.0 the destination may stand for it.
  const id =
    session.version === '1.0' ? (frame.headers.get('id') ?? required(frame, 'destination')) : required(frame, 'id');
  if (session.subscriptions.has(id)) {
    throw new ServiceError(
      'InvalidParameter',
      'id: this connection has a subscription of this id already: use another',
    );
  }
  if (session.subscriptions.size >= MAX_SUBSCRIPTIONS) {
    throw new ServiceError(
      'LimitExceeded',
      `a connection may have ${MAX_SUBSCRIPTIONS} subscriptions: open another connection for more`,
    );
  }
  return id;
}

function ackModeOf(frame: Frame, isStrict: boolean): AckMode {
  const mode = wordOf(frame, 'ack', ['auto', 'client', 'client-individual']) ?? 'auto';
  if (mode === 'auto' && isStrict) {
    throw new ServiceError(
      'InvalidParameter',
      'ack: must be client or client-individual, since this service is strict as OCI Queue is (TOWPATH_STOMP_STRICT)',
    );
  }
  return mode;
}

async function targetOf(session: Session, frame: Frame): Promise<SubscriptionTarget> {
  const destination = readDestination(frame.headers.get('destination'));
  const channel = frame.headers.get('channel');
  if (channel !== undefined && !CHANNEL_ID.test(channel)) {
    throw new ServiceError('InvalidParameter', 'channel: must be 1 to 64 of the characters A-Z a-z 0-9 . _ -');
  }
  if (channel !== undefined && destination.channelId !== null && channel !== destination.channelId) {
    throw new ServiceError('InvalidParameter', 'channel: the destination names another one; leave one of them out');
  }
  const caller = session.callerOf('SUBSCRIBE');
  const consumerGroupId = frame.headers.get('consumer-group');
  const reference = await session.queues.referenceOf(caller, destination);
  const { range } = await session.services.ranges.find(caller, reference, consumerGroupId);
  return { reference, range, consumerGroupId, channelId: channel ?? destination.channelId };
}

function tasksOf(session: Session): SubscriptionTasks {
  const { stompStrict } = session.services.configuration;
  return {
    hasOutputRoom: () => session.outbox.hasRoom && session.pace.hasRoom,
    hand: (subscription, { outcome: deliveries, durability }, hold) => {
      const held = deliveries.map((delivery) => session.deliveries.add(subscription, delivery, durability));
      const messages = held.map((one, index) => {
        const delivery = deliveries[index];
        if (delivery === undefined) throw new Error('a delivery is missing');
        return {
          headers: headersOf(delivery, one, session.version === '1.2', stompStrict),
          body: delivery.content,
          ...(subscription.options.ack === 'auto' ? { sent: (): void => settleSent(session, one) } : {}),
        };
      });
      session.outbox.writeMessages(messages, hold);
      return held;
    },
    forget: (delivery) => session.deliveries.forget(delivery),
    failed: (error) => session.fail(error, null),
  };
}
