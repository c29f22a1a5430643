-- The pupils, teachers and staff of a school (guardians come by their children).
select distinct m.person_id from ent_notify.membership m
join ent_notify.people_group g on g.id = m.group_id join ent_notify.school s on s.id = g.school_id
where s.uai = %(school)s
