-- name: lock$
-- Let one process at a time migrate; the lock goes with the transaction.
select pg_advisory_xact_lock(732011, 1);

-- name: create_home!
-- The schema that everything of ours lives in.
create schema if not exists ent_notify;

-- name: create_history!
-- The migrations that were applied here. Code whose newest migration is below oldest_code cannot run on this schema.
create table if not exists ent_notify.schema_migration (
    version     int primary key,
    name        text not null,
    checksum    text not null,
    oldest_code int not null,
    applied_at  timestamptz not null
);

-- name: has_history$
-- Whether any migration was ever applied here.
select to_regclass('ent_notify.schema_migration') is not null;

-- name: history
-- The applied migrations, oldest first.
select version, name, checksum, oldest_code, applied_at
from ent_notify.schema_migration
order by version;

-- name: record!
-- Remember that a migration was applied.
insert into ent_notify.schema_migration (version, name, checksum, oldest_code, applied_at)
values (:version, :name, :checksum, :oldest_code, :now);
