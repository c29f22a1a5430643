-- name: census^
-- How many people and schools there are.
select (select count(*) from person where hidden_at is null)::int as people, (select count(*) from school)::int as schools;

-- name: classes
-- Some classes with their school, in a stable order.
select g.external_id as class, s.uai, s.name as school
from people_group g join school s on s.id = g.school_id
where g.kind = 4
order by md5(g.external_id || (:seed::int)::text) limit :most;

-- name: pupils
-- Some pupils of a school who have a legal guardian.
select p.external_id
from people_group g
join membership m on m.group_id = g.id
join person p on p.id = m.person_id and p.hidden_at is null
where g.external_id = :class_id
  and exists (select from guardian_link l where l.pupil_id = p.id and l.legal_level in (1, 2) and not l.restricted)
order by p.id limit :most;

-- name: teacher$
-- A teacher of a school.
select p.external_id from people_group g
join school s on s.id = g.school_id
join membership m on m.group_id = g.id
join person p on p.id = m.person_id and p.hidden_at is null
where s.uai = :uai and g.kind = 2 order by p.id limit 1;

-- name: guardian$
-- The first legal guardian of a pupil.
select p.external_id from person c
join guardian_link l on l.pupil_id = c.id and l.legal_level = 1 and not l.restricted
join person p on p.id = l.guardian_id and p.hidden_at is null
where c.external_id = :pupil order by p.id limit 1;

-- name: people_between
-- People by internal id, a batch at a time.
select id, external_id, profile from person where id > :after and hidden_at is null order by id limit :most;
