import type { Server as TlsServer, TLSSocket } from 'node:tls';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import type { Configuration } from '../config/environment.js';
import { ServiceError } from '../errors/service-error.js';
import { BrokenAnswers } from './broken-answers.js';
import type { FairTurns } from '../fairness/fair-turns.js';
import type { MemoryBudget } from '../memory/memory-budget.js';
import { hasWrongCertificate, type ServerCertificate } from '../tls/server-certificate.js';
import { clientAddress, trustedHops } from './client-address.js';
import { answerInTurn } from './fair-answers.js';
import { closeConnectionsOnClose } from './closing-connections.js';
import type { Connections } from './connections.js';
import { allowOrigins } from './cors.js';
import { holdAnswers } from './held-memory.js';
import { refuseConnection, refuseOddities, refusePath } from './refused-requests.js';
import { maxBodyBytes, readBody } from './request-body.js';
import { requestIdOf } from './request-id.js';
import { securityHeaders, sendSecurityHeaders } from './security-headers.js';
import { takesUpgrade } from './upgrades.js';

const MAX_PARAMETER_LENGTH = 1024;
/** The head of a request comes at once; who sends it byte by byte only wants to keep the connection. */
const HEADERS_MS = 20_000;
const REQUEST_MS = 60_000;
/** How often Node looks for requests that took longer. */
const LOOK_EVERY_MS = 5000;
/** After so long without a byte the kernel asks whether the other side is still there. */
const PROBE_PEER_MS = 15_000;

/** What of a pod its HTTP server needs. */
export interface HttpFoundations {
  readonly configuration: Configuration;
  readonly memory: MemoryBudget;
  readonly connections: Connections;
  readonly turns: FairTurns;
  /** Null: it speaks no TLS. */
  readonly certificate: ServerCertificate | null;
}

/** Fastify, set up so that OCI's SDKs are understood; stock settings refuse some of their requests (contract 0, item 11). */
export function createHttpAdapter(
  { configuration, memory, connections, turns, certificate }: HttpFoundations,
  logger: Logger,
): FastifyAdapter {
  // A browser that was told so keeps to it for years: not for a certificate that is made for trying out.
  const headers = securityHeaders(certificate !== null && !configuration.tlsSelfSigned);
  const http = {
    // Node's own refusal has no body; the hook below says it in the contract's form.
    requireHostHeader: false,
    // What Node keeps of a body that waits for memory before it stops reading the socket.
    highWaterMark: 16_384,
    headersTimeout: HEADERS_MS,
    connectionsCheckingInterval: LOOK_EVERY_MS,
    // A consumer whose machine is gone must not be given messages for long.
    keepAlive: true,
    keepAliveInitialDelay: PROBE_PEER_MS,
    shouldUpgradeCallback: takesUpgrade,
  };
  // Fastify's types want to know which of the two it will be.
  const protocol = (certificate === null ? { http } : { https: { ...http, ...certificate.options } }) as {
    http: typeof http;
  };
  const adapter = new FastifyAdapter({
    loggerInstance: logger,
    logController: new BrokenAnswers(),
    genReqId: requestIdOf,
    // Few requests are logged; the lines that are name the request themselves.
    childLoggerFactory: (parent: FastifyBaseLogger): FastifyBaseLogger => parent,
    // A HEAD that runs the GET would deliver messages to nobody.
    exposeHeadRoutes: false,
    ...protocol,
    // A receipt or an OCID with its %2Fdlq is longer than the default of 100.
    routerOptions: { maxParamLength: MAX_PARAMETER_LENGTH, querystringParser: parseQuery },
    // A long poll lasts up to 30 s; a keep-alive connection outlives the pause between two of them.
    keepAliveTimeout: 65_000,
    requestTimeout: REQUEST_MS,
    frameworkErrors: refusePath(headers),
    clientErrorHandler: (error, socket) => refuseConnection(error, socket, logger, headers),
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    trustProxy: trustedHops(configuration.proxyHops),
  });
  const server = adapter.getInstance<FastifyInstance>();
  refuseOddities(server.server, logger, headers);
  certificate?.serve(server.server as unknown as TlsServer);
  closeConnectionsOnClose(server);
  sendSecurityHeaders(server, headers);
  answerInTurn(server, turns);
  holdAnswers(server, memory);
  readBodiesAsBytes(server, maxBodyBytes(configuration));
  const methods = rememberMethods(server);
  // Hooks call back: a promise for each costs a request more than what most of them do.
  server.addHook('onRequest', (request, reply, done) => {
    void reply.header('opc-request-id', request.id);
    // HTTP/1.0 has none, and no signature can be right without.
    const lacksHost = request.headers.host === undefined && request.raw.httpVersion === '1.1';
    done(lacksHost ? new ServiceError('CannotParseRequest', 'the Host header is missing') : undefined);
  });
  connections.watch(server);
  if (configuration.tlsClientCaFile !== null) refuseWrongCertificates(server);
  allowOrigins(server, configuration.corsOrigins);
  server.addHook('onResponse', (request, reply, done) => {
    logRequest(request, reply, logger);
    done();
  });
  // Nest's own not-found route ends in a 404 of Nest's; ours knows whether another method would have been right.
  server.addHook('preHandler', (request, reply, done) => {
    done(request.is404 ? noSuchRoute(request, reply, methods) : undefined);
  });
  return adapter;
}

const API_KEY = /towpath_[A-Za-z0-9_-]+/g;

/** A filter has values of messages in it, and somebody puts their key into the URL sooner or later. */
function pathForLog(url: string): string {
  const [path = '', ...query] = url.split('?');
  const parameters = query
    .join('?')
    .split('&')
    .map((pair) => (decode(pair.split('=', 1)[0] ?? '') === 'filter' ? 'filter=…' : pair));
  return [path, ...(query.length === 0 ? [] : [parameters.join('&')])].join('?').replaceAll(API_KEY, 'towpath_…');
}

/** Where certificates of clients are optional, one that nobody here trusts is still a mistake, and told as one. */
function refuseWrongCertificates(server: FastifyInstance): void {
  server.addHook('onRequest', async ({ raw: { socket } }) => {
    if (!hasWrongCertificate(socket as TLSSocket)) return;
    throw new ServiceError(
      'NotAuthenticated',
      'the client certificate of this connection was not issued by an authority that is trusted here, or has expired: use another one, or none',
    );
  });
}

/** One line per request, with the failure where it is ours. Never a body, never a header. */
function logRequest(request: FastifyRequest, reply: FastifyReply, logger: Logger): void {
  const { failure } = request;
  const status = reply.statusCode;
  const isOurs = status >= 500;
  const level = isOurs ? (status === 500 ? 'error' : 'warn') : status >= 400 ? 'info' : 'debug';
  // Most requests are not logged, and what a line says is work.
  if (!logger.isLevelEnabled(level)) return;
  logger[level](
    {
      reqId: request.id,
      client: clientAddress(request),
      method: request.method,
      path: pathForLog(request.url),
      status,
      ms: Math.round(reply.elapsedTime),
      ...(failure === undefined ? {} : { code: failure.code }),
      ...(isOurs && failure !== undefined ? { err: failure.cause ?? failure } : {}),
    },
    'request',
  );
}

/** A signature covers the bytes, so bytes are what handlers are given; the pipe makes JSON of them. */
function readBodiesAsBytes(server: FastifyInstance, maxBytes: number): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', async (request: FastifyRequest) => {
    const body = await readBody(request.raw, request.hold, maxBytes);
    const type = request.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase();
    if (body.length > 0 && type !== undefined && type !== 'application/json') {
      throw new ServiceError('UnsupportedMediaType', 'content-type must be application/json');
    }
    return body;
  });
}

/**
 * Values are decoded one by one and `+` stays a plus: OCI's TypeScript SDK sends values unencoded. But not in `filter`,
 * which is ours and full of spaces: there it is a space, as curl and URLSearchParams send one. What is not valid
 * percent-encoding stays as it came. A repeated name gives an array, which no field takes.
 */
function parseQuery(query: string): Record<string, string | string[]> {
  const result: Record<string, string | string[]> = Object.create(null) as Record<string, string | string[]>;
  for (const pair of query.split('&')) {
    if (pair === '') continue;
    const at = pair.indexOf('=');
    const name = decode(at < 0 ? pair : pair.slice(0, at));
    const raw = at < 0 ? '' : pair.slice(at + 1);
    const value = decode(name === 'filter' ? raw.replaceAll('+', ' ') : raw);
    const known = result[name];
    if (known === undefined) result[name] = value;
    else if (Array.isArray(known)) known.push(value);
    else result[name] = [known, value];
  }
  return result;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // Not percent-encoded: taken as it is.
    return text;
  }
}

interface RouteMethods {
  readonly pattern: RegExp;
  readonly methods: Set<string>;
}

/** Which methods each path has, for the Allow header of a 405. */
function rememberMethods(server: FastifyInstance): Map<string, RouteMethods> {
  const routes = new Map<string, RouteMethods>();
  server.addHook('onRoute', ({ url, method }) => {
    if (url.includes('*')) return;
    const pattern = new RegExp(`^${url.replace(/[.\\]/g, '\\$&').replace(/:[A-Za-z]+/g, '[^/]+')}$`);
    const route = routes.get(url) ?? { pattern, methods: new Set<string>() };
    for (const each of [method].flat()) route.methods.add(each);
    routes.set(url, route);
  });
  return routes;
}

function noSuchRoute(request: FastifyRequest, reply: FastifyReply, routes: Map<string, RouteMethods>): ServiceError {
  const [path = ''] = request.url.split('?', 1);
  const allowed = new Set(
    [...routes.values()].flatMap(({ pattern, methods }) => (pattern.test(path) ? [...methods] : [])),
  );
  if (allowed.size === 0)
    return new ServiceError('NotFound', `there is no ${path.slice(0, 200)}; /docs lists what there is`);
  const allow = [...allowed].toSorted().join(', ');
  void reply.header('allow', allow);
  return new ServiceError(
    'MethodNotAllowed',
    `${request.method} is not for this path; ${allow} ${allowed.size > 1 ? 'are' : 'is'}`,
  );
}
