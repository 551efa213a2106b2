-- A role that may put messages by SQL, in transactions of its own, and do nothing else with Towpath: neither read, nor
-- receive, nor change anything. Run it once per database, by a superuser, or by the role that owns the schema towpath if
-- that has CREATEROLE or the role is there already:
--
--   psql "$DATABASE_URL" --file deploy/producer-role.sql
--
-- Then give it to whoever is to put:   grant towpath_producer to orders_app;
-- It may put into every queue that has acceptUnsealed set.
do $$
begin
  if not exists (select from pg_roles where rolname = 'towpath_producer') then
    create role towpath_producer nologin;
  end if;
end;
$$;

grant usage on schema towpath to towpath_producer;
grant execute on function
  towpath.put_messages(bigint, text[], text, jsonb, integer),
  towpath.queue_id(text)
to towpath_producer;
