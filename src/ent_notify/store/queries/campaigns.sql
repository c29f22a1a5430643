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
-- The next people, by id, whose read marks cover a notification: each audience key is read by index and gives one page at
-- most. Whether they were addressed when it was published (nobody taken out, no later comer) is said beside.
with n as (
    select id, feed_seq, published_at from notification where id = :campaign_id
),
candidates as (
    select distinct x.person_id
    from n
    join audience a on a.notification_id = n.id and not a.excluded
    cross join lateral (
        (select p.id as person_id
         from person p join reading r on r.person_id = p.id
         where a.scope = 0 and (a.ref = 0 or p.profile = a.ref) and p.id > :after
           and (r.watermark >= n.feed_seq or n.feed_seq = any (r.above))
         order by p.id limit :most)
        union all
        (select m.person_id
         from membership m join reading r on r.person_id = m.person_id
         where a.scope = 1 and m.group_id = a.ref and m.person_id > :after
           and (r.watermark >= n.feed_seq or n.feed_seq = any (r.above))
         order by m.person_id limit :most)
        union all
        (select distinct g.guardian_id
         from membership m
         join guardian_link g on g.pupil_id = m.person_id
         join reading r on r.person_id = g.guardian_id
         where a.scope = 2 and m.group_id = a.ref and g.guardian_id > :after
           and (r.watermark >= n.feed_seq or n.feed_seq = any (r.above))
         order by g.guardian_id limit :most)
        union all
        select r.person_id
        from reading r
        where a.scope = 3 and r.person_id = a.ref and r.person_id > :after
          and (r.watermark >= n.feed_seq or n.feed_seq = any (r.above))
        union all
        select g.guardian_id
        from guardian_link g join reading r on r.person_id = g.guardian_id
        where a.scope = 4 and g.pupil_id = a.ref and g.guardian_id > :after
          and (r.watermark >= n.feed_seq or n.feed_seq = any (r.above))
    ) x
    order by x.person_id limit :most
)
select c.person_id, p.external_id, s.person_id is not null as addressed
from candidates c
join person p on p.id = c.person_id
left join still_addressed(:campaign_id, array(select person_id from candidates), (select published_at from n)) s
    on s.person_id = c.person_id
order by c.person_id;

-- name: recalled_readers
-- The next people, by id, who had read a notification when it was recalled.
select u.person_id, p.external_id, true as addressed
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

-- name: default_urgency$
-- The urgency of an event type.
select urgency from event_type where name = :type;
