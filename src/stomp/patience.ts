import { setTimeout as sleep } from 'node:timers/promises';
import { ServiceError } from '../errors/service-error.js';
import { TooManyWaiting } from '../messages/merging/request-merger.js';

/** How long what may be tried again waits: the connection is slowed down by it, not ended. */
const PATIENCE_MS = 30_000;

/** Tries again, after the time that the refusal names, what was refused for a rate limit or because too many wait: nothing of it was done. */
export async function withPatience<Result>(act: () => Promise<Result>): Promise<Result> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await act();
    } catch (error) {
      if (!mayComeLater(error) || performance.now() > deadline) throw error;
      await sleep((error.retryAfterSeconds ?? 1) * 1000);
    }
  }
}

function mayComeLater(error: unknown): error is ServiceError {
  return error instanceof TooManyWaiting || (error instanceof ServiceError && error.code === 'TooManyRequests');
}
