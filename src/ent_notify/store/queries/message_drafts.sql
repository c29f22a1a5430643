-- name: keep$
-- Keep a draft; nothing when it is not there, or was sent. (draft null: a new one.)
with changed as (
    update message_draft
    set conversation_id = :conversation_id, content = :content, state = :state, send_on = :send_on, send_time = :send_time,
        send_zone = :send_zone, due_at = :due_at, refusal = null, held = false, updated_at = :now
    where id = :draft and author_id = :author_id and state <> 2
    returning id
),
added as (
    insert into message_draft (author_id, conversation_id, content, state, send_on, send_time, send_zone, due_at, updated_at)
    select :author_id, :conversation_id, :content, :state, :send_on, :send_time, :send_zone, :due_at, :now
    where :draft::bigint is null
    returning id
)
select id from changed union all select id from added;

-- name: drafts
-- Somebody's drafts and messages to be sent, newest first; those sent are left out.
select * from message_draft
where author_id = :author_id and state <> 2 and id < :before and (:draft::bigint is null or id = :draft)
order by id desc limit :most;

-- name: forget!
-- Throw a draft away.
delete from message_draft where id = :draft and author_id = :author_id and state <> 2;

-- name: draft^
-- One draft, for whoever sends it.
select * from message_draft where id = :draft and author_id = :author_id for update;

-- name: sent!
-- A draft has become a message.
update message_draft set state = 2, sent_to = :conversation, sent_seq = :seq, content = '{}', updated_at = :now
where id = :draft;

-- name: refused!
-- A draft could not be sent.
update message_draft set state = 3, refusal = :refusal, updated_at = :now where id = :draft;

-- name: due^
-- The message whose hour came first, for one worker alone.
select d.*, p.external_id, p.profile, p.given_name, p.family_name, p.language, p.timezone, p.hidden_at from message_draft d join person p on p.id = d.author_id
where d.state = 1 and not d.held and d.due_at <= :now
order by d.due_at, d.id limit 1 for update of d skip locked;

-- name: held!
-- Its author may not write now: it waits until that is lifted.
update message_draft set held = true where id = :draft and state = 1;

-- name: upcoming
-- Messages to be sent in the next days, to read their local hours anew.
select id, send_on, send_time, send_zone, due_at from message_draft
where state = 1 and due_at < :until;

-- name: put_off!
-- The zone's clock has been changed: the same local hour is another instant.
update message_draft set due_at = :due_at where id = :draft and state = 1;
