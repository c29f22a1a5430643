-- name: issue_ticket!
-- Store a stream ticket's digest; the ticket itself is never stored.
insert into stream_ticket (digest, person_id, expires_at) values (:digest, :person_id, :expires_at);

-- name: enter
-- Let many readers in at once, by their tickets and sessions.
select place, session_id, person_id, is_new
from enter_streams(:tickets::bytea[], :sessions::bytea[], :fresh::bytea[], :now, :life::interval);

-- name: revoke$
-- End a person's sessions and tickets, or one session; how many sessions.
select revoke_streams(:person_id, :session_id);

-- name: sessions
-- A person's sessions that go on, newest first.
select id, opened_at, expires_at from stream_session
where person_id = :person_id and expires_at > :now order by id desc;

-- name: keys
-- The audience keys that many people hold now; none for one who has left.
select distinct p.id as person_id, k.scope, k.ref
from unnest(:people::int[]) p (id)
cross join lateral reader_keys(p.id, :now) k
where k.until > :now;

-- name: live_sessions
-- The sessions of many people that go on.
select id, person_id from stream_session where person_id = any (:people::int[]) and expires_at > :now;

-- name: rights_head$
-- The last place among the changes of rights.
select last_seq from rights_head;

-- name: rights_changes
-- The last place among the changes of rights, and what changed after a given one, unless that is too much to read.
select h.last_seq as head, c.seq, c.people
from rights_head h
left join rights_change c on c.seq > :after and h.last_seq - :after <= 200
order by c.seq;

-- name: missed
-- What many readers have missed, each after a place in the feed, oldest first.
select r.place, m.feed_seq as seq, n.id as notification, n.type, n.category, n.urgency, n.published_at
from unnest(:people::int[], :after::bigint[]) with ordinality r (person_id, after, place)
cross join lateral missed(r.person_id, r.after, :most, :now) m
cross join lateral (select * from notification n where n.id = m.notification_id offset 0) n
order by r.place, m.feed_seq;
