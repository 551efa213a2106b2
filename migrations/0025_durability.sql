-- oldest program: 19
--
-- Queues whose puts and deletions are confirmed before they are on disk, where their owner chooses that.
--
-- What such a confirmation is worth: it survives the end of any backend and of any pod. Should the server itself crash, or its
-- machine, then what was confirmed in the last moments (three times wal_writer_delay at most, 0.6 seconds by default) may be undone:
-- messages put are gone, those deleted are there again. WAL is written in its order, so what is undone is the end of what
-- happened, and nothing contradicts itself.
--
-- Deliveries are always on disk before they are answered, on such queues too. The number of a delivery's receipt would be
-- given out a second time otherwise, so that two consumers would hold one message, each with a receipt that is good. So are updates: a
-- timeout that was prolonged, and then was not, would give the message to a second consumer while the first holds it. A commit
-- that is on disk has all before it on disk as well: so is a put whose message was delivered.

alter table towpath.queue
  add column durability text collate "C" not null default 'FULL',
  add constraint durability_is_full_or_relaxed check (durability in ('FULL', 'RELAXED'));

comment on column towpath.queue.durability is
'FULL: whatever is confirmed is on disk. RELAXED: puts and deletions of messages are confirmed earlier: see as_relaxed.';

create or replace function towpath.create_queue(tenancy_id text, details jsonb, retry_token text default null)
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
    channel_consumption_limit, dead_letter_queue_delivery_count, custom_encryption_key_id,
    deduplication_window_in_seconds, accept_unsealed, durability, capabilities, freeform_tags, defined_tags,
    time_created, time_updated
  )
  values (
    towpath.new_ocid('queue'), create_queue.tenancy_id, details ->> 'compartmentId', details ->> 'displayName',
    coalesce((details ->> 'retentionInSeconds')::integer, 86400),
    coalesce((details ->> 'visibilityInSeconds')::integer, 30),
    coalesce((details ->> 'timeoutInSeconds')::integer, 30),
    coalesce((details ->> 'channelConsumptionLimit')::integer, 100),
    coalesce((details ->> 'deadLetterQueueDeliveryCount')::integer, 5),
    nullif(details ->> 'customEncryptionKeyId', ''),
    coalesce((details ->> 'deduplicationWindowInSeconds')::integer, 300),
    coalesce((details ->> 'acceptUnsealed')::boolean, false),
    coalesce(details ->> 'durability', 'FULL'),
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

create or replace function towpath.update_queue(tenancy_id text, queue_ocid text, changes jsonb, if_match text default null)
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
    deduplication_window_in_seconds = coalesce(
      (changes ->> 'deduplicationWindowInSeconds')::integer, q.deduplication_window_in_seconds
    ),
    accept_unsealed = coalesce((changes ->> 'acceptUnsealed')::boolean, q.accept_unsealed),
    durability = coalesce(changes ->> 'durability', q.durability),
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

create or replace function towpath.queue_settings(queue towpath.queue)
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
    'durability', (queue).durability,
    'capabilities', (queue).capabilities,
    'freeformTags', (queue).freeform_tags,
    'definedTags', (queue).defined_tags
  );
$$;

-- The functions that put and delete say nothing of it themselves: put_messages in the transaction of somebody else,
-- redrives, resends and the deletion of dead letters call them too, and what those confirm is on disk, whatever the queue. So it
-- is the statement of a pod that asks, and the row of the queue that decides: what a pod knows of it may be a moment old.
create function towpath.as_relaxed(queue_ids bigint[], value anyelement)
returns anyelement
language plpgsql
volatile
set search_path = towpath, pg_temp
-- A lookup by the primary key, however many queues there are and whatever was known of them when it was planned.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  v_queue_id bigint;
begin
  foreach v_queue_id in array as_relaxed.queue_ids loop
    perform from towpath.queue q where q.id = v_queue_id and q.durability = 'RELAXED';
    if not found then
      return value;
    end if;
  end loop;
  perform set_config('synchronous_commit', 'off', true);
  return value;
end;
$$;

comment on function towpath.as_relaxed(bigint[], anyelement) is
'Lets the transaction be confirmed before it is on disk, if each of these queues has the durability RELAXED, and returns the value: delete_messages(as_relaxed(array[queue], queue), …). Name all queues that the statement changes messages of. For puts, deletions and deliveries that are given back; not for get_messages and update_messages.';
