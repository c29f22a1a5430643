-- name: ledgers
-- The account of campaigns, newest first: chunk rows summed, exceptions by reason from the sparse table.
with c as (
    select n.id, n.type, n.published_at, k.planned_at
    from campaign k join notification n on n.id = k.notification_id
    where (:campaign_id::bigint is null or n.id = :campaign_id)
    order by n.id desc limit :most
),
sums as (
    select c.id, l.channel, l.provider, sum(h.size) as planned, sum(h.accepted) as accepted,
           sum(h.size - h.accepted - h.suppressed - h.failed) filter (where h.held_until > :now) as held,
           sum(h.size - h.accepted - h.suppressed - h.failed) filter (where h.held_until <= :now) as pending
    from c join chunk h on h.campaign_id = c.id join lane l on l.id = h.lane_id
    group by c.id, l.channel, l.provider
),
reasons as (
    select c.id, l.channel, l.provider, o.state, o.reason, count(*) as n
    from c join outcome o on o.campaign_id = c.id and o.state in (2, 3)
    join chunk h on h.id = o.chunk_id join lane l on l.id = h.lane_id
    group by c.id, l.channel, l.provider, o.state, o.reason
)
select c.id, c.type, c.published_at, c.planned_at, s.channel, s.provider,
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
select n.id, n.type, n.category, n.published_at, n.expires_at, n.feed_seq, c.planned_at, t.channels,
       p.id as person_id, p.hidden_at, p.email is not null as has_email, p.email_dropped_at is not null as email_dropped,
       exists (select from device d where d.person_id = p.id and d.dropped_at is null) as has_device,
       exists (select from still_addressed(n.id, array[p.id], :now)) as addressed,
       coalesce(r.watermark >= n.feed_seq or n.feed_seq = any (r.above), false) as is_read,
       array(select f.channel from preference f where f.person_id = p.id and f.category = n.category and not f.enabled) as opted_out
from notification n
join event_type t on t.name = n.type
left join campaign c on c.notification_id = n.id
join person p on p.external_id = :person
left join reading r on r.person_id = p.id
where n.id = :notification;

-- name: deliveries
-- Every delivery of a notification to one person: the chunk is computed from the person's bucket, the rest is by key.
select l.channel, l.provider, x.target, h.held_until, h.due_at, h.settled_at,
       array_position(h.targets, x.target) <= h.cursor as tried,
       o.state, o.reason, o.attempts, o.retry_at, o.noted_at
from person p
join campaign c on c.notification_id = :notification
join chunk h on h.campaign_id = c.notification_id and h.bucket in (-1, p.id / coalesce(c.width, 1000))
join lane l on l.id = h.lane_id
join lateral (
    select p.id as target where l.channel = 'email'
    union all
    select d.id from device d where d.person_id = p.id and l.channel = 'push'
) x on h.targets @> array[x.target]
left join outcome o on o.chunk_id = h.id and o.target = x.target
where p.id = :person_id
order by l.channel, l.provider, x.target;

-- name: not_reached
-- People that a campaign has not reached, with the reason, by key.
select p.external_id as person, l.channel, l.provider, o.state, o.reason, o.attempts, o.retry_at, o.noted_at
from outcome o
join chunk h on h.id = o.chunk_id
join lane l on l.id = h.lane_id
join person p on p.id = o.person_id
where o.campaign_id = :campaign_id and o.state in (1, 2, 3) and (o.person_id, o.target) > (:after_person, :after_target)
order by o.person_id, o.target
limit :most;
