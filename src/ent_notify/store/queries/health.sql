-- name: server^
-- What the server is, what time it has, and how many of its connections are taken.
select current_setting('server_version') as version,
       clock_timestamp() as now,
       current_setting('max_connections')::int as max_connections,
       (select count(*)::int from pg_stat_activity where backend_type = 'client backend') as connections;

-- name: schema_version$
-- The newest migration that was applied here.
select max(version) from schema_migration;

-- name: queues
-- For each lane, how many chunks are ready to be claimed, and for how many seconds the oldest has been.
select l.channel, l.provider, sum(q.waiting)::int as waiting, max(q.lag_seconds) as lag_seconds
from lane l
cross join lateral (
    select count(*) as waiting, coalesce(greatest(extract(epoch from :now - min(c.due_at)), 0), 0)::float as lag_seconds
    from chunk c where c.lane_id = l.id and c.state = 0
) q
group by l.channel, l.provider;

-- name: unplanned$
-- How many campaigns wait for their plan, or for their place in the feed.
select (select count(*) from campaign where planned_at is null and state < 2)
     + (select count(*) from notification where feed_seq is null);
