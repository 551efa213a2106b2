-- oldest program: 1
--
-- The data plane: the messages, the claim, receipts, the dead letter trigger, statistics.
--
-- Rules that every function here keeps (docs/architecture.md has the reasons):
-- * queue_id comes first, in every key and in every function; a function touches one queue only.
-- * The database's clock is the only clock; it is read into a variable once, never inside an UPDATE.
-- * visible_after is only ever set to the statement's time or later.
-- * receipt_number only ever grows, so a receipt is dead as soon as anything happened to the message since.
-- * Several rows are locked in the order of their ids, so that two calls cannot deadlock.
-- * No plan depends on statistics, which are wrong whenever a queue has just grown, nor on when a session planned it:
--   where a queue seems to have one row, or none, walking the whole of it costs the planner as little as looking up one
--   id, and it chose just that (20 updates in 1,000,000 messages: 7 s). So there are two forms only, each of which one
--   index alone can serve:
--   a walk, with the ORDER BY of the index it is meant for, a LIMIT, and sorting switched off;
--   a lookup, by equality with the whole primary key, for one id at a time (never id = any (…), never a join).
--   Updates of many rows by id go in as insert … on conflict do update, which finds each row by the constraint it names
--   and never inserts, because the rows were locked before. (One UPDATE per row instead: twice the time at 200 rows.)

-- Drawn once per message, also where several consumer groups take it. Below 2^53 because OCI's id is a JSON number.
create sequence towpath.message_id as bigint maxvalue 9007199254740991;

create table towpath.message (
  -- Keys first.
  queue_id bigint not null,
  -- 0 is the primary consumer group, which every queue has.
  consumer_group_id bigint not null default 0,
  id bigint not null,
  -- Then what has a fixed width, widest first, so that no row pays for padding.
  visible_after timestamptz not null,
  expire_after timestamptz not null,
  created_at timestamptz not null,
  delivered_at timestamptz,
  dead_lettered_at timestamptz,
  receipt_number bigint not null default 0,
  key_id bigint,
  size_in_bytes integer not null,
  delivery_count integer not null default 0,
  -- The limit in force at the last delivery; null: none. A changed limit applies from the next delivery on.
  delivery_limit integer,
  dead_letter boolean not null default false,
  -- '' is the queue itself, outside any channel.
  channel_id text collate "C" not null default '',
  delivered_to text,
  properties jsonb,
  body bytea not null,
  constraint message_pkey primary key (queue_id, consumer_group_id, id),
  constraint delivery_count_is_not_negative check (delivery_count >= 0),
  constraint size_in_bytes_is_not_negative check (size_in_bytes >= 0),
  constraint channel_id_has_up_to_64_characters check (channel_id ~ '^[A-Za-z0-9._-]{0,64}$')
)
-- Every delivery writes a new version of the row; free room keeps it on the same page.
with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

comment on table towpath.message is
'One row per message and consumer group. Visible: visible_after has passed; in flight: delivered and visible_after lies ahead; dead letter: dead_letter; gone: deleted, or expire_after has passed.';
comment on column towpath.message.body is 'The content, as UTF-8 bytes where it came as text.';
comment on column towpath.message.key_id is 'The data key that body and properties are sealed with; null: not sealed.';
comment on column towpath.message.receipt_number is 'Grows with every delivery, release, dead-lettering and redrive. A receipt is (id, receipt_number).';

-- The claim, the channels, the dead letters and what is in flight are all ranges of this one index. Its condition is
-- always true: it only keeps the index from statements that do not repeat it, which are the lookups by id.
create index message_claim on towpath.message (
  queue_id, consumer_group_id, dead_letter, channel_id, visible_after, id
)
where size_in_bytes >= 0;
-- Messages on their last allowed delivery: few, so the sweep that moves them once it has timed out finds them at once.
create index message_last_delivery on towpath.message (queue_id, visible_after)
where not dead_letter and delivery_count >= delivery_limit;

-- Statistics: totals, and changes that were not folded into them yet. Nobody updates a total on the hot path.

create table towpath.message_total (
  queue_id bigint not null,
  consumer_group_id bigint not null,
  dead_letter boolean not null,
  channel_id text collate "C" not null,
  messages bigint not null,
  size_in_bytes bigint not null,
  constraint message_total_pkey primary key (queue_id, consumer_group_id, dead_letter, channel_id)
)
with (fillfactor = 70);

comment on table towpath.message_total is 'How many messages there are, without the changes that are still in message_delta.';

create table towpath.message_delta (
  queue_id bigint not null,
  id bigint generated always as identity,
  consumer_group_id bigint not null,
  dead_letter boolean not null,
  channel_id text collate "C" not null,
  messages bigint not null,
  size_in_bytes bigint not null,
  constraint message_delta_pkey primary key (queue_id, id)
)
with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000);

comment on table towpath.message_delta is
'Changes of message_total, appended by every statement that adds, removes or moves messages; fold_message_deltas adds them up.';

create table towpath.purge (
  queue_id bigint not null,
  work_request_id bigint not null,
  consumer_group_id bigint not null,
  dead_letter boolean not null,
  -- Null: the queue and all its channels.
  channel_ids text[],
  -- What has an id up to this one and is in the range is invisible from the purge's commit on.
  watermark bigint not null,
  -- Read before the watermark was drawn: what is not purged was made visible at or after this time, so a claim may
  -- start looking there.
  started_at timestamptz not null,
  -- How far the deletion came.
  cursor_id bigint not null default 0,
  -- One purge at a time per queue.
  constraint purge_pkey primary key (queue_id, consumer_group_id, dead_letter)
);

comment on table towpath.purge is 'The ranges of purges that are running. A row goes with the end of its work request.';

create table towpath.purge_offset (
  queue_id bigint not null,
  work_request_id bigint not null,
  consumer_group_id bigint not null,
  dead_letter boolean not null,
  channel_id text collate "C" not null,
  messages bigint not null,
  size_in_bytes bigint not null,
  constraint purge_offset_pkey primary key (queue_id, work_request_id, consumer_group_id, dead_letter, channel_id)
);

comment on table towpath.purge_offset is
'What a running purge took off the statistics at its start, less what it has deleted since; the rest is given back at its end.';

-- The dead letter queue is a trigger ----------------------------------------------------------------------------------

create function towpath.move_to_dead_letter_queue()
returns trigger
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  -- The update that fires this has counted one delivery too many, which never happens: the message keeps the count,
  -- time and receiver of its last real delivery, and is visible in the dead letter queue at once.
  new.dead_letter := true;
  new.dead_lettered_at := new.delivered_at;
  new.visible_after := new.delivered_at;
  new.delivery_count := old.delivery_count;
  new.delivered_at := old.delivered_at;
  new.delivered_to := old.delivered_to;
  new.receipt_number := old.receipt_number + 1;
  return new;
end;
$$;

comment on function towpath.move_to_dead_letter_queue() is
'Makes a message a dead letter instead of delivering it once more than its delivery limit allows. Whoever updates delivery_count sets delivered_at to the statement''s time.';

create trigger move_to_dead_letter_queue
before update of delivery_count on towpath.message
for each row
when (new.delivery_count > new.delivery_limit and not new.dead_letter)
execute function towpath.move_to_dead_letter_queue();

-- Putting ------------------------------------------------------------------------------------------------------------

create function towpath.check_channels(queue_id bigint, channel_ids text[], max_channels integer)
returns void
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
  v_new text[] := '{}';
  v_channel_id text;
  v_count integer := 0;
begin
  foreach v_channel_id in array check_channels.channel_ids loop
    continue when v_channel_id = '' or v_channel_id = any (v_new);
    perform
    from towpath.message m
    where m.queue_id = check_channels.queue_id
      and m.consumer_group_id = 0
      and m.dead_letter = false
      and m.size_in_bytes >= 0
      and m.channel_id = v_channel_id
    order by m.visible_after
    limit 1;
    if not found then
      v_new := v_new || v_channel_id;
    end if;
  end loop;
  if cardinality(v_new) = 0 then
    return;
  end if;
  v_channel_id := '';
  -- Only the first message of a channel pays for this walk: one look at the index per channel that there is.
  loop
    select m.channel_id into v_channel_id
    from towpath.message m
    where m.queue_id = check_channels.queue_id
      and m.consumer_group_id = 0
      and m.dead_letter = false
      and m.size_in_bytes >= 0
      and m.channel_id > v_channel_id
    order by m.channel_id
    limit 1;
    exit when not found;
    v_count := v_count + 1;
    if v_count + cardinality(v_new) > check_channels.max_channels then
      exit;
    end if;
  end loop;
  if v_count + cardinality(v_new) > check_channels.max_channels then
    perform towpath.fail('TP4LE', format(
      'channelId: the queue may have %s channels at a time, and %s would be one too many; a channel is gone when its last message is',
      check_channels.max_channels, v_new[1]
    ));
  end if;
end;
$$;

comment on function towpath.check_channels(bigint, text[], integer) is
'TP4LE where putting into these channels would make more than max_channels of them. Approximate under concurrency.';

create function towpath.put_packed_messages(
  queue_id bigint,
  bodies bytea,
  body_lengths integer[],
  channel_ids text[],
  properties text[],
  delays integer[],
  sizes integer[],
  max_channels integer default 256
)
returns table (id bigint, expire_after timestamptz, consumer_group_ids bigint[])
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
declare
  v_queue towpath.queue;
  -- The groups that messages may go to, and what each takes (null: everything).
  v_group_ids bigint[] := '{0}';
  v_filter_paths jsonpath[] := '{null}';
  v_ids bigint[];
  v_now timestamptz;
  v_expire_after timestamptz;
begin
  select q.* into v_queue from towpath.queue q where q.id = put_packed_messages.queue_id;
  if not found or v_queue.lifecycle_state in ('DELETING', 'DELETED') then
    perform towpath.fail('TP404', 'the queue does not exist or you may not use it');
  elsif v_queue.lifecycle_state not in ('ACTIVE', 'UPDATING') then
    perform towpath.fail('TP409', 'the queue is ' || v_queue.lifecycle_state || ': it takes no messages');
  end if;
  if exists (select from unnest(delays) d where d < 0 or d >= v_queue.retention_in_seconds) then
    perform towpath.fail('TP400', format(
      'delayInSeconds: must be from 0 to less than the queue''s retention of %s seconds, or the message would never be delivered',
      v_queue.retention_in_seconds
    ));
  end if;
  if exists (select from unnest(channel_ids) c where c <> '') then
    perform towpath.check_channels(v_queue.id, channel_ids, max_channels);
  end if;
  if v_queue.capabilities <> '[]' and towpath.has_consumer_groups(v_queue) then
    select coalesce(array_agg(g.id order by g.id), '{}'), coalesce(array_agg(g.filter_path order by g.id), '{}')
    into v_group_ids, v_filter_paths
    from towpath.consumer_group g
    where g.queue_id = v_queue.id and g.lifecycle_state = 'ACTIVE';
  end if;
  -- Ids are drawn before the clock is read, and a purge reads the clock before it draws its watermark: so a message with
  -- an id above the watermark is visible after the purge's start, which the claim relies on.
  v_ids := array(select nextval('towpath.message_id') from generate_subscripts(body_lengths, 1));
  v_now := clock_timestamp();
  v_expire_after := v_now + make_interval(secs => v_queue.retention_in_seconds);
  return query
  with entry as (
    select e.n, v_ids[e.n] as id, e.channel_id, e.properties::jsonb as properties, e.delay, e.size,
      substr(bodies, (sum(e.length) over (order by e.n) - e.length + 1)::integer, e.length) as body
    from unnest(body_lengths, channel_ids, put_packed_messages.properties, delays, sizes)
      with ordinality as e(length, channel_id, properties, delay, size, n)
  ),
  stored as (
    insert into towpath.message as m (
      queue_id, consumer_group_id, id, visible_after, expire_after, created_at, size_in_bytes, channel_id, properties, body
    )
    select v_queue.id, g.id, e.id, v_now + make_interval(secs => e.delay), v_expire_after, v_now, e.size,
      e.channel_id, e.properties, e.body
    from entry e
    cross join unnest(v_group_ids, v_filter_paths) as g(id, filter_path)
    where g.filter_path is null or coalesce(e.properties, '{}') @@ g.filter_path
    returning m.id, m.consumer_group_id, m.channel_id, m.size_in_bytes
  ),
  counted as (
    insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
    select v_queue.id, s.consumer_group_id, false, s.channel_id, count(*), sum(s.size_in_bytes)
    from stored s
    group by s.consumer_group_id, s.channel_id
  )
  select u.id, case when t.consumer_group_ids is not null then v_expire_after end, coalesce(t.consumer_group_ids, '{}')
  from unnest(v_ids) with ordinality as u(id, n)
  left join (
    select s.id, array_agg(s.consumer_group_id) as consumer_group_ids from stored s group by s.id
  ) t on t.id = u.id
  order by u.n;
end;
$$;

comment on function towpath.put_packed_messages(bigint, bytea, integer[], text[], text[], integer[], integer[], integer) is
'Stores messages, all or none, one row per consumer group that takes one, and returns their ids, expiries and groups in the order given; one that no group takes is dropped and has no expiry and no groups. bodies holds all contents one after another, body_lengths their lengths in bytes; the other arrays have one element per message: channel ('''' = the queue itself), properties (a JSON object of strings, or null), delay in seconds, size that counts in the statistics. This is the form in which pods put; people use put_messages. TP404 queue, TP409 state, TP400 delay, TP4LE channels.';

create function towpath.put_messages(
  queue_id bigint,
  contents text[],
  channel_id text default '',
  properties jsonb default null,
  delay_in_seconds integer default 0
)
returns table (id bigint, expire_after timestamptz)
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  return query
  select p.id, p.expire_after
  from towpath.put_packed_messages(
    put_messages.queue_id,
    (select string_agg(convert_to(c, 'UTF8'), ''::bytea order by n) from unnest(contents) with ordinality u(c, n)),
    array(select octet_length(convert_to(c, 'UTF8')) from unnest(contents) with ordinality u(c, n) order by n),
    array_fill(put_messages.channel_id, array[cardinality(contents)]),
    array_fill(put_messages.properties::text, array[cardinality(contents)]),
    array_fill(delay_in_seconds, array[cardinality(contents)]),
    array(
      select octet_length(convert_to(c, 'UTF8')) + coalesce(octet_length(put_messages.properties::text), 0)
      from unnest(contents) with ordinality u(c, n) order by n
    )
  ) p;
  -- Whoever calls this cannot know who waits, nor which groups took it, so it tells all; repeats within one transaction
  -- collapse into one.
  perform pg_notify('towpath', json_build_object(
    't', 'visible',
    'ranges', (
      select json_agg(json_build_array(put_messages.queue_id, g.id, false, put_messages.channel_id, delay_in_seconds * 1000))
      from (
        select 0 as id
        union
        select c.id
        from towpath.consumer_group c
        where c.queue_id = put_messages.queue_id and c.lifecycle_state = 'ACTIVE'
      ) g
    )
  )::text);
end;
$$;

comment on function towpath.put_messages(bigint, text[], text, jsonb, integer) is
'For people at psql: stores texts as messages and wakes whoever waits for them. Example: select * from towpath.put_messages(towpath.queue_id(''orders''), array[''hello'']);';

-- Getting ------------------------------------------------------------------------------------------------------------

create function towpath.get_messages(
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
      -- The next channel in turn: the first index entry of each says which it is and whether it has something visible.
      loop
        select m.channel_id, m.visible_after into v_channel_id, v_oldest
        from towpath.message m
        where m.queue_id = get_messages.queue_id
          and m.consumer_group_id = get_messages.consumer_group_id
          and m.dead_letter = get_messages.dead_letter
          and m.size_in_bytes >= 0
          and m.channel_id > v_channel_id
        order by m.channel_id, m.visible_after
        limit 1;
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

comment on function towpath.get_messages(bigint, bigint, boolean, text, text, integer, integer, text, integer) is
'Delivers up to max_messages visible messages of one channel: counts the delivery, raises the receipt number and hides them for visibility_in_seconds (null: the queue''s; 0: they stay visible). channel_id null: the next channel after after_channel_id, in turn, that has something ('''' is the queue itself). dead_letter true: from the dead letter queue, where no limit counts. Answers hold at most max_bytes, but always one message. Nothing waits here. TP404 queue, TP409 state.';

create function towpath.next_visible_after(
  queue_id bigint,
  consumer_group_id bigint,
  dead_letter boolean,
  channel_id text default null
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
begin
  select q.retention_in_seconds into v_retention_in_seconds
  from towpath.queue q
  where q.id = next_visible_after.queue_id;
  select p.* into v_purge
  from towpath.purge p
  where p.queue_id = next_visible_after.queue_id
    and p.consumer_group_id = next_visible_after.consumer_group_id
    and p.dead_letter = next_visible_after.dead_letter;
  loop
    -- Expired and purged messages are stepped over as in get_messages.
    v_floor := v_now - make_interval(secs => v_retention_in_seconds + 60);
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

comment on function towpath.next_visible_after(bigint, bigint, boolean, text) is
'When the next message of the channel (null: of any) is visible; a time that has passed where one is visible already but locked by a get under way; null where there is none.';

-- Receipts: extend, delete, release ------------------------------------------------------------------------------------

create function towpath.update_messages(
  queue_id bigint,
  consumer_group_id bigint,
  dead_letter boolean,
  ids bigint[],
  receipt_numbers bigint[],
  visibilities integer[]
)
returns table (updated boolean, visible_after timestamptz, channel_id text)
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
  v_channel_ids text[];
  v_expiries timestamptz[];
  v_now timestamptz;
begin
  -- Locked first, in order. FOR UPDATE keeps it a lookup per id, no join: see the head of this file.
  select array_agg(l.id), array_agg(l.receipt_number), array_agg(l.channel_id), array_agg(l.expire_after)
  into v_ids, v_receipt_numbers, v_channel_ids, v_expiries
  from (
    select distinct u.id, u.receipt_number from unnest(ids, receipt_numbers) as u(id, receipt_number) order by u.id
  ) e
  cross join lateral (
    select m.id, m.receipt_number, m.channel_id, m.expire_after
    from towpath.message m
    where m.queue_id = update_messages.queue_id
      and m.consumer_group_id = update_messages.consumer_group_id
      and m.id = e.id
      and m.receipt_number = e.receipt_number
      and m.dead_letter = update_messages.dead_letter
    for update
  ) l;
  -- The clock is read after the wait for the locks: an extension counts from when it happens.
  v_now := clock_timestamp();
  return query
  with entry as materialized (
    select e.n, h.id, h.channel_id,
      -- A message cannot be hidden beyond its expiry.
      case when h.id is not null then least(v_now + make_interval(secs => e.visibility), h.expire_after) end as visible_after
    from unnest(ids, receipt_numbers, visibilities) with ordinality as e(id, receipt_number, visibility, n)
    left join unnest(v_ids, v_receipt_numbers, v_channel_ids, v_expiries) as h(id, receipt_number, channel_id, expire_after)
      on h.id = e.id
      and h.receipt_number = e.receipt_number
      and h.expire_after > v_now
  ),
  changed as (
    insert into towpath.message as m (
      queue_id, consumer_group_id, id, visible_after, expire_after, created_at, size_in_bytes, body
    )
    -- Where a receipt stands twice, the last entry wins, as if they had come one after another.
    select distinct on (e.id) update_messages.queue_id, update_messages.consumer_group_id, e.id, e.visible_after,
      v_now, v_now, 0, ''::bytea
    from entry e
    where e.id is not null
    order by e.id, e.n desc
    on conflict on constraint message_pkey do update
    set visible_after = excluded.visible_after
  )
  select e.id is not null, e.visible_after, e.channel_id from entry e order by e.n;
end;
$$;

comment on function towpath.update_messages(bigint, bigint, boolean, bigint[], bigint[], integer[]) is
'Sets how many seconds from now (0: none) each message stays hidden, at most until it expires. Returns a row per entry, in order: updated is false where the receipt (id, receipt_number) is dead.';

create function towpath.delete_messages(
  queue_id bigint,
  consumer_group_id bigint,
  dead_letter boolean,
  ids bigint[],
  receipt_numbers bigint[]
)
returns setof boolean
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_purge towpath.purge;
  v_entry record;
  v_channel_id text;
  v_size integer;
  v_dead_lettered_at timestamptz;
  v_deleted boolean[] := array_fill(false, array[cardinality(ids)]);
  v_channel_ids text[] := '{}';
  v_sizes integer[] := '{}';
  v_purged boolean[] := '{}';
begin
  select p.* into v_purge
  from towpath.purge p
  where p.queue_id = delete_messages.queue_id
    and p.consumer_group_id = delete_messages.consumer_group_id
    and p.dead_letter = delete_messages.dead_letter;
  -- In the order of the ids, so each delete locks its row in turn. A receipt that stands twice deletes once.
  for v_entry in
    select e.id, e.receipt_number, e.n
    from unnest(ids, receipt_numbers) with ordinality as e(id, receipt_number, n)
    order by e.id, e.n
  loop
    delete from towpath.message m
    where m.queue_id = delete_messages.queue_id
      and m.consumer_group_id = delete_messages.consumer_group_id
      and m.id = v_entry.id
      and m.receipt_number = v_entry.receipt_number
      and m.dead_letter = delete_messages.dead_letter
      and m.expire_after > v_now
    returning m.channel_id, m.size_in_bytes, m.dead_lettered_at into v_channel_id, v_size, v_dead_lettered_at;
    if found then
      v_deleted[v_entry.n] := true;
      v_channel_ids := v_channel_ids || v_channel_id;
      v_sizes := v_sizes || v_size;
      v_purged := v_purged || coalesce(
        v_entry.id <= v_purge.watermark
        and (not v_purge.dead_letter or v_dead_lettered_at < v_purge.started_at)
        and (v_purge.channel_ids is null or v_channel_id = any (v_purge.channel_ids)),
        false
      );
    end if;
  end loop;
  if cardinality(v_sizes) > 0 then
    insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
    select delete_messages.queue_id, delete_messages.consumer_group_id, delete_messages.dead_letter,
      g.channel_id, -count(*), -sum(g.size_in_bytes)
    from unnest(v_channel_ids, v_sizes, v_purged) as g(channel_id, size_in_bytes, is_purged)
    where not g.is_purged
    group by g.channel_id;
  end if;
  if true = any (v_purged) then
    -- The purge has taken it off the statistics already. The order is that in which the purge locks these rows too.
    insert into towpath.purge_offset as o (
      queue_id, work_request_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes
    )
    select v_purge.queue_id, v_purge.work_request_id, v_purge.consumer_group_id, v_purge.dead_letter,
      g.channel_id, -count(*), -sum(g.size_in_bytes)
    from unnest(v_channel_ids, v_sizes, v_purged) as g(channel_id, size_in_bytes, is_purged)
    where g.is_purged
    group by g.channel_id
    order by g.channel_id
    on conflict on constraint purge_offset_pkey do update
    set messages = o.messages + excluded.messages,
      size_in_bytes = o.size_in_bytes + excluded.size_in_bytes;
  end if;
  return query select d from unnest(v_deleted) d;
end;
$$;

comment on function towpath.delete_messages(bigint, bigint, boolean, bigint[], bigint[]) is
'Deletes messages for good. Returns a row per entry, in order: false where the receipt (id, receipt_number) is dead.';

create function towpath.release_messages(
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
      visible_after = v_now
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

comment on function towpath.release_messages(bigint, bigint, boolean, bigint[], bigint[]) is
'Takes deliveries back that reached nobody: the messages are visible at once, the delivery is not counted, the receipts are dead. Returns the ids of those that were released.';

-- Channels and statistics ----------------------------------------------------------------------------------------------

create function towpath.list_channels(
  queue_id bigint,
  consumer_group_id bigint default 0,
  dead_letter boolean default false,
  channel_id text default null,
  after_channel_id text default '',
  max_channels integer default 1000
)
returns setof text
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
  v_channel_id text := after_channel_id;
  v_count integer := 0;
begin
  if not exists (
    select from towpath.queue q
    where q.id = list_channels.queue_id and q.lifecycle_state not in ('DELETING', 'DELETED')
  ) then
    perform towpath.fail('TP404', 'the queue does not exist or you may not see it');
  end if;
  if list_channels.channel_id is not null then
    return query
    select m.channel_id
    from towpath.message m
    where m.queue_id = list_channels.queue_id
      and m.consumer_group_id = list_channels.consumer_group_id
      and m.dead_letter = list_channels.dead_letter
      and m.size_in_bytes >= 0
      and m.channel_id = list_channels.channel_id
      and m.channel_id > after_channel_id
    order by m.visible_after
    limit least(1, list_channels.max_channels);
    return;
  end if;
  while v_count < list_channels.max_channels loop
    select m.channel_id into v_channel_id
    from towpath.message m
    where m.queue_id = list_channels.queue_id
      and m.consumer_group_id = list_channels.consumer_group_id
      and m.dead_letter = list_channels.dead_letter
      and m.size_in_bytes >= 0
      and m.channel_id > v_channel_id
    order by m.channel_id
    limit 1;
    exit when not found;
    v_count := v_count + 1;
    return next v_channel_id;
  end loop;
end;
$$;

comment on function towpath.list_channels(bigint, bigint, boolean, text, text, integer) is
'Returns the ids of channels that hold messages (dead_letter: dead letters), in order, after after_channel_id, at most max_channels; with channel_id only that one. One look at the index per channel. TP404 queue.';

create function towpath.count_in_flight(
  queue_id bigint,
  consumer_group_id bigint default 0,
  dead_letter boolean default false,
  channel_id text default null,
  at_most integer default 100000
)
returns bigint
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
  v_purge towpath.purge;
  v_channel_id text := coalesce(count_in_flight.channel_id, '');
  v_in_channel bigint;
  v_count bigint := 0;
begin
  select p.* into v_purge
  from towpath.purge p
  where p.queue_id = count_in_flight.queue_id
    and p.consumer_group_id = count_in_flight.consumer_group_id
    and p.dead_letter = count_in_flight.dead_letter;
  loop
    select count(*) into v_in_channel
    from (
      select
      from towpath.message m
      where m.queue_id = count_in_flight.queue_id
        and m.consumer_group_id = count_in_flight.consumer_group_id
        and m.dead_letter = count_in_flight.dead_letter
        and m.size_in_bytes >= 0
        and m.channel_id = v_channel_id
        and m.visible_after > v_now
        -- Purged messages are not counted, though they may be held until the purge comes to them.
        and m.id > case
          when v_purge.channel_ids is null or v_channel_id = any (v_purge.channel_ids) then coalesce(v_purge.watermark, 0)
          else 0
        end
      order by m.visible_after
      limit count_in_flight.at_most - v_count
    ) hidden;
    v_count := v_count + v_in_channel;
    exit when count_in_flight.channel_id is not null or v_count >= count_in_flight.at_most;
    select m.channel_id into v_channel_id
    from towpath.message m
    where m.queue_id = count_in_flight.queue_id
      and m.consumer_group_id = count_in_flight.consumer_group_id
      and m.dead_letter = count_in_flight.dead_letter
      and m.size_in_bytes >= 0
      and m.channel_id > v_channel_id
    order by m.channel_id
    limit 1;
    exit when not found;
  end loop;
  return v_count;
end;
$$;

comment on function towpath.count_in_flight(bigint, bigint, boolean, text, integer) is
'How many messages of the channel (null: of the queue and all channels) are hidden now, delivered or delayed; counting ends at at_most.';

create function towpath.get_stats(queue_id bigint, consumer_group_id bigint default 0, channel_id text default null)
returns table (
  visible_messages bigint,
  in_flight_messages bigint,
  size_in_bytes bigint,
  dead_visible_messages bigint,
  dead_in_flight_messages bigint,
  dead_size_in_bytes bigint
)
language plpgsql
stable
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
begin
  if not exists (
    select from towpath.queue q
    where q.id = get_stats.queue_id and q.lifecycle_state not in ('DELETING', 'DELETED')
  ) then
    perform towpath.fail('TP404', 'the queue does not exist or you may not see it');
  end if;
  return query
  with counted as (
    -- Totals and the changes that are not in them yet, read by one statement, so that none is missed or taken twice.
    select c.dead_letter, sum(c.messages) as messages, sum(c.bytes) as bytes
    from (
      select t.dead_letter, t.messages, t.size_in_bytes as bytes
      from towpath.message_total t
      where t.queue_id = get_stats.queue_id
        and t.consumer_group_id = get_stats.consumer_group_id
        and (get_stats.channel_id is null or t.channel_id = get_stats.channel_id)
      union all
      select d.dead_letter, d.messages, d.size_in_bytes
      from towpath.message_delta d
      where d.queue_id = get_stats.queue_id
        and d.consumer_group_id = get_stats.consumer_group_id
        and (get_stats.channel_id is null or d.channel_id = get_stats.channel_id)
    ) c
    group by c.dead_letter
  ),
  figure as (
    select k.dead_letter, greatest(coalesce(c.messages, 0), 0)::bigint as messages,
      greatest(coalesce(c.bytes, 0), 0)::bigint as bytes,
      towpath.count_in_flight(get_stats.queue_id, get_stats.consumer_group_id, k.dead_letter, get_stats.channel_id) as hidden
    from (values (false), (true)) k(dead_letter)
    left join counted c on c.dead_letter = k.dead_letter
  )
  select greatest(l.messages - l.hidden, 0), least(l.hidden, l.messages), l.bytes,
    greatest(d.messages - d.hidden, 0), least(d.hidden, d.messages), d.bytes
  from figure l, figure d
  where not l.dead_letter and d.dead_letter;
end;
$$;

comment on function towpath.get_stats(bigint, bigint, text) is
'Visible and in-flight messages and bytes of the queue (with channel_id: of that channel; '''' is the queue without its channels) and of its dead letters. Costs the same however many messages wait. TP404 queue.';
