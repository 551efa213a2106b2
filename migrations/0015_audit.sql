-- oldest program: 6
--
-- The audit log: who changed what, from where, when, what it was before and after, and what was refused.
--
-- A change is recorded by triggers on the control plane's tables, in the transaction that makes it: it is in the log if and
-- only if it happened. Rather that than a wrapper around each function, because
-- * what somebody changes at psql is recorded too, by a function or by a bare UPDATE, with the database role as the caller;
-- * the functions stay as they are, so that pods of an older release, and whatever replaces a function later, are recorded
--   as well.
-- The two functions that change dead letters touch no such table, and messages have no trigger of ours that could afford it:
-- these two record themselves.
--
-- A pod says who is calling with as_caller, as an argument of the function that it calls: arguments are evaluated before
-- the call, so that it takes one statement and one round trip, and what it sets ends with the transaction, so that no other
-- request on the same connection can inherit it.
--
-- Contents and properties of messages, keys, tokens and signatures have no way in: settings are listed by name below
-- (queue_settings, consumer_group_settings), so that a column that is added later is not in the log until somebody puts it
-- there, and of a refusal there is its code, not its message.

create table towpath.audit_event (
  id bigint generated always as identity,
  -- Null: nobody's, as of a request whose credentials were wrong. Only operators see these, by SQL.
  tenancy_id text collate "C",
  time_created timestamptz not null default clock_timestamp(),
  operation text not null,
  outcome text not null default 'SUCCEEDED',
  code text,
  compartment_id text collate "C",
  target_ids text[] collate "C" not null default '{}',
  user_id text collate "C",
  credential text,
  credential_id text,
  address text,
  request_id text,
  database_role text not null default session_user,
  before jsonb,
  after jsonb,
  parameters jsonb,
  constraint audit_event_pkey primary key (id),
  constraint outcome_is_known check (outcome in ('SUCCEEDED', 'REFUSED')),
  constraint only_refusals_have_a_code check ((outcome = 'REFUSED') = (code is not null))
);

comment on table towpath.audit_event is
'The audit log. Append-only: rows are never changed, and go only when they are older than the retention (forget_audit_events). Written by triggers with the change itself, and by pods after a refusal.';
comment on column towpath.audit_event.operation is 'The operation of the API, also where the change was made by SQL.';
comment on column towpath.audit_event.code is 'Of a refusal: the service code that it was answered with.';
comment on column towpath.audit_event.target_ids is 'OCIDs of what the operation was about, the most particular one first.';
comment on column towpath.audit_event.user_id is 'Null where the change was made by SQL, or where nobody knows who it was.';
comment on column towpath.audit_event.credential is
'How the caller proved who they are: signature, api-key, …; database-role for a change by SQL; null: there was none.';
comment on column towpath.audit_event.credential_id is 'The fingerprint of the signing key, or the OCID of the API key or token.';
comment on column towpath.audit_event.address is 'The address of the peer: of the pod''s client, or of the database''s where the change was made by SQL (local: a socket).';
comment on column towpath.audit_event.database_role is 'Who was logged in to the database: the pods'' role, or somebody at psql. No request can say otherwise.';
comment on column towpath.audit_event.before is 'Settings before the change; null where there were none.';
comment on column towpath.audit_event.after is 'Settings after the change; null where there are none.';
comment on column towpath.audit_event.parameters is 'What was asked for, where it is no setting: a purge''s range, ids of dead letters.';

-- Read newest first within a tenancy, and by what an event is about; removed oldest first.
create index audit_event_by_tenancy on towpath.audit_event (tenancy_id, time_created, id);
create index audit_event_by_target on towpath.audit_event using gin (target_ids);
create index audit_event_by_age on towpath.audit_event (time_created);

-- Nobody changes what is written ------------------------------------------------------------------------------------------

create function towpath.refuse_audit_change()
returns trigger
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  if tg_op = 'DELETE' and current_setting('towpath.forgets_audit_events', true) = 'on' then
    return null;
  end if;
  perform towpath.fail('TP409', format(
    'audit_event is append-only: %s is refused; forget_audit_events removes what is older than the retention', lower(tg_op)
  ));
  return null;
end;
$$;

comment on function towpath.refuse_audit_change() is
'Trigger: TP409 for update, truncate, and any delete but that of forget_audit_events. It keeps from mistakes and from roles that were granted a part; the owner of the table can drop it, and a superuser can switch it off.';

create trigger audit_event_is_append_only
before update or delete or truncate on towpath.audit_event
for each statement execute function towpath.refuse_audit_change();

create function towpath.audit_events_are_due(retention_days integer)
returns boolean
language sql
stable
set search_path = towpath, pg_temp
as $$
  select exists (
    select from towpath.audit_event e
    where e.time_created < clock_timestamp() - make_interval(days => audit_events_are_due.retention_days)
  );
$$;

comment on function towpath.audit_events_are_due(integer) is 'True while there are audit events older than so many days.';

create function towpath.forget_audit_events(retention_days integer, batch integer default 1000)
returns integer
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  v_old timestamptz;
  v_count integer;
begin
  if retention_days is null or retention_days < 1 then
    perform towpath.fail('TP400', 'retention_days: must be 1 at least: what happened today is not forgotten');
  end if;
  v_old := clock_timestamp() - make_interval(days => retention_days);
  -- For the trigger, and for this statement only. (An ordinary role may not write such a setting into the function's head.)
  perform set_config('towpath.forgets_audit_events', 'on', true);
  with old as (
    select e.id from towpath.audit_event e
    where e.time_created < v_old order by e.time_created limit batch for update skip locked
  )
  delete from towpath.audit_event e using old o where e.id = o.id;
  get diagnostics v_count = row_count;
  perform set_config('towpath.forgets_audit_events', '', true);
  return v_count;
end;
$$;

comment on function towpath.forget_audit_events(integer, integer) is
'Removes the oldest audit events that are older than so many days (1 at least), a batch at most, and returns how many. The only way to remove any. TP400.';

-- Who is calling ------------------------------------------------------------------------------------------------------------

create function towpath.as_caller(caller jsonb, value anyelement)
returns anyelement
language plpgsql
volatile
set search_path = towpath, pg_temp
as $$
begin
  perform set_config('towpath.caller', coalesce(as_caller.caller::text, ''), true);
  return value;
end;
$$;

comment on function towpath.as_caller(jsonb, anyelement) is
'Says who is calling, for the audit events of the rest of the transaction, and returns the value: create_queue(as_caller(…, tenancy), …). Fields: userId, credential, credentialId, address, requestId, operation.';

create function towpath.caller()
returns jsonb
language sql
stable
set search_path = towpath, pg_temp
as $$
  select nullif(current_setting('towpath.caller', true), '')::jsonb;
$$;

comment on function towpath.caller() is 'What as_caller has said in this transaction; null: nothing, so that it is somebody at psql.';

create function towpath.record_audit_event(
  operation text,
  tenancy_id text,
  compartment_id text,
  target_ids text[],
  before jsonb default null,
  after jsonb default null,
  parameters jsonb default null
)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_caller constant jsonb := towpath.caller();
begin
  insert into towpath.audit_event (
    tenancy_id, operation, compartment_id, target_ids, user_id, credential, credential_id, address, request_id, before, after,
    parameters
  )
  values (
    record_audit_event.tenancy_id, record_audit_event.operation, record_audit_event.compartment_id,
    array_remove(record_audit_event.target_ids, null),
    v_caller ->> 'userId',
    case when v_caller is null then 'database-role' else v_caller ->> 'credential' end,
    v_caller ->> 'credentialId',
    coalesce(v_caller ->> 'address', host(inet_client_addr()), 'local'),
    v_caller ->> 'requestId', record_audit_event.before, record_audit_event.after, record_audit_event.parameters
  );
end;
$$;

comment on function towpath.record_audit_event(text, text, text, text[], jsonb, jsonb, jsonb) is
'Writes down a change of the control plane, with who is calling (as_caller; without it the database role). Part of the transaction: rolled back with it. Never give it contents, properties or secrets.';

create function towpath.record_refused_requests(requests jsonb)
returns integer
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_count integer;
begin
  insert into towpath.audit_event (
    tenancy_id, operation, outcome, code, target_ids, user_id, credential, credential_id, address, request_id
  )
  select r.request ->> 'tenancyId', r.request ->> 'operation', 'REFUSED', r.request ->> 'code',
    array(select jsonb_array_elements_text(r.request -> 'targetIds')), r.request ->> 'userId', r.request ->> 'credential',
    r.request ->> 'credentialId', r.request ->> 'address', r.request ->> 'requestId'
  from jsonb_array_elements(requests) with ordinality r(request, n)
  order by r.n;
  get diagnostics v_count = row_count;
  return v_count;
end;
$$;

comment on function towpath.record_refused_requests(jsonb) is
'Writes down requests that a pod refused, an array in the order in which it did, and returns how many. tenancyId null: the caller is not known.';

-- What changes are recorded -----------------------------------------------------------------------------------------------

create function towpath.queue_settings(queue towpath.queue)
returns jsonb
language sql
immutable
set search_path = towpath, pg_temp
as $$
  select jsonb_build_object(
    'displayName', (queue).display_name,
    'compartmentId', (queue).compartment_id,
    'lifecycleState', (queue).lifecycle_state,
    'retentionInSeconds', (queue).retention_in_seconds,
    'visibilityInSeconds', (queue).visibility_in_seconds,
    'timeoutInSeconds', (queue).timeout_in_seconds,
    'channelConsumptionLimit', (queue).channel_consumption_limit,
    'deadLetterQueueDeliveryCount', (queue).dead_letter_queue_delivery_count,
    'customEncryptionKeyId', (queue).custom_encryption_key_id,
    'deduplicationWindowInSeconds', (queue).deduplication_window_in_seconds,
    'acceptUnsealed', (queue).accept_unsealed,
    'capabilities', (queue).capabilities,
    'freeformTags', (queue).freeform_tags,
    'definedTags', (queue).defined_tags
  );
$$;

comment on function towpath.queue_settings(towpath.queue) is
'The settings of a queue as the audit log has them, named as in the API. A setting that is added later is added here too.';

create function towpath.consumer_group_settings(consumer_group towpath.consumer_group)
returns jsonb
language sql
immutable
set search_path = towpath, pg_temp
as $$
  select jsonb_build_object(
    'displayName', (consumer_group).display_name,
    'lifecycleState', (consumer_group).lifecycle_state,
    'filter', (consumer_group).filter,
    'deadLetterQueueDeliveryCount', (consumer_group).dead_letter_queue_delivery_count,
    'freeformTags', (consumer_group).freeform_tags,
    'definedTags', (consumer_group).defined_tags
  );
$$;

comment on function towpath.consumer_group_settings(towpath.consumer_group) is
'The settings of a consumer group as the audit log has them, named as in the API.';

create function towpath.audit_queue()
returns trigger
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_queue towpath.queue;
  v_before jsonb;
  v_after jsonb;
  v_operation text;
begin
  if tg_op <> 'INSERT' then
    v_queue := old;
    v_before := towpath.queue_settings(v_queue);
  end if;
  if tg_op <> 'DELETE' then
    v_queue := new;
    v_after := towpath.queue_settings(v_queue);
  end if;
  v_operation := case
    when tg_op = 'INSERT' then 'createQueue'
    -- What has reached the state DELETED was recorded when its deletion began.
    when tg_op = 'DELETE' then case when v_before ->> 'lifecycleState' <> 'DELETED' then 'deleteQueue' end
    when v_before ->> 'compartmentId' <> v_after ->> 'compartmentId' then 'changeQueueCompartment'
    when v_before - 'lifecycleState' <> v_after - 'lifecycleState' then 'updateQueue'
    when v_before = v_after then
      -- An update that changes nothing is one too; what leaves the version alone is none. Only the caller knows which.
      case when new.version <> old.version then coalesce(towpath.caller() ->> 'operation', 'updateQueue') end
    when new.lifecycle_state = 'DELETING' then 'deleteQueue'
    -- A purge is recorded with its work request, which says of what. Its end, and that of a deletion, is nobody's doing.
    when new.lifecycle_state in ('UPDATING', 'DELETED') or old.lifecycle_state = 'UPDATING' then null
    else 'updateQueue'
  end;
  if v_operation is not null then
    perform towpath.record_audit_event(
      v_operation, v_queue.tenancy_id, v_queue.compartment_id, array[v_queue.ocid], v_before, v_after
    );
  end if;
  return null;
end;
$$;

comment on function towpath.audit_queue() is
'Trigger: records every change of a queue''s settings, but not what the service does by itself.';

create trigger queue_changes_are_recorded
after insert or update or delete on towpath.queue
for each row execute function towpath.audit_queue();

create function towpath.audit_consumer_group()
returns trigger
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_group towpath.consumer_group;
  v_queue towpath.queue;
  v_before jsonb;
  v_after jsonb;
  v_operation text;
begin
  if tg_op <> 'INSERT' then
    v_group := old;
    v_before := towpath.consumer_group_settings(v_group);
  end if;
  if tg_op <> 'DELETE' then
    v_group := new;
    v_after := towpath.consumer_group_settings(v_group);
  end if;
  select q.* into v_queue from towpath.queue q where q.id = v_group.queue_id;
  v_operation := case
    -- The primary group comes with its queue, or with the capability, which are recorded.
    when tg_op = 'INSERT' then case when v_group.id <> 0 then 'createConsumerGroup' end
    -- As of queues; and a group goes with its queue.
    when tg_op = 'DELETE' then
      case
        when v_before ->> 'lifecycleState' <> 'DELETED' and v_queue.lifecycle_state not in ('DELETING', 'DELETED')
          then 'deleteConsumerGroup'
      end
    when v_before - 'lifecycleState' <> v_after - 'lifecycleState' then 'updateConsumerGroup'
    when v_before = v_after then case when new.version <> old.version then 'updateConsumerGroup' end
    when new.lifecycle_state = 'DELETING' then 'deleteConsumerGroup'
    when new.lifecycle_state = 'DELETED' then null
    else 'updateConsumerGroup'
  end;
  if v_operation is not null then
    perform towpath.record_audit_event(
      v_operation, v_group.tenancy_id, v_queue.compartment_id, array[v_group.ocid, v_queue.ocid], v_before, v_after
    );
  end if;
  return null;
end;
$$;

comment on function towpath.audit_consumer_group() is
'Trigger: records every change of a consumer group''s settings, but not what the service does by itself.';

create trigger consumer_group_changes_are_recorded
after insert or update or delete on towpath.consumer_group
for each row execute function towpath.audit_consumer_group();

create function towpath.audit_work_request()
returns trigger
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_queue_ocid constant text := (select q.ocid from towpath.queue q where q.id = new.queue_id);
  v_selection constant jsonb := coalesce(new.parameters -> 'selection', '{}');
begin
  if tg_op = 'UPDATE' then
    perform towpath.record_audit_event(
      'cancelWorkRequest', new.tenancy_id, new.compartment_id, array[new.ocid, v_queue_ocid]
    );
  elsif new.operation_type = 'PURGE_QUEUE' then
    perform towpath.record_audit_event(
      'purgeQueue', new.tenancy_id, new.compartment_id, array[v_queue_ocid, new.ocid],
      parameters => jsonb_strip_nulls(jsonb_build_object(
        'purgeType', new.parameters -> 'purgeType',
        'channelIds', new.parameters -> 'channelIds',
        'consumerGroupId', new.parameters -> 'consumerGroupId'
      ))
    );
  elsif new.operation_type = 'REDRIVE_MESSAGES' then
    perform towpath.record_audit_event(
      'redriveDeadLetters', new.tenancy_id, new.compartment_id,
      array[
        v_queue_ocid,
        (select q.ocid from towpath.queue q where q.id = (new.parameters -> 'target' ->> 'queueId')::bigint),
        new.ocid
      ],
      -- The text of a filter has values of properties in it: only that there is one.
      parameters => jsonb_strip_nulls(jsonb_build_object(
        'messageIds', v_selection -> 'messageIds',
        'channelIds', v_selection -> 'channelIds',
        'createdBefore', v_selection -> 'createdBefore',
        'createdAfter', v_selection -> 'createdAfter',
        'diedBefore', v_selection -> 'diedBefore',
        'diedAfter', v_selection -> 'diedAfter',
        'hasFilter', v_selection ? 'filterPath',
        'targetChannelId', new.parameters -> 'target' -> 'channelId',
        'isDryRun', new.parameters -> 'redrive' -> 'isDryRun',
        'messagesPerSecond', new.parameters -> 'redrive' -> 'messagesPerSecond'
      ))
    );
  else
    -- Of a kind that is not known here: REENCRYPT_QUEUE is reencryptQueue. What its parameters may hold is not known either.
    perform towpath.record_audit_event(
      lower(left(new.operation_type, 1)) || substr(replace(initcap(replace(new.operation_type, '_', ' ')), ' ', ''), 2),
      new.tenancy_id, new.compartment_id, array[v_queue_ocid, new.ocid]
    );
  end if;
  return null;
end;
$$;

comment on function towpath.audit_work_request() is
'Trigger: records what begins with a work request rather than with a change of settings (purges, redrives), and its cancellation.';

create trigger work_requests_are_recorded
after insert on towpath.work_request
for each row
-- These have changed a queue or a consumer group: recorded there. Any other kind is recorded here, also one that comes later.
when (new.operation_type not in (
  'CREATE_QUEUE', 'UPDATE_QUEUE', 'MOVE_QUEUE', 'DELETE_QUEUE',
  'CREATE_CONSUMER_GROUP', 'UPDATE_CONSUMER_GROUP', 'DELETE_CONSUMER_GROUP'
))
execute function towpath.audit_work_request();

create trigger cancellations_are_recorded
after update on towpath.work_request
for each row
when (new.status = 'CANCELING' and old.status <> 'CANCELING')
execute function towpath.audit_work_request();

create function towpath.record_dead_letter_event(operation text, queue_id bigint, consumer_group_id bigint, parameters jsonb, target_queue_id bigint default null)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_queue towpath.queue;
begin
  select q.* into v_queue from towpath.queue q where q.id = record_dead_letter_event.queue_id;
  perform towpath.record_audit_event(
    record_dead_letter_event.operation, v_queue.tenancy_id, v_queue.compartment_id,
    array[
      v_queue.ocid,
      (select q.ocid from towpath.queue q where q.id = record_dead_letter_event.target_queue_id and q.id <> v_queue.id),
      (
        select g.ocid from towpath.consumer_group g
        where g.queue_id = v_queue.id and g.id = record_dead_letter_event.consumer_group_id
      )
    ],
    parameters => record_dead_letter_event.parameters
  );
end;
$$;

comment on function towpath.record_dead_letter_event(text, bigint, bigint, jsonb, bigint) is
'Writes down what was done to single dead letters: for delete_dead_letters and resend_dead_letter, and whatever takes their place. Ids and counts only, never contents or properties.';

-- As before, and recorded. -------------------------------------------------------------------------------------------------

create or replace function towpath.delete_dead_letters(queue_id bigint, consumer_group_id bigint, ids bigint[])
returns setof text
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  v_ids bigint[];
  v_receipt_numbers bigint[];
  v_visible timestamptz[];
  v_deletable bigint[];
  v_numbers bigint[];
  v_deleted bigint[];
  v_now timestamptz;
begin
  -- Locked in order, waiting for whoever has them. FOR UPDATE keeps it a lookup per id, no join.
  select array_agg(l.id), array_agg(l.receipt_number), array_agg(l.visible_after)
  into v_ids, v_receipt_numbers, v_visible
  from (select distinct u.id from unnest(ids) u(id) order by u.id) e
  cross join lateral (
    select m.id, m.receipt_number, m.visible_after
    from towpath.message m
    where m.queue_id = delete_dead_letters.queue_id
      and m.consumer_group_id = delete_dead_letters.consumer_group_id
      and m.id = e.id
      and m.dead_letter
    for update
  ) l;
  v_now := clock_timestamp();
  select coalesce(array_agg(l.id), '{}'), coalesce(array_agg(l.receipt_number), '{}') into v_deletable, v_numbers
  from unnest(v_ids, v_receipt_numbers, v_visible) l(id, receipt_number, visible_after)
  where l.visible_after <= v_now;
  select coalesce(array_agg(d.id) filter (where d.deleted), '{}') into v_deleted
  from rows from (
    unnest(v_deletable),
    towpath.delete_messages(delete_dead_letters.queue_id, delete_dead_letters.consumer_group_id, true, v_deletable, v_numbers)
  ) d(id, deleted);
  -- Neither what was not there nor a list without end.
  if cardinality(v_ids) > 0 then
    perform towpath.record_dead_letter_event(
      'deleteDeadLetters', delete_dead_letters.queue_id, delete_dead_letters.consumer_group_id,
      jsonb_build_object(
        'messageIds', to_jsonb(v_deleted[1:1000]), 'deleted', cardinality(v_deleted), 'asked', cardinality(ids)
      )
    );
  end if;
  return query
  select case
    when u.id = any (v_deleted) then 'deleted'
    when u.id = any (v_ids) and not u.id = any (v_deletable) then 'in flight'
    else 'not found'
  end
  from unnest(ids) with ordinality u(id, n)
  order by u.n;
end;
$$;

create or replace function towpath.resend_dead_letter(
  queue_id bigint,
  message_id bigint,
  consumer_group_id bigint default 0,
  content bytea default null,
  channel_id text default null,
  properties jsonb default null,
  target_queue_id bigint default null,
  max_message_bytes integer default null,
  max_channels integer default 256
)
returns table (id bigint, expire_after timestamptz)
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  v_queue towpath.queue;
  v_group_state text;
  v_old towpath.message;
  v_now timestamptz;
  v_properties jsonb;
  v_channel_id text;
  v_content bytea;
  v_size integer;
  v_group_ids bigint[];
begin
  select q.* into v_queue from towpath.queue q where q.id = resend_dead_letter.queue_id;
  if not found or v_queue.lifecycle_state in ('DELETING', 'DELETED') then
    perform towpath.fail('TP404', 'the queue does not exist or you may not use it');
  elsif v_queue.lifecycle_state not in ('ACTIVE', 'UPDATING') then
    perform towpath.fail('TP409', 'the queue is ' || v_queue.lifecycle_state || ': it takes no messages');
  end if;
  if v_queue.capabilities <> '[]' and towpath.has_consumer_groups(v_queue) then
    select g.lifecycle_state into v_group_state
    from towpath.consumer_group g
    where g.queue_id = v_queue.id and g.id = resend_dead_letter.consumer_group_id;
    if not found or v_group_state in ('DELETING', 'DELETED') then
      perform towpath.fail('TP404', 'the consumer group does not exist or you may not use it');
    end if;
  end if;
  select m.* into v_old
  from towpath.message m
  where m.queue_id = resend_dead_letter.queue_id
    and m.consumer_group_id = resend_dead_letter.consumer_group_id
    and m.id = resend_dead_letter.message_id
    and m.dead_letter
  for update;
  v_now := clock_timestamp();
  if v_old.id is null
    or v_old.expire_after <= v_now
    -- Purged ones are gone for everybody but who holds them.
    or exists (
      select from towpath.purge p
      where p.queue_id = resend_dead_letter.queue_id
        and p.consumer_group_id = resend_dead_letter.consumer_group_id
        and p.dead_letter
        and v_old.id <= p.watermark
        and v_old.dead_lettered_at < p.started_at
        and (p.channel_ids is null or v_old.channel_id = any (p.channel_ids))
    )
  then
    perform towpath.fail('TP404', 'messageId: the dead letter queue has no such message');
  elsif v_old.visible_after > v_now then
    perform towpath.fail('TP409', 'messageId: a consumer of the dead letter queue holds the message until '
      || to_char(v_old.visible_after at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') || ': resend it after that');
  end if;
  -- The copy names the one that it replaces.
  v_properties := coalesce(resend_dead_letter.properties, v_old.properties, '{}')
    || jsonb_build_object('towpath.resentFrom', v_queue.ocid || '/' || v_old.id);
  v_channel_id := coalesce(resend_dead_letter.channel_id, v_old.channel_id);
  v_content := coalesce(resend_dead_letter.content, v_old.body);
  v_size := octet_length(v_content)
    + (select sum(octet_length(p.key) + octet_length(p.value)) from jsonb_each_text(v_properties) p);
  if v_size > resend_dead_letter.max_message_bytes then
    perform towpath.fail('TP4LE', format(
      'the message has %s bytes of content and properties, the one that names the old message among them, and the queue takes %s',
      v_size, resend_dead_letter.max_message_bytes
    ));
  end if;
  if target_queue_id is null or target_queue_id = v_queue.id then
    -- For the group whose dead letter it was; the others have had theirs.
    perform towpath.check_channels(v_queue.id, array[v_channel_id], max_channels);
    id := nextval('towpath.message_id');
    v_now := clock_timestamp();
    expire_after := v_now + make_interval(secs => v_queue.retention_in_seconds);
    insert into towpath.message (
      queue_id, consumer_group_id, id, visible_after, expire_after, created_at, size_in_bytes, channel_id, properties, body
    )
    values (
      v_queue.id, v_old.consumer_group_id, resend_dead_letter.id, v_now, resend_dead_letter.expire_after, v_now, v_size,
      v_channel_id, v_properties, v_content
    );
    insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
    values (v_queue.id, v_old.consumer_group_id, false, v_channel_id, 1, v_size);
    v_group_ids := array[v_old.consumer_group_id];
  else
    select p.id, p.expire_after, p.consumer_group_ids into id, expire_after, v_group_ids
    from towpath.put_packed_messages(
      target_queue_id, v_content, array[octet_length(v_content)], array[v_channel_id], array[v_properties::text],
      array[0], array[v_size], max_channels
    ) p;
    if cardinality(v_group_ids) = 0 then
      perform towpath.fail('TP409', 'no consumer group of the target queue takes the message: it was not resent');
    end if;
  end if;
  perform towpath.delete_messages(
    v_queue.id, v_old.consumer_group_id, true, array[v_old.id], array[v_old.receipt_number]
  );
  perform towpath.notify_visible(
    coalesce(target_queue_id, v_queue.id), v_group_ids, array_fill(v_channel_id, array[cardinality(v_group_ids)])
  );
  perform towpath.record_dead_letter_event(
    'resendDeadLetter', v_queue.id, v_old.consumer_group_id,
    jsonb_build_object(
      'messageId', v_old.id, 'newMessageId', resend_dead_letter.id, 'channelId', v_channel_id,
      'changesContent', resend_dead_letter.content is not null, 'changesProperties', resend_dead_letter.properties is not null
    ),
    target_queue_id
  );
  return next;
end;
$$;

-- Reading -----------------------------------------------------------------------------------------------------------------

create function towpath.list_audit_events(
  tenancy_id text,
  time_after timestamptz default null,
  time_before timestamptz default null,
  operation text default null,
  user_id text default null,
  target_id text default null,
  outcome text default null,
  before_time timestamptz default null,
  before_id bigint default null,
  max_events integer default 100
)
returns setof towpath.audit_event
language plpgsql
stable
set search_path = towpath, pg_temp
-- Planned with the values: without a target it walks the tenancy's events, with one it may look up those of the target.
set plan_cache_mode = force_custom_plan
as $$
begin
  return query
  select e.*
  from towpath.audit_event e
  where e.tenancy_id = list_audit_events.tenancy_id
    and (list_audit_events.time_after is null or e.time_created >= list_audit_events.time_after)
    and (list_audit_events.time_before is null or e.time_created < list_audit_events.time_before)
    and (before_id is null or (e.time_created, e.id) < (before_time, before_id))
    and (list_audit_events.operation is null or e.operation = list_audit_events.operation)
    and (list_audit_events.user_id is null or e.user_id = list_audit_events.user_id)
    and (list_audit_events.target_id is null or e.target_ids @> array[list_audit_events.target_id])
    and (list_audit_events.outcome is null or e.outcome = list_audit_events.outcome)
  order by e.time_created desc, e.id desc
  limit max_events;
end;
$$;

comment on function towpath.list_audit_events(text, timestamptz, timestamptz, text, text, text, text, timestamptz, bigint, integer) is
'Returns audit events of a tenancy, newest first, filtered (null: not; time_after inclusive, time_before exclusive), older than the cursor (before_time with before_id), at most max_events.';

create view towpath.audit_log as
select e.time_created, coalesce(u.name, e.user_id, e.database_role) as who, e.credential, e.credential_id, e.address, e.operation,
  coalesce(e.code, 'done') as outcome, coalesce(q.display_name, e.after ->> 'displayName', e.before ->> 'displayName') as display_name,
  coalesce(
    (
      select jsonb_object_agg(k.key, jsonb_build_array(e.before -> k.key, e.after -> k.key))
      from jsonb_object_keys(e.after) k(key)
      where e.before -> k.key is distinct from e.after -> k.key
    ),
    e.parameters
  ) as changes,
  e.target_ids, e.request_id, e.database_role, t.name as tenancy, e.id
from towpath.audit_event e
left join towpath.tenancy t on t.id = e.tenancy_id
left join towpath.user_account u on u.id = e.user_id
left join towpath.queue q on q.ocid = e.target_ids[1];

comment on view towpath.audit_log is
'Who changed what, for people: names rather than OCIDs, and of settings only those that differ, as [before, after]; or what was asked for. Refusals have their code as the outcome. Order by time_created desc, and set a limit.';
