-- oldest program: 19
--
-- Who is connected over STOMP: which sessions and subscriptions the pods have, for operators.
--
-- Sessions live in the pods. Each pod reports its own every few seconds, a chunk of up to a hundred of one tenancy per row: as
-- one row for each, five thousand idle clients with heart-beats would be hundreds of row writes per second, each with a new
-- version and index entries. The table is unlogged, so that reports cost no WAL: after a crash of the server it is empty, and
-- the pods, which are told which of their rows there are, report again.

create unlogged table towpath.stomp_session_chunk (
  pod_id text collate "C" not null,
  chunk_no integer not null,
  tenancy_id text collate "C" not null,
  host text not null,
  reported_at timestamptz not null,
  session_ids uuid[] not null,
  sessions jsonb not null,
  constraint stomp_session_chunk_pkey primary key (pod_id, chunk_no),
  -- With the pod go its sessions: at once where it stops, and where it dies when its heartbeats have stopped for long enough.
  constraint stomp_session_chunk_is_of_a_pod foreign key (pod_id) references towpath.pod (id) on delete cascade
)
-- Few rows that are written again and again, mostly outside the row.
with (
  fillfactor = 50,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 500,
  toast.autovacuum_vacuum_scale_factor = 0,
  toast.autovacuum_vacuum_threshold = 5000
);

create index stomp_session_chunk_by_tenancy on towpath.stomp_session_chunk (tenancy_id);

comment on table towpath.stomp_session_chunk is
'What pods have reported of their STOMP sessions, up to a hundred sessions of a tenancy per row. Read the views stomp_sessions and stomp_subscriptions.';
comment on column towpath.stomp_session_chunk.chunk_no is 'Drawn by the pod.';
comment on column towpath.stomp_session_chunk.host is 'The name of the pod''s machine or container.';
comment on column towpath.stomp_session_chunk.sessions is
'An array of objects as the views take them apart. Times are ages in milliseconds at reported_at, so that the clock of the pod does not matter, but for connected_at.';

create table towpath.stomp_disconnect (
  session_id uuid not null,
  pod_id text collate "C" not null,
  reason text,
  requested_at timestamptz not null,
  constraint stomp_disconnect_pkey primary key (session_id)
);

comment on table towpath.stomp_disconnect is
'Sessions that are to end, for pods that missed the notification: they see it with their next report. Rows are of no use after a minute, and go with the next request.';

-- Looking -----------------------------------------------------------------------------------------------------------------

create view towpath.stomp_sessions as
select c.host as pod, s.id as session_id, t.name as tenancy, coalesce(u.name, s.user_id) as user_name, s.peer_address, s.transport,
  s.version, s.connected_at, c.reported_at - make_interval(secs => s.heard_ms / 1000.0) as last_heard_at,
  c.reported_at - make_interval(secs => s.sent_ms / 1000.0) as last_sent_at,
  jsonb_array_length(s.subscriptions) as subscriptions, s.unacknowledged, s.open_transactions, s.bytes_received, s.bytes_sent,
  c.reported_at, s.user_id, c.tenancy_id, c.pod_id, c.chunk_no
from towpath.stomp_session_chunk c
-- As long as record_heartbeat leaves a pod that does not say so any more.
join towpath.pod p on p.id = c.pod_id and p.seen_at > now() - interval '15 seconds'
cross join lateral jsonb_to_recordset(c.sessions) as s(
  id text, user_id text, peer_address text, transport text, version text, connected_at timestamptz, heard_ms double precision,
  sent_ms double precision, unacknowledged bigint, open_transactions integer, bytes_received bigint, bytes_sent bigint,
  subscriptions jsonb
)
left join towpath.tenancy t on t.id = c.tenancy_id
left join towpath.user_account u on u.id = s.user_id;

comment on view towpath.stomp_sessions is
'STOMP connections that have logged in, on all pods: who, from where, since when, when they were last heard (heart-beats count), what they hold. Up to 12 seconds old: reported_at. A killed pod''s are gone after 15 seconds. End one with disconnect_stomp_session.';

create view towpath.stomp_subscriptions as
select c.host as pod, s.id as session_id, t.name as tenancy, coalesce(u.name, s.user_id) as user_name, b.id as subscription_id,
  b.destination, q.display_name, g.display_name as consumer_group, b.dead_letter, b.channel_id, b.ack, b.prefetch,
  b.unacknowledged, b.delivered, b.lease, b.visibility_in_seconds, c.reported_at, q.id as queue_id, b.consumer_group_id,
  q.ocid as queue_ocid, g.ocid as consumer_group_ocid, s.user_id, c.tenancy_id, c.pod_id, c.chunk_no, b.n
from towpath.stomp_session_chunk c
join towpath.pod p on p.id = c.pod_id and p.seen_at > now() - interval '15 seconds'
cross join lateral jsonb_to_recordset(c.sessions) as s(id text, user_id text, subscriptions jsonb)
cross join lateral rows from (
  jsonb_to_recordset(s.subscriptions) as (
    id text, destination text, queue_id bigint, consumer_group_id bigint, dead_letter boolean, channel_id text, ack text,
    prefetch integer, unacknowledged integer, delivered bigint, lease text, visibility_in_seconds integer
  )
) with ordinality as b(
  id, destination, queue_id, consumer_group_id, dead_letter, channel_id, ack, prefetch, unacknowledged, delivered, lease,
  visibility_in_seconds, n
)
left join towpath.queue q on q.id = b.queue_id
left join towpath.consumer_group g on g.queue_id = b.queue_id and g.id = b.consumer_group_id
left join towpath.tenancy t on t.id = c.tenancy_id
left join towpath.user_account u on u.id = s.user_id;

comment on view towpath.stomp_subscriptions is
'Subscriptions of STOMP connections on all pods: to what (display_name, channel_id null: any), how many messages each may hold (prefetch), holds (unacknowledged) and was given since it began (delivered). As old as stomp_sessions.';

create function towpath.list_stomp_sessions(
  tenancy_id text,
  user_id text default null,
  queue_ocid text default null,
  pod_id text default null,
  before_time timestamptz default null,
  before_id text default null,
  max_sessions integer default 100
)
returns setof towpath.stomp_sessions
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
begin
  return query
  select s.*
  from towpath.stomp_sessions s
  where s.tenancy_id = list_stomp_sessions.tenancy_id
    and (list_stomp_sessions.pod_id is null or s.pod_id = list_stomp_sessions.pod_id)
    and (list_stomp_sessions.user_id is null or s.user_id = list_stomp_sessions.user_id)
    and (
      list_stomp_sessions.queue_ocid is null
      or s.session_id in (
        select b.session_id
        from towpath.stomp_subscriptions b
        where b.tenancy_id = list_stomp_sessions.tenancy_id
          and b.queue_ocid = list_stomp_sessions.queue_ocid
      )
    )
    and (before_id is null or (s.connected_at, s.session_id collate "C") < (before_time, before_id))
  order by s.connected_at desc, s.session_id collate "C" desc
  limit max_sessions;
end;
$$;

comment on function towpath.list_stomp_sessions(text, text, text, text, timestamptz, text, integer) is
'Returns STOMP sessions of a tenancy, newest first, filtered (null: not; by queue: those that subscribe to it), older than the cursor (before_time with before_id), at most max_sessions. Reads the reports of that tenancy only.';

create function towpath.find_stomp_session(tenancy_id text, session_id uuid)
returns setof towpath.stomp_sessions
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
begin
  return query
  select s.*
  from towpath.stomp_session_chunk c
  join towpath.stomp_sessions s on s.pod_id = c.pod_id and s.chunk_no = c.chunk_no
  where (find_stomp_session.tenancy_id is null or c.tenancy_id = find_stomp_session.tenancy_id)
    and c.session_ids @> array[find_stomp_session.session_id]
    and s.session_id = find_stomp_session.session_id::text;
  if not found then
    perform towpath.fail(
      'TP404', format('STOMP session %s does not exist or you may not see it', find_stomp_session.session_id)
    );
  end if;
end;
$$;

comment on function towpath.find_stomp_session(text, uuid) is
'The STOMP session with this id, of this tenancy (null: of any). TP404 where there is none, or none any more.';

create function towpath.list_stomp_subscriptions(tenancy_id text, session_id uuid)
returns setof towpath.stomp_subscriptions
language sql
stable
set search_path = towpath, pg_temp
as $$
  select b.*
  from towpath.stomp_session_chunk c
  join towpath.stomp_subscriptions b on b.pod_id = c.pod_id and b.chunk_no = c.chunk_no
  where c.tenancy_id = list_stomp_subscriptions.tenancy_id
    and c.session_ids @> array[list_stomp_subscriptions.session_id]
    and b.session_id = list_stomp_subscriptions.session_id::text
  order by b.n;
$$;

comment on function towpath.list_stomp_subscriptions(text, uuid) is
'The subscriptions of a STOMP session of this tenancy, in the order in which they began.';

create function towpath.stomp_session_is_open(session_id uuid)
returns boolean
language sql
stable
set search_path = towpath, pg_temp
as $$
  select exists (
    select
    from towpath.stomp_session_chunk c
    join towpath.pod p on p.id = c.pod_id and p.seen_at > now() - interval '15 seconds'
    where c.session_ids @> array[stomp_session_is_open.session_id]
  );
$$;

comment on function towpath.stomp_session_is_open(uuid) is 'Whether a pod that lives has this STOMP session, as it has reported last.';

-- Reporting ---------------------------------------------------------------------------------------------------------------

create function towpath.report_stomp_sessions(pod_id text, host text, chunks jsonb)
returns table (chunk_nos integer[], disconnects jsonb)
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_now timestamptz;
begin
  -- Locked, so that it does not go in the middle, and before the rows that go with it.
  perform from towpath.pod p where p.id = report_stomp_sessions.pod_id for key share;
  if not found then
    return;
  end if;
  delete from towpath.stomp_session_chunk c
  where c.pod_id = report_stomp_sessions.pod_id
    and c.chunk_no in (
      select (e.chunk ->> 'no')::integer
      from jsonb_array_elements(chunks) e(chunk)
      where jsonb_array_length(e.chunk -> 'sessions') = 0
    );
  v_now := clock_timestamp();
  insert into towpath.stomp_session_chunk as c (pod_id, chunk_no, tenancy_id, host, reported_at, session_ids, sessions)
  select report_stomp_sessions.pod_id, e.no, e."tenancyId", report_stomp_sessions.host, v_now,
    array(select (s.session ->> 'id')::uuid from jsonb_array_elements(e.sessions) s(session)), e.sessions
  from jsonb_to_recordset(chunks) as e(no integer, "tenancyId" text, sessions jsonb)
  where jsonb_array_length(e.sessions) > 0
  order by e.no
  on conflict on constraint stomp_session_chunk_pkey do update
  set tenancy_id = excluded.tenancy_id,
    host = excluded.host,
    reported_at = excluded.reported_at,
    session_ids = excluded.session_ids,
    sessions = excluded.sessions;
  return query
  select
    array(select c.chunk_no from towpath.stomp_session_chunk c where c.pod_id = report_stomp_sessions.pod_id order by c.chunk_no),
    (
      select coalesce(jsonb_object_agg(d.session_id, d.reason), '{}')
      from towpath.stomp_disconnect d
      where d.pod_id = report_stomp_sessions.pod_id
    );
end;
$$;

comment on function towpath.report_stomp_sessions(text, text, jsonb) is
'Writes what a pod has of STOMP sessions: chunks is an array of {no, tenancyId, sessions}, and one without sessions is deleted. Returns which chunks the pod has now, and its sessions that are to end, with the reasons; no row where the pod is not counted (record_heartbeat): nothing is written then.';

create function towpath.disconnect_stomp_session(session_id text, reason text default null, tenancy_id text default null)
returns text
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_session towpath.stomp_sessions;
  v_now timestamptz;
begin
  if length(reason) > 200 or reason = '' then
    perform towpath.fail('TP400', 'reason: must have 1 to 200 characters');
  end if;
  begin
    select s.* into v_session
    from towpath.find_stomp_session(disconnect_stomp_session.tenancy_id, disconnect_stomp_session.session_id::uuid) s;
  exception
    when invalid_text_representation then
      perform towpath.fail('TP404', 'there is no such STOMP session: its id is a UUID');
  end;
  v_now := clock_timestamp();
  delete from towpath.stomp_disconnect d
  where d.session_id in (
    select o.session_id
    from towpath.stomp_disconnect o
    where o.requested_at < v_now - interval '1 minute'
    order by o.session_id
    for update skip locked
  );
  insert into towpath.stomp_disconnect (session_id, pod_id, reason, requested_at)
  values (v_session.session_id::uuid, v_session.pod_id, disconnect_stomp_session.reason, v_now)
  on conflict on constraint stomp_disconnect_pkey do nothing;
  perform towpath.record_audit_event(
    'disconnectStompSession', v_session.tenancy_id, null, array[v_session.session_id, v_session.user_id],
    parameters => jsonb_strip_nulls(jsonb_build_object(
      'userId', v_session.user_id, 'peerAddress', v_session.peer_address, 'podId', v_session.pod_id,
      'reason', disconnect_stomp_session.reason
    ))
  );
  perform pg_notify('towpath', json_build_object(
    't', 'stomp-disconnect', 'sessionId', v_session.session_id
  )::text);
  return v_session.pod;
end;
$$;

comment on function towpath.disconnect_stomp_session(text, text, text) is
'Has the pod that has this STOMP session (of this tenancy; null: of any) end it, with an ERROR frame that tells the reason (1 to 200 characters), and give back what it holds. It happens after the commit, within milliseconds, or where the notification is lost within 12 seconds; returns the pod''s host. Recorded in the audit log. TP404, TP400.';
