-- A term of notifications for a whole region, so that everybody's newest page is full: of the region, of each school, of
-- each class. Published as hosts publish in SQL, day by day, so that in the feed they lie mixed as in life.

-- name: publish
select count(ent_notify.publish(jsonb_build_object(
    'type', case kind when 4 then 'HomeworkAssigned' else 'Announcement' end,
    'key', 'inbox/' || day || '/' || coalesce(external_id, ''),
    'audience', case kind when 0 then '{"everyone": true}' when 1 then jsonb_build_object('school', external_id) end,
    'data', case kind when 4 then jsonb_build_object('group', external_id, 'subject', 'Anglais', 'title', 'Exercice ' || day,
                                                     'due', '2026-09-10')
                      else jsonb_build_object('title', 'Information ' || day, 'body', 'Samedi, de 9 h à 12 h.') end
), timestamptz '2026-09-01 08:00+00' + day * interval '8 hours'))
from (
    select day, 4 as kind, external_id from ent_notify.people_group cross join generate_series(1, %(of_class)s) day where kind = 4
    union all
    select day, 1, uai from ent_notify.school cross join generate_series(1, %(of_school)s) day
    union all
    select day, 0, null from generate_series(1, %(of_region)s) day
    order by 1, 3
) due;

-- name: head
select last_seq from ent_notify.feed;
