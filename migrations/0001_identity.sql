-- oldest program: 1
--
-- Who may call: tenancies, their compartments, users and what users sign in with. Names are those of OCI's identity
-- service in snake_case. Of keys and tokens that are shown once only the SHA-256 is stored: they are random with at
-- least 192 bits, so a slow password hash would protect nothing that their length does not.
--
-- towpath.fail and towpath.new_ocid come with the next migration; the functions here that call them are plpgsql, which
-- looks names up when it runs.

create schema if not exists towpath;

create table towpath.tenancy (
  id text collate "C" not null,
  -- The first part of a STOMP login, which a slash ends.
  name text collate "C" not null,
  time_created timestamptz not null default clock_timestamp(),
  constraint tenancy_pkey primary key (id),
  constraint tenancy_name_is_unique unique (name),
  constraint tenancy_name_has_1_to_100_characters check (length(name) between 1 and 100),
  constraint tenancy_name_has_no_slash check (position('/' in name) = 0)
);

comment on table towpath.tenancy is 'One row per tenancy: everything in it is invisible to every other.';

create index tenancy_by_age on towpath.tenancy (time_created, id);

create table towpath.compartment (
  id text collate "C" not null,
  tenancy_id text collate "C" not null,
  -- Null: the root compartment, whose id is the tenancy's.
  parent_id text collate "C",
  name text collate "C" not null,
  time_created timestamptz not null default clock_timestamp(),
  constraint compartment_pkey primary key (id),
  -- For the foreign key below, and for check_compartment.
  constraint compartment_is_of_one_tenancy unique (tenancy_id, id),
  constraint compartment_tenancy_exists foreign key (tenancy_id) references towpath.tenancy (id),
  constraint compartment_parent_is_of_the_same_tenancy
    foreign key (tenancy_id, parent_id) references towpath.compartment (tenancy_id, id),
  constraint compartment_name_is_unique_in_its_parent unique (tenancy_id, parent_id, name),
  constraint compartment_name_has_1_to_100_characters check (length(name) between 1 and 100),
  constraint only_the_root_compartment_has_no_parent check ((parent_id is null) = (id = tenancy_id))
);

comment on table towpath.compartment is
'One row per compartment. The root compartment of a tenancy has the tenancy''s own id, as in OCI.';

create table towpath.user_account (
  id text collate "C" not null,
  tenancy_id text collate "C" not null,
  -- The second part of a STOMP login; may have slashes (oracleidentitycloudservice/ana).
  name text collate "C" not null,
  time_created timestamptz not null default clock_timestamp(),
  constraint user_account_pkey primary key (id),
  -- For the foreign keys of the credentials.
  constraint user_account_is_of_one_tenancy unique (tenancy_id, id),
  constraint user_account_tenancy_exists foreign key (tenancy_id) references towpath.tenancy (id),
  constraint user_account_name_is_unique_in_its_tenancy unique (tenancy_id, name),
  constraint user_account_name_has_1_to_255_characters check (length(name) between 1 and 255)
);

comment on table towpath.user_account is 'One row per user of a tenancy.';

create table towpath.signing_key (
  tenancy_id text collate "C" not null,
  user_id text collate "C" not null,
  fingerprint text collate "C" not null,
  -- SubjectPublicKeyInfo; the private half never comes here.
  public_key text not null,
  time_created timestamptz not null default clock_timestamp(),
  -- The three parts of a signature's keyId, in its order.
  constraint signing_key_pkey primary key (tenancy_id, user_id, fingerprint),
  constraint signing_key_user_exists
    foreign key (tenancy_id, user_id) references towpath.user_account (tenancy_id, id) on delete cascade,
  constraint fingerprint_is_16_hexadecimal_pairs check (fingerprint ~ '^[0-9a-f]{2}(:[0-9a-f]{2}){15}$'),
  constraint public_key_is_pem check (public_key like '-----BEGIN PUBLIC KEY-----%')
);

comment on table towpath.signing_key is 'Public keys that OCI request signatures are verified with.';

create table towpath.api_key (
  id text collate "C" not null,
  user_id text collate "C" not null,
  tenancy_id text collate "C" not null,
  -- How the key begins, so that its owner can tell which one it is.
  prefix text not null,
  -- SHA-256 of the whole key.
  digest bytea not null,
  time_created timestamptz not null default clock_timestamp(),
  constraint api_key_pkey primary key (id),
  constraint api_key_digest_is_unique unique (digest),
  constraint api_key_digest_has_32_bytes check (octet_length(digest) = 32),
  constraint api_key_user_exists
    foreign key (tenancy_id, user_id) references towpath.user_account (tenancy_id, id) on delete cascade
);

comment on table towpath.api_key is 'Bearer keys of users, as digests.';

create index api_key_by_user on towpath.api_key (tenancy_id, user_id);

create table towpath.auth_token (
  id text collate "C" not null,
  user_id text collate "C" not null,
  tenancy_id text collate "C" not null,
  -- SHA-256 of the token itself, not of its base64, which is what travels as the passcode.
  digest bytea not null,
  time_created timestamptz not null default clock_timestamp(),
  constraint auth_token_pkey primary key (id),
  constraint auth_token_digest_is_unique unique (digest),
  constraint auth_token_digest_has_32_bytes check (octet_length(digest) = 32),
  constraint auth_token_user_exists
    foreign key (tenancy_id, user_id) references towpath.user_account (tenancy_id, id) on delete cascade
);

comment on table towpath.auth_token is 'Tokens that users log in to STOMP with, as digests.';

create index auth_token_by_user on towpath.auth_token (tenancy_id, user_id);

create table towpath.secret (
  name text collate "C" not null,
  value bytea not null,
  time_created timestamptz not null default clock_timestamp(),
  constraint secret_pkey primary key (name),
  constraint secret_has_at_least_32_bytes check (octet_length(value) >= 32)
);

comment on table towpath.secret is 'Secrets that all pods share, such as the key that seals receipts.';

-- Making -------------------------------------------------------------------------------------------------------------

create function towpath.create_tenancy(name text)
returns towpath.tenancy
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_tenancy towpath.tenancy;
begin
  insert into towpath.tenancy as t (id, name)
  values (towpath.new_ocid('tenancy'), create_tenancy.name)
  on conflict on constraint tenancy_name_is_unique do nothing
  returning t.* into v_tenancy;
  if not found then
    perform towpath.fail('TP400', 'name: there is a tenancy named ' || create_tenancy.name || ' already');
  end if;
  insert into towpath.compartment (id, tenancy_id, parent_id, name, time_created)
  values (v_tenancy.id, v_tenancy.id, null, create_tenancy.name, v_tenancy.time_created);
  return v_tenancy;
end;
$$;

comment on function towpath.create_tenancy(text) is
'Creates a tenancy with its root compartment, which has the same id, and returns it. TP400 where the name is taken.';

create function towpath.create_compartment(tenancy_id text, parent_id text, name text)
returns towpath.compartment
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_parent_id constant text := coalesce(create_compartment.parent_id, create_compartment.tenancy_id);
  v_compartment towpath.compartment;
begin
  perform towpath.check_compartment(create_compartment.tenancy_id, v_parent_id);
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
'Creates a compartment inside another of the same tenancy (null or the tenancy''s id: the root) and returns it. TP404 where the parent is not one of the tenancy''s, TP400 where the name is taken.';

create function towpath.create_user(tenancy_id text, name text)
returns towpath.user_account
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_user towpath.user_account;
begin
  if not exists (select from towpath.tenancy t where t.id = create_user.tenancy_id) then
    perform towpath.fail('TP404', 'tenancy ' || create_user.tenancy_id || ' does not exist or you may not use it');
  end if;
  insert into towpath.user_account as u (id, tenancy_id, name)
  values (towpath.new_ocid('user'), create_user.tenancy_id, create_user.name)
  on conflict on constraint user_account_name_is_unique_in_its_tenancy do nothing
  returning u.* into v_user;
  if not found then
    perform towpath.fail('TP400', 'name: there is a user named ' || create_user.name || ' already');
  end if;
  return v_user;
end;
$$;

comment on function towpath.create_user(text, text) is
'Creates a user of a tenancy and returns it. TP404 tenancy, TP400 where the name is taken.';

create function towpath.check_user(tenancy_id text, user_id text)
returns void
language plpgsql
stable
set search_path = towpath, pg_temp
as $$
begin
  if not exists (
    select from towpath.user_account u
    where u.id = check_user.user_id
      and u.tenancy_id = check_user.tenancy_id
  ) then
    perform towpath.fail('TP404', 'user ' || check_user.user_id || ' does not exist or you may not use it');
  end if;
end;
$$;

comment on function towpath.check_user(text, text) is 'TP404 where the user is not one of the tenancy''s.';

create function towpath.add_signing_key(tenancy_id text, user_id text, fingerprint text, public_key text)
returns towpath.signing_key
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_key towpath.signing_key;
begin
  perform towpath.check_user(add_signing_key.tenancy_id, add_signing_key.user_id);
  insert into towpath.signing_key as k (tenancy_id, user_id, fingerprint, public_key)
  values (
    add_signing_key.tenancy_id, add_signing_key.user_id, add_signing_key.fingerprint, add_signing_key.public_key
  )
  on conflict on constraint signing_key_pkey do nothing
  returning k.* into v_key;
  if not found then
    perform towpath.fail('TP400', 'the user has a key with the fingerprint ' || add_signing_key.fingerprint || ' already');
  end if;
  return v_key;
end;
$$;

comment on function towpath.add_signing_key(text, text, text, text) is
'Lets a user sign requests with the private half of this RSA key (PEM, SubjectPublicKeyInfo). The fingerprint is the caller''s to compute. TP404 user, TP400 where the user has it already.';

create function towpath.add_api_key(tenancy_id text, user_id text, prefix text, digest bytea)
returns towpath.api_key
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_key towpath.api_key;
begin
  perform towpath.check_user(add_api_key.tenancy_id, add_api_key.user_id);
  insert into towpath.api_key as k (id, user_id, tenancy_id, prefix, digest)
  values (
    towpath.new_ocid('queueapikey'), add_api_key.user_id, add_api_key.tenancy_id, add_api_key.prefix, add_api_key.digest
  )
  returning k.* into v_key;
  return v_key;
end;
$$;

comment on function towpath.add_api_key(text, text, text, bytea) is
'Stores the SHA-256 of a bearer key for a user, with how it begins, and returns the row. TP404 user.';

create function towpath.add_auth_token(tenancy_id text, user_id text, digest bytea)
returns towpath.auth_token
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_token towpath.auth_token;
begin
  perform towpath.check_user(add_auth_token.tenancy_id, add_auth_token.user_id);
  insert into towpath.auth_token as t (id, user_id, tenancy_id, digest)
  values (
    towpath.new_ocid('authtoken'), add_auth_token.user_id, add_auth_token.tenancy_id, add_auth_token.digest
  )
  returning t.* into v_token;
  return v_token;
end;
$$;

comment on function towpath.add_auth_token(text, text, bytea) is
'Stores the SHA-256 of an auth token, a user''s passcode on STOMP, and returns the row. TP404 user.';

-- Finding ------------------------------------------------------------------------------------------------------------

create function towpath.find_signing_key(tenancy_id text, user_id text, fingerprint text)
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
    and k.fingerprint = find_signing_key.fingerprint;
$$;

comment on function towpath.find_signing_key(text, text, text) is
'Returns the key that a signature''s keyId names; no row where there is none.';

create function towpath.find_api_key(digest bytea)
returns setof towpath.api_key
language sql
stable
rows 1
set search_path = towpath, pg_temp
as $$
  select k.*
  from towpath.api_key k
  where k.digest = find_api_key.digest;
$$;

comment on function towpath.find_api_key(bytea) is 'Returns the bearer key with this SHA-256; no row where there is none.';

create function towpath.find_stomp_login(tenancy_name text, user_name text, digest bytea)
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
    and u.name = find_stomp_login.user_name;
$$;

comment on function towpath.find_stomp_login(text, text, bytea) is
'Returns the auth token with this SHA-256 if it belongs to the user of that name in the tenancy of that name; no row otherwise.';

create function towpath.find_first_tenancy()
returns setof towpath.tenancy
language sql
stable
rows 1
set search_path = towpath, pg_temp
as $$
  select t.*
  from towpath.tenancy t
  order by t.time_created, t.id
  limit 1;
$$;

comment on function towpath.find_first_tenancy() is 'Returns the tenancy that was made first; no row in a new database.';

-- Sharing ------------------------------------------------------------------------------------------------------------

create function towpath.share_secret(name text, proposal bytea)
returns bytea
language plpgsql
set search_path = towpath, pg_temp
as $$
declare
  v_value bytea;
begin
  -- Read first: only a new database writes. The insert waits for a rival that has not committed, and the select after
  -- it, a statement of its own, then sees what the rival left.
  select s.value into v_value from towpath.secret s where s.name = share_secret.name;
  if not found then
    insert into towpath.secret (name, value)
    values (share_secret.name, share_secret.proposal)
    on conflict on constraint secret_pkey do nothing;
    select s.value into v_value from towpath.secret s where s.name = share_secret.name;
  end if;
  return v_value;
end;
$$;

comment on function towpath.share_secret(text, bytea) is
'Returns the secret of this name, which is the first proposal that was ever made for it: pods that start at once agree on one. At least 32 bytes.';

create function towpath.create_first_identity(
  tenancy_name text,
  compartment_name text,
  user_name text,
  fingerprint text,
  public_key text,
  api_key_prefix text,
  api_key_digest bytea,
  auth_token_digest bytea,
  out created boolean,
  out tenancy_id text,
  out compartment_id text,
  out user_id text
)
language plpgsql
set search_path = towpath, pg_temp
as $$
begin
  created := false;
  -- Pods that start at once come here one after the other; whoever waited sees, in the next statement, what the first made.
  perform pg_advisory_xact_lock(hashtextextended('towpath.create_first_identity', 0));
  if exists (select from towpath.tenancy) then
    return;
  end if;
  tenancy_id := (towpath.create_tenancy(create_first_identity.tenancy_name)).id;
  compartment_id := (towpath.create_compartment(tenancy_id, tenancy_id, create_first_identity.compartment_name)).id;
  user_id := (towpath.create_user(tenancy_id, create_first_identity.user_name)).id;
  perform towpath.add_signing_key(
    tenancy_id, user_id, create_first_identity.fingerprint, create_first_identity.public_key
  );
  perform towpath.add_api_key(
    tenancy_id, user_id, create_first_identity.api_key_prefix, create_first_identity.api_key_digest
  );
  perform towpath.add_auth_token(tenancy_id, user_id, create_first_identity.auth_token_digest);
  created := true;
end;
$$;

comment on function towpath.create_first_identity(text, text, text, text, text, text, bytea, bytea) is
'Makes the first tenancy with a compartment, a user and the user''s credentials, unless the database has a tenancy. created says whether this call made it; the ids are null where it did not.';
