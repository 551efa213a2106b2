-- oldest program: 16
--
-- Sealed messages. A pod seals content and properties of a message together, with AES-256-GCM, before it puts it, and
-- opens it after a get: PostgreSQL never has the key. A row with a key_id holds the sealed bytes in body and no
-- properties. One without is as it was put: from before this, by put_messages, or by pods that do not seal.
--
-- So a filter cannot be evaluated on a sealed row. Those of consumer groups are evaluated in the put, on properties that
-- come along and are not stored. What looks at stored ones (a redrive by filter), or gives a message to another queue,
-- whose key is another one, is done by a pod: SQL hands it a bounded batch, it opens, chooses and seals, and SQL moves
-- what is still as it was, with the cursor, in one transaction.

create sequence towpath.data_key_id as bigint maxvalue 9007199254740991;

create table towpath.data_key (
  queue_id bigint not null,
  id bigint not null,
  created_at timestamptz not null,
  retired_at timestamptz,
  -- How many messages pods were allowed to seal with it, by and by; they have sealed fewer.
  sealed_messages bigint not null default 0,
  master_key_id text collate "C" not null,
  wrapped_key bytea not null,
  constraint data_key_pkey primary key (queue_id, id)
);

comment on table towpath.data_key is
'The keys that messages of a queue are sealed with, each wrapped (sealed itself) by a master key that the database does not have. One per queue is in force, the others are kept for the messages that name them; forget_data_keys removes them after that.';
comment on column towpath.data_key.retired_at is 'Since when nothing is sealed with it; null: it is the one in force.';
comment on column towpath.data_key.sealed_messages is
'An upper bound of the messages that were sealed with it, reserved by pods ahead in portions.';
comment on column towpath.data_key.wrapped_key is
'AES-256-GCM under the master key, with the ids of queue and key as associated data; what exactly is the matter of the provider of the master key.';

-- One key in force per queue.
create unique index data_key_in_force on towpath.data_key (queue_id) where retired_at is null;
-- For forget_data_keys.
create index data_key_retired on towpath.data_key (retired_at, queue_id, id) where retired_at is not null;

create function towpath.use_data_key(
  queue_id bigint,
  messages integer,
  max_age_seconds double precision default null,
  max_messages bigint default null
)
returns setof towpath.data_key
language sql
set search_path = towpath, pg_temp
as $$
  update towpath.data_key k
  set sealed_messages = k.sealed_messages + use_data_key.messages
  where k.queue_id = use_data_key.queue_id
    and k.retired_at is null
    and (max_age_seconds is null or k.created_at > statement_timestamp() - make_interval(secs => max_age_seconds))
    and (max_messages is null or k.sealed_messages + use_data_key.messages <= max_messages)
  returning k.*;
$$;

comment on function towpath.use_data_key(bigint, integer, double precision, bigint) is
'The data key in force, with room for so many more messages reserved; nothing where the queue has none, or it is too old, or used up: then make another one (add_data_key).';

create function towpath.add_data_key(
  queue_id bigint,
  id bigint,
  wrapped_key bytea,
  master_key_id text,
  replaces bigint default null
)
returns towpath.data_key
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_key towpath.data_key;
  v_now timestamptz;
begin
  -- The queue's row, so that one that is being deleted gets no key any more.
  perform from towpath.queue q
  where q.id = add_data_key.queue_id and q.lifecycle_state not in ('DELETING', 'DELETED')
  for no key update;
  if not found then
    perform towpath.fail('TP404', 'the queue does not exist or you may not use it');
  end if;
  v_now := clock_timestamp();
  select k.* into v_key from towpath.data_key k where k.queue_id = add_data_key.queue_id and k.retired_at is null;
  if found and v_key.id is distinct from replaces then
    -- Somebody was faster.
    return v_key;
  end if;
  update towpath.data_key k set retired_at = v_now where k.queue_id = add_data_key.queue_id and k.id = replaces;
  insert into towpath.data_key as k (queue_id, id, created_at, master_key_id, wrapped_key)
  values (
    add_data_key.queue_id, add_data_key.id, v_now, add_data_key.master_key_id, add_data_key.wrapped_key
  )
  returning k.* into v_key;
  return v_key;
end;
$$;

comment on function towpath.add_data_key(bigint, bigint, bytea, text, bigint) is
'Puts a data key (its id from the sequence data_key_id) in force in place of the one with the id in replaces (null: there is none) and returns it; or, where another one is in force, that one: of pods that do it at once all get the same. TP404 queue.';

create function towpath.check_data_key(queue_id bigint, key_id bigint)
returns void
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
declare
  v_retired_at timestamptz;
begin
  select k.retired_at into v_retired_at
  from towpath.data_key k
  where k.queue_id = check_data_key.queue_id and k.id = check_data_key.key_id;
  if not found or v_retired_at is not null then
    perform towpath.fail('TP4SE', 'the data key of the queue was replaced at this moment: try again');
  end if;
end;
$$;

comment on function towpath.check_data_key(bigint, bigint) is
'TP4SE where this data key is not in force: seal with the one that is. So from the commit of a rotation on nothing is sealed with the old key.';

-- Putting ------------------------------------------------------------------------------------------------------------

create function towpath.put_sealed_messages(
  queue_id bigint,
  bodies bytea,
  body_lengths integer[],
  channel_ids text[],
  properties text[],
  delays integer[],
  sizes integer[],
  max_channels integer default 256,
  key_id bigint default null
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
  -- The groups that messages may go to, and what each takes (null: everything). Null: the queue has no groups.
  v_group_ids bigint[];
  v_filter_paths jsonpath[];
  v_ids bigint[];
  v_now timestamptz;
  v_expire_after timestamptz;
begin
  select q.* into v_queue from towpath.queue q where q.id = put_sealed_messages.queue_id;
  if not found or v_queue.lifecycle_state in ('DELETING', 'DELETED') then
    perform towpath.fail('TP404', 'the queue does not exist or you may not use it');
  elsif v_queue.lifecycle_state not in ('ACTIVE', 'UPDATING') then
    perform towpath.fail('TP409', 'the queue is ' || v_queue.lifecycle_state || ': it takes no messages');
  end if;
  if key_id is not null then
    perform towpath.check_data_key(v_queue.id, key_id);
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
    if key_id is not null and put_sealed_messages.properties is null and v_filter_paths is not null then
      perform towpath.fail('TP4SE', 'the queue has got consumer groups at this moment: try again');
    end if;
  end if;
  -- Ids are drawn before the clock is read, and a purge reads the clock before it draws its watermark: so a message with
  -- an id above the watermark is visible after the purge's start, which the claim relies on.
  v_ids := array(select nextval('towpath.message_id') from generate_subscripts(body_lengths, 1));
  v_now := clock_timestamp();
  v_expire_after := v_now + make_interval(secs => v_queue.retention_in_seconds);
  if v_group_ids is null then
    -- Most queues have no consumer groups, and this is cheaper.
    return query
    with entry as (
      select e.n, v_ids[e.n] as id, e.channel_id, e.properties::jsonb as properties, e.delay, e.size,
        substr(bodies, (sum(e.length) over (order by e.n) - e.length + 1)::integer, e.length) as body
      from unnest(body_lengths, channel_ids, put_sealed_messages.properties, delays, sizes)
        with ordinality as e(length, channel_id, properties, delay, size, n)
    ),
    stored as (
      insert into towpath.message (
        queue_id, consumer_group_id, id, visible_after, expire_after, created_at, size_in_bytes, key_id, channel_id,
        properties, body
      )
      select v_queue.id, 0, e.id, v_now + make_interval(secs => e.delay), v_expire_after, v_now, e.size,
        put_sealed_messages.key_id, e.channel_id,
        case when put_sealed_messages.key_id is null then e.properties end, e.body
      from entry e
    ),
    counted as (
      insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
      select v_queue.id, 0, false, e.channel_id, count(*), sum(e.size)
      from entry e
      group by e.channel_id
    )
    select u.id, v_expire_after, '{0}'::bigint[] from unnest(v_ids) as u(id);
    if true = any (array(select d > 0 from unnest(delays) d)) then
      insert into towpath.message_delay (queue_id, consumer_group_id, channel_id, visible_minute, messages)
      select v_queue.id, 0, k.channel_id, m.visible_minute, count(*)
      from unnest(channel_ids, delays) as e(channel_id, delay)
      cross join lateral (values (e.channel_id), ('*')) k(channel_id)
      cross join lateral towpath.minute_of(v_now + make_interval(secs => e.delay)) m(visible_minute)
      where e.delay > 0
      group by k.channel_id, m.visible_minute;
    end if;
  else
    return query
    with entry as (
      select e.n, v_ids[e.n] as id, e.channel_id, e.properties::jsonb as properties, e.delay, e.size,
        substr(bodies, (sum(e.length) over (order by e.n) - e.length + 1)::integer, e.length) as body
      from unnest(body_lengths, channel_ids, put_sealed_messages.properties, delays, sizes)
        with ordinality as e(length, channel_id, properties, delay, size, n)
    ),
    stored as (
      insert into towpath.message as m (
        queue_id, consumer_group_id, id, visible_after, expire_after, created_at, size_in_bytes, key_id, channel_id,
        properties, body
      )
      select v_queue.id, g.id, e.id, v_now + make_interval(secs => e.delay), v_expire_after, v_now, e.size,
        put_sealed_messages.key_id, e.channel_id,
        case when put_sealed_messages.key_id is null then e.properties end, e.body
      from entry e
      cross join unnest(v_group_ids, v_filter_paths) as g(id, filter_path)
      where g.filter_path is null or coalesce(e.properties, '{}') @@ g.filter_path
      returning m.id, m.consumer_group_id, m.channel_id, m.size_in_bytes, m.visible_after
    ),
    counted as (
      insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
      select v_queue.id, s.consumer_group_id, false, s.channel_id, count(*), sum(s.size_in_bytes)
      from stored s
      group by s.consumer_group_id, s.channel_id
    ),
    delayed as (
      insert into towpath.message_delay (queue_id, consumer_group_id, channel_id, visible_minute, messages)
      select v_queue.id, s.consumer_group_id, k.channel_id, towpath.minute_of(s.visible_after), count(*)
      from stored s
      cross join lateral (values (s.channel_id), ('*')) k(channel_id)
      where s.visible_after > v_now
      group by s.consumer_group_id, k.channel_id, towpath.minute_of(s.visible_after)
    )
    -- One pass and no join, whose plan would be quadratic. The order of the ids is the order given.
    select x.id, case when count(x.consumer_group_id) > 0 then v_expire_after end,
      coalesce(array_agg(x.consumer_group_id) filter (where x.consumer_group_id is not null), '{}')
    from (
      select u.id, null::bigint as consumer_group_id from unnest(v_ids) as u(id)
      union all
      select s.id, s.consumer_group_id from stored s
    ) x
    group by x.id
    order by x.id;
  end if;
end;
$$;

comment on function towpath.put_sealed_messages(bigint, bytea, integer[], text[], text[], integer[], integer[], integer, bigint) is
'As put_packed_messages, which says what the arguments are, for messages that were sealed with the data key key_id: bodies holds them sealed, sizes what they were before, and properties, in the clear, is for the filters of consumer groups only and not stored; it may be null as a whole where the queue has no groups. With key_id null nothing is sealed, and the properties are stored. Besides the errors of put_packed_messages: TP4SE where the key is not in force, or properties are needed.';

create or replace function towpath.put_packed_messages(
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
as $$
begin
  return query
  select p.id, p.expire_after, p.consumer_group_ids
  from towpath.put_sealed_messages(
    put_packed_messages.queue_id, bodies, body_lengths, channel_ids, put_packed_messages.properties, delays, sizes,
    max_channels, null
  ) p;
end;
$$;


create function towpath.put_sealed_messages_once(
  queue_id bigint,
  bodies bytea,
  body_lengths integer[],
  channel_ids text[],
  properties text[],
  delays integer[],
  sizes integer[],
  max_channels integer default 256,
  deduplication_ids text[] default null,
  retry_token text default null,
  request_digest text default null,
  key_id bigint default null
)
returns table (id bigint, expire_after timestamptz, consumer_group_ids bigint[], is_repeat boolean)
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  v_queue towpath.queue;
  v_now timestamptz;
  v_forget_after timestamptz;
  v_lock bigint;
  v_answer towpath.deduplication;
  v_is_repeat boolean;
  v_token_key constant text := 'token:' || retry_token;
  -- Of each message, in the order given.
  v_count constant integer := coalesce(cardinality(body_lengths), 0);
  v_keys text[] := array_fill(null::text, array[v_count]);
  v_ids bigint[] := array_fill(null::bigint, array[v_count]);
  v_expiries timestamptz[] := array_fill(null::timestamptz, array[v_count]);
  v_groups text[] := array_fill('{}'::text, array[v_count]);
  -- The positions of those that are stored, and what that gave.
  v_new integer[] := '{}';
  v_new_ids bigint[];
  v_new_expiries timestamptz[];
  v_new_groups text[];
  -- Null as a whole: where it is not needed.
  v_has_properties constant boolean := properties is not null;
begin
  select q.* into v_queue from towpath.queue q where q.id = put_sealed_messages_once.queue_id;
  if not found or v_queue.lifecycle_state in ('DELETING', 'DELETED') then
    -- A repeat must not be answered for a queue that is gone. Everything else is checked where messages are stored.
    perform towpath.fail('TP404', 'the queue does not exist or you may not use it');
  end if;
  if v_queue.deduplication_window_in_seconds = 0 then
    return query
    select p.id, p.expire_after, p.consumer_group_ids, false
    from towpath.put_sealed_messages(
      put_sealed_messages_once.queue_id, bodies, body_lengths, channel_ids, put_sealed_messages_once.properties, delays,
      sizes, max_channels, key_id
    ) p;
    return;
  end if;
  if deduplication_ids is not null then
    -- A null stays null.
    v_keys := array(
      select 'id:' || u.deduplication_id
      from unnest(deduplication_ids) with ordinality u(deduplication_id, n)
      where u.n <= v_count
      order by u.n
    );
  end if;

  -- In one order for all, so that two requests with the same keys cannot deadlock.
  for v_lock in
    select distinct hashtextextended(k.key, put_sealed_messages_once.queue_id) as lock
    from unnest(v_keys || v_token_key) k(key)
    where k.key is not null
    order by lock
  loop
    perform pg_advisory_xact_lock(v_lock);
  end loop;
  -- After the wait: what the one before has committed is there, and its window may even have passed.
  v_now := clock_timestamp();
  v_forget_after := v_now + make_interval(secs => v_queue.deduplication_window_in_seconds);

  if v_token_key is not null then
    select d.* into v_answer
    from towpath.deduplication d
    where d.queue_id = put_sealed_messages_once.queue_id
      and d.key = v_token_key;
    -- Not part of the lookup, which would otherwise walk deduplication_by_age where it was planned while that was empty.
    v_is_repeat := found and v_answer.forget_after > v_now;
    if v_is_repeat and v_answer.request_digest is distinct from put_sealed_messages_once.request_digest then
      perform towpath.fail('TP4RT', format(
        'opc-retry-token was used for other messages, and is remembered for %s more seconds: use a new one',
        ceil(extract(epoch from v_answer.forget_after - v_now))
      ));
    elsif v_is_repeat then
      return query
      select u.id, u.expire_after, '{}'::bigint[], true
      from unnest(v_answer.message_ids, v_answer.expiries) with ordinality u(id, expire_after, n)
      order by u.n;
      return;
    end if;
  end if;

  for i in 1..v_count loop
    if v_keys[i] is null then
      v_new := v_new || i;
    elsif array_position(v_keys, v_keys[i]) = i then
      select d.* into v_answer
      from towpath.deduplication d
      where d.queue_id = put_sealed_messages_once.queue_id
        and d.key = v_keys[i];
      if found and v_answer.forget_after > v_now then
        v_ids[i] := v_answer.message_ids[1];
        v_expiries[i] := v_answer.expiries[1];
      else
        v_new := v_new || i;
      end if;
    end if;
  end loop;

  if cardinality(v_new) > 0 then
    if cardinality(v_new) < v_count then
      select string_agg(substr(bodies, e.start + 1, e.length), ''::bytea order by e.n),
        array_agg(e.length order by e.n), array_agg(e.channel_id order by e.n), array_agg(e.properties order by e.n),
        array_agg(e.delay order by e.n), array_agg(e.size order by e.n)
      into bodies, body_lengths, channel_ids, properties, delays, sizes
      from (
        select u.*, (sum(u.length) over (order by u.n) - u.length)::integer as start
        from unnest(body_lengths, channel_ids, put_sealed_messages_once.properties, delays, sizes)
          with ordinality u(length, channel_id, properties, delay, size, n)
      ) e
      where e.n = any (v_new);
      if not v_has_properties then
        properties := null;
      end if;
    end if;
    -- Arrays of arrays must all have one length, so the groups go as text.
    select array_agg(p.id order by p.n), array_agg(p.expire_after order by p.n),
      array_agg(p.consumer_group_ids::text order by p.n)
    into v_new_ids, v_new_expiries, v_new_groups
    from towpath.put_sealed_messages(
      put_sealed_messages_once.queue_id, bodies, body_lengths, channel_ids, put_sealed_messages_once.properties, delays,
      sizes, max_channels, key_id
    ) with ordinality p(id, expire_after, consumer_group_ids, n);
    for n in 1..cardinality(v_new) loop
      v_ids[v_new[n]] := v_new_ids[n];
      v_expiries[v_new[n]] := v_new_expiries[n];
      v_groups[v_new[n]] := v_new_groups[n];
    end loop;
  end if;
  -- The same id twice in one request: the second is answered as the first.
  for i in 1..v_count loop
    if v_ids[i] is null then
      v_ids[i] := v_ids[array_position(v_keys, v_keys[i])];
      v_expiries[i] := v_expiries[array_position(v_keys, v_keys[i])];
    end if;
  end loop;

  -- Where a row is there already, its window has passed.
  insert into towpath.deduplication as d (queue_id, forget_after, key, request_digest, message_ids, expiries)
  select put_sealed_messages_once.queue_id, v_forget_after, v_keys[n.n], null, array[v_ids[n.n]], array[v_expiries[n.n]]
  from unnest(v_new) n(n)
  where v_keys[n.n] is not null
  union all
  select put_sealed_messages_once.queue_id, v_forget_after, v_token_key, put_sealed_messages_once.request_digest, v_ids,
    v_expiries
  where v_token_key is not null
  on conflict on constraint deduplication_pkey do update
  set forget_after = excluded.forget_after,
    request_digest = excluded.request_digest,
    message_ids = excluded.message_ids,
    expiries = excluded.expiries;

  return query
  select u.id, u.expire_after, u.consumer_group_ids::bigint[], not u.n = any (v_new)
  from unnest(v_ids, v_expiries, v_groups) with ordinality u(id, expire_after, consumer_group_ids, n)
  order by u.n;
end;
$$;

comment on function towpath.put_sealed_messages_once(bigint, bytea, integer[], text[], text[], integer[], integer[], integer, text[], text, text, bigint) is
'As put_sealed_messages, for what may be a repeat: see put_packed_messages_once.';

create or replace function towpath.put_packed_messages_once(
  queue_id bigint,
  bodies bytea,
  body_lengths integer[],
  channel_ids text[],
  properties text[],
  delays integer[],
  sizes integer[],
  max_channels integer default 256,
  deduplication_ids text[] default null,
  retry_token text default null,
  request_digest text default null
)
returns table (id bigint, expire_after timestamptz, consumer_group_ids bigint[], is_repeat boolean)
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  return query
  select p.id, p.expire_after, p.consumer_group_ids, p.is_repeat
  from towpath.put_sealed_messages_once(
    put_packed_messages_once.queue_id, bodies, body_lengths, channel_ids, put_packed_messages_once.properties, delays,
    sizes, max_channels, deduplication_ids, retry_token, request_digest, null
  ) p;
end;
$$;

-- Rotation -------------------------------------------------------------------------------------------------------------

create function towpath.rotate_data_key(tenancy_id text, queue_ocid text, if_match text default null)
returns towpath.work_request
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_queue towpath.queue := towpath.lock_queue(rotate_data_key.tenancy_id, rotate_data_key.queue_ocid, rotate_data_key.if_match);
  v_now constant timestamptz := clock_timestamp();
begin
  update towpath.data_key k set retired_at = v_now where k.queue_id = v_queue.id and k.retired_at is null;
  return towpath.record_work_request(v_queue, 'ROTATE_DATA_KEY', 'UPDATED');
end;
$$;

comment on function towpath.rotate_data_key(text, text, text) is
'Retires the data key of a queue: from the commit on nothing is sealed with it, and the next put makes another one. What was sealed with it stays readable. Returns the finished work request. TP404, TP409, TP412.';

create function towpath.list_data_keys(after_queue_id bigint, after_id bigint, batch integer default 500)
returns table (
  queue_id bigint,
  id bigint,
  retired_at timestamptz,
  master_key_id text,
  wrapped_key bytea,
  custom_encryption_key_id text,
  is_old boolean
)
language sql
stable
set search_path = towpath, pg_temp
as $$
  select k.queue_id, k.id, k.retired_at, k.master_key_id, k.wrapped_key, q.custom_encryption_key_id,
    k.retired_at < statement_timestamp() - make_interval(secs => q.retention_in_seconds)
  from (
    select k.*
    from towpath.data_key k
    where (k.queue_id, k.id) > (after_queue_id, after_id)
    order by k.queue_id, k.id
    limit batch
  ) k
  join towpath.queue q on q.id = k.queue_id
  order by k.queue_id, k.id;
$$;

comment on function towpath.list_data_keys(bigint, bigint, integer) is
'Data keys in the order of (queue_id, id), for the maintenance: which master key each is wrapped with, which one its queue names, and whether it was retired longer ago than messages of the queue live.';

create function towpath.rewrap_data_key(queue_id bigint, id bigint, old_wrapped_key bytea, wrapped_key bytea, master_key_id text)
returns boolean
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  update towpath.data_key k
  set wrapped_key = rewrap_data_key.wrapped_key,
    master_key_id = rewrap_data_key.master_key_id
  where k.queue_id = rewrap_data_key.queue_id
    and k.id = rewrap_data_key.id
    and k.wrapped_key = rewrap_data_key.old_wrapped_key;
  return found;
end;
$$;

comment on function towpath.rewrap_data_key(bigint, bigint, bytea, bytea, text) is
'Stores a data key wrapped by another master key, unless it was changed since it was read as old_wrapped_key. The key itself is the same, so messages are not touched.';

create function towpath.forget_data_key(queue_id bigint, id bigint)
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
  v_key towpath.data_key;
  v_retention_in_seconds integer;
  v_group_id bigint;
  v_created_at timestamptz;
begin
  select k.* into v_key
  from towpath.data_key k
  where k.queue_id = forget_data_key.queue_id and k.id = forget_data_key.id
  for update skip locked;
  select q.retention_in_seconds into v_retention_in_seconds from towpath.queue q where q.id = forget_data_key.queue_id;
  -- Who sealed with it at its last moment has committed a minute later: statements of pods do not last longer.
  if v_key.id is null
    or v_key.retired_at is null
    or v_key.retired_at + make_interval(secs => coalesce(v_retention_in_seconds, 0) + 60) > clock_timestamp()
  then
    return false;
  end if;
  for v_group_id in
    select 0
    union
    select g.id from towpath.consumer_group g where g.queue_id = forget_data_key.queue_id
  loop
    -- Ids follow time, within some seconds, so the oldest message tells of all.
    select m.created_at into v_created_at
    from towpath.message m
    where m.queue_id = forget_data_key.queue_id and m.consumer_group_id = v_group_id
    order by m.id
    limit 1;
    if v_created_at <= v_key.retired_at + interval '2 minutes' then
      return false;
    end if;
  end loop;
  delete from towpath.data_key k where k.queue_id = forget_data_key.queue_id and k.id = forget_data_key.id;
  return true;
end;
$$;

comment on function towpath.forget_data_key(bigint, bigint) is
'Removes a data key that was retired longer ago than the queue''s retention, where every message is younger than that: so none names it. Returns whether it was removed.';

create function towpath.forget_data_keys_of_queue()
returns trigger
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  delete from towpath.data_key k where k.queue_id = new.id;
  return null;
end;
$$;

comment on function towpath.forget_data_keys_of_queue() is
'With a deleted queue its data keys go: what is left of its messages in a backup without them cannot be read.';

create trigger forget_data_keys_of_queue
after update of lifecycle_state on towpath.queue
for each row
when (new.lifecycle_state = 'DELETED')
execute function towpath.forget_data_keys_of_queue();

-- Redrives -------------------------------------------------------------------------------------------------------------

create function towpath.redrive_allowance(parameters jsonb, rate double precision, at timestamptz)
returns double precision
language sql
stable
set search_path = towpath, pg_temp
as $$
  select least(
    rate,
    (parameters ->> 'allowance')::double precision
      + rate * greatest(0, extract(epoch from at) - extract(epoch from (parameters ->> 'allowanceAt')::timestamptz))
  );
$$;

comment on function towpath.redrive_allowance(jsonb, double precision, timestamptz) is
'How many messages the rate limit of a redrive allows at this time: a bucket that fills with the clock and holds one second''s worth.';

create function towpath.redrive_sealed_to_queue(
  queue_id bigint,
  consumer_group_id bigint,
  ids bigint[],
  target_queue_id bigint,
  target_channel_id text,
  max_channels integer,
  bodies bytea,
  body_lengths integer[],
  properties text[],
  key_id bigint
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
  v_channel_ids text[];
  v_new_channel_ids text[];
  v_sizes integer[];
  v_new record;
  v_n integer := 0;
  v_taken integer[] := '{}';
  v_woken_groups bigint[] := '{}';
  v_woken_channels text[] := '{}';
begin
  -- The caller has locked them; FOR UPDATE keeps it a lookup per id, no join.
  select array_agg(l.channel_id), array_agg(coalesce(redrive_sealed_to_queue.target_channel_id, l.channel_id)),
    array_agg(l.size_in_bytes)
  into v_channel_ids, v_new_channel_ids, v_sizes
  from unnest(ids) u(id)
  cross join lateral (
    select m.channel_id, m.size_in_bytes
    from towpath.message m
    where m.queue_id = redrive_sealed_to_queue.queue_id
      and m.consumer_group_id = redrive_sealed_to_queue.consumer_group_id
      and m.id = u.id
    for update
  ) l;
  for v_new in
    select p.consumer_group_ids
    from towpath.put_sealed_messages(
      redrive_sealed_to_queue.target_queue_id, bodies, body_lengths, v_new_channel_ids,
      redrive_sealed_to_queue.properties, array_fill(0, array[cardinality(ids)]), v_sizes,
      redrive_sealed_to_queue.max_channels, redrive_sealed_to_queue.key_id
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
    where m.queue_id = redrive_sealed_to_queue.queue_id
      and m.consumer_group_id = redrive_sealed_to_queue.consumer_group_id
      and m.id = ids[v_n];
  end loop;
  insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
  select redrive_sealed_to_queue.queue_id, redrive_sealed_to_queue.consumer_group_id, true, v_channel_ids[t.n],
    -count(*), -sum(v_sizes[t.n])
  from unnest(v_taken) t(n)
  group by v_channel_ids[t.n];
  perform towpath.notify_visible(redrive_sealed_to_queue.target_queue_id, v_woken_groups, v_woken_channels);
  return cardinality(v_taken);
end;
$$;

comment on function towpath.redrive_sealed_to_queue(bigint, bigint, bigint[], bigint, text, integer, bytea, integer[], text[], bigint) is
'As redrive_to_queue, with the contents as put_sealed_messages takes them, one per id.';

create function towpath.redrive_sealed_messages(
  tenancy_id text,
  queue_ocid text,
  details jsonb,
  filter text default null,
  if_match text default null,
  max_message_bytes integer default null,
  max_channels integer default 256
)
returns towpath.work_request
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_request towpath.work_request := towpath.redrive_messages(
    redrive_sealed_messages.tenancy_id, redrive_sealed_messages.queue_ocid, details - 'filter',
    -- Stands for the filter until the update below, so that the audit log has that there is one.
    case when filter <> '' then '$' end::jsonpath,
    redrive_sealed_messages.if_match, redrive_sealed_messages.max_message_bytes, redrive_sealed_messages.max_channels
  );
begin
  if coalesce(filter, '') = '' and nullif(v_request.parameters -> 'target', 'null') is null then
    return v_request;
  end if;
  update towpath.work_request w
  set parameters = (w.parameters #- '{selection,filterPath}')
    || jsonb_build_object('byPod', true, 'filter', nullif(redrive_sealed_messages.filter, ''))
  where w.id = v_request.id
  returning w.* into v_request;
  return v_request;
end;
$$;

comment on function towpath.redrive_sealed_messages(text, text, jsonb, text, text, integer, integer) is
'As redrive_messages, with the filter as people write it, for messages that may be sealed: where there is a filter, or another queue as the target, pods carry it out (take_redrive_batch, move_redrive_batch).';

create function towpath.take_redrive_batch(work_request_ocid text default null, batch integer default 500)
returns table (
  plan jsonb,
  id bigint,
  receipt_number bigint,
  key_id bigint,
  properties jsonb,
  body bytea,
  examined integer
)
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $$
declare
  -- As in run_redrive_step.
  c_max_bytes constant bigint := 4194304;
  -- For so long nobody else begins with the same batch. A pod that dies holds it up for no longer.
  c_lease constant interval := interval '10 seconds';
  v_now constant timestamptz := clock_timestamp();
  v_request towpath.work_request;
  v_selection jsonb;
  v_group_id bigint;
  v_cursor bigint;
  v_channel_ids text[];
  v_rate double precision;
  v_allowance double precision;
  v_enough double precision;
  v_most integer := greatest(1, batch / 2);
  v_wanted_ids bigint[];
  v_message record;
  v_examined integer := 0;
  v_bytes bigint := 0;
  v_is_end boolean := true;
begin
  select w.* into v_request
  from towpath.work_request w
  where w.time_finished is null
    and w.operation_type = 'REDRIVE_MESSAGES'
    and w.parameters @> '{"byPod": true}'
    and w.status = 'IN_PROGRESS'
    and (w.run_after is null or w.run_after <= v_now)
    and (take_redrive_batch.work_request_ocid is null or w.ocid = take_redrive_batch.work_request_ocid)
  order by w.id
  limit 1
  for update skip locked;
  v_selection := v_request.parameters -> 'selection';
  v_group_id := (v_request.parameters -> 'groupIds' ->> 0)::bigint;
  v_cursor := (v_request.parameters ->> 'cursor')::bigint;
  v_rate := (v_request.parameters -> 'redrive' ->> 'messagesPerSecond')::double precision;
  if v_group_id is null then
    return;
  end if;
  if v_rate is not null and not (v_request.parameters -> 'redrive' ->> 'isDryRun')::boolean then
    v_allowance := towpath.redrive_allowance(v_request.parameters, v_rate, v_now);
    v_enough := greatest(1, least(v_rate / 10, v_most));
    if v_allowance < v_enough then
      update towpath.work_request w
      set run_after = v_now + make_interval(secs => (v_enough - v_allowance) / v_rate)
      where w.id = v_request.id;
      return;
    end if;
    v_most := least(v_most, floor(v_allowance));
  end if;
  update towpath.work_request w set run_after = v_now + c_lease where w.id = v_request.id;

  if v_selection ? 'channelIds' then
    v_channel_ids := array(select c from jsonb_array_elements_text(v_selection -> 'channelIds') c);
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
      -- Along message_dead_letter, as in run_redrive_step.
      select m.*
      from towpath.message m
      where v_wanted_ids is null
        and m.queue_id = v_request.queue_id
        and m.consumer_group_id = v_group_id
        and m.id > v_cursor
        and m.dead_letter
      order by m.id, m.dead_letter
      limit batch
    ) w
    union all
    select l.*
    from unnest(v_wanted_ids) u(id)
    cross join lateral (
      select m.*
      from towpath.message m
      where m.queue_id = v_request.queue_id
        and m.consumer_group_id = v_group_id
        and m.id = u.id
      -- Keeps it a lookup per id, no join.
      offset 0
    ) l
  loop
    if v_bytes >= c_max_bytes then
      v_is_end := false;
      exit;
    end if;
    v_cursor := v_message.id;
    v_examined := v_examined + 1;
    if v_message.dead_letter
      and v_message.dead_lettered_at <= (v_request.parameters ->> 'startedAt')::timestamptz
      and v_message.expire_after > v_now
      and v_message.created_at < coalesce((v_selection ->> 'createdBefore')::timestamptz, 'infinity')
      and v_message.created_at >= coalesce((v_selection ->> 'createdAfter')::timestamptz, '-infinity')
      and v_message.dead_lettered_at < coalesce((v_selection ->> 'diedBefore')::timestamptz, 'infinity')
      and v_message.dead_lettered_at >= coalesce((v_selection ->> 'diedAfter')::timestamptz, '-infinity')
      and (v_channel_ids is null or v_message.channel_id = any (v_channel_ids))
    then
      v_bytes := v_bytes + octet_length(v_message.body);
      id := v_message.id;
      receipt_number := v_message.receipt_number;
      key_id := v_message.key_id;
      properties := v_message.properties;
      body := v_message.body;
      examined := v_examined;
      return next;
    end if;
  end loop;
  if v_is_end and v_wanted_ids is not null then
    v_is_end := cardinality(v_wanted_ids) < batch;
    v_cursor := coalesce(v_wanted_ids[cardinality(v_wanted_ids)], v_cursor);
  elsif v_is_end then
    v_is_end := v_examined < batch;
  end if;
  plan := jsonb_build_object(
    'workRequestId', v_request.ocid,
    'queueId', v_request.queue_id,
    'consumerGroupId', v_group_id,
    'filter', v_request.parameters ->> 'filter',
    'acceptUnsealed', (select q.accept_unsealed from towpath.queue q where q.id = v_request.queue_id),
    'target', (
      select jsonb_build_object('queueId', q.id, 'customEncryptionKeyId', q.custom_encryption_key_id)
      from towpath.queue q
      where q.id = (v_request.parameters -> 'target' ->> 'queueId')::bigint
    ),
    'isDryRun', (v_request.parameters -> 'redrive' ->> 'isDryRun')::boolean,
    'most', v_most,
    'cursor', (v_request.parameters ->> 'cursor')::bigint,
    'nextCursor', v_cursor,
    'isEnd', v_is_end
  );
  id := null;
  receipt_number := null;
  key_id := null;
  properties := null;
  body := null;
  examined := v_examined;
  return next;
end;
$$;

comment on function towpath.take_redrive_batch(text, integer) is
'The next batch of a redrive that pods carry out (null: of the oldest one): dead letters that match in all but their properties, and a last row with the plan: what to do with them, and where the batch ends. Nobody else gets the batch for 10 seconds. Nothing where there is none, or its rate limit allows nothing at the moment.';

create function towpath.move_redrive_batch(
  work_request_ocid text,
  consumer_group_id bigint,
  cursor bigint,
  next_cursor bigint,
  is_end boolean,
  examined integer,
  unreadable integer,
  ids bigint[],
  receipt_numbers bigint[],
  bodies bytea default null,
  body_lengths integer[] default null,
  properties text[] default null,
  key_id bigint default null
)
returns text
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $$
declare
  v_request towpath.work_request;
  v_parameters jsonb;
  v_progress jsonb;
  v_target jsonb;
  v_max_message_bytes integer;
  v_rate double precision;
  v_matched integer := 0;
  v_skipped integer := 0;
  v_failed integer := unreadable;
  v_redriven integer := 0;
  v_places integer[];
  v_ids bigint[];
  v_now timestamptz;
  v_error_code text;
  v_error text;
  v_percent integer;
begin
  select w.* into v_request
  from towpath.work_request w
  where w.ocid = move_redrive_batch.work_request_ocid
  for update;
  v_parameters := v_request.parameters;
  if not found
    or v_request.time_finished is not null
    or (v_parameters ->> 'cursor')::bigint <> move_redrive_batch.cursor
    or (v_parameters -> 'groupIds' ->> 0)::bigint is distinct from move_redrive_batch.consumer_group_id
  then
    -- Somebody else has done this batch.
    return coalesce(nullif(v_request.status, 'CANCELING'), 'IN_PROGRESS');
  elsif v_request.status = 'CANCELING' then
    return towpath.end_redrive(v_request.id, 'CANCELED', 'canceled; what was redriven stays redriven');
  end if;
  v_progress := v_parameters -> 'redrive';
  v_target := nullif(v_parameters -> 'target', 'null');
  v_max_message_bytes := coalesce((v_target ->> 'maxMessageBytes')::integer, 2147483647);
  v_rate := (v_progress ->> 'messagesPerSecond')::double precision;

  -- Locked in order, and waited for. What was given to a consumer of the dead letter queue meanwhile stays with it.
  declare
    v_states record;
  begin
    select array_agg(l.n) as places, array_agg(l.id) as ids, array_agg(l.visible_after) as visible,
      array_agg(l.expire_after) as expire, array_agg(l.size_in_bytes) as sizes, array_agg(l.is_same) as same
    into v_states
    from unnest(move_redrive_batch.ids, receipt_numbers) with ordinality u(id, receipt_number, n)
    cross join lateral (
      select u.n::integer as n, m.id, m.visible_after, m.expire_after, m.size_in_bytes,
        m.receipt_number = u.receipt_number as is_same
      from towpath.message m
      where m.queue_id = v_request.queue_id
        and m.consumer_group_id = move_redrive_batch.consumer_group_id
        and m.id = u.id
        and m.dead_letter
        and m.dead_lettered_at <= (v_parameters ->> 'startedAt')::timestamptz
      for update
    ) l;
    v_now := clock_timestamp();
    select count(*), count(*) filter (where not u.is_free), count(*) filter (where u.is_free and u.size > v_max_message_bytes),
      coalesce(array_agg(u.id) filter (where u.is_free and u.size <= v_max_message_bytes), '{}'),
      coalesce(array_agg(u.n) filter (where u.is_free and u.size <= v_max_message_bytes), '{}')
    into v_matched, v_skipped, v_failed, v_ids, v_places
    from (
      select s.n, s.id, s.size, s.is_same and s.visible_after <= v_now as is_free
      from unnest(v_states.places, v_states.ids, v_states.visible, v_states.expire, v_states.sizes, v_states.same)
        s(n, id, visible_after, expire_after, size, is_same)
      where s.expire_after > v_now
    ) u;
  end;
  if v_failed > 0 and not (v_progress ->> 'isDryRun')::boolean then
    perform towpath.report_redrive_failure(v_request.id, 'LimitExceeded', format(
      'some messages have more than the %s bytes that the target queue takes: they are still dead letters; redrive them to a queue with LARGE_MESSAGES',
      v_max_message_bytes
    ));
  end if;
  if unreadable > 0 then
    v_failed := v_failed + unreadable;
    perform towpath.report_redrive_failure(
      v_request.id, 'IncorrectState',
      'some messages cannot be opened, because they were altered in the database: they are still dead letters'
    );
  end if;
  if (v_progress ->> 'isDryRun')::boolean then
    null;
  elsif cardinality(v_ids) > 0 and v_target is null then
    perform towpath.redrive_to_origin(v_request.queue_id, move_redrive_batch.consumer_group_id, v_ids, v_now);
    v_redriven := cardinality(v_ids);
  elsif cardinality(v_ids) > 0 then
    if cardinality(v_ids) < cardinality(move_redrive_batch.ids) then
      select string_agg(substr(bodies, e.start + 1, e.length), ''::bytea order by e.n), array_agg(e.length order by e.n),
        array_agg(e.properties order by e.n)
      into bodies, body_lengths, properties
      from (
        select u.*, (sum(u.length) over (order by u.n) - u.length)::integer as start
        from unnest(body_lengths, move_redrive_batch.properties) with ordinality u(length, properties, n)
      ) e
      where e.n = any (v_places);
    end if;
    begin
      v_redriven := towpath.redrive_sealed_to_queue(
        v_request.queue_id, move_redrive_batch.consumer_group_id, v_ids, (v_target ->> 'queueId')::bigint,
        v_target ->> 'channelId', (v_target ->> 'maxChannels')::integer, bodies, body_lengths,
        move_redrive_batch.properties, move_redrive_batch.key_id
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
        v_request.id, 'IncorrectState', 'no consumer group of the target queue takes some of the messages: they are still dead letters'
      );
    end if;
  end if;

  v_progress := v_progress || jsonb_build_object(
    'examined', (v_progress ->> 'examined')::bigint + move_redrive_batch.examined,
    'matched', (v_progress ->> 'matched')::bigint + v_matched,
    'redriven', (v_progress ->> 'redriven')::bigint + v_redriven,
    'skipped', (v_progress ->> 'skipped')::bigint + v_skipped,
    'failed', (v_progress ->> 'failed')::bigint + v_failed
  );
  if v_rate is not null then
    v_parameters := v_parameters || jsonb_build_object(
      'allowance', towpath.redrive_allowance(v_parameters, v_rate, v_now) - v_redriven, 'allowanceAt', v_now
    );
  end if;
  v_parameters := v_parameters || jsonb_build_object('redrive', v_progress, 'cursor', move_redrive_batch.next_cursor);
  if move_redrive_batch.is_end then
    v_parameters := v_parameters || jsonb_build_object('groupIds', (v_parameters -> 'groupIds') - 0, 'cursor', 0);
  end if;
  v_percent := least(
    99, 100 * (v_progress ->> 'examined')::bigint / greatest(1, (v_parameters ->> 'expected')::bigint)
  );
  update towpath.work_request w
  set parameters = v_parameters,
    percent_complete = greatest(w.percent_complete, v_percent),
    run_after = null
  where w.id = v_request.id;
  if v_error is not null then
    return towpath.end_redrive(v_request.id, 'FAILED', format(
      'the target queue took no more: %s. What is not redriven is still a dead letter: put that right and redrive again',
      v_error
    ), v_error_code);
  end if;
  if jsonb_array_length(v_parameters -> 'groupIds') = 0 then
    return towpath.end_redrive(v_request.id, 'SUCCEEDED', 'done');
  end if;
  if v_percent / 10 > v_request.percent_complete::integer / 10 then
    insert into towpath.work_request_log (work_request_id, message)
    values (v_request.id, format(
      '%s of about %s dead letters examined, %s redriven', v_progress ->> 'examined', v_parameters ->> 'expected',
      v_progress ->> 'redriven'
    ));
  end if;
  return 'IN_PROGRESS';
end;
$$;

comment on function towpath.move_redrive_batch(text, bigint, bigint, bigint, boolean, integer, integer, bigint[], bigint[], bytea, integer[], text[], bigint) is
'Redrives what a pod has chosen from a batch of take_redrive_batch (ids, in order, and the receipt numbers that it saw) where it is still as it was, and moves the cursor, in one transaction; nothing where somebody else has moved it. For another queue with the contents sealed for that, as put_sealed_messages takes them. unreadable counts those that could not be opened. Returns the status after that. TP4SE: seal again.';

create function towpath.fail_redrive(work_request_ocid text, code text, message text)
returns text
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_request towpath.work_request;
begin
  select w.* into v_request
  from towpath.work_request w
  where w.ocid = fail_redrive.work_request_ocid and w.time_finished is null
  for update;
  if not found then
    return null;
  end if;
  return towpath.end_redrive(v_request.id, 'FAILED', fail_redrive.message, fail_redrive.code);
end;
$$;

comment on function towpath.fail_redrive(text, text, text) is
'Ends a redrive that a pod cannot go on with; what is not redriven is still a dead letter.';

create or replace function towpath.run_redrive_step(request towpath.work_request, batch integer)
returns text
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
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
  v_sealed integer := 0;
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

  if v_parameters @> '{"byPod": true}' then
    return 'POD';
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
      -- Along message_dead_letter, which alone has this order: what lives is not walked.
      select m.id, m.dead_letter, m.dead_lettered_at, m.expire_after, m.created_at, m.visible_after, m.channel_id,
        m.properties, m.size_in_bytes, m.key_id
      from towpath.message m
      where v_wanted_ids is null
        and m.queue_id = v_queue_id
        and m.consumer_group_id = v_group_id
        and m.id > v_cursor
        and m.dead_letter
      order by m.id, m.dead_letter
      limit batch
    ) w
    union all
    select l.*
    from unnest(v_wanted_ids) u(id)
    cross join lateral (
      select m.id, m.dead_letter, m.dead_lettered_at, m.expire_after, m.created_at, m.visible_after, m.channel_id,
        m.properties, m.size_in_bytes, m.key_id
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
      and v_message.key_id is not null
      and (v_filter is not null or v_target is not null)
    then
      -- Started at psql, or by a pod from before.
      v_sealed := v_sealed + 1;
    elsif v_message.dead_letter
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

  if v_sealed > 0 then
    v_failed := v_failed + v_sealed;
    perform towpath.report_redrive_failure(
      (request).id, 'IncorrectState',
      'some messages are sealed, and SQL can neither filter them nor give them to another queue: they are still dead letters; redrive them by REST (redriveDeadLetters)'
    );
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
'Looks at the next batch of dead letters of a redrive and moves those that match, at most half of batch (a dry run: counts them). Returns the status after that; WAITING where the rate limit allows nothing at the moment; POD where a pod has to do it, with take_redrive_batch.';

-- Resending ------------------------------------------------------------------------------------------------------------

create function towpath.read_dead_letter(queue_id bigint, consumer_group_id bigint, message_id bigint)
returns table (channel_id text, key_id bigint, properties jsonb, body bytea)
language sql
stable
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
  select m.channel_id, m.key_id, m.properties, m.body
  from towpath.message m
  where m.queue_id = read_dead_letter.queue_id
    and m.consumer_group_id = read_dead_letter.consumer_group_id
    and m.id = read_dead_letter.message_id
    and m.dead_letter;
$$;

comment on function towpath.read_dead_letter(bigint, bigint, bigint) is
'What a dead letter holds, which never changes as long as it is there; nothing where there is none. For resend_sealed_dead_letter.';

create function towpath.resend_sealed_dead_letter(
  queue_id bigint,
  message_id bigint,
  consumer_group_id bigint,
  content bytea,
  content_bytes integer,
  channel_id text,
  properties jsonb,
  key_id bigint,
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
  v_channel_id text;
  v_size integer;
  v_group_ids bigint[];
begin
  select q.* into v_queue from towpath.queue q where q.id = resend_sealed_dead_letter.queue_id;
  if not found or v_queue.lifecycle_state in ('DELETING', 'DELETED') then
    perform towpath.fail('TP404', 'the queue does not exist or you may not use it');
  elsif v_queue.lifecycle_state not in ('ACTIVE', 'UPDATING') then
    perform towpath.fail('TP409', 'the queue is ' || v_queue.lifecycle_state || ': it takes no messages');
  end if;
  if v_queue.capabilities <> '[]' and towpath.has_consumer_groups(v_queue) then
    select g.lifecycle_state into v_group_state
    from towpath.consumer_group g
    where g.queue_id = v_queue.id and g.id = resend_sealed_dead_letter.consumer_group_id;
    if not found or v_group_state in ('DELETING', 'DELETED') then
      perform towpath.fail('TP404', 'the consumer group does not exist or you may not use it');
    end if;
  end if;
  select m.* into v_old
  from towpath.message m
  where m.queue_id = resend_sealed_dead_letter.queue_id
    and m.consumer_group_id = resend_sealed_dead_letter.consumer_group_id
    and m.id = resend_sealed_dead_letter.message_id
    and m.dead_letter
  for update;
  v_now := clock_timestamp();
  if v_old.id is null
    or v_old.expire_after <= v_now
    -- Purged ones are gone for everybody but who holds them.
    or exists (
      select from towpath.purge p
      where p.queue_id = resend_sealed_dead_letter.queue_id
        and p.consumer_group_id = resend_sealed_dead_letter.consumer_group_id
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
  v_channel_id := coalesce(resend_sealed_dead_letter.channel_id, v_old.channel_id);
  v_size := content_bytes
    + (select sum(octet_length(p.key) + octet_length(p.value)) from jsonb_each_text(properties) p);
  if v_size > resend_sealed_dead_letter.max_message_bytes then
    perform towpath.fail('TP4LE', format(
      'the message has %s bytes of content and properties, the one that names the old message among them, and the queue takes %s',
      v_size, resend_sealed_dead_letter.max_message_bytes
    ));
  end if;
  if target_queue_id is null or target_queue_id = v_queue.id then
    -- For the group whose dead letter it was; the others have had theirs.
    perform towpath.check_channels(v_queue.id, array[v_channel_id], max_channels);
    if key_id is not null then
      perform towpath.check_data_key(v_queue.id, key_id);
    end if;
    id := nextval('towpath.message_id');
    v_now := clock_timestamp();
    expire_after := v_now + make_interval(secs => v_queue.retention_in_seconds);
    insert into towpath.message (
      queue_id, consumer_group_id, id, visible_after, expire_after, created_at, size_in_bytes, key_id, channel_id,
      properties, body
    )
    values (
      v_queue.id, v_old.consumer_group_id, resend_sealed_dead_letter.id, v_now, resend_sealed_dead_letter.expire_after,
      v_now, v_size,
      resend_sealed_dead_letter.key_id, v_channel_id,
      case when resend_sealed_dead_letter.key_id is null then resend_sealed_dead_letter.properties end, content
    );
    insert into towpath.message_delta (queue_id, consumer_group_id, dead_letter, channel_id, messages, size_in_bytes)
    values (v_queue.id, v_old.consumer_group_id, false, v_channel_id, 1, v_size);
    v_group_ids := array[v_old.consumer_group_id];
  else
    select p.id, p.expire_after, p.consumer_group_ids into id, expire_after, v_group_ids
    from towpath.put_sealed_messages(
      target_queue_id, content, array[octet_length(content)], array[v_channel_id],
      array[resend_sealed_dead_letter.properties::text], array[0], array[v_size], max_channels,
      resend_sealed_dead_letter.key_id
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
  -- As in 0015. What was changed in it nobody here knows: it comes whole, and sealed.
  perform towpath.record_dead_letter_event(
    'resendDeadLetter', v_queue.id, v_old.consumer_group_id,
    jsonb_build_object('messageId', v_old.id, 'newMessageId', resend_sealed_dead_letter.id, 'channelId', v_channel_id),
    target_queue_id
  );
  return next;
end;
$$;

comment on function towpath.resend_sealed_dead_letter(bigint, bigint, bigint, bytea, integer, text, jsonb, bigint, bigint, integer, integer) is
'As resend_dead_letter, with the whole new message given: content, sealed with the data key key_id of the queue it goes to (null: not sealed), its size before that, and properties in the clear, which are for the filters of consumer groups and the size only where it is sealed. They should name the old message, as resend_dead_letter does. Besides the errors of that: TP4SE where the key is not in force.';

create or replace function towpath.resend_dead_letter(
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
as $$
declare
  v_old record;
  v_content bytea;
  v_ocid text;
begin
  select q.ocid into v_ocid from towpath.queue q where q.id = resend_dead_letter.queue_id;
  select d.* into v_old
  from towpath.read_dead_letter(
    resend_dead_letter.queue_id, resend_dead_letter.consumer_group_id, resend_dead_letter.message_id
  ) d;
  if not found then
    -- That says what else is wrong, if anything is. What has died at this moment was not looked at.
    perform towpath.resend_sealed_dead_letter(
      resend_dead_letter.queue_id, message_id, resend_dead_letter.consumer_group_id, '', 0,
      resend_dead_letter.channel_id, '{}', null, target_queue_id, resend_dead_letter.max_message_bytes,
      resend_dead_letter.max_channels
    );
    perform towpath.fail('TP404', 'messageId: the dead letter queue has no such message');
  elsif v_old.key_id is not null then
    perform towpath.fail('TP409', 'messageId: the message is sealed, and SQL cannot open it: resend it by REST (resendDeadLetter)');
  end if;
  v_content := coalesce(resend_dead_letter.content, v_old.body);
  return query
  select r.id, r.expire_after
  from towpath.resend_sealed_dead_letter(
    resend_dead_letter.queue_id, message_id, resend_dead_letter.consumer_group_id, v_content, octet_length(v_content),
    resend_dead_letter.channel_id,
    -- The copy names the one that it replaces.
    coalesce(resend_dead_letter.properties, v_old.properties, '{}')
      || jsonb_build_object('towpath.resentFrom', v_ocid || '/' || message_id),
    null, target_queue_id, resend_dead_letter.max_message_bytes, resend_dead_letter.max_channels
  ) r;
end;
$$;

-- For people at psql ---------------------------------------------------------------------------------------------------

create function towpath.readable_content(body bytea, key_id bigint)
returns text
language sql
immutable
set search_path = towpath, pg_temp
as $$
  select case when key_id is null then convert_from(body, 'UTF8') else '(sealed)' end;
$$;

comment on function towpath.readable_content(bytea, bigint) is
'The content of a message as text, for people at psql; (sealed) where a pod has sealed it, which only pods can open: use peekMessages of the REST API.';

comment on column towpath.message.body is
'The content, as UTF-8 bytes where it came as text; where there is a key_id, content and properties, sealed: see src/encryption/message-seal.ts.';
comment on column towpath.message.key_id is
'The data key of the queue that body is sealed with, content and properties in it; null: not sealed.';
