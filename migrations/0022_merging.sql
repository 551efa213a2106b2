-- oldest program: 6
--
-- Gets of several requests in one statement. Puts, updates and deletes need nothing new: their functions take any number
-- of entries and answer each.

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
returns table (request integer, message towpath.message)
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_count constant integer := cardinality(limits);
  -- The first request that was given nothing yet.
  v_next integer := 1;
  -- How many requests the next claim is for.
  v_share integer;
  v_last_channel_id text := after_channel_id;
  -- Of each claim, in order, until a channel comes again: then it is known how many there are that have something.
  v_channel_ids text[] := '{}';
  v_is_around boolean := false;
  v_limit bigint;
  v_max_bytes bigint;
  v_message towpath.message;
  v_taken integer;
  v_bytes bigint;
begin
  -- Of a named channel one claim is for all of them. Otherwise each takes its channel in turn, as if it had come alone,
  -- until all channels had their turn; from then on one claim is for all that are left for a channel. So a queue with one
  -- channel sees three claims, however many requests there are.
  v_share := case when get_messages_for_many.channel_id is null then 1 else v_count end;
  while v_next <= v_count loop
    select sum(l), sum(b) into v_limit, v_max_bytes
    from unnest(limits[v_next:v_next + v_share - 1], max_bytes[v_next:v_next + v_share - 1]) u(l, b);
    v_taken := 0;
    v_bytes := 0;
    for v_message in
      select m.*
      from towpath.get_messages(
        get_messages_for_many.queue_id, get_messages_for_many.consumer_group_id, get_messages_for_many.dead_letter,
        get_messages_for_many.channel_id, v_last_channel_id, least(v_limit, 2147483647)::integer,
        get_messages_for_many.visibility_in_seconds, get_messages_for_many.delivered_to,
        least(v_max_bytes, 2147483647)::integer
      ) m
    loop
      -- Each is filled before the next is given anything; one message always fits.
      if v_taken >= limits[v_next] or (v_taken > 0 and v_bytes + v_message.size_in_bytes > max_bytes[v_next]) then
        v_next := v_next + 1;
        v_taken := 0;
        v_bytes := 0;
      end if;
      v_taken := v_taken + 1;
      v_bytes := v_bytes + v_message.size_in_bytes;
      request := case when v_next <= v_count then v_next end;
      message := v_message;
      return next;
    end loop;
    exit when v_taken = 0 or get_messages_for_many.channel_id is not null;
    v_next := v_next + 1;
    v_last_channel_id := v_message.channel_id;
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
'As get_messages, for several requests that came beside each other: limits and max_bytes have one element per request, in the order in which they came. Says of each message which request it is for, counted from 1. Requests are served in their order, each with messages of one channel. Of sizes that fill no answer exactly a message may be left over: its request is null, and the caller releases it. Where the requests name no channel (channel_id null), each has the next one in turn. The same errors.';
