-- One person.
select id from ent_notify.person where external_id = %(person)s and hidden_at is null
