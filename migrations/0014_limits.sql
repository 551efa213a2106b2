-- oldest program: 6
--
-- Shares of pods in limits, and what a queue stores.

create table towpath.pod (
  id text collate "C" not null,
  started_at timestamptz not null,
  seen_at timestamptz not null,
  constraint pod_pkey primary key (id)
)
-- A heartbeat writes a new version of its row, on the same page.
with (fillfactor = 50);

comment on table towpath.pod is
'The pods that run. Each says every few seconds that it lives; record_heartbeat forgets those that no longer do. A rate limit is shared out among them.';
comment on column towpath.pod.id is 'Drawn by the pod when it starts: a pod that is started again is another one.';

create function towpath.record_heartbeat(pod_id text, stale_after_seconds double precision default 15)
returns integer
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_stale constant timestamptz := v_now - make_interval(secs => stale_after_seconds);
  v_living integer;
begin
  insert into towpath.pod as p (id, started_at, seen_at)
  values (record_heartbeat.pod_id, v_now, v_now)
  on conflict on constraint pod_pkey do update
  set seen_at = excluded.seen_at;
  -- Whoever is locked is being forgotten by another pod, or has just come back to life.
  delete from towpath.pod p
  where p.id in (
    select s.id from towpath.pod s where s.seen_at < v_stale order by s.id for update skip locked
  );
  select count(*) into v_living from towpath.pod p where p.seen_at >= v_stale;
  return v_living;
end;
$$;

comment on function towpath.record_heartbeat(text, double precision) is
'Says that the pod lives, forgets the pods that have not said so for stale_after_seconds, and returns how many live, this one included.';

create function towpath.forget_pod(pod_id text)
returns void
language sql
set search_path = towpath, pg_temp
as $$
  delete from towpath.pod p where p.id = forget_pod.pod_id;
$$;

comment on function towpath.forget_pod(text) is 'A pod that stops says so, so that the others need not wait until it is stale.';

create function towpath.stored_bytes(queue_id bigint, channels_from bigint default null)
returns table (channel_id text, size_in_bytes bigint)
language plpgsql
stable
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
begin
  return query
  with counted as materialized (
    -- Totals and the changes that are not in them yet, read by one statement, so that none is missed or taken twice.
    select t.channel_id, t.size_in_bytes as bytes
    from towpath.message_total t
    where t.queue_id = stored_bytes.queue_id
    union all
    select d.channel_id, d.size_in_bytes
    from towpath.message_delta d
    where d.queue_id = stored_bytes.queue_id
  )
  select null::text, greatest(coalesce(sum(c.bytes), 0), 0)::bigint
  from counted c
  union all
  select c.channel_id, sum(c.bytes)::bigint
  from counted c
  where stored_bytes.channels_from is not null and c.channel_id <> ''
  group by c.channel_id
  having sum(c.bytes) >= greatest(stored_bytes.channels_from, 1);
end;
$$;

comment on function towpath.stored_bytes(bigint, bigint) is
'Bytes of all messages of a queue, of every consumer group, dead letters included: a row with channel_id null for the whole queue, and with channels_from one for each channel that has at least so many. Reads the statistics: a row per channel and group and the changes not folded yet, never messages.';
