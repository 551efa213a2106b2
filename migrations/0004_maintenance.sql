-- oldest program: 1
--
-- What happens by itself: timed-out last deliveries become dead letters, expired messages go, purges and deletions of
-- queues are carried out, statistics are folded, old records are forgotten. Every function does a bounded batch and
-- says how much it did; pods call them again while there is more. All of them may run on several pods at once.

create table towpath.lease (
  name text collate "C" not null,
  holder text not null,
  expires_at timestamptz not null,
  constraint lease_pkey primary key (name)
)
with (fillfactor = 50);

comment on table towpath.lease is
'Who does the maintenance at the moment. It only saves work: nothing depends on there being one holder.';

create function towpath.take_lease(name text, holder text, lease_seconds integer)
returns boolean
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
begin
  insert into towpath.lease as l (name, holder, expires_at)
  values (take_lease.name, take_lease.holder, v_now + make_interval(secs => lease_seconds))
  on conflict on constraint lease_pkey do update
  set holder = excluded.holder, expires_at = excluded.expires_at
  where l.holder = excluded.holder or l.expires_at < v_now;
  return found;
end;
$$;

comment on function towpath.take_lease(text, text, integer) is
'Takes or prolongs the named lease for so many seconds. False where another holder has it.';

create function towpath.give_lease_back(name text, holder text)
returns void
language sql
set search_path = towpath, pg_temp
as $$
  delete from towpath.lease l
  where l.name = give_lease_back.name and l.holder = give_lease_back.holder;
$$;

comment on function towpath.give_lease_back(text, text) is 'Ends a lease early, so that the next pod need not wait for it.';

-- Timed-out deliveries -------------------------------------------------------------------------------------------------

create function towpath.queues_with_timed_out_deliveries(max_queues integer default 100)
returns setof bigint
language plpgsql
stable
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_queue_id bigint := 0;
  v_oldest timestamptz;
  v_found integer := 0;
begin
  -- From queue to queue along the small index of last deliveries: one look per queue that has any.
  while v_found < max_queues loop
    select m.queue_id, m.visible_after into v_queue_id, v_oldest
    from towpath.message m
    where not m.dead_letter
      and m.delivery_count >= m.delivery_limit
      and m.queue_id > v_queue_id
    order by m.queue_id, m.visible_after
    limit 1;
    exit when not found;
    if v_oldest <= v_now then
      v_found := v_found + 1;
      return next v_queue_id;
    end if;
  end loop;
end;
$$;

comment on function towpath.queues_with_timed_out_deliveries(integer) is
'Returns queues in which a last allowed delivery has timed out, for sweep_timed_out_deliveries.';

create function towpath.sweep_timed_out_deliveries(queue_id bigint, batch integer default 500)
returns integer
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_limit integer;
  v_groups bigint[];
  v_ids bigint[];
  v_message towpath.message;
  v_moved_groups bigint[] := '{}';
  v_moved_channels text[] := '{}';
  v_moved_sizes integer[] := '{}';
begin
  with due as materialized (
    select m.consumer_group_id, m.id
    from towpath.message m
    where m.queue_id = sweep_timed_out_deliveries.queue_id
      and not m.dead_letter
      and m.delivery_count >= m.delivery_limit
      and m.visible_after <= v_now
      -- Purged messages are gone for everybody but who holds them.
      and not exists (
        select from towpath.purge p
        where p.queue_id = sweep_timed_out_deliveries.queue_id
          and p.consumer_group_id = m.consumer_group_id
          and not p.dead_letter
          and m.id <= p.watermark
          and (p.channel_ids is null or m.channel_id = any (p.channel_ids))
      )
    order by m.visible_after
    limit batch
    for update of m skip locked
  )
  select array_agg(d.consumer_group_id), array_agg(d.id) into v_groups, v_ids from due d;
  for i in 1..coalesce(cardinality(v_ids), 0) loop
    select nullif(coalesce(g.dead_letter_queue_delivery_count, q.dead_letter_queue_delivery_count), 0) into v_limit
    from towpath.queue q
    left join towpath.consumer_group g on g.queue_id = q.id and g.id = v_groups[i]
    where q.id = sweep_timed_out_deliveries.queue_id;
    -- Counts one delivery more than allowed, as a get would; the trigger decides. Where the limit was raised or lifted
    -- since, the next delivery will be allowed, and the new limit takes the row out of the index of last ones.
    update towpath.message m
    set delivery_count = m.delivery_count + case when m.delivery_count >= v_limit then 1 else 0 end,
      delivered_at = case when m.delivery_count >= v_limit then v_now else m.delivered_at end,
      delivery_limit = case when m.delivery_count >= v_limit then m.delivery_limit else v_limit end
    where m.queue_id = sweep_timed_out_deliveries.queue_id
      and m.consumer_group_id = v_groups[i]
      and m.id = v_ids[i]
    returning m.* into v_message;
    if v_message.dead_letter then
      v_moved_groups := v_moved_groups || v_message.consumer_group_id;
      v_moved_channels := v_moved_channels || v_message.channel_id;
      v_moved_sizes := v_moved_sizes || v_message.size_in_bytes;
    end if;
  end loop;
  insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
  select sweep_timed_out_deliveries.queue_id, c.consumer_group_id, k.dead_letter, c.channel_id,
    k.sign * c.messages, k.sign * c.bytes
  from (
    select v.consumer_group_id, v.channel_id, count(*) as messages, sum(v.size_in_bytes) as bytes
    from unnest(v_moved_groups, v_moved_channels, v_moved_sizes) as v(consumer_group_id, channel_id, size_in_bytes)
    group by v.consumer_group_id, v.channel_id
  ) c
  cross join (values (false, -1), (true, 1)) k(dead_letter, sign);
  return coalesce(cardinality(v_ids), 0);
end;
$$;

comment on function towpath.sweep_timed_out_deliveries(bigint, integer) is
'Moves messages whose last allowed delivery has timed out to the dead letter queue, so that a queue that nobody reads fills it too. Returns how many rows it touched; call again while that is the batch.';

-- Retention ------------------------------------------------------------------------------------------------------------

create function towpath.ranges_with_expired_messages(max_ranges integer default 100)
returns table (queue_id bigint, consumer_group_id bigint)
language plpgsql
stable
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_oldest timestamptz;
  v_found integer := 0;
begin
  queue_id := 0;
  consumer_group_id := 0;
  -- From range to range along the primary key: the first row of each is its oldest, because ids follow time.
  while v_found < max_ranges loop
    select m.queue_id, m.consumer_group_id, m.expire_after
    into ranges_with_expired_messages.queue_id, ranges_with_expired_messages.consumer_group_id, v_oldest
    from towpath.message m
    where (m.queue_id, m.consumer_group_id, m.id) > (
      ranges_with_expired_messages.queue_id, ranges_with_expired_messages.consumer_group_id, 9007199254740991
    )
    order by m.queue_id, m.consumer_group_id, m.id
    limit 1;
    exit when not found;
    if v_oldest <= v_now then
      v_found := v_found + 1;
      return next;
    end if;
  end loop;
end;
$$;

comment on function towpath.ranges_with_expired_messages(integer) is
'Returns queues and consumer groups whose oldest message has expired, for sweep_expired_messages.';

create function towpath.sweep_expired_messages(queue_id bigint, consumer_group_id bigint, batch integer default 500)
returns integer
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_ids bigint[];
  v_id bigint;
  v_message towpath.message;
  v_gone integer := 0;
  v_dead_letters boolean[] := '{}';
  v_channel_ids text[] := '{}';
  v_sizes integer[] := '{}';
begin
  with oldest as materialized (
    -- A bounded look at the low end of the primary key; one that is still alive there does not hide those behind it.
    select m.id, m.expire_after
    from towpath.message m
    where m.queue_id = sweep_expired_messages.queue_id
      and m.consumer_group_id = sweep_expired_messages.consumer_group_id
    order by m.id
    limit batch
  )
  select array_agg(e.id) into v_ids
  from oldest o
  cross join lateral (
    select m.id
    from towpath.message m
    where m.queue_id = sweep_expired_messages.queue_id
      and m.consumer_group_id = sweep_expired_messages.consumer_group_id
      and m.id = o.id
    for update skip locked
  ) e
  where o.expire_after <= v_now;
  foreach v_id in array coalesce(v_ids, '{}') loop
    delete from towpath.message m
    where m.queue_id = sweep_expired_messages.queue_id
      and m.consumer_group_id = sweep_expired_messages.consumer_group_id
      and m.id = v_id
    returning m.* into v_message;
    v_gone := v_gone + 1;
    v_dead_letters := v_dead_letters || v_message.dead_letter;
    v_channel_ids := v_channel_ids || v_message.channel_id;
    v_sizes := v_sizes || v_message.size_in_bytes;
  end loop;
  insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
  select sweep_expired_messages.queue_id, sweep_expired_messages.consumer_group_id,
    g.dead_letter, g.channel_id, -count(*), -sum(g.size_in_bytes)
  from unnest(v_dead_letters, v_channel_ids, v_sizes) as g(dead_letter, channel_id, size_in_bytes)
  group by g.dead_letter, g.channel_id;
  return v_gone;
end;
$$;

comment on function towpath.sweep_expired_messages(bigint, bigint, integer) is
'Deletes expired messages among the oldest ones of a range. Returns how many; call again while that is the batch.';

-- Statistics -----------------------------------------------------------------------------------------------------------

create function towpath.queues_with_message_deltas(max_queues integer default 1000)
returns setof bigint
language plpgsql
stable
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
  v_queue_id bigint := 0;
begin
  for i in 1..max_queues loop
    select d.queue_id into v_queue_id
    from towpath.message_delta d
    where d.queue_id > v_queue_id
    order by d.queue_id
    limit 1;
    exit when not found;
    return next v_queue_id;
  end loop;
end;
$$;

comment on function towpath.queues_with_message_deltas(integer) is
'Returns queues whose statistics have changes to fold, for fold_message_deltas.';

create function towpath.fold_message_deltas(queue_id bigint, batch integer default 2000)
returns integer
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  v_folded integer;
begin
  -- One folder per queue at a time; a second one has nothing to add.
  if not pg_try_advisory_xact_lock(hashtextextended('fold_message_deltas', fold_message_deltas.queue_id)) then
    return 0;
  end if;
  with folded as (
    -- What this statement sees and deletes, no position that is remembered: deltas that commit late have a low id.
    delete from towpath.message_delta d
    where d.queue_id = fold_message_deltas.queue_id
      and d.id <= (
        select max(x.id)
        from (
          select y.id
          from towpath.message_delta y
          where y.queue_id = fold_message_deltas.queue_id
          order by y.id
          limit batch
        ) x
      )
    returning d.consumer_group_id, d.dead_letter, d.channel_id, d.messages, d.size_in_bytes
  ),
  summed as (
    select f.consumer_group_id, f.dead_letter, f.channel_id,
      sum(f.messages)::bigint as messages, sum(f.size_in_bytes)::bigint as bytes, count(*) as rows
    from folded f
    group by f.consumer_group_id, f.dead_letter, f.channel_id
  ),
  added as (
    insert into towpath.message_total as t (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
    select fold_message_deltas.queue_id, s.consumer_group_id, s.dead_letter, s.channel_id, s.messages, s.bytes
    from summed s
    on conflict on constraint message_total_pkey do update
    set messages = t.messages + excluded.messages,
      size_in_bytes = t.size_in_bytes + excluded.size_in_bytes
  )
  select coalesce(sum(s.rows), 0)::integer into v_folded from summed s;
  -- Channels vanish when they are empty, in the statistics too.
  delete from towpath.message_total t
  where t.queue_id = fold_message_deltas.queue_id
    and t.messages = 0
    and t.size_in_bytes = 0;
  return v_folded;
end;
$$;

comment on function towpath.fold_message_deltas(bigint, integer) is
'Adds changes to the totals of a queue. Returns how many; call again while that is the batch.';

-- Purges and deletions ---------------------------------------------------------------------------------------------------

create function towpath.purge_queue(tenancy_id text, queue_ocid text, details jsonb, if_match text default null)
returns towpath.work_request
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_queue towpath.queue := towpath.lock_queue(purge_queue.tenancy_id, purge_queue.queue_ocid, purge_queue.if_match);
  v_request towpath.work_request;
  v_group_ids bigint[] := '{0}';
  v_watermark bigint;
  v_started_at timestamptz;
  -- Null: the queue with all its channels.
  v_channel_ids constant text[] := (
    select array_agg(distinct j.channel_id)
    from jsonb_array_elements_text(nullif(details -> 'channelIds', 'null')) j(channel_id)
  );
begin
  if details -> 'channelIds' = '[]' then
    perform towpath.fail('TP400', 'channelIds: must name a channel at least; leave it out to purge the queue and all its channels');
  end if;
  if details ->> 'purgeType' is null or details ->> 'purgeType' not in ('NORMAL', 'DLQ', 'BOTH') then
    perform towpath.fail('TP400', 'purgeType: must be NORMAL, DLQ or BOTH');
  end if;
  if details ->> 'consumerGroupId' = 'all' then
    v_group_ids := array(
      select 0
      union
      select g.id from towpath.consumer_group g where g.queue_id = v_queue.id and g.lifecycle_state in ('ACTIVE', 'INACTIVE')
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
  if v_queue.lifecycle_state = 'UPDATING' then
    perform towpath.fail('TP409', 'the queue is being purged already: wait until its work request has finished');
  end if;
  update towpath.queue q
  set lifecycle_state = 'UPDATING',
    lifecycle_details = 'Purging',
    time_updated = clock_timestamp(),
    version = q.version + 1
  where q.id = v_queue.id
  returning q.* into v_queue;
  v_request := towpath.record_work_request(v_queue, 'PURGE_QUEUE', 'IN_PROGRESS', details);
  -- The clock first, then the id: whatever draws a higher id reads the clock later than this.
  v_started_at := clock_timestamp();
  v_watermark := nextval('towpath.message_id');
  insert into towpath.purge (
    queue_id, work_request_id, consumer_group_id, dead_letter, channel_ids, watermark, started_at
  )
  select v_queue.id, v_request.id, g.id, k.dead_letter, v_channel_ids, v_watermark, v_started_at
  from (values (false, 'NORMAL'), (true, 'DLQ')) k(dead_letter, purge_type)
  cross join unnest(v_group_ids) g(id)
  where details ->> 'purgeType' in (k.purge_type, 'BOTH');
  -- Purged messages are not counted any more from now on.
  insert into towpath.purge_offset (
    queue_id, work_request_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes
  )
  select v_queue.id, v_request.id, c.consumer_group_id, c.dead_letter, c.channel_id, sum(c.messages), sum(c.size_in_bytes)
  from (
    select t.consumer_group_id, t.dead_letter, t.channel_id, t.messages, t.size_in_bytes
    from towpath.message_total t
    where t.queue_id = v_queue.id
    union all
    select d.consumer_group_id, d.dead_letter, d.channel_id, d.messages, d.size_in_bytes
    from towpath.message_delta d
    where d.queue_id = v_queue.id
  ) c
  where exists (
    select from towpath.purge p
    where p.queue_id = v_queue.id
      and p.consumer_group_id = c.consumer_group_id
      and p.dead_letter = c.dead_letter
      and (p.channel_ids is null or c.channel_id = any (p.channel_ids))
  )
  group by c.consumer_group_id, c.dead_letter, c.channel_id;
  insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
  select o.queue_id, o.consumer_group_id, o.dead_letter, o.channel_id, -o.messages, -o.size_in_bytes
  from towpath.purge_offset o
  where o.queue_id = v_queue.id and o.work_request_id = v_request.id;
  return v_request;
end;
$$;

comment on function towpath.purge_queue(text, text, jsonb, text) is
'Starts a purge from PurgeQueueDetails (purgeType NORMAL, DLQ or BOTH; channelIds optional): what is in the range is invisible and not counted from the commit on; run_work_request_step removes it in bounded batches. Returns the accepted work request. TP400, TP404, TP409 while another purge runs, TP412.';

create function towpath.finish_work_request(request towpath.work_request, action_type text, message text)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
begin
  update towpath.work_request w
  set status = 'SUCCEEDED',
    percent_complete = 100,
    action_type = finish_work_request.action_type,
    time_finished = v_now
  where w.id = (request).id;
  insert into towpath.work_request_log (work_request_id, message)
  values ((request).id, finish_work_request.message);
end;
$$;

comment on function towpath.finish_work_request(towpath.work_request, text, text) is 'Marks a work request as done.';

create function towpath.run_purge_step(request towpath.work_request, batch integer)
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
  v_purge towpath.purge;
  v_looked bigint;
  v_last bigint;
  v_ids bigint[];
  v_id bigint;
  v_channel_id text;
  v_size integer;
  v_channel_ids text[] := '{}';
  v_sizes integer[] := '{}';
begin
  select p.* into v_purge
  from towpath.purge p
  where p.queue_id = (request).queue_id
    and p.work_request_id = (request).id
    and p.cursor_id < p.watermark
  order by p.dead_letter
  limit 1;
  if not found then
    -- What was taken off the statistics and not found any more goes back: there should be none of it.
    insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
    select o.queue_id, o.consumer_group_id, o.dead_letter, o.channel_id, o.messages, o.size_in_bytes
    from towpath.purge_offset o
    where o.queue_id = (request).queue_id
      and o.work_request_id = (request).id
      and (o.messages <> 0 or o.size_in_bytes <> 0);
    delete from towpath.purge_offset o where o.queue_id = (request).queue_id and o.work_request_id = (request).id;
    delete from towpath.purge p where p.queue_id = (request).queue_id and p.work_request_id = (request).id;
    update towpath.queue q
    set lifecycle_state = 'ACTIVE',
      lifecycle_details = null,
      time_updated = clock_timestamp(),
      version = q.version + 1
    where q.id = (request).queue_id
      and q.lifecycle_state = 'UPDATING';
    perform towpath.finish_work_request(request, 'UPDATED', 'purged');
    return true;
  end if;
  select count(*), max(l.id), array_agg(l.id) filter (
    where l.dead_letter = v_purge.dead_letter
      -- What has died since the purge began was not in its range.
      and (not l.dead_letter or l.dead_lettered_at < v_purge.started_at)
      and (v_purge.channel_ids is null or l.channel_id = any (v_purge.channel_ids))
  )
  into v_looked, v_last, v_ids
  from (
    select m.id, m.dead_letter, m.dead_lettered_at, m.channel_id
    from towpath.message m
    where m.queue_id = v_purge.queue_id
      and m.consumer_group_id = v_purge.consumer_group_id
      and m.id > v_purge.cursor_id
      and m.id <= v_purge.watermark
    order by m.id
    limit batch
  ) l;
  foreach v_id in array coalesce(v_ids, '{}') loop
    delete from towpath.message m
    where m.queue_id = v_purge.queue_id
      and m.consumer_group_id = v_purge.consumer_group_id
      and m.id = v_id
      -- Until it was locked it may have become a dead letter, which this purge is not about.
      and m.dead_letter = v_purge.dead_letter
    returning m.channel_id, m.size_in_bytes into v_channel_id, v_size;
    if found then
      v_channel_ids := v_channel_ids || v_channel_id;
      v_sizes := v_sizes || v_size;
    end if;
  end loop;
  insert into towpath.purge_offset as o (
    queue_id, work_request_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes
  )
  select v_purge.queue_id, v_purge.work_request_id, v_purge.consumer_group_id, v_purge.dead_letter,
    g.channel_id, -count(*), -sum(g.size_in_bytes)
  from unnest(v_channel_ids, v_sizes) as g(channel_id, size_in_bytes)
  group by g.channel_id
  order by g.channel_id
  on conflict on constraint purge_offset_pkey do update
  set messages = o.messages + excluded.messages,
    size_in_bytes = o.size_in_bytes + excluded.size_in_bytes;
  update towpath.purge p
  set cursor_id = case when v_looked < batch then p.watermark else v_last end
  where p.queue_id = v_purge.queue_id
    and p.work_request_id = v_purge.work_request_id
    and p.consumer_group_id = v_purge.consumer_group_id
    and p.dead_letter = v_purge.dead_letter;
  if cardinality(v_sizes) > 0 then
    insert into towpath.work_request_log (work_request_id, message)
    values ((request).id, format(
      'deleted %s %s', cardinality(v_sizes), case when v_purge.dead_letter then 'dead letters' else 'messages' end
    ));
  end if;
  return false;
end;
$$;

comment on function towpath.run_purge_step(towpath.work_request, integer) is
'Deletes the next batch of a purge; true when it was the last and the work request is finished.';

create function towpath.run_delete_step(request towpath.work_request, batch integer)
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
  v_message record;
  v_gone integer := 0;
begin
  -- First of all, so that no step of another request of this queue is under way when its rows are deleted below.
  update towpath.work_request w
  set status = 'CANCELED', action_type = 'RELATED', time_finished = clock_timestamp()
  where w.queue_id = (request).queue_id
    and w.id <> (request).id
    and w.time_finished is null;
  for v_message in
    select m.consumer_group_id, m.id
    from towpath.message m
    where m.queue_id = (request).queue_id
    order by m.consumer_group_id, m.id
    limit batch
  loop
    delete from towpath.message m
    where m.queue_id = (request).queue_id
      and m.consumer_group_id = v_message.consumer_group_id
      and m.id = v_message.id;
    v_gone := v_gone + 1;
  end loop;
  if v_gone = batch then
    insert into towpath.work_request_log (work_request_id, message)
    values ((request).id, format('deleted %s messages', v_gone));
    return false;
  end if;
  delete from towpath.message_delta d where d.queue_id = (request).queue_id;
  delete from towpath.message_total t where t.queue_id = (request).queue_id;
  delete from towpath.purge p where p.queue_id = (request).queue_id;
  delete from towpath.purge_offset o where o.queue_id = (request).queue_id;
  update towpath.consumer_group g
  set lifecycle_state = 'DELETED',
    lifecycle_details = null,
    time_updated = clock_timestamp(),
    version = g.version + 1
  where g.queue_id = (request).queue_id
    and g.lifecycle_state <> 'DELETED';
  update towpath.queue q
  set lifecycle_state = 'DELETED',
    lifecycle_details = null,
    time_updated = clock_timestamp(),
    version = q.version + 1
  where q.id = (request).queue_id;
  perform towpath.finish_work_request(request, 'DELETED', 'deleted the queue');
  return true;
end;
$$;

comment on function towpath.run_delete_step(towpath.work_request, integer) is
'Deletes the next batch of messages of a queue that is being deleted; true when it was the last and the queue is DELETED.';

create function towpath.run_work_request_step(work_request_ocid text default null, batch integer default 1000)
returns text
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  v_request towpath.work_request;
  v_finished boolean;
begin
  -- Whoever has locked it is at it.
  select w.* into v_request
  from towpath.work_request w
  where w.time_finished is null
    and (run_work_request_step.work_request_ocid is null or w.ocid = run_work_request_step.work_request_ocid)
  order by w.id
  limit 1
  for update skip locked;
  if not found then
    return null;
  end if;
  if v_request.time_started is null then
    update towpath.work_request w
    set status = 'IN_PROGRESS', time_started = clock_timestamp()
    where w.id = v_request.id;
  end if;
  if v_request.operation_type = 'PURGE_QUEUE' then
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
'Does one bounded batch of a work request (null: of the oldest unfinished one that nobody is at). Returns its status after that, or null where there was nothing to do.';

-- Forgetting -------------------------------------------------------------------------------------------------------------

create function towpath.forget_old_records(batch integer default 500)
returns integer
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_count integer;
  v_total integer := 0;
  v_queue_id bigint;
  v_group_id bigint;
begin
  with old as (
    select t.tenancy_id, t.token from towpath.retry_token t
    where t.time_created < v_now - interval '24 hours' order by t.time_created limit batch for update skip locked
  )
  delete from towpath.retry_token t using old o where t.tenancy_id = o.tenancy_id and t.token = o.token;
  get diagnostics v_count = row_count;
  v_total := v_total + v_count;

  with old as (
    select w.id from towpath.work_request w
    where w.time_finished < v_now - interval '7 days' order by w.time_finished limit batch for update skip locked
  ),
  logs as (delete from towpath.work_request_log l using old o where l.work_request_id = o.id),
  errors as (delete from towpath.work_request_error e using old o where e.work_request_id = o.id)
  delete from towpath.work_request w using old o where w.id = o.id;
  get diagnostics v_count = row_count;
  v_total := v_total + v_count;

  -- A deleted queue stays readable for an hour, for clients that wait for its deletion. What a put that was under way
  -- committed after the last sweep goes with it.
  for v_queue_id in
    select q.id from towpath.queue q
    where q.lifecycle_state = 'DELETED' and q.time_updated < v_now - interval '1 hour'
    order by q.time_updated limit 20 for update skip locked
  loop
    delete from towpath.message m where m.queue_id = v_queue_id;
    delete from towpath.message_delta d where d.queue_id = v_queue_id;
    delete from towpath.message_total t where t.queue_id = v_queue_id;
    delete from towpath.consumer_group g where g.queue_id = v_queue_id;
    delete from towpath.queue q where q.id = v_queue_id;
    v_total := v_total + 1;
  end loop;

  -- Consumer groups likewise.
  for v_queue_id, v_group_id in
    select g.queue_id, g.id from towpath.consumer_group g
    where g.lifecycle_state = 'DELETED' and g.time_updated < v_now - interval '1 hour'
    order by g.time_updated limit 20 for update skip locked
  loop
    delete from towpath.message m where m.queue_id = v_queue_id and m.consumer_group_id = v_group_id;
    delete from towpath.message_delta d where d.queue_id = v_queue_id and d.consumer_group_id = v_group_id;
    delete from towpath.message_total t where t.queue_id = v_queue_id and t.consumer_group_id = v_group_id;
    delete from towpath.consumer_group g where g.queue_id = v_queue_id and g.id = v_group_id;
    v_total := v_total + 1;
  end loop;
  return v_total;
end;
$$;

comment on function towpath.forget_old_records(integer) is
'Removes retry tokens after 24 hours, finished work requests after 7 days, deleted queues after an hour. Returns how many.';

create function towpath.work_request_is_waiting()
returns boolean
language sql
stable
set search_path = towpath, pg_temp
as $$
  select exists (select from towpath.work_request w where w.time_finished is null);
$$;

comment on function towpath.work_request_is_waiting() is 'True while there are work requests to run.';
