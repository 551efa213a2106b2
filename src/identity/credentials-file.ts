import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';

const credentialsSchema = z.strictObject({
  endpoint: z.string(),
  tenancyId: z.string(),
  compartmentId: z.string(),
  userId: z.string(),
  fingerprint: z.string(),
  apiKey: z.string(),
  stompLogin: z.string(),
  stompPasscode: z.string(),
});

/** What `credentials.json` holds: how to reach the service and everything to sign in with but the private key. */
export type Credentials = Readonly<z.infer<typeof credentialsSchema>>;

/*
 * A region that nobody has. The SDKs demand one and make their default endpoint of it; with a real one, a client whose
 * endpoint was forgotten would send its messages to Oracle's cloud. With this one the name does not resolve. Price: the
 * TypeScript SDK prints, once per process, that it does not know the region.
 */
const REGION = 'towpath-local-1';

/** Where the files of the first identity are. */
export interface CredentialPaths {
  readonly credentials: string;
  readonly ociConfig: string;
  readonly ociKey: string;
}

export function credentialPaths(dataDirectory: string): CredentialPaths {
  const directory = path.resolve(dataDirectory);
  return {
    credentials: path.join(directory, 'credentials.json'),
    ociConfig: path.join(directory, 'oci', 'config'),
    ociKey: path.join(directory, 'oci', 'key.pem'),
  };
}

/**
 * Writes all three files, each whole or not at all and on the disk when this returns. `privateKey` is PEM. Throws Node's
 * file system errors.
 */
export async function writeIdentity(
  dataDirectory: string,
  credentials: Credentials,
  privateKey: string,
): Promise<void> {
  const paths = credentialPaths(dataDirectory);
  await writePrivately(paths.ociKey, privateKey);
  await writePrivately(paths.ociConfig, ociConfig(paths, credentials));
  // Last: whoever finds this one finds the other two.
  await writePrivately(paths.credentials, `${JSON.stringify(credentials, null, 2)}\n`);
}

/**
 * Brings the files up to date: the endpoint, and where the key is if the directory was moved. Returns the credentials as
 * they are now in the file. Throws Node's file system errors.
 */
export async function refreshIdentity(
  dataDirectory: string,
  credentials: Credentials,
  endpoint: string,
): Promise<Credentials> {
  const paths = credentialPaths(dataDirectory);
  const config = ociConfig(paths, credentials);
  if ((await readOrNull(paths.ociConfig)) !== config) await writePrivately(paths.ociConfig, config);
  if (credentials.endpoint === endpoint) return credentials;
  const refreshed = { ...credentials, endpoint };
  await writePrivately(paths.credentials, `${JSON.stringify(refreshed, null, 2)}\n`);
  return refreshed;
}

/** The credentials in the file; null where there is no file, `unreadable` where it is something else. */
export async function readCredentials(dataDirectory: string): Promise<Credentials | 'unreadable' | null> {
  const text = await readOrNull(credentialPaths(dataDirectory).credentials);
  if (text === null) return null;
  try {
    return credentialsSchema.parse(JSON.parse(text));
  } catch {
    // Not JSON or not ours, most likely edited by hand: the caller says so.
    return 'unreadable';
  }
}

function ociConfig(paths: CredentialPaths, credentials: Credentials): string {
  return [
    '# Written by Towpath. The region is made up, since the SDKs demand one: set the endpoint of',
    '# each client to the one in credentials.json.',
    '[DEFAULT]',
    `user=${credentials.userId}`,
    `fingerprint=${credentials.fingerprint}`,
    `tenancy=${credentials.tenancyId}`,
    `region=${REGION}`,
    `key_file=${paths.ociKey}`,
    '',
  ].join('\n');
}

async function readOrNull(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    // No instanceof: under jest the errors of Node's own modules are of another realm.
    if (typeof error === 'object' && error !== null && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
}

/** Replaces a file that only its owner may read: under another name first, so that nobody ever sees a half of it. */
async function writePrivately(file: string, text: string): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true });
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const handle = await open(temporary, 'wx', 0o600);
    try {
      await handle.writeFile(text);
      // Of the keys the database keeps only digests: a file lost with the power would lock everybody out.
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
