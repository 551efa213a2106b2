-- oldest program: 6
--
-- Identity as it is managed: what credentials need beyond being right (what for, until when, last used), the functions
-- behind the REST API of compartments, users, groups and credentials, and the word to all pods when something is revoked.
--
-- Who may call these functions is not decided here. What is decided here is what must hold whoever calls: names are unique,
-- a compartment goes only when it is empty, and nobody takes the last way in from the administrators of a tenancy.

alter table towpath.signing_key
  add column description text,
  add column expires_at timestamptz,
  add column last_used_at timestamptz,
  add constraint signing_key_description_has_1_to_255_characters check (length(description) between 1 and 255);

alter table towpath.api_key
  add column description text,
  add column expires_at timestamptz,
  add column last_used_at timestamptz,
  add constraint api_key_description_has_1_to_255_characters check (length(description) between 1 and 255);

alter table towpath.auth_token
  add column description text,
  add column expires_at timestamptz,
  add column last_used_at timestamptz,
  add constraint auth_token_description_has_1_to_255_characters check (length(description) between 1 and 255);

comment on column towpath.signing_key.expires_at is 'From then on requests signed with it are refused. Null: never.';
comment on column towpath.api_key.expires_at is 'From then on it is refused. Null: never.';
comment on column towpath.auth_token.expires_at is 'From then on it is refused. Null: never.';
comment on column towpath.signing_key.last_used_at is 'Written once in five minutes at most, so it may be so much too old. Null: never used, as far as is known.';
comment on column towpath.api_key.last_used_at is 'Written once in five minutes at most, so it may be so much too old. Null: never used, as far as is known.';
comment on column towpath.auth_token.last_used_at is 'Written once in five minutes at most, so it may be so much too old. Null: never used, as far as is known.';

-- Finding ------------------------------------------------------------------------------------------------------------
-- Replaced in place, so that a pod of the release before does not accept what has expired either.

create or replace function towpath.find_signing_key(tenancy_id text, user_id text, fingerprint text)
returns setof towpath.signing_key
language sql
stable
rows 1
set search_path = towpath, pg_temp
as $$
  select k.*
  from towpath.signing_key k
  where k.tenancy_id = find_signing_key.tenancy_id
    and k.user_id = find_signing_key.user_id
    and k.fingerprint = find_signing_key.fingerprint
    and (k.expires_at is null or k.expires_at > statement_timestamp());
$$;

comment on function towpath.find_signing_key(text, text, text) is
'Returns the key that a signature''s keyId names; no row where there is none, or where it has expired.';

create or replace function towpath.find_api_key(digest bytea)
returns setof towpath.api_key
language sql
stable
rows 1
set search_path = towpath, pg_temp
as $$
  select k.*
  from towpath.api_key k
  where k.digest = find_api_key.digest
    and (k.expires_at is null or k.expires_at > statement_timestamp());
$$;

comment on function towpath.find_api_key(bytea) is
'Returns the bearer key with this SHA-256; no row where there is none, or where it has expired.';

create or replace function towpath.find_stomp_login(tenancy_name text, user_name text, digest bytea)
returns setof towpath.auth_token
language sql
stable
rows 1
set search_path = towpath, pg_temp
as $$
  select a.*
  from towpath.auth_token a
  join towpath.tenancy t on t.id = a.tenancy_id
  join towpath.user_account u on u.id = a.user_id
  where a.digest = find_stomp_login.digest
    and t.name = find_stomp_login.tenancy_name
    and u.name = find_stomp_login.user_name
    and (a.expires_at is null or a.expires_at > statement_timestamp());
$$;

comment on function towpath.find_stomp_login(text, text, bytea) is
'Returns the auth token with this SHA-256 if it belongs to the user of that name in the tenancy of that name and has not expired; no row otherwise.';

create function towpath.find_user_by_name(tenancy_name text, user_name text, out tenancy_id text, out user_id text)
language sql
stable
set search_path = towpath, pg_temp
as $$
  select t.id, u.id
  from towpath.tenancy t
  left join towpath.user_account u on u.tenancy_id = t.id and u.name = find_user_by_name.user_name
  where t.name = find_user_by_name.tenancy_name;
$$;

comment on function towpath.find_user_by_name(text, text) is
'Returns the ids of a tenancy and of a user of it, for whoever comes with a token of an issuer; user_id is null where there is no such user, both where there is no such tenancy.';

-- Telling the pods ---------------------------------------------------------------------------------------------------

create function towpath.notify_identity_changed()
returns trigger
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_row record;
begin
  if tg_op = 'INSERT' then
    v_row := new;
  else
    v_row := old;
  end if;
  -- Pods remember what they found for two seconds. Equal payloads of one transaction collapse into one notification.
  perform pg_notify(
    'towpath', json_build_object('t', 'identity', 'tenancyId', v_row.tenancy_id, 'userId', v_row.user_id)::text
  );
  return null;
end;
$$;

comment on function towpath.notify_identity_changed() is
'Tells all pods, at the commit, to forget what they know of a user. In triggers and not in the functions below, so that a delete at psql revokes as fast.';

create trigger tell_pods_of_deleted_signing_key
after delete on towpath.signing_key
for each row execute function towpath.notify_identity_changed();

create trigger tell_pods_of_changed_signing_key
after update of public_key, expires_at on towpath.signing_key
for each row execute function towpath.notify_identity_changed();

create trigger tell_pods_of_deleted_api_key
after delete on towpath.api_key
for each row execute function towpath.notify_identity_changed();

create trigger tell_pods_of_changed_api_key
after update of digest, expires_at on towpath.api_key
for each row execute function towpath.notify_identity_changed();

create trigger tell_pods_of_deleted_auth_token
after delete on towpath.auth_token
for each row execute function towpath.notify_identity_changed();

create trigger tell_pods_of_changed_auth_token
after update of digest, expires_at on towpath.auth_token
for each row execute function towpath.notify_identity_changed();

-- Who comes with a token of an issuer may have no credential that would be deleted too.
create function towpath.notify_user_gone()
returns trigger
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  perform pg_notify(
    'towpath', json_build_object('t', 'identity', 'tenancyId', old.tenancy_id, 'userId', old.id)::text
  );
  return null;
end;
$$;

comment on function towpath.notify_user_gone() is 'Tells all pods, at the commit, to forget a user that is gone or has another name.';

create trigger tell_pods_of_deleted_user
after delete on towpath.user_account
for each row execute function towpath.notify_user_gone();

create trigger tell_pods_of_renamed_user
after update of name on towpath.user_account
for each row execute function towpath.notify_user_gone();

-- What a user may do follows from the groups it is in.
create trigger tell_pods_of_changed_membership
after insert or delete on towpath.user_group_member
for each row execute function towpath.notify_identity_changed();

-- The last way in ----------------------------------------------------------------------------------------------------

create function towpath.can_sign_in(tenancy_id text, user_id text)
returns boolean
language sql
stable
set search_path = towpath, pg_temp
as $$
  select exists (
    select from towpath.signing_key k
    where k.tenancy_id = can_sign_in.tenancy_id
      and k.user_id = can_sign_in.user_id
      and (k.expires_at is null or k.expires_at > statement_timestamp())
  ) or exists (
    select from towpath.api_key k
    where k.tenancy_id = can_sign_in.tenancy_id
      and k.user_id = can_sign_in.user_id
      and (k.expires_at is null or k.expires_at > statement_timestamp())
  );
$$;

comment on function towpath.can_sign_in(text, text) is
'Whether a user has a credential for the REST API that has not expired: a signing key or an API key. An auth token is for STOMP, where nothing can be managed.';

create function towpath.has_administrator(tenancy_id text)
returns boolean
language sql
stable
set search_path = towpath, pg_temp
as $$
  select exists (
    select from towpath.user_group_member m
    join towpath.user_group g on g.id = m.group_id
    where g.tenancy_id = has_administrator.tenancy_id
      and g.name = 'Administrators'
      and towpath.can_sign_in(m.tenancy_id, m.user_id)
  );
$$;

comment on function towpath.has_administrator(text) is
'Whether a tenancy has an administrator who can sign in: a member of the group Administrators, which every tenancy has (0019_policies.sql).';

create function towpath.begin_revocation(tenancy_id text)
returns boolean
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  -- One after the other in each tenancy: two administrators who delete each other at once must not both succeed. New rows
  -- of the tenancy only need a key share lock, which this one lets through.
  perform from towpath.tenancy t where t.id = begin_revocation.tenancy_id for no key update;
  if not found then
    perform towpath.fail('TP404', 'tenancy ' || begin_revocation.tenancy_id || ' does not exist or you may not use it');
  end if;
  return towpath.has_administrator(begin_revocation.tenancy_id);
end;
$$;

comment on function towpath.begin_revocation(text) is
'Makes revocations of a tenancy wait for each other until the transaction ends, and returns has_administrator as it is before this one. TP404 tenancy.';

create function towpath.end_revocation(tenancy_id text, had_administrator boolean)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  if had_administrator and not towpath.has_administrator(end_revocation.tenancy_id) then
    perform towpath.fail(
      'TP409',
      'this would leave the tenancy without an administrator who can sign in: add a credential to one, or an administrator, first'
    );
  end if;
end;
$$;

comment on function towpath.end_revocation(text, boolean) is
'TP409 where a revocation has taken the last way in from the administrators of a tenancy. One that had none already is left alone.';

-- Compartments -------------------------------------------------------------------------------------------------------

create function towpath.find_compartment(tenancy_id text, compartment_id text)
returns towpath.compartment
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
declare
  v_compartment towpath.compartment;
begin
  select c.* into v_compartment
  from towpath.compartment c
  where c.id = find_compartment.compartment_id
    and c.tenancy_id = find_compartment.tenancy_id;
  if not found then
    perform towpath.fail('TP404', 'compartment ' || find_compartment.compartment_id || ' does not exist or you may not use it');
  end if;
  return v_compartment;
end;
$$;

comment on function towpath.find_compartment(text, text) is 'Returns a compartment of a tenancy. TP404 where there is none.';

create function towpath.list_compartments(
  tenancy_id text,
  parent_id text,
  name text,
  after_name text,
  after_id text,
  max_rows integer
)
returns setof towpath.compartment
language sql
stable
set search_path = towpath, pg_temp
as $$
  select c.*
  from towpath.compartment c
  where c.tenancy_id = list_compartments.tenancy_id
    and (list_compartments.parent_id is null or c.parent_id = list_compartments.parent_id)
    and (list_compartments.name is null or c.name = list_compartments.name)
    and (list_compartments.after_id is null or (c.name, c.id) > (list_compartments.after_name, list_compartments.after_id))
  order by c.name, c.id
  limit list_compartments.max_rows;
$$;

comment on function towpath.list_compartments(text, text, text, text, text, integer) is
'Lists the compartments of a tenancy by name, after a place (both null: from the start): those right inside parent_id (null: all, the root too), with this name (null: any).';

create or replace function towpath.create_compartment(tenancy_id text, parent_id text, name text)
returns towpath.compartment
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  -- As in OCI. Each level is a look at every decision about who may do what.
  c_max_levels constant integer := 6;
  v_parent_id constant text := coalesce(create_compartment.parent_id, create_compartment.tenancy_id);
  v_levels integer;
  v_compartment towpath.compartment;
begin
  -- The lock lets no deletion of the parent come between.
  perform from towpath.compartment c
  where c.id = v_parent_id
    and c.tenancy_id = create_compartment.tenancy_id
  for key share;
  perform towpath.check_compartment(create_compartment.tenancy_id, v_parent_id);
  with recursive above as (
    select c.id, c.parent_id from towpath.compartment c where c.id = v_parent_id
    union all
    select c.id, c.parent_id from above a join towpath.compartment c on c.id = a.parent_id
  )
  -- The root is none of them, the new one is.
  select count(*) into v_levels from above;
  if v_levels > c_max_levels then
    perform towpath.fail('TP4LE', format('a compartment may lie %s levels deep below the root at most', c_max_levels));
  end if;
  insert into towpath.compartment as c (id, tenancy_id, parent_id, name)
  values (towpath.new_ocid('compartment'), create_compartment.tenancy_id, v_parent_id, create_compartment.name)
  on conflict on constraint compartment_name_is_unique_in_its_parent do nothing
  returning c.* into v_compartment;
  if not found then
    perform towpath.fail('TP400', 'name: there is a compartment named ' || create_compartment.name || ' in this parent already');
  end if;
  return v_compartment;
end;
$$;

comment on function towpath.create_compartment(text, text, text) is
'Creates a compartment inside another of the same tenancy (null or the tenancy''s id: the root) and returns it. TP404 where the parent is not one of the tenancy''s, TP400 where the name is taken, TP4LE more than 6 levels below the root.';

create function towpath.rename_compartment(tenancy_id text, compartment_id text, name text)
returns towpath.compartment
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_compartment towpath.compartment;
begin
  if rename_compartment.compartment_id = rename_compartment.tenancy_id then
    perform towpath.fail('TP409', 'the root compartment has the name of the tenancy: it cannot be renamed');
  end if;
  begin
    update towpath.compartment c
    set name = rename_compartment.name
    where c.id = rename_compartment.compartment_id
      and c.tenancy_id = rename_compartment.tenancy_id
    returning c.* into v_compartment;
  exception when unique_violation then
    perform towpath.fail('TP400', 'name: there is a compartment named ' || rename_compartment.name || ' in this parent already');
  end;
  if v_compartment.id is null then
    perform towpath.fail('TP404', 'compartment ' || rename_compartment.compartment_id || ' does not exist or you may not use it');
  end if;
  return v_compartment;
end;
$$;

comment on function towpath.rename_compartment(text, text, text) is
'Gives a compartment another name and returns it. TP404 compartment, TP400 where the name is taken, TP409 for the root.';

create function towpath.delete_compartment(tenancy_id text, compartment_id text)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  if delete_compartment.compartment_id = delete_compartment.tenancy_id then
    perform towpath.fail('TP409', 'the root compartment goes with its tenancy only');
  end if;
  -- Whoever puts something into it holds a key share lock on it, and has committed when this one is granted.
  perform from towpath.compartment c
  where c.id = delete_compartment.compartment_id
    and c.tenancy_id = delete_compartment.tenancy_id
  for update;
  if not found then
    perform towpath.fail('TP404', 'compartment ' || delete_compartment.compartment_id || ' does not exist or you may not use it');
  end if;
  -- A deleted queue is readable for an hour, and keeps nothing.
  if exists (
    select from towpath.queue q
    where q.tenancy_id = delete_compartment.tenancy_id
      and q.compartment_id = delete_compartment.compartment_id
      and q.lifecycle_state <> 'DELETED'
  ) then
    perform towpath.fail('TP409', 'the compartment has queues: move or delete them first');
  end if;
  delete from towpath.compartment c where c.id = delete_compartment.compartment_id;
exception
  -- Compartments in it, and whatever else comes to refer to compartments.
  when foreign_key_violation then
    perform towpath.fail('TP409', 'the compartment is not empty: delete what is in it first, compartments too');
end;
$$;

comment on function towpath.delete_compartment(text, text) is
'Deletes an empty compartment. TP404 compartment, TP409 where something is in it, or for the root.';

create function towpath.hold_compartment_of_queue()
returns trigger
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  perform from towpath.compartment c
  where c.id = new.compartment_id
    and c.tenancy_id = new.tenancy_id
  for key share;
  if not found then
    perform towpath.fail('TP404', 'compartment ' || new.compartment_id || ' does not exist or you may not use it');
  end if;
  return new;
end;
$$;

comment on function towpath.hold_compartment_of_queue() is
'Keeps the compartment that a queue is put into from being deleted meanwhile. No foreign key: a deleted queue, readable for an hour, would keep its compartment.';

create trigger hold_compartment
before insert or update of compartment_id on towpath.queue
for each row execute function towpath.hold_compartment_of_queue();

-- Users --------------------------------------------------------------------------------------------------------------

create function towpath.find_user(tenancy_id text, user_id text)
returns towpath.user_account
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
declare
  v_user towpath.user_account;
begin
  select u.* into v_user
  from towpath.user_account u
  where u.id = find_user.user_id
    and u.tenancy_id = find_user.tenancy_id;
  if not found then
    perform towpath.fail('TP404', 'user ' || find_user.user_id || ' does not exist or you may not use it');
  end if;
  return v_user;
end;
$$;

comment on function towpath.find_user(text, text) is 'Returns a user of a tenancy. TP404 where there is none.';

create function towpath.list_users(tenancy_id text, name text, after_name text, max_rows integer)
returns setof towpath.user_account
language sql
stable
set search_path = towpath, pg_temp
as $$
  select u.*
  from towpath.user_account u
  where u.tenancy_id = list_users.tenancy_id
    and (list_users.name is null or u.name = list_users.name)
    and (list_users.after_name is null or u.name > list_users.after_name)
  order by u.name
  limit list_users.max_rows;
$$;

comment on function towpath.list_users(text, text, text, integer) is
'Lists the users of a tenancy by name, after a name (null: from the start), or the one with this name (null: all).';

create function towpath.delete_user(tenancy_id text, user_id text)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_had_administrator constant boolean := towpath.begin_revocation(delete_user.tenancy_id);
begin
  delete from towpath.user_account u
  where u.id = delete_user.user_id
    and u.tenancy_id = delete_user.tenancy_id;
  if not found then
    perform towpath.fail('TP404', 'user ' || delete_user.user_id || ' does not exist or you may not use it');
  end if;
  perform towpath.end_revocation(delete_user.tenancy_id, v_had_administrator);
end;
$$;

comment on function towpath.delete_user(text, text) is
'Deletes a user with its credentials and its places in groups. TP404 user, TP409 where it is the last administrator who can sign in.';

create function towpath.hold_user(tenancy_id text, user_id text)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  perform from towpath.user_account u
  where u.id = hold_user.user_id
    and u.tenancy_id = hold_user.tenancy_id
  for no key update;
  if not found then
    perform towpath.fail('TP404', 'user ' || hold_user.user_id || ' does not exist or you may not use it');
  end if;
end;
$$;

comment on function towpath.hold_user(text, text) is
'Keeps a user until the transaction ends, and makes those who add credentials to it wait for each other. TP404 user.';

-- Groups -------------------------------------------------------------------------------------------------------------

create function towpath.create_group(tenancy_id text, name text)
returns towpath.user_group
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_group towpath.user_group;
begin
  if not exists (select from towpath.tenancy t where t.id = create_group.tenancy_id) then
    perform towpath.fail('TP404', 'tenancy ' || create_group.tenancy_id || ' does not exist or you may not use it');
  end if;
  insert into towpath.user_group as g (id, tenancy_id, name)
  values (towpath.new_ocid('group'), create_group.tenancy_id, create_group.name)
  on conflict on constraint user_group_name_is_unique_in_its_tenancy do nothing
  returning g.* into v_group;
  if not found then
    perform towpath.fail('TP400', 'name: there is a group named ' || create_group.name || ' already');
  end if;
  return v_group;
end;
$$;

comment on function towpath.create_group(text, text) is
'Creates a group of users of a tenancy, with nobody in it, and returns it. TP404 tenancy, TP400 where the name is taken.';

create function towpath.find_group(tenancy_id text, group_id text)
returns towpath.user_group
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
declare
  v_group towpath.user_group;
begin
  select g.* into v_group
  from towpath.user_group g
  where g.id = find_group.group_id
    and g.tenancy_id = find_group.tenancy_id;
  if not found then
    perform towpath.fail('TP404', 'group ' || find_group.group_id || ' does not exist or you may not use it');
  end if;
  return v_group;
end;
$$;

comment on function towpath.find_group(text, text) is 'Returns a group of a tenancy. TP404 where there is none.';

create function towpath.list_groups(tenancy_id text, name text, user_id text, after_name text, max_rows integer)
returns setof towpath.user_group
language sql
stable
set search_path = towpath, pg_temp
as $$
  select g.*
  from towpath.user_group g
  where g.tenancy_id = list_groups.tenancy_id
    and (list_groups.name is null or g.name = list_groups.name)
    and (list_groups.after_name is null or g.name > list_groups.after_name)
    and (
      list_groups.user_id is null
      or exists (
        select from towpath.user_group_member m where m.group_id = g.id and m.user_id = list_groups.user_id
      )
    )
  order by g.name
  limit list_groups.max_rows;
$$;

comment on function towpath.list_groups(text, text, text, text, integer) is
'Lists the groups of a tenancy by name, after a name (null: from the start): the one with this name (null: all), those that a user is in (null: all).';

create function towpath.delete_group(tenancy_id text, group_id text)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  delete from towpath.user_group g
  where g.id = delete_group.group_id
    and g.tenancy_id = delete_group.tenancy_id;
  if not found then
    perform towpath.fail('TP404', 'group ' || delete_group.group_id || ' does not exist or you may not use it');
  end if;
exception
  when foreign_key_violation then
    perform towpath.fail('TP409', 'something refers to the group: delete that first');
end;
$$;

comment on function towpath.delete_group(text, text) is
'Deletes a group; its members stay users. TP404 group, TP409 for the group Administrators, or where something refers to it.';

create function towpath.add_group_member(tenancy_id text, group_id text, user_id text)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  perform from towpath.user_group g
  where g.id = add_group_member.group_id
    and g.tenancy_id = add_group_member.tenancy_id
  for key share;
  if not found then
    perform towpath.fail('TP404', 'group ' || add_group_member.group_id || ' does not exist or you may not use it');
  end if;
  perform towpath.hold_user(add_group_member.tenancy_id, add_group_member.user_id);
  insert into towpath.user_group_member (tenancy_id, group_id, user_id)
  values (add_group_member.tenancy_id, add_group_member.group_id, add_group_member.user_id)
  on conflict on constraint user_group_member_pkey do nothing;
end;
$$;

comment on function towpath.add_group_member(text, text, text) is
'Puts a user into a group; who is in it already stays. TP404 group, user.';

create function towpath.remove_group_member(tenancy_id text, group_id text, user_id text)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_had_administrator constant boolean := towpath.begin_revocation(remove_group_member.tenancy_id);
begin
  delete from towpath.user_group_member m
  where m.group_id = remove_group_member.group_id
    and m.user_id = remove_group_member.user_id
    and m.tenancy_id = remove_group_member.tenancy_id;
  if not found then
    perform towpath.fail('TP404', 'user ' || remove_group_member.user_id || ' is not in this group, or you may not use it');
  end if;
  perform towpath.end_revocation(remove_group_member.tenancy_id, v_had_administrator);
end;
$$;

comment on function towpath.remove_group_member(text, text, text) is
'Takes a user out of a group. TP404 where it is not in it, TP409 where it is the last administrator who can sign in.';

create function towpath.list_group_members(tenancy_id text, group_id text, after_id text, max_rows integer)
returns table (user_id text, name text, time_created timestamptz)
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
begin
  perform towpath.find_group(list_group_members.tenancy_id, list_group_members.group_id);
  return query
  select m.user_id, u.name, m.time_created
  from towpath.user_group_member m
  join towpath.user_account u on u.id = m.user_id
  where m.group_id = list_group_members.group_id
    and (list_group_members.after_id is null or m.user_id > list_group_members.after_id)
  order by m.user_id
  limit list_group_members.max_rows;
end;
$$;

comment on function towpath.list_group_members(text, text, text, integer) is
'Lists who is in a group, since when, by id, after an id (null: from the start). TP404 group.';

-- Credentials --------------------------------------------------------------------------------------------------------

create function towpath.check_new_credential(kind text, count bigint, expires_at timestamptz)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  -- So that a list of them is never long. OCI has 3 and 2.
  c_max_credentials constant integer := 100;
begin
  if check_new_credential.count >= c_max_credentials then
    perform towpath.fail(
      'TP4LE', format('a user may have %s %s at most: delete one that is not used any more', c_max_credentials, kind)
    );
  end if;
  if check_new_credential.expires_at <= clock_timestamp() then
    perform towpath.fail('TP400', 'expiresAt: must lie in the future');
  end if;
end;
$$;

comment on function towpath.check_new_credential(text, bigint, timestamptz) is
'TP4LE where a user has as many credentials of a kind as it may have, TP400 where a new one would have expired already.';

create function towpath.create_signing_key(
  tenancy_id text,
  user_id text,
  fingerprint text,
  public_key text,
  description text default null,
  expires_at timestamptz default null
)
returns towpath.signing_key
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_key towpath.signing_key;
begin
  perform towpath.hold_user(create_signing_key.tenancy_id, create_signing_key.user_id);
  perform towpath.check_new_credential(
    'signing keys',
    (
      select count(*) from towpath.signing_key k
      where k.tenancy_id = create_signing_key.tenancy_id and k.user_id = create_signing_key.user_id
    ),
    create_signing_key.expires_at
  );
  insert into towpath.signing_key as k (tenancy_id, user_id, fingerprint, public_key, description, expires_at)
  values (
    create_signing_key.tenancy_id, create_signing_key.user_id, create_signing_key.fingerprint,
    create_signing_key.public_key, create_signing_key.description, create_signing_key.expires_at
  )
  on conflict on constraint signing_key_pkey do nothing
  returning k.* into v_key;
  if not found then
    perform towpath.fail('TP400', 'publicKey: the user has this key already, with the fingerprint ' || create_signing_key.fingerprint);
  end if;
  return v_key;
end;
$$;

comment on function towpath.create_signing_key(text, text, text, text, text, timestamptz) is
'Lets a user sign requests with the private half of this RSA key (PEM, SubjectPublicKeyInfo) until expires_at (null: for ever). The fingerprint is the caller''s to compute. TP404 user, TP400 where the user has it already or it would have expired, TP4LE beyond 100.';

create function towpath.list_signing_keys(tenancy_id text, user_id text)
returns setof towpath.signing_key
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
begin
  perform towpath.find_user(list_signing_keys.tenancy_id, list_signing_keys.user_id);
  return query
  select k.*
  from towpath.signing_key k
  where k.tenancy_id = list_signing_keys.tenancy_id
    and k.user_id = list_signing_keys.user_id
  order by k.time_created, k.fingerprint;
end;
$$;

comment on function towpath.list_signing_keys(text, text) is
'Lists the signing keys of a user, the oldest first, those that have expired too. TP404 user.';

create function towpath.delete_signing_key(tenancy_id text, user_id text, fingerprint text)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_had_administrator constant boolean := towpath.begin_revocation(delete_signing_key.tenancy_id);
begin
  delete from towpath.signing_key k
  where k.tenancy_id = delete_signing_key.tenancy_id
    and k.user_id = delete_signing_key.user_id
    and k.fingerprint = delete_signing_key.fingerprint;
  if not found then
    perform towpath.fail('TP404', 'signing key ' || delete_signing_key.fingerprint || ' does not exist or you may not use it');
  end if;
  perform towpath.end_revocation(delete_signing_key.tenancy_id, v_had_administrator);
end;
$$;

comment on function towpath.delete_signing_key(text, text, text) is
'Revokes a signing key. TP404 key, TP409 where it is the last way in for the administrators.';

create function towpath.create_api_key(
  tenancy_id text,
  user_id text,
  prefix text,
  digest bytea,
  description text default null,
  expires_at timestamptz default null
)
returns towpath.api_key
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_key towpath.api_key;
begin
  perform towpath.hold_user(create_api_key.tenancy_id, create_api_key.user_id);
  perform towpath.check_new_credential(
    'API keys',
    (
      select count(*) from towpath.api_key k
      where k.tenancy_id = create_api_key.tenancy_id and k.user_id = create_api_key.user_id
    ),
    create_api_key.expires_at
  );
  insert into towpath.api_key as k (id, user_id, tenancy_id, prefix, digest, description, expires_at)
  values (
    towpath.new_ocid('queueapikey'), create_api_key.user_id, create_api_key.tenancy_id, create_api_key.prefix,
    create_api_key.digest, create_api_key.description, create_api_key.expires_at
  )
  returning k.* into v_key;
  return v_key;
end;
$$;

comment on function towpath.create_api_key(text, text, text, bytea, text, timestamptz) is
'Stores the SHA-256 of a bearer key for a user, with how it begins, good until expires_at (null: for ever), and returns the row. TP404 user, TP400 where it would have expired, TP4LE beyond 100.';

create function towpath.list_api_keys(tenancy_id text, user_id text)
returns setof towpath.api_key
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
begin
  perform towpath.find_user(list_api_keys.tenancy_id, list_api_keys.user_id);
  return query
  select k.*
  from towpath.api_key k
  where k.tenancy_id = list_api_keys.tenancy_id
    and k.user_id = list_api_keys.user_id
  order by k.time_created, k.id;
end;
$$;

comment on function towpath.list_api_keys(text, text) is
'Lists the API keys of a user, the oldest first, those that have expired too. TP404 user.';

create function towpath.delete_api_key(tenancy_id text, user_id text, api_key_id text)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_had_administrator constant boolean := towpath.begin_revocation(delete_api_key.tenancy_id);
begin
  delete from towpath.api_key k
  where k.id = delete_api_key.api_key_id
    and k.tenancy_id = delete_api_key.tenancy_id
    and k.user_id = delete_api_key.user_id;
  if not found then
    perform towpath.fail('TP404', 'API key ' || delete_api_key.api_key_id || ' does not exist or you may not use it');
  end if;
  perform towpath.end_revocation(delete_api_key.tenancy_id, v_had_administrator);
end;
$$;

comment on function towpath.delete_api_key(text, text, text) is
'Revokes an API key. TP404 key, TP409 where it is the last way in for the administrators.';

create function towpath.create_auth_token(
  tenancy_id text,
  user_id text,
  digest bytea,
  description text default null,
  expires_at timestamptz default null
)
returns towpath.auth_token
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_token towpath.auth_token;
begin
  perform towpath.hold_user(create_auth_token.tenancy_id, create_auth_token.user_id);
  perform towpath.check_new_credential(
    'auth tokens',
    (
      select count(*) from towpath.auth_token t
      where t.tenancy_id = create_auth_token.tenancy_id and t.user_id = create_auth_token.user_id
    ),
    create_auth_token.expires_at
  );
  insert into towpath.auth_token as t (id, user_id, tenancy_id, digest, description, expires_at)
  values (
    towpath.new_ocid('authtoken'), create_auth_token.user_id, create_auth_token.tenancy_id, create_auth_token.digest,
    create_auth_token.description, create_auth_token.expires_at
  )
  returning t.* into v_token;
  return v_token;
end;
$$;

comment on function towpath.create_auth_token(text, text, bytea, text, timestamptz) is
'Stores the SHA-256 of an auth token, a user''s passcode on STOMP, good until expires_at (null: for ever), and returns the row. TP404 user, TP400 where it would have expired, TP4LE beyond 100.';

create function towpath.list_auth_tokens(tenancy_id text, user_id text)
returns setof towpath.auth_token
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
begin
  perform towpath.find_user(list_auth_tokens.tenancy_id, list_auth_tokens.user_id);
  return query
  select t.*
  from towpath.auth_token t
  where t.tenancy_id = list_auth_tokens.tenancy_id
    and t.user_id = list_auth_tokens.user_id
  order by t.time_created, t.id;
end;
$$;

comment on function towpath.list_auth_tokens(text, text) is
'Lists the auth tokens of a user, the oldest first, those that have expired too. TP404 user.';

create function towpath.delete_auth_token(tenancy_id text, user_id text, auth_token_id text)
returns void
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  delete from towpath.auth_token t
  where t.id = delete_auth_token.auth_token_id
    and t.tenancy_id = delete_auth_token.tenancy_id
    and t.user_id = delete_auth_token.user_id;
  if not found then
    perform towpath.fail('TP404', 'auth token ' || delete_auth_token.auth_token_id || ' does not exist or you may not use it');
  end if;
end;
$$;

comment on function towpath.delete_auth_token(text, text, text) is 'Revokes an auth token. TP404 token.';

create function towpath.record_credential_uses(
  signing_key_ids text[],
  api_key_ids text[],
  auth_token_ids text[],
  at_most_every_seconds double precision default 300
)
returns integer
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_before constant timestamptz := v_now - make_interval(secs => at_most_every_seconds);
  v_recorded integer := 0;
  v_rows integer;
begin
  -- Who is locked is being recorded by another pod, or deleted.
  with due as materialized (
    select k.tenancy_id, k.user_id, k.fingerprint
    from unnest(record_credential_uses.signing_key_ids) as used (id)
    join towpath.signing_key k
      on k.tenancy_id = split_part(used.id, '/', 1)
      and k.user_id = split_part(used.id, '/', 2)
      and k.fingerprint = split_part(used.id, '/', 3)
    where k.last_used_at is null or k.last_used_at <= v_before
    order by k.tenancy_id, k.user_id, k.fingerprint
    for no key update of k skip locked
  )
  update towpath.signing_key k
  set last_used_at = v_now
  from due d
  where k.tenancy_id = d.tenancy_id
    and k.user_id = d.user_id
    and k.fingerprint = d.fingerprint;
  get diagnostics v_rows = row_count;
  v_recorded := v_recorded + v_rows;
  with due as materialized (
    select k.id
    from towpath.api_key k
    where k.id = any (record_credential_uses.api_key_ids)
      and (k.last_used_at is null or k.last_used_at <= v_before)
    order by k.id
    for no key update skip locked
  )
  update towpath.api_key k
  set last_used_at = v_now
  from due d
  where k.id = d.id;
  get diagnostics v_rows = row_count;
  v_recorded := v_recorded + v_rows;
  with due as materialized (
    select t.id
    from towpath.auth_token t
    where t.id = any (record_credential_uses.auth_token_ids)
      and (t.last_used_at is null or t.last_used_at <= v_before)
    order by t.id
    for no key update skip locked
  )
  update towpath.auth_token t
  set last_used_at = v_now
  from due d
  where t.id = d.id;
  get diagnostics v_rows = row_count;
  return v_recorded + v_rows;
end;
$$;

comment on function towpath.record_credential_uses(text[], text[], text[], double precision) is
'Writes that these credentials were used a moment ago, except where that was written less than at_most_every_seconds ago, and returns how many it wrote. A signing key is named as in a signature: tenancy/user/fingerprint.';

-- The audit log ------------------------------------------------------------------------------------------------------

create function towpath.identity_settings(kind text, identity jsonb)
returns jsonb
language sql
immutable
set search_path = towpath, pg_temp
as $$
  select jsonb_strip_nulls(case identity_settings.kind
    when 'Tenancy' then jsonb_build_object('name', identity -> 'name')
    when 'Compartment' then jsonb_build_object('name', identity -> 'name', 'compartmentId', identity -> 'parent_id')
    when 'User' then jsonb_build_object('name', identity -> 'name')
    when 'Group' then jsonb_build_object('name', identity -> 'name')
    when 'SigningKey' then jsonb_build_object(
      'fingerprint', identity -> 'fingerprint', 'description', identity -> 'description', 'expiresAt', identity -> 'expires_at'
    )
    when 'ApiKey' then jsonb_build_object(
      'prefix', identity -> 'prefix', 'description', identity -> 'description', 'expiresAt', identity -> 'expires_at'
    )
    when 'AuthToken' then jsonb_build_object('description', identity -> 'description', 'expiresAt', identity -> 'expires_at')
  end);
$$;

comment on function towpath.identity_settings(text, jsonb) is
'What the audit log has of a row of identity, named as in the API. By name, so that neither a digest nor a column that is added later gets in by itself.';

create function towpath.audit_identity()
returns trigger
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_kind constant text := tg_argv[0];
  v_before jsonb;
  v_after jsonb;
  v_row jsonb;
begin
  if tg_op <> 'INSERT' then
    v_before := to_jsonb(old);
  end if;
  if tg_op <> 'DELETE' then
    v_after := to_jsonb(new);
  end if;
  v_row := coalesce(v_after, v_before);
  -- Credentials go with their user, which is recorded.
  if tg_op = 'DELETE' and v_kind in ('SigningKey', 'ApiKey', 'AuthToken')
    and not exists (select from towpath.user_account u where u.id = v_row ->> 'user_id')
  then
    return null;
  end if;
  perform towpath.record_audit_event(
    case tg_op when 'INSERT' then 'create' when 'DELETE' then 'delete' else 'update' end || v_kind,
    case v_kind when 'Tenancy' then v_row ->> 'id' else v_row ->> 'tenancy_id' end,
    v_row ->> 'parent_id',
    array[v_row ->> 'id', v_row ->> 'user_id'],
    towpath.identity_settings(v_kind, v_before),
    towpath.identity_settings(v_kind, v_after)
  );
  return null;
end;
$$;

comment on function towpath.audit_identity() is
'Trigger: records every change of tenancies, compartments, users, groups and credentials. Its argument is the kind, as operations of the API have it in their names.';

create function towpath.audit_group_member()
returns trigger
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_member towpath.user_group_member;
  v_group_name text;
  v_user_name text;
begin
  if tg_op = 'DELETE' then
    v_member := old;
  else
    v_member := new;
  end if;
  select g.name into v_group_name from towpath.user_group g where g.id = v_member.group_id;
  select u.name into v_user_name from towpath.user_account u where u.id = v_member.user_id;
  -- Members go with their group or their user, which is recorded.
  if v_group_name is not null and v_user_name is not null then
    perform towpath.record_audit_event(
      case tg_op when 'DELETE' then 'removeGroupMember' else 'addGroupMember' end, v_member.tenancy_id, null,
      array[v_member.group_id, v_member.user_id],
      parameters => jsonb_build_object('groupName', v_group_name, 'userName', v_user_name)
    );
  end if;
  return null;
end;
$$;

comment on function towpath.audit_group_member() is
'Trigger: records who was put into a group or taken out of it, with the names that they had.';

create trigger tenancy_changes_are_recorded
after insert or update or delete on towpath.tenancy
for each row execute function towpath.audit_identity('Tenancy');

-- The root comes with its tenancy.
create trigger compartments_are_recorded
after insert or update on towpath.compartment
for each row when (new.parent_id is not null) execute function towpath.audit_identity('Compartment');

create trigger compartment_deletions_are_recorded
after delete on towpath.compartment
for each row when (old.parent_id is not null) execute function towpath.audit_identity('Compartment');

create trigger user_changes_are_recorded
after insert or update or delete on towpath.user_account
for each row execute function towpath.audit_identity('User');

create trigger group_changes_are_recorded
after update or delete on towpath.user_group
for each row execute function towpath.audit_identity('Group');

-- Administrators come with their tenancy.
create trigger groups_are_recorded
after insert on towpath.user_group
for each row when (new.name <> 'Administrators') execute function towpath.audit_identity('Group');

create trigger group_members_are_recorded
after insert or delete on towpath.user_group_member
for each row execute function towpath.audit_group_member();

-- Not when they were last used.
create trigger signing_key_changes_are_recorded
after insert or delete or update of tenancy_id, user_id, fingerprint, public_key, description, expires_at
on towpath.signing_key
for each row execute function towpath.audit_identity('SigningKey');

create trigger api_key_changes_are_recorded
after insert or delete or update of id, tenancy_id, user_id, prefix, digest, description, expires_at
on towpath.api_key
for each row execute function towpath.audit_identity('ApiKey');

create trigger auth_token_changes_are_recorded
after insert or delete or update of id, tenancy_id, user_id, digest, description, expires_at
on towpath.auth_token
for each row execute function towpath.audit_identity('AuthToken');

-- For people at psql -------------------------------------------------------------------------------------------------

create function towpath.issue_api_key(
  tenancy_name text,
  user_name text,
  description text default null,
  expires_at timestamptz default null
)
returns text
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_user towpath.user_account;
  -- The fixed digits of the two UUIDs leave 180 random bits in the 48 that are the secret.
  v_random constant text := replace(concat(gen_random_uuid(), gen_random_uuid()), '-', '');
  v_key constant text := 'towpath_' || left(v_random, 8) || '_' || substr(v_random, 9, 48);
begin
  select u.* into v_user
  from towpath.user_account u
  join towpath.tenancy t on t.id = u.tenancy_id
  where t.name = issue_api_key.tenancy_name
    and u.name = issue_api_key.user_name;
  if not found then
    perform towpath.fail('TP404', format('there is no user %s in a tenancy %s', user_name, tenancy_name));
  end if;
  perform towpath.create_api_key(
    v_user.tenancy_id, v_user.id, left(v_key, 16), sha256(convert_to(v_key, 'UTF8')), issue_api_key.description,
    issue_api_key.expires_at
  );
  return v_key;
end;
$$;

comment on function towpath.issue_api_key(text, text, text, timestamptz) is
'For operators: makes a new API key for a user, named by tenancy and name, and returns it. It is shown this once. The way back in when all credentials are lost. TP404 user, TP400 where it would have expired, TP4LE beyond 100.';
