-- oldest program: 6
--
-- What operators ask of a message that failed: to whom it was delivered and when, and why it is a dead letter. And
-- channels in turn by skip scan, because that is in the same function.

alter table towpath.message
  add column delivery_history jsonb,
  add column dead_letter_reason text;

comment on column towpath.message.delivery_history is
'The deliveries before the last one, oldest first, the latest 20: [{"deliveredAt": "2026-11-22T10:26:16.123456Z", "deliveredTo": "ocid1.user..."}]. The last one is in delivered_at and delivered_to.';
comment on column towpath.message.dead_letter_reason is 'Why it is a dead letter; null while it is none.';

create function towpath.append_delivery(history jsonb, delivered_at timestamptz, delivered_to text)
returns jsonb
language sql
stable
set search_path = towpath, pg_temp
as $$
  select
    case when jsonb_array_length(history) >= 20 then history - 0 else coalesce(history, '[]') end
    || jsonb_build_object(
      'deliveredAt', to_char(append_delivery.delivered_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
      'deliveredTo', append_delivery.delivered_to
    );
$$;

comment on function towpath.append_delivery(jsonb, timestamptz, text) is
'Returns the history (null: none yet) with one delivery more, of which it keeps the latest 20.';

create function towpath.skips_channels()
returns boolean
language sql
stable
set search_path = towpath, pg_temp
as $$
  select current_setting('server_version_num')::integer >= 180000
    and coalesce(current_setting('towpath.skip_scan', true), '') <> 'off';
$$;

comment on function towpath.skips_channels() is
'True where one walk of an index may skip from channel to channel (PostgreSQL 18 and newer). "set towpath.skip_scan = off" makes it false, for comparisons.';

create or replace function towpath.move_to_dead_letter_queue()
returns trigger
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  -- The update that fires this has counted one delivery too many, which never happens: the message keeps the count,
  -- time and receiver of its last real delivery, and is visible in the dead letter queue at once.
  new.dead_letter := true;
  new.dead_lettered_at := new.delivered_at;
  new.dead_letter_reason := format(
    'delivered %s and not deleted, and %s allowed',
    case old.delivery_count when 1 then 'once' else old.delivery_count || ' times' end,
    case new.delivery_limit when 1 then '1 delivery is' else new.delivery_limit || ' deliveries are' end
  );
  new.visible_after := new.delivered_at;
  new.delivery_count := old.delivery_count;
  new.delivered_at := old.delivered_at;
  new.delivered_to := old.delivered_to;
  new.delivery_history := old.delivery_history;
  new.receipt_number := old.receipt_number + 1;
  return new;
end;
$$;

create or replace function towpath.get_messages(
  queue_id bigint,
  consumer_group_id bigint default 0,
  dead_letter boolean default false,
  channel_id text default null,
  after_channel_id text default '',
  max_messages integer default 1,
  visibility_in_seconds integer default null,
  delivered_to text default null,
  max_bytes integer default 2097152
)
returns setof towpath.message
language plpgsql
set search_path = towpath, pg_temp
-- See the head of this file. The penalties below would make PostgreSQL 15 to 17 compile the statement (half a second)
-- if jit were on.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
  v_queue towpath.queue;
  v_now timestamptz;
  v_visible_after timestamptz;
  v_delivery_limit integer;
  v_group_state text;
  v_channel_id text;
  v_oldest timestamptz;
  v_wrapped boolean := false;
  v_skips constant boolean := towpath.skips_channels();
  v_purge towpath.purge;
  v_watermark bigint;
  v_floor timestamptz;
  v_seen bigint[] := '{}';
  v_found integer := 0;
  v_bytes bigint := 0;
  v_dead integer;
  v_dead_bytes bigint;
  v_message towpath.message;
begin
  select q.* into v_queue from towpath.queue q where q.id = get_messages.queue_id;
  if not found or v_queue.lifecycle_state in ('DELETING', 'DELETED') then
    perform towpath.fail('TP404', 'the queue does not exist or you may not use it');
  elsif v_queue.lifecycle_state not in ('ACTIVE', 'UPDATING') then
    perform towpath.fail('TP409', 'the queue is ' || v_queue.lifecycle_state || ': it gives no messages');
  end if;
  v_now := clock_timestamp();
  v_delivery_limit := nullif(v_queue.dead_letter_queue_delivery_count, 0);
  if v_queue.capabilities <> '[]' and towpath.has_consumer_groups(v_queue) then
    select nullif(coalesce(g.dead_letter_queue_delivery_count, v_queue.dead_letter_queue_delivery_count), 0), g.lifecycle_state
    into v_delivery_limit, v_group_state
    from towpath.consumer_group g
    where g.queue_id = v_queue.id and g.id = get_messages.consumer_group_id;
    if not found or v_group_state in ('DELETING', 'DELETED') then
      perform towpath.fail('TP404', 'the consumer group does not exist or you may not use it');
    elsif v_group_state <> 'ACTIVE' then
      perform towpath.fail('TP409', 'the consumer group is ' || v_group_state || ': it gives no messages');
    end if;
  end if;
  v_visible_after := v_now + make_interval(secs => coalesce(visibility_in_seconds, v_queue.visibility_in_seconds));
  if v_queue.lifecycle_state = 'UPDATING' then
    select p.* into v_purge
    from towpath.purge p
    where p.queue_id = get_messages.queue_id
      and p.consumer_group_id = get_messages.consumer_group_id
      and p.dead_letter = get_messages.dead_letter;
  end if;
  v_channel_id := coalesce(get_messages.channel_id, after_channel_id);

  loop
    if get_messages.channel_id is null then
      -- The next channel in turn that has something visible. From PostgreSQL 18 on one walk finds it: it skips from channel
      -- to channel inside the index (10,000 channels with nothing visible: 6 ms, by the loop 140 ms). Before, the first
      -- index entry of each channel says which it is and whether it has something visible.
      loop
        if not v_skips then
          select m.channel_id, m.visible_after into v_channel_id, v_oldest
          from towpath.message m
          where m.queue_id = get_messages.queue_id
            and m.consumer_group_id = get_messages.consumer_group_id
            and m.dead_letter = get_messages.dead_letter
            and m.size_in_bytes >= 0
            and m.channel_id > v_channel_id
          order by m.channel_id, m.visible_after
          limit 1;
        elsif not v_wrapped then
          select m.channel_id, m.visible_after into v_channel_id, v_oldest
          from towpath.message m
          where m.queue_id = get_messages.queue_id
            and m.consumer_group_id = get_messages.consumer_group_id
            and m.dead_letter = get_messages.dead_letter
            and m.size_in_bytes >= 0
            and m.channel_id > v_channel_id
            and m.visible_after <= v_now
          order by m.channel_id, m.visible_after
          limit 1;
        else
          select m.channel_id, m.visible_after into v_channel_id, v_oldest
          from towpath.message m
          where m.queue_id = get_messages.queue_id
            and m.consumer_group_id = get_messages.consumer_group_id
            and m.dead_letter = get_messages.dead_letter
            and m.size_in_bytes >= 0
            and m.channel_id > v_channel_id
            and m.channel_id <= after_channel_id
            and m.visible_after <= v_now
          order by m.channel_id, m.visible_after
          limit 1;
        end if;
        if found then
          exit when v_oldest <= v_now or (v_wrapped and v_channel_id > after_channel_id);
        elsif v_wrapped then
          return;
        else
          -- Around once: the queue itself is '', which nothing is smaller than, so it is looked at on its own.
          v_wrapped := true;
          v_channel_id := '';
          select m.visible_after into v_oldest
          from towpath.message m
          where m.queue_id = get_messages.queue_id
            and m.consumer_group_id = get_messages.consumer_group_id
            and m.dead_letter = get_messages.dead_letter
            and m.size_in_bytes >= 0
            and m.channel_id = ''
          order by m.visible_after
          limit 1;
          exit when found and v_oldest <= v_now;
        end if;
      end loop;
      if v_wrapped and v_channel_id > after_channel_id then
        return;
      end if;
    end if;

    -- What was created longer ago than the retention has expired, and nothing is visible before it is created: so expired
    -- messages that were not swept yet are stepped over unseen. The minute is for a clock that was set back.
    v_floor := v_now - make_interval(secs => v_queue.retention_in_seconds + 60);
    v_watermark := 0;
    if v_purge.channel_ids is null or v_channel_id = any (v_purge.channel_ids) then
      v_floor := greatest(v_floor, v_purge.started_at);
      v_watermark := coalesce(v_purge.watermark, 0);
    end if;

    -- Messages past their limit turn into dead letters instead of being delivered, so it may take more than one round
    -- to fill the answer; three at most, or a long row of them would make one get run for seconds.
    for i in 1..3 loop
      v_dead := 0;
      v_dead_bytes := 0;
      for v_message in
        with candidate as materialized (
          select m.id, m.size_in_bytes, m.visible_after
          from towpath.message m
          where m.queue_id = get_messages.queue_id
            and m.consumer_group_id = get_messages.consumer_group_id
            and m.dead_letter = get_messages.dead_letter
            and m.size_in_bytes >= 0
            and m.channel_id = v_channel_id
            and m.visible_after >= v_floor
            and m.visible_after <= v_now
            -- Expired messages are never delivered, whether they were swept or not.
            and m.expire_after > v_now
            -- What has died since a purge of the dead letters began is none of its range.
            and (m.id > v_watermark or m.dead_lettered_at >= v_purge.started_at)
            -- With visibility 0 a message stays visible: a later round must not take it again.
            and m.id <> all (v_seen)
          order by m.visible_after, m.id
          limit max_messages - v_found
          for update skip locked
        ),
        fitting as (
          -- As many as fit into one answer, and always one.
          select s.id
          from (
            select c.id, c.size_in_bytes, sum(c.size_in_bytes) over (order by c.visible_after, c.id) as upto
            from candidate c
          ) s
          where v_bytes + s.upto <= max_bytes or (v_found = 0 and s.upto = s.size_in_bytes)
        )
        -- An update, by primary key: see the head of this file. What it would insert is never looked at.
        insert into towpath.message as m (
          queue_id, consumer_group_id, id, visible_after, expire_after, created_at, size_in_bytes, body
        )
        select get_messages.queue_id, get_messages.consumer_group_id, f.id, v_visible_after, v_now, v_now, 0, ''
        from fitting f
        on conflict on constraint message_pkey do update
        set delivery_count = m.delivery_count + 1,
          delivery_limit = case when m.dead_letter then m.delivery_limit else v_delivery_limit end,
          receipt_number = m.receipt_number + 1,
          visible_after = case when visibility_in_seconds = 0 then m.visible_after else v_visible_after end,
          -- The last delivery is in its columns; the one before goes to the history now, so a first one writes nothing more.
          delivery_history = case
            when m.delivered_at is null then m.delivery_history
            else towpath.append_delivery(m.delivery_history, m.delivered_at, m.delivered_to)
          end,
          delivered_at = v_now,
          delivered_to = get_messages.delivered_to
        returning m.*
      loop
        v_seen := v_seen || v_message.id;
        if v_message.dead_letter = get_messages.dead_letter then
          v_found := v_found + 1;
          v_bytes := v_bytes + v_message.size_in_bytes;
          return next v_message;
        else
          v_dead := v_dead + 1;
          v_dead_bytes := v_dead_bytes + v_message.size_in_bytes;
        end if;
      end loop;
      exit when v_dead = 0;
      insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
      values
        (get_messages.queue_id, get_messages.consumer_group_id, false, v_channel_id, -v_dead, -v_dead_bytes),
        (get_messages.queue_id, get_messages.consumer_group_id, true, v_channel_id, v_dead, v_dead_bytes);
      exit when v_found >= max_messages;
    end loop;

    -- One channel per answer. Where this one had nothing after all (all of it locked, expired or dead), the next has its turn.
    exit when v_found > 0 or get_messages.channel_id is not null;
  end loop;
end;
$$;

create or replace function towpath.release_messages(
  queue_id bigint,
  consumer_group_id bigint,
  dead_letter boolean,
  ids bigint[],
  receipt_numbers bigint[]
)
returns setof bigint
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  v_now timestamptz;
  v_entry record;
begin
  -- Locked first, in order, before the clock is read.
  perform
  from (select distinct u.id from unnest(ids) u(id) order by u.id) e
  cross join lateral (
    select
    from towpath.message m
    where m.queue_id = release_messages.queue_id
      and m.consumer_group_id = release_messages.consumer_group_id
      and m.id = e.id
    for update
  ) locked;
  v_now := clock_timestamp();
  for v_entry in
    select e.id, e.receipt_number
    from unnest(ids, receipt_numbers) as e(id, receipt_number)
    order by e.id
  loop
    update towpath.message m
    set delivery_count = m.delivery_count - 1,
      receipt_number = m.receipt_number + 1,
      visible_after = v_now,
      -- The last delivery is again the one before.
      delivered_at = (m.delivery_history -> -1 ->> 'deliveredAt')::timestamptz,
      delivered_to = m.delivery_history -> -1 ->> 'deliveredTo',
      delivery_history = nullif(m.delivery_history - -1, '[]')
    where m.queue_id = release_messages.queue_id
      and m.consumer_group_id = release_messages.consumer_group_id
      and m.id = v_entry.id
      and m.receipt_number = v_entry.receipt_number
      and m.dead_letter = release_messages.dead_letter;
    if found then
      return next v_entry.id;
    end if;
  end loop;
end;
$$;
