-- name: open$
-- Write a request down.
insert into rights_request (person_id, kind, actor, capacity, proof, received_at, deadline)
values (:person_id, :kind, :actor, :capacity, :proof, :now, :deadline) returning id;

-- name: close!
-- Say how a request stands.
update rights_request set state = :state, note = :note, closed_at = :closed_at where id = :request_id;

-- name: requests
-- Requests, those whose deadline is nearest first; those that are open, or all.
select r.id, p.external_id as person, r.kind, r.actor, r.capacity, r.proof, r.received_at, r.deadline, r.state, r.note,
       r.closed_at
from rights_request r left join person p on p.id = r.person_id
where :everything::boolean or r.state in ('open', 'held')
order by r.deadline, r.id limit :most;

-- name: request^
-- One request, with whom it is about.
select r.id, r.person_id, p.external_id as person, r.kind, r.actor, r.capacity, r.proof, r.received_at, r.deadline, r.state,
       r.note, r.closed_at
from rights_request r left join person p on p.id = r.person_id where r.id = :request_id;

-- name: requests_of
-- What was asked about somebody, or by them for somebody else, newest first.
select r.id, p.external_id as person, r.kind, r.actor, r.capacity, r.proof, r.received_at, r.deadline, r.state, r.note,
       r.closed_at
from rights_request r left join person p on p.id = r.person_id
where r.person_id = :person_id or (r.capacity = 'guardian' and r.actor = :actor)
order by r.id desc limit :most;

-- name: overdue^
-- Requests that nobody answered in time, people who should have been purged, holds that nobody looked at again.
select (select count(*) from rights_request r where r.state = 'open' and r.deadline < :now) as requests,
       (select count(*) from due_people(:leavers, :now) d where not d.held) as leavers,
       (select count(*) from standing_holds(:now) h where h.review_at < :now) as holds;

-- name: salt$
-- What only this database has: pseudonyms that are kept are made with it when the settings give no key.
select salt from instance;

-- name: held
-- Erasures that a hold kept, whose person no hold keeps any more.
select r.id, r.person_id from rights_request r
where r.kind = 'erase' and r.state = 'held' and not exists (select from held_people(:now) h where h.person_id = r.person_id)
order by r.id limit :most;

-- name: is_held$
-- Whether a hold keeps somebody.
select exists (select from held_people(:now) h where h.person_id = :person_id);

-- name: guards$
-- Whether somebody is a legal guardian of a pupil, whom no court has restricted.
select exists (
    select from guardian_link l join person g on g.id = l.guardian_id and g.hidden_at is null
    where l.pupil_id = :person_id and g.external_id = :guardian and l.legal_level in (1, 2) and not l.restricted
);

-- name: rectify!
-- Correct what is said of somebody; a new address forgets that the old one bounced.
update person set
    given_name = coalesce(:given_name, given_name), family_name = coalesce(:family_name, family_name),
    language = coalesce(:language, language), email = coalesce(:email, email),
    email_dropped_at = case when :email::text is distinct from email and :email::text is not null then null else email_dropped_at end
where id = :person_id;

-- name: object!
-- Refuse a category by every channel that sends.
insert into preference (person_id, category, channel, enabled)
select :person_id, :category, c.channel, false from (values ('email'), ('push')) c (channel)
on conflict (person_id, category, channel) do update set enabled = false;

-- name: category_known$
-- Whether some event has a category.
select exists (select from event_type where category = :category);

-- name: restrict!
-- Refuse every category by every channel that sends, and remember since when.
with refused as (
    insert into preference (person_id, category, channel, enabled)
    select :person_id, t.category, c.channel, false
    from (select distinct category from event_type) t cross join (values ('email'), ('push')) c (channel)
    on conflict (person_id, category, channel) do update set enabled = false
)
update person set restricted_at = :now where id = :person_id;

-- name: place_hold$
-- Ask for a hold.
insert into hold (person_id, conversation_id, seq, notification_id, reason, reference, asked_by, asked_at, review_at)
values (:person_id, :conversation_id, :seq, :notification_id, :reason, :reference, :asked_by, :now, :review_at) returning id;

-- name: set_hold$
-- Confirm a hold, by somebody else than who asked.
update hold set set_by = :by, set_at = :now, review_at = :review_at
where id = :hold_id and set_by is null and lifted_at is null and asked_by <> :by returning id;

-- name: ask_lift$
-- Ask for the end of a hold.
update hold set lift_asked_by = :by, lift_asked_at = :now where id = :hold_id and lifted_at is null and lift_asked_by is null
returning id;

-- name: lift$
-- Lift a hold, by somebody else than who asked for it.
update hold set lifted_by = :by, lifted_at = :now
where id = :hold_id and lifted_at is null and lift_asked_by is not null and lift_asked_by <> :by returning id;

-- name: review_hold$
-- A hold was looked at again, and is still needed.
update hold set review_at = :review_at where id = :hold_id and lifted_at is null returning id;

-- name: holds
-- Holds that stand, those to be reviewed first.
select h.id, p.external_id as person, h.conversation_id, h.seq, h.notification_id, h.reason, h.reference, h.asked_by, h.asked_at,
       h.set_by, h.review_at, h.lift_asked_by
from standing_holds(:now) h left join person p on p.id = h.person_id
order by h.review_at, h.id;

-- name: note!
-- Add to the trail of who looked.
insert into audit (noted_at, actor, capacity, action, subject, detail, hold_id)
values (:now, :actor, :capacity, :action, :subject, :detail, :hold_id);

-- name: trail
-- The trail about one subject, newest first; what was done for a hold is shown once that is lifted.
select a.noted_at, a.actor, a.capacity, a.action, a.detail from audit a
where a.subject = :subject
  and (a.hold_id is null or not exists (select from hold h where h.id = a.hold_id and h.lifted_at is null))
order by a.noted_at desc, a.id desc limit :most;

-- name: export_person
-- What the directory says of somebody.
select external_id, source, profile, function, given_name, family_name, language, timezone, email, email_dropped_at,
       hidden_at, created_at, restricted_at
from person where id = :person_id;

-- name: export_memberships
-- The groups somebody is in, or was.
select g.external_id as group, g.name, m.valid_from, nullif(m.valid_until, 'infinity') as valid_until
from membership m join people_group g on g.id = m.group_id where m.person_id = :person_id order by m.valid_from, g.external_id;

-- name: export_family
-- That somebody is guardian of a pupil, or a pupil's links, without what a court decided of another person; a guardian who
-- asks for their child is told of their own link alone. And identities that were declared to be the same human.
select p.external_id as pupil, null as guardian, null as same_human, l.legal_level, l.kinship, l.restricted
from guardian_link l join person p on p.id = l.pupil_id where l.guardian_id = :person_id
union all
select null, g.external_id, null, l.legal_level, l.kinship, null
from guardian_link l join person g on g.id = l.guardian_id
where l.pupil_id = :person_id and (:guardian::text is null or g.external_id = :guardian)
union all
select null, null, o.external_id, null, null, null
from same_human s join person o on o.id = case when s.person_id = :person_id then s.other_id else s.person_id end
where :person_id in (s.person_id, s.other_id) and :guardian::text is null
order by 1, 2, 3;

-- name: export_devices
-- Devices, without the secret of their token.
select provider, app, '…' || right(token, 6) as token, language, registered_at, dropped_at, drop_reason
from device where person_id = :person_id order by registered_at, id;

-- name: export_preferences
-- What somebody has chosen.
select category, channel, enabled from preference where person_id = :person_id order by category, channel;

-- name: export_acknowledgements
-- What somebody has taken note of, for themselves or for a child.
select n.idempotency_key as notification, null::bigint as conversation, null::int as message, null as child, a.acknowledged_at
from acknowledgement a join notification n on n.id = a.notification_id where a.person_id = :person_id
union all
select n.idempotency_key, r.conversation_id, r.seq, c.external_id, g.given_at
from acknowledgement_given g
join acknowledgement_request r on r.id = g.request_id
left join notification n on n.id = r.notification_id
left join person c on c.id = g.child_id and g.child_id <> g.person_id
where g.person_id = :person_id
order by 5;

-- name: export_inbox
-- The notifications that are in somebody's inbox now.
with keys as materialized (select * from reader_keys(:person_id, :now))
select distinct m.id, m.type, m.category, m.data, m.published_at,
       coalesce((select m.feed_seq <= r.watermark or m.feed_seq = any (r.above) from reading r where r.person_id = :person_id), false)
           as read
from keys k
join audience a on a.scope = k.scope and a.ref = k.ref and not a.excluded
join notification m on m.id = a.notification_id and m.published_at >= k.since and m.published_at < k.until
where m.superseded_by is null and not exists (
    select from audience x join keys y on y.scope = x.scope and y.ref = x.ref
    where x.notification_id = a.notification_id and x.excluded and x.clause = a.clause
      and m.published_at >= y.since and m.published_at < y.until
)
order by m.id;

-- name: export_deliveries
-- What became of deliveries to somebody, where it was not plain success.
select n.idempotency_key as notification, o.state, o.reason, o.attempts, o.noted_at
from outcome o join notification n on n.id = o.campaign_id where o.person_id = :person_id order by o.campaign_id;

-- name: export_conversations
-- The conversations somebody takes part in by name, and what they keep of them. A pupil's line to the pupil-life office
-- is theirs: a guardian who asks for their child is not told of it.
select c.id, c.subject, c.started_at, p.read_seq, p.archived_at, p.favourite, p.muted, p.labels
from participant p join conversation c on c.id = p.conversation_id
where p.person_id = :person_id and (:guardian::text is null or c.shape <> 7) order by c.id;

-- name: export_messages
-- What somebody wrote and attached; what others wrote is theirs.
select m.conversation_id as conversation, m.seq, m.posted_at, m.edited_at, m.recalled_at, m.body,
       (select array_agg(a.name order by a.id) from attachment a where a.conversation_id = m.conversation_id and a.seq = m.seq)
           as attachments
from participant p
join conversation c on c.id = p.conversation_id and (:guardian::text is null or c.shape <> 7)
join message m on m.conversation_id = p.conversation_id and m.author_id = p.person_id
where p.person_id = :person_id order by m.conversation_id, m.seq;

-- name: export_drafts
-- What somebody began to write.
select id, content, state, due_at, updated_at from message_draft where author_id = :person_id order by id;

-- name: export_blocks
-- Whom somebody has blocked.
select p.external_id as blocked, b.blocked_at from contact_block b join person p on p.id = b.blocked_id
where b.person_id = :person_id order by b.blocked_at;

-- name: export_sessions
-- When and until when somebody listened.
select opened_at, expires_at from stream_session where person_id = :person_id order by opened_at;

-- name: export_requests
-- What somebody has asked for before.
select kind, capacity, received_at, deadline, state, closed_at from rights_request where person_id = :person_id order by id;

-- name: export_restraints
-- Quarantines and cases of moderation about somebody: what was decided, and not who reported.
select 'restraint' as what, r.kind, r.since, r.until, r.reason as decision from restraint r where r.person_id = :person_id
union all
select 'case', c.kind, c.opened_at, c.closed_at, c.decision from moderation_case c where c.person_id = :person_id
union all
select 'recall', null, t.started_at, t.ended_at, t.reason from recall_run t where t.person_id = :person_id
order by 3;

-- name: export_reports
-- What somebody reported, in their own words.
select r.reason, r.note, r.reported_at from moderation_report r where r.reporter_id = :person_id order by r.reported_at;

-- name: ask_glass$
-- Ask to read a conversation that one has no part in.
insert into break_glass (conversation_id, reason, asked_by, asked_at)
select id, :reason, :by, :now from conversation where id = :conversation_id returning id;

-- name: open_glass$
-- Open it, by somebody else than who asked, once.
update break_glass set opened_by = :by, opened_at = :now, open_until = :until
where id = :glass_id and opened_by is null and asked_by <> :by returning id;

-- name: glass_is_open$
-- Whether it is open, and to whom.
select exists (select from break_glass where id = :glass_id and open_until > :now and :by in (asked_by, opened_by));

-- name: glass_people
-- Whose words are read: those who take part by name, and those who wrote.
select p.external_id as person from break_glass g join person p on p.id in (
    select t.person_id from participant t where t.conversation_id = g.conversation_id
    union select m.author_id from message m where m.conversation_id = g.conversation_id
) where g.id = :glass_id order by p.id;

-- name: glass_messages
-- The messages that are read.
select m.seq, p.external_id as author, m.posted_at, m.recalled_at, m.body
from break_glass g join message m on m.conversation_id = g.conversation_id left join person p on p.id = m.author_id
where g.id = :glass_id order by m.seq;
