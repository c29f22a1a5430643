-- Half a year on a directory of 200,000 people: 2,000 campaigns, most to a class. Relayed, not yet planned.
set search_path = ent_notify;

insert into notification (idempotency_key, type, category, urgency, data, audience, clauses, published_at, expires_at)
select 'n' || i, t.type, t.category, t.urgency, '{}', '{}',
       jsonb_build_array(jsonb_build_object('in', t.terms, 'not', '[]'::jsonb)),
       timestamptz '2026-03-02 08:00Z' + i * interval '2 hours', timestamptz '2027-01-01'
from generate_series(1, 2000) i
cross join lateral (
    select g.id as class from people_group g where g.kind = 4 order by g.id offset i * 7 % 2900 limit 1
) c
cross join lateral (
    select 'Announcement' as type, 'announcement' as category, 2 as urgency, '[[0, 0]]'::jsonb as terms where i % 250 = 0
    union all
    select 'Announcement', 'announcement', 2, jsonb_build_array(jsonb_build_array(1, 3 * (i % 100 + 1) - 2), jsonb_build_array(2, 3 * (i % 100 + 1) - 2))
    where i % 50 = 0 and i % 250 <> 0
    union all
    select 'Announcement', 'homework', 1, jsonb_build_array(jsonb_build_array(1, c.class), jsonb_build_array(2, c.class))
    where i % 50 <> 0
) t;
