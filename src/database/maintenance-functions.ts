import { Injectable } from '@nestjs/common';
import { Database, type Statement } from './database.js';

const call = (name: string, text: string): Statement => ({ name, text });
const TAKE_LEASE = call('take_lease', 'select towpath.take_lease($1, $2, $3) as taken');
const GIVE_LEASE_BACK = call('give_lease_back', 'select towpath.give_lease_back($1, $2)');
const DUE = call(
  'maintenance_due',
  `select 'timed-out' as kind, q as "queueId", 0 as "consumerGroupId" from towpath.queues_with_timed_out_deliveries() q
   union all select 'expired', e.queue_id, e.consumer_group_id from towpath.ranges_with_expired_messages() e where $2
   union all select 'deltas', d, 0 from towpath.queues_with_message_deltas() d
   union all select 'delays', 0, 0 from towpath.message_delays_are_due() d where d
   union all select 'deduplications', 0, 0 from towpath.deduplication_is_due() f where f
   union all select 'audit-events', 0, 0 from towpath.audit_events_are_due($1) a where a
   union all select 'work-requests', 0, 0 from towpath.work_request_is_waiting() w where w`,
);
const SWEEP_TIMED_OUT = call(
  'sweep_timed_out_deliveries',
  'select towpath.sweep_timed_out_deliveries($1, $2) as count',
);
const SWEEP_EXPIRED = call('sweep_expired_messages', 'select towpath.sweep_expired_messages($1, $2, $3) as count');
const FOLD = call('fold_message_deltas', 'select towpath.fold_message_deltas($1, $2) as count');
const FOLD_DELAYS = call('fold_message_delays', 'select towpath.fold_message_delays($1) as count');
const STEP = call('run_work_request_step', 'select towpath.run_work_request_step($1, $2) as status');
const FORGET_DEDUPLICATIONS = call('forget_deduplications', 'select towpath.forget_deduplications($1) as count');
const FORGET_AUDIT_EVENTS = call('forget_audit_events', 'select towpath.forget_audit_events($1, $2) as count');
const FORGET = call('forget_old_records', 'select towpath.forget_old_records() as count');

export interface DueMaintenance {
  readonly kind: 'timed-out' | 'expired' | 'deltas' | 'delays' | 'deduplications' | 'audit-events' | 'work-requests';
  readonly queueId: number;
  readonly consumerGroupId: number;
}

/** The SQL functions of the maintenance, each called from here only. Counts are rows that a batch touched. */
@Injectable()
export class MaintenanceFunctions {
  constructor(private readonly database: Database) {}

  async takeLease(name: string, holder: string, seconds: number): Promise<boolean> {
    const [row] = await this.database.run<{ taken: boolean }>(TAKE_LEASE, [name, holder, seconds]);
    return row?.taken ?? false;
  }

  async giveLeaseBack(name: string, holder: string): Promise<void> {
    await this.database.run(GIVE_LEASE_BACK, [name, holder]);
  }

  /** Everything that there is to do at the moment, found by one statement. Expired messages are looked for where `withExpired` says so. */
  async due(auditRetentionDays: number, withExpired: boolean): Promise<DueMaintenance[]> {
    return this.database.run<DueMaintenance & Record<string, unknown>>(DUE, [auditRetentionDays, withExpired]);
  }

  async sweepTimedOutDeliveries(queueId: number, batch: number): Promise<number> {
    return this.count(SWEEP_TIMED_OUT, [queueId, batch]);
  }

  async sweepExpiredMessages(queueId: number, consumerGroupId: number, batch: number): Promise<number> {
    return this.count(SWEEP_EXPIRED, [queueId, consumerGroupId, batch]);
  }

  async foldMessageDeltas(queueId: number, batch: number): Promise<number> {
    return this.count(FOLD, [queueId, batch]);
  }

  async foldMessageDelays(batch: number): Promise<number> {
    return this.count(FOLD_DELAYS, [batch]);
  }

  async forgetDeduplications(batch: number): Promise<number> {
    return this.count(FORGET_DEDUPLICATIONS, [batch]);
  }

  async forgetAuditEvents(retentionDays: number, batch: number): Promise<number> {
    return this.count(FORGET_AUDIT_EVENTS, [retentionDays, batch]);
  }

  async forgetOldRecords(): Promise<number> {
    return this.count(FORGET, []);
  }

  /**
   * One batch of a work request (null: of the oldest unfinished one). Null: there was nothing to do. POD: it is a redrive
   * whose batches a pod has to carry out.
   */
  async runWorkRequestStep(id: string | null, batch: number): Promise<string | null> {
    const [row] = await this.database.run<{ status: string | null }>(STEP, [id, batch]);
    return row?.status ?? null;
  }

  private async count(statement: Statement, values: readonly unknown[]): Promise<number> {
    const [row] = await this.database.run<{ count: number }>(statement, values);
    return row?.count ?? 0;
  }
}
