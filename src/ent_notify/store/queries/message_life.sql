-- name: message^
-- A message that a reader sees, under its conversation's lock, and whether they wrote it.
select m.seq, m.author_id, m.body, m.posted_at, m.recalled_at, c.started_by
from (select * from conversation k where k.id = :conversation_id for no key update) c
join parts(:person_id, array[:conversation_id::bigint], :now) x on x.conversation_id = c.id
join message m on m.conversation_id = c.id and m.seq = :seq and m.seq between x.first_seq and x.last_seq;

-- name: edit!
-- Give a message another text and keep the earlier one.
with before as (
    insert into message_change (conversation_id, seq, kind, body, changed_by, changed_at)
    select m.conversation_id, m.seq, 1, m.body, :person_id, :now
    from message m where m.conversation_id = :conversation_id and m.seq = :seq
    returning conversation_id, seq
),
touched as (
    update conversation c set moved = this_transaction() where c.id = :conversation_id
)
update message m set body = :body, edited_at = :now
from before b where m.conversation_id = b.conversation_id and m.seq = b.seq;

-- name: recall
-- Take a message's text away for all, with its earlier ones, and keep who had read it.
with readers as (
    select coalesce(array_agg(p.person_id order by p.person_id), '{}') as people
    from participant p
    where p.conversation_id = :conversation_id and p.read_seq >= :seq and p.first_seq <= :seq
      and coalesce(p.until_seq, :seq) >= :seq
      and p.person_id <> (select m.author_id from message m where m.conversation_id = :conversation_id and m.seq = :seq)
),
kept as (
    insert into message_change (conversation_id, seq, kind, changed_by, changed_at, read_by)
    select :conversation_id, :seq, 2, :person_id, :now, r.people from readers r
),
erased as (
    update message_change h set body = null where h.conversation_id = :conversation_id and h.seq = :seq and h.kind = 1
),
unannounced as (
    delete from message_due d where d.conversation_id = :conversation_id and d.seq = :seq
),
touched as (
    update conversation c set moved = this_transaction() where c.id = :conversation_id
),
taken as (
    update message m set body = '', recalled_at = :now, recalled_by = :person_id
    where m.conversation_id = :conversation_id and m.seq = :seq
)
select n.external_id from readers r cross join lateral unnest(r.people) p (id) join person n on n.id = p.id order by n.id;

-- name: notification$
-- The notification of a message, once it is announced.
select id from notification where idempotency_key = 'message:' || :conversation_id::bigint || ':' || :seq::int;

-- name: relay!
-- Give what is published its place, so that it can be recalled.
select ent_notify.relay(10000);

-- name: recall_notification!
-- Take the notification of a message back from screens.
select recall_campaign(:notification, :done_by, 'message recalled', :now);

-- name: readers
-- Who has read a message that was not recalled, or had when it was; and when they last read on.
select n.external_id, case when t.read_by is null then p.read_at end as read_at
from message m
left join message_change t on t.conversation_id = m.conversation_id and t.seq = m.seq and t.kind = 2
join participant p on p.conversation_id = m.conversation_id and p.person_id <> m.author_id
     and case when t.read_by is null
              then p.read_seq >= m.seq and p.first_seq <= m.seq and coalesce(p.until_seq, m.seq) >= m.seq
              else p.person_id = any (t.read_by) end
join person n on n.id = p.person_id
where m.conversation_id = :conversation_id and m.seq = :seq
order by n.id;

-- name: seen^
-- A message that a reader sees: who wrote it, and whether authors see there who has read.
select m.author_id, tracked_since(c.schools) is not null as tracked
from parts(:person_id, array[:conversation_id::bigint], :now) x
join conversation c on c.id = x.conversation_id
join message m on m.conversation_id = c.id and m.seq = :seq and m.seq between x.first_seq and x.last_seq;

-- name: read_by
-- Who has read a message since the school has shown it, in order, after a person.
select n.id, n.external_id, n.given_name, n.family_name, p.read_at
from conversation c
join message m on m.conversation_id = c.id and m.seq = :seq
join participant p on p.conversation_id = c.id and p.person_id <> m.author_id and p.read_seq >= m.seq
     and p.first_seq <= m.seq and coalesce(p.until_seq, m.seq) >= m.seq and p.read_at >= tracked_since(c.schools)
join person n on n.id = p.person_id
where c.id = :conversation_id and m.recalled_at is null and p.person_id > :after
order by n.id limit :most;

-- name: moderates$
-- Whether somebody is of the staff that looks after what is written in a conversation's schools.
select exists (
    select from conversation c
    join person p on p.id = :person_id and p.profile = 4 and p.function = any (:functions::text[]) and p.hidden_at is null
    join near_groups(p.id, :now) g on g.school_id = any (c.schools)
    where c.id = :conversation_id
);

-- name: history
-- What a message was before each of its edits, oldest first.
select h.body, n.external_id as changed_by, h.changed_at
from message_change h join person n on n.id = h.changed_by
where h.conversation_id = :conversation_id and h.seq = :seq and h.kind = 1
order by h.id;

-- name: keep!
-- What somebody keeps of a conversation; what is null stays as it is.
insert into participant as k (conversation_id, person_id, member, archived_at, favourite, muted, labels)
select x.conversation_id, :person_id, false, case when :archived::boolean then :now::timestamptz end, coalesce(:favourite::boolean, false),
       coalesce(:muted::boolean, false), coalesce(:labels::text[], '{}')
from parts(:person_id, array[:conversation_id::bigint], :now) x
on conflict (conversation_id, person_id) do update
set archived_at = case when :archived::boolean is null then k.archived_at
                       when :archived then coalesce(k.archived_at, :now::timestamptz) end,
    favourite = coalesce(:favourite, k.favourite), muted = coalesce(:muted, k.muted), labels = coalesce(:labels, k.labels);

-- name: clear!
-- Somebody deletes for themselves what there is of a conversation.
insert into participant as k (conversation_id, person_id, member, cleared_seq, read_seq, read_at)
select x.conversation_id, :person_id, false, x.last_seq, x.last_seq, :now
from parts(:person_id, array[:conversation_id::bigint], :now) x
on conflict (conversation_id, person_id) do update
set cleared_seq = greatest(k.cleared_seq, excluded.cleared_seq), read_seq = greatest(k.read_seq, excluded.read_seq),
    read_at = excluded.read_at, gone = '{}';

-- name: hide!
-- Somebody deletes one message for themselves.
insert into participant as k (conversation_id, person_id, member, gone)
select x.conversation_id, :person_id, false, array[:seq::int]
from parts(:person_id, array[:conversation_id::bigint], :now) x
where :seq between x.first_seq and x.last_seq
on conflict (conversation_id, person_id) do update
set gone = case when :seq = any (k.gone) then k.gone else k.gone || excluded.gone end;
