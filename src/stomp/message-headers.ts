import { ServiceError } from '../errors/service-error.js';
import { isStorable } from '../rest/fields.js';
import type { Durability } from '../messages/durability.js';
import type { Delivery } from '../messages/gets.service.js';
import type { Frame } from './codec/frame.js';
import type { HeldDelivery } from './held-delivery.js';

/*
 * How headers of SEND become properties of the message, and properties headers of MESSAGE. Both have strings only, so
 * each custom header is the property of the same name, and `content-type` is one of them. A property whose name is
 * that of a header with a meaning of its own travels as `oci-property-<name>`, in both directions.
 */

const PROPERTY_PREFIX = 'oci-property-';
const MAX_NAME_LENGTH = 255;

/** Headers of SEND that say what to do with the message. */
export const SEND_OPTIONS = {
  delay: 'delay-in-seconds',
  deduplicationId: 'oci-deduplication-id',
} as const;

/** What a SEND is about, and what a MESSAGE tells of its delivery: clients that pass a MESSAGE on send the latter along. */
const WITH_A_MEANING: ReadonlySet<string> = new Set([
  'destination',
  'receipt',
  'transaction',
  'content-length',
  'subscription',
  'message-id',
  'ack',
  ...Object.values(SEND_OPTIONS),
]);
const TOLD_BY_MESSAGE: ReadonlySet<string> = new Set([
  'oci-message-id',
  'oci-channel-id',
  'oci-delivery-count',
  'oci-created-at',
  'oci-visible-after',
  'oci-expire-after',
  'oci-durability',
]);
/** What OCI Queue takes with a SEND. */
const STRICT: ReadonlySet<string> = new Set(['destination', 'receipt', 'content-type', 'content-length']);

/** The properties that the headers of a SEND make; null: none. Throws InvalidParameter. */
export function propertiesOf({ headers }: Frame): Record<string, string> | null {
  const properties: Record<string, string> = {};
  let hasAny = false;
  for (const [header, value] of headers) {
    const name = nameOf(header);
    if (name === null) continue;
    if (
      name === '' ||
      name.length > MAX_NAME_LENGTH ||
      name === '__proto__' ||
      !isStorable(name) ||
      !isStorable(value)
    ) {
      throw new ServiceError(
        'InvalidParameter',
        `the header ${name.slice(0, 50)} cannot be kept: names of headers have 1 to ${MAX_NAME_LENGTH} characters and are not __proto__, and neither has NUL`,
      );
    }
    properties[name] = value;
    hasAny = true;
  }
  return hasAny ? properties : null;
}

/** The property that a header of SEND is; null: none. Throws InvalidParameter. */
function nameOf(header: string): string | null {
  if (WITH_A_MEANING.has(header) || TOLD_BY_MESSAGE.has(header)) return null;
  if (!header.startsWith('oci-')) return header;
  if (header.startsWith(PROPERTY_PREFIX)) return header.slice(PROPERTY_PREFIX.length);
  throw new ServiceError(
    'InvalidParameter',
    `there is no header ${header.slice(0, 100)}: names that begin with oci- are the service's; write ${PROPERTY_PREFIX}<name> for a property whose name does`,
  );
}

/** A header that OCI Queue would refuse; undefined: none. */
export function notInStrictMode({ headers }: Frame): string | undefined {
  return [...headers.keys()].find((name) => !STRICT.has(name));
}

/** Of a MESSAGE or RECEIPT: what the service's word is worth. OCI Queue has no such header. */
export function durabilityHeaders(durability: Durability, isStrict: boolean): [string, string][] {
  return durability === 'RELAXED' && !isStrict ? [['oci-durability', 'relaxed']] : [];
}

/** The headers of a MESSAGE, without content-length. `isAckNamed`: of 1.2. */
export function headersOf(
  delivery: Delivery,
  { ackId, subscription, durability }: HeldDelivery,
  isAckNamed: boolean,
  isStrict: boolean,
): [string, string][] {
  const { id, destination, ack } = subscription.options;
  const headers: [string, string][] = [
    ['subscription', id],
    ['message-id', ackId],
    ['destination', destination],
  ];
  if (isAckNamed && ack !== 'auto') headers.push(['ack', ackId]);
  headers.push(['oci-message-id', String(delivery.id)]);
  if (delivery.channelId !== '') headers.push(['oci-channel-id', delivery.channelId]);
  headers.push(
    ['oci-delivery-count', String(delivery.deliveryCount)],
    ['oci-created-at', delivery.createdAt.toISOString()],
    ['oci-visible-after', delivery.visibleAfter.toISOString()],
    ['oci-expire-after', delivery.expireAfter.toISOString()],
    ...durabilityHeaders(durability, isStrict),
  );
  for (const [name, value] of Object.entries(delivery.properties ?? {})) {
    const isTaken = WITH_A_MEANING.has(name) || name.startsWith('oci-');
    headers.push([isTaken ? PROPERTY_PREFIX + name : name, value]);
  }
  return headers;
}
