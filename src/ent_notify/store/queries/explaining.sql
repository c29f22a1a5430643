-- name: ledgers
-- The account of campaigns, newest first: chunk rows summed, exceptions by reason from the sparse table.
with chosen as (   -- (two branches: one statement for both would walk back from the newest to the one asked for)
    select k.notification_id as id from campaign k where k.notification_id = :campaign_id::bigint
    union all
    (select k.notification_id from campaign k where :campaign_id::bigint is null order by k.notification_id desc limit :most)
),
c as materialized (
    select n.id, coalesce(n.withdrawn_type, n.type) as type, n.published_at, k.planned_at,
           case k.state when 0 then 'running' when 1 then 'paused' else k.stop_reason end as state, k.stop_reason, k.detail
    from chosen x
    cross join lateral (select * from campaign k where k.notification_id = x.id offset 0) k
    cross join lateral (select * from notification n where n.id = x.id offset 0) n
),
h as materialized (   -- each chunk row once, without its targets
    select x.id, x.campaign_id, x.lane_id, x.size, x.accepted, x.stopped, x.size - x.accepted - x.suppressed - x.failed as open,
           -- by a pause: the reader's, or the campaign's
           x.held_until > :now or x.state = 4 or (x.state = 1 and x.cursor < x.size and x.due_at > :now) as is_held
    from c cross join lateral (select * from chunk x where x.campaign_id = c.id offset 0) x
),
sums as (
    select h.campaign_id as id, l.channel, l.provider, sum(h.size) as planned, sum(h.accepted) as accepted,
           sum(h.open) filter (where h.is_held) as held, sum(h.open) filter (where not h.is_held) as pending
    from h join lane l on l.id = h.lane_id
    group by h.campaign_id, l.channel, l.provider
),
reasons as (
    select x.id, l.channel, l.provider, x.state, x.reason, sum(x.n) as n
    from (
        select c.id, h.lane_id, o.state, o.reason, count(*) as n
        from c
        cross join lateral (select * from outcome o where o.campaign_id = c.id and o.state in (2, 3) offset 0) o
        join h on h.id = o.chunk_id
        where c.detail = 0
        group by c.id, h.lane_id, o.state, o.reason
        union all   -- (whose rows are forgotten, or soon will be)
        select c.id, o.lane_id, o.state, o.reason, o.n from c join outcome_total o on o.campaign_id = c.id where c.detail > 0
        union all
        select c.id, h.lane_id, 2, c.stop_reason, sum(h.stopped)
        from c join h on h.campaign_id = c.id and h.stopped > 0
        group by c.id, h.lane_id, c.stop_reason
    ) x
    join lane l on l.id = x.lane_id
    group by x.id, l.channel, l.provider, x.state, x.reason
)
select c.id, c.type, c.state, c.published_at, c.planned_at, s.channel, s.provider,
       coalesce(s.planned, 0)::bigint as planned, coalesce(s.accepted, 0)::bigint as accepted,
       coalesce(s.held, 0)::bigint as held, coalesce(s.pending, 0)::bigint as pending,
       (select coalesce(jsonb_object_agg(r.reason, r.n), '{}') from reasons r
        where r.id = c.id and r.channel = s.channel and r.provider = s.provider and r.state = 2) as suppressed,
       (select coalesce(jsonb_object_agg(r.reason, r.n), '{}') from reasons r
        where r.id = c.id and r.channel = s.channel and r.provider = s.provider and r.state = 3) as failed
from c left join sums s on s.id = c.id
order by c.id desc, s.channel, s.provider;

-- name: subject^
-- The notification and the person of a question, and whether it is for them now.
select n.id, coalesce(n.withdrawn_type, n.type) as type, n.category, n.published_at, n.expires_at, n.feed_seq, c.planned_at,
       t.channels, c.stop_reason, coalesce(c.detail > 0, false) as is_forgotten, n.withdrawn_type is not null as is_recalled, n.superseded_by is not null as is_superseded,
       p.id as person_id, p.hidden_at, p.email is not null as has_email, p.email_dropped_at is not null as email_dropped,
       exists (select from device d where d.person_id = p.id and d.dropped_at is null) as has_device,
       exists (select from still_addressed(array[n.id], array[p.id], :now)) as addressed,
       coalesce(r.watermark >= n.feed_seq or n.feed_seq = any (r.above), false) as is_read,
       array(select f.channel from preference f where f.person_id = p.id and f.category = n.category and not f.enabled) as opted_out
from notification n
join event_type t on t.name = coalesce(n.withdrawn_type, n.type)
left join campaign c on c.notification_id = n.id
join person p on p.external_id = :person
left join reading r on r.person_id = p.id
where n.id = :notification;

-- name: deliveries
-- Every delivery of a notification to one person: the chunk is computed from the person's bucket, the rest is by key.
select l.channel, l.provider, x.target, h.held_until, h.due_at, h.settled_at, h.state as chunk_state,
       c.state as campaign_state, c.stop_reason,
       array_position(h.targets, x.target) <= h.cursor as tried,
       o.state, o.reason, o.attempts, o.retry_at, o.noted_at
from person p
join campaign c on c.notification_id = :notification
cross join lane l
cross join lateral (   -- (offset 0: by the whole key, however few chunks a campaign has as a rule)
    select * from chunk h
    where h.campaign_id = c.notification_id and h.lane_id = l.id and h.bucket in (-1, p.id / coalesce(c.width, 1000))
    offset 0
) h
join lateral (
    select p.id as target where l.channel = 'email'
    union all
    select d.id from device d where d.person_id = p.id and l.channel = 'push'
) x on h.targets @> array[x.target]
left join outcome o on o.chunk_id = h.id and o.target = x.target
where p.id = :person_id
order by l.channel, l.provider, x.target;

-- name: not_reached
-- People that a campaign has not reached, with the reason, by key: the exceptions, and whom a stopped campaign never
-- tried (they have no row; chunks are read in the order of their buckets until the page is full).
with missing as (
    (select o.person_id, o.target, h.lane_id, o.state, o.reason, o.attempts, o.retry_at, o.noted_at
     from outcome o join chunk h on h.id = o.chunk_id
     where o.campaign_id = :campaign_id and o.state in (1, 2, 3) and (o.person_id, o.target) > (:after_person, :after_target)
     order by o.person_id, o.target limit :most)
    union all
    select x.person_id, x.target, l.id, 2, k.stop_reason, 0, null, x.settled_at
    from campaign k
    cross join lane l
    cross join lateral (
        select h.bucket, q.person_id, u.target, h.settled_at
        from chunk h
        cross join lateral unnest(h.targets[h.cursor + 1:]) u (target)
        left join device d on l.channel = 'push' and d.id = u.target
        cross join lateral (select case when l.channel = 'push' then d.person_id else u.target end as person_id) q
        where h.campaign_id = k.notification_id and h.lane_id = l.id and h.stopped > 0
          and (h.bucket = -1 or h.bucket >= :after_person::int / k.width)
          and (q.person_id, u.target) > (:after_person, :after_target)
          and not exists (select from outcome o where o.chunk_id = h.id and o.target = u.target)
        order by h.bucket, q.person_id, u.target limit :most
    ) x
    where k.notification_id = :campaign_id and k.stop_reason is not null and k.detail = 0
)
select p.external_id as person, l.channel, l.provider, m.state, m.reason, m.attempts, m.retry_at, m.noted_at,
       m.person_id, m.target
from missing m
join lane l on l.id = m.lane_id
join person p on p.id = m.person_id
order by m.person_id, m.target
limit :most;
