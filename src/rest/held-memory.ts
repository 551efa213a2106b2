import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { SMALL_BYTES, type Hold, type MemoryBudget } from '../memory/memory-budget.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** What the request holds of the pod's memory for bodies and answers. */
    hold: Hold;
  }
}

/** An answer of which nothing was read for so long is slow. Node notices after once or twice this time. */
const STALLED_MS = 2500;

/** The parameter is the request's account of memory; whatever is taken on it is given back with the answer. */
export const RequestHold = createParamDecorator(
  (_: unknown, context: ExecutionContext): Hold => context.switchToHttp().getRequest<FastifyRequest>().hold,
);

/**
 * Opens an account for each request. When the handler is done, which it always is some time, the request's body and
 * what it made of it are garbage; a large answer is held until the client has read it or the connection has gone.
 */
export function holdAnswers(server: FastifyInstance, memory: MemoryBudget): void {
  server.addHook('onRequest', (request, _, done) => {
    request.hold = memory.open();
    done();
  });
  server.addHook('onSend', (request, reply, payload, done) => {
    const bytes = sizeOf(payload);
    if (bytes <= SMALL_BYTES || reply.raw.destroyed) request.hold.release();
    else holdUntilRead(request, reply, bytes);
    done();
  });
}

function sizeOf(payload: unknown): number {
  if (Buffer.isBuffer(payload)) return payload.length;
  if (typeof payload !== 'string') return 0;
  // A character has three bytes at most.
  return payload.length * 3 <= SMALL_BYTES ? payload.length : Buffer.byteLength(payload);
}

function holdUntilRead({ hold, raw: { socket } }: FastifyRequest, { raw }: FastifyReply, bytes: number): void {
  let isStalled = false;
  // Node tells of sockets on which nothing moves; it would close this one by itself if nobody listened.
  raw.setTimeout(STALLED_MS, () => {
    isStalled = true;
  });
  hold.sends(bytes, { isSlow: () => isStalled, cut: () => socket.destroy() });
  const release = (): void => {
    raw.off('close', release);
    socket.off('close', release);
    hold.release();
  };
  raw.once('close', release);
  // The answer to a pipelined request that stands behind others does not close with its connection.
  socket.once('close', release);
  if (socket.destroyed) release();
}
