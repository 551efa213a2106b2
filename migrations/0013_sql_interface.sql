-- oldest program: 6
--
-- put_messages for users' own transactions: the message is there if and only if the business row is. It checks what the
-- REST API checks, since nobody else does, and runs with its owner's rights, so that a role may put and do nothing else
-- (deploy/producer-role.sql). Nobody may call what runs with other rights unless he was granted it.

create or replace function towpath.put_messages(
  queue_id bigint,
  contents text[],
  channel_id text default '',
  properties jsonb default null,
  delay_in_seconds integer default 0
)
returns table (id bigint, expire_after timestamptz)
language plpgsql
security definer
set search_path = towpath, pg_temp
as $$
declare
  v_queue towpath.queue;
  v_count constant integer := coalesce(cardinality(contents), 0);
  -- Of one dimension, whatever was given.
  v_contents constant text[] := array(select u.content from unnest(contents) with ordinality u(content, n) order by u.n);
  -- As in REST null is as good as nothing.
  v_channel_id constant text := coalesce(channel_id, '');
  v_delay constant integer := coalesce(delay_in_seconds, 0);
  v_properties constant jsonb := nullif(properties, 'null');
  v_properties_bytes bigint := 0;
  v_total bigint;
  v_limit integer;
  v_null bigint;
  v_too_large record;
  v_ranges json;
begin
  select q.* into v_queue from towpath.queue q where q.id = put_messages.queue_id;
  if not found or v_queue.lifecycle_state in ('DELETING', 'DELETED') then
    perform towpath.fail('TP404', 'queue_id: the queue does not exist; towpath.queue_id finds its number by name or OCID');
  elsif not v_queue.accept_unsealed then
    perform towpath.fail('TP409', 'the queue takes no messages from SQL: set acceptUnsealed on it first (updateQueue)');
  end if;
  if contents is null then
    perform towpath.fail('TP400', 'contents: must be an array of texts, one per message');
  elsif v_count > 10000 then
    perform towpath.fail('TP4LE', format(
      'contents: one call takes 10000 messages, and these are %s: call it several times, in one transaction', v_count
    ));
  end if;
  if v_channel_id !~ '^[A-Za-z0-9._-]{0,64}$' then
    perform towpath.fail(
      'TP400', 'channel_id: must have 1 to 64 of the characters A-Z a-z 0-9 . _ -, or be empty for the queue itself'
    );
  elsif v_channel_id = 'dlq' then
    perform towpath.fail('TP400', 'channel_id: must not be dlq: that names the dead letter queue');
  end if;
  if v_delay < 0 or v_delay >= v_queue.retention_in_seconds then
    perform towpath.fail('TP400', format(
      'delay_in_seconds: must be from 0 to less than the queue''s retention of %s seconds, or the message would never be delivered',
      v_queue.retention_in_seconds
    ));
  end if;
  if v_properties is not null then
    -- Two steps, because the second one fails on what is no object.
    if jsonb_typeof(v_properties) <> 'object' or exists (
      select
      from jsonb_each(case when jsonb_typeof(v_properties) = 'object' then v_properties else '{}' end) p
      where jsonb_typeof(p.value) <> 'string' or length(p.key) not between 1 and 255 or p.key = '__proto__'
    ) then
      perform towpath.fail(
        'TP400', 'properties: must be an object of strings; keys have 1 to 255 characters and are not __proto__'
      );
    end if;
    select coalesce(sum(octet_length(convert_to(p.key, 'UTF8')) + octet_length(convert_to(p.value, 'UTF8'))), 0)
    into v_properties_bytes
    from jsonb_each_text(v_properties) p;
  end if;
  v_limit := case when v_queue.capabilities @> '[{"type": "LARGE_MESSAGES"}]' then 512000 else 262144 end;
  select min(u.n) filter (where u.content is null), sum(octet_length(u.content)) + v_count * v_properties_bytes
  into v_null, v_total
  from unnest(v_contents) with ordinality u(content, n);
  if v_null is not null then
    perform towpath.fail('TP400', format('contents: message %s of %s is null', v_null, v_count));
  elsif v_total > 67108864 then
    perform towpath.fail('TP4LE', format(
      'contents: one call takes 67108864 bytes of contents and properties, and these are %s: call it several times, in one transaction',
      v_total
    ));
  end if;
  select u.n, octet_length(convert_to(u.content, 'UTF8')) + v_properties_bytes as size into v_too_large
  from unnest(v_contents) with ordinality u(content, n)
  where octet_length(convert_to(u.content, 'UTF8')) + v_properties_bytes > v_limit
  order by u.n
  limit 1;
  if found then
    perform towpath.fail('TP4LE', format(
      'contents: message %s of %s has %s bytes of content and properties, and the queue takes %s',
      v_too_large.n, v_count, v_too_large.size, v_limit
    ));
  end if;
  if v_count = 0 then
    return;
  end if;

  -- In parts of a size for which put_packed_messages is made.
  for v_from in 1..v_count by 500 loop
    return query
    with entry as materialized (
      select u.n, convert_to(u.content, 'UTF8') as body
      from unnest(v_contents[v_from:v_from + 499]) with ordinality u(content, n)
    ),
    packed as (
      select string_agg(e.body, ''::bytea order by e.n) as bodies,
        array_agg(octet_length(e.body) order by e.n) as lengths,
        array_agg((octet_length(e.body) + v_properties_bytes)::integer order by e.n) as sizes,
        count(*)::integer as messages
      from entry e
    )
    select p.id, p.expire_after
    from packed k
    cross join lateral towpath.put_packed_messages(
      v_queue.id, k.bodies, k.lengths, array_fill(v_channel_id, array[k.messages]),
      array_fill(v_properties::text, array[k.messages]), array_fill(v_delay, array[k.messages]), k.sizes
    ) p;
  end loop;

  -- Nobody here can know who waits, nor which groups took it, so all are told, with the commit. When that comes is
  -- unknown too, so this says "now" whatever the delay: who waits looks, and finds out how long to wait. `since`, a lower
  -- bound of when these messages are visible, is the same in the whole transaction, so that repeats collapse into one.
  -- A notification has room for 8,000 bytes, and a range takes up to 130.
  for v_ranges in
    select json_agg(json_build_array(v_queue.id, g.id, false, v_channel_id, 0) order by g.id)
    from (
      select a.id, row_number() over (order by a.id) as n
      from (
        select 0::bigint as id
        union
        select c.id
        from towpath.consumer_group c
        where c.queue_id = v_queue.id and c.lifecycle_state = 'ACTIVE'
      ) a
    ) g
    group by g.n / 50
  loop
    perform pg_notify('towpath', json_build_object('t', 'visible', 'since', now(), 'ranges', v_ranges)::text);
  end loop;
end;
$$;

comment on function towpath.put_messages(bigint, text[], text, jsonb, integer) is
'Stores texts as messages in the caller''s transaction: they exist if that commits, and whoever waits for them is woken then. Returns their ids and expiries in order. Only on queues with acceptUnsealed. All go into one channel ('''' = the queue itself), with the same properties (an object of strings) and delay. At most 10,000 messages and 64 MiB per call. Example: select * from towpath.put_messages(towpath.queue_id(''orders''), array[''hello'']); TP404 queue, TP409 state or setting, TP400 argument, TP4LE size, number or channels. Runs with its owner''s rights: a role needs usage of the schema and execute on this function, and queue_id.';

-- Names of queues, for those who may put and read nothing.
alter function towpath.queue_id(text) security definer;
comment on function towpath.queue_id(text) is
'The number of the queue with this OCID or display name, as the message functions take it. Runs with its owner''s rights. TP404 where there is none, TP400 where there are several.';

revoke execute on function towpath.put_messages(bigint, text[], text, jsonb, integer), towpath.queue_id(text) from public;
