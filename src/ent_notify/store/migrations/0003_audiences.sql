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

-- Which of some pairs of a campaign and a person still hold at this moment (the second look, just before sending), and
-- because of which children: who held a key of the audience when it was published, holds it still, and was kept out by
-- none then. Where every campaign is for everyone or for whole profiles, being there is enough, and nobody's memberships
-- are looked at.
create function still_addressed(campaigns bigint[], people int[], at timestamptz)
returns table (campaign_id bigint, person_id int, children int[])
language plpgsql stable set search_path = ent_notify, pg_temp as $$
declare
    distinct_campaigns bigint[] := array(select distinct c from unnest(campaigns) c);
begin
    if not exists (
        select from audience a where a.notification_id = any (distinct_campaigns) and (a.scope <> 0 or a.excluded)
    ) then
        return query
        select u.campaign, p.id, null::int[]
        from unnest(campaigns, people) u (campaign, person)
        join person p on p.id = u.person
        where exists (select from audience a where a.notification_id = u.campaign and a.ref in (0, p.profile));
        return;
    end if;
    return query
    with pair as materialized (
        select distinct u.campaign, u.person from unnest(campaigns, people) u (campaign, person)
    ),
    covered as materialized (
        select r.campaign, r.person
        from pair r join person p on p.id = r.person
        where exists (
                select from audience a
                where a.notification_id = r.campaign and a.scope = 0 and not a.excluded and a.ref in (0, p.profile)
            )
          and not exists (select from audience x where x.notification_id = r.campaign and x.excluded)
    ),
    rest as materialized (
        select r.campaign, r.person, n.published_at
        from (select campaign, person from pair except select campaign, person from covered) r
        join notification n on n.id = r.campaign
    ),
    -- (from the ids, not "from person", which reader_keys reads too: PostgreSQL 18.4 was seen to crash on that plan)
    held as materialized (
        select d.person, k.scope, k.ref, k.since, k.until, k.child
        from (select distinct r.person from rest r) d
        cross join lateral reader_keys(d.person, at) k
    ),
    hit as materialized (
        select r.campaign, r.person, a.clause, a.excluded, h.child
        from rest r
        join held h on h.person = r.person and h.since <= r.published_at
        join audience a on a.notification_id = r.campaign and a.scope = h.scope and a.ref = h.ref
        where h.until > case when a.excluded then r.published_at else at end
    )
    select c.campaign, c.person, null::int[] from covered c
    union all
    select h.campaign, h.person, array_agg(distinct h.child) filter (where h.child is not null)
    from hit h
    where not h.excluded
      and not exists (
          select from hit x
          where x.excluded and x.campaign = h.campaign and x.person = h.person and x.clause = h.clause
      )
    group by h.campaign, h.person;
end $$;
