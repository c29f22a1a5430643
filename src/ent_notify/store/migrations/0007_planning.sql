-- Who gets what by which lane, packed: the pieces that a plan turns into chunks. Three ways to the same pieces, by size:
-- a campaign to everyone reads people and devices once each and needs no list of its audience; a large audience is joined
-- by hashing; many small ones by index. Every way looks at who has left, preferences, dropped addresses and devices, and
-- the end of the pause in each reader's zone.

set local search_path = ent_notify;

-- Targets are written once: out of the row, so that settling a window rewrites a hundred bytes and not the ids; and never
-- compressed, since ids do not compress for what it costs. Room on the page lets a window's update stay there (HOT).
alter table chunk alter column targets set storage external;
alter table chunk set (toast_tuple_target = 128, fillfactor = 75);

create index person_hidden on person (id) where hidden_at is not null;

-- Who wants nothing of a category by a channel: few, and read at once for many people.
create index preference_refused on preference (channel, category) include (person_id) where not enabled;

-- The time zones that people live in, so that a plan knows for how many the pause has to be computed.
create table zone (
    name        text primary key
);
create function note_zones() returns trigger
language plpgsql set search_path = ent_notify, pg_temp as $$
begin
    insert into zone (name) select distinct p.timezone from placed p on conflict do nothing;
    return null;
end $$;
create trigger person_zones_insert after insert on person
referencing new table as placed for each statement execute function note_zones();
create trigger person_zones_update after update on person
referencing new table as placed for each statement execute function note_zones();

create type piece as (
    campaign_id bigint,
    lane_id     smallint,
    bucket      int,                               -- person id / campaign.width, or -1
    held_until  timestamptz,
    size        int,
    targets     int[]                              -- null for web
);

-- Any set of campaigns.
create function pieces_of(campaigns bigint[], zones text[], holds timestamptz[], default_hold timestamptz, at timestamptz)
returns setof piece language plpgsql stable
set search_path = ent_notify, pg_temp set plan_cache_mode = force_custom_plan set enable_nestloop = on as $$
begin
    return query
    with due as materialized (
        select c.notification_id as id, n.category, n.urgency, c.width, t.channels
        from campaign c
        join notification n on n.id = c.notification_id
        join event_type t on t.name = n.type
        where c.notification_id = any (campaigns)
    ),
    pause as (
        select * from unnest(zones, holds) as z (timezone, held_until)
    ),
    people as materialized (
        select d.id as campaign_id, a.person_id, p.mail_lane,
               p.email is not null and p.email_dropped_at is null as mailable,
               case when d.width is null then -1 else a.person_id / d.width end as bucket,
               case when d.urgency = 0 then '-infinity' else coalesce(z.held_until, default_hold) end as held_until
        from due d
        join audience_people(campaigns, at) a on a.campaign_id = d.id
        join person p on p.id = a.person_id and p.hidden_at is null
        left join pause z on z.timezone = p.timezone
    )
    select w.campaign_id, l.id, -1, '-infinity'::timestamptz, w.size, null::int[]
    from (
        select e.campaign_id, count(*)::int as size
        from people e join due d on d.id = e.campaign_id and 'web' = any (d.channels)
        group by e.campaign_id
    ) w
    join lane l on l.name = 'web'
    union all
    select m.campaign_id, coalesce(m.mail_lane, l.id), m.bucket, m.held_until, cardinality(m.targets), m.targets
    from (
        select e.campaign_id, e.mail_lane, e.bucket, e.held_until, array_agg(e.person_id) as targets
        from people e
        join due d on d.id = e.campaign_id and 'email' = any (d.channels)
        left join preference f
            on f.person_id = e.person_id and f.category = d.category and f.channel = 'email' and not f.enabled
        where e.mailable and f.person_id is null
        group by e.campaign_id, e.mail_lane, e.bucket, e.held_until
    ) m
    join lane l on l.name = 'email'
    union all
    select m.campaign_id, l.id, m.bucket, m.held_until, cardinality(m.targets), m.targets
    from (
        select e.campaign_id, v.provider, v.app, e.bucket, e.held_until, array_agg(v.id) as targets
        from people e
        join due d on d.id = e.campaign_id and 'push' = any (d.channels)
        join device v on v.person_id = e.person_id and v.dropped_at is null
        left join preference f
            on f.person_id = e.person_id and f.category = d.category and f.channel = 'push' and not f.enabled
        where f.person_id is null
        group by e.campaign_id, v.provider, v.app, e.bucket, e.held_until
    ) m
    join lane l on l.channel = 'push' and l.provider = m.provider and l.app = m.app;
end $$;

-- Many small campaigns at once: each group is looked up once, however many of them it is for. What was found so far is
-- handed on as arrays, because the length of an array is what the next step's plan can be trusted to know.
create function pieces_of_small(campaigns bigint[], zones text[], holds timestamptz[], default_hold timestamptz, at timestamptz)
returns setof piece language plpgsql stable
set search_path = ent_notify, pg_temp set plan_cache_mode = force_custom_plan
set enable_nestloop = on set work_mem = '64MB' as $$
declare
    term_ids bigint[];
    clauses smallint[];
    scopes smallint[];
    refs int[];
    published timestamptz[];
    members_of int[];
    guardians_of int[];
    persons int[];
    wards int[];
    excludes boolean;   -- hardly ever: then no plan has to look
    campaign_ids bigint[];
    people int[];
    due bigint[];
    categories text[];
    no_holds timestamptz[];   -- of what is urgent: held by no pause
    by_web boolean[];
    by_mail boolean[];
    by_push boolean[];
begin
    select array_agg(a.notification_id), array_agg(a.clause), array_agg(a.scope), array_agg(a.ref),
           array_agg(n.published_at), array_agg(distinct a.ref) filter (where a.scope = 1), array_agg(distinct a.ref) filter (where a.scope = 2),
           array_agg(distinct a.ref) filter (where a.scope = 3), array_agg(distinct a.ref) filter (where a.scope = 4)
    into term_ids, clauses, scopes, refs, published, members_of, guardians_of, persons, wards
    from audience a join notification n on n.id = a.notification_id
    where a.notification_id = any (campaigns) and not a.excluded;
    excludes := exists (select from audience a where a.notification_id = any (campaigns) and a.excluded);

    select array_agg(x.id), array_agg(x.person_id) into campaign_ids, people
    from (
        select distinct t.id, r.person_id
        from unnest(term_ids, clauses, scopes, refs, published) t (id, clause, scope, ref, published_at)
        join (
            select 1 as scope, m.group_id as ref, m.person_id, m.valid_from as since from membership m
            where m.group_id = any (members_of) and m.valid_from <= at and m.valid_until > at
            union all
            select 2, m.group_id, g.guardian_id, m.valid_from from membership m
            join guardian_link g on g.pupil_id = m.person_id and g.legal_level in (1, 2) and not g.restricted
            where m.group_id = any (guardians_of) and m.valid_from <= at and m.valid_until > at
            union all
            select 3, x.ref, x.ref, '-infinity' from unnest(persons) x (ref)
            union all
            select 4, g.pupil_id, g.guardian_id, '-infinity' from guardian_link g
            where g.pupil_id = any (wards) and g.legal_level in (1, 2) and not g.restricted
        ) r on r.scope = t.scope and r.ref = t.ref and r.since <= t.published_at
        where not excludes or not exists (
            select from audience x
            where x.notification_id = t.id and x.clause = t.clause and x.excluded
              and exists (select from people_under(x.scope, x.ref, t.published_at, t.published_at) u where u.person_id = r.person_id)
        )
    ) x;

    select array_agg(n.id), array_agg(n.category), array_agg(case when n.urgency = 0 then '-infinity'::timestamptz end),
           array_agg('web' = any (t.channels)), array_agg('email' = any (t.channels)), array_agg('push' = any (t.channels))
    into due, categories, no_holds, by_web, by_mail, by_push
    from notification n join event_type t on t.name = n.type
    where n.id = any (campaigns);

    return query
    with addressed as materialized (
        select d.id as campaign_id, d.category, d.web, d.mail, d.push, p.id as person_id, p.mail_lane,
               p.email is not null and p.email_dropped_at is null as mailable,
               coalesce(d.no_hold, z.held_until, default_hold) as held_until
        from unnest(campaign_ids, people) a (campaign_id, person_id)
        join unnest(due, categories, no_holds, by_web, by_mail, by_push) d (id, category, no_hold, web, mail, push)
            on d.id = a.campaign_id
        join person p on p.id = a.person_id and p.hidden_at is null
        left join unnest(zones, holds) z (timezone, held_until) on z.timezone = p.timezone
    )
    select w.campaign_id, l.id, -1, '-infinity'::timestamptz, w.size, null::int[]
    from (select e.campaign_id, count(*)::int as size from addressed e where e.web group by e.campaign_id) w
    join lane l on l.name = 'web'
    union all
    select m.campaign_id, coalesce(m.mail_lane, l.id), -1, m.held_until, cardinality(m.targets), m.targets
    from (
        select e.campaign_id, e.mail_lane, e.held_until, array_agg(e.person_id) as targets
        from addressed e
        left join preference f
            on f.person_id = e.person_id and f.category = e.category and f.channel = 'email' and not f.enabled
        where e.mailable and f.person_id is null and e.mail
        group by e.campaign_id, e.mail_lane, e.held_until
    ) m
    join lane l on l.name = 'email'
    union all
    select m.campaign_id, m.lane_id, -1, m.held_until, cardinality(m.targets), m.targets
    from (
        select e.campaign_id, l.id as lane_id, e.held_until, array_agg(v.id) as targets
        from addressed e
        join device v on v.person_id = e.person_id and v.dropped_at is null
        join lane l on l.channel = 'push' and l.provider = v.provider and l.app = v.app
        left join preference f
            on f.person_id = e.person_id and f.category = e.category and f.channel = 'push' and not f.enabled
        where f.person_id is null and e.push
        group by e.campaign_id, l.id, e.held_until
    ) m;
end $$;

-- One campaign to a large audience: the same, but joined by hashing, with memory enough not to spill.
create function pieces_of_many(campaign bigint, zones text[], holds timestamptz[], default_hold timestamptz, at timestamptz)
returns setof piece language plpgsql stable
set search_path = ent_notify, pg_temp set enable_nestloop = off set work_mem = '256MB' as $$
begin
    return query select * from pieces_of(array[campaign], zones, holds, default_hold, at);
end $$;

-- One campaign to everyone, where one hold is everybody's: people and devices are read once, and nobody is listed.
create function pieces_of_everyone(campaign bigint, hold timestamptz) returns setof piece language plpgsql stable
set search_path = ent_notify, pg_temp set plan_cache_mode = force_custom_plan
set enable_nestloop = off set work_mem = '256MB' as $$
declare
    kind text;
    channels text[];
    width int;
    until timestamptz;
begin
    select n.category, t.channels, c.width, case when n.urgency = 0 then '-infinity' else hold end
    into kind, channels, width, until
    from campaign c
    join notification n on n.id = c.notification_id
    join event_type t on t.name = n.type
    where c.notification_id = campaign;

    return query
    with bucketed as materialized (
        select p.id / width as bucket, p.mail_lane, count(*)::int as people,
               array_agg(p.id) filter (where p.email is not null and p.email_dropped_at is null and f.person_id is null)
                   as mailed
        from person p
        left join preference f on f.person_id = p.id and f.category = kind and f.channel = 'email' and not f.enabled
        where p.hidden_at is null
        group by 1, 2
    )
    select campaign, l.id, -1, '-infinity'::timestamptz, w.size, null::int[]
    from (select sum(b.people)::int as size from bucketed b) w
    join lane l on l.name = 'web'
    where w.size > 0 and 'web' = any (channels)
    union all
    select campaign, coalesce(b.mail_lane, l.id), b.bucket, until, cardinality(b.mailed), b.mailed
    from bucketed b, lane l
    where l.name = 'email' and b.mailed is not null and 'email' = any (channels);

    if 'push' = any (channels) then
        return query
        select campaign, l.id, m.bucket, until, cardinality(m.targets), m.targets
        from (
            select v.provider, v.app, v.person_id / width as bucket, array_agg(v.id) as targets
            from device v
            left join preference f on f.person_id = v.person_id and f.category = kind and f.channel = 'push' and not f.enabled
            where v.dropped_at is null and f.person_id is null
              and not exists (select from person h where h.id = v.person_id and h.hidden_at is not null)
            group by 1, 2, 3
        ) m
        join lane l on l.channel = 'push' and l.provider = m.provider and l.app = m.app;
    end if;
end $$;

-- The pieces of some campaigns, by the way that suits them.
create function plan_pieces(campaigns bigint[], zones text[], holds timestamptz[], default_hold timestamptz, at timestamptz)
returns setof piece language plpgsql stable rows 100000   -- many: whoever joins them shall hash
set search_path = ent_notify, pg_temp as $$
declare
    reach bigint;
begin
    if not exists (select from campaign where notification_id = any (campaigns) and width is not null) then
        return query select * from pieces_of_small(campaigns, zones, holds, default_hold, at);
    elsif cardinality(campaigns) <> 1 then
        return query select * from pieces_of(campaigns, zones, holds, default_hold, at);
    elsif (select count(*) = 1 and bool_and(a.scope = 0 and a.ref = 0) from audience a where a.notification_id = campaigns[1])
          and (select count(distinct h) <= 1 and coalesce(min(h), default_hold) = default_hold from unnest(holds) h) then
        return query select * from pieces_of_everyone(campaigns[1], default_hold);
    else
        select sum(case when a.scope = 0 then 1e9 when a.scope in (1, 2) then
                   (select count(*) from (select from membership m where m.group_id = a.ref limit 50000) s) else 1 end)
        into reach from audience a where a.notification_id = campaigns[1] and not a.excluded;
        if reach >= 50000 then
            return query select * from pieces_of_many(campaigns[1], zones, holds, default_hold, at);
        else
            return query select * from pieces_of(campaigns, zones, holds, default_hold, at);
        end if;
    end if;
end $$;

-- Plans campaigns in one pass: people, then one packed chunk per lane, bucket and end of pause; answers how many were
-- planned. Two planners never plan one campaign twice: its row is locked, and a chunk's natural key is unique. (Nested
-- loops are off: they would look through all campaigns for every chunk.)
create function plan_campaigns(campaigns bigint[], zones text[], holds timestamptz[], default_hold timestamptz, at timestamptz)
returns int language plpgsql volatile
set search_path = ent_notify, pg_temp set enable_nestloop = off set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
declare
    planned_now int;
begin
    with due as materialized (
        select c.notification_id as id, n.urgency, c.state = 1 as is_paused, coalesce(c.school_id, -c.notification_id) as party
        from campaign c
        join notification n on n.id = c.notification_id and n.id = any (campaigns)
        where c.notification_id = any (campaigns) and c.planned_at is null and c.state < 2
        for update of c skip locked
    ),
    piece as materialized (
        select * from plan_pieces(array(select id from due), zones, holds, default_hold, at)
    ),
    queued as materialized (
        -- what is ready at once takes its turn behind whatever its party has waiting in the lane
        select p.campaign_id, p.lane_id, p.bucket, p.held_until, d.urgency, d.party,
               row_number() over (partition by p.lane_id, d.urgency, d.party order by p.campaign_id, p.held_until, p.bucket) as place
        from piece p join due d on d.id = p.campaign_id
        where p.targets is not null and p.held_until <= at and not d.is_paused
    ),
    shared as (
        insert into fair_share (lane_id, urgency, party, turn, asked)
        select q.lane_id, q.urgency, q.party, l.turns[q.urgency + 1] + count(*), count(*)
        from queued q join lane l on l.id = q.lane_id
        group by q.lane_id, q.urgency, q.party, l.turns order by q.lane_id, q.urgency, q.party
        on conflict (lane_id, urgency, party) do update
            set turn = greatest(fair_share.turn + excluded.asked, excluded.turn), asked = excluded.asked
        returning lane_id, urgency, party, turn - asked as base
    ),
    packed as (
        insert into chunk (campaign_id, lane_id, bucket, held_until, urgency, turn, size, targets,
                           cursor, accepted, state, due_at, settled_at)
        select p.campaign_id, p.lane_id, p.bucket, p.held_until, d.urgency, coalesce(s.base + q.place, 0),
               p.size, p.targets,
               case when l.channel = 'web' then p.size else 0 end,
               case when l.channel = 'web' then p.size else 0 end,
               case when l.channel = 'web' then 3 when d.is_paused then 4 when p.held_until > at then 1 else 0 end,
               greatest(p.held_until, at),
               case when l.channel = 'web' then at end
        from piece p join due d on d.id = p.campaign_id join lane l on l.id = p.lane_id
        left join queued q
            on q.campaign_id = p.campaign_id and q.lane_id = p.lane_id and q.bucket = p.bucket and q.held_until = p.held_until
        left join shared s on s.lane_id = q.lane_id and s.urgency = q.urgency and s.party = q.party
        on conflict (campaign_id, lane_id, bucket, held_until) do nothing
    ),
    planned as (
        update campaign c set planned_at = at where c.notification_id = any (array(select id from due)) returning c.notification_id
    )
    select count(*)::int into planned_now from planned;
    return planned_now;
end $$;
