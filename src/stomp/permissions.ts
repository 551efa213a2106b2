import type { Permission } from '../identity/permission.js';

/** The commands of clients. STOMP is CONNECT by another name. */
export type ClientCommand =
  | 'CONNECT'
  | 'STOMP'
  | 'SEND'
  | 'SUBSCRIBE'
  | 'UNSUBSCRIBE'
  | 'ACK'
  | 'NACK'
  | 'BEGIN'
  | 'COMMIT'
  | 'ABORT'
  | 'DISCONNECT';

/**
 * What a caller must be permitted for each command that touches a queue, as for the REST operations that do the same;
 * null: it touches none. What a COMMIT carries out was asked for when it was sent.
 */
export const COMMAND_PERMISSIONS: Readonly<Record<ClientCommand, Permission | null>> = {
  CONNECT: null,
  STOMP: null,
  SEND: 'use queue-push',
  SUBSCRIBE: 'use queue-pull',
  UNSUBSCRIBE: null,
  ACK: 'use queue-pull',
  NACK: 'use queue-pull',
  BEGIN: null,
  COMMIT: null,
  ABORT: null,
  DISCONNECT: null,
};
