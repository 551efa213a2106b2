-- oldest program: 1
--
-- The control plane: queues, their settings and lifecycle, and the work requests through which every change of
-- them is reported. Names are those of the OCI Queue API in snake_case.

create table towpath.queue (
  id bigint generated always as identity,
  ocid text collate "C" not null,
  -- The tenancy never changes; the compartment may (change_queue_compartment).
  tenancy_id text collate "C" not null,
  compartment_id text collate "C" not null,
  display_name text collate "C" not null,
  lifecycle_state text not null default 'ACTIVE',
  lifecycle_details text,
  -- Settings. Retention is fixed at creation, so that a message's expiry never moves.
  retention_in_seconds integer not null default 86400,
  visibility_in_seconds integer not null default 30,
  timeout_in_seconds integer not null default 30,
  channel_consumption_limit integer not null default 100,
  -- 0 = no dead letter queue. The default of 5 is ours: a dead letter queue by default.
  dead_letter_queue_delivery_count integer not null default 5,
  custom_encryption_key_id text,
  -- An array of objects with a `type`, as CreateQueueDetails carries them.
  capabilities jsonb not null default '[]',
  freeform_tags jsonb not null default '{}',
  defined_tags jsonb not null default '{}',
  time_created timestamptz not null default clock_timestamp(),
  time_updated timestamptz not null default clock_timestamp(),
  -- Goes up by one with every change; the ETag is made of it.
  version bigint not null default 1,
  constraint queue_pkey primary key (id),
  constraint queue_ocid_is_unique unique (ocid),
  constraint version_is_positive check (version > 0),
  constraint display_name_has_1_to_255_characters check (length(display_name) between 1 and 255),
  constraint lifecycle_state_is_known check (
    lifecycle_state in ('CREATING', 'UPDATING', 'ACTIVE', 'DELETING', 'DELETED', 'FAILED', 'INACTIVE')
  ),
  constraint retention_in_seconds_is_10_to_604800 check (retention_in_seconds between 10 and 604800),
  constraint visibility_in_seconds_is_1_to_43200 check (visibility_in_seconds between 1 and 43200),
  constraint timeout_in_seconds_is_0_to_30 check (timeout_in_seconds between 0 and 30),
  constraint channel_consumption_limit_is_1_to_100 check (channel_consumption_limit between 1 and 100),
  constraint dead_letter_queue_delivery_count_is_0_to_20 check (dead_letter_queue_delivery_count between 0 and 20)
);

comment on table towpath.queue is 'One row per queue: its settings, its state, its version.';

-- The two orders of list_queues, within a tenancy. Their condition is always true: it only keeps them from statements
-- that do not repeat it, which look for one id, and which the planner would let walk all of these while they are small.
create index queue_by_time on towpath.queue (tenancy_id, time_created, id) where version > 0;
create index queue_by_name on towpath.queue (tenancy_id, display_name, id) where version > 0;
-- For forget_old_records.
create index queue_deleted on towpath.queue (time_updated) where lifecycle_state = 'DELETED';

create table towpath.work_request (
  id bigint generated always as identity,
  ocid text collate "C" not null,
  tenancy_id text collate "C" not null,
  compartment_id text collate "C" not null,
  operation_type text not null,
  status text not null default 'ACCEPTED',
  percent_complete real not null default 0,
  queue_id bigint not null,
  -- What the request is about: one resource, in the shape of the API's WorkRequestResource.
  entity_type text not null default 'QUEUE',
  action_type text not null default 'IN_PROGRESS',
  identifier text not null,
  -- What the operation needs to go on from where it is (purge: its kind, its channels; both: how far it came).
  parameters jsonb not null default '{}',
  time_accepted timestamptz not null default clock_timestamp(),
  time_started timestamptz,
  time_finished timestamptz,
  constraint work_request_pkey primary key (id),
  constraint work_request_ocid_is_unique unique (ocid),
  constraint status_is_known check (
    status in ('ACCEPTED', 'IN_PROGRESS', 'FAILED', 'SUCCEEDED', 'CANCELING', 'CANCELED')
  ),
  constraint finished_work_requests_say_when check (
    (time_finished is not null) = (status in ('FAILED', 'SUCCEEDED', 'CANCELED'))
  )
);

comment on table towpath.work_request is 'One row per change of a queue, kept for 7 days after it finished.';

-- list_work_requests, newest first.
create index work_request_by_tenancy on towpath.work_request (tenancy_id, id);
create index work_request_by_compartment on towpath.work_request (tenancy_id, compartment_id, id);
-- The few that still have something to do.
create index work_request_unfinished on towpath.work_request (id) where time_finished is null;
create index work_request_finished on towpath.work_request (time_finished) where time_finished is not null;
create index work_request_by_queue on towpath.work_request (queue_id, id);

create table towpath.work_request_error (
  work_request_id bigint not null,
  id bigint generated always as identity,
  code text not null,
  message text not null,
  "timestamp" timestamptz not null default clock_timestamp(),
  constraint work_request_error_pkey primary key (work_request_id, id)
);

comment on table towpath.work_request_error is 'Why a work request failed.';

create table towpath.work_request_log (
  work_request_id bigint not null,
  id bigint generated always as identity,
  message text not null,
  "timestamp" timestamptz not null default clock_timestamp(),
  constraint work_request_log_pkey primary key (work_request_id, id)
);

comment on table towpath.work_request_log is 'What a work request did, step by step.';

create table towpath.retry_token (
  tenancy_id text collate "C" not null,
  token text collate "C" not null,
  -- The operation with its whole request: the same token with another one is refused.
  request_digest text not null,
  work_request_id bigint not null,
  time_created timestamptz not null default clock_timestamp(),
  constraint retry_token_pkey primary key (tenancy_id, token)
);

comment on table towpath.retry_token is 'opc-retry-token of create requests, kept for 24 hours: a repeat answers with the first work request.';

create index retry_token_by_age on towpath.retry_token (time_created);

-- Errors -------------------------------------------------------------------------------------------------------------
-- Every error that a caller may cause has a SQLSTATE of our class TP; src/errors/catalogue.ts says what each means on
-- the wire. The message is written for the caller.

create function towpath.fail(code text, message text)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  -- A message that was put together from a null is null.
  raise exception using errcode = fail.code, message = coalesce(fail.message, 'a value is missing');
end;
$$;

comment on function towpath.fail(text, text) is
'Raises an error of our own class: TP400 invalid parameter, TP4LE limit exceeded, TP404 not found, TP409 incorrect state, TP4RT invalidated retry token, TP412 no ETag match.';

create function towpath.new_ocid(type text)
returns text
language sql
volatile
set search_path = towpath, pg_temp
as $$
  select 'ocid1.' || new_ocid.type || '.oc1.local.amaaaaaa'
    || replace(gen_random_uuid()::text, '-', '')
    || left(replace(gen_random_uuid()::text, '-', ''), 20);
$$;

comment on function towpath.new_ocid(text) is
'Returns a new identifier of the given type (queue, queueworkrequest, ...): unguessable, never used before.';

-- Reading ------------------------------------------------------------------------------------------------------------

create function towpath.find_queue(tenancy_id text, queue_ocid text)
returns towpath.queue
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
declare
  v_queue towpath.queue;
begin
  select q.* into v_queue
  from towpath.queue q
  where q.ocid = find_queue.queue_ocid
    and (find_queue.tenancy_id is null or q.tenancy_id = find_queue.tenancy_id);
  if not found then
    perform towpath.fail('TP404', 'queue ' || find_queue.queue_ocid || ' does not exist or you may not see it');
  end if;
  return v_queue;
end;
$$;

comment on function towpath.find_queue(text, text) is
'Returns the queue with this OCID in this tenancy (null: in any, for operators). TP404 where there is none. A deleted queue is found, in state DELETED, for an hour.';

create function towpath.queue_id(queue text)
returns bigint
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
declare
  v_ids bigint[];
begin
  select array_agg(q.id) into v_ids
  from towpath.queue q
  where (q.ocid = queue_id.queue or q.display_name = queue_id.queue)
    and q.lifecycle_state not in ('DELETING', 'DELETED');
  if v_ids is null then
    perform towpath.fail('TP404', 'no queue has the OCID or display name ' || queue_id.queue);
  elsif cardinality(v_ids) > 1 then
    perform towpath.fail('TP400', 'several queues are named ' || queue_id.queue || ': use the OCID');
  end if;
  return v_ids[1];
end;
$$;

comment on function towpath.queue_id(text) is
'For people at psql: the number of the queue with this OCID or display name, as the message functions take it.';

create function towpath.list_queues(
  tenancy_id text,
  compartment_id text default null,
  lifecycle_state text default null,
  display_name text default null,
  queue_ocid text default null,
  sort_by text default 'timeCreated',
  ascending boolean default false,
  after_time timestamptz default null,
  after_name text default null,
  after_id bigint default null,
  max_queues integer default 100
)
returns setof towpath.queue
language plpgsql
stable
set search_path = towpath, pg_temp
-- Planned with the values, so that a filter that is null, and a cursor that is, cost nothing.
set plan_cache_mode = force_custom_plan
as $$
begin
  -- Four statements rather than one with CASEs in its ORDER BY, so that each walks its index from the cursor on.
  -- Deleted queues are listed only where they are asked for.
  if list_queues.sort_by = 'displayName' and list_queues.ascending then
    return query
    select q.* from towpath.queue q
    where q.tenancy_id = list_queues.tenancy_id
      and q.version > 0
      and (list_queues.after_id is null or (q.display_name, q.id) > (list_queues.after_name, list_queues.after_id))
      and (list_queues.compartment_id is null or q.compartment_id = list_queues.compartment_id)
      and (q.lifecycle_state = list_queues.lifecycle_state
        or (list_queues.lifecycle_state is null and (q.lifecycle_state <> 'DELETED' or q.ocid = list_queues.queue_ocid)))
      and (list_queues.display_name is null or q.display_name = list_queues.display_name)
      and (list_queues.queue_ocid is null or q.ocid = list_queues.queue_ocid)
    order by q.display_name, q.id
    limit list_queues.max_queues;
  elsif list_queues.sort_by = 'displayName' then
    return query
    select q.* from towpath.queue q
    where q.tenancy_id = list_queues.tenancy_id
      and q.version > 0
      and (list_queues.after_id is null or (q.display_name, q.id) < (list_queues.after_name, list_queues.after_id))
      and (list_queues.compartment_id is null or q.compartment_id = list_queues.compartment_id)
      and (q.lifecycle_state = list_queues.lifecycle_state
        or (list_queues.lifecycle_state is null and (q.lifecycle_state <> 'DELETED' or q.ocid = list_queues.queue_ocid)))
      and (list_queues.display_name is null or q.display_name = list_queues.display_name)
      and (list_queues.queue_ocid is null or q.ocid = list_queues.queue_ocid)
    order by q.display_name desc, q.id desc
    limit list_queues.max_queues;
  elsif list_queues.ascending then
    return query
    select q.* from towpath.queue q
    where q.tenancy_id = list_queues.tenancy_id
      and q.version > 0
      and (list_queues.after_id is null or (q.time_created, q.id) > (list_queues.after_time, list_queues.after_id))
      and (list_queues.compartment_id is null or q.compartment_id = list_queues.compartment_id)
      and (q.lifecycle_state = list_queues.lifecycle_state
        or (list_queues.lifecycle_state is null and (q.lifecycle_state <> 'DELETED' or q.ocid = list_queues.queue_ocid)))
      and (list_queues.display_name is null or q.display_name = list_queues.display_name)
      and (list_queues.queue_ocid is null or q.ocid = list_queues.queue_ocid)
    order by q.time_created, q.id
    limit list_queues.max_queues;
  else
    return query
    select q.* from towpath.queue q
    where q.tenancy_id = list_queues.tenancy_id
      and q.version > 0
      and (list_queues.after_id is null or (q.time_created, q.id) < (list_queues.after_time, list_queues.after_id))
      and (list_queues.compartment_id is null or q.compartment_id = list_queues.compartment_id)
      and (q.lifecycle_state = list_queues.lifecycle_state
        or (list_queues.lifecycle_state is null and (q.lifecycle_state <> 'DELETED' or q.ocid = list_queues.queue_ocid)))
      and (list_queues.display_name is null or q.display_name = list_queues.display_name)
      and (list_queues.queue_ocid is null or q.ocid = list_queues.queue_ocid)
    order by q.time_created desc, q.id desc
    limit list_queues.max_queues;
  end if;
end;
$$;

comment on function towpath.list_queues(text, text, text, text, text, text, boolean, timestamptz, text, bigint, integer) is
'Returns the queues of a tenancy, filtered (null: not), sorted by timeCreated or displayName, from after the cursor (after_id with after_time or after_name) on, at most max_queues.';

-- Changing -----------------------------------------------------------------------------------------------------------

create function towpath.check_compartment(tenancy_id text, compartment_id text)
returns void
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
begin
  if not exists (
    select from towpath.compartment c
    where c.id = check_compartment.compartment_id
      and c.tenancy_id = check_compartment.tenancy_id
  ) then
    perform towpath.fail('TP404', 'compartment ' || check_compartment.compartment_id || ' does not exist or you may not use it');
  end if;
end;
$$;

comment on function towpath.check_compartment(text, text) is 'TP404 where the compartment is not one of the tenancy''s.';

create function towpath.check_capabilities(capabilities jsonb)
returns void
language plpgsql
immutable
set search_path = towpath, pg_temp
as $$
begin
  if exists (
    select from jsonb_array_elements(check_capabilities.capabilities) c
    where c ->> 'type' is null
      or c ->> 'type' not in ('LARGE_MESSAGES', 'CONSUMER_GROUPS')
  ) then
    perform towpath.fail('TP400', 'capabilities: the type must be LARGE_MESSAGES or CONSUMER_GROUPS');
  end if;
end;
$$;

comment on function towpath.check_capabilities(jsonb) is 'TP400 where an element of the array is not a capability that a queue can have.';

create function towpath.capability_types(capabilities jsonb)
returns jsonb
language sql
immutable
set search_path = towpath, pg_temp
as $$
  select coalesce(
    (
      select jsonb_agg(distinct jsonb_build_object('type', c -> 'type'))
      from jsonb_array_elements(nullif(capability_types.capabilities, 'null')) c
    ),
    '[]'
  );
$$;

comment on function towpath.capability_types(jsonb) is
'The capabilities (null: none) without what was said about them for the moment they are added.';

create function towpath.record_work_request(
  queue towpath.queue,
  operation_type text,
  action_type text,
  parameters jsonb default '{}',
  entity_type text default 'QUEUE',
  identifier text default null
)
returns towpath.work_request
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_done constant boolean := record_work_request.action_type <> 'IN_PROGRESS';
  v_request towpath.work_request;
begin
  insert into towpath.work_request (
    ocid, tenancy_id, compartment_id, operation_type, status, percent_complete, queue_id, entity_type, action_type,
    identifier, parameters, time_accepted, time_started, time_finished
  )
  values (
    towpath.new_ocid('queueworkrequest'), (queue).tenancy_id, (queue).compartment_id,
    record_work_request.operation_type,
    case when v_done then 'SUCCEEDED' else 'ACCEPTED' end,
    case when v_done then 100 else 0 end,
    (queue).id, record_work_request.entity_type, record_work_request.action_type,
    coalesce(record_work_request.identifier, (queue).ocid), record_work_request.parameters,
    v_now, case when v_done then v_now end, case when v_done then v_now end
  )
  returning * into v_request;
  insert into towpath.work_request_log (work_request_id, message)
  values (v_request.id, case when v_done then 'done at once' else 'accepted' end);
  return v_request;
end;
$$;

comment on function towpath.record_work_request(towpath.queue, text, text, jsonb, text, text) is
'Writes a work request about a queue, or about what entity_type and identifier name in it: finished already where action_type says what was done (CREATED, UPDATED), waiting to be run where it is IN_PROGRESS.';

create function towpath.repeated_request(tenancy_id text, retry_token text, request_digest text)
returns towpath.work_request
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_known towpath.retry_token;
  v_request towpath.work_request;
begin
  if repeated_request.retry_token is null then
    return null;
  end if;
  -- Two requests with the same token at once: the second waits here until the first has committed.
  perform pg_advisory_xact_lock(hashtextextended(repeated_request.tenancy_id || ' ' || repeated_request.retry_token, 0));
  select t.* into v_known
  from towpath.retry_token t
  where t.tenancy_id = repeated_request.tenancy_id
    and t.token = repeated_request.retry_token
    and t.time_created > clock_timestamp() - interval '24 hours';
  if found and v_known.request_digest <> repeated_request.request_digest then
    perform towpath.fail('TP4RT', 'opc-retry-token was used within 24 hours for another request: use a new one');
  end if;
  select w.* into v_request from towpath.work_request w where w.id = v_known.work_request_id;
  return v_request;
end;
$$;

comment on function towpath.repeated_request(text, text, text) is
'Returns the work request that this retry token (null: none) was answered with within 24 hours, or nulls. TP4RT where it was another request.';

create function towpath.remember_request(tenancy_id text, retry_token text, request_digest text, request towpath.work_request)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  if remember_request.retry_token is not null then
    insert into towpath.retry_token as t (tenancy_id, token, request_digest, work_request_id)
    values (remember_request.tenancy_id, remember_request.retry_token, remember_request.request_digest, (request).id)
    on conflict on constraint retry_token_pkey do update
    set request_digest = excluded.request_digest,
      work_request_id = excluded.work_request_id,
      time_created = excluded.time_created;
  end if;
end;
$$;

comment on function towpath.remember_request(text, text, text, towpath.work_request) is
'Keeps what a retry token (null: none) was answered with, for repeated_request.';

create function towpath.create_queue(tenancy_id text, details jsonb, retry_token text default null)
returns towpath.work_request
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_digest constant text := encode(sha256(convert_to('CREATE_QUEUE' || create_queue.details::text, 'UTF8')), 'hex');
  v_now constant timestamptz := clock_timestamp();
  v_request towpath.work_request := towpath.repeated_request(create_queue.tenancy_id, retry_token, v_digest);
  v_queue towpath.queue;
begin
  if v_request.id is not null then
    return v_request;
  end if;
  perform towpath.check_compartment(create_queue.tenancy_id, details ->> 'compartmentId');
  perform towpath.check_capabilities(coalesce(details -> 'capabilities', '[]'));
  insert into towpath.queue (
    ocid, tenancy_id, compartment_id, display_name, retention_in_seconds, visibility_in_seconds, timeout_in_seconds,
    channel_consumption_limit, dead_letter_queue_delivery_count, custom_encryption_key_id, capabilities, freeform_tags,
    defined_tags, time_created, time_updated
  )
  values (
    towpath.new_ocid('queue'), create_queue.tenancy_id, details ->> 'compartmentId', details ->> 'displayName',
    coalesce((details ->> 'retentionInSeconds')::integer, 86400),
    coalesce((details ->> 'visibilityInSeconds')::integer, 30),
    coalesce((details ->> 'timeoutInSeconds')::integer, 30),
    coalesce((details ->> 'channelConsumptionLimit')::integer, 100),
    coalesce((details ->> 'deadLetterQueueDeliveryCount')::integer, 5),
    nullif(details ->> 'customEncryptionKeyId', ''),
    towpath.capability_types(details -> 'capabilities'),
    coalesce(details -> 'freeformTags', '{}'),
    coalesce(details -> 'definedTags', '{}'),
    v_now, v_now
  )
  returning * into v_queue;
  perform towpath.add_primary_consumer_group(v_queue, details -> 'capabilities');
  v_request := towpath.record_work_request(v_queue, 'CREATE_QUEUE', 'CREATED');
  perform towpath.remember_request(create_queue.tenancy_id, retry_token, v_digest, v_request);
  return v_request;
end;
$$;

comment on function towpath.create_queue(text, jsonb, text) is
'Creates a queue from CreateQueueDetails (displayName and compartmentId required) and returns its finished work request, whose identifier is the queue''s OCID. The same retry token within 24 hours returns the first one. TP404 compartment, TP400 capability, TP4RT token used for another request.';

create function towpath.lock_queue(tenancy_id text, queue_ocid text, if_match text)
returns towpath.queue
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_queue towpath.queue;
begin
  select q.* into v_queue
  from towpath.queue q
  where q.ocid = lock_queue.queue_ocid
    and (lock_queue.tenancy_id is null or q.tenancy_id = lock_queue.tenancy_id)
  for update;
  if not found or v_queue.lifecycle_state = 'DELETED' then
    perform towpath.fail('TP404', 'queue ' || lock_queue.queue_ocid || ' does not exist or you may not change it');
  end if;
  if lock_queue.if_match is not null and lock_queue.if_match not in ('*', v_queue.version::text) then
    perform towpath.fail('TP412', 'the queue was changed since you read it: its ETag is now ' || v_queue.version);
  end if;
  if v_queue.lifecycle_state = 'DELETING' then
    perform towpath.fail('TP409', 'the queue is being deleted');
  end if;
  return v_queue;
end;
$$;

comment on function towpath.lock_queue(text, text, text) is
'Locks the queue''s row for a change and returns it. TP404 where there is none, TP412 where if_match (null: any) is not its version, TP409 where it is being deleted.';

create function towpath.update_queue(tenancy_id text, queue_ocid text, changes jsonb, if_match text default null)
returns towpath.work_request
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_queue towpath.queue := towpath.lock_queue(update_queue.tenancy_id, update_queue.queue_ocid, update_queue.if_match);
begin
  perform towpath.check_capabilities(coalesce(changes -> 'capabilities', '[]'));
  if changes -> 'capabilities' is not null
    and towpath.has_consumer_groups(v_queue)
    and not changes -> 'capabilities' @> '[{"type": "CONSUMER_GROUPS"}]' then
    perform towpath.fail('TP400', 'capabilities: CONSUMER_GROUPS cannot be taken away from a queue that has it');
  end if;
  perform towpath.add_primary_consumer_group(v_queue, changes -> 'capabilities');
  update towpath.queue q
  set display_name = coalesce(changes ->> 'displayName', q.display_name),
    visibility_in_seconds = coalesce((changes ->> 'visibilityInSeconds')::integer, q.visibility_in_seconds),
    timeout_in_seconds = coalesce((changes ->> 'timeoutInSeconds')::integer, q.timeout_in_seconds),
    channel_consumption_limit = coalesce((changes ->> 'channelConsumptionLimit')::integer, q.channel_consumption_limit),
    dead_letter_queue_delivery_count = coalesce(
      (changes ->> 'deadLetterQueueDeliveryCount')::integer, q.dead_letter_queue_delivery_count
    ),
    -- An empty string removes the custom key.
    custom_encryption_key_id = nullif(coalesce(changes ->> 'customEncryptionKeyId', q.custom_encryption_key_id), ''),
    capabilities = case
      when changes -> 'capabilities' is null then q.capabilities
      else towpath.capability_types(changes -> 'capabilities')
    end,
    freeform_tags = coalesce(changes -> 'freeformTags', q.freeform_tags),
    defined_tags = coalesce(changes -> 'definedTags', q.defined_tags),
    time_updated = clock_timestamp(),
    version = q.version + 1
  where q.id = v_queue.id
  returning q.* into v_queue;
  return towpath.record_work_request(v_queue, 'UPDATE_QUEUE', 'UPDATED');
end;
$$;

comment on function towpath.update_queue(text, text, jsonb, text) is
'Changes the settings that UpdateQueueDetails names (absent: unchanged); they hold from the next put or get on. Returns the finished work request. TP404, TP409, TP412, TP400 capability.';

create function towpath.change_queue_compartment(tenancy_id text, queue_ocid text, compartment_id text, if_match text default null)
returns towpath.work_request
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_queue towpath.queue := towpath.lock_queue(
    change_queue_compartment.tenancy_id, change_queue_compartment.queue_ocid, change_queue_compartment.if_match
  );
begin
  perform towpath.check_compartment(v_queue.tenancy_id, change_queue_compartment.compartment_id);
  update towpath.queue q
  set compartment_id = change_queue_compartment.compartment_id,
    time_updated = clock_timestamp(),
    version = q.version + 1
  where q.id = v_queue.id
  returning q.* into v_queue;
  return towpath.record_work_request(v_queue, 'MOVE_QUEUE', 'UPDATED');
end;
$$;

comment on function towpath.change_queue_compartment(text, text, text, text) is
'Moves a queue to another compartment of the same tenancy. Returns the finished work request. TP404, TP409, TP412.';

create function towpath.delete_queue(tenancy_id text, queue_ocid text, if_match text default null)
returns towpath.work_request
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_queue towpath.queue := towpath.lock_queue(delete_queue.tenancy_id, delete_queue.queue_ocid, delete_queue.if_match);
begin
  update towpath.queue q
  set lifecycle_state = 'DELETING',
    lifecycle_details = 'Deleting messages',
    time_updated = clock_timestamp(),
    version = q.version + 1
  where q.id = v_queue.id
  returning q.* into v_queue;
  return towpath.record_work_request(v_queue, 'DELETE_QUEUE', 'IN_PROGRESS');
end;
$$;

comment on function towpath.delete_queue(text, text, text) is
'Starts the deletion of a queue: nothing can be put or got from now on; run_work_request_step removes the messages in bounded batches. Returns the accepted work request. TP404, TP409, TP412.';

create function towpath.list_work_requests(
  tenancy_id text,
  compartment_id text default null,
  work_request_ocid text default null,
  before_id bigint default null,
  max_requests integer default 100
)
returns setof towpath.work_request
language plpgsql
stable
set search_path = towpath, pg_temp
set plan_cache_mode = force_custom_plan
as $$
begin
  return query
  select w.*
  from towpath.work_request w
  where w.tenancy_id = list_work_requests.tenancy_id
    and (list_work_requests.compartment_id is null or w.compartment_id = list_work_requests.compartment_id)
    and (list_work_requests.work_request_ocid is null or w.ocid = list_work_requests.work_request_ocid)
    and (list_work_requests.before_id is null or w.id < list_work_requests.before_id)
  order by w.id desc
  limit list_work_requests.max_requests;
end;
$$;

comment on function towpath.list_work_requests(text, text, text, bigint, integer) is
'Returns work requests of a tenancy, newest first, filtered (null: not), older than the cursor, at most max_requests.';

create function towpath.find_work_request(tenancy_id text, work_request_ocid text)
returns towpath.work_request
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
declare
  v_request towpath.work_request;
begin
  select w.* into v_request
  from towpath.work_request w
  where w.ocid = find_work_request.work_request_ocid
    and (find_work_request.tenancy_id is null or w.tenancy_id = find_work_request.tenancy_id);
  if not found then
    perform towpath.fail('TP404', 'work request ' || find_work_request.work_request_ocid || ' does not exist or you may not see it');
  end if;
  return v_request;
end;
$$;

comment on function towpath.find_work_request(text, text) is
'Returns a work request (tenancy null: in any, for operators). TP404 where there is none; they are kept for 7 days.';
