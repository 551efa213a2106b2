import { ServiceError } from '../errors/service-error.js';
import type { MasterKeyProvider } from './master-key-provider.js';

/** All master keys of this pod, whoever provides them. */
export class MasterKeys {
  constructor(
    private readonly providers: readonly MasterKeyProvider[],
    /** The key of queues that name none. */
    readonly defaultId: string,
  ) {}

  has(id: string): boolean {
    return this.providers.some((provider) => provider.has(id));
  }

  /** The key that a queue's data keys are to be wrapped with. Throws IncorrectState where it is not there. */
  idFor(customEncryptionKeyId: string | null): string {
    const id = customEncryptionKeyId ?? this.defaultId;
    if (!this.has(id)) throw unavailable(id, customEncryptionKeyId !== null);
    return id;
  }

  /** Throws IncorrectState where the key is not there. */
  async wrap(id: string, dataKey: Buffer, context: Buffer): Promise<Buffer> {
    return this.provider(id).wrap(id, dataKey, context);
  }

  /** Throws IncorrectState where the key is not there, or does not fit. */
  async unwrap(id: string, wrapped: Buffer, context: Buffer): Promise<Buffer> {
    const provider = this.provider(id);
    try {
      return await provider.unwrap(id, wrapped, context);
    } catch (error) {
      throw new ServiceError(
        'IncorrectState',
        `the data key of the queue cannot be unwrapped with the master key ${id}: another key has this name, or the data key was altered`,
        { cause: error },
      );
    }
  }

  private provider(id: string): MasterKeyProvider {
    const found = this.providers.find((provider) => provider.has(id));
    if (found === undefined) throw unavailable(id, false);
    return found;
  }
}

/** What whoever uses the contents of a queue is told while its master key is not there. */
function unavailable(id: string, isCustom: boolean): ServiceError {
  return new ServiceError(
    'IncorrectState',
    isCustom
      ? `the master key ${id}, which customEncryptionKeyId of the queue names, is disabled or unknown: enable it (a file ${id}.key in TOWPATH_MASTER_KEY_DIRECTORY of each pod), or have the queue name another one`
      : `the messages of the queue are sealed under the master key ${id}, which this pod does not have: give it to each pod (TOWPATH_MASTER_KEY, or a file in TOWPATH_MASTER_KEY_DIRECTORY)`,
  );
}
