import { ServiceError } from '../errors/service-error.js';
import type { Session } from './session.js';

/** Throws InvalidParameter where transactions are refused, as OCI Queue does. */
export function checkTransactionsAllowed({ services }: Session): void {
  if (!services.configuration.stompStrict) return;
  throw new ServiceError(
    'InvalidParameter',
    'there are no transactions here, since this service is strict as OCI Queue is (TOWPATH_STOMP_STRICT)',
  );
}
