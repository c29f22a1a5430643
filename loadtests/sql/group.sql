-- The members of a group.
select m.person_id from ent_notify.membership m join ent_notify.people_group g on g.id = m.group_id
where g.external_id = %(group)s
