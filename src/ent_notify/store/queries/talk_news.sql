-- name: listeners
-- The audience keys of those who take part now in some conversations. A staff conversation is for teachers and staff alone:
-- of its groups those that hold no others.
select p.conversation_id, 3 as scope, p.person_id as ref
from participant p
where p.conversation_id = any (:conversations::bigint[]) and p.member and p.until_seq is null
union
select y.conversation_id, y.scope, y.ref
from conversation_key y
join conversation c on c.id = y.conversation_id
left join people_group g on y.scope = 1 and g.id = y.ref
where y.conversation_id = any (:conversations::bigint[]) and not y.joinable and (c.shape <> 5 or g.kind in (2, 3));

-- name: authors_who_see
-- Authors of the newest messages up to one, where the school lets them see who has read.
select distinct m.author_id
from conversation c
join message m on m.conversation_id = c.id and m.seq between :seq::int - 49 and :seq
where c.id = :conversation and tracked_since(c.schools) is not null;

-- name: asker
-- Who asked for acknowledgements of a message.
select r.asked_by from acknowledgement_request r
where r.conversation_id = :conversation and r.seq = :seq and r.asked_by is not null;
