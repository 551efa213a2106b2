import { toServiceError } from '../errors/catalogue.js';
import { ServiceError } from '../errors/service-error.js';
import { newRequestId } from '../rest/request-id.js';
import { FrameError } from './codec/frame-error.js';
import type { Frame } from './codec/frame.js';
import type { SessionServices } from './session-services.js';

type Header = readonly [string, string];

/** What an ERROR frame tells of a failure. */
export interface ErrorFrame {
  readonly headers: readonly Header[];
  readonly body: Buffer;
}

/** Of whom the log tells. */
interface Failed {
  readonly id: string;
  readonly connection: { readonly peerAddress: string };
  readonly services: Pick<SessionServices, 'figures' | 'logger'>;
}

/**
 * Makes the ERROR frame for a failure, `frame` being the one that failed, and counts and logs it. `more` are headers besides
 * message, receipt-id, code, opc-request-id and retry-after.
 */
export function errorFrame(session: Failed, error: unknown, frame: Frame | null, more: readonly Header[]): ErrorFrame {
  const refusal = error instanceof FrameError ? refusalOf(error) : toServiceError(error);
  const receipt = error instanceof FrameError ? error.receipt : (frame?.headers.get('receipt') ?? null);
  const requestId = newRequestId();
  const { code, message, retryAfterSeconds } = refusal;
  tellLog(session, refusal, requestId, frame);
  const { figures } = session.services;
  figures.count(figures.errors, code);
  const headers: Header[] = [['message', message]];
  if (receipt !== null) headers.push(['receipt-id', receipt]);
  headers.push(['code', code], ['opc-request-id', requestId]);
  if (retryAfterSeconds !== null) headers.push(['retry-after', String(retryAfterSeconds)]);
  headers.push(...more, ['content-type', 'text/plain']);
  return { headers, body: Buffer.from(message) };
}

/** One line per refusal, as REST has one per request. Never a body, never a header. */
function tellLog(
  { id, connection, services }: Failed,
  refusal: ServiceError,
  reqId: string,
  frame: Frame | null,
): void {
  const level = refusal.status < 500 ? 'debug' : refusal.status === 500 ? 'error' : 'warn';
  services.logger[level](
    {
      reqId,
      client: connection.peerAddress,
      session: id,
      command: frame?.command,
      code: refusal.code,
      ...(refusal.status < 500 ? {} : { err: refusal.cause ?? refusal }),
    },
    'a STOMP connection ends with an error',
  );
}

function refusalOf({ code, message }: FrameError): ServiceError {
  return new ServiceError(code === 'TooLarge' ? 'PayloadTooLarge' : 'CannotParseRequest', message);
}
