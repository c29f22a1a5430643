-- The yardstick of planning and of WAL: the same people, preferences, devices and pause as the product's own plan reads
-- (store/queries/fanout.sql, query plan), written as a row per delivery under nothing but a primary key.

-- name: create_delivery
create table if not exists bench_delivery (
    campaign_id bigint not null,
    lane_id     smallint not null,
    target      int not null,
    held_until  timestamptz not null,
    state       smallint not null,
    primary key (campaign_id, lane_id, target)
);

-- name: plan_rows
insert into bench_delivery (campaign_id, lane_id, target, held_until, state)
with due as materialized (
    select n.id, n.category, n.urgency, t.channels
    from notification n join event_type t on t.name = n.type
    where n.id = %(campaign)s
),
people as materialized (
    select d.id as campaign_id, a.person_id, p.email, p.email_dropped_at,
           case when d.urgency = 0 then '-infinity' else coalesce(z.held_until, %(default_hold)s::timestamptz) end as held_until
    from due d
    join audience_people(array(select id from due), %(now)s) a on a.campaign_id = d.id
    join person p on p.id = a.person_id and p.hidden_at is null
    left join unnest(%(zones)s::text[], %(holds)s::timestamptz[]) as z (timezone, held_until) on z.timezone = p.timezone
),
optout as (
    select f.person_id, f.category, f.channel from preference f where not f.enabled
)
select e.campaign_id, l.id, e.person_id, e.held_until, 0
from people e
join due d on d.id = e.campaign_id and 'email' = any (d.channels)
join lane l on l.name = 'email'
where e.email is not null and e.email_dropped_at is null
  and not exists (select from optout o where o.person_id = e.person_id and o.category = d.category and o.channel = 'email')
union all
select e.campaign_id, l.id, v.id, e.held_until, 0
from people e
join due d on d.id = e.campaign_id and 'push' = any (d.channels)
join device v on v.person_id = e.person_id and v.dropped_at is null
join lane l on l.channel = 'push' and l.provider = v.provider and l.app = v.app
where not exists (select from optout o where o.person_id = e.person_id and o.category = d.category and o.channel = 'push');

-- name: create_ids
create table if not exists bench_ids (id int not null);

-- name: planned
select coalesce(sum(c.size), 0), count(*)
from chunk c join lane l on l.id = c.lane_id
where c.campaign_id = %(campaign)s and l.channel <> 'web';

-- name: unfinished
select count(*) from chunk where campaign_id = %(campaign)s and state <> 3;

-- name: mark_rows
do $$
declare
    least int := 0;
begin
    loop   -- by 1,000 recipients, in primary key order: the kindest way to mark rows
        update bench_delivery d set state = 1
        from (select campaign_id, lane_id, target from bench_delivery where state = 0 limit 1000) w
        where (d.campaign_id, d.lane_id, d.target) = (w.campaign_id, w.lane_id, w.target);
        exit when not found;
        commit;
    end loop;
end $$;

-- name: forget_campaign
update chunk set state = 3 where campaign_id = %(campaign)s;
