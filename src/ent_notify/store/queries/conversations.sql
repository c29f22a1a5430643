-- name: start$
-- Open a conversation.
insert into conversation (subject, started_by, started_at) values (:subject, :author_id, :now) returning id;

-- name: join!
-- Add participants.
insert into participant (conversation_id, person_id)
select :conversation_id, id from unnest(:people::int[]) id
on conflict do nothing;

-- name: next_seq$
-- The next place in a conversation, under its row's lock: commit order is the order that everybody sees.
update conversation set last_seq = last_seq + 1
where id = :conversation_id
  and exists (select from participant p where p.conversation_id = :conversation_id and p.person_id = :author_id)
returning last_seq;

-- name: write!
-- One row, whoever reads it.
insert into message (conversation_id, seq, author_id, body, posted_at)
values (:conversation_id, :seq, :author_id, :body, :now);

-- name: mark!
-- Somebody has read up to a place.
update participant set read_seq = greatest(read_seq, :seq)
where conversation_id = :conversation_id and person_id = :person_id;

-- name: others
-- The other participants.
select p.external_id from participant c join person p on p.id = c.person_id
where c.conversation_id = :conversation_id and c.person_id <> :author_id and p.hidden_at is null;

-- name: head^
-- A conversation as one participant sees it; nothing for a stranger.
select c.id, c.subject, c.last_seq, p.read_seq
from conversation c join participant p on p.conversation_id = c.id
where c.id = :conversation_id and p.person_id = :person_id;

-- name: messages
-- Messages of a conversation after a place, for a participant only.
select m.seq, a.external_id as author, a.given_name, a.family_name, m.body, m.posted_at
from message m
join participant p on p.conversation_id = m.conversation_id and p.person_id = :person_id
left join person a on a.id = m.author_id
where m.conversation_id = :conversation_id and m.seq > :after
order by m.seq limit :most;
