-- oldest program: 6
--
-- Policies: what the users of a group may do, and where. Pods evaluate them, from a copy of a tenancy's policies that they
-- ask about again every second: a decision is made for every request, and must not cost a statement. Here is what they
-- evaluate, and what tells them that it has changed.

-- What has changed ---------------------------------------------------------------------------------------------------

create table towpath.access_version (
  tenancy_id text collate "C" not null,
  version bigint not null default 1,
  constraint access_version_pkey primary key (tenancy_id)
);

comment on table towpath.access_version is
'One row per tenancy, with a number that grows with every change of its policies, groups, members of groups and compartments, which is how pods know that what they remember is old.';

create function towpath.raise_access_version()
returns trigger
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_tenancy_id text;
begin
  -- In one order, so that two statements that change several tenancies do not wait for each other.
  for v_tenancy_id in
    select distinct c.tenancy_id from changed c order by 1
  loop
    insert into towpath.access_version as v (tenancy_id)
    values (v_tenancy_id)
    on conflict on constraint access_version_pkey do update set version = v.version + 1;
    -- Sent from here and not by the pod, because who may do what is changed by SQL too, and so rarely that the cost of a
    -- notification, a lock at the commit, is none.
    perform pg_notify('towpath', json_build_object('t', 'policies', 'id', v_tenancy_id)::text);
  end loop;
  return null;
end;
$$;

comment on function towpath.raise_access_version() is
'Trigger function: notes for each tenancy with changed rows that its pods must read its policies again, and tells them.';

-- Policies -----------------------------------------------------------------------------------------------------------

create table towpath.policy (
  id text collate "C" not null,
  tenancy_id text collate "C" not null,
  -- Who may manage policies in this compartment may change the policy; its statements are about this compartment or
  -- compartments in it.
  compartment_id text collate "C" not null,
  name text collate "C" not null,
  description text not null default '',
  -- As they were written.
  statements text[] not null,
  -- What src/policies/policy-syntax.ts read in them, one element per statement.
  parsed jsonb not null,
  -- The policy of the group Administrators, without which nobody could repair anything.
  is_protected boolean not null default false,
  time_created timestamptz not null default clock_timestamp(),
  time_updated timestamptz not null default clock_timestamp(),
  -- The ETag.
  version bigint not null default 1,
  constraint policy_pkey primary key (id),
  constraint policy_name_is_unique_in_its_tenancy unique (tenancy_id, name),
  constraint policy_compartment_exists
    foreign key (tenancy_id, compartment_id) references towpath.compartment (tenancy_id, id),
  constraint policy_name_has_1_to_100_characters check (length(name) between 1 and 100),
  constraint policy_description_has_at_most_400_characters check (length(description) <= 400),
  constraint policy_has_1_to_50_statements check (cardinality(statements) between 1 and 50),
  constraint every_statement_was_parsed
    check (jsonb_typeof(parsed) = 'array' and jsonb_array_length(parsed) = cardinality(statements))
);

comment on table towpath.policy is 'One row per policy: statements of what groups may do.';

-- The triggers -------------------------------------------------------------------------------------------------------

do $$
declare
  v_table text;
  v_event text;
begin
  foreach v_table in array array['policy', 'user_group', 'user_group_member', 'compartment'] loop
    foreach v_event in array array['insert', 'update', 'delete'] loop
      execute format(
        'create trigger access_changed_by_%1$s after %1$s on towpath.%2$I referencing %3$s table as changed
           for each statement execute function towpath.raise_access_version()',
        v_event, v_table, case v_event when 'delete' then 'old' else 'new' end
      );
    end loop;
  end loop;
end;
$$;

-- What pods evaluate -------------------------------------------------------------------------------------------------

create function towpath.load_policies(
  tenancy_id text,
  known_version bigint,
  out version bigint,
  out compartments jsonb,
  out policies jsonb
)
language sql
stable
set search_path = towpath, pg_temp
as $$
  select
    v.version,
    case when v.version is distinct from load_policies.known_version then (
      select coalesce(jsonb_agg(jsonb_build_object('id', c.id, 'parentId', c.parent_id, 'name', c.name)), '[]')
      from towpath.compartment c
      where c.tenancy_id = load_policies.tenancy_id
    ) end,
    case when v.version is distinct from load_policies.known_version then (
      select coalesce(jsonb_agg(
        jsonb_build_object(
          'id', p.id, 'name', p.name, 'compartmentId', p.compartment_id, 'statements', p.statements, 'parsed', p.parsed
        )
        order by p.time_created, p.id
      ), '[]')
      from towpath.policy p
      where p.tenancy_id = load_policies.tenancy_id
    ) end
  from towpath.access_version v
  where v.tenancy_id = load_policies.tenancy_id;
$$;

comment on function towpath.load_policies(text, bigint) is
'Returns the compartments and policies of a tenancy with their version; where that is the known one, nothing but the version. All nulls where there is no such tenancy.';

create function towpath.groups_of_user(tenancy_id text, user_id text)
returns setof towpath.user_group
language sql
stable
rows 10
set search_path = towpath, pg_temp
as $$
  select g.*
  from towpath.user_group_member m
  join towpath.user_group g on g.id = m.group_id
  where m.tenancy_id = groups_of_user.tenancy_id
    and m.user_id = groups_of_user.user_id;
$$;

comment on function towpath.groups_of_user(text, text) is 'Returns the groups that a user of a tenancy is in.';

create function towpath.groups_named(tenancy_id text, names text[])
returns setof towpath.user_group
language sql
stable
rows 10
set search_path = towpath, pg_temp
as $$
  select g.*
  from towpath.user_group g
  where g.tenancy_id = groups_named.tenancy_id
    and g.name = any (groups_named.names);
$$;

comment on function towpath.groups_named(text, text[]) is
'Returns those of the named groups that a tenancy has, for callers whose token tells their groups.';

-- Managing -----------------------------------------------------------------------------------------------------------

create function towpath.find_compartment_by_path(tenancy_id text, path text[])
returns text
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
declare
  v_id text := find_compartment_by_path.tenancy_id;
  v_name text;
begin
  foreach v_name in array find_compartment_by_path.path loop
    select c.id into v_id
    from towpath.compartment c
    where c.tenancy_id = find_compartment_by_path.tenancy_id
      and c.parent_id = v_id
      and c.name = v_name;
    if not found then
      return null;
    end if;
  end loop;
  return v_id;
end;
$$;

comment on function towpath.find_compartment_by_path(text, text[]) is
'Returns the id of the compartment to which these names lead from the root of the tenancy; null where they lead nowhere.';

create function towpath.is_in_compartment(tenancy_id text, compartment_id text, ancestor_id text)
returns boolean
language sql
stable
set search_path = towpath, pg_temp
as $$
  with recursive up as (
    select c.id, c.parent_id
    from towpath.compartment c
    where c.tenancy_id = is_in_compartment.tenancy_id
      and c.id = is_in_compartment.compartment_id
    union
    select p.id, p.parent_id
    from up
    join towpath.compartment p on p.tenancy_id = is_in_compartment.tenancy_id and p.id = up.parent_id
  )
  select exists (select from up where up.id = is_in_compartment.ancestor_id);
$$;

comment on function towpath.is_in_compartment(text, text, text) is
'Whether a compartment is another one of the same tenancy, or in it, however deep.';

create function towpath.check_statements(tenancy_id text, compartment_id text, parsed jsonb)
returns void
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
declare
  v_statement jsonb;
  v_group jsonb;
  v_place text;
  v_location jsonb;
  v_location_id text;
begin
  for v_statement, v_place in
    select s.value, 'statements[' || s.ordinality - 1 || ']: '
    from jsonb_array_elements(check_statements.parsed) with ordinality s
  loop
    for v_group in select g from jsonb_array_elements(v_statement -> 'groups') g loop
      if not exists (
        select from towpath.user_group g
        where g.tenancy_id = check_statements.tenancy_id
          and (g.name = v_group ->> 'name' or g.id = v_group ->> 'id')
      ) then
        perform towpath.fail('TP400', v_place || 'there is no group '
          || coalesce(v_group ->> 'name', v_group ->> 'id') || ': create it first, or correct the name (case counts)');
      end if;
    end loop;
    v_location := v_statement -> 'location';
    if v_location ? 'path' then
      v_location_id := towpath.find_compartment_by_path(
        check_statements.tenancy_id, array(select jsonb_array_elements_text(v_location -> 'path'))
      );
    else
      v_location_id := coalesce(v_location ->> 'id', check_statements.tenancy_id);
    end if;
    -- A compartment elsewhere is answered as one that does not exist: who may manage policies here need not see it.
    if v_location_id is null or not towpath.is_in_compartment(
      check_statements.tenancy_id, v_location_id, check_statements.compartment_id
    ) then
      perform towpath.fail('TP400', v_place || 'the place must be the compartment of the policy or one in it, and exist; '
        || 'names go from the root of the tenancy down, as in a:b, and case counts');
    end if;
  end loop;
end;
$$;

comment on function towpath.check_statements(text, text, jsonb) is
'TP400 where a parsed statement names a group that does not exist, or a place that is not in the compartment of its policy.';

create function towpath.find_policy(tenancy_id text, policy_id text)
returns towpath.policy
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
declare
  v_policy towpath.policy;
begin
  select p.* into v_policy
  from towpath.policy p
  where p.id = find_policy.policy_id
    and p.tenancy_id = find_policy.tenancy_id;
  if not found then
    perform towpath.fail('TP404', 'policy ' || find_policy.policy_id || ' does not exist or you may not see it');
  end if;
  return v_policy;
end;
$$;

comment on function towpath.find_policy(text, text) is 'Returns a policy of a tenancy. TP404 where there is none.';

create function towpath.list_policies(
  tenancy_id text,
  compartment_id text default null,
  name text default null,
  after_name text default null,
  max_policies integer default 100
)
returns setof towpath.policy
language sql
stable
set search_path = towpath, pg_temp
as $$
  select p.*
  from towpath.policy p
  where p.tenancy_id = list_policies.tenancy_id
    and (list_policies.compartment_id is null or p.compartment_id = list_policies.compartment_id)
    and (list_policies.name is null or p.name = list_policies.name)
    and (list_policies.after_name is null or p.name > list_policies.after_name)
  order by p.name
  limit list_policies.max_policies;
$$;

comment on function towpath.list_policies(text, text, text, text, integer) is
'Returns policies of a tenancy, filtered (null: not), by name, after the cursor, at most max_policies.';

create function towpath.create_policy(
  tenancy_id text,
  compartment_id text,
  name text,
  description text,
  statements text[],
  parsed jsonb
)
returns towpath.policy
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_policy towpath.policy;
begin
  perform towpath.check_compartment(create_policy.tenancy_id, create_policy.compartment_id);
  perform towpath.check_statements(create_policy.tenancy_id, create_policy.compartment_id, create_policy.parsed);
  -- Every pod reads all of them after each change. Two at once may go one beyond, which harms nobody.
  if (select count(*) from towpath.policy p where p.tenancy_id = create_policy.tenancy_id) >= 500 then
    perform towpath.fail('TP4LE', 'a tenancy has at most 500 policies: put more statements into one (up to 50), or delete some');
  end if;
  insert into towpath.policy as p (id, tenancy_id, compartment_id, name, description, statements, parsed)
  values (
    towpath.new_ocid('policy'), create_policy.tenancy_id, create_policy.compartment_id, create_policy.name,
    coalesce(create_policy.description, ''), create_policy.statements, create_policy.parsed
  )
  on conflict on constraint policy_name_is_unique_in_its_tenancy do nothing
  returning p.* into v_policy;
  if not found then
    perform towpath.fail('TP400', 'name: there is a policy named ' || create_policy.name || ' already');
  end if;
  return v_policy;
end;
$$;

comment on function towpath.create_policy(text, text, text, text, text[], jsonb) is
'Creates a policy from statements and what was parsed from them, and returns it. TP404 compartment, TP400 name taken, unknown group or place, TP4LE.';

create function towpath.lock_policy(tenancy_id text, policy_id text, if_match text)
returns towpath.policy
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_policy towpath.policy;
begin
  select p.* into v_policy
  from towpath.policy p
  where p.id = lock_policy.policy_id
    and p.tenancy_id = lock_policy.tenancy_id
  for update;
  if not found then
    perform towpath.fail('TP404', 'policy ' || lock_policy.policy_id || ' does not exist or you may not see it');
  elsif lock_policy.if_match <> '*' and lock_policy.if_match <> v_policy.version::text then
    perform towpath.fail('TP412', 'the policy was changed meanwhile: its ETag is ' || v_policy.version || ' now');
  elsif v_policy.is_protected then
    perform towpath.fail('TP409', 'this policy of the group Administrators cannot be changed or deleted, so that somebody may repair the others');
  end if;
  return v_policy;
end;
$$;

comment on function towpath.lock_policy(text, text, text) is
'Locks a policy for a change and returns it. TP404 where there is none, TP412 where if_match (null: any) is not its version, TP409 for the one of the group Administrators.';

create function towpath.update_policy(
  tenancy_id text,
  policy_id text,
  name text,
  description text,
  statements text[],
  parsed jsonb,
  if_match text
)
returns towpath.policy
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_policy towpath.policy := towpath.lock_policy(update_policy.tenancy_id, update_policy.policy_id, update_policy.if_match);
  v_now timestamptz := clock_timestamp();
begin
  if update_policy.parsed is not null then
    perform towpath.check_statements(v_policy.tenancy_id, v_policy.compartment_id, update_policy.parsed);
  end if;
  update towpath.policy p
  set name = coalesce(update_policy.name, p.name),
    description = coalesce(update_policy.description, p.description),
    statements = coalesce(update_policy.statements, p.statements),
    parsed = coalesce(update_policy.parsed, p.parsed),
    time_updated = v_now,
    version = p.version + 1
  where p.id = v_policy.id
  returning p.* into v_policy;
  return v_policy;
exception
  when unique_violation then
    perform towpath.fail('TP400', 'name: there is a policy named ' || update_policy.name || ' already');
end;
$$;

comment on function towpath.update_policy(text, text, text, text, text[], jsonb, text) is
'Changes what is not null of a policy (statements and parsed together) and returns it. TP404, TP409, TP412, TP400.';

create function towpath.delete_policy(tenancy_id text, policy_id text, if_match text)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_policy towpath.policy := towpath.lock_policy(delete_policy.tenancy_id, delete_policy.policy_id, delete_policy.if_match);
begin
  delete from towpath.policy p where p.id = v_policy.id;
end;
$$;

comment on function towpath.delete_policy(text, text, text) is 'Deletes a policy. TP404, TP409, TP412.';

-- Administrators -----------------------------------------------------------------------------------------------------

create function towpath.make_administrators(tenancy_id text)
returns text
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_group_id text;
begin
  insert into towpath.user_group as g (id, tenancy_id, name)
  values (towpath.new_ocid('group'), make_administrators.tenancy_id, 'Administrators')
  on conflict on constraint user_group_name_is_unique_in_its_tenancy do nothing;
  select g.id into v_group_id
  from towpath.user_group g
  where g.tenancy_id = make_administrators.tenancy_id
    and g.name = 'Administrators';
  insert into towpath.policy (id, tenancy_id, compartment_id, name, description, statements, parsed, is_protected)
  values (
    towpath.new_ocid('policy'), make_administrators.tenancy_id, make_administrators.tenancy_id, 'Tenant Admin Policy',
    'Lets administrators do everything. Cannot be changed.',
    array['allow group Administrators to manage all-resources in tenancy'],
    '[{"groups": [{"name": "Administrators"}], "verb": "manage", "resourceType": "all-resources", "location": {}}]', true
  )
  on conflict on constraint policy_name_is_unique_in_its_tenancy do nothing;
  return v_group_id;
end;
$$;

comment on function towpath.make_administrators(text) is
'Makes the group Administrators of a tenancy and the policy that lets it do everything, where they are missing, and returns the group''s id.';

create function towpath.add_administrator(tenancy_id text, user_id text)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  perform towpath.check_user(add_administrator.tenancy_id, add_administrator.user_id);
  insert into towpath.user_group_member (tenancy_id, group_id, user_id)
  values (
    add_administrator.tenancy_id, towpath.make_administrators(add_administrator.tenancy_id), add_administrator.user_id
  )
  on conflict on constraint user_group_member_pkey do nothing;
end;
$$;

comment on function towpath.add_administrator(text, text) is
'Puts a user into the group Administrators, which may do everything in its tenancy: also the way back in for operators. TP404 user.';

create function towpath.make_administrators_of_new_tenancy()
returns trigger
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  perform towpath.make_administrators(new.tenancy_id);
  return null;
end;
$$;

comment on function towpath.make_administrators_of_new_tenancy() is
'Trigger function: a tenancy, by whatever way it was made, has a group that may do everything in it.';

-- On the root compartment, which comes after its tenancy and is what the policy lies in.
create trigger administrators_are_made
after insert on towpath.compartment
for each row
when (new.id = new.tenancy_id)
execute function towpath.make_administrators_of_new_tenancy();

create function towpath.protect_administrators()
returns trigger
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  perform towpath.fail('TP409', 'the group Administrators can be neither renamed nor deleted: its policy names it');
  return null;
end;
$$;

comment on function towpath.protect_administrators() is
'Trigger function: refuses what would leave a tenancy without a group that may do everything. TP409.';

create trigger administrators_stay
before delete on towpath.user_group
for each row
when (old.name = 'Administrators')
execute function towpath.protect_administrators();

create trigger administrators_keep_their_name
before update of name on towpath.user_group
for each row
when (old.name = 'Administrators' and new.name <> old.name)
execute function towpath.protect_administrators();

-- The audit log ------------------------------------------------------------------------------------------------------

create function towpath.policy_settings(policy towpath.policy)
returns jsonb
language sql
immutable
set search_path = towpath, pg_temp
as $$
  select jsonb_build_object(
    'name', (policy).name,
    'compartmentId', (policy).compartment_id,
    'description', (policy).description,
    'statements', (policy).statements
  );
$$;

comment on function towpath.policy_settings(towpath.policy) is
'The settings of a policy as the audit log has them, named as in the API.';

create function towpath.audit_policy()
returns trigger
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_policy towpath.policy;
  v_before jsonb;
  v_after jsonb;
begin
  if tg_op <> 'INSERT' then
    v_policy := old;
    v_before := towpath.policy_settings(v_policy);
  end if;
  if tg_op <> 'DELETE' then
    v_policy := new;
    v_after := towpath.policy_settings(v_policy);
  end if;
  perform towpath.record_audit_event(
    case tg_op when 'INSERT' then 'createPolicy' when 'DELETE' then 'deletePolicy' else 'updatePolicy' end,
    v_policy.tenancy_id, v_policy.compartment_id, array[v_policy.id], v_before, v_after
  );
  return null;
end;
$$;

comment on function towpath.audit_policy() is 'Trigger: records every change of a policy.';

create trigger policy_changes_are_recorded
after update or delete on towpath.policy
for each row execute function towpath.audit_policy();

-- The one of the administrators comes with its tenancy.
create trigger policies_are_recorded
after insert on towpath.policy
for each row when (not new.is_protected) execute function towpath.audit_policy();

create or replace view towpath.audit_log as
select e.time_created, coalesce(u.name, e.user_id, e.database_role) as who, e.credential, e.credential_id, e.address, e.operation,
  coalesce(e.code, 'done') as outcome,
  coalesce(
    q.display_name, e.after ->> 'displayName', e.before ->> 'displayName', e.after ->> 'name', e.before ->> 'name'
  ) as display_name,
  coalesce(
    (
      select jsonb_object_agg(k.key, jsonb_build_array(e.before -> k.key, e.after -> k.key))
      from jsonb_object_keys(e.after) k(key)
      where e.before -> k.key is distinct from e.after -> k.key
    ),
    e.parameters
  ) as changes,
  e.target_ids, e.request_id, e.database_role, t.name as tenancy, e.id
from towpath.audit_event e
left join towpath.tenancy t on t.id = e.tenancy_id
left join towpath.user_account u on u.id = e.user_id
left join towpath.queue q on q.ocid = e.target_ids[1];

-- Upgrading ----------------------------------------------------------------------------------------------------------

-- Until now every user could do everything in its tenancy, and goes on being able to. That is recorded, as what it is.
select towpath.make_administrators(t.id) from towpath.tenancy t;

insert into towpath.user_group_member (tenancy_id, group_id, user_id)
select u.tenancy_id, g.id, u.id
from towpath.user_account u
join towpath.user_group g on g.tenancy_id = u.tenancy_id and g.name = 'Administrators'
on conflict on constraint user_group_member_pkey do nothing;
