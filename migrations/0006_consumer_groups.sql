-- oldest program: 6
--
-- Consumer groups: independent ways out of one queue, each with its own deliveries, dead letter queue and filter.
-- A put writes one row per group that takes the message. The primary group (id 0) is there in every queue; it has a row
-- here, and with it an OCID and a state, only once the queue has the capability CONSUMER_GROUPS.

create sequence towpath.consumer_group_id as bigint;

create table towpath.consumer_group (
  queue_id bigint not null,
  -- 0: the primary group.
  id bigint not null default nextval('towpath.consumer_group_id'),
  ocid text collate "C" not null,
  tenancy_id text collate "C" not null,
  display_name text collate "C" not null,
  lifecycle_state text not null default 'ACTIVE',
  lifecycle_details text,
  -- As its owner wrote it; '' takes everything.
  filter text not null default '',
  -- What was made of it, for properties @@ filter_path; null takes everything.
  filter_path jsonpath,
  -- Null: the queue's.
  dead_letter_queue_delivery_count integer,
  freeform_tags jsonb not null default '{}',
  defined_tags jsonb not null default '{}',
  time_created timestamptz not null default clock_timestamp(),
  time_updated timestamptz not null default clock_timestamp(),
  version bigint not null default 1,
  constraint consumer_group_pkey primary key (queue_id, id),
  constraint consumer_group_ocid_is_unique unique (ocid),
  constraint consumer_group_name_has_1_to_255_characters check (length(display_name) between 1 and 255),
  constraint consumer_group_state_is_known check (lifecycle_state in ('ACTIVE', 'INACTIVE', 'DELETING', 'DELETED')),
  constraint consumer_group_dead_letter_queue_delivery_count_is_0_to_20 check (
    dead_letter_queue_delivery_count between 0 and 20
  ),
  constraint the_primary_group_has_no_filter check (id <> 0 or (filter = '' and filter_path is null))
);

comment on table towpath.consumer_group is 'One row per consumer group of a queue with the capability CONSUMER_GROUPS.';

-- Unique among those that are there, whatever the case of the letters.
create unique index consumer_group_name_is_unique on towpath.consumer_group (queue_id, lower(display_name))
where lifecycle_state not in ('DELETING', 'DELETED');
create index consumer_group_by_time on towpath.consumer_group (tenancy_id, time_created, queue_id, id);
create index consumer_group_by_name on towpath.consumer_group (tenancy_id, display_name, queue_id, id);

-- For forget_old_records.
create index consumer_group_deleted on towpath.consumer_group (time_updated) where lifecycle_state = 'DELETED';

create function towpath.has_consumer_groups(queue towpath.queue)
returns boolean
language sql
immutable
set search_path = towpath, pg_temp
as $$
  select (queue).capabilities @> '[{"type": "CONSUMER_GROUPS"}]';
$$;

comment on function towpath.has_consumer_groups(towpath.queue) is 'True where the queue has the capability CONSUMER_GROUPS.';

create function towpath.find_consumer_group(tenancy_id text, consumer_group_ocid text)
returns towpath.consumer_group
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
declare
  v_group towpath.consumer_group;
begin
  select g.* into v_group
  from towpath.consumer_group g
  where g.ocid = find_consumer_group.consumer_group_ocid
    and (find_consumer_group.tenancy_id is null or g.tenancy_id = find_consumer_group.tenancy_id);
  if not found then
    perform towpath.fail('TP404', 'consumer group ' || coalesce(consumer_group_ocid, '') || ' does not exist or you may not see it');
  end if;
  return v_group;
end;
$$;

comment on function towpath.find_consumer_group(text, text) is
'Returns the consumer group with this OCID in this tenancy (null: in any, for operators). TP404 where there is none.';

create function towpath.add_primary_consumer_group(queue towpath.queue, capabilities jsonb)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_capability jsonb;
begin
  select c into v_capability
  from jsonb_array_elements(nullif(add_primary_consumer_group.capabilities, 'null')) c
  where c ->> 'type' = 'CONSUMER_GROUPS'
  limit 1;
  if not found or exists (
    select from towpath.consumer_group g where g.queue_id = (queue).id and g.id = 0
  ) then
    return;
  end if;
  if coalesce(v_capability ->> 'primaryConsumerGroupFilter', '') <> '' then
    perform towpath.fail('TP400', 'primaryConsumerGroupFilter: the primary consumer group takes every message and has no filter');
  end if;
  insert into towpath.consumer_group (
    queue_id, id, ocid, tenancy_id, display_name, lifecycle_state, dead_letter_queue_delivery_count
  )
  values (
    (queue).id, 0, towpath.new_ocid('queueconsumergroup'), (queue).tenancy_id,
    coalesce(v_capability ->> 'primaryConsumerGroupDisplayName', 'Primary Consumer Group'),
    case when (v_capability ->> 'isPrimaryConsumerGroupEnabled')::boolean is false then 'INACTIVE' else 'ACTIVE' end,
    nullif((v_capability ->> 'primaryConsumerGroupDeadLetterQueueDeliveryCount')::integer, -1)
  );
end;
$$;

comment on function towpath.add_primary_consumer_group(towpath.queue, jsonb) is
'Gives a queue the row of its primary consumer group where these capabilities (null: none) have CONSUMER_GROUPS and it has none yet. TP400 for a filter.';

create function towpath.create_consumer_group(
  tenancy_id text,
  details jsonb,
  filter_path jsonpath default null,
  retry_token text default null
)
returns towpath.work_request
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_digest constant text := encode(
    sha256(convert_to('CREATE_CONSUMER_GROUP' || create_consumer_group.details::text, 'UTF8')), 'hex'
  );
  v_request towpath.work_request := towpath.repeated_request(create_consumer_group.tenancy_id, retry_token, v_digest);
  v_queue towpath.queue;
  v_group towpath.consumer_group;
begin
  if v_request.id is not null then
    return v_request;
  end if;
  v_queue := towpath.lock_queue(create_consumer_group.tenancy_id, details ->> 'queueId', null);
  if not towpath.has_consumer_groups(v_queue) then
    perform towpath.fail('TP409', 'the queue has no consumer groups: update it with the capability CONSUMER_GROUPS first');
  end if;
  if exists (
    select from towpath.consumer_group g
    where g.queue_id = v_queue.id
      and lower(g.display_name) = lower(details ->> 'displayName')
      and g.lifecycle_state not in ('DELETING', 'DELETED')
  ) then
    perform towpath.fail('TP400', 'displayName: another consumer group of the queue has this name, in whatever case');
  end if;
  insert into towpath.consumer_group (
    queue_id, ocid, tenancy_id, display_name, lifecycle_state, filter, filter_path, dead_letter_queue_delivery_count,
    freeform_tags, defined_tags
  )
  values (
    v_queue.id, towpath.new_ocid('queueconsumergroup'), v_queue.tenancy_id, details ->> 'displayName',
    case when (details ->> 'isEnabled')::boolean is false then 'INACTIVE' else 'ACTIVE' end,
    coalesce(details ->> 'filter', ''), create_consumer_group.filter_path,
    nullif((details ->> 'deadLetterQueueDeliveryCount')::integer, -1),
    coalesce(details -> 'freeformTags', '{}'), coalesce(details -> 'definedTags', '{}')
  )
  returning * into v_group;
  v_request := towpath.record_work_request(
    v_queue, 'CREATE_CONSUMER_GROUP', 'CREATED', '{}', 'CONSUMER_GROUP', v_group.ocid
  );
  perform towpath.remember_request(create_consumer_group.tenancy_id, retry_token, v_digest, v_request);
  return v_request;
end;
$$;

comment on function towpath.create_consumer_group(text, jsonb, jsonpath, text) is
'Creates a consumer group from CreateConsumerGroupDetails; filter_path is what the caller compiled its filter to. It gets what is put from now on. Returns the finished work request, whose identifier is the group''s OCID. TP404 queue, TP409 without the capability, TP400 name taken.';

create function towpath.lock_consumer_group(tenancy_id text, consumer_group_ocid text, if_match text)
returns towpath.consumer_group
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_group towpath.consumer_group := towpath.find_consumer_group(
    lock_consumer_group.tenancy_id, lock_consumer_group.consumer_group_ocid
  );
  v_queue towpath.queue;
begin
  -- The queue's row first, as everything that changes a queue does.
  select q.* into v_queue from towpath.queue q where q.id = v_group.queue_id for update;
  select g.* into v_group
  from towpath.consumer_group g
  where g.queue_id = v_group.queue_id and g.id = v_group.id
  for update;
  if not found or v_group.lifecycle_state = 'DELETED' or v_queue.lifecycle_state in ('DELETING', 'DELETED') then
    perform towpath.fail('TP404', 'the consumer group does not exist or you may not change it');
  end if;
  if lock_consumer_group.if_match is not null and lock_consumer_group.if_match not in ('*', v_group.version::text) then
    perform towpath.fail('TP412', 'the consumer group was changed since you read it: its ETag is now ' || v_group.version);
  end if;
  if v_group.lifecycle_state = 'DELETING' then
    perform towpath.fail('TP409', 'the consumer group is being deleted');
  end if;
  return v_group;
end;
$$;

comment on function towpath.lock_consumer_group(text, text, text) is
'Locks a consumer group for a change and returns it. TP404 where there is none, TP412 where if_match (null: any) is not its version, TP409 where it is being deleted.';

create function towpath.update_consumer_group(
  tenancy_id text,
  consumer_group_ocid text,
  changes jsonb,
  filter_path jsonpath default null,
  if_match text default null
)
returns towpath.work_request
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_group towpath.consumer_group := towpath.lock_consumer_group(
    update_consumer_group.tenancy_id, update_consumer_group.consumer_group_ocid, update_consumer_group.if_match
  );
  v_queue towpath.queue;
begin
  if v_group.id = 0 and coalesce(changes ->> 'filter', '') <> '' then
    perform towpath.fail('TP400', 'filter: the primary consumer group takes every message and has no filter');
  end if;
  if exists (
    select from towpath.consumer_group g
    where g.queue_id = v_group.queue_id
      and g.id <> v_group.id
      and lower(g.display_name) = lower(changes ->> 'displayName')
      and g.lifecycle_state not in ('DELETING', 'DELETED')
  ) then
    perform towpath.fail('TP400', 'displayName: another consumer group of the queue has this name, in whatever case');
  end if;
  update towpath.consumer_group g
  set display_name = coalesce(changes ->> 'displayName', g.display_name),
    lifecycle_state = case (changes ->> 'isEnabled')::boolean
      when true then 'ACTIVE'
      when false then 'INACTIVE'
      else g.lifecycle_state
    end,
    filter = coalesce(changes ->> 'filter', g.filter),
    filter_path = case when changes ? 'filter' then update_consumer_group.filter_path else g.filter_path end,
    -- -1 unsets it: the queue's value holds again.
    dead_letter_queue_delivery_count = nullif(
      coalesce((changes ->> 'deadLetterQueueDeliveryCount')::integer, g.dead_letter_queue_delivery_count), -1
    ),
    freeform_tags = coalesce(changes -> 'freeformTags', g.freeform_tags),
    defined_tags = coalesce(changes -> 'definedTags', g.defined_tags),
    time_updated = clock_timestamp(),
    version = g.version + 1
  where g.queue_id = v_group.queue_id and g.id = v_group.id
  returning g.* into v_group;
  select q.* into v_queue from towpath.queue q where q.id = v_group.queue_id;
  return towpath.record_work_request(
    v_queue, 'UPDATE_CONSUMER_GROUP', 'UPDATED', '{}', 'CONSUMER_GROUP', v_group.ocid
  );
end;
$$;

comment on function towpath.update_consumer_group(text, text, jsonb, jsonpath, text) is
'Changes what UpdateConsumerGroupDetails names (absent: unchanged); it holds from the next put or get on. Returns the finished work request. TP400, TP404, TP409, TP412.';

create function towpath.delete_consumer_group(tenancy_id text, consumer_group_ocid text, if_match text default null)
returns towpath.work_request
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_group towpath.consumer_group := towpath.lock_consumer_group(
    delete_consumer_group.tenancy_id, delete_consumer_group.consumer_group_ocid, delete_consumer_group.if_match
  );
  v_queue towpath.queue;
begin
  if v_group.id = 0 then
    perform towpath.fail('TP409', 'the primary consumer group cannot be deleted; it can be disabled');
  end if;
  update towpath.consumer_group g
  set lifecycle_state = 'DELETING',
    lifecycle_details = 'Deleting messages',
    time_updated = clock_timestamp(),
    version = g.version + 1
  where g.queue_id = v_group.queue_id and g.id = v_group.id;
  select q.* into v_queue from towpath.queue q where q.id = v_group.queue_id;
  return towpath.record_work_request(
    v_queue, 'DELETE_CONSUMER_GROUP', 'IN_PROGRESS', '{}', 'CONSUMER_GROUP', v_group.ocid
  );
end;
$$;

comment on function towpath.delete_consumer_group(text, text, text) is
'Starts the deletion of a consumer group: it takes and gives no messages from now on; run_work_request_step removes its messages in bounded batches. TP404, TP409 (the primary one), TP412.';

create function towpath.run_delete_consumer_group_step(request towpath.work_request, batch integer)
returns boolean
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
  v_group towpath.consumer_group := towpath.find_consumer_group((request).tenancy_id, (request).identifier);
  v_id bigint;
  v_gone integer := 0;
begin
  for v_id in
    select m.id
    from towpath.message m
    where m.queue_id = v_group.queue_id and m.consumer_group_id = v_group.id
    order by m.id
    limit batch
  loop
    delete from towpath.message m
    where m.queue_id = v_group.queue_id and m.consumer_group_id = v_group.id and m.id = v_id;
    v_gone := v_gone + 1;
  end loop;
  if v_gone = batch then
    insert into towpath.work_request_log (work_request_id, message)
    values ((request).id, format('deleted %s messages', v_gone));
    return false;
  end if;
  delete from towpath.message_delta d where d.queue_id = v_group.queue_id and d.consumer_group_id = v_group.id;
  delete from towpath.message_total t where t.queue_id = v_group.queue_id and t.consumer_group_id = v_group.id;
  update towpath.consumer_group g
  set lifecycle_state = 'DELETED',
    lifecycle_details = null,
    time_updated = clock_timestamp(),
    version = g.version + 1
  where g.queue_id = v_group.queue_id and g.id = v_group.id;
  perform towpath.finish_work_request(request, 'DELETED', 'deleted the consumer group');
  return true;
end;
$$;

comment on function towpath.run_delete_consumer_group_step(towpath.work_request, integer) is
'Deletes the next batch of messages of a consumer group that is being deleted; true when it was the last and the group is DELETED.';

create function towpath.list_consumer_groups(
  tenancy_id text,
  queue_ocid text default null,
  lifecycle_state text default null,
  display_name text default null,
  consumer_group_ocid text default null,
  sort_by text default 'timeCreated',
  ascending boolean default false,
  after_time timestamptz default null,
  after_name text default null,
  after_queue_id bigint default null,
  after_id bigint default null,
  max_groups integer default 100
)
returns setof towpath.consumer_group
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
declare
  v_queue_id bigint;
begin
  if list_consumer_groups.queue_ocid is not null then
    v_queue_id := (towpath.find_queue(list_consumer_groups.tenancy_id, list_consumer_groups.queue_ocid)).id;
  end if;
  -- A tenancy has few of them: the filtered ones are sorted, and the page cut out.
  return query
  with matching as (
    select g.*
    from towpath.consumer_group g
    where g.tenancy_id = list_consumer_groups.tenancy_id
      and (v_queue_id is null or g.queue_id = v_queue_id)
      and (g.lifecycle_state = list_consumer_groups.lifecycle_state
        or (list_consumer_groups.lifecycle_state is null
          and (g.lifecycle_state <> 'DELETED' or g.ocid = list_consumer_groups.consumer_group_ocid)))
      and (list_consumer_groups.display_name is null or g.display_name = list_consumer_groups.display_name)
      and (list_consumer_groups.consumer_group_ocid is null or g.ocid = list_consumer_groups.consumer_group_ocid)
  )
  select g.*
  from matching g
  where after_id is null
    or case
      when list_consumer_groups.sort_by = 'displayName' and ascending
        then (g.display_name, g.queue_id, g.id) > (after_name, after_queue_id, after_id)
      when list_consumer_groups.sort_by = 'displayName'
        then (g.display_name, g.queue_id, g.id) < (after_name, after_queue_id, after_id)
      when ascending then (g.time_created, g.queue_id, g.id) > (after_time, after_queue_id, after_id)
      else (g.time_created, g.queue_id, g.id) < (after_time, after_queue_id, after_id)
    end
  order by
    case when list_consumer_groups.sort_by = 'displayName' and ascending then g.display_name end,
    case when list_consumer_groups.sort_by = 'displayName' and not ascending then g.display_name end desc,
    case when list_consumer_groups.sort_by <> 'displayName' and ascending then g.time_created end,
    case when list_consumer_groups.sort_by <> 'displayName' and not ascending then g.time_created end desc,
    case when ascending then g.queue_id end,
    case when ascending then g.id end,
    g.queue_id desc,
    g.id desc
  limit max_groups;
end;
$$;

comment on function towpath.list_consumer_groups(text, text, text, text, text, text, boolean, timestamptz, text, bigint, bigint, integer) is
'Returns consumer groups of a tenancy, filtered (null: not), sorted by timeCreated or displayName, after the cursor, at most max_groups. TP404 queue.';
