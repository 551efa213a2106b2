import { Injectable, Logger } from '@nestjs/common';
import { EncryptionFunctions, type ListedDataKey } from '../database/encryption-functions.js';
import { DataKeys, wrapContext } from './data-keys.js';
import { MasterKeys } from './master-keys.js';

const BATCH = 500;

/**
 * What becomes of data keys by itself: one that is wrapped by another master key than it should be is wrapped anew,
 * which is how a master key is replaced; one that no message needs any more is forgotten.
 */
@Injectable()
export class KeyMaintenance {
  private readonly logger = new Logger(KeyMaintenance.name);

  constructor(
    private readonly functions: EncryptionFunctions,
    private readonly masterKeys: MasterKeys,
    private readonly dataKeys: DataKeys,
  ) {}

  /** Goes once through all data keys, in batches; ends early where `isStopped` says so. */
  async run(isStopped: () => boolean = (): boolean => false): Promise<{ rewrapped: number; forgotten: number }> {
    this.dataKeys.forgetOld();
    const done = { rewrapped: 0, forgotten: 0 };
    let after = { queueId: 0, id: 0 };
    while (!isStopped()) {
      const keys = await this.functions.list(after, BATCH);
      for (const key of keys) {
        if (isStopped()) break;
        if (key.isOld && (await this.functions.forget(key.queueId, key.id))) done.forgotten += 1;
        else if (await this.rewrap(key)) done.rewrapped += 1;
      }
      const last = keys.at(-1);
      if (last === undefined || keys.length < BATCH) break;
      after = { queueId: last.queueId, id: last.id };
    }
    if (done.rewrapped > 0) this.logger.log(`wrapped ${done.rewrapped} data keys with another master key`);
    return done;
  }

  private async rewrap(key: ListedDataKey): Promise<boolean> {
    const wanted = key.customEncryptionKeyId ?? this.masterKeys.defaultId;
    // Nothing to do, or not possible: while one of the two is not there, it stays as it is.
    if (wanted === key.masterKeyId || !this.masterKeys.has(wanted) || !this.masterKeys.has(key.masterKeyId))
      return false;
    const context = wrapContext(key.queueId, key.id);
    try {
      const bytes = await this.masterKeys.unwrap(key.masterKeyId, key.wrappedKey, context);
      const wrapped = await this.masterKeys.wrap(wanted, bytes, context);
      bytes.fill(0);
      return await this.functions.rewrap(key, wrapped, wanted);
    } catch (error) {
      // One that is broken must not keep the others.
      this.logger.warn({ err: error, queueId: key.queueId, keyId: key.id }, 'a data key cannot be wrapped anew');
      return false;
    }
  }
}
