-- oldest program: 6
--
-- Puts that may be repeated. A message may carry a deduplication id, a request a retry token; what they were answered
-- is kept for the queue's window, and a repeat within it gets that answer and stores nothing. What has neither goes
-- through put_packed_messages as before and meets nothing of this.
--
-- How two that come at once are kept apart: each key is an advisory lock of the transaction. Who has it looks, stores,
-- and writes the row in its final form; who comes second waits for the outcome of the first, and then sees its row, or
-- after a rollback none. The alternative is to claim the key by inserting its row first, which makes the second wait for
-- the unique index just as well. But the ids are known only after the put, so each row would be written twice, and every
-- key would leave a dead version behind.

create table towpath.deduplication (
  queue_id bigint not null,
  forget_after timestamptz not null,
  -- 'id:' and a deduplication id, or 'token:' and a retry token.
  key text collate "C" not null,
  request_digest text,
  message_ids bigint[] not null,
  expiries timestamptz[] not null,
  constraint deduplication_pkey primary key (queue_id, key)
)
-- As many rows come as go.
with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000);

comment on table towpath.deduplication is
'One row per deduplication id and per retry token of a put: what the first one was answered. It counts until forget_after, whatever became of the messages; forget_deduplications removes it later. Rows of a deleted queue go the same way.';
comment on column towpath.deduplication.forget_after is
'The time of the put, and the window that the queue had then.';
comment on column towpath.deduplication.request_digest is
'Of the request that a retry token came with: the same token with another one is refused. Null for a deduplication id.';
comment on column towpath.deduplication.message_ids is
'The ids that the first put was answered: of a deduplication id one, of a retry token one per message.';
comment on column towpath.deduplication.expiries is
'The expiries that it was answered, in the same order; null: no consumer group took the message.';

-- For forget_deduplications.
create index deduplication_by_age on towpath.deduplication (forget_after);

create function towpath.put_packed_messages_once(
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
begin
  select q.* into v_queue from towpath.queue q where q.id = put_packed_messages_once.queue_id;
  if not found or v_queue.lifecycle_state in ('DELETING', 'DELETED') then
    -- A repeat must not be answered for a queue that is gone. Everything else is checked where messages are stored.
    perform towpath.fail('TP404', 'the queue does not exist or you may not use it');
  end if;
  if v_queue.deduplication_window_in_seconds = 0 then
    return query
    select p.id, p.expire_after, p.consumer_group_ids, false
    from towpath.put_packed_messages(
      put_packed_messages_once.queue_id, bodies, body_lengths, channel_ids, put_packed_messages_once.properties, delays,
      sizes, max_channels
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
    select distinct hashtextextended(k.key, put_packed_messages_once.queue_id) as lock
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
    where d.queue_id = put_packed_messages_once.queue_id
      and d.key = v_token_key;
    -- Not part of the lookup, which would otherwise walk deduplication_by_age where it was planned while that was empty.
    v_is_repeat := found and v_answer.forget_after > v_now;
    if v_is_repeat and v_answer.request_digest is distinct from put_packed_messages_once.request_digest then
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
      where d.queue_id = put_packed_messages_once.queue_id
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
        from unnest(body_lengths, channel_ids, put_packed_messages_once.properties, delays, sizes)
          with ordinality u(length, channel_id, properties, delay, size, n)
      ) e
      where e.n = any (v_new);
    end if;
    -- Arrays of arrays must all have one length, so the groups go as text.
    select array_agg(p.id order by p.n), array_agg(p.expire_after order by p.n),
      array_agg(p.consumer_group_ids::text order by p.n)
    into v_new_ids, v_new_expiries, v_new_groups
    from towpath.put_packed_messages(
      put_packed_messages_once.queue_id, bodies, body_lengths, channel_ids, put_packed_messages_once.properties, delays,
      sizes, max_channels
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
  select put_packed_messages_once.queue_id, v_forget_after, v_keys[n.n], null, array[v_ids[n.n]], array[v_expiries[n.n]]
  from unnest(v_new) n(n)
  where v_keys[n.n] is not null
  union all
  select put_packed_messages_once.queue_id, v_forget_after, v_token_key, put_packed_messages_once.request_digest, v_ids,
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

comment on function towpath.put_packed_messages_once(bigint, bytea, integer[], text[], text[], integer[], integer[], integer, text[], text, text) is
'As put_packed_messages, for what may be a repeat: deduplication_ids has one per message (null: none), retry_token is about the whole request, whose digest tells whether another came with it. A message whose id was put within the queue''s deduplication window, or all of a request whose token was, is not stored but answered as the first one was, consumed or not, with is_repeat and no groups. The token counts first. Needs the isolation level read committed. Besides the errors of put_packed_messages: TP4RT.';

create function towpath.find_repeats(
  queue_id bigint,
  deduplication_ids text[],
  retry_token text,
  request_digest text
)
returns table (id bigint, expire_after timestamptz)
language plpgsql
stable
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_answer towpath.deduplication;
  v_deduplication_id text;
  v_ids bigint[] := '{}';
  v_expiries timestamptz[] := '{}';
begin
  if retry_token is not null then
    select d.* into v_answer
    from towpath.deduplication d
    where d.queue_id = find_repeats.queue_id
      and d.key = 'token:' || find_repeats.retry_token;
    if v_answer.forget_after > v_now and v_answer.request_digest = find_repeats.request_digest then
      return query
      select u.id, u.expire_after
      from unnest(v_answer.message_ids, v_answer.expiries) with ordinality u(id, expire_after, n)
      order by u.n;
      return;
    end if;
  end if;
  foreach v_deduplication_id in array deduplication_ids loop
    select d.* into v_answer
    from towpath.deduplication d
    where d.queue_id = find_repeats.queue_id
      and d.key = 'id:' || v_deduplication_id;
    -- One that is none, and the request is none.
    if not found or v_answer.forget_after <= v_now then
      return;
    end if;
    v_ids := v_ids || v_answer.message_ids[1];
    v_expiries := v_expiries || v_answer.expiries[1];
  end loop;
  return query
  select u.id, u.expire_after from unnest(v_ids, v_expiries) with ordinality u(id, expire_after, n) order by u.n;
end;
$$;

comment on function towpath.find_repeats(bigint, text[], text, text) is
'The first answer of a request of which everything is a repeat (arguments as in put_packed_messages_once), or no rows. For a put that may not store anything now: whoever asks what became of the first one must be told.';

-- Forgetting -----------------------------------------------------------------------------------------------------------

create function towpath.deduplication_is_due()
returns boolean
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
begin
  select d.forget_after into v_oldest
  from towpath.deduplication d
  order by d.forget_after
  limit 1;
  return coalesce(v_oldest <= v_now, false);
end;
$$;

comment on function towpath.deduplication_is_due() is 'True while there is something for forget_deduplications.';

create function towpath.forget_deduplications(batch integer default 5000)
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
  v_count integer;
begin
  -- By their places, since nothing can move a row that is locked. A row that a put just renews is locked by the put; two
  -- pods that forget at once take different ones.
  delete from towpath.deduplication d
  where d.ctid = any (array(
    select o.ctid
    from towpath.deduplication o
    where o.forget_after <= v_now
    order by o.forget_after
    limit batch
    for update skip locked
  ));
  get diagnostics v_count = row_count;
  return v_count;
end;
$$;

comment on function towpath.forget_deduplications(integer) is
'Removes rows of deduplication whose window has passed, the oldest first. Returns how many; call again while that is the batch.';
