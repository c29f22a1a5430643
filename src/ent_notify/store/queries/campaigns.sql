-- name: pause$
-- Let nothing more of a campaign be claimed; answers whether anything changed.
select pause_campaign(:campaign_id, :done_by, :reason, :now);

-- name: resume$
-- Let a paused campaign go on; what is not urgent waits for the end of the readers' pause.
select resume_campaign(:campaign_id, :done_by, :reason, :now, :hold);

-- name: cancel$
-- Stop a campaign for good.
select stop_campaign(:campaign_id, 'cancelled', 'cancel', :done_by, :reason, :now);

-- name: recall$
-- Stop a campaign, take its text away and replace what was shown; null when it had been recalled before.
select recall_campaign(:campaign_id, :done_by, :reason, :now);

-- name: control^
-- What a campaign is allowed to do, and how many deliveries workers hold of it.
select case k.state when 0 then 'running' when 1 then 'paused' else k.stop_reason end as state,
       in_hand(k.notification_id) as in_hand, n.superseded_by, n.withdrawn_type is not null as is_recalled,
       (select w.id from notification w where w.withdraws = k.notification_id and w.root = coalesce(n.root, n.id)) as replacement
from campaign k join notification n on n.id = k.notification_id
where k.notification_id = :campaign_id;

-- name: actions
-- What was done to a campaign, by whom and why, oldest first.
select action, done_by, reason, done_at from campaign_action where campaign_id = :campaign_id order by id;

-- name: readers
-- The next people, by id, whose read marks cover a notification: at most :walk people are looked at, each audience key by
-- index. Whether somebody was addressed when it was published (nobody taken out, no later comer) is said beside;
-- `walked` and `walked_to` say how far it came.
with n as (
    select id, feed_seq, published_at from notification where id = :campaign_id
),
terms as materialized (
    select scope, ref from audience where notification_id = :campaign_id and not excluded
),
near as materialized (
    select distinct x.person_id
    from terms a
    cross join lateral (
        (select r.person_id from reading r
         where a.scope = 0 and r.person_id > :after
           and (a.ref = 0 or (select p.profile from person p where p.id = r.person_id) = a.ref)
         order by r.person_id limit :walk)
        union all
        (select m.person_id from membership m
         where a.scope = 1 and m.group_id = a.ref and m.person_id > :after
         order by m.person_id limit :walk)
        union all
        (select distinct g.guardian_id from membership m join guardian_link g on g.pupil_id = m.person_id
         where a.scope = 2 and m.group_id = a.ref and g.guardian_id > :after
         order by g.guardian_id limit :walk)
        union all
        select a.ref where a.scope = 3 and a.ref > :after
        union all
        select g.guardian_id from guardian_link g where a.scope = 4 and g.pupil_id = a.ref and g.guardian_id > :after
    ) x
    order by x.person_id limit :walk
),
walked as materialized (
    select x.person_id, (
        select r.watermark >= n.feed_seq or n.feed_seq = any (r.above) from reading r where r.person_id = x.person_id
    ) as is_read
    from near x cross join n
),
hit as materialized (
    select person_id from walked where is_read order by person_id limit :most
)
select h.person_id, p.external_id, s.person_id is not null as addressed, w.walked, w.walked_to
from (select count(*)::int as walked, max(person_id) as walked_to from walked) w
left join hit h on true
left join person p on p.id = h.person_id
left join still_addressed(
    array(select :campaign_id::bigint from hit), array(select person_id from hit), (select published_at from n)
) s
    on s.person_id = h.person_id
order by h.person_id;

-- name: recalled_readers
-- The next people, by id, who had read a notification when it was recalled.
select u.person_id, p.external_id
from recalled_reader r
cross join lateral unnest(r.people) u (person_id)
join person p on p.id = u.person_id
where r.notification_id = :campaign_id and r.bucket >= :after::int / 1000 and u.person_id > :after
order by r.bucket, u.person_id
limit :most;

-- name: forecast_sends
-- What an event would be planned into: sends by lane and time zone; the row without a lane counts the people.
select lane_id, timezone, sends from forecast_sends(:type, :audience::jsonb, :data::jsonb, :now);

-- name: forecast_queue
-- What is queued in each lane at an urgency or a higher one, by the minute in which it becomes ready.
select lane_id, case when state = 1 and due_at > :now::timestamptz then date_trunc('minute', due_at) else :now end as ready_at,
       sum(size - accepted - suppressed - failed)::int as sends
from chunk
where state in (0, 1, 2) and urgency <= :urgency
group by 1, 2
order by 1, 2;

-- name: unsent
-- What is unsent of some campaigns, by lane and the minute in which it becomes ready.
select campaign_id, lane_id, urgency,
       case when state = 1 and due_at > :now::timestamptz then date_trunc('minute', due_at) else :now end as ready_at,
       sum(size - accepted - suppressed - failed)::int as sends
from chunk
where campaign_id = any (:campaigns::bigint[]) and state in (0, 1, 2)
group by 1, 2, 3, 4
order by 1, 2, 4;

-- name: default_urgency$
-- The urgency of an event type.
select urgency from event_type where name = :type;
