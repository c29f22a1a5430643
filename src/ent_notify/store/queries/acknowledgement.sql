-- name: ask$
-- Ask for acknowledgements of a message or a notification; nothing when that was asked already.
insert into acknowledgement_request (notification_id, conversation_id, seq, kind, quorum, asked_by, asked_at, deadline,
                                     remind_every, remind_at)
values (:notification, :conversation, :seq, :kind, :quorum, :asked_by, :now, :deadline, :remind_every, :remind_at)
on conflict do nothing
returning id;

-- name: guardians_addressed$
-- Whether guardians of groups or pupils take part in a conversation as such.
select exists (
    select from conversation_key y where y.conversation_id = :conversation and y.scope in (2, 4) and not y.joinable
);

-- name: publish$
-- Publish one event.
select publish(:event::jsonb, :now) as published;

-- name: notification_guardians$
-- Whether a notification is for guardians of groups or pupils as such.
select exists (
    select from notification n
    cross join lateral jsonb_array_elements(n.clauses) c
    cross join lateral jsonb_array_elements(c->'in') k
    where n.id = :notification and (k->>0)::int in (2, 4)
);

-- name: request^
-- A request, as anybody who may see it needs it. (the keys of one message, or of one notification)
select r.*, text_hash(asked_text(r.id)) as hash, names_shown(coalesce(c.schools, '{}')) as names
from acknowledgement_request r
left join conversation c on c.id = r.conversation_id
where (r.conversation_id = :conversation and r.seq = :seq) or r.notification_id = :notification;

-- name: slots
-- What one reader is asked for: for themselves, or for each of their children, with who else may answer.
select s.child_id, p.external_id as child, p.given_name as child_name,
       case when s.child_id = 0 then array[:person_id::int]
            else array(select l.guardian_id from guardian_link l join person w on w.id = l.guardian_id and w.hidden_at is null
                       where l.pupil_id = s.child_id and l.legal_level in (1, 2) and not l.restricted) end as asked,
       array(select g.person_id from acknowledgement_given g
             where g.request_id = :request and g.child_id = s.child_id and g.text_hash = :hash
               and (s.child_id <> 0 or g.person_id = :person_id)) as given,
       (select g.given_at from acknowledgement_given g
        where g.request_id = :request and g.child_id = s.child_id and g.text_hash = :hash and g.person_id = :person_id) as given_at,
       exists (select from acknowledgement_given g
               where g.request_id = :request and g.child_id = s.child_id and g.person_id = :person_id
                 and g.text_hash is distinct from :hash) as earlier
from asked_of_reader(:request, :person_id, :now) s
left join person p on p.id = s.child_id
order by p.given_name, s.child_id;

-- name: children_of
-- The people (internal ids) of some children by external id.
select id from person where external_id = any (:children::text[]);

-- name: give^
-- Acknowledge, or sign: what came of it.
select said, first_at from give_acknowledgement(:request, :person_id, :children::int[], :seen::bytea, :now);

-- name: each^
-- How a request to each person stands.
select count(*)::int as asked, count(g.person_id)::int as met
from asked_of(:request, :now) a
left join acknowledgement_given g
     on g.request_id = :request and g.child_id = 0 and g.person_id = a.person_id and g.text_hash = :hash;

-- name: by_child
-- How a request to guardians stands, child by child: who may answer, and who has.
select a.child_id, array_remove(array_agg(a.person_id), null) as asked,
       array(select g.person_id from acknowledgement_given g
             where g.request_id = :request and g.child_id = a.child_id and g.text_hash = :hash) as given
from asked_of(:request, :now) a
group by a.child_id;

-- name: beside^
-- Who has acknowledged an earlier text only, and who the present one after the deadline.
select count(*) filter (where not x.present)::int as outdated,
       count(*) filter (where x.present and x.late)::int as late
from (
    select g.person_id, bool_or(g.text_hash is not distinct from :hash::bytea) as present,
           bool_and(g.given_at > r.deadline) filter (where g.text_hash is not distinct from :hash::bytea) as late
    from acknowledgement_request r join acknowledgement_given g on g.request_id = r.id
    where r.id = :request group by g.person_id
) x;

-- name: answerers
-- Who is asked, with their names, by child and person, after a place.
select a.child_id, a.person_id, p.external_id as person, p.given_name, p.family_name,
       c.external_id as child, c.given_name as child_name, g.given_at,
       coalesce(q.quorum = 2 and exists (
           select from acknowledgement_given o
           where o.request_id = :request and o.child_id = a.child_id and o.text_hash = :hash
       ), false) as met
from acknowledgement_request q
cross join lateral asked_of(q.id, :now) a
join person p on p.id = a.person_id
left join person c on c.id = a.child_id
left join acknowledgement_given g
     on g.request_id = :request and g.child_id = a.child_id and g.person_id = a.person_id and g.text_hash = :hash
where q.id = :request and (a.child_id, a.person_id) > (:after_child, :after_person)
order by a.child_id, a.person_id limit :most;

-- name: given
-- Everything that was given, also of earlier texts.
select p.external_id as person, p.given_name, p.family_name, c.external_id as child, g.given_at,
       encode(g.text_hash, 'hex') as version
from acknowledgement_given g
join person p on p.id = g.person_id
left join person c on c.id = g.child_id
where g.request_id = :request
order by g.given_at, g.person_id, g.child_id;

-- name: texts
-- The texts of which something may have been said: the present one, and those before each edit.
select asked_text(:request) as text
union all
select v.subject || E'\n\n' || h.body || attached_text(h.conversation_id, h.seq)
from acknowledgement_request r
join conversation v on v.id = r.conversation_id
join message_change h on h.conversation_id = r.conversation_id and h.seq = r.seq and h.kind = 1 and h.body is not null
where r.id = :request;

-- name: due^
-- The request whose reminder is due first, for one worker alone, with what it is about.
select r.*, asked_text(r.id) is null as gone, v.subject,
       coalesce(n.data->>'title', n.data->>'subject') as title
from acknowledgement_request r
left join conversation v on v.id = r.conversation_id
left join notification n on n.id = r.notification_id
where r.remind_at <= :now
order by r.remind_at, r.id limit 1 for update of r skip locked;

-- name: missing
-- Who is still waited for, in order, after a place.
select s.person_id, p.external_id
from (select distinct a.person_id from asked_still(:request, :now) a) s
join person p on p.id = s.person_id
where s.person_id > :after
order by s.person_id limit :most;

-- name: reminded!
-- Where a request's reminders stand.
update acknowledgement_request
set remind_at = :remind_at, remind_round = :round, remind_after = :after where id = :request;

-- name: choice^
-- What the project (no school) or a school says of reading.
select r.track, r.names from reading_choice r left join school s on s.id = r.school_id
where case when :school::text is null then r.school_id is null else s.uai = :school end;

-- name: choose!
-- Keep what the project (no school) or a school says of reading.
insert into reading_choice as k (school_id, track, names, since, changed_by)
select s.id, :track, :names, :now, :changed_by
from (select null::int as id where :school::text is null union all select id from school where uai = :school) s
on conflict (school_id) do update
set track = excluded.track, names = excluded.names, changed_by = excluded.changed_by,
    since = case when k.track is distinct from excluded.track then excluded.since else k.since end;
