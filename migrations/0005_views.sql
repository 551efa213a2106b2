-- oldest program: 1
--
-- For people at psql at three in the morning. They may walk a backlog; the service itself uses none of them.

create view towpath.queue_stats as
select q.ocid, q.display_name, q.lifecycle_state, s.visible_messages, s.in_flight_messages, s.size_in_bytes,
  s.dead_visible_messages + s.dead_in_flight_messages as dead_letters, s.dead_size_in_bytes, q.id as queue_id
from towpath.queue q
cross join lateral towpath.get_stats(q.id) s
where q.lifecycle_state not in ('DELETING', 'DELETED');

comment on view towpath.queue_stats is 'One row per queue: what is visible, in flight and dead. Cheap however long the backlog.';

create view towpath.in_flight as
select q.display_name, m.channel_id, m.consumer_group_id, m.id, m.delivery_count, m.delivery_limit, m.delivered_at,
  m.delivered_to, m.visible_after, m.visible_after - now() as visible_in, m.size_in_bytes, m.queue_id
from towpath.message m
join towpath.queue q on q.id = m.queue_id
where m.visible_after > now()
  and m.delivery_count > 0
  and not m.dead_letter;

comment on view towpath.in_flight is 'Messages that consumers hold at the moment: who has them, since when, until when.';

create view towpath.dead_letters as
select q.display_name, m.channel_id, m.consumer_group_id, m.id, m.delivery_count, m.dead_lettered_at, m.delivered_at,
  m.delivered_to, m.created_at, m.expire_after, m.properties, m.size_in_bytes, m.queue_id
from towpath.message m
join towpath.queue q on q.id = m.queue_id
where m.dead_letter;

comment on view towpath.dead_letters is 'Messages in dead letter queues: how often and to whom they were delivered, when they died, when they expire.';

create view towpath.channel_stats as
select q.display_name, c.channel_id, s.visible_messages, s.in_flight_messages, s.size_in_bytes,
  s.dead_visible_messages + s.dead_in_flight_messages as dead_letters, q.id as queue_id
from towpath.queue q
cross join lateral (
  select * from towpath.list_channels(q.id, max_channels => 10000)
  union
  select * from towpath.list_channels(q.id, dead_letter => true, max_channels => 10000)
) c(channel_id)
cross join lateral towpath.get_stats(q.id, 0, c.channel_id) s
where q.lifecycle_state not in ('DELETING', 'DELETED');

comment on view towpath.channel_stats is 'One row per channel that holds messages or dead letters.';
