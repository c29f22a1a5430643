-- name: take
-- Take receipts one after the other; answers what each did, in their order. Their chunks are locked first, by id, as
-- whoever settles windows locks them: neither waits for the other while holding what that one needs.
with told as materialized (
    select * from unnest(:sources::text[], :notifications::bigint[], :channels::text[], :targets::int[], :states::smallint[],
                         :reasons::text[])
        with ordinality r (source, notification, channel, target, state, reason, place)
),
meant as materialized (
    select h.id
    from told r
    join campaign k on k.notification_id = r.notification
    join lane l on l.channel = r.channel
    left join device d on r.channel = 'push' and d.id = r.target
    cross join lateral (   -- (offset 0: by the whole key, as in take_receipt)
        select h.id, h.targets from chunk h
        where h.campaign_id = k.notification_id and h.lane_id = l.id
          and h.bucket in (-1, case when r.channel = 'push' then d.person_id else r.target end / coalesce(k.width, 1000))
        offset 0
    ) h
    where h.targets @> array[r.target]
),
locked as materialized (
    select h.id from chunk h where h.id in (select id from meant) order by h.id for update
)
select t.effect, t.lane_id
from told r
cross join lateral take_receipt(r.source, r.notification, r.channel, r.target, r.state, r.reason, :now) t
where (select count(*) from locked) >= 0   -- (they are had before the first receipt is taken)
order by r.place;

-- name: addresses
-- People's mail addresses of now.
select id, email from person where id = any (:people::int[]) and email is not null;

-- name: mail_answers
-- How many mails of a lane were accepted since then (no reason), and how many bounced, by reason.
with h as materialized (
    select c.id, n.id as campaign_id, c.accepted
    from notification n
    cross join lateral (   -- (offset 0: by index, campaign by campaign, whatever the time is taken for)
        select h.id, h.accepted from chunk h
        where h.campaign_id = n.id and h.lane_id = :lane_id::smallint
        offset 0
    ) c
    where n.published_at >= :since
)
select null as reason, coalesce(sum(h.accepted), 0)::int as n from h
union all
select o.reason, count(*)::int
from (select distinct campaign_id from h) m
join outcome o on o.campaign_id = m.campaign_id and o.state = 3 and o.reason >= 'dsn.' and o.reason < 'dsn/'
where exists (select from h where h.id = o.chunk_id)
group by o.reason;

-- name: find_device$
-- A live device of a person, by its token.
select d.id from device d join person p on p.id = d.person_id
where d.provider = :provider and d.token = :token and d.dropped_at is null and p.external_id = :person;
