import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { toServiceError } from './catalogue.js';
import { ServiceError, type ErrorCode } from './service-error.js';

/** The body of every error, as OCI has it. */
export interface ErrorBody {
  readonly code: ErrorCode;
  readonly message: string;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** What the request was answered with, where it failed; the log's line about the request tells it. */
    failure?: ServiceError;
  }
}

/** What Fastify and Nest throw by themselves before or beside a handler, with what the caller is told. */
const BY_STATUS: Readonly<Record<number, readonly [ErrorCode, string]>> = {
  400: ['CannotParseRequest', 'the request cannot be understood'],
  404: ['NotFound', 'there is no such route; /docs lists what there is'],
  408: ['RequestTimeout', 'the request took too long to arrive'],
  413: ['PayloadTooLarge', 'the body is larger than this service takes: put fewer messages at a time'],
  414: ['URITooLong', 'the URL is too long'],
  415: ['UnsupportedMediaType', 'content-type must be application/json'],
  431: ['RequestHeaderFieldsTooLarge', 'the URL and the headers are too large together'],
};

/** Turns whatever was thrown into the contract's error, and leaves it with the request for the log. */
export function answerError(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const answer = classify(error);
  // The client has its answer, or is gone: nothing can be said any more, and the request's line may be written already.
  if (reply.sent || reply.raw.headersSent) {
    if (answer.status >= 500)
      request.log.error({ reqId: request.id, err: error }, 'a request failed after it was answered');
    return;
  }
  request.failure = answer;
  // HTTP wants a 401 to say how one could authenticate.
  if (answer.status === 401) void reply.header('www-authenticate', 'Signature version="1", Bearer');
  if (answer.retryAfterSeconds !== null) void reply.header('retry-after', String(answer.retryAfterSeconds));
  const body: ErrorBody = { code: answer.code, message: answer.message };
  void reply.status(answer.status).header('content-type', 'application/json; charset=utf-8').send(JSON.stringify(body));
}

function classify(error: unknown): ServiceError {
  if (error instanceof HttpException) return fromStatus(error.getStatus(), error);
  if (error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number') {
    if (error.statusCode < 500) return fromStatus(error.statusCode, error);
  }
  return toServiceError(error);
}

function fromStatus(status: number, cause: Error): ServiceError {
  const known = BY_STATUS[status];
  return known === undefined ? toServiceError(cause) : new ServiceError(known[0], known[1], { cause });
}

@Catch()
export class ErrorFilter implements ExceptionFilter {
  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    answerError(error, http.getRequest<FastifyRequest>(), http.getResponse<FastifyReply>());
  }
}
