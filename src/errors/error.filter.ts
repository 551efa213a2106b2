import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { toServiceError } from './catalogue.js';
import { ServiceError, type ErrorCode } from './service-error.js';

/** The body of every error, as OCI has it. */
export interface ErrorBody {
  readonly code: ErrorCode;
  readonly message: string;
}

/** What Fastify and Nest throw by themselves before or beside a handler. */
const BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: 'CannotParseRequest',
  404: 'NotFound',
  408: 'RequestTimeout',
  413: 'PayloadTooLarge',
  414: 'URITooLong',
  415: 'UnsupportedMediaType',
  431: 'RequestHeaderFieldsTooLarge',
};

/** Turns whatever was thrown into the contract's error. What is our fault is logged with its cause. */
export function answerError(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const answer = classify(error);
  if (answer.status === 500) request.log.error({ err: error }, 'a request failed');
  else if (answer.status === 503) request.log.warn({ err: answer.cause ?? error }, 'the database is away');
  // The client has its answer, or is gone: nothing can be said any more.
  if (reply.sent || reply.raw.headersSent) return;
  const body: ErrorBody = { code: answer.code, message: answer.message };
  void reply.status(answer.status).header('content-type', 'application/json; charset=utf-8').send(JSON.stringify(body));
}

function classify(error: unknown): ServiceError {
  if (error instanceof HttpException) return fromStatus(error.getStatus(), error.message, error);
  if (error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number') {
    if (error.statusCode < 500) return fromStatus(error.statusCode, error.message, error);
  }
  return toServiceError(error);
}

function fromStatus(status: number, message: string, cause: Error): ServiceError {
  const code = BY_STATUS[status];
  return code === undefined ? toServiceError(cause) : new ServiceError(code, message, { cause });
}

@Catch()
export class ErrorFilter implements ExceptionFilter {
  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    answerError(error, http.getRequest<FastifyRequest>(), http.getResponse<FastifyReply>());
  }
}
