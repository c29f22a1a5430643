-- The legal guardians of some pupils.
select distinct guardian_id from ent_notify.guardian_link
where pupil_id = any (%(pupils)s) and legal_level in (1, 2) and not restricted
