-- name: page
-- A reader's newest entries before a place in the feed: their groups' rows merged by index, newest first. Of several
-- versions of an event the newest alone.
with keys as materialized (
    select * from reader_keys(:person_id, :now)
),
hits as (
    select hit.feed_seq, hit.notification_id, k.child
    from keys k
    cross join lateral (
        select a.feed_seq, a.notification_id
        from audience a
        cross join lateral (   -- (offset 0: one by one in the index's order, and no further than the page)
            select m.published_at from notification m
            where m.id = a.notification_id and m.superseded_by is null
              and m.published_at >= k.since and m.published_at < k.until
            offset 0
        ) m
        where a.scope = k.scope and a.ref = k.ref and not a.excluded and a.feed_seq < :before
          and not exists (
              select from audience x join keys y on y.scope = x.scope and y.ref = x.ref
              where x.notification_id = a.notification_id and x.excluded and x.clause = a.clause
                and m.published_at >= y.since and m.published_at < y.until
          )
        order by a.feed_seq desc limit :most
    ) hit
),
entries as (
    select h.feed_seq, h.notification_id, array_agg(distinct h.child) filter (where h.child is not null) as children
    from hits h group by h.feed_seq, h.notification_id
    order by h.feed_seq desc limit :most
)
select e.feed_seq as seq, n.id as notification, n.type, n.category, n.data, n.published_at,
       (select array_agg(c.given_name order by c.given_name) from person c where c.id = any (e.children)) as children,
       coalesce(r.watermark >= e.feed_seq or e.feed_seq = any (r.above), false) as is_read
from entries e
cross join lateral (select * from notification n where n.id = e.notification_id offset 0) n
left join reading r on r.person_id = :person_id
order by e.feed_seq desc;

-- name: count_entries
-- For each of many people, how many entries of given notifications their inbox holds: read through the same keys.
select a.notification_id, count(distinct p.id)::int as readers
from unnest(:people::int[]) p (id)
cross join lateral reader_keys(p.id, :now) k
join audience a on a.scope = k.scope and a.ref = k.ref and not a.excluded
join notification m on m.id = a.notification_id and m.published_at >= k.since and m.published_at < k.until
where a.notification_id = any (:notifications::bigint[]) and m.superseded_by is null
  and not exists (
      select from audience x join reader_keys(p.id, :now) y on y.scope = x.scope and y.ref = x.ref
      where x.notification_id = a.notification_id and x.excluded and x.clause = a.clause
        and m.published_at >= y.since and m.published_at < y.until
  )
group by a.notification_id;

-- name: feed_after
-- The feed itself after a place: final order, no gaps.
select n.feed_seq as seq, n.id as notification, n.type, n.category, n.urgency, n.published_at, n.clauses
from notification n
where n.feed_seq > :after
order by n.feed_seq
limit :most;

-- name: feed_head$
-- The last place that the relay has given.
select last_seq from feed;

-- name: mark_read!
-- Add read marks above the watermark; what has become contiguous is compacted by the next statement.
insert into reading (person_id, above) values (:person_id, :seqs::bigint[])
on conflict (person_id) do update
set above = (
    select coalesce(array_agg(distinct s order by s), '{}')
    from unnest(reading.above || excluded.above) s where s > reading.watermark
);

-- name: mark_all_read!
-- Everything up to a place is read.
insert into reading (person_id, watermark) values (:person_id, :upto)
on conflict (person_id) do update
set watermark = greatest(reading.watermark, excluded.watermark),
    above = array(select s from unnest(reading.above) s where s > greatest(reading.watermark, excluded.watermark) order by s);

-- name: find_person^
-- Somebody by external id.
select id, external_id, profile, function, given_name, family_name, language, timezone, hidden_at
from person where external_id = :external_id;

-- name: choose_people
-- A few people of one profile, whose name begins with a text.
select id, external_id, profile, given_name, family_name
from person
where profile = :profile and hidden_at is null
  and (:prefix = '' or lower(family_name) like lower(:prefix) || '%' or lower(given_name) like lower(:prefix) || '%')
order by id limit :most;
