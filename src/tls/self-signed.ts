import { generateKeyPair, randomBytes, X509Certificate } from 'node:crypto';
import { execFile } from 'node:child_process';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import type { CertificatePaths } from './certificate-files.js';
import { TlsError } from './tls-error.js';

/*
 * A certificate for development that signs itself. Node makes keys but no certificates, so that OpenSSL's program has to.
 */

const DAYS = 365;
/** One that ends soon is made anew at the start. */
const RENEW_BEFORE_MS = 30 * 86_400_000;
const OPENSSL_MS = 20_000;

/** Where the self-made certificate is. */
export function selfSignedPaths(dataDirectory: string): CertificatePaths {
  const folder = path.join(dataDirectory, 'tls');
  return { certificate: path.join(folder, 'certificate.pem'), key: path.join(folder, 'key.pem'), clientCa: null };
}

/**
 * Makes certificate and key in the data directory, unless good ones for these names are there. Returns whether it did.
 * Throws a TlsError where there is no `openssl`, and Node's file system errors.
 */
export async function ensureSelfSigned(
  dataDirectory: string,
  names: readonly string[],
  openssl = 'openssl',
): Promise<boolean> {
  const paths = selfSignedPaths(dataDirectory);
  const wanted = [...new Set(['localhost', '127.0.0.1', '::1', ...names])];
  if (await isGood(paths, wanted)) return false;
  const folder = path.dirname(paths.certificate);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const draft = path.join(folder, randomBytes(6).toString('hex'));
  const [configuration, certificate, key] = [`${draft}.cnf`, `${draft}.crt`, `${draft}.key`];
  try {
    const pair = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
    await writeFile(key, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    await writeFile(configuration, requestOf(wanted));
    await run(openssl, [
      'req',
      '-new',
      '-x509',
      '-sha256',
      '-days',
      String(DAYS),
      '-key',
      key,
      '-config',
      configuration,
      '-out',
      certificate,
    ]);
    await rename(key, paths.key);
    await rename(certificate, paths.certificate);
    return true;
  } finally {
    for (const file of [configuration, certificate, key]) await rm(file, { force: true });
  }
}

async function isGood({ certificate, key }: CertificatePaths, names: readonly string[]): Promise<boolean> {
  try {
    await readFile(key);
    const found = new X509Certificate(await readFile(certificate));
    return (
      Date.parse(found.validTo) - Date.now() > RENEW_BEFORE_MS &&
      names.every((name) => (isIP(name) === 0 ? found.checkHost(name) : found.checkIP(name)) !== undefined)
    );
  } catch {
    // Not there, or nothing that can be read: made anew.
    return false;
  }
}

/** A file rather than options: LibreSSL, which macOS has, knows fewer of those. */
function requestOf(names: readonly string[]): string {
  return [
    '[req]',
    'prompt = no',
    'distinguished_name = name',
    'x509_extensions = extensions',
    '[name]',
    'CN = Towpath development',
    '[extensions]',
    'basicConstraints = critical, CA:FALSE',
    'keyUsage = critical, digitalSignature',
    'extendedKeyUsage = serverAuth',
    'subjectAltName = @names',
    '[names]',
    ...names.map((name, index) => `${isIP(name) === 0 ? 'DNS' : 'IP'}.${index + 1} = ${name}`),
    '',
  ].join('\n');
}

async function run(openssl: string, options: readonly string[]): Promise<void> {
  try {
    await promisify(execFile)(openssl, [...options], { timeout: OPENSSL_MS });
  } catch (error) {
    const { code, stderr } = error as { readonly code?: unknown; readonly stderr?: string };
    if (code === 'ENOENT' || code === 'EACCES') {
      throw new TlsError(
        'TOWPATH_TLS_SELF_SIGNED=1 needs the program openssl, which is not on the PATH: install it (apt-get install ' +
          'openssl, apk add openssl, brew install openssl, winget install OpenSSL), or make a certificate elsewhere, with ' +
          'mkcert for example, and set TOWPATH_TLS_CERT_FILE and TOWPATH_TLS_KEY_FILE',
        { cause: error },
      );
    }
    throw new TlsError(`openssl could not make a certificate: ${(stderr ?? String(error)).trim().slice(-500)}`, {
      cause: error,
    });
  }
}
