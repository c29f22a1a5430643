-- Leave nothing in the server's files of what was deleted: dead rows, freed bytes, planner statistics, the write-ahead log.
-- As a superuser, in a quiet hour: each table is locked while it is written anew.
alter system set wal_recycle = off;
select pg_reload_conf();
delete from pg_statistic where starelid in (select oid from pg_class where relnamespace = 'ent_notify'::regnamespace);
vacuum (full, analyze);
checkpoint;
select pg_switch_wal();
checkpoint;
alter system reset wal_recycle;
select pg_reload_conf();
