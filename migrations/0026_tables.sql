-- oldest program: 19
--
-- Free room on pages, and what PostgreSQL collects of messages. docs/performance.md, "Tables", has what was measured, also of what was left as
-- it is; `npm run bench:tables` repeats it.
--
-- Nothing here rewrites a table or waits for those who read and write: these statements take SHARE UPDATE EXCLUSIVE only, for which an
-- autovacuum that is under way gives way. A fillfactor counts for pages that are filled from now on.

-- A claim changes columns of indexes, so it is never a HOT update, whatever room there is. But where the new version of the row finds room on the
-- same page, its WAL leaves out what both have in common, and that is the body. With 70 instead of 85 a life writes 4 % less WAL for bodies
-- of 200 bytes, 7 % for 1,000 and 30 % for 1,800; the rows of what waits take 23, 20 and 50 % more of the disk. With 50 it would be 9, 29
-- and 30 % for 69, 100 and 50 %. Larger bodies are stored beside the row, and a claim does not write them in any case.
alter table towpath.message set (fillfactor = 70);

-- Folding updates every channel's row, and no column of an index: HOT, where the page has room. With 2,000 channels 29 % of the updates
-- were without any, 97 % with 70, all with 50; the table was 5,300, 490 and 320 kB large after fifty folds.
alter table towpath.message_total set (fillfactor = 50);

-- A row or a few: all updates were HOT, and the table one page, with 50 as without.
alter table towpath.lease reset (fillfactor);
alter table towpath.pod reset (fillfactor);

-- No plan depends on statistics, and analyze would copy contents of messages into pg_statistic, where they stay when the messages are gone,
-- those of queues that take unsealed ones in the clear. For small messages it takes a quarter less time without.
alter table towpath.message
  alter column body set statistics 0,
  alter column properties set statistics 0,
  alter column delivery_history set statistics 0;
-- What was collected before stays otherwise. Before PostgreSQL 18 only a superuser can remove it (docs/operating.md).
do $$
begin
  if to_regproc('pg_catalog.pg_clear_attribute_stats') is not null then
    perform pg_catalog.pg_clear_attribute_stats('towpath', 'message', c.name, false)
    from (values ('body'), ('properties'), ('delivery_history')) c(name);
  end if;
end;
$$;
