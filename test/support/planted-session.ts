import { randomUUID } from 'node:crypto';
import type { TestPods } from './pod.js';

/** A STOMP session in the database, of a pod that lives for an hour and hears nothing; returns its id. */
export async function plantSession({ test, credentials }: TestPods): Promise<string> {
  const [pod, id] = [randomUUID(), randomUUID()];
  const subscription = {
    id: 'planted',
    destination: '/queue/planted',
    queue_id: 0,
    consumer_group_id: 0,
    dead_letter: false,
    channel_id: null,
    ack: 'client',
    prefetch: 20,
    unacknowledged: 0,
    delivered: 0,
    lease: null,
    visibility_in_seconds: null,
  };
  const session = {
    id,
    user_id: credentials.userId,
    peer_address: '192.0.2.7',
    transport: 'tcp',
    version: '1.2',
    connected_at: '2026-11-22T10:26:16.123Z',
    heard_ms: 0,
    sent_ms: 0,
    unacknowledged: 0,
    open_transactions: 0,
    bytes_received: 0,
    bytes_sent: 0,
    subscriptions: [subscription],
  };
  await test.sql(`insert into towpath.pod (id, started_at, seen_at) values ($1, now(), now() + interval '1 hour')`, [
    pod,
  ]);
  const chunks = [{ no: 1, tenancyId: credentials.tenancyId, sessions: [session] }];
  await test.sql('select towpath.report_stomp_sessions($1, $2, $3)', [pod, 'nowhere', JSON.stringify(chunks)]);
  return id;
}
