-- oldest program: 6
--
-- Two settings of a queue that are ours, beyond OCI's: for how long it remembers deduplication ids, and whether it takes
-- messages that nobody sealed.

alter table towpath.queue
  add column deduplication_window_in_seconds integer not null default 300,
  add column accept_unsealed boolean not null default false,
  add constraint deduplication_window_in_seconds_is_0_to_86400 check (deduplication_window_in_seconds between 0 and 86400);

comment on column towpath.queue.deduplication_window_in_seconds is
'For how long after a put its deduplication ids and its retry token are remembered; 0: not.';
comment on column towpath.queue.accept_unsealed is
'Whether put_messages, which stores what it is given as it is, may put into this queue.';

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
    deduplication_window_in_seconds, accept_unsealed, capabilities, freeform_tags, defined_tags, time_created, time_updated
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
