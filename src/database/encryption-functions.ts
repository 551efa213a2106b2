import { Injectable } from '@nestjs/common';
import { Database, type Statement } from './database.js';
import { one } from './queue-functions.js';

/** A data key as the database has it. */
export interface WrappedDataKey {
  readonly queueId: number;
  readonly id: number;
  readonly masterKeyId: string;
  readonly wrappedKey: Buffer;
}

/** One that the maintenance looks at. */
export interface ListedDataKey extends WrappedDataKey {
  readonly retiredAt: Date | null;
  readonly customEncryptionKeyId: string | null;
  /** Retired longer ago than messages of the queue live. */
  readonly isOld: boolean;
}

const KEY = 'k.queue_id as "queueId", k.id, k.master_key_id as "masterKeyId", k.wrapped_key as "wrappedKey"';
const call = (name: string, text: string): Statement => ({ name, text });
const USE = call('use_data_key', `select ${KEY} from towpath.use_data_key($1, $2, $3, $4) k`);
const NEXT_ID = call('next_data_key_id', `select nextval('towpath.data_key_id') as id`);
const ADD = call('add_data_key', `select ${KEY} from towpath.add_data_key($1, $2, $3, $4, $5) k`);
const FIND = call('find_data_key', `select ${KEY} from towpath.data_key k where k.queue_id = $1 and k.id = $2`);
const ANY = call('any_data_key', 'select exists (select from towpath.data_key) as found');
const MASTERS = call('master_key_ids', 'select distinct k.master_key_id as id from towpath.data_key k order by id');
const LIST = call(
  'list_data_keys',
  `select ${KEY}, k.retired_at as "retiredAt", k.custom_encryption_key_id as "customEncryptionKeyId", k.is_old as "isOld"
   from towpath.list_data_keys($1, $2, $3) k`,
);
const REWRAP = call('rewrap_data_key', 'select towpath.rewrap_data_key($1, $2, $3, $4, $5) as done');
const FORGET = call('forget_data_key', 'select towpath.forget_data_key($1, $2) as done');

/** The SQL functions of data keys, each called from here only. */
@Injectable()
export class EncryptionFunctions {
  constructor(private readonly database: Database) {}

  /** The key in force, with room for so many messages reserved; null: there is none, or none within these limits. */
  async use(
    queueId: number,
    messages: number,
    maxAgeSeconds: number | null,
    maxMessages: number | null,
  ): Promise<WrappedDataKey | null> {
    const [row] = await this.database.run<WrappedDataKey & Record<string, unknown>>(USE, [
      queueId,
      messages,
      maxAgeSeconds,
      maxMessages,
    ]);
    return row ?? null;
  }

  /** An id for a new key, which is wrapped with it before the database has the key. */
  async nextId(): Promise<number> {
    return one(await this.database.run<{ id: number }>(NEXT_ID, [])).id;
  }

  /** Puts a key in force in place of another one (null: of none). Of several at once one wins. */
  async add(key: WrappedDataKey, replaces: number | null): Promise<void> {
    await this.database.run(ADD, [key.queueId, key.id, key.wrappedKey, key.masterKeyId, replaces]);
  }

  async find(queueId: number, id: number): Promise<WrappedDataKey | null> {
    const [row] = await this.database.run<WrappedDataKey & Record<string, unknown>>(FIND, [queueId, id]);
    return row ?? null;
  }

  /** Whether the database has any. */
  async hasAny(): Promise<boolean> {
    return one(await this.database.run<{ found: boolean }>(ANY, [])).found;
  }

  /** The master keys that data keys are wrapped with. */
  async masterKeyIds(): Promise<string[]> {
    return (await this.database.run<{ id: string }>(MASTERS, [])).map(({ id }) => id);
  }

  /** In the order of queue and id, after this one. */
  async list(after: { readonly queueId: number; readonly id: number }, limit: number): Promise<ListedDataKey[]> {
    return this.database.run<ListedDataKey & Record<string, unknown>>(LIST, [after.queueId, after.id, limit]);
  }

  /** False where it was changed since it was read. */
  async rewrap(old: WrappedDataKey, wrappedKey: Buffer, masterKeyId: string): Promise<boolean> {
    const values = [old.queueId, old.id, old.wrappedKey, wrappedKey, masterKeyId];
    return one(await this.database.run<{ done: boolean }>(REWRAP, values)).done;
  }

  /** False while messages may need it. */
  async forget(queueId: number, id: number): Promise<boolean> {
    return one(await this.database.run<{ done: boolean }>(FORGET, [queueId, id])).done;
  }
}
