-- oldest program: 6
--
-- Claims that begin to look where the oldest live message is, and not at the beginning of the index.
--
-- While anybody holds a snapshot (a long report, a forgotten psql) vacuum cannot clean, and the index keeps an entry for every
-- time at which a message was ever visible. A claim looks for the oldest, so it would wade through all of them. Each pod
-- remembers for what it claims from a floor, below which it knows no live message (src/messages/floors.ts), and
-- passes it as visible_from. The floor is a matter of speed: a message below it is not lost, it is found by the next look from the beginning.
--
-- visible_after is only ever set to the time of the statement or later, so what is to come lies above a floor that is old enough.

drop function towpath.get_messages(bigint, bigint, boolean, text, text, integer, integer, text, integer);
drop function towpath.get_messages_for_many(bigint, bigint, boolean, text, text, integer[], integer[], integer, text);
drop function towpath.next_visible_after(bigint, bigint, boolean, text);

create function towpath.get_messages(
  queue_id bigint,
  consumer_group_id bigint default 0,
  dead_letter boolean default false,
  channel_id text default null,
  after_channel_id text default '',
  max_messages integer default 1,
  visibility_in_seconds integer default null,
  delivered_to text default null,
  max_bytes integer default 2097152,
  visible_from timestamptz default '-infinity'
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
            and m.visible_after >= get_messages.visible_from
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
            and m.visible_after >= get_messages.visible_from
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
            and m.visible_after >= get_messages.visible_from
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
            and m.visible_after >= get_messages.visible_from
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
    v_floor := greatest(get_messages.visible_from, v_now - make_interval(secs => v_queue.retention_in_seconds + 60));
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

comment on function towpath.get_messages(bigint, bigint, boolean, text, text, integer, integer, text, integer, timestamptz) is
'Delivers up to max_messages visible messages of one channel: counts the delivery, raises the receipt number and hides them for visibility_in_seconds (null: the queue''s; 0: they stay visible). channel_id null: the next channel after after_channel_id, in turn, that has something ('''' is the queue itself). dead_letter true: from the dead letter queue, where no limit counts. Answers hold at most max_bytes, but always one message. What is visible since before visible_from is not looked at: find_floor says from where on that misses nothing. Nothing waits here. TP404 queue, TP409 state.';

create function towpath.get_messages_for_many(
  queue_id bigint,
  consumer_group_id bigint,
  dead_letter boolean,
  channel_id text,
  after_channel_id text,
  limits integer[],
  max_bytes integer[],
  visibility_in_seconds integer default null,
  delivered_to text default null,
  visible_from timestamptz default '-infinity'
)
returns setof towpath.message
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
  v_count constant integer := cardinality(limits);
  v_channel_id text := get_messages_for_many.channel_id;
  -- The first request that nothing was claimed for yet.
  v_next integer := 1;
  -- How many requests the next claim is for.
  v_share integer := 1;
  v_last_channel_id text := after_channel_id;
  -- Of each claim, in order, until a channel comes again: then it is known how many there are that have something.
  v_channel_ids text[] := '{}';
  v_is_around boolean := false;
  v_limit bigint;
  v_max_bytes bigint;
  v_claimed towpath.message[];
  v_left integer;
begin
  if v_channel_id is null then
    -- Most queues have no channels: then there is nothing to take in turn.
    perform
    from towpath.message m
    where m.queue_id = get_messages_for_many.queue_id
      and m.consumer_group_id = get_messages_for_many.consumer_group_id
      and m.dead_letter = get_messages_for_many.dead_letter
      and m.size_in_bytes >= 0
      and m.channel_id > ''
      and m.visible_after >= get_messages_for_many.visible_from
    order by m.channel_id, m.visible_after
    limit 1;
    if not found then
      v_channel_id := '';
    end if;
  end if;
  -- Of one channel one claim is for all of them.
  if v_channel_id is not null then
    select sum(l), sum(b) into v_limit, v_max_bytes from unnest(limits, max_bytes) u(l, b);
    return query
    select m.*
    from towpath.get_messages(
      get_messages_for_many.queue_id, get_messages_for_many.consumer_group_id, get_messages_for_many.dead_letter,
      v_channel_id, after_channel_id, least(v_limit, 2147483647)::integer,
      get_messages_for_many.visibility_in_seconds, get_messages_for_many.delivered_to,
      least(v_max_bytes, 2147483647)::integer, get_messages_for_many.visible_from
    ) m;
    return;
  end if;
  -- Otherwise each takes its channel in turn, as if it had come alone, until all channels had their turn; from then on one
  -- claim is for all that are left for a channel. So messages of one channel only are three claims, however many requests
  -- there are.
  while v_next <= v_count loop
    select sum(l), sum(b) into v_limit, v_max_bytes
    from unnest(limits[v_next:v_next + v_share - 1], max_bytes[v_next:v_next + v_share - 1]) u(l, b);
    -- At once and not row by row, which takes as long again as the claim.
    select array_agg(m) into v_claimed
    from towpath.get_messages(
      get_messages_for_many.queue_id, get_messages_for_many.consumer_group_id, get_messages_for_many.dead_letter,
      null, v_last_channel_id, least(v_limit, 2147483647)::integer,
      get_messages_for_many.visibility_in_seconds, get_messages_for_many.delivered_to,
      least(v_max_bytes, 2147483647)::integer, get_messages_for_many.visible_from
    ) m;
    exit when v_claimed is null;
    return query select * from unnest(v_claimed);
    v_left := cardinality(v_claimed);
    loop
      v_left := v_left - limits[v_next];
      v_next := v_next + 1;
      exit when v_left <= 0 or v_next > v_count;
    end loop;
    v_last_channel_id := v_claimed[1].channel_id;
    if not v_is_around then
      v_is_around := v_last_channel_id = any (v_channel_ids);
      if v_is_around then
        v_share := ceil(
          (v_count - v_next + 1)::numeric
            / (cardinality(v_channel_ids) - array_position(v_channel_ids, v_last_channel_id) + 1)
        );
      end if;
      v_channel_ids := v_channel_ids || v_last_channel_id;
    end if;
  end loop;
end;
$$;

comment on function towpath.get_messages_for_many(bigint, bigint, boolean, text, text, integer[], integer[], integer, text, timestamptz) is
'As get_messages, for several requests that came beside each other: limits and max_bytes have one element per request, in the order in which they came. The caller shares out what comes, in its order: a request takes messages of one channel, at most its limit and its bytes, and one in any case. What is left over then, which happens where sizes fill no answer exactly, the caller releases. Where the requests name no channel (channel_id null), each has the next one in turn. The same errors.';

create function towpath.next_visible_after(
  queue_id bigint,
  consumer_group_id bigint,
  dead_letter boolean,
  channel_id text default null,
  visible_from timestamptz default '-infinity'
)
returns timestamptz
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
  v_retention_in_seconds integer;
  v_purge towpath.purge;
  v_watermark bigint;
  v_floor timestamptz;
  v_channel_id text := coalesce(next_visible_after.channel_id, '');
  v_next timestamptz;
  v_earliest timestamptz;
  v_skips constant boolean := towpath.skips_channels();
begin
  select q.retention_in_seconds into v_retention_in_seconds
  from towpath.queue q
  where q.id = next_visible_after.queue_id;
  select p.* into v_purge
  from towpath.purge p
  where p.queue_id = next_visible_after.queue_id
    and p.consumer_group_id = next_visible_after.consumer_group_id
    and p.dead_letter = next_visible_after.dead_letter;
  if v_skips and next_visible_after.channel_id is null then
    -- From channel to channel inside the index, stopping only where one has an earlier time than all before: a dozen
    -- statements for 10,000 channels as a rule, because the earliest so far is beaten ever more seldom.
    v_floor := greatest(next_visible_after.visible_from, v_now - make_interval(secs => v_retention_in_seconds + 60));
    if v_purge.queue_id is not null and v_purge.channel_ids is null then
      v_floor := greatest(v_floor, v_purge.started_at);
    end if;
    v_earliest := 'infinity';
    loop
      select m.channel_id, m.visible_after into v_channel_id, v_next
      from towpath.message m
      where m.queue_id = next_visible_after.queue_id
        and m.consumer_group_id = next_visible_after.consumer_group_id
        and m.dead_letter = next_visible_after.dead_letter
        and m.size_in_bytes >= 0
        and m.channel_id >= v_channel_id
        and m.visible_after >= v_floor
        and m.visible_after < v_earliest
        and m.expire_after > v_now
        and (
          v_purge.queue_id is null
          or m.id > v_purge.watermark
          or m.dead_lettered_at >= v_purge.started_at
          or m.channel_id <> all (v_purge.channel_ids)
        )
      order by m.channel_id, m.visible_after
      limit 1;
      exit when not found;
      v_earliest := v_next;
      -- What is visible already wakes at once whatever comes later.
      exit when v_earliest <= v_now;
    end loop;
    return nullif(v_earliest, 'infinity');
  end if;
  loop
    -- Expired and purged messages are stepped over as in get_messages.
    v_floor := greatest(next_visible_after.visible_from, v_now - make_interval(secs => v_retention_in_seconds + 60));
    v_watermark := 0;
    if v_purge.channel_ids is null or v_channel_id = any (v_purge.channel_ids) then
      v_floor := greatest(v_floor, v_purge.started_at);
      v_watermark := coalesce(v_purge.watermark, 0);
    end if;
    select m.visible_after into v_next
    from towpath.message m
    where m.queue_id = next_visible_after.queue_id
      and m.consumer_group_id = next_visible_after.consumer_group_id
      and m.dead_letter = next_visible_after.dead_letter
      and m.size_in_bytes >= 0
      and m.channel_id = v_channel_id
      and m.visible_after >= v_floor
      and m.expire_after > v_now
      and (m.id > v_watermark or m.dead_lettered_at >= v_purge.started_at)
    order by m.visible_after
    limit 1;
    v_earliest := least(v_earliest, v_next);
    exit when next_visible_after.channel_id is not null;
    select m.channel_id into v_channel_id
    from towpath.message m
    where m.queue_id = next_visible_after.queue_id
      and m.consumer_group_id = next_visible_after.consumer_group_id
      and m.dead_letter = next_visible_after.dead_letter
      and m.size_in_bytes >= 0
      and m.channel_id > v_channel_id
    order by m.channel_id
    limit 1;
    exit when not found;
  end loop;
  return v_earliest;
end;
$$;

comment on function towpath.next_visible_after(bigint, bigint, boolean, text, timestamptz) is
'When the next message of the channel (null: of any) is visible; a time that has passed where one is visible already but locked by a get under way; null where there is none. visible_from as in get_messages.';

create function towpath.find_floor(
  queue_id bigint,
  consumer_group_id bigint,
  dead_letter boolean,
  channel_id text,
  visible_from timestamptz,
  lag_in_ms integer,
  out floor timestamptz,
  out looked_at timestamptz
)
language plpgsql
-- Volatile, so that each statement below sees what was committed before it, and not what was before looked_at.
volatile
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
  v_from timestamptz;
  v_retention_in_seconds integer;
  v_channel_id text := coalesce(find_floor.channel_id, '');
  v_skips constant boolean := towpath.skips_channels();
  v_oldest timestamptz;
begin
  looked_at := clock_timestamp();
  floor := looked_at - make_interval(secs => lag_in_ms / 1000.0);
  select q.retention_in_seconds into v_retention_in_seconds
  from towpath.queue q
  where q.id = find_floor.queue_id;
  v_from := greatest(find_floor.visible_from, looked_at - make_interval(secs => v_retention_in_seconds + 60));
  -- Without locks, and whoever holds them: what a claim under way has locked may be given back. What has expired is never
  -- delivered, so it holds nothing down. What a purge hides does: the purge may fail.
  if v_skips and find_floor.channel_id is null then
    -- As in next_visible_after: from channel to channel inside the index, to those only that have an older one.
    loop
      select m.channel_id, m.visible_after into v_channel_id, v_oldest
      from towpath.message m
      where m.queue_id = find_floor.queue_id
        and m.consumer_group_id = find_floor.consumer_group_id
        and m.dead_letter = find_floor.dead_letter
        and m.size_in_bytes >= 0
        and m.channel_id >= v_channel_id
        and m.visible_after >= v_from
        and m.visible_after < find_floor.floor
        and m.expire_after > looked_at
      order by m.channel_id, m.visible_after
      limit 1;
      exit when not found;
      floor := v_oldest;
    end loop;
    return;
  end if;
  loop
    select m.visible_after into v_oldest
    from towpath.message m
    where m.queue_id = find_floor.queue_id
      and m.consumer_group_id = find_floor.consumer_group_id
      and m.dead_letter = find_floor.dead_letter
      and m.size_in_bytes >= 0
      and m.channel_id = v_channel_id
      and m.visible_after >= v_from
      and m.visible_after < find_floor.floor
      and m.expire_after > looked_at
    order by m.visible_after
    limit 1;
    floor := least(floor, v_oldest);
    exit when find_floor.channel_id is not null;
    select m.channel_id into v_channel_id
    from towpath.message m
    where m.queue_id = find_floor.queue_id
      and m.consumer_group_id = find_floor.consumer_group_id
      and m.dead_letter = find_floor.dead_letter
      and m.size_in_bytes >= 0
      and m.channel_id > v_channel_id
    order by m.channel_id
    limit 1;
    exit when not found;
  end loop;
end;
$$;

comment on function towpath.find_floor(bigint, bigint, boolean, text, timestamptz, integer) is
'From which time on a claim of the channel (null: of any) finds every message that is committed by now: that of the oldest live one that is visible, or has been for a claim under way, and at most lag_in_ms ago, for those that are stored but not committed. looked_at is the database''s time before the look. What is older than visible_from is not looked at; -infinity looks at all.';
