-- oldest program: 19
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

create function towpath.commit_transaction(
  -- One entry for each delivery that is acknowledged (its visibility is null) or given back after so many seconds.
  queue_ids bigint[],
  consumer_group_ids bigint[],
  dead_letters boolean[],
  ids bigint[],
  receipt_numbers bigint[],
  visibilities integer[],
  -- Where it is true a dead receipt fails the whole.
  required boolean[],
  -- One object for each queue that is put into, with what put_sealed_messages_once takes: queueId, bytes (of its bodies), lengths,
  -- channelIds, properties (may be absent as a whole), delays, sizes, deduplicationIds, keyId. The bodies of all lie one behind
  -- the other.
  puts jsonb,
  bodies bytea,
  max_channels integer default 256
)
returns table (queue_id bigint, n bigint, id bigint, taken_by bigint[])
language plpgsql
set search_path = towpath, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $$
declare
  v_range record;
  v_put record;
  v_dead boolean;
begin
  -- All rows of all queues first, in one order for all transactions. The statements below lock by queue, deletions before
  -- updates, so that without this two transactions could wait for each other.
  perform
  from (
    select distinct e.queue_id, e.consumer_group_id, e.id
    from unnest(commit_transaction.queue_ids, commit_transaction.consumer_group_ids, commit_transaction.ids)
      as e(queue_id, consumer_group_id, id)
    order by e.queue_id, e.consumer_group_id, e.id
  ) e
  cross join lateral (
    select
    from towpath.message m
    where m.queue_id = e.queue_id and m.consumer_group_id = e.consumer_group_id and m.id = e.id
    for update
  ) locked;

  for v_range in
    select e.queue_id, e.consumer_group_id, e.dead_letter, e.visibility is null as is_deletion,
      array_agg(e.id order by e.n) as ids, array_agg(e.receipt_number order by e.n) as receipt_numbers,
      array_agg(e.visibility order by e.n) as visibilities, array_agg(e.is_required order by e.n) as required
    from unnest(
      commit_transaction.queue_ids, commit_transaction.consumer_group_ids, dead_letters, commit_transaction.ids,
      commit_transaction.receipt_numbers, commit_transaction.visibilities, commit_transaction.required
    ) with ordinality as e(queue_id, consumer_group_id, dead_letter, id, receipt_number, visibility, is_required, n)
    group by e.queue_id, e.consumer_group_id, e.dead_letter, e.visibility is null
    order by e.queue_id, e.consumer_group_id, e.dead_letter, e.visibility is null
  loop
    if v_range.is_deletion then
      select coalesce(bool_or(r.is_required and not r.is_deleted), false) into v_dead
      from rows from (
        towpath.delete_messages(
          v_range.queue_id, v_range.consumer_group_id, v_range.dead_letter, v_range.ids, v_range.receipt_numbers
        ),
        unnest(v_range.required)
      ) as r(is_deleted, is_required);
    else
      select coalesce(bool_or(r.is_required and not r.is_updated), false) into v_dead
      from rows from (
        towpath.update_messages(
          v_range.queue_id, v_range.consumer_group_id, v_range.dead_letter, v_range.ids, v_range.receipt_numbers,
          v_range.visibilities
        ),
        unnest(v_range.required)
      ) as r(is_updated, visible_after, channel_id, is_required);
    end if;
    if v_dead then
      perform towpath.fail('TP404',
        'a message of the transaction is not held any more: its timeout has passed and somebody else has it, or it is gone');
    end if;
  end loop;

  for v_put in
    select p.*, substr(
      bodies, (sum(p.bytes) over (order by p.n) - p.bytes + 1)::integer, p.bytes::integer
    ) as own_bodies
    from (
      select e.n, (e.put ->> 'queueId')::bigint as queue_id, (e.put ->> 'bytes')::bigint as bytes,
        array(select v::integer from jsonb_array_elements_text(e.put -> 'lengths') with ordinality u(v, k) order by k) as lengths,
        array(select v from jsonb_array_elements_text(e.put -> 'channelIds') with ordinality u(v, k) order by k) as channel_ids,
        case when e.put ? 'properties' then
          array(select v from jsonb_array_elements_text(e.put -> 'properties') with ordinality u(v, k) order by k)
        end as properties,
        (e.put ->> 'keyId')::bigint as key_id,
        array(select v::integer from jsonb_array_elements_text(e.put -> 'delays') with ordinality u(v, k) order by k) as delays,
        array(select v::integer from jsonb_array_elements_text(e.put -> 'sizes') with ordinality u(v, k) order by k) as sizes,
        array(select v from jsonb_array_elements_text(e.put -> 'deduplicationIds') with ordinality u(v, k) order by k)
          as deduplication_ids
      from jsonb_array_elements(puts) with ordinality e(put, n)
    ) p
    -- The locks of deduplication are taken in the order of the queues.
    order by p.queue_id
  loop
    return query
    select v_put.queue_id, s.n, s.id, s.consumer_group_ids
    from towpath.put_sealed_messages_once(
      v_put.queue_id, v_put.own_bodies, v_put.lengths, v_put.channel_ids, v_put.properties, v_put.delays, v_put.sizes,
      max_channels, v_put.deduplication_ids, key_id => v_put.key_id
    ) with ordinality as s(id, expire_after, consumer_group_ids, is_repeat, n);
  end loop;
end;
$$;

comment on function towpath.commit_transaction(
  bigint[], bigint[], boolean[], bigint[], bigint[], integer[], boolean[], jsonb, bytea, integer
) is
'Acknowledges, gives back and puts messages of several queues, all or nothing. Returns for each message put its queue, its place among those put there, its id and the consumer groups that took it. TP404 where a receipt that is required is dead, or a queue is gone; else what put_sealed_messages_once says.';
