-- oldest program: 6
--
-- Limits of a tenancy: how many queues it may have, and what all of them store.

create function towpath.create_queue_within(
  tenancy_id text,
  details jsonb,
  retry_token text,
  max_queues integer
)
returns towpath.work_request
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_before bigint;
  v_after bigint;
  v_request towpath.work_request;
begin
  -- One at a time per tenancy, or several would find the same last place free.
  perform pg_advisory_xact_lock(hashtextextended('queues of ' || create_queue_within.tenancy_id, 0));
  v_before := towpath.count_queues(create_queue_within.tenancy_id);
  v_request := towpath.create_queue(
    create_queue_within.tenancy_id, create_queue_within.details, create_queue_within.retry_token
  );
  v_after := towpath.count_queues(create_queue_within.tenancy_id);
  -- A repeat has created nothing, so it is answered also where the tenancy is full.
  if v_after > v_before and v_after > create_queue_within.max_queues then
    perform towpath.fail(
      'TP4LE',
      'the tenancy has ' || v_before || ' queues and may have ' || create_queue_within.max_queues
        || ': delete one that is not needed any more'
    );
  end if;
  return v_request;
end;
$$;

comment on function towpath.create_queue_within(text, jsonb, text, integer) is
'As create_queue, where the tenancy has less than max_queues queues, not counting those that are being deleted. TP4LE where it has as many.';

create function towpath.count_queues(tenancy_id text)
returns bigint
language sql
-- Volatile, so that it sees what its transaction has just created.
volatile
set search_path = towpath, pg_temp
as $$
  select count(*)
  from towpath.queue q
  where q.tenancy_id = count_queues.tenancy_id
    and q.version > 0
    and q.lifecycle_state not in ('DELETING', 'DELETED');
$$;

comment on function towpath.count_queues(text) is
'How many queues a tenancy has, as its limit counts them: those that are being deleted do not count.';

create function towpath.stored_bytes_of_tenancy(tenancy_id text)
returns bigint
language plpgsql
stable
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
  v_bytes bigint;
begin
  select coalesce(sum(greatest(s.bytes, 0)), 0)::bigint into v_bytes
  from towpath.queue q
  cross join lateral (
    -- As in stored_bytes: totals and the changes that are not in them yet, read by one statement.
    select coalesce(sum(c.bytes), 0) as bytes
    from (
      select t.size_in_bytes as bytes from towpath.message_total t where t.queue_id = q.id
      union all
      select d.size_in_bytes from towpath.message_delta d where d.queue_id = q.id
    ) c
  ) s
  where q.tenancy_id = stored_bytes_of_tenancy.tenancy_id
    and q.version > 0;
  return v_bytes;
end;
$$;

comment on function towpath.stored_bytes_of_tenancy(text) is
'Bytes of all messages in all queues of a tenancy, of every consumer group, dead letters included. Reads the statistics: a row per queue, channel and group and the changes not folded yet, never messages.';
