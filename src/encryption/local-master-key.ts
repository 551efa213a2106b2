import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createSecretKey,
  randomBytes,
  type KeyObject,
} from 'node:crypto';
import type { MasterKeyProvider } from './master-key-provider.js';

const CIPHER = 'aes-256-gcm';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** A master key that this process holds. */
export interface LocalMasterKey {
  readonly key: KeyObject;
  /** Made from the key, so that pods with the same key agree on it: `local-` and 16 hexadecimal digits. */
  readonly fingerprint: string;
}

/** Reads a key as files and variables have it: 32 bytes in base64. Null where it is something else. */
export function readMasterKey(text: string): LocalMasterKey | null {
  const trimmed = text.trim();
  const bytes = Buffer.from(trimmed, 'base64');
  if (bytes.length !== KEY_BYTES || bytes.toString('base64').replace(/=+$/, '') !== trimmed.replace(/=+$/, ''))
    return null;
  const digest = createHash('sha256').update('towpath master key').update(bytes).digest('hex');
  return { key: createSecretKey(bytes), fingerprint: `local-${digest.slice(0, 16)}` };
}

/** A new key in the same form. */
export function makeMasterKey(): string {
  return randomBytes(KEY_BYTES).toString('base64');
}

/** What providers that hold their keys have in common: AES-256-GCM with a random nonce. */
export abstract class LocalMasterKeys implements MasterKeyProvider {
  protected abstract find(id: string): LocalMasterKey | null;

  has(id: string): boolean {
    return this.find(id) !== null;
  }

  async wrap(id: string, dataKey: Buffer, context: Buffer): Promise<Buffer> {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, this.existing(id), nonce, { authTagLength: TAG_BYTES }).setAAD(context);
    return Buffer.concat([nonce, cipher.update(dataKey), cipher.final(), cipher.getAuthTag()]);
  }

  async unwrap(id: string, wrapped: Buffer, context: Buffer): Promise<Buffer> {
    if (wrapped.length <= NONCE_BYTES + TAG_BYTES) throw new Error('the wrapped data key is too short');
    const decipher = createDecipheriv(CIPHER, this.existing(id), wrapped.subarray(0, NONCE_BYTES), {
      authTagLength: TAG_BYTES,
    })
      .setAAD(context)
      .setAuthTag(wrapped.subarray(-TAG_BYTES));
    return Buffer.concat([decipher.update(wrapped.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
  }

  private existing(id: string): KeyObject {
    const found = this.find(id);
    if (found === null) throw new Error(`there is no master key ${id}`);
    return found.key;
  }
}

/** The one key that the configuration gives. Its id is its fingerprint. */
export class GivenMasterKey extends LocalMasterKeys {
  constructor(private readonly key: LocalMasterKey) {
    super();
  }

  protected find(id: string): LocalMasterKey | null {
    return id === this.key.fingerprint ? this.key : null;
  }
}
