-- What a later release may add without asking anybody: to each table a column that may be left out and one that has a
-- default; tables, indexes and functions of its own; another body for a function.

set local search_path = ent_notify;

do $$
declare
    each record;
begin
    for each in
        select c.oid::regclass as name from pg_class c
        where c.relnamespace = 'ent_notify'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
          and c.relname <> 'schema_migration'
        order by c.relname
    loop
        execute format('alter table %s add column widened int, add column widened_too int not null default 7', each.name);
    end loop;
end $$;

create table of_later (id bigint generated always as identity primary key, notification_id bigint not null, said text);
create index of_later_notification on of_later (notification_id);
create index notification_widened on notification (widened) where widened is not null;

create function of_later_said(notification bigint) returns setof text
language sql stable as $$ select said from ent_notify.of_later where notification_id = notification $$;
