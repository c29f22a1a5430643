-- name: of_pupil
-- Everybody whom the directory names as a guardian of a pupil, legal or not.
select g.external_id, btrim(g.given_name || ' ' || g.family_name) as name, l.legal_level, l.restricted,
       g.hidden_at is not null as has_left
from person p
join guardian_link l on l.pupil_id = p.id
join person g on g.id = l.guardian_id
where p.external_id = :pupil
order by l.legal_level = 0, l.legal_level, g.external_id;

-- name: is_pupil$
-- Whether there is such a pupil.
select exists (select from person where external_id = :pupil and profile = 1);

-- name: identities
-- Declared links around somebody, as far as they reach.
with recursive reached (id) as (
    select id from person where external_id = :person
    union
    select case when s.person_id = r.id then s.other_id else s.person_id end
    from reached r join same_human s on r.id in (s.person_id, s.other_id)
)
select a.external_id as one, b.external_id as other
from reached r
join same_human s on s.person_id = r.id
join person a on a.id = s.person_id
join person b on b.id = s.other_id;

-- name: declare!
-- Two identities are one human.
insert into same_human (person_id, other_id, declared_by, declared_at)
select least(a.id, b.id), greatest(a.id, b.id), :declared_by, :now
from person a, person b where a.external_id = :one and b.external_id = :other
on conflict (person_id, other_id) do update set declared_by = excluded.declared_by;

-- name: withdraw!
-- They are not, after all.
delete from same_human s using person a, person b
where a.external_id = :one and b.external_id = :other
  and s.person_id = least(a.id, b.id) and s.other_id = greatest(a.id, b.id);

-- name: children
-- The children of some identities, with the schools that they attend.
select p.external_id as pupil, btrim(p.given_name || ' ' || p.family_name) as name, g.external_id as guardian,
       l.legal_level, l.restricted, g.hidden_at is not null as has_left,
       array(select distinct s.uai from membership m join people_group q on q.id = m.group_id
             join school s on s.id = q.school_id
             where m.person_id = p.id and m.valid_from <= :now and m.valid_until > :now order by s.uai) as schools
from person g
join guardian_link l on l.guardian_id = g.id
join person p on p.id = l.pupil_id and p.hidden_at is null
where g.external_id = any (:people::text[])
order by p.external_id, g.external_id;
