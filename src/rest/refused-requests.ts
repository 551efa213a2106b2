import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { TLSSocket } from 'node:tls';
import type { Duplex } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { HTTP_STATUS, type ErrorCode } from '../errors/service-error.js';
import { clientAddress } from './client-address.js';
import { newRequestId } from './request-id.js';

type Headers = Readonly<Record<string, string>>;

/*
 * Answers to what never reaches a handler: broken HTTP, headers that are too large, paths that cannot be decoded. They
 * have the contract's form too, and a line in the log. Node and Fastify would answer them in forms of their own.
 */

interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
}

const REASONS: Partial<Record<ErrorCode, string>> = {
  CannotParseRequest: 'Bad Request',
  MethodNotAllowed: 'Method Not Allowed',
  RequestTimeout: 'Request Timeout',
  RequestHeaderFieldsTooLarge: 'Request Header Fields Too Large',
};

type PathRefusal = (error: { readonly statusCode?: number }, request: FastifyRequest, reply: FastifyReply) => void;

/** For Fastify's `frameworkErrors`: the router could not read the path. No hook runs for these, so this logs as well. */
export function refusePath(headers: Headers): PathRefusal {
  return (error, request, reply) => {
    const { code, message }: Refusal =
      error.statusCode === 414
        ? { code: 'URITooLong', message: 'an identifier in the path is too long' }
        : { code: 'CannotParseRequest', message: 'the path is not percent-encoded UTF-8' };
    const body = JSON.stringify({ code, message });
    const client = clientAddress(request);
    request.log.info(
      { reqId: request.id, client, method: request.raw.method, status: HTTP_STATUS[code], code },
      'request',
    );
    reply.raw
      .writeHead(HTTP_STATUS[code], {
        ...headers,
        'content-type': 'application/json; charset=utf-8',
        'content-length': Buffer.byteLength(body),
        'opc-request-id': request.id,
      })
      .end(body);
  };
}

/** For Node's `clientError`: what arrived is no request that Node understands. */
export function refuseConnection(
  error: Error & { code?: string },
  socket: Duplex,
  logger: Logger,
  headers: Headers,
): void {
  // A handshake that failed comes here too. Whoever is there would not understand HTTP.
  const isHandshake = socket instanceof TLSSocket && !/^(?:HPE_|ERR_HTTP_)/.test(error.code ?? '');
  if (isHandshake) logger.info({ reason: error.code ?? error.message }, 'a TLS connection was refused');
  if (isHandshake || error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  answerOn(socket, classify(error.code), logger, headers);
}

function classify(code: string | undefined): Refusal {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return { code: 'RequestHeaderFieldsTooLarge', message: 'the URL and the headers are too large together' };
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return { code: 'RequestTimeout', message: 'the request took too long to arrive' };
    case 'HPE_INVALID_METHOD':
      return { code: 'CannotParseRequest', message: 'this is not HTTP, or its method is none that HTTP knows' };
    default:
      return { code: 'CannotParseRequest', message: 'this is not HTTP' };
  }
}

/** What Node would refuse by itself, with an answer that says nothing. */
export function refuseOddities(server: Server, logger: Logger, headers: Headers): void {
  server.on('connect', (_: IncomingMessage, socket: Duplex) => {
    socket.on('error', () => socket.destroy());
    const message = 'CONNECT is for proxies, which this is not';
    answerOn(socket, { code: 'MethodNotAllowed', message }, logger, headers);
  });
  // An expectation that we do not know may be ignored (RFC 9110, 10.1.1).
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    server.emit('request', request, response);
  });
}

function answerOn(socket: Duplex, { code, message }: Refusal, logger: Logger, headers: Headers): void {
  const status = HTTP_STATUS[code];
  const requestId = newRequestId();
  const body = JSON.stringify({ code, message });
  logger.info({ reqId: requestId, status, code }, 'request');
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(
    `HTTP/1.1 ${status} ${REASONS[code] ?? 'Refused'}\r\ncontent-type: application/json; charset=utf-8\r\n` +
      `${lines.join('')}opc-request-id: ${requestId}\r\n${code === 'MethodNotAllowed' ? 'allow: GET, POST, PUT, DELETE\r\n' : ''}` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}
