-- oldest program: 6
--
-- Gets of several requests in one statement, and deletes that cost a fraction of what they did. Puts and updates need nothing
-- new: their functions take any number of entries and answer each.

create function towpath.get_messages_for_many(
  queue_id bigint,
  consumer_group_id bigint,
  dead_letter boolean,
  channel_id text,
  after_channel_id text,
  limits integer[],
  max_bytes integer[],
  visibility_in_seconds integer default null,
  delivered_to text default null
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
      least(v_max_bytes, 2147483647)::integer
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
      least(v_max_bytes, 2147483647)::integer
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

comment on function towpath.get_messages_for_many(bigint, bigint, boolean, text, text, integer[], integer[], integer, text) is
'As get_messages, for several requests that came beside each other: limits and max_bytes have one element per request, in the order in which they came. The caller shares out what comes, in its order: a request takes messages of one channel, at most its limit and its bytes, and one in any case. What is left over then, which happens where sizes fill no answer exactly, the caller releases. Where the requests name no channel (channel_id null), each has the next one in turn. The same errors.';

create or replace function towpath.delete_messages(
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
  v_places tid[];
  v_deleted_entries bigint[];
  v_channel_ids text[];
  v_sizes integer[];
  v_purged boolean[];
begin
  select p.* into v_purge
  from towpath.purge p
  where p.queue_id = delete_messages.queue_id
    and p.consumer_group_id = delete_messages.consumer_group_id
    and p.dead_letter = delete_messages.dead_letter;
  -- Locked in the order of the ids, and then deleted by where they stand, all by one statement each: a delete per message
  -- took four times as long. What is locked does not move, and the second statement sees what the first has waited for. A
  -- receipt that stands twice deletes once.
  select array_agg(l.place), array_agg(l.n), array_agg(l.channel_id), array_agg(l.size_in_bytes), array_agg(
    coalesce(
      l.id <= v_purge.watermark
      and (not v_purge.dead_letter or l.dead_lettered_at < v_purge.started_at)
      and (v_purge.channel_ids is null or l.channel_id = any (v_purge.channel_ids)),
      false
    )
  )
  into v_places, v_deleted_entries, v_channel_ids, v_sizes, v_purged
  from (
    select e.id, e.n, m.place, m.channel_id, m.size_in_bytes, m.dead_lettered_at
    from (
      select distinct on (u.id, u.receipt_number) u.id, u.receipt_number, u.n
      from unnest(ids, receipt_numbers) with ordinality as u(id, receipt_number, n)
      order by u.id, u.receipt_number, u.n
    ) e
    cross join lateral (
      select m.ctid as place, m.channel_id, m.size_in_bytes, m.dead_lettered_at
      from towpath.message m
      where m.queue_id = delete_messages.queue_id
        and m.consumer_group_id = delete_messages.consumer_group_id
        and m.id = e.id
        and m.receipt_number = e.receipt_number
        and m.dead_letter = delete_messages.dead_letter
        and m.expire_after > v_now
      for update
    ) m
  ) l;
  if v_places is null then
    return query select false from unnest(ids);
    return;
  end if;
  delete from towpath.message m where m.ctid = any (v_places);
  insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
  select delete_messages.queue_id, delete_messages.consumer_group_id, delete_messages.dead_letter,
    g.channel_id, -count(*), -sum(g.size_in_bytes)
  from unnest(v_channel_ids, v_sizes, v_purged) as g(channel_id, size_in_bytes, is_purged)
  where not g.is_purged
  group by g.channel_id;
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
  return query
  select d.n is not null
  from generate_subscripts(ids, 1) as e(n)
  left join unnest(v_deleted_entries) as d(n) on d.n = e.n
  order by e.n;
end;
$$;

comment on function towpath.delete_messages(bigint, bigint, boolean, bigint[], bigint[]) is
'Deletes messages for good. Returns a row per entry, in order: false where the receipt (id, receipt_number) is dead.';
