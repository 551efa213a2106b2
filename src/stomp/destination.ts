import { ServiceError } from '../errors/service-error.js';

/** What a `destination` names. */
export interface Destination {
  /** The queue, by its OCID or by its name. */
  readonly queue: { readonly id: string } | { readonly displayName: string };
  /** Null: the queue itself, or any of its channels where messages are received. */
  readonly channelId: string | null;
  readonly deadLetter: boolean;
}

const BY_NAME = '/queue/';
const DEAD_LETTERS = 'dlq';
const CHANNEL_ID = /^[A-Za-z0-9._-]{1,64}$/;
const FORMS =
  'write <queue OCID>, <queue OCID>/<channel> or /queue/<display name>[/<channel>] with the name percent-encoded; with /dlq at the end for the dead letter queue';

/** Throws InvalidParameter, MissingParameter. */
export function readDestination(header: string | undefined): Destination {
  if (header === undefined || header === '') {
    throw new ServiceError('MissingParameter', `the header destination is missing: ${FORMS}`);
  }
  const isByName = header.startsWith(BY_NAME);
  const [first = '', ...rest] = (isByName ? header.slice(BY_NAME.length) : header).split('/');
  const deadLetter = rest.at(-1) === DEAD_LETTERS;
  const [channelId = null, ...more] = deadLetter ? rest.slice(0, -1) : rest;
  if (first === '' || more.length > 0 || (channelId !== null && !CHANNEL_ID.test(channelId))) throw unknown(header);
  return { queue: isByName ? { displayName: decoded(first, header) } : { id: first }, channelId, deadLetter };
}

function decoded(name: string, header: string): string {
  try {
    const displayName = decodeURIComponent(name);
    // PostgreSQL has no NUL in text.
    if (!displayName.includes('\0')) return displayName;
  } catch {
    // Not percent-encoded UTF-8: told below.
  }
  throw unknown(header);
}

function unknown(header: string): ServiceError {
  return new ServiceError('InvalidParameter', `destination ${header.slice(0, 300)} names no queue: ${FORMS}`);
}
