import { createPrivateKey, hash, X509Certificate, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { TlsError } from './tls-error.js';

/** Where the files are. */
export interface CertificatePaths {
  /** The server's certificate and those that lead to its root, PEM. */
  readonly certificate: string;
  readonly key: string;
  /** Who must have issued certificates of clients, PEM; null: clients are not asked for any. */
  readonly clientCa: string | null;
}

/** What is in them, not yet looked at. */
export interface CertificateTexts {
  readonly certificate: string;
  readonly key: string;
  readonly clientCa: string | null;
  /** Differs whenever one of the files does. */
  readonly digest: string;
}

/** Files that fit together, as Node's TLS servers want them. */
export interface CertificateSet {
  readonly cert: string;
  readonly key: string;
  readonly ca: string | null;
  readonly digest: string;
  /** When the first certificate of the chain expires: from then on clients refuse all of it. */
  readonly expiresAt: Date;
  /** SHA-256, as browsers show it. */
  readonly fingerprint: string;
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Throws a TlsError that names the file. */
export async function readTexts(paths: CertificatePaths): Promise<CertificateTexts> {
  const certificate = await readText(paths.certificate);
  const key = await readText(paths.key);
  const clientCa = paths.clientCa === null ? null : await readText(paths.clientCa);
  return { certificate, key, clientCa, digest: hash('sha256', [certificate, key, clientCa ?? ''].join('\0')) };
}

/** Checks that the files can be used, so that no client meets what is wrong with them. Throws a TlsError. */
export function checkTexts(texts: CertificateTexts, paths: CertificatePaths): CertificateSet {
  const chain = readCertificates(texts.certificate, paths.certificate);
  const [leaf] = chain;
  if (leaf === undefined) throw new TlsError(`${paths.certificate} has no certificate in it`);
  const key = readKey(texts.key, paths.key);
  if (!leaf.checkPrivateKey(key)) {
    throw new TlsError(
      `the key in ${paths.key} is not that of the first certificate in ${paths.certificate}: the server's own certificate comes first`,
    );
  }
  if (texts.clientCa !== null && paths.clientCa !== null) readCertificates(texts.clientCa, paths.clientCa);
  const set = {
    cert: texts.certificate,
    key: texts.key,
    ca: texts.clientCa,
    digest: texts.digest,
    expiresAt: new Date(Math.min(...chain.map(({ validTo }) => Date.parse(validTo)))),
    fingerprint: leaf.fingerprint256,
  };
  try {
    // OpenSSL has demands of its own, keys that are long enough for one.
    createSecureContext({ cert: set.cert, key: set.key, ...(set.ca === null ? {} : { ca: set.ca }) });
  } catch (error) {
    throw new TlsError(`${paths.certificate} and ${paths.key} cannot be used: ${reasonOf(error)}`, { cause: error });
  }
  return set;
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new TlsError(`${file} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
}

function readCertificates(text: string, file: string): X509Certificate[] {
  const blocks = text.match(CERTIFICATE);
  if (blocks === null) throw new TlsError(`${file} has no certificate in PEM (-----BEGIN CERTIFICATE-----) in it`);
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch (error) {
      throw new TlsError(`certificate ${index + 1} in ${file} cannot be read: ${reasonOf(error)}`, { cause: error });
    }
  });
}

function readKey(text: string, file: string): KeyObject {
  try {
    return createPrivateKey(text);
  } catch (error) {
    if (/BEGIN ENCRYPTED PRIVATE KEY|Proc-Type: 4,ENCRYPTED/.test(text)) {
      throw new TlsError(
        `the key in ${file} is encrypted with a passphrase: write it without one ("openssl pkey -in … -out …"), readable for the service only`,
        { cause: error },
      );
    }
    // Never the library's message about a key: nothing of a key belongs into a log.
    throw new TlsError(`${file} has no private key in PEM in it`, { cause: error });
  }
}

/** Node's errors are no instances of Error in every realm (jest). */
function reasonOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error);
}
