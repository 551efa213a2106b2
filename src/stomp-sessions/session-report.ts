import type { ReportedSession, ReportedSubscription } from '../database/stomp-functions.js';
import type { Session } from '../stomp/session.js';
import type { Subscription } from '../stomp/subscription.js';

/** Of what clients name: a header may have 64 KiB, and a session 64 subscriptions. */
const MAX_TEXT = 200;

/** What operators are told of a session. It has logged in. */
export function reportOf(session: Session, now: number): ReportedSession {
  const { connection, intake, outbox, transactions, user, connectedAt } = session;
  if (user === null || connectedAt === null) throw new Error('a stranger was to be reported');
  return {
    id: session.id,
    user_id: user.userId,
    peer_address: connection.peerAddress,
    transport: connection.kind,
    version: session.version,
    connected_at: connectedAt.toISOString(),
    heard_ms: Math.round(now - intake.lastReceivedAt),
    sent_ms: outbox.lastSentAt === null ? null : Math.round(now - outbox.lastSentAt),
    unacknowledged: unacknowledgedOf(session),
    open_transactions: transactions.size,
    bytes_received: intake.receivedBytes,
    bytes_sent: outbox.sentBytes,
    subscriptions: [...session.subscriptions.values()].map(subscriptionOf),
  };
}

/** A number that is another one after anything has happened to the session, but for the time that passes. */
export function stampOf(session: Session): number {
  const { intake, outbox, subscriptions, transactions } = session;
  return (
    intake.receivedBytes +
    outbox.sentBytes +
    unacknowledgedOf(session) * 3 +
    subscriptions.size * 5 +
    transactions.size * 7
  );
}

function unacknowledgedOf({ subscriptions }: Session): number {
  let sum = 0;
  for (const { unacknowledged } of subscriptions.values()) sum += unacknowledged;
  return sum;
}

function subscriptionOf({ options, unacknowledged, delivered }: Subscription): ReportedSubscription {
  const { range, channelId } = options.target;
  return {
    id: storable(options.id),
    destination: storable(options.destination),
    queue_id: range.queueId,
    consumer_group_id: range.consumerGroupId,
    dead_letter: range.deadLetter,
    channel_id: channelId,
    ack: options.ack,
    prefetch: options.prefetch,
    unacknowledged,
    delivered,
    lease: options.keepsLease ? 'keep' : null,
    visibility_in_seconds: options.visibilityInSeconds ?? null,
  };
}

/** PostgreSQL stores no NUL, and no half of a character. */
function storable(text: string): string {
  return text.slice(0, MAX_TEXT).toWellFormed().replaceAll('\0', '\u{fffd}');
}
