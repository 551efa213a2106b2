-- oldest program: 19
--
-- PostgreSQL checks constraints of a row with every version that is written of it, so the pattern for channel ids ran for each put and each
-- delivery, although most messages are in no channel. A tenth of what puts and gets take of the server was that
-- (docs/performance.md, "Lives of messages").
--
-- The table is locked for a moment, without looking at its rows: 0028 does that, beside the traffic. Whoever waits for a lock makes all others
-- wait behind it, so this waits half a second at most, and then lets them pass before it tries again.
do $$
begin
  set local lock_timeout = '500ms';
  for n in 1..60 loop
    begin
      lock table towpath.message in access exclusive mode;
      exit;
    exception
      when lock_not_available then
        if n = 60 then
          raise exception 'towpath.message could not be locked within a minute: a transaction that has used it stays open (select * from pg_stat_activity order by xact_start); end it and start again';
        end if;
        perform pg_sleep(0.5);
    end;
  end loop;
  alter table towpath.message drop constraint channel_id_has_up_to_64_characters;
  alter table towpath.message add constraint channel_id_has_up_to_64_characters
  check (channel_id = '' or channel_id ~ '^[A-Za-z0-9._-]{1,64}$') not valid;
end;
$$;
