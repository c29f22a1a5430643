-- name: facts
-- What somebody has to do with each of some people.
select f.* from contact_facts(:author_id, :people::int[], :now) f;

-- name: rules
-- What the project and some schools say of who may write to whom.
select s.uai, r.data from contact_rules r left join school s on s.id = r.school_id
where r.school_id is null or s.uai = any (:schools::text[]);

-- name: schools
-- Every school of somebody, their own and their children's.
select distinct s.uai from near_groups(:person_id, :now) c join school s on s.id = c.school_id order by s.uai;

-- name: set_rules!
-- Keep what the project (no school) or a school says.
insert into contact_rules (school_id, data, changed_at, changed_by)
select s.id, :data, :now, :changed_by
from (select null::int as id where :school::text is null union all select id from school where uai = :school) s
on conflict (school_id) do update
set data = excluded.data, changed_at = excluded.changed_at, changed_by = excluded.changed_by;

-- name: book
-- The next lines of an address book, by name: people whom the writer may have to do with in one of the ways that rules
-- speak of; the rules themselves are asked after.
with mine as materialized (
    select * from near_groups(:author_id, :now)
),
schools as materialized (
    select distinct school_id from mine where school_id is not null
),
in_school as materialized (   -- by profile: pupils, teachers and staff are groups of their school
    select m.person_id, g.kind
    from schools s
    join people_group g on g.school_id = s.school_id and g.kind in (1, 2, 3)
         and (case g.kind when 1 then 1 when 2 then 3 else 4 end = any (:by_school::int[])
              or (g.kind = 1 and 2 = any (:by_school::int[])))
    join membership m on m.group_id = g.id and m.valid_from <= :now and m.valid_until > :now
),
in_class as materialized (
    select m.person_id
    from mine x join membership m on m.group_id = x.group_id and m.valid_from <= :now and m.valid_until > :now
    where x.kind in (4, 5) and cardinality(:by_class::int[]) > 0
),
near as (
    select person_id, true as by_school from in_school
    union
    select l.guardian_id, true from in_school i
    join guardian_link l on l.pupil_id = i.person_id and l.legal_level in (1, 2) and not l.restricted
    where i.kind = 1 and 2 = any (:by_school::int[])
    union
    select person_id, false from in_class
    union
    select l.guardian_id, false from in_class i
    join guardian_link l on l.pupil_id = i.person_id and l.legal_level in (1, 2) and not l.restricted
    where 2 = any (:by_class::int[])
    union
    select case when l.pupil_id = :author_id then l.guardian_id else l.pupil_id end, null
    from guardian_link l
    where :family and l.legal_level in (1, 2) and not l.restricted
      and (l.pupil_id = :author_id or l.guardian_id = :author_id)
),
named as (
    select distinct p.id, p.external_id, p.profile, p.function, p.given_name, p.family_name,
           replace(plain(p.family_name || ' ' || p.given_name), '-', ' ') as name
    from near n
    join person p on p.id = n.person_id and p.hidden_at is null and p.id <> :author_id
    where case n.by_school when true then p.profile = any (:by_school::int[])
                           when false then p.profile = any (:by_class::int[]) else true end
)
select * from named n
where (n.name, n.id) > (:after_name, :after_id)
  and not exists (select from unnest(:words::text[]) w where position(' ' || w in ' ' || n.name) = 0)
order by n.name, n.id limit :most;

-- name: function$
-- What somebody works as.
select function from person where id = :person_id;

-- name: words$
-- A search as address books are searched: plain words.
select array_remove(string_to_array(replace(plain(:search), '-', ' '), ' '), '') as words;

-- name: book_groups
-- Groups of the writer's schools, by name, and which of them are the writer's own.
select g.id, g.external_id, g.kind, g.name, s.uai,
       exists (select from near_groups(:author_id, :now) x where x.group_id = g.id) as within
from (select distinct school_id from near_groups(:author_id, :now) where school_id is not null) c
join people_group g on g.school_id = c.school_id and g.kind < 6
join school s on s.id = g.school_id
where not exists (
    select from unnest(:words::text[]) w where position(' ' || w in ' ' || replace(plain(g.name), '-', ' ')) = 0
)
order by g.kind, plain(g.name), g.id;

-- name: block!
-- Want no messages of somebody.
insert into contact_block (person_id, blocked_id, blocked_at) values (:person_id, :blocked_id, :now)
on conflict do nothing;

-- name: unblock!
-- Want them again.
delete from contact_block where person_id = :person_id and blocked_id = :blocked_id;

-- name: blocked
-- Whom somebody has blocked.
select p.external_id, p.given_name, p.family_name from contact_block b join person p on p.id = b.blocked_id
where b.person_id = :person_id order by p.family_name, p.given_name, p.id;
