import type { StoredBytes } from '../database/limit-functions.js';
import { QueueStorage } from './queue-storage.js';

/** What was read is used for so long; then a put has it read again, beside itself. */
const READ_EVERY_MS = 1000;
/** Where a read takes long (many channels and groups), it is done so seldom that it takes a twentieth of the time. */
const PAUSE_PER_READ_TIME = 20;
/** What is older than this is not put to use: the put waits for the read. */
const TOO_OLD_MS = 5000;
const MAX_REMEMBERED = 10_000;

/** What queues, or tenancies, store, as far as this pod knows: read again about once a second while somebody puts. */
export class KnownStorage<Key> {
  private readonly known = new Map<Key, QueueStorage>();

  constructor(private readonly load: (key: Key, channelsFrom: number | null) => Promise<StoredBytes>) {}

  /** Of how many it knows, with their channels. */
  get size(): number {
    let size = this.known.size;
    for (const storage of this.known.values()) size += storage.channels;
    return size;
  }

  /**
   * What `key` stores, for a decision. It is read again where it is time; that is waited for where `isRefused` would
   * refuse by what is known, or what is known is too old. Throws what the read throws, where it waits.
   */
  async get(
    key: Key,
    channelsFrom: number | null,
    isRefused: (storage: QueueStorage) => boolean,
  ): Promise<QueueStorage> {
    const storage = this.storageOf(key);
    const age = performance.now() - storage.readAt;
    if (age > TOO_OLD_MS || storage.channelsFrom !== channelsFrom) {
      await this.read(key, storage, channelsFrom);
    } else if (age > Math.max(READ_EVERY_MS, storage.readMs * PAUSE_PER_READ_TIME)) {
      const reading = this.read(key, storage, channelsFrom);
      if (isRefused(storage)) await reading;
      else reading.catch(() => undefined);
    }
    return storage;
  }

  /** One read at a time; whoever needs one meanwhile shares it. */
  private read(key: Key, storage: QueueStorage, channelsFrom: number | null): Promise<void> {
    storage.reading ??= this.readNow(key, storage, channelsFrom).finally(() => {
      storage.reading = null;
    });
    return storage.reading;
  }

  private async readNow(key: Key, storage: QueueStorage, channelsFrom: number | null): Promise<void> {
    const start = performance.now();
    storage.beginRead();
    try {
      storage.endRead(await this.load(key, channelsFrom), channelsFrom);
      storage.readAt = start;
      storage.readMs = performance.now() - start;
    } catch (error) {
      storage.failRead();
      throw error;
    }
  }

  private storageOf(key: Key): QueueStorage {
    let storage = this.known.get(key);
    if (storage === undefined) {
      // Whoever comes back is read anew.
      if (this.known.size >= MAX_REMEMBERED) this.known.clear();
      storage = new QueueStorage();
      this.known.set(key, storage);
    }
    return storage;
  }
}
