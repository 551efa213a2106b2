import { randomBytes } from 'node:crypto';
import { link, mkdir, open, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { ConfigurationError, type Configuration } from '../config/environment.js';
import type { EncryptionFunctions } from '../database/encryption-functions.js';
import type { IdentityFunctions } from '../database/identity-functions.js';
import { GivenMasterKey, makeMasterKey, readMasterKey, type LocalMasterKey } from './local-master-key.js';
import { MasterKeyDirectory } from './master-key-directory.js';
import type { MasterKeyProvider } from './master-key-provider.js';
import { MasterKeys } from './master-keys.js';

const HOW =
  'set TOWPATH_MASTER_KEY_FILE (or TOWPATH_MASTER_KEY) to the key of the other pods; `openssl rand -base64 32` makes one';
/** It is no secret: the database keeps its name, so that nobody makes a second one. */
const FIRST_MASTER_KEY = 'first-master-key';
/** The least that the database takes for a shared value. */
const SHARED_BYTES = 32;

/** Where notes for the operator go. */
interface Log {
  info(message: string): void;
  warn(message: string): void;
}

type Settings = Pick<
  Configuration,
  'masterKey' | 'masterKeyFile' | 'masterKeyDirectory' | 'masterKeyId' | 'dataDirectory'
>;

/**
 * The master keys that the configuration gives; where it gives none for queues in general, one in the data directory,
 * which the first start makes. Throws ConfigurationError where a key cannot be read, two are given for the same, or one
 * would be made for a database whose messages are sealed under another.
 */
export async function openMasterKeys(
  settings: Settings,
  database: Pick<EncryptionFunctions, 'hasAny' | 'masterKeyIds'>,
  identity: Pick<IdentityFunctions, 'shareSecret'>,
  log: Log,
): Promise<MasterKeys> {
  const { masterKey, masterKeyFile, masterKeyDirectory, masterKeyId } = settings;
  const given = [masterKey, masterKeyFile, masterKeyId].filter((setting) => setting !== null);
  if (given.length > 1) {
    throw new ConfigurationError(
      'Set only one of TOWPATH_MASTER_KEY, TOWPATH_MASTER_KEY_FILE and TOWPATH_MASTER_KEY_ID.',
    );
  }
  const directory =
    masterKeyDirectory === null ? null : new MasterKeyDirectory(masterKeyDirectory, (message) => log.warn(message));
  const providers: MasterKeyProvider[] = directory === null ? [] : [directory];
  let defaultId = masterKeyId;
  if (defaultId !== null) {
    if (directory?.has(defaultId) !== true) {
      throw new ConfigurationError(
        `TOWPATH_MASTER_KEY_ID: TOWPATH_MASTER_KEY_DIRECTORY has no file ${defaultId}.key with 32 bytes in base64.`,
      );
    }
  } else {
    const key =
      masterKey !== null
        ? checked(masterKey, 'TOWPATH_MASTER_KEY')
        : masterKeyFile !== null
          ? checked(await readGiven(masterKeyFile), `TOWPATH_MASTER_KEY_FILE (${masterKeyFile})`)
          : await firstMasterKey(settings.dataDirectory, database, identity, log);
    providers.push(new GivenMasterKey(key));
    defaultId = key.fingerprint;
  }
  const keys = new MasterKeys(providers, defaultId);
  const missing = (await database.masterKeyIds()).filter((id) => !keys.has(id));
  if (missing.length > 0) {
    log.warn(
      `data keys of the database are wrapped with master keys that this pod does not have (${missing.join(', ')}): ` +
        'the messages of their queues cannot be read, and some queues answer 409',
    );
  }
  return keys;
}

function checked(text: string, name: string): LocalMasterKey {
  const key = readMasterKey(text);
  if (key === null) {
    throw new ConfigurationError(`${name} must be 32 bytes in base64: \`openssl rand -base64 32\` makes such a key.`);
  }
  return key;
}

async function readGiven(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new ConfigurationError(`TOWPATH_MASTER_KEY_FILE cannot be read: ${String(error)}`, { cause: error });
  }
}

async function firstMasterKey(
  dataDirectory: string,
  database: Pick<EncryptionFunctions, 'hasAny'>,
  identity: Pick<IdentityFunctions, 'shareSecret'>,
  log: Log,
): Promise<LocalMasterKey> {
  const file = path.join(dataDirectory, 'master.key');
  const found = await readOrNull(file);
  if (found !== null) return checked(found, file);
  if (await database.hasAny()) {
    throw new ConfigurationError(
      `The messages of this database are sealed under a master key that is not in ${dataDirectory}: ${HOW}.`,
    );
  }
  try {
    await makeOnce(file);
  } catch (error) {
    throw new ConfigurationError(
      `There is no master key, and none can be written to ${file} (${String(error)}): ${HOW}.`,
      { cause: error },
    );
  }
  const key = checked(await readFile(file, 'utf8'), file);
  // Of pods that start at once, each with a directory of its own, one may go on: the others could not read what it seals.
  const proposal = Buffer.from(key.fingerprint.padEnd(SHARED_BYTES));
  const first = (await identity.shareSecret(FIRST_MASTER_KEY, proposal)).toString().trimEnd();
  if (first !== key.fingerprint) {
    await rm(file);
    throw new ConfigurationError(`Another pod has made the master key ${first} of this database: ${HOW}.`);
  }
  log.info(`made a master key: ${file}. Keep a copy; without it nobody can read what is in the queues`);
  return key;
}

/** Of several processes that share the directory one makes the file, whole, and for its owner's eyes only. */
async function makeOnce(file: string): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true });
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const handle = await open(temporary, 'wx', 0o600);
    try {
      await handle.writeFile(`${makeMasterKey()}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await link(temporary, file).catch((error: unknown) => {
      if (codeOf(error) !== 'EEXIST') throw error;
    });
  } finally {
    await rm(temporary, { force: true });
  }
}

async function readOrNull(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw new ConfigurationError(`The master key ${file} cannot be read: ${String(error)}`, { cause: error });
  }
}

function codeOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
}
