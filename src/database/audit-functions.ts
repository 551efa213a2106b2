import { Injectable } from '@nestjs/common';
import { Database } from './database.js';

/** An audit event as the database has it; the names are the API's. */
export interface AuditEvent {
  readonly id: number;
  readonly timeCreated: Date;
  readonly operation: string;
  readonly outcome: string;
  readonly code: string | null;
  readonly compartmentId: string | null;
  readonly targetIds: readonly string[];
  readonly userId: string | null;
  readonly credential: string | null;
  readonly credentialId: string | null;
  readonly address: string | null;
  readonly requestId: string | null;
  readonly databaseRole: string;
  readonly before: object | null;
  readonly after: object | null;
  readonly parameters: object | null;
}

export interface AuditCursor {
  /** To the microsecond, as text. */
  readonly time: string;
  readonly id: number;
}

export interface AuditConditions {
  readonly timeAfter?: string | undefined;
  readonly timeBefore?: string | undefined;
  readonly operation?: string | undefined;
  readonly userId?: string | undefined;
  readonly targetId?: string | undefined;
  readonly outcome?: string | undefined;
}

/** A request that was answered with an error of the caller's. Its message and its body are not told. */
export interface RefusedRequest {
  readonly operation: string;
  readonly code: string;
  /** What the path names. */
  readonly targetIds: readonly string[];
  readonly address: string;
  readonly requestId: string;
  /** These are absent where nobody knows who it was. */
  readonly tenancyId?: string;
  readonly userId?: string;
  readonly credential?: string;
  readonly credentialId?: string;
}

const LIST = {
  name: 'list_audit_events',
  text: `select e.id, e.time_created as "timeCreated", e.operation, e.outcome, e.code, e.compartment_id as "compartmentId",
      e.target_ids as "targetIds", e.user_id as "userId", e.credential, e.credential_id as "credentialId", e.address,
      e.request_id as "requestId", e.database_role as "databaseRole", e.before, e.after, e.parameters,
      e.time_created::text as "timeKey"
    from towpath.list_audit_events($1, $2::timestamptz, $3::timestamptz, $4, $5, $6, $7, $8::timestamptz, $9, $10) e`,
};
const RECORD_REFUSED = {
  name: 'record_refused_requests',
  text: 'select towpath.record_refused_requests($1::jsonb)',
};

/** The SQL functions that pods read and write the audit log with. Changes are written down by the database itself. */
@Injectable()
export class AuditFunctions {
  constructor(private readonly database: Database) {}

  /** Newest first, older than the cursor; each event with the cursor of a page after it. */
  async list(
    tenancyId: string,
    conditions: AuditConditions,
    before: AuditCursor | null,
    limit: number,
  ): Promise<(AuditEvent & { readonly cursor: AuditCursor })[]> {
    const rows = await this.database.run<AuditEvent & { timeKey: string }>(LIST, [
      tenancyId,
      conditions.timeAfter ?? null,
      conditions.timeBefore ?? null,
      conditions.operation ?? null,
      conditions.userId ?? null,
      conditions.targetId ?? null,
      conditions.outcome ?? null,
      before?.time ?? null,
      before?.id ?? null,
      limit,
    ]);
    return rows.map(({ timeKey, ...event }) => ({ ...event, cursor: { time: timeKey, id: event.id } }));
  }

  async recordRefused(requests: readonly RefusedRequest[]): Promise<void> {
    await this.database.run(RECORD_REFUSED, [JSON.stringify(requests)]);
  }
}
