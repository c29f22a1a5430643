-- name: forget_tickets!
-- Tickets that nobody took in time. (Rows that somebody holds are passed over, here and below.)
with past as materialized (
    select digest from stream_ticket where expires_at <= :before order by expires_at limit :most for update skip locked
)
delete from stream_ticket t using past where t.digest = past.digest;

-- name: forget_sessions!
-- Sessions that are over.
with past as materialized (
    select id from stream_session where expires_at <= :before order by expires_at limit :most for update skip locked
)
delete from stream_session s using past where s.id = past.id;

-- name: forget_client_writes!
-- Client ids that nobody repeats any more.
with past as materialized (
    select person_id, client_id from client_write
    where written_at < :before order by written_at limit :most for update skip locked
)
delete from client_write w using past where w.person_id = past.person_id and w.client_id = past.client_id;

-- name: forget_retractions!
-- What no cursor that is still good can ask for.
with past as materialized (
    select scope, ref, feed_seq from retraction
    where retracted_at < :before order by retracted_at limit :most for update skip locked
)
delete from retraction r using past where r.scope = past.scope and r.ref = past.ref and r.feed_seq = past.feed_seq;

-- name: forget_late_words!
-- What was said late of chunks that others have settled since.
with past as materialized (
    select w.chunk_id, w.target from late_word w join chunk h on h.id = w.chunk_id and h.state = 3
    where :before::timestamptz is not null
    limit :most for update of w skip locked
)
delete from late_word w using past where w.chunk_id = past.chunk_id and w.target = past.target;

-- name: forget_turns!
-- Turns that every lane has passed: who has nothing waiting starts where the lane is.
with past as materialized (
    select f.lane_id, f.urgency, f.party
    from fair_share f join lane l on l.id = f.lane_id and f.turn <= l.turns[f.urgency + 1]
    where :before::timestamptz is not null
    limit :most for update of f skip locked
)
delete from fair_share f using past
where f.lane_id = past.lane_id and f.urgency = past.urgency and f.party = past.party;

-- name: forget_senders!
-- Senders whose limit has filled again since.
with past as materialized (
    select name from sender where tat <= :before limit :most for update skip locked
)
delete from sender s using past where s.name = past.name;

-- name: forget_seen!
-- What people had seen of the feed before any delivery that still waits.
with past as materialized (
    select person_id from seen where noted_at < :before order by noted_at limit :most for update skip locked
)
delete from seen s using past where s.person_id = past.person_id;

-- name: forget_homework!
-- Work that was due long ago; who had done it goes with it.
with past as materialized (
    select id from homework where due < :before::timestamptz::date order by due limit :most for update skip locked
)
delete from homework h using past where h.id = past.id;

-- name: forget_reminded!
-- Evenings whose reminders were computed long ago.
with past as materialized (
    select school_id, evening, is_test, due from reminded where at < :before order by at limit :most for update skip locked
)
delete from reminded r using past
where (r.school_id, r.evening, r.is_test, r.due) = (past.school_id, past.evening, past.is_test, past.due);

-- name: forget_reminders!
-- What reminders spoke of that are over.
with past as materialized (
    select notification_id from homework_reminder where expires_at <= :before order by expires_at limit :most for update skip locked
)
delete from homework_reminder r using past where r.notification_id = past.notification_id;

-- name: forget_lessons!
-- Lessons that are over.
with past as materialized (
    select group_id, external_id from lesson
    where greatest(base_day, now_day) < :before::timestamptz::date
    order by greatest(base_day, now_day) limit :most for update skip locked
)
delete from lesson l using past where l.group_id = past.group_id and l.external_id = past.external_id;

-- name: forget_timetable_days!
-- What was told of days that are over.
with past as materialized (
    select group_id, day from timetable_day where day < :before::timestamptz::date order by day limit :most for update skip locked
)
delete from timetable_day d using past where d.group_id = past.group_id and d.day = past.day;

-- name: forget_lately_written!
-- To whom somebody wrote so long ago that they are new again.
with past as materialized (
    select author_id, scope, ref from lately_written
    where written_at < :before order by written_at limit :most for update skip locked
)
delete from lately_written w using past where w.author_id = past.author_id and w.scope = past.scope and w.ref = past.ref;
