-- name: unread$
-- How many entries of an inbox are not read, counted no further than a number. See the function.
select count_unread(:person_id, :now, :most);

-- name: own_entries
-- Those of some places in the feed that hold an entry of this reader's inbox.
with keys as materialized (
    select * from reader_keys(:person_id, :now)
)
select distinct m.feed_seq as seq
from notification m
join audience a on a.notification_id = m.id and not a.excluded
join keys k on k.scope = a.scope and k.ref = a.ref and m.published_at >= k.since and m.published_at < k.until
where m.feed_seq = any (:seqs::bigint[]) and m.superseded_by is null
  and not exists (
      select from audience x join keys y on y.scope = x.scope and y.ref = x.ref
      where x.notification_id = a.notification_id and x.excluded and x.clause = a.clause
        and m.published_at >= y.since and m.published_at < y.until
  );

-- name: acknowledge$
-- Say that a reader has taken note of an entry of theirs; when they first did, or nothing when they have no such entry.
with keys as materialized (
    select * from reader_keys(:person_id, :now)
)
insert into acknowledgement (notification_id, person_id, acknowledged_at)
select m.id, :person_id, :now
from notification m
where m.id = :notification and m.superseded_by is null
  and exists (
      select from audience a join keys k on k.scope = a.scope and k.ref = a.ref
      where a.notification_id = m.id and not a.excluded and m.published_at >= k.since and m.published_at < k.until
        and not exists (
            select from audience x join keys y on y.scope = x.scope and y.ref = x.ref
            where x.notification_id = m.id and x.excluded and x.clause = a.clause
              and m.published_at >= y.since and m.published_at < y.until
        )
  )
on conflict (notification_id, person_id) do update set acknowledged_at = acknowledgement.acknowledged_at
returning acknowledged_at;

-- name: acknowledged
-- Which of some notifications a reader has acknowledged, and when.
select notification_id as notification, acknowledged_at
from acknowledgement
where person_id = :person_id and notification_id = any (:notifications::bigint[]);

-- name: acknowledgements
-- Who has acknowledged a notification, page by page.
select a.person_id, p.external_id as person, a.acknowledged_at
from acknowledgement a join person p on p.id = a.person_id
where a.notification_id = :notification and a.person_id > :after
order by a.person_id limit :most;

-- name: preferences
-- What may be chosen (categories that some type of event uses on that channel), and what this reader has chosen.
select c.category, c.channel, coalesce(f.enabled, true) as enabled
from (
    select distinct t.category, channel
    from event_type t cross join lateral unnest(t.channels) channel
    where channel in ('email', 'push')
) c
left join preference f on f.person_id = :person_id and f.category = c.category and f.channel = c.channel
order by c.category, c.channel;

-- name: prefer!
-- Keep what somebody has chosen, as long as they are there.
insert into preference (person_id, category, channel, enabled)
select p.id, c.category, c.channel, c.enabled
from unnest(:categories::text[], :channels::text[], :enabled::boolean[]) c (category, channel, enabled)
join person p on p.id = :person_id and p.hidden_at is null
on conflict (person_id, category, channel) do update set enabled = excluded.enabled
where preference.enabled <> excluded.enabled;

-- name: language$
-- The language of somebody by internal id.
select language from person where id = :person_id and hidden_at is null;
