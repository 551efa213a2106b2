import type { FastifyInstance } from 'fastify';

/*
 * Web pages of other origins may call the service only where TOWPATH_CORS_ORIGINS names them. Cookies are never allowed
 * with it: whoever calls has to send its credentials itself.
 */

const METHODS = 'GET, POST, PUT, DELETE';
/** What clients send: OCI's SDKs, ours, and people. */
const REQUEST_HEADERS =
  'authorization, content-type, if-match, if-none-match, accept, date, x-date, x-content-sha256, opc-request-id, opc-retry-token, opc-client-info, opc-client-retries';
/** What scripts may read of an answer beside its body. */
const ANSWER_HEADERS = 'opc-request-id, opc-next-page, opc-work-request-id, etag, location, retry-after';
const PREFLIGHT_SECONDS = 600;

export function allowOrigins(server: FastifyInstance, origins: readonly string[]): void {
  if (origins.length === 0) return;
  const allowed = new Set(origins);
  server.addHook('onRequest', async (request, reply) => {
    // The same URL has another answer for another origin.
    void reply.header('vary', 'origin');
    const { origin } = request.headers;
    if (origin === undefined || !allowed.has(origin)) return undefined;
    void reply.header('access-control-allow-origin', origin).header('access-control-expose-headers', ANSWER_HEADERS);
    if (request.method !== 'OPTIONS' || request.headers['access-control-request-method'] === undefined)
      return undefined;
    // The browser asks first. No route is asked: whatever it is, the request itself will be judged.
    return reply
      .headers({
        'access-control-allow-methods': METHODS,
        'access-control-allow-headers': REQUEST_HEADERS,
        'access-control-max-age': String(PREFLIGHT_SECONDS),
      })
      .status(204)
      .send();
  });
}
