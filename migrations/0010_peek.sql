-- oldest program: 6
--
-- Looking at messages without touching them. The functions here are stable, which PostgreSQL takes at its word: a stable
-- function cannot write, nor lock a row.

-- Dead letters by id: a walk of the primary key would cross the live messages between them. The flag at its end is the
-- same in every entry. It is there for the order "id, dead_letter", which the primary key cannot serve: so a walk in that
-- order has this index only, whatever the planner believes (see the head of 0003).
create index message_dead_letter on towpath.message (queue_id, consumer_group_id, id, dead_letter)
where dead_letter;

create type towpath.peeked_message as (
  id bigint,
  channel_id text,
  state text,
  delivery_count integer,
  created_at timestamptz,
  visible_after timestamptz,
  expire_after timestamptz,
  delivered_at timestamptz,
  delivered_to text,
  delivery_history jsonb,
  dead_lettered_at timestamptz,
  dead_letter_reason text,
  size_in_bytes integer,
  key_id bigint,
  properties jsonb,
  body bytea,
  next_cursor text
);

comment on type towpath.peeked_message is
'A message as peek_messages shows it. state is VISIBLE, IN_FLIGHT (delivered, and hidden until visible_after) or DELAYED (never delivered, and hidden). next_cursor is on the last row of an answer only: where to go on; null: there is nothing more.';

create function towpath.last_id_created_before(
  queue_id bigint,
  consumer_group_id bigint,
  dead_letter boolean,
  created_before timestamptz
)
returns bigint
language plpgsql
stable
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $$
declare
  -- An id is drawn just before the clock is read, so ids follow time, but for what two puts at once may differ by. (A
  -- minute would be safer still, and at 10,000 messages per second it is 600 pages to go through for nothing.)
  v_before constant timestamptz := created_before - interval '5 seconds';
  v_low bigint := 0;
  v_high bigint;
  v_middle bigint;
  v_id bigint;
  v_created_at timestamptz;
begin
  if last_id_created_before.dead_letter then
    select m.id into v_high
    from towpath.message m
    where m.queue_id = last_id_created_before.queue_id
      and m.consumer_group_id = last_id_created_before.consumer_group_id
      and m.dead_letter
    order by m.id desc, m.dead_letter desc
    limit 1;
  else
    select m.id into v_high
    from towpath.message m
    where m.queue_id = last_id_created_before.queue_id
      and m.consumer_group_id = last_id_created_before.consumer_group_id
    order by m.id desc
    limit 1;
  end if;
  -- Halves the range of ids, with one look at the index each time: 53 at most, however many messages there are.
  while v_low < v_high loop
    v_middle := (v_low + v_high) / 2;
    if last_id_created_before.dead_letter then
      select m.id, m.created_at into v_id, v_created_at
      from towpath.message m
      where m.queue_id = last_id_created_before.queue_id
        and m.consumer_group_id = last_id_created_before.consumer_group_id
        and m.dead_letter
        and m.id > v_middle
      order by m.id, m.dead_letter
      limit 1;
    else
      select m.id, m.created_at into v_id, v_created_at
      from towpath.message m
      where m.queue_id = last_id_created_before.queue_id
        and m.consumer_group_id = last_id_created_before.consumer_group_id
        and m.id > v_middle
      order by m.id
      limit 1;
    end if;
    if v_created_at < v_before then
      v_low := v_id;
    else
      v_high := v_middle;
    end if;
  end loop;
  return v_low;
end;
$$;

comment on function towpath.last_id_created_before(bigint, bigint, boolean, timestamptz) is
'An id up to which every message (dead_letter: dead letter) of the queue and group was created before this time; 0: none was. Some seconds short of the exact one, because ids follow time only closely. Looks at the index some 50 times, however many there are.';

create function towpath.peek_messages(
  queue_id bigint,
  consumer_group_id bigint default 0,
  dead_letter boolean default false,
  channel_id text default null,
  ids bigint[] default null,
  filter_path jsonpath default null,
  created_after timestamptz default null,
  created_before timestamptz default null,
  after_cursor text default null,
  max_messages integer default 20,
  max_examined integer default 1000,
  max_bytes integer default 2097152
)
returns setof towpath.peeked_message
language plpgsql
stable
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  -- With a channel the walk is by visible_after, as the claim's; else by id.
  v_is_by_time constant boolean := peek_messages.channel_id is not null and ids is null;
  v_cursor_form constant text := case
    when v_is_by_time then '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \d{1,18}$'
    else '^\d{1,18}$'
  end;
  v_queue towpath.queue;
  v_group_state text;
  v_purge towpath.purge;
  v_after_visible timestamptz;
  v_after_id bigint := 0;
  v_ids bigint[];
  v_rows refcursor;
  v_message towpath.message;
  -- Where the last examined row stands.
  v_cursor text := after_cursor;
  v_has_more boolean := false;
  v_examined integer := 0;
  v_found integer := 0;
  v_bytes bigint := 0;
  -- Found, and held back until it is known whether it is the last one, which carries the cursor.
  v_peeked towpath.peeked_message;
begin
  select q.* into v_queue from towpath.queue q where q.id = peek_messages.queue_id;
  if not found or v_queue.lifecycle_state in ('DELETING', 'DELETED') then
    perform towpath.fail('TP404', 'the queue does not exist or you may not see it');
  end if;
  -- What an inactive group holds can be looked at.
  if peek_messages.consumer_group_id <> 0 then
    select g.lifecycle_state into v_group_state
    from towpath.consumer_group g
    where g.queue_id = v_queue.id and g.id = peek_messages.consumer_group_id;
    if not found or v_group_state in ('DELETING', 'DELETED') then
      perform towpath.fail('TP404', 'the consumer group does not exist or you may not see it');
    end if;
  end if;
  if least(max_messages, max_examined, max_bytes) < 1 then
    perform towpath.fail('TP400', 'max_messages, max_examined and max_bytes: must be 1 or more');
  end if;
  if after_cursor !~ v_cursor_form then
    perform towpath.fail('TP400', 'after_cursor: must be the next_cursor of an answer to the same question');
  end if;
  if v_queue.lifecycle_state = 'UPDATING' then
    select p.* into v_purge
    from towpath.purge p
    where p.queue_id = peek_messages.queue_id
      and p.consumer_group_id = peek_messages.consumer_group_id
      and p.dead_letter = peek_messages.dead_letter;
  end if;

  if ids is not null then
    v_ids := array(
      select distinct u.id from unnest(ids) u(id) where u.id > coalesce(after_cursor::bigint, 0) order by u.id
    );
  elsif v_is_by_time then
    -- Nothing is visible before it is created, so what lies before has expired (see get_messages), was purged, or is
    -- older than asked for.
    v_after_visible := greatest(
      v_now - make_interval(secs => v_queue.retention_in_seconds + 60),
      created_after,
      case
        when v_purge.channel_ids is null or peek_messages.channel_id = any (v_purge.channel_ids) then v_purge.started_at
      end
    );
    v_after_id := -1;
    if after_cursor is not null and split_part(after_cursor, ' ', 1)::timestamptz >= v_after_visible then
      v_after_visible := split_part(after_cursor, ' ', 1)::timestamptz;
      v_after_id := split_part(after_cursor, ' ', 2)::bigint;
    end if;
    open v_rows no scroll for
    select m.*
    from towpath.message m
    where m.queue_id = peek_messages.queue_id
      and m.consumer_group_id = peek_messages.consumer_group_id
      and m.dead_letter = peek_messages.dead_letter
      and m.size_in_bytes >= 0
      and m.channel_id = peek_messages.channel_id
      and (m.visible_after, m.id) > (v_after_visible, v_after_id)
    order by m.visible_after, m.id
    -- One more tells whether there is more.
    limit max_examined::bigint + 1;
  else
    if after_cursor is not null then
      v_after_id := after_cursor::bigint;
    elsif created_after is not null then
      v_after_id := towpath.last_id_created_before(
        peek_messages.queue_id, peek_messages.consumer_group_id, peek_messages.dead_letter, created_after
      );
    end if;
    if v_purge.watermark is not null and v_purge.channel_ids is null and not peek_messages.dead_letter then
      v_after_id := greatest(v_after_id, v_purge.watermark);
    end if;
    if peek_messages.dead_letter then
      open v_rows no scroll for
      select m.*
      from towpath.message m
      where m.queue_id = peek_messages.queue_id
        and m.consumer_group_id = peek_messages.consumer_group_id
        and m.dead_letter
        and m.id > v_after_id
      order by m.id, m.dead_letter
      limit max_examined::bigint + 1;
    else
      open v_rows no scroll for
      select m.*
      from towpath.message m
      where m.queue_id = peek_messages.queue_id
        and m.consumer_group_id = peek_messages.consumer_group_id
        and m.id > v_after_id
      order by m.id
      limit max_examined::bigint + 1;
    end if;
  end if;

  loop
    if ids is null then
      fetch v_rows into v_message;
      exit when not found;
      -- Ids follow time, as above: after this there is nothing that was created before.
      exit when not v_is_by_time and v_message.created_at > created_before + interval '5 seconds';
    else
      exit when v_examined >= cardinality(v_ids);
      v_message := null;
    end if;
    if v_examined >= max_examined or v_found >= max_messages then
      v_has_more := true;
      exit;
    end if;
    v_examined := v_examined + 1;
    if ids is not null then
      select m.* into v_message
      from towpath.message m
      where m.queue_id = peek_messages.queue_id
        and m.consumer_group_id = peek_messages.consumer_group_id
        and m.id = v_ids[v_examined];
    end if;

    if v_message.dead_letter = peek_messages.dead_letter
      and v_message.expire_after > v_now
      and (v_message.channel_id = peek_messages.channel_id) is not false
      -- Hidden by a purge, by the rule of get_messages.
      and (
        v_purge.watermark is null
        or not (v_purge.channel_ids is null or v_message.channel_id = any (v_purge.channel_ids))
        or v_message.id > v_purge.watermark
        or v_message.dead_lettered_at >= v_purge.started_at
      )
      and (v_message.created_at >= created_after) is not false
      and (v_message.created_at < created_before) is not false
      and (filter_path is null or coalesce(v_message.properties, '{}') @@ filter_path)
    then
      v_bytes := v_bytes + v_message.size_in_bytes;
      if v_found > 0 then
        if v_bytes > max_bytes then
          -- It is the next answer's first.
          v_has_more := true;
          exit;
        end if;
        return next v_peeked;
      end if;
      v_found := v_found + 1;
      v_peeked := (
        v_message.id,
        v_message.channel_id,
        case
          when v_message.visible_after <= v_now then 'VISIBLE'
          when v_message.delivery_count > 0 then 'IN_FLIGHT'
          else 'DELAYED'
        end,
        v_message.delivery_count,
        v_message.created_at,
        v_message.visible_after,
        v_message.expire_after,
        v_message.delivered_at,
        v_message.delivered_to,
        v_message.delivery_history,
        v_message.dead_lettered_at,
        v_message.dead_letter_reason,
        v_message.size_in_bytes,
        v_message.key_id,
        v_message.properties,
        v_message.body,
        null
      );
    end if;
    v_cursor := case
      when ids is not null then v_ids[v_examined]::text
      when v_is_by_time then
        to_char(v_message.visible_after at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || ' ' || v_message.id
      else v_message.id::text
    end;
  end loop;
  if ids is null then
    close v_rows;
  end if;

  if v_has_more then
    v_peeked.next_cursor := v_cursor;
  end if;
  if v_has_more or v_found > 0 then
    return next v_peeked;
  end if;
end;
$$;

comment on function towpath.peek_messages(bigint, bigint, boolean, text, bigint[], jsonpath, timestamptz, timestamptz, text, integer, integer, integer) is
'Shows messages (dead_letter: dead letters) and changes nothing: no delivery, no lock. All conditions must hold (null: any): channel_id ('''' is the queue itself), ids, filter_path (a predicate on properties, such as $.kind == "invoice"), created_after (included) and created_before (not included). One call examines at most max_examined messages and returns at most max_messages of them, in max_bytes but always one. The last row has next_cursor: give it as after_cursor to go on, until it is null; where nothing was found and there is more, one row has nothing but that. Without a channel in the order of ids, each message once; with a channel and without ids in the order of visible_after, where one that is delivered meanwhile may come again or be missed. TP404 queue, group; TP400.';
