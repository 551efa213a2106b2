import { hash } from 'node:crypto';
import type { FastifyInstance } from 'fastify';

/** Nobody's page may show an answer, run something in it, or keep it. */
const ALWAYS: Readonly<Record<string, string>> = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  // Answers hold messages. What may be kept, the files of /docs, says so itself.
  'cache-control': 'no-store',
};
/** The one style sheet that Swagger UI puts into the page itself, with its logo. */
export const LOGO_STYLE = '.logo_small_svg__cls-2{fill:#fff}.logo_small_svg__cls-3{fill:#85ea2d}';
const TWO_YEARS_IN_SECONDS = 63_072_000;

/** What every answer has, also those that no handler made. */
export function securityHeaders(isEncrypted: boolean): Readonly<Record<string, string>> {
  // For the host that was called, not for its subdomains: those are somebody else's to say.
  return isEncrypted ? { ...ALWAYS, 'strict-transport-security': `max-age=${TWO_YEARS_IN_SECONDS}` } : ALWAYS;
}

/** Puts them on every answer of `server`; pages get a content security policy of their own. */
export function sendSecurityHeaders(server: FastifyInstance, headers: Readonly<Record<string, string>>): void {
  server.addHook('onRequest', (_, reply, done) => {
    void reply.headers(headers);
    done();
  });
  const policies = new Map<string, string>();
  server.addHook('onSend', (_, reply, payload, done) => {
    if (typeof payload === 'string' && String(reply.getHeader('content-type')).startsWith('text/html')) {
      const policy = policies.get(payload) ?? policyOf(payload);
      // There are two pages, the description with and without a slash; were there more, memory must not grow with them.
      if (policies.size < 10) policies.set(payload, policy);
      void reply.header('content-security-policy', policy);
    }
    done();
  });
}

/**
 * The policy of a page of ours: files and calls of this service only, and of what stands in the page itself only its style
 * sheets, by digest. Script in the page would not run: there is none. Style attributes may be anything; Swagger UI has
 * some, and they load nothing that `img-src` forbids.
 */
function policyOf(html: string): string {
  const inPage = [...html.matchAll(/<style[^>]*>([\s\S]*?)<\/style>/g)].map(([, style = '']) => style);
  const styles = [...inPage, LOGO_STYLE].map((style) => `'sha256-${hash('sha256', style, 'base64')}'`);
  return [
    "default-src 'none'",
    "script-src 'self'",
    `style-src-elem 'self' ${styles.join(' ')}`,
    "style-src-attr 'unsafe-inline'",
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
}
