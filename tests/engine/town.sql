-- Two schools. A: class 6A with pupils 1-4; B: class 5B with pupils 5-6. Guardians 11-15; 11 has children in both.
-- 14 is restricted by a court, 15 a mere contact. Teachers 21-22, staff 31. Pupil 6 has left.
set search_path = ent_notify;
insert into school (uai, name) values ('0540001A', 'Collège A'), ('0540002B', 'Collège B');
insert into people_group (external_id, school_id, kind, name) values
    ('0540001A/pupils', 1, 1, 'élèves'), ('0540001A/teachers', 1, 2, 'enseignants'), ('0540001A/staff', 1, 3, 'personnels'),
    ('0540002B/pupils', 2, 1, 'élèves'), ('0540002B/teachers', 2, 2, 'enseignants'), ('0540002B/staff', 2, 3, 'personnels'),
    ('0540001A/class/6A', 1, 4, '6A'), ('0540002B/class/5B', 2, 4, '5B');
insert into person (id, external_id, source, profile, given_name, family_name, email, created_at, hidden_at)
overriding system value
select id, 'P' || id, 'test', profile, given, 'Exemple', mail, '2026-09-01', gone
from (values
    (1, 1, 'Ada', null, null), (2, 1, 'Bo', 'p2@eleve.example', null), (3, 1, 'Cleo', null, null),
    (4, 1, 'Dan', 'p4@eleve.example', null), (5, 1, 'Eva', null, null), (6, 1, 'Fil', null, timestamptz '2026-09-02'),
    (11, 2, 'Gil', 'g11@famille.example', null), (12, 2, 'Hal', 'g12@famille.example', null),
    (13, 2, 'Ida', null, null), (14, 2, 'Jo', 'g14@famille.example', null), (15, 2, 'Kim', 'g15@famille.example', null),
    (21, 3, 'Lou', 't21@ecole.example', null), (22, 3, 'Max', 't22@ecole.example', null),
    (31, 4, 'Noa', 's31@ecole.example', null)
) p (id, profile, given, mail, gone);
insert into membership (group_id, person_id, valid_from)
select g.id, m.person, '2026-09-01' from (values
    ('0540001A/pupils', 1), ('0540001A/pupils', 2), ('0540001A/pupils', 3), ('0540001A/pupils', 4),
    ('0540001A/class/6A', 1), ('0540001A/class/6A', 2), ('0540001A/class/6A', 3), ('0540001A/class/6A', 4),
    ('0540002B/pupils', 5), ('0540002B/class/5B', 5), ('0540001A/teachers', 21), ('0540002B/teachers', 22),
    ('0540002B/teachers', 21), ('0540001A/staff', 31)
) m (grp, person) join people_group g on g.external_id = m.grp;
insert into guardian_link (pupil_id, guardian_id, legal_level, restricted) values
    (1, 11, 1, false), (5, 11, 1, false), (1, 12, 2, false), (2, 13, 1, false), (2, 14, 1, true), (3, 12, 1, false),
    (3, 15, 0, false), (4, 12, 1, false);
insert into device (person_id, provider, app, token, registered_at) values
    (1, 'apns', 'fr.ent', 'tok-1', '2026-09-01'), (11, 'fcm', 'fr.ent', 'tok-11a', '2026-09-01'),
    (11, 'apns', 'fr.ent', 'tok-11b', '2026-09-01'), (12, 'fcm', 'fr.ent', 'tok-12', '2026-09-01'),
    (21, 'fcm', 'fr.ent', 'tok-21', '2026-09-01');
