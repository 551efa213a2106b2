import { Injectable } from '@nestjs/common';
import { contextOf, type CallerContext } from './caller-context.js';
import { Database } from './database.js';
import { one, WORK_REQUEST, type WorkRequest } from './queue-functions.js';

/** A consumer group as the database has it; the names are the API's. */
export interface ConsumerGroup {
  /** The numbers by which the message functions know it. */
  readonly queueNumber: number;
  readonly number: number;
  readonly id: string;
  readonly queueId: string;
  /** Of its queue. */
  readonly compartmentId: string;
  readonly queueName: string;
  readonly displayName: string;
  readonly lifecycleState: string;
  readonly lifecycleDetails: string | null;
  readonly filter: string;
  readonly deadLetterQueueDeliveryCount: number | null;
  readonly freeformTags: Readonly<Record<string, string>>;
  readonly definedTags: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly timeCreated: Date;
  readonly timeUpdated: Date;
  readonly version: number;
}

export interface ListConsumerGroupsRequest {
  readonly tenancyId: string;
  readonly queueId?: string | undefined;
  readonly lifecycleState?: string | undefined;
  readonly displayName?: string | undefined;
  readonly id?: string | undefined;
  readonly sortBy: 'timeCreated' | 'displayName';
  readonly ascending: boolean;
  readonly after: { readonly key: string; readonly queueNumber: number; readonly number: number } | null;
  readonly limit: number;
}

const GROUP = `g.queue_id as "queueNumber", g.id as number, g.ocid as id, q.ocid as "queueId",
  q.compartment_id as "compartmentId", q.display_name as "queueName",
  g.display_name as "displayName", g.lifecycle_state as "lifecycleState", g.lifecycle_details as "lifecycleDetails",
  g.filter, g.dead_letter_queue_delivery_count as "deadLetterQueueDeliveryCount", g.freeform_tags as "freeformTags",
  g.defined_tags as "definedTags", g.time_created as "timeCreated", g.time_updated as "timeUpdated", g.version`;
const FIND = {
  name: 'find_consumer_group',
  text: `select ${GROUP} from towpath.find_consumer_group($1, $2) g join towpath.queue q on q.id = g.queue_id`,
};
const LIST = {
  name: 'list_consumer_groups',
  text: `select ${GROUP}, g.time_created::text as "timeKey"
    from towpath.list_consumer_groups($1, $2, $3, $4, $5, $6, $7, $8::timestamptz, $9, $10, $11, $12)
      with ordinality g
    join towpath.queue q on q.id = g.queue_id
    order by g.ordinality`,
};
const CREATE = {
  name: 'create_consumer_group',
  text: `select ${WORK_REQUEST} from towpath.create_consumer_group(
    towpath.as_caller($5::jsonb, $1::text), $2, $3::jsonpath, $4) w`,
};
const UPDATE = {
  name: 'update_consumer_group',
  text: `select ${WORK_REQUEST} from towpath.update_consumer_group(
    towpath.as_caller($6::jsonb, $1::text), $2, $3, $4::jsonpath, $5) w`,
};
const DELETE = {
  name: 'delete_consumer_group',
  text: `select ${WORK_REQUEST} from towpath.delete_consumer_group(towpath.as_caller($4::jsonb, $1::text), $2, $3) w`,
};

/** The SQL functions of consumer groups, each called from here only. `filterPath` is a compiled filter; null: everything. */
@Injectable()
export class ConsumerGroupFunctions {
  constructor(private readonly database: Database) {}

  async find(tenancyId: string, id: string): Promise<ConsumerGroup> {
    return one(await this.database.run<ConsumerGroup>(FIND, [tenancyId, id]));
  }

  /** Each group with the key that a page after it starts from. */
  async list(request: ListConsumerGroupsRequest): Promise<(ConsumerGroup & { readonly cursorKey: string })[]> {
    const byName = request.sortBy === 'displayName';
    const rows = await this.database.run<ConsumerGroup & { timeKey: string }>(LIST, [
      request.tenancyId,
      request.queueId ?? null,
      request.lifecycleState ?? null,
      request.displayName ?? null,
      request.id ?? null,
      request.sortBy,
      request.ascending,
      byName ? null : (request.after?.key ?? null),
      byName ? (request.after?.key ?? null) : null,
      request.after?.queueNumber ?? null,
      request.after?.number ?? null,
      request.limit,
    ]);
    return rows.map((row) => ({ ...row, cursorKey: byName ? row.displayName : row.timeKey }));
  }

  async create(
    caller: CallerContext,
    details: object,
    filterPath: string | null,
    retryToken: string | null,
  ): Promise<WorkRequest> {
    return one(
      await this.database.run<WorkRequest>(CREATE, [
        caller.tenancyId,
        details,
        filterPath,
        retryToken,
        contextOf(caller),
      ]),
    );
  }

  async update(
    caller: CallerContext,
    id: string,
    changes: object,
    filterPath: string | null,
    ifMatch: string | null,
  ): Promise<WorkRequest> {
    return one(
      await this.database.run<WorkRequest>(UPDATE, [
        caller.tenancyId,
        id,
        changes,
        filterPath,
        ifMatch,
        contextOf(caller),
      ]),
    );
  }

  async delete(caller: CallerContext, id: string, ifMatch: string | null): Promise<WorkRequest> {
    return one(await this.database.run<WorkRequest>(DELETE, [caller.tenancyId, id, ifMatch, contextOf(caller)]));
  }
}
