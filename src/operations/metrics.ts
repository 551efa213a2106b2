import { Inject, Injectable } from '@nestjs/common';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { RefusalRecorder } from '../audit/refusal-recorder.js';
import { Database } from '../database/database.js';
import { Notifications } from '../database/notifications.js';
import { DataKeys } from '../encryption/data-keys.js';
import { SealedMessages } from '../encryption/sealed-messages.js';
import { LivePods } from '../limits/live-pods.js';
import { RateLimits } from '../limits/rate-limits.js';
import { Refusals } from '../limits/refusals.js';
import { StorageLimit } from '../limits/storage-limit.js';
import { Floors } from '../messages/floors/floors.js';
import { MergeCounts } from '../messages/merging/merge-counts.js';
import { PutsService } from '../messages/puts.service.js';
import { MemoryBudget } from '../memory/memory-budget.js';
import { WaitingRooms } from '../messages/waiting/waiting-rooms.js';
import { Connections } from '../rest/connections.js';
import { StompFigures } from '../stomp/stomp-figures.js';
import { SERVER_CERTIFICATE, type ServerCertificate } from '../tls/server-certificate.js';

/** Long polls last up to 30 s, so the buckets reach that far. */
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

const REQUESTS = [1, 2, 5, 10, 20, 50, 100, 200, 500];

/** The figures of this pod, for Prometheus. Each pod has its own registry, so that several fit into one process. */
@Injectable()
export class Metrics {
  private readonly registry = new Registry();
  private readonly requests = new Histogram({
    name: 'towpath_http_request_duration_seconds',
    help: 'How long requests took, long polls with their wait, by operation and status.',
    labelNames: ['operation', 'status'],
    buckets: SECONDS,
    registers: [this.registry],
  });

  constructor(
    database: Database,
    notifications: Notifications,
    rooms: WaitingRooms,
    pods: LivePods,
    refusals: Refusals,
    rates: RateLimits,
    storage: StorageLimit,
    puts: PutsService,
    merges: MergeCounts,
    floors: Floors,
    memory: MemoryBudget,
    recorder: RefusalRecorder,
    connections: Connections,
    stomp: StompFigures,
    @Inject(SERVER_CERTIFICATE) certificate: ServerCertificate | null,
    sealed: SealedMessages,
    keys: DataKeys,
  ) {
    collectDefaultMetrics({ register: this.registry });
    this.gauge('towpath_database_connections', 'Connections of the pool.', () => database.connections.total);
    this.gauge(
      'towpath_database_connections_idle',
      'Connections of the pool that nothing uses.',
      () => database.connections.idle,
    );
    this.gauge(
      'towpath_database_requests_waiting',
      'Statements that wait for a connection.',
      () => database.connections.waiting,
    );
    this.gauge('towpath_listening', '1 while notifications of the database arrive.', () =>
      notifications.isListening ? 1 : 0,
    );
    this.gauge('towpath_waiting_ranges', 'Ranges of messages that somebody waits for.', () => rooms.size.rooms);
    this.gauge('towpath_waiters', 'Long polls that wait.', () => rooms.size.waiters);
    this.gauge(
      'towpath_live_pods',
      'Pods that live, as this one knows; rate limits are divided by it.',
      () => pods.count,
    );
    this.gauge(
      'towpath_limits_remembered',
      'Queues, channels and tenancies whose rates or storage this pod remembers for the limits.',
      () => rates.size + storage.size,
    );
    const refused: Counter = new Counter({
      name: 'towpath_refused_requests_total',
      help: 'Requests that a limit of a queue, of the share of it that a channel may use, of a tenancy or of a user has refused.',
      labelNames: ['limit', 'scope'],
      registers: [this.registry],
      collect: () => {
        refused.reset();
        for (const { limit, scope, count } of refusals.all()) refused.inc({ limit, scope }, count);
      },
    });
    const merged = new Histogram({
      name: 'towpath_merged_requests',
      help: 'How many requests went to the database as one statement, by kind (put, get, update, delete).',
      labelNames: ['kind'],
      buckets: REQUESTS,
      registers: [this.registry],
    });
    merges.onStatement = (kind, requests): void => merged.observe({ kind }, requests);
    this.gauge(
      'towpath_merge_waiting',
      'Requests that wait until statements of their kind and queue are through.',
      () => merges.waiting,
    );
    this.counter(
      'towpath_merge_refused_total',
      'Requests that were answered 503 because too many of their kind and queue waited.',
      () => merges.refused,
    );
    this.counter(
      'towpath_merge_separated_total',
      'Requests that were tried by themselves, because one that was merged with them was refused.',
      () => merges.separated,
    );
    this.counter(
      'towpath_floor_missed_total',
      'Looks from the beginning that found messages which claims had missed, because they were committed late.',
      () => floors.missed,
    );
    this.counter(
      'towpath_repeated_messages_total',
      'Messages that were put again and not stored, by their deduplicationId or the opc-retry-token.',
      () => puts.repeatedMessages,
    );
    this.counter(
      'towpath_audit_events_dropped_total',
      'Refused requests that are not in the audit log, because there were too many of them or the database was away.',
      () => recorder.dropped,
    );
    this.counter(
      'towpath_unreadable_messages_total',
      'Messages that were read and could not be opened: altered in the database, or not sealed where that is required.',
      () => sealed.unreadableMessages,
    );
    this.counter(
      'towpath_unsealed_messages_total',
      'Messages that were read and that no pod had sealed.',
      () => sealed.unsealedMessages,
    );
    this.gauge('towpath_data_keys_remembered', 'Data keys that this pod has unwrapped.', () => keys.size);
    this.gauge(
      'towpath_memory_held_bytes',
      'What request bodies and answers under way hold, as it is reckoned.',
      () => memory.held,
    );
    this.gauge('towpath_memory_budget_bytes', 'What they may hold.', () => memory.bytes);
    this.gauge('towpath_memory_requests_waiting', 'Requests that wait for room in it.', () => memory.waiting);
    this.counter(
      'towpath_memory_refused_total',
      'Requests that were answered 503 because there was no room for too long.',
      () => memory.refused,
    );
    this.counter(
      'towpath_memory_cut_off_total',
      'Bodies and answers that were cut off because they took too long.',
      () => memory.cutOff,
    );
    this.gauge('towpath_connections', 'Connections of clients that are open.', () => connections.open);
    this.counter(
      'towpath_connections_refused_total',
      'Connections that were refused because as many were open as TOWPATH_MAX_CONNECTIONS allows.',
      () => connections.refused,
    );
    this.watchStomp(stomp);
    if (certificate !== null) this.watchCertificate(certificate);
  }

  private watchStomp(stomp: StompFigures): void {
    this.gauge('towpath_stomp_connections', 'STOMP connections that are open.', () => stomp.connections);
    this.gauge('towpath_stomp_subscriptions', 'Subscriptions of them.', () => stomp.subscriptions);
    this.gauge(
      'towpath_stomp_unacknowledged_messages',
      'Messages that subscriptions hold, whose visibility timeout has not passed.',
      () => stomp.unacknowledged,
    );
    this.counter(
      'towpath_stomp_received_bytes_total',
      'Bytes of frames and heart-beats of clients, without what TLS and WebSocket add.',
      () => stomp.receivedBytes,
    );
    this.counter('towpath_stomp_sent_bytes_total', 'The same to clients.', () => stomp.sentBytes);
    this.counter(
      'towpath_stomp_connections_unproxied_total',
      'Connections that were cut because they did not begin with the PROXY header that TOWPATH_STOMP_PROXY_PROTOCOL demands.',
      () => stomp.unproxied,
    );
    this.counter(
      'towpath_stomp_connections_refused_total',
      'STOMP connections that were refused because there were too many, of all or of a user.',
      () => stomp.refused,
    );
    this.counter(
      'towpath_stomp_connections_lost_total',
      'STOMP connections that were closed because no heart-beat came.',
      () => stomp.lost,
    );
    this.counter(
      'towpath_stomp_subscription_waits_total',
      'Gets of STOMP subscriptions that failed because of the state of their queue and are tried again.',
      () => stomp.waits,
    );
    this.counter(
      'towpath_stomp_puts_total',
      'Statements that stored SENDs: fewer than SEND frames, since those that follow each other are merged.',
      () => stomp.puts,
    );
    this.counts('towpath_stomp_frames_received_total', 'Frames of clients.', 'command', stomp.received);
    this.counts('towpath_stomp_frames_sent_total', 'Frames to clients.', 'command', stomp.sent);
    this.counts('towpath_stomp_errors_total', 'ERROR frames, each the end of a connection.', 'code', stomp.errors);
  }

  private watchCertificate(certificate: ServerCertificate): void {
    this.gauge(
      'towpath_tls_certificate_expires_timestamp_seconds',
      'When the first certificate of the chain in use expires, in seconds since 1970.',
      () => certificate.expiresAt.getTime() / 1000,
    );
    this.gauge(
      'towpath_tls_certificate_stale',
      '1 while the certificate files have changed and cannot be used, so that the certificate from before is.',
      () => (certificate.problem === null ? 0 : 1),
    );
    this.counter(
      'towpath_tls_certificate_reloads_total',
      'How often a new certificate was taken.',
      () => certificate.reloads,
    );
    this.counter(
      'towpath_tls_certificate_reload_failures_total',
      'How often new certificate files could not be used.',
      () => certificate.failures,
    );
    this.counter(
      'towpath_tls_handshakes_failed_total',
      'Handshakes that failed: no TLS, an old version of it, no certificate that was demanded.',
      () => certificate.failedHandshakes,
    );
  }

  /** `operation` is a route, never a path: paths hold ids without end. */
  observeRequest(operation: string, status: number, milliseconds: number): void {
    this.requests.observe({ operation, status: String(status) }, milliseconds / 1000);
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  /** In Prometheus' text format. */
  text(): Promise<string> {
    return this.registry.metrics();
  }

  /** `read` has the whole counts, which only grow. */
  private counts(name: string, help: string, label: string, read: ReadonlyMap<string, number>): void {
    const counter: Counter = new Counter({
      name,
      help,
      labelNames: [label],
      registers: [this.registry],
      collect: () => {
        counter.reset();
        for (const [value, count] of read) counter.inc({ [label]: value }, count);
      },
    });
  }

  /** `read` tells the whole count, which only grows. */
  private counter(name: string, help: string, read: () => number): void {
    const counter: Counter = new Counter({
      name,
      help,
      registers: [this.registry],
      collect: () => {
        counter.reset();
        counter.inc(read());
      },
    });
  }

  private gauge(name: string, help: string, read: () => number): void {
    const gauge: Gauge = new Gauge({
      name,
      help,
      registers: [this.registry],
      collect: () => gauge.set(read()),
    });
  }
}
