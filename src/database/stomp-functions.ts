import { Injectable } from '@nestjs/common';
import { contextOf, type CallerContext } from './caller-context.js';
import { Database } from './database.js';

/** A session as a pod reports it; the names are those of the views. Ages are in milliseconds. */
export interface ReportedSession {
  readonly id: string;
  readonly user_id: string;
  readonly peer_address: string;
  readonly transport: string;
  readonly version: string;
  /** By the clock of the pod. */
  readonly connected_at: string;
  readonly heard_ms: number;
  readonly sent_ms: number | null;
  readonly unacknowledged: number;
  readonly open_transactions: number;
  readonly bytes_received: number;
  readonly bytes_sent: number;
  readonly subscriptions: readonly ReportedSubscription[];
}

export interface ReportedSubscription {
  readonly id: string;
  readonly destination: string;
  readonly queue_id: number;
  readonly consumer_group_id: number;
  readonly dead_letter: boolean;
  /** Null: any. */
  readonly channel_id: string | null;
  readonly ack: string;
  readonly prefetch: number;
  readonly unacknowledged: number;
  readonly delivered: number;
  /** Null: none is kept. */
  readonly lease: string | null;
  /** Null: the queue's. */
  readonly visibility_in_seconds: number | null;
}

export interface ReportedChunk {
  readonly no: number;
  readonly tenancyId: string;
  /** None: the chunk is no more. */
  readonly sessions: readonly ReportedSession[];
}

export interface ReportAnswer {
  /** The chunks of this pod that the database has now. */
  readonly chunkNos: readonly number[];
  /** Sessions of this pod that are to end, by their ids, with the reason where one was given. */
  readonly disconnects: Readonly<Record<string, string | null>>;
}

/** A session as the database has it; the names are the API's. */
export interface StompSession {
  readonly id: string;
  readonly podId: string;
  readonly userId: string;
  readonly userName: string;
  readonly peerAddress: string;
  readonly transport: string;
  readonly version: string;
  readonly timeConnected: Date;
  readonly timeLastHeard: Date;
  readonly timeLastSent: Date | null;
  readonly timeReported: Date;
  readonly subscriptionCount: number;
  readonly unacknowledgedMessages: number;
  readonly openTransactions: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
}

export interface StompSubscription {
  readonly id: string;
  readonly destination: string;
  /** Null: there is no such queue any more. */
  readonly queueId: string | null;
  readonly consumerGroupId: string | null;
  readonly isDeadLetterQueue: boolean;
  readonly channelId: string | null;
  readonly ack: string;
  readonly prefetchCount: number;
  readonly unacknowledgedMessages: number;
  readonly deliveredMessages: number;
  readonly keepsLease: boolean;
  readonly visibilityInSeconds: number | null;
}

export interface StompSessionConditions {
  readonly userId?: string | undefined;
  readonly queueId?: string | undefined;
  readonly podId?: string | undefined;
}

export interface StompSessionCursor {
  /** To the microsecond, as text. */
  readonly time: string;
  readonly id: string;
}

const SESSION = `s.session_id as id, s.pod_id as "podId", s.user_id as "userId", s.user_name as "userName",
  s.peer_address as "peerAddress", s.transport, s.version, s.connected_at as "timeConnected",
  s.last_heard_at as "timeLastHeard", s.last_sent_at as "timeLastSent", s.reported_at as "timeReported",
  s.subscriptions as "subscriptionCount", s.unacknowledged as "unacknowledgedMessages",
  s.open_transactions as "openTransactions", s.bytes_received as "bytesReceived", s.bytes_sent as "bytesSent"`;

const REPORT = {
  name: 'report_stomp_sessions',
  text: `select r.chunk_nos as "chunkNos", r.disconnects from towpath.report_stomp_sessions($1, $2, $3::jsonb) r`,
};
const LIST = {
  name: 'list_stomp_sessions',
  text: `select ${SESSION}, s.connected_at::text as "timeKey"
    from towpath.list_stomp_sessions($1, $2, $3, $4, $5::timestamptz, $6, $7) s`,
};
const FIND = { name: 'find_stomp_session', text: `select ${SESSION} from towpath.find_stomp_session($1, $2::uuid) s` };
const SUBSCRIPTIONS = {
  name: 'list_stomp_subscriptions',
  text: `select b.subscription_id as id, b.destination, b.queue_ocid as "queueId", b.consumer_group_ocid as "consumerGroupId",
      b.dead_letter as "isDeadLetterQueue", b.channel_id as "channelId", b.ack, b.prefetch as "prefetchCount",
      b.unacknowledged as "unacknowledgedMessages", b.delivered as "deliveredMessages",
      b.lease is not null as "keepsLease", b.visibility_in_seconds as "visibilityInSeconds"
    from towpath.list_stomp_subscriptions($1, $2::uuid) b`,
};
const DISCONNECT = {
  name: 'disconnect_stomp_session',
  text: 'select towpath.disconnect_stomp_session($2, $3, towpath.as_caller($4::jsonb, $1::text))',
};
const IS_OPEN = { name: 'stomp_session_is_open', text: 'select towpath.stomp_session_is_open($1::uuid) as "isOpen"' };

/** The SQL functions about STOMP sessions. Ids of sessions are UUIDs: whoever calls has looked. */
@Injectable()
export class StompFunctions {
  constructor(private readonly database: Database) {}

  /** Writes what changed. Null: the database does not count this pod at the moment, and nothing was written. */
  async report(podId: string, host: string, chunks: readonly ReportedChunk[]): Promise<ReportAnswer | null> {
    const [row] = await this.database.run<ReportAnswer>(REPORT, [podId, host, JSON.stringify(chunks)]);
    return row ?? null;
  }

  /** Newest first, older than the cursor; each with the cursor of a page after it. */
  async list(
    tenancyId: string,
    conditions: StompSessionConditions,
    before: StompSessionCursor | null,
    limit: number,
  ): Promise<(StompSession & { readonly cursor: StompSessionCursor })[]> {
    const rows = await this.database.run<StompSession & { timeKey: string }>(LIST, [
      tenancyId,
      conditions.userId ?? null,
      conditions.queueId ?? null,
      conditions.podId ?? null,
      before?.time ?? null,
      before?.id ?? null,
      limit,
    ]);
    return rows.map(({ timeKey, ...session }) => ({ ...session, cursor: { time: timeKey, id: session.id } }));
  }

  /** Throws TP404 where the tenancy has none with this id. */
  async find(tenancyId: string, id: string): Promise<StompSession> {
    const [row] = await this.database.run<StompSession>(FIND, [tenancyId, id]);
    if (row === undefined) throw new Error('a session was neither found nor missing');
    return row;
  }

  subscriptions(tenancyId: string, id: string): Promise<StompSubscription[]> {
    return this.database.run<StompSubscription>(SUBSCRIPTIONS, [tenancyId, id]);
  }

  /** Asks the pod that has it to end a session. Throws TP404 where the caller's tenancy has none with this id. */
  async disconnect(caller: CallerContext, id: string, reason: string | null): Promise<void> {
    await this.database.run(DISCONNECT, [caller.tenancyId, id, reason, contextOf(caller)]);
  }

  /** Whether some pod that lives has reported it and not its end. */
  async isOpen(id: string): Promise<boolean> {
    const [row] = await this.database.run<{ isOpen: boolean }>(IS_OPEN, [id]);
    return row?.isOpen ?? false;
  }
}
