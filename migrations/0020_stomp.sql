-- oldest program: 6
--
-- What STOMP asks of the database beyond REST: deliveries that are given back when their holder goes away.

create function towpath.give_back_messages(
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
    where m.queue_id = give_back_messages.queue_id
      and m.consumer_group_id = give_back_messages.consumer_group_id
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
    -- The delivery stays counted. The receipt dies, so that a handler that works on cannot delete what another has now.
    set receipt_number = m.receipt_number + 1,
      visible_after = v_now
    where m.queue_id = give_back_messages.queue_id
      and m.consumer_group_id = give_back_messages.consumer_group_id
      and m.id = v_entry.id
      and m.receipt_number = v_entry.receipt_number
      and m.dead_letter = give_back_messages.dead_letter;
    if found then
      return next v_entry.id;
    end if;
  end loop;
end;
$$;

comment on function towpath.give_back_messages(bigint, bigint, boolean, bigint[], bigint[]) is
'Ends deliveries whose holder went away: the messages are visible now, the deliveries stay counted, the receipts (id, receipt_number) are dead. Returns the ids; receipts that were dead already are passed over.';
