-- name: around^
-- What a demo can publish so that somebody sees it: a class and a pupil near them, and their school.
select g.external_id as class_id, g.name as class_name, c.external_id as pupil, c.given_name as pupil_name,
       s.uai, s.name as school
from (
    select :person_id::int as id, 1 as place
    union all
    select l.pupil_id, 2 from guardian_link l where l.guardian_id = :person_id and l.legal_level in (1, 2) and not l.restricted
    union all
    (select k.person_id, 3
     from membership t
     join people_group tg on tg.id = t.group_id and tg.kind in (2, 3)
     join people_group kg on kg.school_id = tg.school_id and kg.kind = 4
     join membership k on k.group_id = kg.id
     where t.person_id = :person_id
       and exists (select from guardian_link l where l.pupil_id = k.person_id and l.legal_level = 1 and not l.restricted)
     order by kg.id, k.person_id limit 1)
) near
join person c on c.id = near.id and c.profile = 1 and c.hidden_at is null
join membership m on m.person_id = c.id and m.valid_until > :now
join people_group g on g.id = m.group_id and g.kind = 4
join school s on s.id = g.school_id
order by near.place, c.id limit 1;
