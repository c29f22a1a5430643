-- name: state^
-- What a cursor is compared with: the feed's head, the oldest unfinished transaction, which cluster this is, a digest of
-- the reader's keys (with the names of their children) and what they have read.
select f.last_seq as head,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint as oldest,
       (select system_identifier from pg_control_system()) as cluster,
       (
           select substr(sha256(convert_to(coalesce(string_agg(concat_ws(':', k.scope, k.ref, k.since, k.until, k.child, c.given_name),
                                                               ',' order by k.scope, k.ref, k.child, k.since), ''), 'UTF8')), 1, 8)
           from reader_keys(:person_id, :now) k left join person c on c.id = k.child
       ) as keys,
       coalesce(r.watermark, 0) as watermark, coalesce(r.above, '{}') as above
from feed f left join reading r on r.person_id = :person_id;

-- name: forward
-- What happened to a reader's inbox after a place in the feed, in its order: entries that are new, and entries that were
-- taken back or replaced. `place`: where it happened; `shown`: the entry stands in the inbox now.
with keys as materialized (
    select * from reader_keys(:person_id, :now)
),
fresh as materialized (
    select hit.feed_seq as place, hit.notification_id as id, k.child
    from keys k
    cross join lateral (   -- (distinct, along the index: an audience may name a key in several clauses)
        select distinct a.feed_seq, a.notification_id
        from audience a
        cross join lateral (
            select m.published_at from notification m
            where m.id = a.notification_id and m.superseded_by is null
              and m.published_at >= k.since and m.published_at < k.until
            offset 0
        ) m
        where a.scope = k.scope and a.ref = k.ref and not a.excluded and a.feed_seq > :after
          and not exists (
              select from audience x join keys y on y.scope = x.scope and y.ref = x.ref
              where x.notification_id = a.notification_id and x.excluded and x.clause = a.clause
                and m.published_at >= y.since and m.published_at < y.until
          )
        order by a.feed_seq limit :most
    ) hit
),
taken as materialized (
    select distinct hit.feed_seq as place, v.id
    from keys k
    cross join lateral (
        select r.feed_seq, r.notifications from retraction r
        where r.scope = k.scope and r.ref = k.ref and r.feed_seq > :after
        order by r.feed_seq limit :most
    ) hit
    cross join lateral unnest(hit.notifications) v (id)
),
places as materialized (
    select place from (select place from fresh union select place from taken) p order by place limit :most
),
changed as (
    select place, id, true as shown, array_agg(distinct child) filter (where child is not null) as children
    from fresh where place in (select place from places) group by place, id
    union all
    select t.place, t.id, s.shown, s.children
    from taken t
    cross join lateral (
        select count(*) > 0 as shown, array_agg(distinct k.child) filter (where k.child is not null) as children
        from notification m
        join audience a on a.notification_id = m.id and not a.excluded
        join keys k on k.scope = a.scope and k.ref = a.ref
        where m.id = t.id and m.superseded_by is null and m.published_at >= k.since and m.published_at < k.until
          and not exists (
              select from audience x join keys y on y.scope = x.scope and y.ref = x.ref
              where x.notification_id = a.notification_id and x.excluded and x.clause = a.clause
                and m.published_at >= y.since and m.published_at < y.until
          )
    ) s
    where t.place in (select place from places)
)
select c.place, c.shown, n.feed_seq as seq, n.id as notification, n.type, n.category, n.urgency, n.data, n.published_at,
       n.expires_at,
       (select array_agg(p.given_name order by p.given_name) from person p where p.id = any (c.children)) as children
from changed c
cross join lateral (select * from notification n where n.id = c.id offset 0) n
order by c.place, n.feed_seq;

-- name: back
-- A reader's newest entries between two places in the feed, newest first, as the inbox shows them.
with keys as materialized (
    select * from reader_keys(:person_id, :now)
),
hits as (
    select hit.feed_seq, hit.notification_id, k.child
    from keys k
    cross join lateral (
        select distinct a.feed_seq, a.notification_id
        from audience a
        cross join lateral (
            select m.published_at from notification m
            where m.id = a.notification_id and m.superseded_by is null
              and m.published_at >= k.since and m.published_at < k.until
            offset 0
        ) m
        where a.scope = k.scope and a.ref = k.ref and not a.excluded and a.feed_seq > :low and a.feed_seq < :before
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
select e.feed_seq as seq, n.id as notification, n.type, n.category, n.urgency, n.data, n.published_at, n.expires_at,
       (select array_agg(c.given_name order by c.given_name) from person c where c.id = any (e.children)) as children
from entries e
cross join lateral (select * from notification n where n.id = e.notification_id offset 0) n
order by e.feed_seq desc;

-- name: conversations
-- Somebody's conversations that moved since a transaction, by id, as far as they see them, with the messages that are new:
-- the newest of them, as many and as long as is set, and one at least; and those that were changed. `told_after`: every
-- message after that seq is here.
select c.id, c.subject, v.last_seq, v.read_seq, coalesce(x.told_after, v.last_seq) as told_after, coalesce(x.messages, '[]') as messages
from conversations_of(:person_id, :now) o
join conversation c on c.id = o.conversation_id
left join participant p on p.conversation_id = c.id and p.person_id = :person_id
cross join lateral parts(:person_id, array[c.id], :now) v
cross join lateral (
    select coalesce((
        select s.seq from message s
        where s.conversation_id = c.id and s.moved < :since order by s.seq desc limit 1
    ), 0) as seq
) seen
cross join lateral (
    select min(m.seq) filter (where m.is_new) - 1 as told_after,
           jsonb_agg(jsonb_build_object('seq', m.seq, 'author', coalesce(a.external_id, ''),
                                        'author_name', btrim(concat_ws(' ', a.given_name, a.family_name)),
                                        'body', m.body, 'posted_at', m.posted_at) order by m.seq) as messages
    from (
        select n.*, true as is_new, sum(octet_length(n.body)) over (order by n.seq desc) as bytes
        from (
            select s.seq, s.author_id, s.body, s.posted_at from message s
            where s.conversation_id = c.id and s.seq > seen.seq and s.seq between v.first_seq and v.last_seq
            order by s.seq desc limit :most_messages
        ) n
        union all
        select s.seq, s.author_id, s.body, s.posted_at, false, 0
        from message s
        where s.conversation_id = c.id and s.seq <= seen.seq and s.seq between v.first_seq and v.last_seq
          and s.seq in (select h.seq from message_change h where h.conversation_id = c.id and h.moved >= :since)
    ) m
    left join person a on a.id = m.author_id
    where (m.bytes <= :most_bytes or m.seq = v.last_seq) and (p.gone is null or m.seq <> all (p.gone))
) x
where c.id > :after and (c.moved >= :since or p.moved >= :since)
order by c.id limit :most;

-- name: newest_conversations$
-- Since which transaction somebody's newest conversations moved.
select min(moved) from (
    select greatest(c.moved, p.moved) as moved
    from conversations_of(:person_id, :now) o
    join conversation c on c.id = o.conversation_id
    left join participant p on p.conversation_id = c.id and p.person_id = :person_id
    order by 1 desc limit :most
) newest;

-- name: claim_writes
-- Takes client ids that nobody has used; another request that is applying one of them is waited for.
insert into client_write (person_id, client_id, digest, written_at)
select :person_id, w.client_id, w.digest, :now
from unnest(:client_ids::text[], :digests::bytea[]) w (client_id, digest)
order by w.client_id
on conflict do nothing
returning client_id;

-- name: written
-- What was answered to client ids before.
select client_id, digest, answer from client_write
where person_id = :person_id and client_id = any (:client_ids::text[]);

-- name: answer_write!
-- Keep what is answered to a client id, for whoever asks again.
update client_write set answer = :answer where person_id = :person_id and client_id = :client_id;

-- name: free_writes!
-- Nothing was done under these client ids after all.
delete from client_write where person_id = :person_id and client_id = any (:client_ids::text[]);
