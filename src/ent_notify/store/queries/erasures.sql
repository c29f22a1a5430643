-- name: person$
-- Somebody's internal id, whether they are hidden or not.
select id from person where external_id = :external_id;

-- name: erase$
-- Everything of one person but what is packed in chunks.
select erase_person(:person_id, :way, :cause, :now, :sweep, :own::text[]);

-- name: elsewhere$
-- Somebody's name and id in what others keep.
select erase_elsewhere(:person_id);

-- name: devices$
-- Every device that somebody had when they were erased.
select devices from erasure where person_id = :person_id;

-- name: from_chunks^
-- Take a person out of the chunks of the next campaigns.
select upto, taken from erase_from_chunks(:person_id, :devices::int[], :after, :most);

-- name: outcomes$
-- Exceptions that still name somebody.
select erase_outcomes(:person_id);

-- name: sweepable
-- People to be looked for once more.
select person_id, way, cause, erased_at from erasure where swept_at is null and sweep_at <= :now
order by sweep_at limit :most for update skip locked;

-- name: swept!
-- Somebody was looked for once more.
update erasure set swept_at = :now where person_id = :person_id;

-- name: ledger
-- The erasures after a place in the ledger that is kept apart.
select seq, person_id, encode(digest, 'hex') as digest, way, cause, erased_at from erasure
where seq > :after order by seq limit :most;

-- name: known
-- Those of some people who were erased here.
select person_id from erasure where person_id = any (:people::int[]);

-- name: home$
-- What a ledger says of the database that it is of: a digest of what only that database has.
select encode(sha256(salt || convert_to('ledger', 'UTF8')), 'hex') from instance;

-- name: note!
-- Write an erasure of a ledger down of whom there is nobody here.
insert into erasure (person_id, digest, way, cause, erased_at, sweep_at, swept_at)
values (:person_id, decode(:digest, 'hex'), :way, :cause, :erased_at, :now, :now)
on conflict (person_id) do nothing;

-- name: lift_holds$
-- What a backup still keeps of somebody whom a ledger says was erased: it had been lifted by then.
select lift_for_replay(:person_id, :erased_at, :now);

-- name: same^
-- Who has an internal id here, if the digest says that it is the same person; and whether they were erased here.
select p.id as person_id, encode(digest_of(p.id, p.external_id), 'hex') = :digest as same,
       exists (select from erasure e where e.person_id = :person_id) as erased
from (select :person_id::int as id) x left join person p on p.id = x.id;

-- name: highest_person!
-- No id of the ledger is given to anybody new.
select setval(pg_get_serial_sequence('ent_notify.person', 'id'), greatest(nextval(pg_get_serial_sequence('ent_notify.person', 'id')), :person_id));

-- name: place^
-- Where this database says that it is, and where it is.
select place, here() as here from instance;

-- name: settle!
-- This database is where it is.
update instance set place = here();

-- name: settle_first!
-- A new database has its place.
update instance set place = here() where place is null;
