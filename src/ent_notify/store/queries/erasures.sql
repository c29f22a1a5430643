-- name: person$
-- Somebody's internal id, whether they are hidden or not.
select id from person where external_id = :external_id;

-- name: erase$
-- Everything of one person but what is packed in chunks.
select erase_person(:person_id, :way, :cause, :now, :sweep, :own::text[]);

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
-- Every erasure after a place, for the ledger that is kept apart.
select person_id, encode(digest, 'hex') as digest, way, cause, erased_at, devices from erasure
where person_id > :after order by person_id limit :most;

-- name: known
-- Those of some people who were erased here.
select person_id from erasure where person_id = any (:people::int[]);

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
