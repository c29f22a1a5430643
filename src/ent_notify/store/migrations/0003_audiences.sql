-- Who an audience is, and who still belongs to it: read by plans, inboxes and the look just before sending.

set local search_path = ent_notify;

-- ---------------------------------------------------------------- people of an audience

-- Who one audience key reaches: who held it at `published` already, and holds it at `at` still.
create function people_under(scope smallint, ref int, published timestamptz, at timestamptz) returns table (person_id int)
language sql stable as $$
    select p.id as person_id from ent_notify.person p
    where scope = 0 and (ref = 0 or p.profile = ref)
    union all
    select m.person_id from ent_notify.membership m
    where scope = 1 and m.group_id = ref and m.valid_from <= published and m.valid_until > at
    union all
    select g.guardian_id from ent_notify.membership m
    join ent_notify.guardian_link g on g.pupil_id = m.person_id and g.legal_level in (1, 2) and not g.restricted
    where scope = 2 and m.group_id = ref and m.valid_from <= published and m.valid_until > at
    union all
    select ref where scope = 3
    union all
    select g.guardian_id from ent_notify.guardian_link g
    where scope = 4 and g.pupil_id = ref and g.legal_level in (1, 2) and not g.restricted
$$;

-- Everybody a set of campaigns is for, once each: let in by a key held at publication, and at `at` still; kept out by one
-- held at publication. Who looks just before sending (still_addressed) and who opens the inbox asks the same.
create function audience_people(campaigns bigint[], at timestamptz) returns table (campaign_id bigint, person_id int)
language sql stable as $$
    with reached as materialized (
        select a.notification_id as campaign_id, a.clause, a.excluded, p.person_id
        from ent_notify.audience a
        join ent_notify.notification n on n.id = a.notification_id
        cross join lateral ent_notify.people_under(a.scope, a.ref, n.published_at, case when a.excluded then n.published_at else at end) p
        where a.notification_id = any (campaigns)
    )
    select distinct r.campaign_id, r.person_id from reached r
    where not r.excluded
      and not exists (
          select from reached x
          where x.excluded and x.campaign_id = r.campaign_id and x.clause = r.clause and x.person_id = r.person_id
      )
$$;

-- The audience keys under which somebody reads: (scope, ref), since when, until when, and through which child.
-- One who has left holds none.
create function reader_keys(reader int, at timestamptz)
returns table (scope smallint, ref int, since timestamptz, until timestamptz, child int)
language sql stable as $$
    select k.scope, k.ref, k.since, k.until, k.child
    from ent_notify.person p
    cross join lateral (
        select 0::smallint as scope, 0 as ref, '-infinity'::timestamptz as since, 'infinity'::timestamptz as until,
               null::int as child
        union all
        select 0::smallint, p.profile::int, '-infinity', 'infinity', null
        union all
        select 1::smallint, m.group_id, m.valid_from, m.valid_until, null from ent_notify.membership m
        where m.person_id = reader and m.valid_from <= at
        union all
        select 2::smallint, m.group_id, m.valid_from, m.valid_until, g.pupil_id from ent_notify.guardian_link g
        join ent_notify.membership m on m.person_id = g.pupil_id
        where g.guardian_id = reader and g.legal_level in (1, 2) and not g.restricted and m.valid_from <= at
        union all
        select 3::smallint, reader, '-infinity', 'infinity', null
        union all
        select 4::smallint, g.pupil_id, '-infinity', 'infinity', g.pupil_id from ent_notify.guardian_link g
        where g.guardian_id = reader and g.legal_level in (1, 2) and not g.restricted
    ) k
    where p.id = reader and p.hidden_at is null
$$;

-- Which of some people a campaign is for at this moment (the second look, just before sending), and because of which
-- children: who held a key of its audience when it was published, and holds it still. For a campaign to everyone the look at memberships is left out: being there is enough.
create function still_addressed(campaign bigint, people int[], at timestamptz) returns table (person_id int, children int[])
language sql stable as $$
    with everyone as (
        select a.ref from ent_notify.audience a
        where a.notification_id = campaign and a.scope = 0 and not a.excluded
          and not exists (select from ent_notify.audience x where x.notification_id = campaign and x.excluded)
    ),
    covered as materialized (
        select p.id from ent_notify.person p
        where p.id = any (people) and exists (select from everyone e where e.ref = 0 or e.ref = p.profile)
    ),
    -- (from the ids, not "from person", which reader_keys reads too: PostgreSQL 18.4 was seen to crash on that plan)
    held as materialized (
        select p.id as person_id, k.scope, k.ref, k.child, k.until, n.published_at
        from (select n.published_at from ent_notify.notification n where n.id = campaign) n
        cross join unnest(array(select unnest(people) except select id from covered)) p (id)
        cross join lateral ent_notify.reader_keys(p.id, at) k
        where k.since <= n.published_at
    )
    select id, null::int[] from covered
    union all
    select h.person_id, array_agg(distinct h.child) filter (where h.child is not null)
    from ent_notify.audience a join held h on h.scope = a.scope and h.ref = a.ref
    where a.notification_id = campaign and not a.excluded and h.until > at
      and not exists (
          select from ent_notify.audience x join held y on y.scope = x.scope and y.ref = x.ref and y.until > y.published_at
          where x.notification_id = campaign and x.excluded and x.clause = a.clause and y.person_id = h.person_id
      )
    group by h.person_id
$$;
