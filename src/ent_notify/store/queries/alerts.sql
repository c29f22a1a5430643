-- name: schools_with_work
-- Schools that have work for some day from now on, with what the project and they themselves say of their calendar, and
-- since when they have had any.
select s.id, s.uai, s.timezone, w.since,
       (select data from school_calendar where school_id is null) as common, c.data as own
from school s
cross join lateral (
    select min(coalesce(n.published_at, '-infinity')) as since
    from homework h left join notification n on n.id = h.notification_id
    where h.school_id = s.id and h.due >= :today::date - 1 and h.withdrawn_at is null
) w
left join school_calendar c on c.school_id = s.id
where s.closed_at is null and w.since is not null
order by s.id;

-- name: place^
-- A school where it lies, by its UAI.
select s.id, s.uai, s.timezone,
       (select data from school_calendar where school_id is null) as common, c.data as own
from school s left join school_calendar c on c.school_id = s.id
where s.uai = :school;

-- name: remind$
-- Publish reminders that nobody has published before; how many notifications.
select remind(:schools::int[], :evenings::date[], :tests::boolean[], :dues::date[], :ends::timestamptz[], :now);

-- name: set_calendar!
-- Keep what the project (no school) or a school says of its calendar.
insert into school_calendar (school_id, data, changed_at, changed_by)
select s.id, :data, :now, :changed_by
from (select null::int as id where :school::text is null union all select id from school where uai = :school) s
on conflict (school_id) do update
set data = excluded.data, changed_at = excluded.changed_at, changed_by = excluded.changed_by;
