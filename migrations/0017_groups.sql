-- oldest program: 6
--
-- Groups of users, to which policies give rights.

create table towpath.user_group (
  id text collate "C" not null,
  tenancy_id text collate "C" not null,
  name text collate "C" not null,
  time_created timestamptz not null default clock_timestamp(),
  constraint user_group_pkey primary key (id),
  -- For the foreign key of the members.
  constraint user_group_is_of_one_tenancy unique (tenancy_id, id),
  constraint user_group_tenancy_exists foreign key (tenancy_id) references towpath.tenancy (id),
  constraint user_group_name_is_unique_in_its_tenancy unique (tenancy_id, name),
  constraint user_group_name_has_1_to_100_characters check (length(name) between 1 and 100)
);

comment on table towpath.user_group is 'One row per group of users of a tenancy.';

create table towpath.user_group_member (
  tenancy_id text collate "C" not null,
  group_id text collate "C" not null,
  user_id text collate "C" not null,
  time_created timestamptz not null default clock_timestamp(),
  constraint user_group_member_pkey primary key (group_id, user_id),
  constraint user_group_member_group_exists
    foreign key (tenancy_id, group_id) references towpath.user_group (tenancy_id, id) on delete cascade,
  constraint user_group_member_user_exists
    foreign key (tenancy_id, user_id) references towpath.user_account (tenancy_id, id) on delete cascade
);

comment on table towpath.user_group_member is 'Which users are in which groups.';

create index user_group_member_by_user on towpath.user_group_member (tenancy_id, user_id);
