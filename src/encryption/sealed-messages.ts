import { Inject, Injectable, Logger } from '@nestjs/common';
import { CONFIGURATION, type Configuration } from '../config/environment.js';
import type { Seal } from '../database/put-functions.js';
import { isDataKeyReplaced } from '../errors/catalogue.js';
import { DataKeys, type SealedQueue } from './data-keys.js';
import { MasterKeys } from './master-keys.js';
import { openMessage, sealMessages, type DataKey, type MessageContents } from './message-seal.js';

/** A message as a row has it: `content` is sealed, and holds the properties, where there is a key. */
export interface StoredContents extends MessageContents {
  readonly id: number;
  readonly keyId: number | null;
}

/** Where stored messages come from. */
export interface StoredQueue {
  readonly queueId: number;
  readonly acceptUnsealed: boolean;
}

/** What one queue is given. `mayNeedProperties`: it has consumer groups, as far as is known. */
export interface SealablePut {
  readonly queue: SealedQueue;
  readonly messages: readonly MessageContents[];
  readonly mayNeedProperties: boolean;
}

const ATTEMPTS = 5;
/** One line of the log per queue in this time. */
const LOG_EVERY_MS = 60_000;
const MAX_LOGGED = 1000;

/** Seals what is put and opens what is read. */
@Injectable()
export class SealedMessages {
  private readonly logger = new Logger(SealedMessages.name);
  private readonly logged = new Map<number, number>();
  private damaged = 0;
  private unsealed = 0;

  constructor(
    private readonly dataKeys: DataKeys,
    private readonly masterKeys: MasterKeys,
    @Inject(CONFIGURATION) private readonly configuration: Pick<Configuration, 'sealing'>,
  ) {}

  /** How many times a message could not be opened. */
  get unreadableMessages(): number {
    return this.damaged;
  }

  /** How many messages were read that nobody has sealed. */
  get unsealedMessages(): number {
    return this.unsealed;
  }

  /** Throws IncorrectState where the master key that the queue names is not there: nothing of it can be put or read. */
  checkMasterKey({ customEncryptionKeyId }: SealedQueue): void {
    if (customEncryptionKeyId !== null) this.masterKeys.idFor(customEncryptionKeyId);
  }

  /**
   * Seals messages and has them stored by `store`; once more where the key was replaced just then, which `store` is told
   * by the database before it has stored anything. `mayNeedProperties`: the queue has consumer groups, as far as is known.
   */
  async seal<Result>(
    queue: SealedQueue,
    messages: readonly MessageContents[],
    mayNeedProperties: boolean,
    store: (sealed: Seal) => Promise<Result>,
  ): Promise<Result> {
    return this.sealAll([{ queue, messages, mayNeedProperties }], ([sealed]) => {
      if (sealed === undefined) throw new Error('nothing was sealed');
      return store(sealed);
    });
  }

  /** As `seal`, for what several queues are given together, each by one entry; `store` gets one seal for each. */
  async sealAll<Result>(
    puts: readonly SealablePut[],
    store: (sealed: readonly Seal[]) => Promise<Result>,
  ): Promise<Result> {
    for (let attempt = 1; ; attempt += 1) {
      const sealed: Seal[] = [];
      for (const put of puts) sealed.push(await this.sealOne(put, attempt > 1));
      try {
        return await store(sealed);
      } catch (error) {
        if (!isDataKeyReplaced(error) || attempt === ATTEMPTS) throw error;
        // Which one it was the database does not say; to ask for the others again costs little.
        for (const { queue } of puts) this.dataKeys.replaced(queue.queueId);
      }
    }
  }

  /**
   * Opens messages, in order; null for one that cannot be opened, because it was altered or moved here from another
   * queue, or is not sealed where that is required. Throws IncorrectState where the master key is not there.
   */
  async open<Message extends StoredContents>(
    queue: StoredQueue,
    messages: readonly Message[],
  ): Promise<(Message | null)[]> {
    const keys = new Map<number, DataKey | null>();
    for (const { keyId } of messages) {
      if (keyId !== null && !keys.has(keyId)) keys.set(keyId, await this.dataKeys.forOpening(queue.queueId, keyId));
    }
    return messages.map((message) => {
      const { keyId, content } = message;
      if (keyId === null) {
        if (this.configuration.sealing === 'required' && !queue.acceptUnsealed) return this.unreadable(queue, message);
        this.unsealed += 1;
        return message;
      }
      const key = keys.get(keyId) ?? null;
      const opened = key === null ? null : openMessage(key, content);
      return opened === null ? this.unreadable(queue, message) : { ...message, ...opened };
    });
  }

  private async sealOne({ queue, messages, mayNeedProperties }: SealablePut, isRetry: boolean): Promise<Seal> {
    if (this.configuration.sealing === 'off') {
      this.checkMasterKey(queue);
      return { contents: messages.map(({ content }) => content), keyId: null, needsProperties: true };
    }
    const dataKey = await this.dataKeys.forSealing(queue, messages.length);
    return {
      contents: sealMessages(dataKey, messages),
      keyId: dataKey.id,
      needsProperties: mayNeedProperties || isRetry,
    };
  }

  private unreadable({ queueId }: StoredQueue, { id, keyId }: StoredContents): null {
    this.damaged += 1;
    const now = performance.now();
    if (now - (this.logged.get(queueId) ?? -Infinity) >= LOG_EVERY_MS) {
      if (this.logged.size >= MAX_LOGGED) this.logged.clear();
      this.logged.set(queueId, now);
      this.logger.error(
        { queueId, messageId: id, keyId },
        keyId === null
          ? 'a message is not sealed, which is required (TOWPATH_SEALING) and the queue has no acceptUnsealed: it is not given to anybody'
          : 'a message cannot be opened: it was altered in the database, or moved from another queue; it is not given to anybody, and dies by its deliveries',
      );
    }
    return null;
  }
}
