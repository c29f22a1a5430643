-- A region of :people people from one seed, set-based: pupils 40 %, guardians 52 %, teachers 6 %, staff 2 %, in schools of
-- 1,875. At 1.5 million people: 800 schools, 22,400 classes, 1.1 million mail addresses, 1.2 million devices, 250,000
-- preferences. Nobody in it is real. Read with the custom settings bench.people and bench.seed.

set search_path = ent_notify;
set synchronous_commit = off;   -- the making of the data is not measured
set maintenance_work_mem = '512MB';

-- What is drawn for one person: a number in [0, 100), the same for the same seed, person and purpose.
create function pg_temp.draw(person int, purpose text) returns int language sql immutable parallel safe
return abs(hashtextextended(purpose || person, current_setting('bench.seed')::bigint) % 100);

create temporary table one_school as   -- places in a school: index within the profile
select place,
       case when place < 750 then 1 when place < 1725 then 2 when place < 1837 then 3 else 4 end as profile,
       case when place < 750 then place when place < 1725 then place - 750 when place < 1837 then place - 1725 else place - 1837 end as n
from generate_series(0, 1874) place;

create temporary table everybody as
select i as id, (i - 1) / 1875 + 1 as school, s.profile, s.n
from generate_series(1, current_setting('bench.people')::int) i
join one_school s on s.place = (i - 1) % 1875;

insert into school (uai, name)
select to_char(540000 + s, 'FM0000000') || chr(65 + s % 23), 'Collège ' || s
from generate_series(1, (select max(school) from everybody)) s;

-- Groups of school s: pupils 3s - 2, teachers 3s - 1, staff 3s; classes after all of these, 28 a school.
insert into people_group (external_id, school_id, kind, name)
select s.uai || '/' || k.name, s.id, k.kind, k.name
from school s cross join (values (1, 'pupils'), (2, 'teachers'), (3, 'staff')) k (kind, name) order by s.id, k.kind;
insert into people_group (external_id, school_id, kind, name)
select s.uai || '/class/' || c, s.id, 4, 'Classe ' || c from school s cross join generate_series(1, 28) c order by s.id, c;

insert into person (external_id, source, profile, given_name, family_name, language, email, created_at)
overriding system value
select 'P' || id, 'bench', profile, 'Prénom' || id % 4000, 'Nom' || id % 9000,
       case when pg_temp.draw(id, 'language') < 3 then 'en' else 'fr' end,
       case when pg_temp.draw(id, 'mail') < case profile when 1 then 40 when 2 then 95 else 100 end
            then 'p' || id || '@mail' || id % 40 || '.invalid' end,
       '2026-08-01'
from everybody order by id;

insert into membership (group_id, person_id, valid_from)
select (school - 1) * 3 + case profile when 1 then 1 when 3 then 2 else 3 end, id, timestamptz '2026-08-01' from everybody where profile <> 2
union all
select (select count(*) from school)::int * 3 + (school - 1) * 28 + n % 28 + 1, id, '2026-08-01' from everybody where profile = 1
union all   -- a teacher has two or three classes, a class about ten teachers
select distinct (select count(*) from school)::int * 3 + (school - 1) * 28 + (n * 5 + c * 11) % 28 + 1, id, timestamptz '2026-08-01'
from everybody cross join generate_series(0, 2) c where profile = 3 and (c < 2 or n % 2 = 0)
order by 1, 2;

insert into guardian_link (pupil_id, guardian_id, legal_level, kinship, restricted)
select p.id, (p.school - 1) * 1875 + 751 + (p.n * 13 / 10 + g) % 975, g + 1, case g when 0 then 'mother' else 'father' end,
       pg_temp.draw(p.id * 2 + g, 'court') = 0
from everybody p cross join generate_series(0, 1) g
where p.profile = 1 and (g = 0 or pg_temp.draw(p.id, 'second') < 75)
  and (p.school - 1) * 1875 + 751 + (p.n * 13 / 10 + g) % 975 <= current_setting('bench.people')::int
order by 1, 2;

insert into device (person_id, provider, app, token, registered_at)
select e.id, case when pg_temp.draw(e.id * 2 + d, 'provider') < 60 then 'fcm' else 'apns' end, 'fr.example.ent',
       md5(e.id || '/' || d) || md5(d || '/' || e.id), '2026-08-15'
from everybody e cross join generate_series(0, 1) d
where pg_temp.draw(e.id, 'device') < case when d = 0 then case e.profile when 1 then 50 when 2 then 75 when 3 then 65 else 50 end
                                          else case e.profile when 1 then 10 when 2 then 20 when 3 then 15 else 10 end end
order by e.id;

insert into preference (person_id, category, channel, enabled)
select id, (array['announcement', 'homework', 'grade', 'timetable'])[pg_temp.draw(id, 'category') % 4 + 1],
       (array['email', 'push'])[pg_temp.draw(id, 'channel') % 2 + 1], pg_temp.draw(id, 'enabled') < 20
from everybody where pg_temp.draw(id, 'preference') * 3 < 50
order by id;

select setval(pg_get_serial_sequence('ent_notify.person', 'id'), (select max(id) from person));
