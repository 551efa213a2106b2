-- oldest program: 6
--
-- Redrive, delete and resend dead letters. A redrive is a work request: steps in bounded batches, any of which may run on
-- any pod, with the cursor and the counts in work_request.parameters, changed in the transaction that moves the batch. So
-- a pod that dies in the middle leaves nothing half done, and nothing is moved twice.

alter table towpath.work_request add column run_after timestamptz;

comment on column towpath.work_request.run_after is
'A work request with a rate limit has nothing to do before this time; null: it may run at any time.';
comment on column towpath.work_request.parameters is
'What the operation needs to go on from where it is. REDRIVE_MESSAGES: selection, target, groupIds (still to do, the first one is under way), cursor (the last id that was looked at), startedAt, expected, allowance and allowanceAt (the rate limit), redrive (the counts, as the API shows them).';

-- The dead letters of a group in the order of their ids, whatever lives beside them.
create index if not exists message_dead_letter on towpath.message (queue_id, consumer_group_id, id) where dead_letter;

create function towpath.notify_visible(queue_id bigint, consumer_group_ids bigint[], channel_ids text[])
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_ranges constant jsonb[] := array(
    select distinct jsonb_build_array(notify_visible.queue_id, u.consumer_group_id, false, u.channel_id, 0)
    from unnest(consumer_group_ids, channel_ids) u(consumer_group_id, channel_id)
  );
begin
  -- A payload holds less than 8,000 bytes, and an entry has up to about 120.
  for i in 0..(cardinality(v_ranges) - 1) / 50 loop
    exit when cardinality(v_ranges) = 0;
    perform pg_notify('towpath', jsonb_build_object('t', 'visible', 'ranges', to_jsonb(v_ranges[i * 50 + 1:i * 50 + 50]))::text);
  end loop;
end;
$$;

comment on function towpath.notify_visible(bigint, bigint[], text[]) is
'Wakes, with the commit, whoever waits for messages of these groups and channels (pairs, repeats allowed). For what is done in steps or at psql, where no pod knows what became visible.';

-- Starting and cancelling ------------------------------------------------------------------------------------------------

create function towpath.redrive_messages(
  tenancy_id text,
  queue_ocid text,
  details jsonb default '{}',
  filter_path jsonpath default null,
  if_match text default null,
  max_message_bytes integer default null,
  max_channels integer default 256
)
returns towpath.work_request
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_queue towpath.queue := towpath.lock_queue(redrive_messages.tenancy_id, redrive_messages.queue_ocid, redrive_messages.if_match);
  v_target towpath.queue;
  v_group_ids bigint[] := '{0}';
  v_message_ids bigint[];
  v_expected bigint;
  v_is_dry_run constant boolean := coalesce((details ->> 'isDryRun')::boolean, false);
  v_rate constant integer := (details ->> 'messagesPerSecond')::integer;
  v_now timestamptz;
begin
  if v_queue.lifecycle_state = 'UPDATING' then
    perform towpath.fail('TP409', 'the queue is being purged: redrive when its work request has finished');
  end if;
  if exists (
    select from towpath.work_request w
    where w.queue_id = v_queue.id
      and w.operation_type = 'REDRIVE_MESSAGES'
      and w.time_finished is null
  ) then
    perform towpath.fail('TP409', 'another redrive of the queue is running: wait until its work request has finished, or cancel it');
  end if;
  if coalesce(details ->> 'filter', '') <> '' and filter_path is null then
    perform towpath.fail('TP400', 'filter: SQL takes a filter as a jsonpath, in filter_path');
  end if;
  if details -> 'messageIds' = '[]' or details -> 'channelIds' = '[]' then
    perform towpath.fail('TP400', 'messageIds, channelIds: must have an element at least; leave them out to redrive all');
  end if;
  if v_rate < 1 then
    perform towpath.fail('TP400', 'messagesPerSecond: must be 1 at least; leave it out for no limit');
  end if;
  if details ->> 'targetQueueId' is null and details ->> 'targetChannelId' is not null then
    perform towpath.fail('TP400', 'targetChannelId: is for another queue, together with targetQueueId; in their own queue messages keep their channel');
  elsif details ->> 'targetQueueId' = v_queue.ocid then
    perform towpath.fail('TP400', 'targetQueueId: is the queue itself; leave it out to redrive to where the messages came from');
  elsif details ->> 'targetQueueId' is not null then
    select q.* into v_target
    from towpath.queue q
    where q.ocid = details ->> 'targetQueueId'
      and q.tenancy_id = v_queue.tenancy_id
      and q.lifecycle_state not in ('DELETING', 'DELETED');
    if not found then
      perform towpath.fail('TP404', 'targetQueueId: the queue does not exist or you may not use it');
    end if;
  end if;
  if details ->> 'consumerGroupId' = 'all' then
    v_group_ids := array(
      select 0
      union
      select g.id from towpath.consumer_group g where g.queue_id = v_queue.id and g.lifecycle_state in ('ACTIVE', 'INACTIVE')
      order by 1
    );
  elsif details ->> 'consumerGroupId' is not null then
    v_group_ids := array(
      select g.id
      from towpath.consumer_group g
      where g.queue_id = v_queue.id
        and g.ocid = details ->> 'consumerGroupId'
        and g.lifecycle_state in ('ACTIVE', 'INACTIVE')
    );
    if cardinality(v_group_ids) = 0 then
      perform towpath.fail('TP404', 'consumerGroupId: the queue has no such consumer group');
    end if;
  end if;
  if details ->> 'messageIds' is not null then
    v_message_ids := array(
      select distinct i::bigint from jsonb_array_elements_text(details -> 'messageIds') i order by 1
    );
    v_expected := cardinality(v_message_ids) * cardinality(v_group_ids);
  else
    -- What the statistics say: how many there are to look at.
    select sum(c.messages) into v_expected
    from (
      select t.consumer_group_id, t.messages
      from towpath.message_total t
      where t.queue_id = v_queue.id and t.dead_letter
      union all
      select d.consumer_group_id, d.messages
      from towpath.message_delta d
      where d.queue_id = v_queue.id and d.dead_letter
    ) c
    where c.consumer_group_id = any (v_group_ids);
  end if;
  v_now := clock_timestamp();
  return towpath.record_work_request(v_queue, 'REDRIVE_MESSAGES', 'IN_PROGRESS', jsonb_build_object(
    'selection', jsonb_strip_nulls(jsonb_build_object(
      'messageIds', to_jsonb(v_message_ids),
      'channelIds', nullif(details -> 'channelIds', 'null'),
      'filterPath', filter_path::text,
      'createdBefore', (details ->> 'createdBefore')::timestamptz,
      'createdAfter', (details ->> 'createdAfter')::timestamptz,
      'diedBefore', (details ->> 'diedBefore')::timestamptz,
      'diedAfter', (details ->> 'diedAfter')::timestamptz
    )),
    'target', case when v_target.id is not null then jsonb_strip_nulls(jsonb_build_object(
      'queueId', v_target.id,
      'channelId', details ->> 'targetChannelId',
      'maxMessageBytes', max_message_bytes,
      'maxChannels', max_channels
    )) end,
    'startedAt', v_now,
    'expected', coalesce(v_expected, 0),
    'groupIds', to_jsonb(v_group_ids),
    'cursor', 0,
    'allowance', 0,
    'allowanceAt', v_now,
    'redrive', jsonb_strip_nulls(jsonb_build_object(
      'examined', 0, 'matched', 0, 'redriven', 0, 'skipped', 0, 'failed', 0,
      'isDryRun', v_is_dry_run, 'messagesPerSecond', v_rate
    ))
  ));
end;
$$;

comment on function towpath.redrive_messages(text, text, jsonb, jsonpath, text, integer, integer) is
'Starts a redrive of dead letters from RedriveDeadLettersDetails (all fields optional; the filter as a jsonpath in filter_path) and returns the accepted work request; run_work_request_step moves them in bounded batches. Those that die from now on are not its business. max_message_bytes and max_channels are limits of another queue as the target. TP400, TP404, TP409 while a purge or another redrive of the queue runs, TP412.';

create function towpath.cancel_work_request(tenancy_id text, work_request_ocid text)
returns towpath.work_request
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_request towpath.work_request := towpath.find_work_request(
    cancel_work_request.tenancy_id, cancel_work_request.work_request_ocid
  );
begin
  if v_request.operation_type <> 'REDRIVE_MESSAGES' then
    perform towpath.fail('TP409', 'only a redrive (REDRIVE_MESSAGES) can be canceled, and this is ' || v_request.operation_type);
  end if;
  -- Waits for the batch that is under way.
  select w.* into v_request from towpath.work_request w where w.id = v_request.id for update;
  if not found or v_request.time_finished is not null then
    perform towpath.fail('TP409', 'the redrive has finished already: it is ' || coalesce(v_request.status, 'forgotten'));
  end if;
  if v_request.status = 'CANCELING' then
    return v_request;
  end if;
  insert into towpath.work_request_log (work_request_id, message) values (v_request.id, 'cancel was asked for');
  update towpath.work_request w
  set status = 'CANCELING', run_after = null
  where w.id = v_request.id
  returning w.* into v_request;
  return v_request;
end;
$$;

comment on function towpath.cancel_work_request(text, text) is
'Asks a redrive to end: it is CANCELING, and CANCELED with its next step. What was moved stays moved. TP404; TP409 where it has finished or is something else.';

-- Running ----------------------------------------------------------------------------------------------------------------

create function towpath.end_redrive(request_id bigint, status text, message text, error_code text default null)
returns text
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_progress jsonb;
begin
  update towpath.work_request w
  set status = end_redrive.status,
    percent_complete = case when end_redrive.status = 'SUCCEEDED' then 100 else w.percent_complete end,
    action_type = case when w.parameters -> 'redrive' @> '{"isDryRun": true}' then 'RELATED' else 'UPDATED' end,
    run_after = null,
    time_finished = clock_timestamp()
  where w.id = end_redrive.request_id
  returning w.parameters -> 'redrive' into v_progress;
  if end_redrive.error_code is not null then
    insert into towpath.work_request_error (work_request_id, code, message)
    values (end_redrive.request_id, end_redrive.error_code, end_redrive.message);
  end if;
  insert into towpath.work_request_log (work_request_id, message)
  values (end_redrive.request_id, format(
    '%s: %s dead letters examined, %s matched, %s redriven, %s skipped because a consumer holds them, %s failed',
    end_redrive.message, v_progress ->> 'examined', v_progress ->> 'matched', v_progress ->> 'redriven',
    v_progress ->> 'skipped', v_progress ->> 'failed'
  ));
  return end_redrive.status;
end;
$$;

comment on function towpath.end_redrive(bigint, text, text, text) is
'Ends a redrive with this status, writes why and how far it came, and returns the status.';

create function towpath.report_redrive_failure(request_id bigint, code text, message text)
returns void
language sql
set search_path = towpath, pg_temp
as $$
  -- Once per kind: a million of them would say no more.
  insert into towpath.work_request_error (work_request_id, code, message)
  select report_redrive_failure.request_id, report_redrive_failure.code, report_redrive_failure.message
  where not exists (
    select from towpath.work_request_error e
    where e.work_request_id = report_redrive_failure.request_id
      and e.code = report_redrive_failure.code
      and e.message = report_redrive_failure.message
  );
$$;

comment on function towpath.report_redrive_failure(bigint, text, text) is
'Writes an error of a redrive that goes on, unless it is there already.';

create function towpath.redrive_to_origin(queue_id bigint, consumer_group_id bigint, ids bigint[], moved_at timestamptz)
returns void
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  v_channel_ids text[];
begin
  with moved as (
    -- An update, by primary key: see the head of 0003. What it would insert is never looked at.
    insert into towpath.message as m (
      queue_id, consumer_group_id, id, visible_after, expire_after, created_at, size_in_bytes, body
    )
    select redrive_to_origin.queue_id, redrive_to_origin.consumer_group_id, u.id, moved_at, moved_at, moved_at, 0, ''
    from unnest(ids) u(id)
    on conflict on constraint message_pkey do update
    set dead_letter = false,
      dead_lettered_at = null,
      dead_letter_reason = null,
      delivery_count = 0,
      delivery_limit = null,
      receipt_number = m.receipt_number + 1,
      visible_after = excluded.visible_after,
      -- The next delivery is a first one, so what the columns have of the last goes to the history now.
      delivery_history = case
        when m.delivered_at is null then m.delivery_history
        else towpath.append_delivery(m.delivery_history, m.delivered_at, m.delivered_to)
      end,
      delivered_at = null,
      delivered_to = null
    returning m.channel_id, m.size_in_bytes
  ),
  counted as (
    select m.channel_id, count(*) as messages, sum(m.size_in_bytes) as bytes from moved m group by m.channel_id
  ),
  told as (
    insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
    select redrive_to_origin.queue_id, redrive_to_origin.consumer_group_id, k.dead_letter, c.channel_id,
      k.sign * c.messages, k.sign * c.bytes
    from counted c
    cross join (values (true, -1), (false, 1)) k(dead_letter, sign)
  )
  select array_agg(c.channel_id) into v_channel_ids from counted c;
  perform towpath.notify_visible(
    redrive_to_origin.queue_id,
    array_fill(redrive_to_origin.consumer_group_id, array[cardinality(v_channel_ids)]),
    v_channel_ids
  );
end;
$$;

comment on function towpath.redrive_to_origin(bigint, bigint, bigint[], timestamptz) is
'Makes dead letters, which the caller has locked, messages of their queue and group again: as if never delivered, but with their delivery history, and with a receipt number that kills every receipt. Wakes who waits.';

create function towpath.redrive_to_queue(
  queue_id bigint,
  consumer_group_id bigint,
  ids bigint[],
  target_queue_id bigint,
  target_channel_id text,
  max_channels integer
)
returns integer
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  v_bodies bytea;
  v_lengths integer[];
  v_channel_ids text[];
  v_new_channel_ids text[];
  v_properties text[];
  v_sizes integer[];
  v_new record;
  v_n integer := 0;
  v_taken integer[] := '{}';
  v_woken_groups bigint[] := '{}';
  v_woken_channels text[] := '{}';
begin
  -- The caller has locked them; FOR UPDATE keeps it a lookup per id, no join.
  select string_agg(l.body, ''::bytea), array_agg(octet_length(l.body)), array_agg(l.channel_id),
    array_agg(coalesce(redrive_to_queue.target_channel_id, l.channel_id)), array_agg(l.properties::text),
    array_agg(l.size_in_bytes)
  into v_bodies, v_lengths, v_channel_ids, v_new_channel_ids, v_properties, v_sizes
  from unnest(ids) u(id)
  cross join lateral (
    select m.body, m.channel_id, m.properties, m.size_in_bytes
    from towpath.message m
    where m.queue_id = redrive_to_queue.queue_id
      and m.consumer_group_id = redrive_to_queue.consumer_group_id
      and m.id = u.id
    for update
  ) l;
  for v_new in
    select p.consumer_group_ids
    from towpath.put_packed_messages(
      redrive_to_queue.target_queue_id, v_bodies, v_lengths, v_new_channel_ids, v_properties,
      array_fill(0, array[cardinality(ids)]), v_sizes, redrive_to_queue.max_channels
    ) p
  loop
    v_n := v_n + 1;
    -- What no group there takes was dropped by the put: here it stays.
    continue when cardinality(v_new.consumer_group_ids) = 0;
    v_taken := v_taken || v_n;
    v_woken_groups := v_woken_groups || v_new.consumer_group_ids;
    v_woken_channels := v_woken_channels
      || array_fill(v_new_channel_ids[v_n], array[cardinality(v_new.consumer_group_ids)]);
    delete from towpath.message m
    where m.queue_id = redrive_to_queue.queue_id
      and m.consumer_group_id = redrive_to_queue.consumer_group_id
      and m.id = ids[v_n];
  end loop;
  insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
  select redrive_to_queue.queue_id, redrive_to_queue.consumer_group_id, true, v_channel_ids[t.n], -count(*), -sum(v_sizes[t.n])
  from unnest(v_taken) t(n)
  group by v_channel_ids[t.n];
  perform towpath.notify_visible(redrive_to_queue.target_queue_id, v_woken_groups, v_woken_channels);
  return cardinality(v_taken);
end;
$$;

comment on function towpath.redrive_to_queue(bigint, bigint, bigint[], bigint, text, integer) is
'Puts dead letters, which the caller has locked, into another queue as new messages (target_channel_id null: each keeps its channel) and deletes them, all in one transaction. One that no consumer group there takes stays. Returns how many were taken. Raises what put_packed_messages raises.';

create function towpath.run_redrive_step(request towpath.work_request, batch integer)
returns text
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
  -- Contents that go to another queue together, so that a batch of large messages does not fill the memory.
  c_max_bytes constant bigint := 4194304;
  v_parameters jsonb := (request).parameters;
  v_progress jsonb := v_parameters -> 'redrive';
  v_selection constant jsonb := v_parameters -> 'selection';
  v_target constant jsonb := nullif(v_parameters -> 'target', 'null');
  v_queue_id constant bigint := (request).queue_id;
  v_group_id constant bigint := (v_parameters -> 'groupIds' ->> 0)::bigint;
  v_is_dry_run constant boolean := (v_progress ->> 'isDryRun')::boolean;
  v_started_at constant timestamptz := (v_parameters ->> 'startedAt')::timestamptz;
  v_filter constant jsonpath := (v_selection ->> 'filterPath')::jsonpath;
  v_channel_ids constant text[] := case when v_selection ? 'channelIds' then array(
    select c from jsonb_array_elements_text(v_selection -> 'channelIds') c
  ) end;
  v_created_before constant timestamptz := coalesce((v_selection ->> 'createdBefore')::timestamptz, 'infinity');
  v_created_after constant timestamptz := coalesce((v_selection ->> 'createdAfter')::timestamptz, '-infinity');
  v_died_before constant timestamptz := coalesce((v_selection ->> 'diedBefore')::timestamptz, 'infinity');
  v_died_after constant timestamptz := coalesce((v_selection ->> 'diedAfter')::timestamptz, '-infinity');
  v_max_message_bytes constant integer := coalesce((v_target ->> 'maxMessageBytes')::integer, 2147483647);
  v_rate constant double precision := (v_progress ->> 'messagesPerSecond')::double precision;
  v_cursor bigint := (v_parameters ->> 'cursor')::bigint;
  v_allowance double precision;
  v_enough double precision;
  v_most integer := greatest(1, batch / 2);
  v_queue towpath.queue;
  v_group towpath.consumer_group;
  v_now timestamptz := clock_timestamp();
  v_wanted_ids bigint[];
  v_message record;
  v_examined integer := 0;
  v_matched integer := 0;
  v_skipped integer := 0;
  v_failed integer := 0;
  v_redriven integer := 0;
  v_bytes bigint := 0;
  v_is_end boolean := true;
  v_ids bigint[] := '{}';
  v_error_code text;
  v_error text;
  v_percent integer;
begin
  if (request).status = 'CANCELING' then
    return towpath.end_redrive((request).id, 'CANCELED', 'canceled; what was redriven stays redriven');
  end if;
  select q.* into v_queue from towpath.queue q where q.id = v_queue_id;
  if not found or v_queue.lifecycle_state in ('DELETING', 'DELETED') then
    return towpath.end_redrive((request).id, 'CANCELED', 'the queue was deleted', 'NotAuthorizedOrNotFound');
  end if;
  if v_group_id is null then
    return towpath.end_redrive((request).id, 'SUCCEEDED', 'done');
  end if;
  if v_queue.capabilities <> '[]' and towpath.has_consumer_groups(v_queue) then
    select g.* into v_group
    from towpath.consumer_group g
    where g.queue_id = v_queue_id and g.id = v_group_id;
  end if;
  if towpath.has_consumer_groups(v_queue)
    and (v_group.lifecycle_state is null or v_group.lifecycle_state in ('DELETING', 'DELETED')) then
    perform towpath.report_redrive_failure((request).id, 'NotAuthorizedOrNotFound', format(
      'consumer group %s is gone: what is left of its dead letters was not redriven',
      coalesce(v_group.display_name || ' (' || v_group.ocid || ')', v_group_id::text)
    ));
    update towpath.work_request w
    set parameters = v_parameters || jsonb_build_object('groupIds', (v_parameters -> 'groupIds') - 0, 'cursor', 0)
    where w.id = (request).id;
    return 'IN_PROGRESS';
  end if;

  if v_rate is not null and not v_is_dry_run then
    -- A bucket that fills with the clock and holds one second's worth. A tenth of a second's worth is waited for, so that a
    -- high rate does not come as thousands of steps of one message.
    v_allowance := least(
      v_rate,
      (v_parameters ->> 'allowance')::double precision
        + v_rate * greatest(0, extract(epoch from v_now - (v_parameters ->> 'allowanceAt')::timestamptz))
    );
    v_enough := greatest(1, least(v_rate / 10, v_most));
    if v_allowance < v_enough then
      update towpath.work_request w
      set run_after = v_now + make_interval(secs => (v_enough - v_allowance) / v_rate)
      where w.id = (request).id;
      return 'WAITING';
    end if;
    v_most := least(v_most, floor(v_allowance));
  end if;

  if v_selection ? 'messageIds' then
    v_wanted_ids := array(
      select i::bigint
      from jsonb_array_elements_text(v_selection -> 'messageIds') i
      where i::bigint > v_cursor
      limit batch
    );
  end if;
  for v_message in
    select w.*
    from (
      -- Along the small index of dead letters: what lives is not walked.
      select m.id, m.dead_letter, m.dead_lettered_at, m.expire_after, m.created_at, m.visible_after, m.channel_id,
        m.properties, m.size_in_bytes
      from towpath.message m
      where v_wanted_ids is null
        and m.queue_id = v_queue_id
        and m.consumer_group_id = v_group_id
        and m.id > v_cursor
        and m.dead_letter
      order by m.id
      limit batch
    ) w
    union all
    select l.*
    from unnest(v_wanted_ids) u(id)
    cross join lateral (
      select m.id, m.dead_letter, m.dead_lettered_at, m.expire_after, m.created_at, m.visible_after, m.channel_id,
        m.properties, m.size_in_bytes
      from towpath.message m
      where m.queue_id = v_queue_id
        and m.consumer_group_id = v_group_id
        and m.id = u.id
      -- Keeps it a lookup per id, no join.
      offset 0
    ) l
  loop
    if not v_is_dry_run and (cardinality(v_ids) = v_most or (v_target is not null and v_bytes >= c_max_bytes)) then
      v_is_end := false;
      exit;
    end if;
    v_cursor := v_message.id;
    v_examined := v_examined + 1;
    if v_message.dead_letter
      and v_message.dead_lettered_at <= v_started_at
      and v_message.expire_after > v_now
      and v_message.created_at < v_created_before
      and v_message.created_at >= v_created_after
      and v_message.dead_lettered_at < v_died_before
      and v_message.dead_lettered_at >= v_died_after
      and (v_channel_ids is null or v_message.channel_id = any (v_channel_ids))
      and (v_filter is null or coalesce(coalesce(v_message.properties, '{}') @@ v_filter, false))
    then
      v_ids := v_ids || v_message.id;
      v_bytes := v_bytes + v_message.size_in_bytes;
      if v_is_dry_run then
        v_matched := v_matched + 1;
        v_skipped := v_skipped + (v_message.visible_after > v_now)::integer;
        v_failed := v_failed + (v_message.visible_after <= v_now and v_message.size_in_bytes > v_max_message_bytes)::integer;
      end if;
    end if;
  end loop;
  if v_is_end and v_wanted_ids is not null then
    v_is_end := cardinality(v_wanted_ids) < batch;
    -- Those that are not there any more are not looked for again.
    v_cursor := coalesce(v_wanted_ids[cardinality(v_wanted_ids)], v_cursor);
  elsif v_is_end then
    v_is_end := v_examined < batch;
  end if;

  if not v_is_dry_run and cardinality(v_ids) > 0 then
    -- Locked in order, and waited for: what is locked would be passed over, since the cursor does not come back. Then
    -- looked at once more, by a clock that is read after the wait.
    declare
      v_states record;
    begin
      select array_agg(l.id) as ids, array_agg(l.visible_after) as visible, array_agg(l.expire_after) as expire,
        array_agg(l.size_in_bytes) as sizes
      into v_states
      from unnest(v_ids) u(id)
      cross join lateral (
        select m.id, m.visible_after, m.expire_after, m.size_in_bytes
        from towpath.message m
        where m.queue_id = v_queue_id
          and m.consumer_group_id = v_group_id
          and m.id = u.id
          and m.dead_letter
          and m.dead_lettered_at <= v_started_at
        for update
      ) l;
      v_now := clock_timestamp();
      select count(*), count(*) filter (where u.visible_after > v_now),
        count(*) filter (where u.visible_after <= v_now and u.size > v_max_message_bytes),
        coalesce(array_agg(u.id) filter (where u.visible_after <= v_now and u.size <= v_max_message_bytes), '{}')
      into v_matched, v_skipped, v_failed, v_ids
      from unnest(v_states.ids, v_states.visible, v_states.expire, v_states.sizes) u(id, visible_after, expire_after, size)
      where u.expire_after > v_now;
    end;
    if v_failed > 0 then
      perform towpath.report_redrive_failure((request).id, 'LimitExceeded', format(
        'some messages have more than the %s bytes that the target queue takes: they are still dead letters; redrive them to a queue with LARGE_MESSAGES',
        v_max_message_bytes
      ));
    end if;
    if cardinality(v_ids) > 0 and v_target is null then
      perform towpath.redrive_to_origin(v_queue_id, v_group_id, v_ids, v_now);
      v_redriven := cardinality(v_ids);
    elsif cardinality(v_ids) > 0 then
      begin
        v_redriven := towpath.redrive_to_queue(
          v_queue_id, v_group_id, v_ids, (v_target ->> 'queueId')::bigint, v_target ->> 'channelId',
          (v_target ->> 'maxChannels')::integer
        );
      exception
        when sqlstate 'TP400' or sqlstate 'TP404' or sqlstate 'TP409' or sqlstate 'TP4LE' then
          v_error_code := case sqlstate
            when 'TP404' then 'NotAuthorizedOrNotFound'
            when 'TP409' then 'IncorrectState'
            when 'TP4LE' then 'LimitExceeded'
            else 'InvalidParameter'
          end;
          v_error := sqlerrm;
      end;
      v_failed := v_failed + cardinality(v_ids) - v_redriven;
      if v_error is null and v_redriven < cardinality(v_ids) then
        perform towpath.report_redrive_failure(
          (request).id, 'IncorrectState', 'no consumer group of the target queue takes some of the messages: they are still dead letters'
        );
      end if;
    end if;
  end if;

  v_progress := v_progress || jsonb_build_object(
    'examined', (v_progress ->> 'examined')::bigint + v_examined,
    'matched', (v_progress ->> 'matched')::bigint + v_matched,
    'redriven', (v_progress ->> 'redriven')::bigint + v_redriven,
    'skipped', (v_progress ->> 'skipped')::bigint + v_skipped,
    'failed', (v_progress ->> 'failed')::bigint + v_failed
  );
  v_parameters := v_parameters || jsonb_build_object('redrive', v_progress, 'cursor', v_cursor);
  if v_allowance is not null then
    v_parameters := v_parameters || jsonb_build_object('allowance', v_allowance - v_redriven, 'allowanceAt', v_now);
  end if;
  if v_is_end then
    v_parameters := v_parameters || jsonb_build_object('groupIds', (v_parameters -> 'groupIds') - 0, 'cursor', 0);
  end if;
  -- 100 is for the end.
  v_percent := least(
    99, 100 * (v_progress ->> 'examined')::bigint / greatest(1, (v_parameters ->> 'expected')::bigint)
  );
  update towpath.work_request w
  set parameters = v_parameters,
    percent_complete = greatest(w.percent_complete, v_percent),
    run_after = null
  where w.id = (request).id;
  if v_error is not null then
    return towpath.end_redrive((request).id, 'FAILED', format(
      'the target queue took no more: %s. What is not redriven is still a dead letter: put that right and redrive again',
      v_error
    ), v_error_code);
  end if;
  if jsonb_array_length(v_parameters -> 'groupIds') = 0 then
    return towpath.end_redrive((request).id, 'SUCCEEDED', 'done');
  end if;
  if v_percent / 10 > (request).percent_complete::integer / 10 then
    insert into towpath.work_request_log (work_request_id, message)
    values ((request).id, format(
      '%s of about %s dead letters examined, %s redriven', v_progress ->> 'examined', v_parameters ->> 'expected',
      v_progress ->> 'redriven'
    ));
  end if;
  return 'IN_PROGRESS';
end;
$$;

comment on function towpath.run_redrive_step(towpath.work_request, integer) is
'Looks at the next batch of dead letters of a redrive and moves those that match, at most half of batch (a dry run: counts them). Returns the status after that; WAITING where the rate limit allows nothing at the moment.';

create or replace function towpath.run_work_request_step(work_request_ocid text default null, batch integer default 1000)
returns text
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_request towpath.work_request;
  v_finished boolean;
begin
  -- Whoever has locked it is at it. Of all of them those that must wait are passed over, so that they keep none waiting.
  select w.* into v_request
  from towpath.work_request w
  where w.time_finished is null
    and (
      w.ocid = run_work_request_step.work_request_ocid
      or (run_work_request_step.work_request_ocid is null and (w.run_after is null or w.run_after <= v_now))
    )
  order by w.id
  limit 1
  for update skip locked;
  if not found then
    return null;
  end if;
  if v_request.run_after > v_now then
    return 'WAITING';
  end if;
  if v_request.time_started is null then
    update towpath.work_request w
    set status = case when w.status = 'CANCELING' then w.status else 'IN_PROGRESS' end, time_started = v_now
    where w.id = v_request.id;
  end if;
  if v_request.operation_type = 'REDRIVE_MESSAGES' then
    return towpath.run_redrive_step(v_request, batch);
  elsif v_request.operation_type = 'PURGE_QUEUE' then
    v_finished := towpath.run_purge_step(v_request, batch);
  elsif v_request.operation_type = 'DELETE_QUEUE' then
    v_finished := towpath.run_delete_step(v_request, batch);
  elsif v_request.operation_type = 'DELETE_CONSUMER_GROUP' then
    v_finished := towpath.run_delete_consumer_group_step(v_request, batch);
  else
    perform towpath.fail('TP409', 'there is nothing to run for ' || v_request.operation_type);
  end if;
  return case when v_finished then 'SUCCEEDED' else 'IN_PROGRESS' end;
end;
$$;

comment on function towpath.run_work_request_step(text, integer) is
'Does one bounded batch of a work request (null: of the oldest unfinished one that nobody is at and that need not wait). Returns its status after that, WAITING where its rate limit allows nothing at the moment, or null where there was nothing to do.';

create or replace function towpath.work_request_is_waiting()
returns boolean
language sql
stable
set search_path = towpath, pg_temp
as $$
  select exists (
    select from towpath.work_request w
    where w.time_finished is null
      and (w.run_after is null or w.run_after <= clock_timestamp())
  );
$$;

comment on function towpath.work_request_is_waiting() is 'True while there are work requests that can be run now.';

-- Single dead letters ----------------------------------------------------------------------------------------------------

create function towpath.delete_dead_letters(queue_id bigint, consumer_group_id bigint, ids bigint[])
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

comment on function towpath.delete_dead_letters(bigint, bigint, bigint[]) is
'Deletes dead letters by id, without a receipt. Returns a row per entry, in order: deleted; in flight, where a consumer of the dead letter queue holds it, which leaves it alone; not found.';

create function towpath.resend_dead_letter(
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
  return next;
end;
$$;

comment on function towpath.resend_dead_letter(bigint, bigint, bigint, bytea, text, jsonb, bigint, integer, integer) is
'Puts a new message in place of a dead letter and deletes that, in one transaction. What is null (content, channel_id, properties) stays as it was; the property towpath.resentFrom names the old one as <queue OCID>/<id>. In the same queue it is for the same consumer group only, in another queue for its groups. TP404; TP409 where a consumer of the dead letter queue holds it, or no group takes it; TP4LE beyond max_message_bytes.';
