-- name: lock_school^
-- The school whose timetable is imported: one import of a school at a time.
select s.id, s.uai, s.timezone, null::jsonb as common, null::jsonb as own
from school s where s.uai = :school for no key update;

-- name: groups
-- Groups of a school by their external ids.
select id, external_id from people_group where school_id = :school_id and external_id = any (:groups::text[]);

-- name: names
-- How a file may call the classes and groups of a school.
select g.external_id, g.name from people_group g join school s on s.id = g.school_id
where s.uai = :school and g.kind in (4, 5, 6) order by g.external_id;

-- name: known
-- What is known of some groups' lessons from a day on.
select group_id, external_id, base, now from lesson
where group_id = any (:groups::int[]) and greatest(base_day, now_day) >= :since;

-- name: keep!
-- Keep lessons as they were first known and as they are.
insert into lesson (group_id, external_id, base, now, base_day, now_day)
select (r->>'group')::int, r->>'id', nullif(r->'base', 'null'), nullif(r->'now', 'null'), (r->>'base_day')::date, (r->>'now_day')::date
from jsonb_array_elements(:rows::jsonb) r
on conflict (group_id, external_id) do update
set base = excluded.base, now = excluded.now, base_day = excluded.base_day, now_day = excluded.now_day;

-- name: drop!
-- Forget lessons of which nothing is left.
delete from lesson l using unnest(:groups::int[], :ids::text[]) x (group_id, external_id)
where l.group_id = x.group_id and l.external_id = x.external_id;

-- name: note_days!
-- Days on which something has changed: to be looked at.
insert into timetable_day as d (group_id, day, changed_at, look_at)
select group_id, day, :now, :now from unnest(:groups::int[], :days::date[]) x (group_id, day) order by 1, 2
on conflict (group_id, day) do update
set changed_at = coalesce(d.changed_at, excluded.changed_at), look_at = excluded.look_at;

-- name: take_days
-- Days to be looked at now, with their school; those that another worker has in hand are passed over.
select d.group_id, d.day, d.changed_at, d.told, d.loud, d.version, d.told_key, g.external_id as grp,
       s.id, s.uai, s.timezone, (select data from school_calendar where school_id is null) as common, c.data as own
from timetable_day d
join people_group g on g.id = d.group_id
join school s on s.id = g.school_id
left join school_calendar c on c.school_id = s.id
where d.look_at <= :now
order by d.look_at limit :most for update of d skip locked;

-- name: lessons_of
-- The lessons that are, or were, on some days of some groups.
select x.group_id, x.day, l.external_id, l.base, l.now
from unnest(:groups::int[], :days::date[]) x (group_id, day)
join lesson l on l.group_id = x.group_id and (l.base_day = x.day or l.now_day = x.day);

-- name: settle_days!
-- What was decided of days.
update timetable_day d set
    changed_at = (r->>'changed_at')::timestamptz, look_at = coalesce((r->>'look_at')::timestamptz, 'infinity'),
    told = case when r ? 'told' then r->'told' else d.told end,
    loud = coalesce((r->>'loud')::boolean, d.loud),
    version = coalesce((r->>'version')::int, d.version), told_key = coalesce(r->>'told_key', d.told_key)
from jsonb_array_elements(:rows::jsonb) r
where d.group_id = (r->>'group')::int and d.day = (r->>'day')::date;
