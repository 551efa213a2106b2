import { existsSync } from 'node:fs';
import { isIP } from 'node:net';
import path from 'node:path';
import { ConfigurationError, speaksTls, type Configuration } from './environment.js';

/**
 * A reason not to start, in plain words with what to do; null: none. A check looks at the configuration, and at files
 * where it must; what needs the database is asked by main.ts and listed with the others.
 */
export type StartCheck = (configuration: Configuration) => string | null;

/** Settings that do not fit together, in any mode. */
export const CHECKS: readonly StartCheck[] = [certificateHasKey, clientCaHasTls, oneCertificate, issuerHasAudience];

/**
 * What is for trying out only. A feature that must not run with its development defaults adds its check here: all of
 * them are told at once.
 */
export const PRODUCTION_CHECKS: readonly StartCheck[] = [
  ownDatabase,
  ownDatabasePassword,
  noCredentialsFile,
  noSelfSignedCertificate,
  givenMasterKey,
  encryptedConnections,
  encryptedPublicUrl,
];

/** For operators: what main.ts finds in the database. */
export const NO_IDENTITY =
  'the database has no identity yet, and a pod that makes one leaves its secrets in its data directory: make it once ' +
  'with "node dist/main.js --make-first-identity", and move the files that it writes to where you keep secrets';

/** Every reason not to start, in the order of the lists above. */
export function problemsOf(configuration: Configuration): string[] {
  const checks = configuration.mode === 'production' ? [...CHECKS, ...PRODUCTION_CHECKS] : CHECKS;
  return checks.map((check) => check(configuration)).filter((problem) => problem !== null);
}

/** One error that lists all problems. */
export function refusal({ mode }: Configuration, problems: readonly string[]): ConfigurationError {
  const why =
    mode === 'production'
      ? 'Towpath does not start in production mode (TOWPATH_MODE=production) like this'
      : 'Towpath does not start with these settings';
  return new ConfigurationError(`${why}:\n  - ${problems.join('\n  - ')}`);
}

function certificateHasKey({ tlsCertFile, tlsKeyFile }: Configuration): string | null {
  if ((tlsCertFile === null) === (tlsKeyFile === null)) return null;
  return tlsCertFile === null
    ? 'TOWPATH_TLS_KEY_FILE is set, but not TOWPATH_TLS_CERT_FILE: set both, or neither'
    : 'TOWPATH_TLS_CERT_FILE is set, but not TOWPATH_TLS_KEY_FILE: set both, or neither';
}

function clientCaHasTls(configuration: Configuration): string | null {
  return configuration.tlsClientCaFile === null || speaksTls(configuration)
    ? null
    : 'TOWPATH_TLS_CLIENT_CA_FILE asks clients for certificates, which takes TLS: set TOWPATH_TLS_CERT_FILE and TOWPATH_TLS_KEY_FILE';
}

function oneCertificate({ tlsSelfSigned, tlsCertFile, tlsKeyFile }: Configuration): string | null {
  return tlsSelfSigned && (tlsCertFile !== null || tlsKeyFile !== null)
    ? 'TOWPATH_TLS_SELF_SIGNED=1 makes a certificate, and TOWPATH_TLS_CERT_FILE names one: take one of the two'
    : null;
}

function issuerHasAudience({ oidcIssuer, oidcAudience }: Configuration): string | null {
  if ((oidcIssuer === null) === (oidcAudience === null)) return null;
  return oidcIssuer === null
    ? 'TOWPATH_OIDC_AUDIENCE is set, but not TOWPATH_OIDC_ISSUER: set both, or neither'
    : 'TOWPATH_OIDC_ISSUER is set, but not TOWPATH_OIDC_AUDIENCE, so that tokens made for other services would be taken: set it to what the issuer puts into aud for this one';
}

function ownDatabase({ databaseUrl, allowEmbedded }: Configuration): string | null {
  return databaseUrl === null && !allowEmbedded
    ? 'there is no DATABASE_URL, so that the embedded PostgreSQL would be used, which nobody backs up or watches: set DATABASE_URL to a server of your own, or TOWPATH_ALLOW_EMBEDDED=1 if it is meant'
    : null;
}

/** Those of our own examples, and what people try first. */
const KNOWN_PASSWORDS = new Set(['development-only', 'postgres', 'password', 'towpath', 'secret', 'changeme', 'admin']);

function ownDatabasePassword({ databaseUrl }: Configuration): string | null {
  if (databaseUrl === null || !URL.canParse(databaseUrl)) return null;
  const { username, password } = new URL(databaseUrl);
  return password !== '' && (password === username || KNOWN_PASSWORDS.has(password))
    ? 'the password in DATABASE_URL is one that everybody knows or that is easily guessed: give the role one of its own, for example from "openssl rand -hex 24"'
    : null;
}

function givenMasterKey({ sealing, masterKey, masterKeyFile, masterKeyId }: Configuration): string | null {
  return sealing !== 'off' && masterKey === null && masterKeyFile === null && masterKeyId === null
    ? 'there is no master key for the contents of messages, so that one would be made in the data directory, which nobody keeps a copy of: set TOWPATH_MASTER_KEY_FILE, or TOWPATH_MASTER_KEY_ID with TOWPATH_MASTER_KEY_DIRECTORY, the same on all pods'
    : null;
}

function noCredentialsFile({ dataDirectory }: Configuration): string | null {
  const file = path.join(dataDirectory, 'credentials.json');
  return existsSync(file)
    ? `${file} holds an administrator's secrets in the clear: move it, and the folder oci beside it, to where you keep secrets; the service does not need them`
    : null;
}

function noSelfSignedCertificate({ tlsSelfSigned }: Configuration): string | null {
  return tlsSelfSigned
    ? 'TOWPATH_TLS_SELF_SIGNED=1 makes a certificate that no client trusts: set TOWPATH_TLS_CERT_FILE and TOWPATH_TLS_KEY_FILE to one that your clients trust'
    : null;
}

function encryptedConnections(configuration: Configuration): string | null {
  const { host, proxyHops } = configuration;
  return isLoopback(host) || speaksTls(configuration) || proxyHops > 0
    ? null
    : `it would listen on ${host}, which other machines reach, without TLS: set TOWPATH_TLS_CERT_FILE and TOWPATH_TLS_KEY_FILE, or TOWPATH_BEHIND_PROXY=1 if a proxy before it ends TLS`;
}

function encryptedPublicUrl({ publicUrl, proxyHops }: Configuration): string | null {
  return publicUrl?.toLowerCase().startsWith('http:') === true && proxyHops === 0
    ? 'TOWPATH_PUBLIC_URL begins with http:, so that clients would send their credentials in the clear: make it https:, or set TOWPATH_BEHIND_PROXY=1 if a proxy takes care of that'
    : null;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}
