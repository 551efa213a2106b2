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
  /** A compiled filter; null: everything. */
  readonly filterPath: string | null;
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
  /** Null: as it was. */
  readonly content: Buffer | null;
  readonly channelId: string | null;
  readonly properties: Readonly<Record<string, string>> | null;
  /** Null: the same queue. */
  readonly targetQueueId: number | null;
  readonly maxMessageBytes: number;
  readonly maxChannels: number;
}

export type DeadLetterDeletion = 'deleted' | 'in flight' | 'not found';

const REDRIVE = {
  name: 'redrive_messages',
  text: `select ${WORK_REQUEST} from towpath.redrive_messages(
    towpath.as_caller($8::jsonb, $1::text), $2, $3, $4::jsonpath, $5, $6, $7) w`,
};
const DELETE = {
  name: 'delete_dead_letters',
  text: 'select result from towpath.delete_dead_letters(towpath.as_caller($4::jsonb, $1::bigint), $2, $3) as result',
};
const RESEND = {
  name: 'resend_dead_letter',
  text: `select id, expire_after as "expireAfter" from towpath.resend_dead_letter(
    towpath.as_caller($10::jsonb, $1::bigint), $2, $3, $4, $5, $6, $7, $8, $9)`,
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
        request.filterPath,
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

  /** Puts a new message in place of a dead letter. */
  async resend(request: ResendRequest): Promise<{ readonly id: number; readonly expireAfter: Date }> {
    return one(
      await this.database.run<{ id: number; expireAfter: Date }>(RESEND, [
        request.queueId,
        request.messageId,
        request.consumerGroupId,
        request.content,
        request.channelId,
        request.properties,
        request.targetQueueId,
        request.maxMessageBytes,
        request.maxChannels,
        contextOf(request.caller),
      ]),
    );
  }
}
