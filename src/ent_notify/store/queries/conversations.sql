-- name: start$
-- Open a conversation; nothing when two people have their direct one already.
insert into conversation (subject, started_by, started_at, last_at, shape, replies, late_sees, keyed, about_id, pair, language,
                          schools)
values (:subject, :author_id, :now, :now, :shape, :replies, :late, :keyed, :about_id, :pair, :language,
        array(select distinct g.school_id from near_groups(:author_id, :now) g where g.school_id is not null))
on conflict (pair) where pair is not null do nothing
returning id;

-- name: of_pair$
-- The direct conversation of two people.
select id from conversation where pair = :pair::int[];

-- name: join!
-- Add people by name; who had left comes back, and sees what the conversation lets late joiners see. Whoever writes after
-- that is looked at again.
with peopled as (
    update conversation c set peopled_at = :now where c.id = :conversation_id and c.last_seq > 0
)
insert into participant as k (conversation_id, person_id, copy, first_seq, until_seq, read_seq, checked_at)
select c.id, n.person, n.copy, f.first_seq, case when n.copy = 2 then c.last_seq + 1 end, f.first_seq - 1,
       case when n.person = c.started_by then :now::timestamptz end
from conversation c
cross join unnest(:people::int[], :copies::smallint[]) n (person, copy)
cross join lateral (select case when c.late_sees = 1 then 1 else c.last_seq + 1 end as first_seq) f
where c.id = :conversation_id
on conflict (conversation_id, person_id) do update
set member = true, copy = least(k.copy, excluded.copy), until_seq = null,
    first_seq = case when k.member and k.until_seq is null then k.first_seq
                     when k.copy = 2 or k.until_seq is not null then greatest(k.first_seq, excluded.first_seq)
                     else excluded.first_seq end;

-- name: add_keys!
-- Let the members of groups take part, or the guardians of a pupil join.
insert into conversation_key (conversation_id, scope, ref, joinable)
select :conversation_id, y.scope, y.ref, :joinable
from unnest(:scopes::smallint[], :refs::int[]) y (scope, ref)
on conflict do nothing;

-- name: lock^
-- A conversation, for whoever changes it.
select id, shape, replies, started_by, closed_at, last_seq, keyed from conversation
where id = :conversation_id for no key update;

-- name: take_part^
-- How one conversation is to a reader; nothing for a stranger.
select x.first_seq, x.last_seq, x.read_seq, x.active from parts(:person_id, array[:conversation_id::bigint], :now) x;

-- name: post^
-- Add a message if its author may; what came of it, and its place.
select said, seq from post_message(:conversation_id, :author_id, :body, :now, :check_after, :checked, :answers);

-- name: addressed
-- Who takes part by name now but the author, and what the author has to do with each.
select f.*, p.wrote
from contact_facts(:author_id, array(
         select p.person_id from participant p
         where p.conversation_id = :conversation_id and p.member and p.until_seq is null and p.person_id <> :author_id
     ), :now) f
join participant p on p.conversation_id = :conversation_id and p.person_id = f.person_id
order by f.person_id;

-- name: addressed_groups
-- Whose members take part by key, and what the author has to do with each group.
select y.scope, y.ref, y.joinable, g.external_id, g.kind, g.name, s.uai,
       exists (select from near_groups(:author_id, :now) c where c.group_id = y.ref) as within,
       exists (select from near_groups(:author_id, :now) c where c.school_id = g.school_id) as same_school
from conversation_key y
left join people_group g on y.scope in (1, 2) and g.id = y.ref
left join school s on s.id = g.school_id
where y.conversation_id = :conversation_id
order by y.scope, y.ref;

-- name: writer^
-- Who writes, in a conversation or a new one.
select p.id, p.profile, p.function, c.shape, c.replies, c.started_by, o.profile as opener_profile
from person p
left join conversation c on c.id = :conversation_id
left join person o on o.id = c.started_by
where p.id = :author_id;

-- name: people
-- Some people by external id.
select id, external_id, profile, given_name, family_name from person
where external_id = any (:ids::text[]) and hidden_at is null;

-- name: groups
-- Some groups by external id, and what the author has to do with each.
select g.id, g.external_id, g.kind, s.uai,
       exists (select from near_groups(:author_id, :now) c where c.group_id = g.id) as within,
       exists (select from near_groups(:author_id, :now) c where c.school_id = g.school_id) as same_school
from people_group g left join school s on s.id = g.school_id
where g.external_id = any (:ids::text[]);

-- name: author_of^
-- Who wrote a message that a reader sees.
select a.id, a.external_id, m.recalled_at is not null as recalled
from parts(:person_id, array[:conversation_id::bigint], :now) x
join message m on m.conversation_id = x.conversation_id and m.seq = :seq and m.seq between x.first_seq and x.last_seq
join person a on a.id = m.author_id;

-- name: blocking
-- Those of some people who have blocked somebody.
select p.external_id from contact_block b join person p on p.id = b.person_id
where b.person_id = any (:people::int[]) and b.blocked_id = :author_id;

-- name: mark$
-- Somebody has read up to a place, and no further than they see; where they are now, nothing for a stranger.
insert into participant as k (conversation_id, person_id, member, read_seq, read_at)
select x.conversation_id, :person_id, false, greatest(x.read_seq, least(:seq, x.last_seq)), :now
from parts(:person_id, array[:conversation_id::bigint], :now) x
on conflict (conversation_id, person_id) do update
set read_seq = greatest(k.read_seq, excluded.read_seq),
    read_at = case when excluded.read_seq > k.read_seq then excluded.read_at else k.read_at end
returning read_seq;

-- name: messages
-- Messages of a conversation after a place, as a reader sees them.
select m.seq, a.external_id as author, a.given_name, a.family_name, m.body, m.posted_at, m.answers, m.edited_at, m.recalled_at,
       exists (select from acknowledgement_request r where r.conversation_id = x.conversation_id and r.seq = m.seq) as asks
from parts(:person_id, array[:conversation_id::bigint], :now) x
left join participant p on p.conversation_id = x.conversation_id and p.person_id = :person_id
cross join lateral (   -- along the index, and no further than the page
    select * from message n
    where n.conversation_id = x.conversation_id and n.seq >= greatest(:after + 1, x.first_seq) and n.seq <= x.last_seq
      and (p.gone is null or n.seq <> all (p.gone))
    order by n.seq limit :most
) m
left join lateral (select * from person w where w.id = m.author_id offset 0) a on true
order by m.seq;

-- name: threads
-- A reader's conversations before a place, those with the newest message first; or one of them.
select c.id, c.shape, c.subject, c.language, c.replies, x.first_seq, x.last_seq, x.read_seq, c.last_at, x.active,
       c.closed_at is not null as closed, p.archived_at is not null as archived, coalesce(p.favourite, false) as favourite,
       coalesce(p.muted, false) as muted, coalesce(p.labels, '{}') as labels,
       tracked_since(c.schools) is not null as tracked,
       greatest(x.last_seq - x.read_seq, 0)
           - (select count(*)::int from unnest(p.gone) g where g > x.read_seq and g <= x.last_seq) as unread
from (
    select c.* from conversation c
    where c.id in (select o.conversation_id from conversations_of(:person_id, :now) o)
      and (:one::bigint is null or c.id = :one) and (c.last_at, c.id) < (:before_at, :before)
    order by c.last_at desc, c.id desc
    offset 0
) c
cross join lateral parts(:person_id, array[c.id], :now) x
left join participant p on p.conversation_id = c.id and p.person_id = :person_id
where x.last_seq >= x.first_seq
  and (:archived::boolean is null or (p.archived_at is not null) = :archived)
  and (:favourite::boolean is null or coalesce(p.favourite, false) = :favourite)
  and (:label::text is null or :label = any (p.labels))
order by c.last_at desc, c.id desc limit :most;

-- name: members
-- Who takes part by name, as a reader may see them: of blind copies the author knows all, each other one their own.
select p.external_id, p.given_name, p.family_name, k.copy, k.until_seq is null as active
from participant k
join conversation c on c.id = k.conversation_id
join person p on p.id = k.person_id
where k.conversation_id = :conversation_id and k.member and p.hidden_at is null
  and (k.copy < 2 or :person_id in (k.person_id, c.started_by))
order by k.copy, p.family_name, p.given_name, p.id;

-- name: close!
-- Nobody writes in it any more.
update conversation set closed_at = :now, closed_by = :person_id
where id = :conversation_id and closed_at is null;

-- name: leave!
-- Somebody who takes part by name sees what there is, and nothing that follows.
update participant k set until_seq = c.last_seq, checked_at = null
from conversation c
where c.id = k.conversation_id and k.conversation_id = :conversation_id and k.person_id = :person_id
  and k.member and k.until_seq is null;

-- name: joinable
-- Conversations about a reader's children that they may join.
select c.id, c.subject, c.started_at, c.last_seq, p.given_name as child
from reader_keys(:person_id, :now) k
join conversation_key y on y.scope = k.scope and y.ref = k.ref and y.joinable
join conversation c on c.id = y.conversation_id and c.closed_at is null
left join participant j on j.conversation_id = c.id and j.person_id = :person_id and j.member
left join person p on p.id = c.about_id
where k.until > :now and j.person_id is null and c.id < :before
order by c.id desc limit :most;

-- name: join_by_key!
-- Somebody who holds the key of a conversation joins it.
insert into participant as k (conversation_id, person_id, joined, first_seq, read_seq)
select c.id, :person_id, true, f.first_seq, f.first_seq - 1
from conversation c
cross join lateral (select case when c.late_sees = 1 then 1 else c.last_seq + 1 end as first_seq) f
where c.id = :conversation_id and c.closed_at is null
  and exists (
      select from conversation_key y
      join reader_keys(:person_id, :now) h on h.scope = y.scope and h.ref = y.ref and h.until > :now
      where y.conversation_id = c.id and y.joinable
  )
on conflict (conversation_id, person_id) do update
set member = true, joined = true, until_seq = null
where k.until_seq is not null or not k.member;
