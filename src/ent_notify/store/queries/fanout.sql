-- name: relay$
-- Give newly committed notifications their final place in the feed; answers how many.
select ent_notify.relay(:most);

-- name: unplanned
-- Campaigns that wait for their plan, in feed order, with what the plan's policy needs. One that takes another back from
-- screens waits until no worker holds anything of what it takes back.
select c.notification_id as campaign_id, c.width, c.withdraws
from campaign c
where c.planned_at is null and c.state < 2
  and (c.withdraws is null or not exists (
      select from notification n
      join notification v on v.id = n.root or v.root = n.root
      join chunk h on h.campaign_id = v.id and h.state = 2
      where n.id = c.notification_id
  ))
order by c.feed_seq
limit :most;

-- name: zones
-- Every time zone in which somebody of the directory lives.
select name as timezone from zone order by 1;

-- name: plan$
-- Plan campaigns in one pass; answers how many were planned.
select plan_campaigns(:campaigns::bigint[], :zones::text[], :holds::timestamptz[], :default_hold, :now);

-- name: plan_withdrawal$
-- Plan a campaign that takes another back: a chunk per lane, bucket and end of pause for the devices that were reached.
-- Planned again (a worker told of its last window late), it has chunks of their own for the devices that are new.
with due as materialized (
    select c.notification_id as id, n.urgency, n.root, coalesce(c.width, 1000) as width, c.state = 1 as is_paused,
           (select count(*) from chunk h where h.campaign_id = c.notification_id) as chunks
    from campaign c join notification n on n.id = c.notification_id
    where c.notification_id = :campaign and c.planned_at is null and c.state < 2
    for update of c skip locked
),
pause as (
    select * from unnest(:zones::text[], :holds::timestamptz[]) as z (timezone, held_until)
),
piece as materialized (
    select l.id as lane_id, v.person_id / d.width as bucket, x.held_until, array_agg(v.id order by v.id) as targets
    from due d
    cross join lateral (
        select device_id from reached_devices(d.root)
        except
        select unnest(h.targets) from chunk h where h.campaign_id = d.id
    ) r
    join device v on v.id = r.device_id
    join person p on p.id = v.person_id and p.hidden_at is null
    join lane l on l.channel = 'push' and l.provider = v.provider and l.app = v.app
    left join pause z on z.timezone = p.timezone
    cross join lateral (
        select greatest(case when d.urgency = 0 then '-infinity' else coalesce(z.held_until, :default_hold::timestamptz) end,
                        case when d.chunks > 0 then :now::timestamptz else '-infinity' end)
               + d.chunks * interval '1 microsecond' as held_until
    ) x
    group by l.id, v.person_id / d.width, x.held_until
),
packed as (
    insert into chunk (campaign_id, lane_id, bucket, held_until, urgency, turn, size, targets, state, due_at)
    select d.id, p.lane_id, p.bucket, p.held_until, d.urgency, 0, cardinality(p.targets), p.targets,
           case when d.is_paused then 4 else 1 end, greatest(p.held_until, :now)   -- promote gives them their turns
    from due d cross join piece p
    on conflict (campaign_id, lane_id, bucket, held_until) do nothing
),
planned as (
    update campaign c set planned_at = :now from due d where c.notification_id = d.id returning c.notification_id
)
select count(*)::int from planned;

-- name: promote$
-- Make ready what is due: pauses and retries that ended, leases that ran out, pushes whose reader has left the screen;
-- answers how many.
select heed_departures(:now) + promote(:now, :most);

-- name: look^
-- Whether anything is there to relay, to plan or to promote, the lanes that have something to claim, each with the
-- urgency of what comes first, and when the next chunk becomes due: a few looks into indices, all that an idle worker
-- asks.
select exists (select from notification where feed_seq is null) as relay,
       exists (select from campaign where planned_at is null and state < 2) as plan,
       exists (select from chunk where state in (1, 2) and due_at <= :now)
           or exists (select from chunk where state = 2 and due_at > :now::timestamptz + interval '2 minutes')
           or exists (select from departure where due_at <= :now)
           or exists (select from gateway_node where lease_until <= :now) as promote,
       coalesce((
           select jsonb_object_agg(l.id, c.urgency)
           from lane l
           cross join lateral (
               select h.urgency from chunk h where h.lane_id = l.id and h.state = 0 order by h.urgency, h.turn limit 1
           ) c
           where l.paused_until <= :now
       ), '{}') as ready,
       (select min(due_at) from chunk where state in (1, 2) and due_at > :now) as due;

-- name: next_due$
-- When the next waiting or leased chunk becomes due; null when none waits.
select min(due_at) from chunk where state in (1, 2);

-- name: lanes
-- Every lane with its rate, its pause and whether it has ready chunks.
select l.id, l.name, l.channel, l.provider, l.app, l.per_second, l.tat, l.paused_until, l.pause_reason, l.failures,
       exists (select from chunk c where c.lane_id = l.id and c.state = 0) as has_ready
from lane l
order by l.name;

-- name: set_rate!
-- Set a lane's rate in sends a second (null: no limit).
update lane set per_second = :per_second where name = :name and per_second is distinct from :per_second;

-- name: open_lane!
-- Make sure that a push lane exists, and set its rate if that is asked; else a lane that exists keeps its own.
insert into lane (name, channel, provider, app, per_second)
values ('push:' || :provider::text || ':' || :app::text, 'push', :provider, :app, :per_second)
on conflict (name) do update set per_second = excluded.per_second
where :sets_rate::boolean and lane.per_second is distinct from excluded.per_second;

-- name: note_lane!
-- A good or a bad window of a lane, for its breaker.
select note_lane(:lane_id::smallint, :healthy, :reason, :now, :rest);

-- name: open_mail_lane$
-- Make sure that a domain group has its lane, and set its rate; answers the lane.
insert into lane (name, channel, app, per_second) values ('email:' || :name::text, 'email', :name, :per_second)
on conflict (name) do update set per_second = excluded.per_second
returning id;

-- name: set_mail_domains$
-- Say which domains belong to which lane; those not named go back to the common lane. Answers whether anything changed.
with wanted as (
    select * from unnest(:domains::text[], :lanes::smallint[]) w (domain, lane_id)
),
removed as (
    delete from mail_domain d where not exists (select from wanted w where w.domain = d.domain) returning 1
),
stored as (
    insert into mail_domain (domain, lane_id) select domain, lane_id from wanted
    on conflict (domain) do update set lane_id = excluded.lane_id where mail_domain.lane_id <> excluded.lane_id
    returning 1
)
select exists (select from removed) or exists (select from stored);

-- name: align_mail_lanes!
-- Bring people's lanes in line with the table of domains.
update person p set mail_lane = d.lane_id
from person q left join mail_domain d on d.domain = lower(split_part(q.email, '@', 2))
where q.id = p.id and p.email is not null and p.mail_lane is distinct from d.lane_id;

-- name: limit_senders!
-- Set how much one sender may publish.
insert into sender_limit (per_hour, burst) values (:per_hour, :burst)
on conflict (only_row) do update set per_hour = excluded.per_hour, burst = excluded.burst;

-- name: unlimit_senders!
-- Let senders publish as much as they like.
delete from sender_limit;

-- name: claim
-- Lease the next chunks of a lane, if its rate allows sends soon.
select * from claim_chunks(:lane_id::smallint, :worker, :now, :lease, :horizon, :slot, :most);

-- name: reserve^
-- Take a new rate slot for sends whose slot has passed.
select * from reserve(:lane_id::smallint, :sends, :now, :horizon, :slot);

-- name: campaign_contents
-- What is rendered once for each of some campaigns.
select n.id, n.type, n.category, n.urgency, n.data, n.expires_at, n.published_at, coalesce(n.root, n.id) as root
from notification n where n.id = any (:campaigns::bigint[]);

-- name: load_mail
-- The next windows of mail chunks, each person looked at anew. See the function.
select * from load_mail(:chunks::bigint[], :fences::int[], :firsts::int[], :lasts::int[], :of_retries::boolean[], :now);

-- name: load_push
-- The next windows of push chunks, each device looked at anew. See the function.
select * from load_push(:chunks::bigint[], :fences::int[], :firsts::int[], :lasts::int[], :of_retries::boolean[], :now,
                        :day_start, :daily_cap, :grace);

-- name: pause_names
-- Under which name a plan asks for the end of each one's pause, in the order asked.
select p.timezone as name
from unnest(:campaigns::bigint[], :people::int[]) with ordinality u (campaign_id, person_id, place)
left join person p on p.id = u.person_id
order by u.place;

-- name: settle$
-- Settle windows; the chunks whose lease was still ours.
select settle_windows(:chunks::bigint[], :fences::int[], :cursors::int[], :accepted::int[], :releases::boolean[],
                      :retried_chunks::bigint[], :retried_ok::int[],
                      :outcome_chunks::bigint[], :targets::int[], :people::int[], :states::smallint[], :reasons::text[],
                      :attempts::smallint[], :retries::timestamptz[], :now, :lease);

-- name: drop_devices!
-- Take devices out of use, with the reason; only bindings registered before the provider's word.
update device set dropped_at = :now, drop_reason = d.reason
from unnest(:devices::int[], :reasons::text[]) d (id, reason)
where device.id = d.id and device.dropped_at is null;

-- name: restore_devices!
-- Take back drops that nobody should have believed, where the token has not been bound anew since.
update device set dropped_at = null, drop_reason = null
where dropped_at >= :since and provider = :provider and app = :app and drop_reason like :provider::text || '.%'
  and not exists (
      select from device n where n.provider = device.provider and n.token = device.token and n.dropped_at is null
  );

-- name: restore_addresses!
-- Take back addresses that were dropped on answers that nobody should have believed.
update person set email_dropped_at = null, email_drop_reason = null
where email_dropped_at >= :since and mail_lane is not distinct from :mail_lane::smallint
  and (email_drop_reason like 'smtp.%' or email_drop_reason like 'dsn.%');

-- name: drop_addresses!
-- Take mail addresses out of use, with the reason; a new address clears it.
update person set email_dropped_at = :now, email_drop_reason = d.reason
from unnest(:people::int[], :addresses::text[], :reasons::text[]) d (id, address, reason)
where person.id = d.id and person.email = d.address and person.email_dropped_at is null;
