import { plantSession } from '../../support/planted-session.js';
import type { TestPods } from '../../support/pod.js';
import type { Client } from '../support.js';

/* What the attacks are about, and how it is made anew after one that was let in. */

export const STATEMENTS = ['allow group Administrators to use queue-push in compartment default'];

interface QueueFixture {
  readonly queueId: string;
  readonly receipt: string;
  /** A redrive that can be canceled, and that nobody carries out meanwhile. */
  readonly workRequestId: string;
  readonly deadLetterId: number;
  readonly consumerGroupId: string;
}

interface PolicyFixture {
  readonly policyId: string;
}

/** An empty compartment, a user who is not the caller with one credential of each kind, and a group that it is in. */
interface Identities {
  readonly compartmentId: string;
  readonly userId: string;
  readonly groupId: string;
  readonly fingerprint: string;
  readonly apiKeyId: string;
  readonly authTokenId: string;
}

export interface Fixture extends QueueFixture, PolicyFixture, Identities {
  /** Of a pod that does not hear. */
  readonly stompSessionId: string;
}

export async function makeFixture(pods: TestPods, client: Client): Promise<Fixture> {
  return {
    ...(await makeQueue(pods, client)),
    ...(await makePolicy(pods, client)),
    ...(await makeIdentities(pods)),
    stompSessionId: await plantSession(pods),
  };
}

/** A queue with visible messages, one in flight with its receipt, and nothing that changes by itself. */
export async function makeQueue(pods: TestPods, client: Client): Promise<QueueFixture> {
  const { tenancyId, compartmentId } = pods.credentials;
  // What was let in before would only make every digest slower, and what was written about it every export.
  await pods.test.sql(`
    select set_config('towpath.forgets_audit_events', 'on', true);
    delete from towpath.audit_event;
    with m as (delete from towpath.message), d as (delete from towpath.message_delta),
      t as (delete from towpath.message_total), l as (delete from towpath.work_request_log),
      w as (delete from towpath.work_request), r as (delete from towpath.retry_token),
      g as (delete from towpath.consumer_group)
    delete from towpath.queue`);
  const details = {
    displayName: 'test',
    compartmentId,
    deadLetterQueueDeliveryCount: 0,
    capabilities: [{ type: 'CONSUMER_GROUPS' }],
  };
  const [queue] = await pods.test.sql<{ ocid: string }>('select identifier as ocid from towpath.create_queue($1, $2)', [
    tenancyId,
    details,
  ]);
  const queueId = queue!.ocid;
  await client.put(queueId, 'in flight', 'visible', 'visible too', 'dead');
  const [message] = await client.get(queueId, 'limit=1&visibilityInSeconds=43200');
  const [rest] = await pods.test.sql<Omit<QueueFixture, 'queueId' | 'receipt'>>(
    `with dead as (
       update towpath.message set dead_letter = true, dead_lettered_at = visible_after
       where id = (select max(id) from towpath.message) returning id
     ),
     redrive as (
       insert into towpath.work_request (
         ocid, tenancy_id, compartment_id, operation_type, queue_id, identifier, run_after, parameters)
       select towpath.new_ocid('queueworkrequest'), q.tenancy_id, q.compartment_id, 'REDRIVE_MESSAGES', 0, q.ocid,
         now() + interval '1 day',
         '{"redrive": {"examined": 0, "matched": 0, "redriven": 0, "skipped": 0, "failed": 0, "isDryRun": false}}'
       from towpath.queue q where q.ocid = $2 returning ocid
     )
     select dead.id as "deadLetterId", redrive.ocid as "workRequestId", g.identifier as "consumerGroupId"
     from dead, redrive, towpath.create_consumer_group(
       $1, jsonb_build_object('displayName', 'group', 'queueId', $2::text)) g`,
    [tenancyId, queueId],
  );
  return { queueId, receipt: message!.receipt, ...rest! };
}

/** One policy, and none that an attack has left. */
export async function makePolicy(pods: TestPods, client: Client): Promise<PolicyFixture> {
  await pods.test.sql('delete from towpath.policy where not is_protected');
  const { compartmentId } = pods.credentials;
  const body = { compartmentId, name: 'fixture', statements: STATEMENTS };
  const { json } = await client.call({ method: 'POST', path: '/policies', body });
  return { policyId: String(json!['id']) };
}

/** By SQL, and nothing that an attack has left. */
export async function makeIdentities(pods: TestPods): Promise<Identities> {
  const { tenancyId, userId: caller, compartmentId } = pods.credentials;
  for (const statement of [
    `delete from towpath.user_account where tenancy_id = $1 and id <> $2`,
    `delete from towpath.user_group where tenancy_id = $1 and $2 <> '' and name <> 'Administrators'`,
    `delete from towpath.auth_token where tenancy_id = $1 and $2 <> ''`,
  ]) {
    await pods.test.sql(statement, [tenancyId, caller]);
  }
  await pods.test.sql(`delete from towpath.compartment where tenancy_id = $1 and parent_id is not null and id <> $2`, [
    tenancyId,
    compartmentId,
  ]);
  const [row] = await pods.test.sql<Identities>(
    `select c.id as "compartmentId", u.id as "userId", g.id as "groupId", s.fingerprint, k.id as "apiKeyId",
       t.id as "authTokenId", towpath.add_group_member($1, g.id, u.id)
     from towpath.create_compartment($1, $1, 'attacked') c, towpath.create_user($1, 'attacked') u,
       towpath.create_group($1, 'Attacked') g,
       towpath.create_signing_key($1, u.id, '00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff', '-----BEGIN PUBLIC KEY-----') s,
       towpath.create_api_key($1, u.id, 'towpath_', sha256('attacked')) k,
       towpath.create_auth_token($1, u.id, sha256('attacked')) t`,
    [tenancyId],
  );
  return row!;
}

/** Carries out what an attack has asked for, but not the redrive that waits to be canceled. */
export async function settle(pods: TestPods): Promise<void> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const [row] = await pods.test.sql<{ busy: boolean }>(
      `select exists (select from towpath.work_request where time_finished is null and run_after < now() + interval '1 hour' is not false) as busy`,
    );
    if (row?.busy === false) return;
    if (Date.now() > deadline) throw new Error('a work request does not end');
    // As the maintenance does it, which comes round twice a second.
    const [step] = await pods.test.sql<{ status: string | null }>(
      'select towpath.run_work_request_step(null, 1000) as status',
    );
    if ((step?.status ?? null) === null) await new Promise((resolveLater) => setTimeout(resolveLater, 10));
  }
}
