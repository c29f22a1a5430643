-- Everybody, or everybody of a profile (:profile: its number, 0 for all).
select id from ent_notify.person where hidden_at is null and %(profile)s in (0, profile)
