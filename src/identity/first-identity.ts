import { generateKeyPair, hash, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import type { Configuration } from '../config/environment.js';
import type { Database } from '../database/database.js';
import { IdentityFunctions } from '../database/identity-functions.js';
import { makeApiKey, makeAuthToken } from './api-key.js';
import {
  type Credentials,
  credentialPaths,
  readCredentials,
  refreshIdentity,
  writeIdentity,
} from './credentials-file.js';

export interface FirstIdentity {
  /** Whether this call made it. */
  readonly created: boolean;
  /** What the data directory's file says; null where there is none for this database. */
  readonly credentials: Credentials | null;
}

/** Where notes for the operator go; pino and the console fit. */
export interface Log {
  info(message: string): void;
  warn(message: string): void;
}

const TENANCY_NAME = 'towpath';
const COMPARTMENT_NAME = 'default';
const USER_NAME = 'admin';

/**
 * Makes, in a database without a tenancy, the first one with a compartment, a user and credentials, and writes these to
 * the data directory; otherwise reads them there, and where `isOwner` says that the directory is this pod's and no other's,
 * brings `endpoint` up to date. Of pods that start at once one makes
 * it while the others wait, so that they find its files if they share its directory.
 *
 * The files are written before the transaction commits: a crash before the commit leaves files that belong to nothing,
 * which the next start replaces because the database still has no tenancy; a crash after it leaves both.
 *
 * Throws where the directory cannot be written at the first start (nothing was made then), and the database's errors.
 */
export async function ensureFirstIdentity(
  database: Database,
  configuration: Pick<Configuration, 'dataDirectory'>,
  endpoint: string,
  log: Log,
  isOwner = true,
): Promise<FirstIdentity> {
  const functions = new IdentityFunctions(database);
  // Asked first without waiting for anybody: a key pair takes a while to make.
  if ((await functions.findFirstTenancy()) === null) {
    const credentials = await createFirstIdentity(functions, configuration.dataDirectory, endpoint);
    if (credentials !== null) {
      log.info(
        `made the first identity: its credentials are in ${credentialPaths(configuration.dataDirectory).credentials}`,
      );
      return { created: true, credentials };
    }
  }
  return {
    created: false,
    credentials: await findCredentials(functions, configuration.dataDirectory, isOwner ? endpoint : null, log),
  };
}

/** The fingerprint of a public key as OCI has it: the MD5 of its DER, in pairs. */
export function fingerprintOf(publicKey: KeyObject): string {
  const digest = hash('md5', publicKey.export({ type: 'spki', format: 'der' }), 'hex');
  return (digest.match(/../g) ?? []).join(':');
}

async function createFirstIdentity(
  functions: IdentityFunctions,
  dataDirectory: string,
  endpoint: string,
): Promise<Credentials | null> {
  const { publicKey, privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 });
  const apiKey = makeApiKey();
  const authToken = makeAuthToken();
  const fingerprint = fingerprintOf(publicKey);
  const details = {
    tenancyName: TENANCY_NAME,
    compartmentName: COMPARTMENT_NAME,
    userName: USER_NAME,
    fingerprint,
    publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    apiKeyPrefix: apiKey.prefix,
    apiKeyDigest: apiKey.digest,
    authTokenDigest: authToken.digest,
  };
  let credentials: Credentials | null = null;
  await functions.createFirstIdentity(details, async (ids) => {
    credentials = {
      endpoint,
      ...ids,
      fingerprint,
      apiKey: apiKey.key,
      stompLogin: `${TENANCY_NAME}/${USER_NAME}`,
      stompPasscode: authToken.passcode,
    };
    try {
      // PKCS#1, which every SDK reads.
      await writeIdentity(dataDirectory, credentials, privateKey.export({ type: 'pkcs1', format: 'pem' }).toString());
    } catch (error) {
      throw new Error(
        `the first identity was not made, because its credentials cannot be written to ${dataDirectory} ` +
          `(${String(error)}): set TOWPATH_DATA_DIR to a directory that can be written`,
        { cause: error },
      );
    }
  });
  return credentials;
}

async function findCredentials(
  functions: IdentityFunctions,
  dataDirectory: string,
  endpoint: string | null,
  log: Log,
): Promise<Credentials | null> {
  const file = credentialPaths(dataDirectory).credentials;
  const credentials = await readCredentials(dataDirectory);
  if (credentials === null) return null;
  if (credentials === 'unreadable') {
    log.warn(`${file} is not what was written there: it is left alone and not used`);
    return null;
  }
  const tenancy = await functions.findFirstTenancy();
  if (credentials.tenancyId !== tenancy?.id) {
    log.warn(`${file} belongs to another database: it is left alone and not used`);
    return null;
  }
  try {
    return await refreshIdentity(dataDirectory, credentials, endpoint ?? credentials.endpoint);
  } catch (error) {
    // The credentials are good all the same, with an endpoint that may be out of date.
    log.warn(`${file} cannot be brought up to date: ${String(error)}`);
    return credentials;
  }
}
