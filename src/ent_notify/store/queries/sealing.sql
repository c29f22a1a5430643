-- name: hold^
-- A hold, with names for whom it is about.
select h.id, p.external_id as person, h.conversation_id as conversation, h.seq as message, h.notification_id as notification,
       h.reason, h.reference, h.asked_by, h.asked_at, h.set_by, h.set_at, h.lifted_at
from hold h left join person p on p.id = h.person_id where h.id = :hold_id;

-- name: people
-- Everybody who stands in what a hold keeps.
with kept as (select h.conversation_id, h.seq from hold h where h.id = :hold_id and h.conversation_id is not null
      union select t.conversation_id, null::int from hold h join participant t on t.person_id = h.person_id where h.id = :hold_id)
select p.external_id as id, p.profile, p.given_name, p.family_name
from person p
where p.id in (
    select c.person_id from participant c join kept k on k.conversation_id = c.conversation_id
    union select m.author_id from message m join kept k on k.conversation_id = m.conversation_id
    union select h.person_id from hold h where h.id = :hold_id
)
order by p.id;

-- name: conversations
-- The conversations that a hold keeps.
select c.id, c.subject, s.external_id as started_by, c.started_at, c.closed_at,
       (select array_agg(p.external_id order by p.id) from participant t join person p on p.id = t.person_id
        where t.conversation_id = c.id) as people
from (select h.conversation_id, h.seq from hold h where h.id = :hold_id and h.conversation_id is not null
      union select t.conversation_id, null::int from hold h join participant t on t.person_id = h.person_id where h.id = :hold_id) k join conversation c on c.id = k.conversation_id
left join person s on s.id = c.started_by order by c.id;

-- name: messages
-- Their messages, also those that were taken back; of a hold of one message, that one.
select m.conversation_id as conversation, m.seq, a.external_id as author, m.posted_at, m.edited_at, m.recalled_at, m.body
from (select h.conversation_id, h.seq from hold h where h.id = :hold_id and h.conversation_id is not null
      union select t.conversation_id, null::int from hold h join participant t on t.person_id = h.person_id where h.id = :hold_id) k
join message m on m.conversation_id = k.conversation_id and (k.seq is null or m.seq = k.seq)
left join person a on a.id = m.author_id order by m.conversation_id, m.seq;

-- name: changes
-- What they said before they were changed or taken back.
select c.conversation_id as conversation, c.seq, c.kind, c.body, p.external_id as changed_by, c.changed_at
from (select h.conversation_id, h.seq from hold h where h.id = :hold_id and h.conversation_id is not null
      union select t.conversation_id, null::int from hold h join participant t on t.person_id = h.person_id where h.id = :hold_id) k
join message_change c on c.conversation_id = k.conversation_id and (k.seq is null or c.seq = k.seq)
left join person p on p.id = c.changed_by order by c.id;

-- name: attachments
-- What was attached: name and digest, by which the host's file is known again.
select a.conversation_id as conversation, a.seq, a.name, a.type, a.size, encode(a.digest, 'hex') as sha256, a.added_at
from (select h.conversation_id, h.seq from hold h where h.id = :hold_id and h.conversation_id is not null
      union select t.conversation_id, null::int from hold h join participant t on t.person_id = h.person_id where h.id = :hold_id) k
join attachment a on a.conversation_id = k.conversation_id and (k.seq is null or a.seq = k.seq) order by a.id;

-- name: notifications
-- The notification that a hold keeps in all its versions, and those that a held person alone was sent.
select n.id, n.idempotency_key, n.type, n.category, n.data, n.audience, n.published_at, n.superseded_by
from hold h
join notification n on n.id in (
    select v.id from notification o join notification v on v.id in (o.id, o.root) where o.id = h.notification_id
    union select a.notification_id from audience a where a.scope in (3, 4) and a.ref = h.person_id
)
where h.id = :hold_id order by n.id;

-- name: deliveries
-- What is known of their deliveries, where it was not plain success.
select o.campaign_id as notification, p.external_id as person, o.state, o.reason, o.attempts, o.noted_at
from hold h join outcome o on o.campaign_id = h.notification_id or o.person_id = h.person_id
left join person p on p.id = o.person_id where h.id = :hold_id order by o.campaign_id, o.person_id;
