-- name: server^
-- What the server is, what time it has, and how many of its connections are taken.
select current_setting('server_version') as version,
       clock_timestamp() as now,
       current_setting('max_connections')::int as max_connections,
       (select count(*)::int from pg_stat_activity where backend_type = 'client backend') as connections;

-- name: schema_version$
-- The newest migration that was applied here.
select max(version) from schema_migration;
