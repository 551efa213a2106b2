import { Injectable } from '@nestjs/common';
import { contextOf, type CallerContext } from './caller-context.js';
import { Database } from './database.js';
import { one, WORK_REQUEST, type WorkRequest } from './queue-functions.js';

export interface RedriveRequest {
  readonly caller: CallerContext;
  /** The queue's OCID. */
  readonly queueId: string;
  /** As the API has it. */
  readonly details: object;
  /** As people write it; null: everything. */
  readonly filter: string | null;
  readonly ifMatch: string | null;
  /** What another queue takes as the target; null: there is none. */
  readonly maxMessageBytes: number | null;
  readonly maxChannels: number;
}

export interface ResendRequest {
  readonly caller: CallerContext;
  readonly queueId: number;
  readonly consumerGroupId: number;
  readonly messageId: number;
  /** As it is stored. */
  readonly content: Buffer;
  /** Of the content, before it was sealed. */
  readonly contentBytes: number;
  /** Null: as it was. */
  readonly channelId: string | null;
  /** All of them, in the clear: where the message is sealed they are not stored. */
  readonly properties: Readonly<Record<string, string>>;
  /** Null: it is not sealed. */
  readonly keyId: number | null;
  /** Null: the same queue. */
  readonly targetQueueId: number | null;
  readonly maxMessageBytes: number;
  readonly maxChannels: number;
}

/** What a dead letter holds, as it is stored. */
export interface StoredDeadLetter {
  readonly id: number;
  readonly channelId: string;
  readonly keyId: number | null;
  readonly properties: Readonly<Record<string, string>> | null;
  readonly content: Buffer;
}

export type DeadLetterDeletion = 'deleted' | 'in flight' | 'not found';

const REDRIVE = {
  name: 'redrive_sealed_messages',
  text: `select ${WORK_REQUEST} from towpath.redrive_sealed_messages(
    towpath.as_caller($8::jsonb, $1::text), $2, $3, $4, $5, $6, $7) w`,
};
const DELETE = {
  name: 'delete_dead_letters',
  text: 'select result from towpath.delete_dead_letters(towpath.as_caller($4::jsonb, $1::bigint), $2, $3) as result',
};
const READ = {
  name: 'read_dead_letter',
  text: `select $3::bigint as id, channel_id as "channelId", key_id as "keyId", properties, body as content
    from towpath.read_dead_letter($1, $2, $3)`,
};
const RESEND = {
  name: 'resend_sealed_dead_letter',
  text: `select id, expire_after as "expireAfter" from towpath.resend_sealed_dead_letter(
    towpath.as_caller($12::jsonb, $1::bigint), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
};

/** The SQL functions that change dead letters, each called from here only. */
@Injectable()
export class DeadLetterFunctions {
  constructor(private readonly database: Database) {}

  /** Starts a redrive: the work request has still to be run. */
  async redrive(request: RedriveRequest): Promise<WorkRequest> {
    return one(
      await this.database.run<WorkRequest>(REDRIVE, [
        request.caller.tenancyId,
        request.queueId,
        request.details,
        request.filter,
        request.ifMatch,
        request.maxMessageBytes,
        request.maxChannels,
        contextOf(request.caller),
      ]),
    );
  }

  /** One answer per id, in order. */
  async delete(
    caller: CallerContext,
    queueId: number,
    consumerGroupId: number,
    ids: readonly number[],
  ): Promise<DeadLetterDeletion[]> {
    const values = [queueId, consumerGroupId, ids, contextOf(caller)];
    const rows = await this.database.run<{ result: DeadLetterDeletion }>(DELETE, values);
    return rows.map(({ result }) => result);
  }

  /** Null: there is no such dead letter. What one holds never changes. */
  async read(queueId: number, consumerGroupId: number, messageId: number): Promise<StoredDeadLetter | null> {
    const [row] = await this.database.run<StoredDeadLetter & Record<string, unknown>>(READ, [
      queueId,
      consumerGroupId,
      messageId,
    ]);
    return row ?? null;
  }

  /** Puts a new message in place of a dead letter. */
  async resend(request: ResendRequest): Promise<{ readonly id: number; readonly expireAfter: Date }> {
    return one(
      await this.database.run<{ id: number; expireAfter: Date }>(RESEND, [
        request.queueId,
        request.messageId,
        request.consumerGroupId,
        request.content,
        request.contentBytes,
        request.channelId,
        request.properties,
        request.keyId,
        request.targetQueueId,
        request.maxMessageBytes,
        request.maxChannels,
        contextOf(request.caller),
      ]),
    );
  }
}
