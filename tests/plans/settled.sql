-- All but the newest hundred campaigns have been sent, one delivery in thirty not plainly; a third of the people read.
set search_path = ent_notify;

insert into outcome (chunk_id, target, campaign_id, person_id, state, reason, attempts, retry_at, noted_at)
select h.id, u.target, h.campaign_id, case l.channel when 'push' then (select d.person_id from device d where d.id = u.target) else u.target end,
       case u.target % 3 when 0 then 2 else 3 end, case u.target % 3 when 0 then 'read' else l.channel || '.gone' end,
       1, null, timestamptz '2026-08-20'
from chunk h join lane l on l.id = h.lane_id and l.channel <> 'web'
cross join lateral unnest(h.targets) u (target)
where h.campaign_id <= 1900 and (u.target + h.campaign_id) % 30 = 0;

update chunk h set cursor = h.size, state = 3, fence = 1, settled_at = timestamptz '2026-08-20',
       suppressed = coalesce(o.suppressed, 0), failed = coalesce(o.failed, 0),
       accepted = h.size - coalesce(o.suppressed, 0) - coalesce(o.failed, 0)
from chunk g
left join (
    select chunk_id, count(*) filter (where state = 2)::int as suppressed, count(*) filter (where state = 3)::int as failed
    from outcome group by chunk_id
) o on o.chunk_id = g.id
where g.id = h.id and h.targets is not null and h.campaign_id <= 1900;

-- A chunk that has had its first tries, and a tenth of them again to come.
update chunk set cursor = size, fence = 1 where id = (select max(id) from chunk where campaign_id = 2000 and targets is not null);
insert into outcome (chunk_id, target, campaign_id, person_id, state, reason, attempts, retry_at, noted_at)
select h.id, u.target, h.campaign_id, u.target, 1, 'smtp.451', 1, timestamptz '2026-09-01', timestamptz '2026-09-01'
from chunk h cross join lateral unnest(h.targets) u (target)
where h.id = (select max(id) from chunk where campaign_id = 2000 and targets is not null) and u.target % 10 = 0;

-- Some whose pause is over, some whose worker is lost.
update chunk set state = 1, due_at = timestamptz '2026-09-08 05:00Z' where campaign_id between 1910 and 1930 and state = 0;
update chunk set state = 2, due_at = timestamptz '2026-09-08 07:00Z', fence = 1, leased_by = 'lost' where campaign_id between 1931 and 1935 and state = 0;

insert into reading (person_id, watermark, above)
select id, 1500 + id % 400, array[1990 + id % 9] from person where id % 3 = 0;

update person set email_dropped_at = '2026-08-20', email_drop_reason = 'dsn.5.1.1' where id % 500 = 0 and email is not null;
