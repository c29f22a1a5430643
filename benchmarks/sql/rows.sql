-- The yardstick of planning and of WAL: the same eligibility as the product's plan has for a campaign to everyone (people
-- who have not left, dropped addresses and devices, preferences, the pause of each time zone), written as a row per delivery
-- under nothing but a primary key. It is written for speed: no part of it goes through the product's own functions.

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
    select n.id, n.category, n.urgency from notification n where n.id = %(campaign)s
),
pause as (
    select * from unnest(%(zones)s::text[], %(holds)s::timestamptz[]) as z (timezone, held_until)
)
select d.id, l.id, p.id, coalesce(z.held_until, %(default_hold)s::timestamptz), 0
from person p
cross join due d
join lane l on l.name = 'email'
left join pause z on z.timezone = p.timezone
left join preference f on f.person_id = p.id and f.category = d.category and f.channel = 'email' and not f.enabled
where p.hidden_at is null and p.email is not null and p.email_dropped_at is null and f.person_id is null
union all
select d.id, l.id, v.id, coalesce(z.held_until, %(default_hold)s::timestamptz), 0
from device v
join person p on p.id = v.person_id and p.hidden_at is null
cross join due d
join lane l on l.channel = 'push' and l.provider = v.provider and l.app = v.app
left join pause z on z.timezone = p.timezone
left join preference f on f.person_id = v.person_id and f.category = d.category and f.channel = 'push' and not f.enabled
where v.dropped_at is null and f.person_id is null;

-- name: create_ids
create table if not exists bench_ids (campaign_id bigint not null, lane_id smallint not null, target int not null);

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
