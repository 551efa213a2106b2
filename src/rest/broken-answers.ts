import { LogController, type FastifyRequest } from 'fastify';
import { toServiceError } from '../errors/catalogue.js';

/**
 * Fastify's own lines about requests are off: ours has one for each. But that tells the status, which was sent when a
 * streamed answer broke off; so what broke it gets a line too. The client sees that the connection ended early.
 */
export class BrokenAnswers extends LogController {
  constructor() {
    super({ disableRequestLogging: true });
  }

  override streamError(error: Error & { code?: string }, request: FastifyRequest): void {
    // The client went away, or this pod stops: nobody's mistake.
    if (error.code === 'ERR_STREAM_PREMATURE_CLOSE' || error.code === 'ABORT_ERR') {
      request.log.info({ reqId: request.id, reason: error.cause ?? error.message }, 'an answer ended early');
      return;
    }
    const { status } = toServiceError(error);
    request.log[status === 500 ? 'error' : 'warn']({ reqId: request.id, err: error, status }, 'an answer broke off');
  }
}
