import { createSecretKey, randomBytes } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import { EncryptionFunctions, type WrappedDataKey } from '../database/encryption-functions.js';
import { ServiceError } from '../errors/service-error.js';
import { MasterKeys } from './master-keys.js';
import type { DataKey } from './message-seal.js';

/** How long an unwrapped key is remembered, and how many are. */
const REMEMBERED_MS = 300_000;
const MAX_REMEMBERED = 2000;
/** A key is replaced long before 2^32 messages, where two random nonces may be the same with a probability of 2^-33. */
const MAX_MESSAGES = 2 ** 30;
/** How many messages a pod reserves at a time: from few, for a quiet queue, to many. What it does not use is lost. */
const FIRST_PORTION = 4096;
const LAST_PORTION = 2 ** 20;
const KEY_BYTES = 32;

/** What of a queue says how it is sealed. */
export interface SealedQueue {
  readonly queueId: number;
  readonly customEncryptionKeyId: string | null;
}

interface Remembered {
  readonly dataKey: DataKey;
  readonly masterKeyId: string;
  readonly until: number;
}

interface InForce extends Remembered {
  /** How many more messages may be sealed with it before the database is asked again. */
  left: number;
  readonly portion: number;
}

/** The data keys that this pod has unwrapped, and new ones where one is needed. */
@Injectable()
export class DataKeys {
  private readonly opening = new Map<string, Promise<Remembered | null>>();
  private readonly inForce = new Map<number, InForce>();
  private readonly underWay = new Map<number, Promise<unknown>>();

  constructor(
    private readonly functions: EncryptionFunctions,
    private readonly masterKeys: MasterKeys,
    @Inject(CONFIGURATION) private readonly configuration: Pick<Configuration, 'dataKeyDays'>,
  ) {}

  /** How many keys are remembered in the clear. */
  get size(): number {
    return this.opening.size + this.inForce.size;
  }

  /** The queue's key in force, for so many messages; made where there is none. Throws IncorrectState (the master key). */
  async forSealing(queue: SealedQueue, messages: number): Promise<DataKey> {
    const { queueId, customEncryptionKeyId } = queue;
    this.masterKeys.idFor(customEncryptionKeyId);
    for (let attempt = 0; attempt < 10; attempt += 1) {
      const known = this.inForce.get(queueId);
      if (
        known !== undefined &&
        known.until > performance.now() &&
        known.left >= messages &&
        this.masterKeys.has(known.masterKeyId) &&
        (customEncryptionKeyId === null || customEncryptionKeyId === known.masterKeyId)
      ) {
        known.left -= messages;
        return known.dataKey;
      }
      // One at a time per queue; who waits takes of what the first one has got.
      const other = this.underWay.get(queueId);
      if (other !== undefined) {
        await other.catch(() => undefined);
        continue;
      }
      // Twice as many where the last ones were used up; few where they were forgotten over time.
      const lastPortion = known !== undefined && known.until > performance.now() ? known.portion : 0;
      const work = this.renew(queue, messages, lastPortion).finally(() => this.underWay.delete(queueId));
      this.underWay.set(queueId, work);
      await work;
    }
    throw new ServiceError('ServiceUnavailable', 'the data key of the queue is being replaced all the time: try again');
  }

  /** Null: there is no such key. Throws IncorrectState where its master key is not there. */
  async forOpening(queueId: number, id: number): Promise<DataKey | null> {
    const name = `${queueId}/${id}`;
    const known = await this.opening.get(name)?.catch(() => null);
    if (known !== undefined && known !== null) {
      // Its master key may have been disabled since; or it is wrapped by another one now.
      if (known.until > performance.now() && this.masterKeys.has(known.masterKeyId)) return known.dataKey;
      this.opening.delete(name);
    }
    const reading = this.opening.get(name) ?? this.read(queueId, id);
    if (this.opening.size >= MAX_REMEMBERED) this.opening.clear();
    this.opening.set(name, reading);
    try {
      const found = await reading;
      if (found === null && this.opening.get(name) === reading) this.opening.delete(name);
      return found?.dataKey ?? null;
    } catch (error) {
      if (this.opening.get(name) === reading) this.opening.delete(name);
      throw error;
    }
  }

  /** The key in force is another one: the next message asks for it. */
  replaced(queueId: number): void {
    this.inForce.delete(queueId);
  }

  /** What is remembered for too long goes; the maintenance of each pod calls it now and then. */
  forgetOld(): void {
    const now = performance.now();
    for (const [queueId, { until }] of this.inForce) if (until <= now) this.inForce.delete(queueId);
    for (const [name, reading] of this.opening) {
      void reading.then(
        (found) => {
          if (found !== null && found.until <= now && this.opening.get(name) === reading) this.opening.delete(name);
        },
        // Whoever waits for it is told.
        () => undefined,
      );
    }
  }

  private async read(queueId: number, id: number): Promise<Remembered | null> {
    const row = await this.functions.find(queueId, id);
    return row === null ? null : this.unwrapped(row);
  }

  private async renew(queue: SealedQueue, messages: number, lastPortion: number): Promise<void> {
    const { queueId, customEncryptionKeyId } = queue;
    const portion = Math.max(messages, Math.min(LAST_PORTION, Math.max(FIRST_PORTION, lastPortion * 2)));
    const maxAgeSeconds = this.configuration.dataKeyDays * 86_400;
    let current: WrappedDataKey | null = null;
    for (let attempt = 0; attempt < 5; attempt += 1) {
      const row = await this.functions.use(queueId, portion, maxAgeSeconds, MAX_MESSAGES);
      if (row !== null && (customEncryptionKeyId === null || customEncryptionKeyId === row.masterKeyId)) {
        const remembered = await this.unwrapped(row);
        if (this.inForce.size >= MAX_REMEMBERED) this.inForce.clear();
        this.inForce.set(queueId, { ...remembered, left: portion, portion });
        return;
      }
      // Only one that was known before it was refused is replaced: another pod may have made a good one just now.
      const refused = row ?? current;
      if (refused !== null || attempt > 0) {
        await this.make(queueId, this.masterKeys.idFor(customEncryptionKeyId), refused?.id ?? null);
      }
      current = await this.functions.use(queueId, 0, null, null);
    }
    throw new ServiceError('ServiceUnavailable', 'the data key of the queue is being replaced all the time: try again');
  }

  private async make(queueId: number, masterKeyId: string, replaces: number | null): Promise<void> {
    const id = await this.functions.nextId();
    const wrappedKey = await this.masterKeys.wrap(masterKeyId, randomBytes(KEY_BYTES), wrapContext(queueId, id));
    await this.functions.add({ queueId, id, masterKeyId, wrappedKey }, replaces);
  }

  private async unwrapped({ queueId, id, masterKeyId, wrappedKey }: WrappedDataKey): Promise<Remembered> {
    const bytes = await this.masterKeys.unwrap(masterKeyId, wrappedKey, wrapContext(queueId, id));
    const dataKey = { queueId, id, key: createSecretKey(bytes) };
    bytes.fill(0);
    return { dataKey, masterKeyId, until: performance.now() + REMEMBERED_MS };
  }
}

/** What a wrapped data key is bound to. */
export function wrapContext(queueId: number, id: number): Buffer {
  return Buffer.from(`towpath data key ${queueId} ${id}`);
}
