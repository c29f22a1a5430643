-- name: lock
-- One run at a time; the lock ends with the transaction. Sorting a million people wants memory.
select pg_advisory_xact_lock(hashtextextended('ent_notify.directory', 0)), set_config('work_mem', '128MB', true);

-- name: create_staging!
-- The staging tables of a run; they end with its transaction.
create temp table staged_school (n int, s int, uai text, join_id text, name text, timezone text, closed boolean) on commit drop;
create temp table staged_group (n int, g int, external_id text, s int, kind int, name text) on commit drop;
create temp table staged_person (
    n int, external_id text, removed boolean, profile int, function text, given_name text, family_name text,
    language text, timezone text, email text, said int, kinds int
) on commit drop;
create temp table staged_member (n int, g int) on commit drop;
create temp table staged_attendance (n int, s int) on commit drop;
create temp table staged_link (n int, guardian text, legal_level int, kinship text, restricted boolean) on commit drop;
create temp table staged_bad (external_id text) on commit drop;
create temp table known_school (s int, id int, timezone text) on commit drop;
create temp table known_group (g int, id int, kind int) on commit drop;
create temp table repeated (n int, last int, kinds int, said int) on commit drop;
create temp table problem (n int, external_id text, reason text, imported boolean) on commit drop;
create temp table leaving (person_id int) on commit drop;
create temp table coming_back (person_id int, hidden_at timestamptz) on commit drop;
create temp table place (n int, s int, c int) on commit drop;
create temp table guardian_place (guardian text, place bigint) on commit drop;
create temp table resolved (n int, person_id int, profile int, kinds int, links boolean) on commit drop;
create temp table wanted (person_id int, group_id int) on commit drop;
create temp table wanted_link (
    pupil_id int, guardian_id int, legal_level int, kinship text, restricted boolean
) on commit drop;

-- name: analyze_staging!
-- Temporary tables have no statistics until somebody asks.
analyze staged_school, staged_group, staged_person, staged_member, staged_attendance, staged_link, staged_bad;

-- name: free_join_ids!
-- A join id that moves to another school leaves the one that had it.
update school set join_id = null
from staged_school t
where t.closed = false and t.join_id = school.join_id and t.uai <> school.uai;

-- name: update_schools!
-- Schools that are described otherwise now; a described school is open.
update school set
    name = coalesce(t.name, school.name),
    join_id = coalesce(t.join_id, school.join_id),
    timezone = coalesce(t.timezone, school.timezone),
    closed_at = null
from (
    select uai,
           (array_agg(name order by n desc) filter (where name is not null))[1] as name,
           (array_agg(join_id order by n desc) filter (where join_id is not null))[1] as join_id,
           (array_agg(timezone order by n desc) filter (where timezone is not null))[1] as timezone
    from staged_school where closed = false group by uai
) t
where school.uai = t.uai
  and (school.closed_at is not null
       or school.name is distinct from coalesce(t.name, school.name)
       or school.join_id is distinct from coalesce(t.join_id, school.join_id)
       or school.timezone is distinct from coalesce(t.timezone, school.timezone));

-- name: insert_schools!
-- Schools that are new.
insert into school (uai, join_id, name, timezone)
select uai,
       (array_agg(join_id order by n desc) filter (where join_id is not null))[1],
       coalesce((array_agg(name order by n desc) filter (where name is not null))[1], uai),
       coalesce((array_agg(timezone order by n desc) filter (where timezone is not null))[1], 'Europe/Paris')
from staged_school
where closed = false and not exists (select from school where school.uai = staged_school.uai)
group by uai
order by min(s);

-- name: resolve_schools!
-- The schools that the run mentions and the directory holds.
insert into known_school (s, id, timezone)
select distinct t.s, school.id, school.timezone from staged_school t join school on school.uai = t.uai where t.s >= 0;

-- name: insert_school_groups!
-- Each school has a group of pupils, one of teachers and one of staff (GroupKind 1 to 3).
insert into people_group (external_id, school_id, kind, name)
select school.uai || '/' || role.word, school.id, role.kind, school.name
from known_school
join school on school.id = known_school.id
cross join (values (1, 'pupils'), (2, 'teachers'), (3, 'staff')) as role (kind, word)
where not exists (select from people_group where external_id = school.uai || '/' || role.word)
order by school.id, role.kind;

-- name: update_groups!
-- Groups that are described otherwise now, and school groups whose school has a new name.
update people_group set school_id = t.school_id, kind = t.kind, name = t.name
from (
    select distinct on (d.g) d.external_id, known_school.id as school_id, d.kind, d.name
    from staged_group d join known_school on known_school.s = d.s
    where d.kind is not null
    order by d.g, d.n desc
) t
where people_group.external_id = t.external_id
  and (people_group.school_id, people_group.kind, people_group.name) is distinct from (t.school_id, t.kind, t.name);

-- name: rename_school_groups!
-- The groups of a school bear its name.
update people_group set name = school.name
from known_school join school on school.id = known_school.id
where people_group.school_id = school.id and people_group.kind in (1, 2, 3) and people_group.name <> school.name;

-- name: insert_groups!
-- Groups that are new, in the order in which the run met them.
insert into people_group (external_id, school_id, kind, name)
select t.external_id, t.school_id, t.kind, t.name
from (
    select distinct on (d.g) d.g, d.external_id, known_school.id as school_id, d.kind, d.name
    from staged_group d join known_school on known_school.s = d.s
    where d.kind is not null
    order by d.g, d.n desc
) t
where not exists (select from people_group where people_group.external_id = t.external_id)
order by t.g;

-- name: resolve_groups!
-- The groups that the run mentions and the directory holds.
insert into known_group (g, id, kind)
select distinct t.g, people_group.id, people_group.kind
from staged_group t join people_group on people_group.external_id = t.external_id;

-- name: report_groups_without_school!
-- A group of a school that nobody described.
insert into problem (n, external_id, reason, imported)
select t.n, t.external_id, 'its school ' || t_school.uai || ' is not in the directory', false
from staged_group t
join staged_school t_school on t_school.s = t.s and t_school.closed is null
where t.kind is not null and not exists (select from known_school where known_school.s = t.s);

-- name: find_repeated!
-- People whom the run names several times: of each record, what no later one says again.
insert into repeated (n, last, kinds, said)
select n, max(n) over (partition by external_id),
       kinds & ~coalesce(bit_or(kinds) over later, 0), said & ~coalesce(bit_or(said) over later, 0)
from staged_person
where external_id in (select external_id from staged_person group by external_id having count(*) > 1)
window later as (partition by external_id order by n desc rows between unbounded preceding and 1 preceding);

-- name: drop_repeated_members!
-- Groups that a later record lists anew.
delete from staged_member using repeated, known_group
where staged_member.n = repeated.n and known_group.g = staged_member.g
  and repeated.kinds & (1 << known_group.kind) = 0;

-- name: drop_repeated_attendance!
-- Schools that a later record lists anew (said 4: Said.SCHOOLS).
delete from staged_attendance using repeated where staged_attendance.n = repeated.n and repeated.said & 4 = 0;

-- name: drop_repeated_links!
-- Guardians that a later record lists anew (said 8: Said.GUARDIANS).
delete from staged_link using repeated where staged_link.n = repeated.n and repeated.said & 8 = 0;

-- name: move_repeated_members!
-- What is left belongs to the person's last record.
update staged_member set n = repeated.last from repeated where staged_member.n = repeated.n and repeated.n <> repeated.last;

-- name: move_repeated_attendance!
-- What is left belongs to the person's last record.
update staged_attendance set n = repeated.last from repeated
where staged_attendance.n = repeated.n and repeated.n <> repeated.last;

-- name: move_repeated_links!
-- What is left belongs to the person's last record.
update staged_link set n = repeated.last from repeated where staged_link.n = repeated.n and repeated.n <> repeated.last;

-- name: fold_repeated_people!
-- A person's last record takes, field by field, what the latest record that mentions it says.
update staged_person set
    profile = t.profile, function = t.function, given_name = t.given_name, family_name = t.family_name,
    language = t.language, timezone = t.timezone, email = t.email, said = t.said, kinds = t.kinds
from (
    select r.last,
           (array_agg(p.profile order by p.n desc) filter (where p.profile is not null))[1] as profile,
           (array_agg(p.function order by p.n desc) filter (where p.said & 1 <> 0))[1] as function,
           (array_agg(p.given_name order by p.n desc) filter (where p.given_name is not null))[1] as given_name,
           (array_agg(p.family_name order by p.n desc) filter (where p.family_name is not null))[1] as family_name,
           (array_agg(p.language order by p.n desc) filter (where p.language is not null))[1] as language,
           (array_agg(p.timezone order by p.n desc) filter (where p.timezone is not null))[1] as timezone,
           (array_agg(p.email order by p.n desc) filter (where p.said & 2 <> 0))[1] as email,
           bit_or(p.said) as said, bit_or(p.kinds) as kinds
    from repeated r join staged_person p on p.n = r.n
    group by r.last
) t
where staged_person.n = t.last;

-- name: drop_repeated_people!
-- One record a person is left.
delete from staged_person using repeated where staged_person.n = repeated.n and repeated.n <> repeated.last;

-- name: report_unknown_schools!
-- People of schools that nobody described: refused when no other school is left to them.
insert into problem (n, external_id, reason, imported)
select p.n, p.external_id, 'it belongs to a school that is not in the directory: ' || t.missing, t.known > 0
from (
    select a.n, count(k.id) as known, string_agg(m.uai, ', ' order by m.uai) filter (where k.id is null) as missing
    from staged_attendance a
    left join known_school k on k.s = a.s
    left join (select distinct s, uai from staged_school where s >= 0) m on m.s = a.s
    group by a.n
    having count(*) > count(k.id)
) t
join staged_person p on p.n = t.n;

-- name: report_unknown_people!
-- Changes to somebody who is not known: without profile and names there is nobody to add.
insert into problem (n, external_id, reason, imported)
select p.n, p.external_id, 'it changes somebody who is not in the directory, and does not say who that is', false
from staged_person p
where not p.removed and (p.profile is null or p.given_name is null or p.family_name is null)
  and not exists (select from person where person.external_id = p.external_id);

-- name: report_other_sources!
-- An id belongs to the source that brought it first.
insert into problem (n, external_id, reason, imported)
select p.n, p.external_id, 'this id belongs to the source ' || person.source, false
from staged_person p join person on person.external_id = p.external_id
where person.source <> :source;

-- name: keep_refused!
-- Whoever was refused stays as they are.
insert into staged_bad (external_id) select external_id from problem where not imported;

-- name: drop_refused!
-- Refused records are not merged.
delete from staged_person using problem where problem.n = staged_person.n and not problem.imported;

-- name: report_unknown_groups!
-- Members of groups that nobody described.
insert into problem (n, external_id, reason, imported)
select p.n, p.external_id, 'group ' || t.external_id || ' is not in the directory', true
from staged_member m
join staged_person p on p.n = m.n
join (select distinct g, external_id from staged_group) t on t.g = m.g
where not exists (select from known_group where known_group.g = m.g);

-- name: report_unknown_guardians!
-- Pupils who name a guardian that is nowhere.
insert into problem (n, external_id, reason, imported)
select p.n, p.external_id, 'guardian ' || l.guardian || ' is not in the directory', true
from staged_link l
join staged_person p on p.n = l.n
where not exists (select from staged_person g where g.external_id = l.guardian)
  and not exists (select from person where person.external_id = l.guardian);

-- name: find_leaving!
-- Who leaves: whoever the run removes and, when it is complete, whoever it does not name.
insert into leaving (person_id)
select person.id
from person
left join staged_person p on p.external_id = person.external_id
where person.source = :source and person.hidden_at is null
  and (p.removed
       or (:complete::boolean and p.n is null
           and not exists (select from staged_bad where staged_bad.external_id = person.external_id)));

-- name: removals
-- How many leave, of how many.
select (select count(*) from leaving) as removals,
       (select count(*) from person where source = :source and hidden_at is null) as present;

-- name: count_problems$
-- How many problems the database found.
select count(*) from problem;

-- name: problems
-- The first problems, in the order of the run.
select n, external_id, reason, imported from problem order by n, reason limit :most;

-- name: note_returning!
-- Hidden people whom the run names again.
insert into coming_back
select person.id, person.hidden_at from staged_person p join person on person.external_id = p.external_id
where not p.removed and person.hidden_at is not null;

-- name: update_people!
-- People about whom something is new; nobody else is touched. A new address forgets that the old one bounced.
update person set
    profile = coalesce(p.profile, person.profile),
    function = case when p.said & 1 <> 0 then p.function else person.function end,
    given_name = coalesce(p.given_name, person.given_name),
    family_name = coalesce(p.family_name, person.family_name),
    language = coalesce(p.language, person.language),
    timezone = coalesce(p.timezone, person.timezone),
    email = case when p.said & 2 <> 0 then p.email else person.email end,
    email_dropped_at = case when p.said & 2 <> 0 and p.email is distinct from person.email then null else person.email_dropped_at end,
    email_drop_reason = case when p.said & 2 <> 0 and p.email is distinct from person.email then null else person.email_drop_reason end,
    hidden_at = null
from staged_person p
where p.external_id = person.external_id and not p.removed
  and (person.hidden_at is not null
       or person.profile <> coalesce(p.profile, person.profile)
       or person.given_name <> coalesce(p.given_name, person.given_name)
       or person.family_name <> coalesce(p.family_name, person.family_name)
       or person.language <> coalesce(p.language, person.language)
       or person.timezone <> coalesce(p.timezone, person.timezone)
       or (p.said & 1 <> 0 and p.function is distinct from person.function)
       or (p.said & 2 <> 0 and p.email is distinct from person.email));

-- name: place_people!
-- Each person's school and class, as numbered by the run: the order of new ids.
insert into place (n, s, c)
select n, min(s), min(c)
from (
    select n, s, null::int as c from staged_attendance
    union all
    select m.n, null, m.g from staged_member m join known_group k on k.g = m.g and k.kind = 4
) t
group by n;

-- name: place_guardians!
-- A guardian's place is beside the first of their children.
insert into guardian_place (guardian, place)
select l.guardian, min((coalesce(place.s, 2147483647)::bigint << 32) | coalesce(place.c, 2147483647))
from staged_link l join place on place.n = l.n
group by l.guardian;

-- name: insert_people!
-- New people, by school, then class, pupils before their guardians: a class lies in one bucket or two.
insert into person (
    external_id, source, profile, function, given_name, family_name, language, timezone, email, created_at
)
select p.external_id, :source, p.profile, p.function, coalesce(p.given_name, ''), coalesce(p.family_name, ''),
       coalesce(p.language, 'fr'), coalesce(p.timezone, k.timezone, 'Europe/Paris'), p.email, :now
from staged_person p
left join place on place.n = p.n
left join guardian_place g on g.guardian = p.external_id and p.profile = 2
left join known_school k on k.s = coalesce(place.s, (g.place >> 32)::int)
where not p.removed and not exists (select from person where person.external_id = p.external_id)
order by coalesce(place.s, (g.place >> 32)::int),
         case p.profile when 1 then place.c when 2 then (g.place & 4294967295)::bigint end,
         p.profile, p.n;

-- name: resolve_people!
-- Everybody in the run, with their internal id and the kinds of group that the run lists for them.
insert into resolved (n, person_id, profile, kinds, links)
select p.n, person.id, person.profile, p.kinds | case when p.said & 4 <> 0 then 14 else 0 end, p.said & 8 <> 0
from staged_person p join person on person.external_id = p.external_id
where not p.removed;

-- name: want_memberships!
-- The memberships that the run asks for: groups named, and the school's group of the person's profile.
insert into wanted (person_id, group_id)
select r.person_id, k.id
from staged_member m join resolved r on r.n = m.n join known_group k on k.g = m.g
union
select r.person_id, people_group.id
from staged_attendance a
join resolved r on r.n = a.n
join known_school k on k.s = a.s
join people_group on people_group.school_id = k.id
                 and people_group.kind = case r.profile when 1 then 1 when 3 then 2 when 4 then 3 end;

-- name: analyze_wanted!
-- Temporary tables have no statistics until somebody asks.
analyze resolved, wanted;

-- name: end_memberships!
-- Memberships of a kind that the run lists for somebody, and that it does not list.
update membership set valid_until = :now
from resolved r, people_group
where membership.person_id = r.person_id and people_group.id = membership.group_id
  and membership.valid_until > :now and r.kinds & (1 << people_group.kind) <> 0
  and not exists (
      select from wanted where wanted.person_id = membership.person_id and wanted.group_id = membership.group_id
  );

-- name: restart_memberships!
-- Memberships that had ended begin anew; those that ended because their person left go on as if they had never left.
update membership set
    valid_from = case
        when membership.valid_until <= :now and not exists (
            select from coming_back c
            where c.person_id = membership.person_id and c.hidden_at = membership.valid_until
        ) then :now
        else membership.valid_from
    end,
    valid_until = 'infinity'
from wanted
where wanted.person_id = membership.person_id and wanted.group_id = membership.group_id
  and membership.valid_until <> 'infinity';

-- name: insert_memberships!
-- Memberships that are new, in the order of their index.
insert into membership (group_id, person_id, valid_from)
select group_id, person_id, :now from wanted
where not exists (
    select from membership where membership.group_id = wanted.group_id and membership.person_id = wanted.person_id
)
order by group_id, person_id;

-- name: want_links!
-- The guardians of the run's pupils.
insert into wanted_link (pupil_id, guardian_id, legal_level, kinship, restricted)
select distinct on (r.person_id, person.id) r.person_id, person.id, l.legal_level, l.kinship, l.restricted
from staged_link l join resolved r on r.n = l.n join person on person.external_id = l.guardian
order by r.person_id, person.id;

-- name: delete_links!
-- Guardians whom the run no longer names. A restriction is kept, or the guardian would come back without it.
delete from guardian_link using resolved r
where guardian_link.pupil_id = r.person_id and r.links and not guardian_link.restricted
  and not exists (
      select from wanted_link w where w.pupil_id = guardian_link.pupil_id and w.guardian_id = guardian_link.guardian_id
  );

-- name: update_links!
-- Links that are described otherwise now.
update guardian_link set
    legal_level = w.legal_level, kinship = w.kinship, restricted = coalesce(w.restricted, guardian_link.restricted)
from wanted_link w
where guardian_link.pupil_id = w.pupil_id and guardian_link.guardian_id = w.guardian_id
  and (guardian_link.legal_level, guardian_link.kinship, guardian_link.restricted)
      is distinct from (w.legal_level, w.kinship, coalesce(w.restricted, guardian_link.restricted));

-- name: insert_links!
-- Links that are new.
insert into guardian_link (pupil_id, guardian_id, legal_level, kinship, restricted)
select pupil_id, guardian_id, legal_level, kinship, coalesce(restricted, false) from wanted_link w
where not exists (
    select from guardian_link g where g.pupil_id = w.pupil_id and g.guardian_id = w.guardian_id
)
order by pupil_id, guardian_id;

-- name: hide_leaving!
-- Whoever leaves is hidden from now on.
update person set hidden_at = :now from leaving where person.id = leaving.person_id;

-- name: end_leaving_memberships!
-- Whoever leaves is in no group any more.
update membership set valid_until = :now from leaving
where membership.person_id = leaving.person_id and membership.valid_until > :now;

-- name: close_schools!
-- Schools that were removed, unless a later record describes them.
update school set closed_at = :now
from staged_school t
where t.closed and (school.uai = t.uai or school.join_id = t.join_id) and school.closed_at is null
  and not exists (
      select from staged_school later where later.closed = false and later.uai = school.uai and later.n > t.n
  );

-- name: end_closed_memberships!
-- The groups of a closed school end.
update membership set valid_until = :now
from people_group join school on school.id = people_group.school_id
where membership.group_id = people_group.id and school.closed_at = :now and membership.valid_until > :now;

-- name: analyze_directory!
-- After a large merge the planner must know what changed, before anybody asks.
analyze school, person, people_group, membership, guardian_link;

-- name: join_ids
-- How exports refer to schools.
select join_id, uai from school where join_id is not null;
