import { createServer } from 'node:http';
import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { createRequire } from 'node:module';
import common from 'oci-common';
import type { SignedRequest } from '../../src/identity/request-signature.js';
import { fingerprintOf } from '../../src/identity/first-identity.js';

const require = createRequire(import.meta.url);
const requireNested = createRequire(require.resolve('oci-queue'));
const nested: typeof common = requireNested('oci-common');
const { version: newerVersion }: { version: string } = require('oci-common/package.json');
const { version: nestedVersion }: { version: string } = requireNested('oci-common/package.json');

/**
 * The SDK's two copies here: oci-queue brings one of its own, with the bug that the legacy form of a target is for; the
 * top-level one has it fixed.
 */
export const SDKS = { nested, newer: common, nestedVersion, newerVersion } as const;

/** A server that answers everything with `{}` and keeps what it received, as Node hands it over. */
export async function startRecorder(): Promise<{
  readonly url: string;
  readonly requests: SignedRequest[];
  readonly stop: () => Promise<void>;
}> {
  const requests: SignedRequest[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method = '', url = '', rawHeaders } = request;
      requests.push({ method, target: url, rawHeaders, body: Buffer.concat(chunks) });
      response.writeHead(200, { 'content-type': 'application/json', connection: 'close' }).end('{}');
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not listening');
  return {
    url: `http://127.0.0.1:${address.port}`,
    requests,
    stop: () =>
      new Promise<void>((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}

/** A user with a key pair, as a test makes one up. */
export interface Signer {
  readonly tenancyId: string;
  readonly userId: string;
  readonly fingerprint: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** PKCS#1. */
  readonly pem: string;
}

export function makeSigner(): Signer {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return {
    tenancyId: 'ocid1.tenancy.oc1..local',
    userId: 'ocid1.user.oc1..local',
    fingerprint: fingerprintOf(publicKey),
    publicKey,
    privateKey,
    pem: privateKey.export({ type: 'pkcs1', format: 'pem' }).toString(),
  };
}

/** The orders and cases in which the SDKs list headers and parameters; `signature` stands for itself. */
export const STYLES = {
  python: {
    bodyless: ['date', '(request-target)', 'host'],
    body: ['date', '(request-target)', 'host', 'content-length', 'content-type', 'x-content-sha256'],
    parameters: ['algorithm', 'headers', 'keyId', 'signature', 'version'],
    join: ',',
  },
  go: {
    bodyless: ['date', '(request-target)', 'host'],
    body: ['date', '(request-target)', 'host', 'content-length', 'content-type', 'x-content-sha256'],
    parameters: ['version', 'headers', 'keyId', 'algorithm', 'signature'],
    join: ',',
  },
  java: {
    bodyless: ['date', '(request-target)', 'host'],
    body: ['date', '(request-target)', 'host', 'content-length', 'content-type', 'x-content-sha256'],
    parameters: ['headers', 'keyId', 'algorithm', 'signature', 'version'],
    join: ', ',
  },
  typescript: {
    bodyless: ['x-date', '(request-target)', 'host'],
    body: ['x-date', '(request-target)', 'host', 'Content-Type', 'Content-Length', 'x-content-sha256'],
    parameters: ['version', 'keyId', 'algorithm', 'headers', 'signature'],
    join: ',',
  },
} as const;

/** What of a hand-made signature is to differ from a right one. */
export interface Making {
  readonly style?: keyof typeof STYLES;
  readonly method?: string;
  readonly target?: string;
  readonly body?: string;
  readonly date?: Date;
  /** In place of the style's list. */
  readonly list?: readonly string[];
  /** Put into the Authorization header in place of the right values. */
  readonly parameters?: Readonly<Record<string, string>>;
  /** Headers besides, or in place of, those that are right. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** Signs a request by hand and returns it as the server sees it. */
export function signByHand(signer: Signer, making: Making = {}): SignedRequest {
  const { method = 'GET', target = '/20210201/queues?limit=2', date = new Date(), body = '' } = making;
  const style = STYLES[making.style ?? 'python'];
  const hasBody = ['POST', 'PUT', 'PATCH'].includes(method);
  const headers: Record<string, string> = {
    host: '127.0.0.1:8080',
    date: date.toUTCString(),
    'x-date': date.toUTCString(),
    'content-type': 'application/json',
    ...(hasBody && {
      'content-length': String(Buffer.byteLength(body)),
      'x-content-sha256': createHash('sha256').update(body).digest('base64'),
    }),
    ...making.headers,
  };
  const list = making.list ?? (hasBody ? style.body : style.bodyless);
  const text = list
    .map((name) => name.toLowerCase())
    .map((name) =>
      name === '(request-target)' ? `${name}: ${method.toLowerCase()} ${target}` : `${name}: ${headers[name] ?? ''}`,
    )
    .join('\n');
  const values: Record<string, string> = {
    version: '1',
    algorithm: 'rsa-sha256',
    keyId: `${signer.tenancyId}/${signer.userId}/${signer.fingerprint}`,
    headers: list.join(' '),
    signature: sign('RSA-SHA256', Buffer.from(text, 'latin1'), signer.privateKey).toString('base64'),
    ...making.parameters,
  };
  const authorization = `Signature ${style.parameters.map((name) => `${name}="${values[name] ?? ''}"`).join(style.join)}`;
  return {
    method,
    target,
    rawHeaders: [...Object.entries(headers), ['authorization', authorization]].flat(),
    body: body === '' ? undefined : Buffer.from(body),
  };
}

/** The same request with other header values; null takes the header away. */
export function withHeaders(request: SignedRequest, changes: Readonly<Record<string, string | null>>): SignedRequest {
  const rawHeaders: string[] = [];
  for (let at = 0; at < request.rawHeaders.length; at += 2) {
    const name = request.rawHeaders[at] ?? '';
    if (!(name.toLowerCase() in changes)) rawHeaders.push(name, request.rawHeaders[at + 1] ?? '');
  }
  for (const [name, value] of Object.entries(changes)) if (value !== null) rawHeaders.push(name, value);
  return { ...request, rawHeaders };
}
