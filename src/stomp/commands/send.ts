import { ServiceError } from '../../errors/service-error.js';
import type { Frame } from '../codec/frame.js';
import { readDestination, type Destination } from '../destination.js';
import { integerOf } from '../header-fields.js';
import { notInStrictMode, propertiesOf, SEND_OPTIONS } from '../message-headers.js';
import type { MessageDetails } from '../../messages/puts.service.js';
import type { Session } from '../session.js';

const MAX_DELAY = 604_799;
const DEDUPLICATION_ID = /^[\x20-\x7e]{1,128}$/;

/** Puts a message. The receipt is answered when it is durable. */
export function send(session: Session, frame: Frame): Promise<void> | undefined {
  const destination = readDestination(frame.headers.get('destination'));
  if (session.services.configuration.stompStrict) checkStrict(frame);
  const message = messageOf(frame, destination);
  const transaction = frame.headers.get('transaction');
  if (transaction !== undefined) return addToTransaction(session, frame, transaction, destination, message);
  const reference = session.queues.referenceOf(session.callerOf('SEND'), destination);
  if (typeof reference === 'string') {
    add(session, frame, reference, message);
    return undefined;
  }
  return reference.then((found) => add(session, frame, found, message));
}

function add(session: Session, frame: Frame, reference: string, message: MessageDetails): void {
  session.sends.add({
    caller: session.callerOf('SEND'),
    reference,
    message,
    bytes: frame.body.length,
    stored: (durability) => session.confirm(frame, durability),
    failed: (error) => session.fail(error, frame),
  });
}

/** The receipt says that it is accepted: some clients wait for it before they COMMIT. */
async function addToTransaction(
  session: Session,
  frame: Frame,
  name: string,
  destination: Destination,
  message: MessageDetails,
): Promise<void> {
  const transaction = session.transactions.find(name);
  const caller = session.callerOf('SEND');
  const reference = await session.queues.referenceOf(caller, destination);
  const prepared = await session.services.puts.prepare(caller, reference, [message]);
  session.transactions.grow(transaction, 1, frame.body.length);
  transaction.puts.push(prepared);
  session.confirm(frame);
}

function messageOf(frame: Frame, { channelId }: Destination): MessageDetails {
  const properties = propertiesOf(frame);
  const deduplicationId = frame.headers.get(SEND_OPTIONS.deduplicationId);
  if (deduplicationId !== undefined && !DEDUPLICATION_ID.test(deduplicationId)) {
    throw new ServiceError(
      'InvalidParameter',
      `${SEND_OPTIONS.deduplicationId}: must be 1 to 128 printable ASCII characters`,
    );
  }
  return {
    content: frame.body,
    metadata: { channelId, customProperties: properties },
    delayInSeconds: integerOf(frame, SEND_OPTIONS.delay, 0, MAX_DELAY) ?? null,
    deduplicationId: deduplicationId ?? null,
  };
}

function checkStrict(frame: Frame): void {
  const header = notInStrictMode(frame);
  if (header === undefined) return;
  throw new ServiceError(
    'InvalidParameter',
    `${header.slice(0, 100)}: SEND takes no such header, since this service is strict as OCI Queue is (TOWPATH_STOMP_STRICT)`,
  );
}
