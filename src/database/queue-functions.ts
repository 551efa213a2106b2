import { Injectable } from '@nestjs/common';
import { contextOf, type CallerContext } from './caller-context.js';
import { Database } from './database.js';

/** RELAXED: what is confirmed of messages may be undone if the database's server crashes within a second; migration 0025 says how. */
export type Durability = 'FULL' | 'RELAXED';

/** A queue as the database has it; the names are the API's. */
export interface Queue {
  readonly queueId: number;
  readonly id: string;
  readonly tenancyId: string;
  readonly compartmentId: string;
  readonly displayName: string;
  readonly lifecycleState: string;
  readonly lifecycleDetails: string | null;
  readonly retentionInSeconds: number;
  readonly visibilityInSeconds: number;
  readonly timeoutInSeconds: number;
  readonly channelConsumptionLimit: number;
  readonly deadLetterQueueDeliveryCount: number;
  readonly customEncryptionKeyId: string | null;
  readonly deduplicationWindowInSeconds: number;
  readonly acceptUnsealed: boolean;
  readonly durability: Durability;
  readonly capabilities: readonly { readonly type: string }[];
  readonly freeformTags: Readonly<Record<string, string>>;
  readonly definedTags: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly timeCreated: Date;
  readonly timeUpdated: Date;
  readonly version: number;
}

export interface WorkRequest {
  readonly number: number;
  readonly id: string;
  readonly compartmentId: string;
  readonly operationType: string;
  readonly status: string;
  readonly percentComplete: number;
  readonly entityType: string;
  readonly actionType: string;
  readonly identifier: string;
  readonly timeAccepted: Date;
  readonly timeStarted: Date | null;
  readonly timeFinished: Date | null;
  /** Null: it is no redrive. */
  readonly redrive: RedriveProgress | null;
}

/** A work request with the queue that it is about. */
export interface FoundWorkRequest extends WorkRequest {
  readonly queueId: string | null;
  readonly queueName: string | null;
}

/** How far a redrive of dead letters came, in messages. */
export interface RedriveProgress {
  readonly examined: number;
  readonly matched: number;
  readonly redriven: number;
  readonly skipped: number;
  readonly failed: number;
  readonly isDryRun: boolean;
  readonly messagesPerSecond?: number;
}

export interface ListQueuesRequest {
  readonly tenancyId: string;
  readonly compartmentId?: string | undefined;
  readonly lifecycleState?: string | undefined;
  readonly displayName?: string | undefined;
  readonly id?: string | undefined;
  readonly sortBy: 'timeCreated' | 'displayName';
  readonly ascending: boolean;
  readonly after: { readonly key: string; readonly queueId: number } | null;
  readonly limit: number;
}

// Times are read to the microsecond for cursors, which is why the sort key travels as text.
const QUEUE = `q.id as "queueId", q.ocid as id, q.tenancy_id as "tenancyId", q.compartment_id as "compartmentId",
  q.display_name as "displayName", q.lifecycle_state as "lifecycleState", q.lifecycle_details as "lifecycleDetails",
  q.retention_in_seconds as "retentionInSeconds", q.visibility_in_seconds as "visibilityInSeconds",
  q.timeout_in_seconds as "timeoutInSeconds", q.channel_consumption_limit as "channelConsumptionLimit",
  q.dead_letter_queue_delivery_count as "deadLetterQueueDeliveryCount",
  q.custom_encryption_key_id as "customEncryptionKeyId",
  q.deduplication_window_in_seconds as "deduplicationWindowInSeconds", q.accept_unsealed as "acceptUnsealed",
  q.durability, q.capabilities, q.freeform_tags as "freeformTags", q.defined_tags as "definedTags", q.time_created as "timeCreated", q.time_updated as "timeUpdated", q.version`;
export const WORK_REQUEST = `w.id as number, w.ocid as id, w.compartment_id as "compartmentId",
  w.operation_type as "operationType", w.status, w.percent_complete as "percentComplete",
  w.entity_type as "entityType", w.action_type as "actionType", w.identifier, w.time_accepted as "timeAccepted",
  w.time_started as "timeStarted", w.time_finished as "timeFinished",
  case when w.operation_type = 'REDRIVE_MESSAGES' then w.parameters -> 'redrive' end as redrive`;

const select = (columns: string, call: string): { name: string; text: string } => ({
  name: call.slice(0, call.indexOf('(')),
  text: `select ${columns} from towpath.${call}`,
});
const FIND = select(QUEUE, 'find_queue($1, $2) q');
const LIST = select(
  `${QUEUE}, q.time_created::text as "timeKey"`,
  'list_queues($1, $2, $3, $4, $5, $6, $7, $8::timestamptz, $9, $10, $11) q',
);
const CREATE = select(WORK_REQUEST, 'create_queue(towpath.as_caller($4::jsonb, $1::text), $2, $3) w');
const CREATE_WITHIN = select(WORK_REQUEST, 'create_queue_within(towpath.as_caller($4::jsonb, $1::text), $2, $3, $5) w');
const UPDATE = select(WORK_REQUEST, 'update_queue(towpath.as_caller($5::jsonb, $1::text), $2, $3, $4) w');
const MOVE = select(WORK_REQUEST, 'change_queue_compartment(towpath.as_caller($5::jsonb, $1::text), $2, $3, $4) w');
const PURGE = select(WORK_REQUEST, 'purge_queue(towpath.as_caller($5::jsonb, $1::text), $2, $3, $4) w');
const ROTATE_KEY = select(WORK_REQUEST, 'rotate_data_key(towpath.as_caller($4::jsonb, $1::text), $2, $3) w');
const DELETE = select(WORK_REQUEST, 'delete_queue(towpath.as_caller($4::jsonb, $1::text), $2, $3) w');
// With the queue that it is about, or whose group; null when that is forgotten already.
const FOUND = `${WORK_REQUEST}, q.ocid as "queueId", q.display_name as "queueName"`;
const OF_QUEUE = 'left join towpath.queue q on q.id = w.queue_id';
const FIND_WORK_REQUEST = select(FOUND, `find_work_request($1, $2) w ${OF_QUEUE}`);
const CANCEL_WORK_REQUEST = select(WORK_REQUEST, 'cancel_work_request(towpath.as_caller($3::jsonb, $1::text), $2) w');
const LIST_WORK_REQUESTS = select(FOUND, `list_work_requests($1, $2, $3, $4, $5) w ${OF_QUEUE} order by w.id desc`);

/** The SQL functions of the control plane, each called from here only. */
@Injectable()
export class QueueFunctions {
  constructor(private readonly database: Database) {}

  async find(tenancyId: string, id: string): Promise<Queue> {
    return one(await this.database.run<Queue>(FIND, [tenancyId, id]));
  }

  /** Each queue with the key that a page after it starts from. */
  async list(request: ListQueuesRequest): Promise<(Queue & { readonly cursorKey: string })[]> {
    const byName = request.sortBy === 'displayName';
    const rows = await this.database.run<Queue & { timeKey: string }>(LIST, [
      request.tenancyId,
      request.compartmentId ?? null,
      request.lifecycleState ?? null,
      request.displayName ?? null,
      request.id ?? null,
      request.sortBy,
      request.ascending,
      byName ? null : (request.after?.key ?? null),
      byName ? (request.after?.key ?? null) : null,
      request.after?.queueId ?? null,
      request.limit,
    ]);
    return rows.map((row) => ({ ...row, cursorKey: byName ? row.displayName : row.timeKey }));
  }

  /** `maxQueues` null: the tenancy may have any number. */
  async create(
    caller: CallerContext,
    details: object,
    retryToken: string | null,
    maxQueues: number | null = null,
  ): Promise<WorkRequest> {
    const values = [caller.tenancyId, details, retryToken, contextOf(caller)];
    return one(
      maxQueues === null
        ? await this.database.run<WorkRequest>(CREATE, values)
        : await this.database.run<WorkRequest>(CREATE_WITHIN, [...values, maxQueues]),
    );
  }

  async update(caller: CallerContext, id: string, changes: object, ifMatch: string | null): Promise<WorkRequest> {
    return one(
      await this.database.run<WorkRequest>(UPDATE, [caller.tenancyId, id, changes, ifMatch, contextOf(caller)]),
    );
  }

  async changeCompartment(
    caller: CallerContext,
    id: string,
    compartmentId: string,
    ifMatch: string | null,
  ): Promise<WorkRequest> {
    return one(
      await this.database.run<WorkRequest>(MOVE, [caller.tenancyId, id, compartmentId, ifMatch, contextOf(caller)]),
    );
  }

  async purge(caller: CallerContext, id: string, details: object, ifMatch: string | null): Promise<WorkRequest> {
    return one(
      await this.database.run<WorkRequest>(PURGE, [caller.tenancyId, id, details, ifMatch, contextOf(caller)]),
    );
  }

  /** Retires the data key: the next put makes another one. */
  async rotateDataKey(caller: CallerContext, id: string, ifMatch: string | null): Promise<WorkRequest> {
    return one(await this.database.run<WorkRequest>(ROTATE_KEY, [caller.tenancyId, id, ifMatch, contextOf(caller)]));
  }

  async delete(caller: CallerContext, id: string, ifMatch: string | null): Promise<WorkRequest> {
    return one(await this.database.run<WorkRequest>(DELETE, [caller.tenancyId, id, ifMatch, contextOf(caller)]));
  }

  async findWorkRequest(tenancyId: string, id: string): Promise<FoundWorkRequest> {
    return one(await this.database.run<FoundWorkRequest>(FIND_WORK_REQUEST, [tenancyId, id]));
  }

  /** Asks a redrive to end. */
  async cancelWorkRequest(caller: CallerContext, id: string): Promise<WorkRequest> {
    return one(await this.database.run<WorkRequest>(CANCEL_WORK_REQUEST, [caller.tenancyId, id, contextOf(caller)]));
  }

  async listWorkRequests(
    tenancyId: string,
    filter: { readonly compartmentId?: string | undefined; readonly workRequestId?: string | undefined },
    before: number | null,
    limit: number,
  ): Promise<FoundWorkRequest[]> {
    return this.database.run<FoundWorkRequest>(LIST_WORK_REQUESTS, [
      tenancyId,
      filter.compartmentId ?? null,
      filter.workRequestId ?? null,
      before,
      limit,
    ]);
  }

  /** What a work request did (or why it failed), oldest first, after the entry with the number `after`. */
  async listWorkRequestLogs(
    workRequest: number,
    after: number,
    limit: number,
  ): Promise<{ readonly id: number; readonly message: string; readonly timestamp: Date }[]> {
    return this.database.kysely
      .selectFrom('towpath.work_request_log')
      .select(['id', 'message', 'timestamp'])
      .where('work_request_id', '=', workRequest)
      .where('id', '>', after)
      .orderBy('id')
      .limit(limit)
      .execute();
  }

  async listWorkRequestErrors(
    workRequest: number,
    after: number,
    limit: number,
  ): Promise<{ readonly id: number; readonly code: string; readonly message: string; readonly timestamp: Date }[]> {
    return this.database.kysely
      .selectFrom('towpath.work_request_error')
      .select(['id', 'code', 'message', 'timestamp'])
      .where('work_request_id', '=', workRequest)
      .where('id', '>', after)
      .orderBy('id')
      .limit(limit)
      .execute();
  }
}

export function one<Row>(rows: readonly Row[]): Row {
  const [row] = rows;
  if (row === undefined) throw new Error('a function that returns one row returned none');
  return row;
}
