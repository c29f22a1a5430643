-- Publishing, the relay, planning, claiming: the statements that must be one transaction wherever they are called from.
-- Errors for hosts: EN001 unknown audience, EN002 malformed event, EN005 too much from one sender.

set local search_path = ent_notify;

-- ---------------------------------------------------------------- audiences

-- One audience expression without a minus -> [[scope, ref], ...]. `bind` fills "$field" of a natural audience.
-- (Names its schema itself instead of setting a path: it calls itself for each part of an expression.)
create function audience_terms(expr jsonb, guardians boolean, bind jsonb) returns jsonb
language plpgsql stable as $$
declare
    kind text;
    value text;
    profile text := expr->>'profile';
    found_id int;
    terms jsonb := '[]';
begin
    if jsonb_typeof(expr) is distinct from 'object' then
        raise exception 'an audience is an object such as {"group": "0541234A/class/6A"}, not %', coalesce(expr::text, 'null')
            using errcode = 'EN002';
    end if;
    kind := case when expr ? 'group' then 'group' when expr ? 'guardians_of' then 'guardians_of'
                 when expr ? 'union' then 'union' when expr ? 'person' then 'person' when expr ? 'school' then 'school'
                 when expr ? 'everyone' then 'everyone' when expr ? 'minus' then 'minus' end;
    if kind is null or expr - kind - 'profile' <> '{}' then
        raise exception 'audience % is not known; write one of everyone, school, group, person, guardians_of, union, minus', expr
            using errcode = 'EN002';
    end if;
    if expr ? 'profile' and (kind not in ('everyone', 'school') or profile is null
                             or profile not in ('pupil', 'guardian', 'teacher', 'staff')) then
        raise exception 'audience %: "profile" is one of pupil, guardian, teacher, staff, beside everyone or school only', expr
            using errcode = 'EN002';
    end if;

    if kind = 'minus' then
        raise exception 'audience %: a minus cannot stand inside guardians_of or at the right of another minus; take the people out with one outer minus', expr
            using errcode = 'EN002';
    elsif kind = 'union' then
        if jsonb_typeof(expr->'union') <> 'array' or jsonb_array_length(expr->'union') not between 1 and 5000 then
            raise exception 'a union takes a list of 1 to 5000 audiences' using errcode = 'EN002';
        end if;
        for place in 0 .. jsonb_array_length(expr->'union') - 1 loop
            terms := terms || ent_notify.audience_terms(expr->'union'->place, guardians, bind);
        end loop;
        return terms;
    elsif kind = 'guardians_of' then
        if guardians then
            raise exception 'audience %: guardians_of cannot stand inside guardians_of', expr using errcode = 'EN002';
        end if;
        return ent_notify.audience_terms(expr->'guardians_of', true, bind);
    elsif kind = 'everyone' then
        if expr->'everyone' <> 'true'::jsonb then
            raise exception 'audience %: write {"everyone": true}', expr using errcode = 'EN002';
        end if;
        if guardians then
            raise exception 'audience %: for the guardians of everyone write {"everyone": true, "profile": "guardian"}', expr
                using errcode = 'EN002';
        end if;
        return jsonb_build_array(jsonb_build_array(0,
            coalesce(array_position(array['pupil', 'guardian', 'teacher', 'staff'], profile), 0)));
    end if;

    if jsonb_typeof(expr->kind) <> 'string' then
        raise exception 'audience %: "%" takes an id as text', expr, kind using errcode = 'EN002';
    end if;
    value := expr->>kind;
    if bind is not null and left(value, 1) = '$' then
        value := bind->>substr(value, 2);
    end if;

    if kind = 'person' then
        select id into found_id from ent_notify.person where external_id = value;
        if found_id is null then
            raise exception 'no person "%" is in the directory; import them first, or correct the id', value using errcode = 'EN001';
        end if;
        return jsonb_build_array(jsonb_build_array(case when guardians then 4 else 3 end, found_id));
    elsif kind = 'group' then
        select id into found_id from ent_notify.people_group where external_id = value;
        if found_id is null then
            raise exception 'no group "%" is in the directory; a class is written UAI/class/NAME', value using errcode = 'EN001';
        end if;
        return jsonb_build_array(jsonb_build_array(case when guardians then 2 else 1 end, found_id));
    end if;

    -- a school, or one profile of it
    select id into found_id from ent_notify.school where uai = value;
    if found_id is null then
        raise exception 'no school "%" is in the directory; give its UAI, such as 0541234A', value using errcode = 'EN001';
    end if;
    if guardians and coalesce(profile, 'pupil') <> 'pupil' then
        raise exception 'audience %: only pupils have guardians', expr using errcode = 'EN002';
    end if;
    select coalesce(jsonb_agg(jsonb_build_array(t.scope, g.id)), '[]') into terms
    from ent_notify.people_group g
    join (values (1, 1, 'pupil'), (1, 2, 'guardian'), (2, 1, 'teacher'), (3, 1, 'staff')) t (kind, scope, name) on t.kind = g.kind
    where g.school_id = found_id
      and case when guardians then t.name = 'guardian' else profile is null or t.name = profile end;
    return terms;
end $$;

-- A whole expression -> clauses [{"in": [[scope, ref], ...], "not": [...]}, ...]; somebody is addressed when, in some
-- clause, an "in" holds and no "not" does.
create function audience_clauses(expr jsonb, bind jsonb) returns jsonb
language plpgsql stable set search_path = ent_notify, pg_temp as $$
declare
    clauses jsonb := '[]';
    plain jsonb := '[]';
    part jsonb;
    removed jsonb;
begin
    if jsonb_typeof(expr) = 'object' and expr ? 'minus' then
        if jsonb_typeof(expr->'minus') <> 'array' or jsonb_array_length(expr->'minus') <> 2 then
            raise exception 'a minus takes two audiences: {"minus": [base, removed]}' using errcode = 'EN002';
        end if;
        removed := audience_terms(expr->'minus'->1, false, bind);
        select jsonb_agg(jsonb_set(c, '{not}', (c->'not') || removed)) into clauses
        from jsonb_array_elements(audience_clauses(expr->'minus'->0, bind)) c;
        return clauses;
    elsif jsonb_typeof(expr) = 'object' and jsonb_typeof(expr->'union') = 'array' and jsonb_path_exists(expr->'union', '$[*].**.minus') then
        for part in select * from jsonb_array_elements(expr->'union') loop
            clauses := clauses || audience_clauses(part, bind);
        end loop;
        if jsonb_array_length(clauses) > 100 then
            raise exception 'this audience has more than 100 parts with a minus of their own; publish it as several' using errcode = 'EN002';
        end if;
        return clauses;
    end if;
    plain := audience_terms(expr, false, bind);
    return jsonb_build_array(jsonb_build_object('in', plain, 'not', '[]'::jsonb));
end $$;

-- ---------------------------------------------------------------- publish

-- Counts one event against its sender's limit; EN005 when the sender is over it.
create function take_from_sender(who text, at timestamptz) returns void
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
declare
    allowed sender_limit;
    step interval;
    new_tat timestamptz;
begin
    if who is null or char_length(who) not between 1 and 200 then
        raise exception '"sender" is a text of 1 to 200 characters' using errcode = 'EN002';
    end if;
    select * into allowed from sender_limit;
    if not found then
        return;
    end if;
    step := make_interval(secs => 3600 / allowed.per_hour);
    insert into sender (name, tat) values (who, at + step)
    on conflict (name) do update set tat = greatest(sender.tat, at) + step
    returning tat into new_tat;
    if new_tat - at > step * allowed.burst then
        raise exception 'sender "%" publishes too much: at most % at once and % an hour; the next one is allowed at %',
            who, allowed.burst, allowed.per_hour, new_tat - step * allowed.burst using errcode = 'EN005';
    end if;
end $$;

-- The one function for hosts' own roles: it runs with its owner's rights, so that a role that may call it needs no other.
create function publish(event jsonb, at timestamptz default clock_timestamp()) returns jsonb
language plpgsql volatile security definer set search_path = ent_notify, pg_temp as $$
declare
    kind event_type;
    body jsonb;
    compiled jsonb;
    expr jsonb;
    expiry timestamptz;
    first_version bigint;
    new_id bigint;
    name text;
    spec text;
    value jsonb;
begin
    if jsonb_typeof(event) is distinct from 'object' then
        raise exception 'an event is an object {"type", "key", "audience", "data"}, not %', coalesce(jsonb_typeof(event), 'null')
            using errcode = 'EN002';
    end if;
    if event - array['type', 'key', 'audience', 'data', 'expires_at', 'urgency', 'sender', 'replaces'] <> '{}' then
        select k into name from jsonb_object_keys(event) k
        where k not in ('type', 'key', 'audience', 'data', 'expires_at', 'urgency', 'sender', 'replaces') limit 1;
        raise exception 'event field "%" is not known; an event has type, key, audience, data, expires_at, urgency, sender, replaces', name using errcode = 'EN002';
    end if;
    if jsonb_typeof(event->'key') is distinct from 'string' or char_length(event->>'key') not between 1 and 200 then
        raise exception '"key" (the idempotency key) is a text of 1 to 200 characters, not %', coalesce(left(event->>'key', 40), 'null')
            using errcode = 'EN002';
    end if;
    select * into kind from event_type t where t.name = event->>'type';
    if not found then
        raise exception 'event type "%" is not known; known are %', event->>'type', (select string_agg(t.name, ', ' order by t.name) from event_type t)
            using errcode = 'EN002';
    end if;

    body := coalesce(event->'data', '{}');
    if jsonb_typeof(body) <> 'object' then
        raise exception '% "data" is an object, not %', kind.name, jsonb_typeof(body) using errcode = 'EN002';
    end if;
    select k into name from jsonb_object_keys(body) k where not kind.fields ? k limit 1;
    if name is not null then
        raise exception '% has no field "%"; it has %', kind.name, name, (select string_agg(k, ', ') from jsonb_object_keys(kind.fields) k)
            using errcode = 'EN002';
    end if;
    for name, spec in select * from jsonb_each_text(kind.fields) loop
        value := body->name;
        if value is null or value = 'null'::jsonb then
            if right(spec, 1) <> '?' then
                raise exception '% lacks its field "%" (%)', kind.name, name, spec using errcode = 'EN002';
            end if;
        elsif not (case rtrim(spec, '?')
            when 'string' then jsonb_typeof(value) = 'string' and char_length(body->>name) <= 20000
            when 'integer' then jsonb_typeof(value) = 'number' and (body->>name) ~ '^-?\d{1,18}$'
            when 'boolean' then jsonb_typeof(value) = 'boolean'
            when 'date' then jsonb_typeof(value) = 'string' and pg_input_is_valid(body->>name, 'date')
                             and (body->>name) ~ '^\d{4}-\d\d-\d\d$'
            when 'datetime' then jsonb_typeof(value) = 'string' and pg_input_is_valid(body->>name, 'timestamptz')
                             and (body->>name) ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)$'
            else false end)
        then
            raise exception '% field "%" is a %, not %', kind.name, name,
                case rtrim(spec, '?') when 'string' then 'text of at most 20000 characters' else rtrim(spec, '?') end,
                case when jsonb_typeof(value) = 'string' and char_length(body->>name) > 60
                     then 'one of ' || char_length(body->>name) || ' characters' else value::text end
                using errcode = 'EN002';
        end if;
    end loop;

    if event ? 'urgency' and (event->>'urgency') not in ('urgent', 'normal', 'bulk') then
        raise exception '"urgency" is urgent, normal or bulk, not %', event->'urgency' using errcode = 'EN002';
    end if;
    if event ? 'expires_at' then
        if not pg_input_is_valid(event->>'expires_at', 'timestamptz') or (event->>'expires_at') !~ '^\d{4}-\d\d-\d\dT.*(Z|[+-]\d\d:?\d\d)$' then
            raise exception '"expires_at" is an instant such as 2026-09-08T10:00:00+02:00, not %', event->'expires_at' using errcode = 'EN002';
        end if;
        expiry := (event->>'expires_at')::timestamptz;
    elsif kind.ends_after = '[]' then
        expiry := at + kind.life;
    else
        select (body->>(o.rule->>0))::timestamptz + make_interval(secs => (o.rule->>1)::double precision) into expiry
        from jsonb_array_elements(kind.ends_after) with ordinality o (rule, place)
        where body->>(o.rule->>0) is not null order by o.place limit 1;
        expiry := coalesce(expiry, at + kind.life);
    end if;
    if kind.name = 'Withdrawn' then
        raise exception 'Withdrawn is published by a recall alone' using errcode = 'EN002';
    end if;
    if event ? 'replaces' then
        select coalesce(n.root, n.id) into first_version from notification n
        where n.idempotency_key = event->>'replaces' and n.withdraws is null;
        if first_version is null then
            raise exception '"replaces": no event was published under the key %; leave it out of a first version', event->'replaces'
                using errcode = 'EN002';
        end if;
    end if;
    expr := event->'audience';
    if expr is null or expr = 'null'::jsonb then
        if kind.natural_audience is null then
            raise exception '% needs an "audience"', kind.name using errcode = 'EN002';
        end if;
        expr := kind.natural_audience;
        compiled := audience_clauses(expr, body);
    else
        compiled := audience_clauses(expr, null);
    end if;

    insert into notification (idempotency_key, type, category, urgency, data, audience, clauses, published_at, expires_at,
                              root)
    values (event->>'key', kind.name, kind.category,
            coalesce(array_position(array['urgent', 'normal', 'bulk'], event->>'urgency') - 1, kind.urgency),
            body, expr, compiled, at, expiry, first_version)
    on conflict (idempotency_key) do nothing
    returning id into new_id;
    if new_id is not null then
        if event ? 'sender' then
            perform take_from_sender(event->>'sender', at);
        end if;
        return jsonb_build_object('notification', new_id, 'created', true);
    end if;
    select id into new_id from notification where idempotency_key = event->>'key';
    return jsonb_build_object('notification', new_id, 'created', false);
end $$;
revoke execute on function publish from public;

-- ---------------------------------------------------------------- the relay

-- Gives committed notifications their place in the feed: gapless, final, in one serial statement. A reader's cursor can
-- therefore never skip a row that committed late. Returns how many were relayed.
create function relay(most int) returns int
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
declare
    relayed int;
    before bigint;
    version notification;
    earlier bigint;
begin
    perform pg_advisory_xact_lock(hashtextextended('ent_notify.relay', 0));
    select last_seq into before from feed;
    with fresh as materialized (
        select n.id, n.clauses, row_number() over (order by n.id) as place
        from notification n where n.feed_seq is null order by n.id limit most
    ),
    head as (
        update feed set last_seq = last_seq + (select count(*) from fresh)
        where exists (select from fresh)
        returning last_seq - (select count(*) from fresh) as base
    ),
    placed as (
        update notification n set feed_seq = head.base + fresh.place
        from fresh, head where n.id = fresh.id
        returning n.id, n.feed_seq, n.withdraws, fresh.clauses
    ),
    terms as materialized (
        select distinct p.id, p.feed_seq, p.withdraws, c.place::smallint as clause, t.excluded,
               (t.term->>0)::smallint as scope, (t.term->>1)::int as ref
        from placed p
        cross join lateral jsonb_array_elements(p.clauses) with ordinality c (clause, place)
        cross join lateral (
            select false as excluded, term from jsonb_array_elements(c.clause->'in') term
            union all
            select true, term from jsonb_array_elements(c.clause->'not') term
        ) t
    ),
    stored as (
        insert into audience (notification_id, clause, excluded, scope, ref, feed_seq)
        select id, clause, excluded, scope, ref, feed_seq from terms where withdraws is null
    ),
    sized as (
        -- an upper estimate: classes and teaching groups are small, schools and "other" groups are not
        select t.id, sum(case when t.scope = 0 then 1e9
                              when t.scope in (1, 2) and g.kind in (4, 5) then 60 * t.scope
                              when t.scope in (1, 2) then 1e9
                              else 3 end) as people,
               -- one school's campaigns share that school's turns
               case when bool_and(coalesce(g.school_id, m.school_id) is not null)
                         and min(coalesce(g.school_id, m.school_id)) = max(coalesce(g.school_id, m.school_id))
                    then min(coalesce(g.school_id, m.school_id)) end as school_id
        from terms t
        left join people_group g on t.scope in (1, 2) and g.id = t.ref
        left join lateral (
            select h.school_id from membership b join people_group h on h.id = b.group_id
            where t.scope in (3, 4) and b.person_id = t.ref and h.school_id is not null order by h.school_id limit 1
        ) m on true
        where not t.excluded group by t.id
    ),
    opened as (
        insert into campaign (notification_id, feed_seq, width, withdraws, school_id)
        select p.id, p.feed_seq, case when coalesce(s.people, 0) <= 1000 then null else 1000 end, p.withdraws, s.school_id
        from placed p left join sized s on s.id = p.id
    )
    select count(*) into relayed from placed;
    -- a new version ends those before it, in the same transaction in which it appears
    for version in
        select * from notification n
        where n.feed_seq > before and n.root is not null and n.withdraws is null order by n.feed_seq
    loop
        for earlier in
            update notification n set superseded_by = version.id
            where (n.id = version.root or n.root = version.root) and n.feed_seq < version.feed_seq and n.superseded_by is null
            returning n.id
        loop
            perform stop_campaign(earlier, 'superseded', 'supersede', 'ent_notify', 'campaign ' || version.id, version.published_at);
        end loop;
    end loop;
    if relayed > 0 then
        perform pg_notify('ent_notify_feed', '');   -- one hint a batch; readers pull with their cursor
    end if;
    return relayed;
end $$;

-- ---------------------------------------------------------------- people of an audience

-- Who one audience key reaches, as the directory stands at `at`.
create function people_under(scope smallint, ref int, at timestamptz) returns table (person_id int)
language sql stable as $$
    select p.id as person_id from ent_notify.person p
    where scope = 0 and (ref = 0 or p.profile = ref)
    union all
    select m.person_id from ent_notify.membership m
    where scope = 1 and m.group_id = ref and m.valid_from <= at and m.valid_until > at
    union all
    select g.guardian_id from ent_notify.membership m
    join ent_notify.guardian_link g on g.pupil_id = m.person_id and g.legal_level in (1, 2) and not g.restricted
    where scope = 2 and m.group_id = ref and m.valid_from <= at and m.valid_until > at
    union all
    select ref where scope = 3
    union all
    select g.guardian_id from ent_notify.guardian_link g
    where scope = 4 and g.pupil_id = ref and g.legal_level in (1, 2) and not g.restricted
$$;

-- Everybody a set of campaigns is for, once each, as the directory stands at `at`.
create function audience_people(campaigns bigint[], at timestamptz) returns table (campaign_id bigint, person_id int)
language sql stable as $$
    with reached as materialized (
        select a.notification_id as campaign_id, a.clause, a.excluded, p.person_id
        from ent_notify.audience a
        cross join lateral ent_notify.people_under(a.scope, a.ref, at) p
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
        select p.id as person_id, k.scope, k.ref, k.child
        from unnest(array(select unnest(people) except select id from covered)) p (id)
        cross join lateral ent_notify.reader_keys(p.id, at) k
        where k.until > at and k.since <= (select n.published_at from ent_notify.notification n where n.id = campaign)
    )
    select id, null::int[] from covered
    union all
    select h.person_id, array_agg(distinct h.child) filter (where h.child is not null)
    from ent_notify.audience a join held h on h.scope = a.scope and h.ref = a.ref
    where a.notification_id = campaign and not a.excluded
      and not exists (
          select from ent_notify.audience x join held y on y.scope = x.scope and y.ref = x.ref
          where x.notification_id = campaign and x.excluded and x.clause = a.clause and y.person_id = h.person_id
      )
    group by h.person_id
$$;

-- ---------------------------------------------------------------- lanes

-- A mail address belongs to the lane of its domain's group, kept beside it so that planning need not look.
create function set_mail_lane() returns trigger
language plpgsql set search_path = ent_notify, pg_temp as $$
begin
    new.mail_lane := (select d.lane_id from mail_domain d where d.domain = lower(split_part(new.email, '@', 2)));
    return new;
end $$;
create trigger person_mail_lane_insert before insert on person
for each row when (new.email is not null) execute function set_mail_lane();
create trigger person_mail_lane_update before update of email on person
for each row when (new.email is distinct from old.email) execute function set_mail_lane();

-- A device's provider and app have a lane from the moment that the first such device is registered.
create function open_lanes() returns trigger
language plpgsql set search_path = ent_notify, pg_temp as $$
begin
    insert into lane (name, channel, provider, app)
    select distinct 'push:' || d.provider || ':' || d.app, 'push', d.provider, d.app from registered d
    on conflict (name) do nothing;
    return null;
end $$;
create trigger device_opens_lane after insert on device
referencing new table as registered for each statement execute function open_lanes();

-- ---------------------------------------------------------------- claiming

-- Share of the limit that is used near a full quarter of an hour, when everybody else sends too: the same as
-- ent_notify.policy.rate.quarter_ramp, which says why.
create function quarter_ramp(at timestamptz) returns double precision
language sql immutable strict as $$
    select case when s < 60 or s >= 840 then 0.5 when s < 120 then 0.5 + (s - 60) / 120 else 1 end
    from (select (extract(epoch from at)::numeric % 900)::double precision as s) t
$$;

-- A lane's breaker. A bad window opens it for longer each time (5 s doubling to 10 min, or as long as the provider
-- asked); a good one closes it. Reports of one outage by several workers count once.
create function note_lane(lane_noted smallint, healthy boolean, why text, at timestamptz, rest interval) returns void
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
begin
    if healthy then
        update lane set failures = 0, pause_reason = null
        where id = lane_noted and failures > 0 and paused_until <= at;
    else
        update lane set
            failures = least(failures + case when paused_until > at then 0 else 1 end, 30),
            paused_until = greatest(paused_until, at + coalesce(rest,
                case when paused_until > at then interval '0'
                     else least(interval '5 seconds' * (1 << least(failures, 10)::int), interval '10 minutes') end)),
            pause_reason = why
        where id = lane_noted;
    end if;
end $$;

-- Takes sends from a lane's GCRA bucket: up to `wanted`, and no more than fit into `slot`. The answer is a slot
-- [starts_at, starts_at + slot_sends / per_second): whoever holds it sends within it, or reserves again. starts_at is
-- null when the lane is paused or its slot is further away than `horizon`; `wait_until` then says when to ask again.
-- Of a lane with a limit, `wanted` 0 takes nothing: it asks whether there would be a slot.
create function reserve(lane_wanted smallint, wanted int, at timestamptz, horizon interval, slot interval,
                        out starts_at timestamptz, out slot_sends int, out per_second double precision,
                        out wait_until timestamptz)
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
#variable_conflict use_variable
declare
    l lane;
begin
    select * into l from lane where id = lane_wanted for update;
    per_second := l.per_second * 0.99;   -- ent_notify.policy.rate.HEADROOM says why
    if l.provider = 'fcm' then
        per_second := per_second * quarter_ramp(at);
    end if;
    if l.tat > at + horizon + slot + make_interval(secs => 1 / per_second) + interval '1 minute' then
        l.tat := at + horizon + slot;   -- nobody reserves so far ahead: the clock was set back
        update lane set tat = l.tat where id = lane_wanted;
    end if;
    if l.paused_until > at then
        wait_until := l.paused_until;
    elsif l.per_second is null then
        starts_at := at;
        slot_sends := wanted;
    elsif greatest(l.tat, at) > at + horizon then
        wait_until := l.tat - horizon;
    else
        starts_at := greatest(l.tat, at);
        slot_sends := case when wanted > 0 then greatest(1, least(wanted, floor(per_second * extract(epoch from slot))::int))
                           else 0 end;
        update lane set tat = starts_at + make_interval(secs => slot_sends / per_second) where id = lane_wanted and slot_sends > 0;
    end if;
end $$;

-- New turns for chunks that become ready after a wait: behind whatever their party has waiting in the lane.
create function new_turns(chunks bigint[]) returns table (chunk_id bigint, turn bigint)
language sql volatile as $$
    with waited as materialized (
        select h.id, h.lane_id, h.urgency, p.party,
               row_number() over (partition by h.lane_id, h.urgency, p.party order by h.due_at, h.id) as place
        from ent_notify.chunk h
        left join ent_notify.campaign k on k.notification_id = h.campaign_id
        cross join lateral (select coalesce(k.school_id, -h.campaign_id) as party) p
        where h.id = any (chunks)
    ),
    shared as (
        insert into ent_notify.fair_share (lane_id, urgency, party, turn, asked)
        select w.lane_id, w.urgency, w.party, l.turns[w.urgency + 1] + count(*), count(*)
        from waited w join ent_notify.lane l on l.id = w.lane_id
        group by w.lane_id, w.urgency, w.party, l.turns order by w.lane_id, w.urgency, w.party
        on conflict (lane_id, urgency, party) do update
            set turn = greatest(fair_share.turn + excluded.asked, excluded.turn), asked = excluded.asked
        returning lane_id, urgency, party, turn - asked as base
    )
    select w.id, s.base + w.place
    from waited w join shared s on s.lane_id = w.lane_id and s.urgency = w.urgency and s.party = w.party
$$;

-- Leases the next chunk of a lane: urgent first, then fair turns. Where there is a limit no sends come with it: they are
-- reserved once it is known how many there are, when they are about to leave. No chunk: `id` is null and `wait_until` may say when
-- to ask again. The fence grows with every claim; only its holder can settle.
create function claim_chunk(lane_wanted smallint, worker text, at timestamptz, lease interval, horizon interval,
                            slot interval, out id bigint, out campaign_id bigint, out fence int, out size int, out start_cursor int, out urgency smallint,
                            out is_retry boolean, out starts_at timestamptz, out slot_sends int,
                            out per_second double precision, out wait_until timestamptz)
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
declare
    c chunk;
    l lane;
    taken record;
begin
    select * into l from lane where lane.id = lane_wanted;
    if l.failures > 0 then
        perform from lane where lane.id = lane_wanted for update;   -- no two probes side by side
        if exists (select from chunk where lane_id = lane_wanted and state = 2 and due_at > at) then
            wait_until := at + interval '1 second';   -- half open: somebody else's chunk is the probe
            return;
        end if;
    end if;
    select * into c from chunk where lane_id = lane_wanted and state = 0
    order by chunk.urgency, turn limit 1 for update skip locked;
    if not found then
        return;
    end if;
    is_retry := c.cursor >= c.size;
    select * into taken from reserve(lane_wanted, case when l.per_second is null then c.size else 0 end, at, horizon, slot);
    wait_until := taken.wait_until;
    if taken.starts_at is null then
        return;
    end if;
    update chunk set state = 2, fence = c.fence + 1, leased_by = worker, due_at = greatest(at, taken.starts_at) + lease
    where chunk.id = c.id;
    update lane set turns[c.urgency + 1] = c.turn where lane.id = lane_wanted and turns[c.urgency + 1] < c.turn;
    id := c.id; campaign_id := c.campaign_id; fence := c.fence + 1; size := c.size; start_cursor := c.cursor; urgency := c.urgency;
    starts_at := taken.starts_at; slot_sends := taken.slot_sends; per_second := taken.per_second;
end $$;

-- Settles one window of a leased chunk, in one statement's worth of work: moves the cursor, counts the successes,
-- keeps what is not plain success, renews the lease. False, and nothing changed, for a fence that is no longer held.
-- Saying the same twice counts once: whoever lost the answer asks again.
create function settle_window(chunk_settled bigint, fence_held int, new_cursor int, accepted_now int, retried_ok int[],
                              targets int[], people int[], states smallint[], reasons text[], attempts smallint[],
                              retries timestamptz[], at timestamptz, lease interval, release boolean) returns boolean
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
declare
    c chunk;
    newly_suppressed int;
    newly_failed int;
    next_retry timestamptz;
    known int[];
    control campaign;
    window_under_way boolean;   -- a heartbeat: only the lease is renewed
    late boolean := false;      -- the campaign was stopped and the lease ended, but nobody has claimed the chunk since
begin
    select * into c from chunk where id = chunk_settled and fence = fence_held and (
        state = 2 or (state = 3 and stopped > 0 and new_cursor > cursor)
    ) for update;
    if not found then
        -- (said before: the chunk is as it was given back, and nobody has claimed it since)
        return release and exists (
            select from chunk h
            where h.id = chunk_settled and h.fence = fence_held and h.cursor = new_cursor and (h.state <> 0 or new_cursor < h.size)
        );
    end if;
    if c.cursor < c.size and new_cursor <= c.cursor then
        accepted_now := 0;
        targets := '{}';
        states := '{}';
    end if;
    if c.state = 3 then
        late := true;
        c.suppressed := c.suppressed - c.stopped;   -- close_chunks counts the rest again
    end if;
    window_under_way := not release and new_cursor = c.cursor and cardinality(targets) = 0 and cardinality(retried_ok) = 0;
    -- What a receipt has settled meanwhile is counted already, and stays as it is.
    known := array(
        select o.target from outcome o
        where o.chunk_id = c.id and o.state <> 1
          and (o.target = any (targets) or o.target = any (retried_ok)
               or o.target = any (c.targets[c.cursor + 1:new_cursor]))
    );
    if cardinality(known) > 0 then
        accepted_now := accepted_now - (select count(*) from unnest(known) k where k <> all (targets));
        select coalesce(array_agg(o.target), '{}'), coalesce(array_agg(o.person), '{}'), coalesce(array_agg(o.state), '{}'),
               coalesce(array_agg(o.reason), '{}'), coalesce(array_agg(o.attempts), '{}'), coalesce(array_agg(o.retry_at), '{}')
        into targets, people, states, reasons, attempts, retries
        from unnest(targets, people, states, reasons, attempts, retries)
            o (target, person, state, reason, attempts, retry_at)
        where o.target <> all (known);
    end if;
    if cardinality(targets) > 0 then
        insert into outcome (chunk_id, target, campaign_id, person_id, state, reason, attempts, retry_at, noted_at)
        select c.id, o.target, c.campaign_id, o.person, o.state, o.reason, o.attempts, o.retry_at, at
        from unnest(targets, people, states, reasons, attempts, retries)
            o (target, person, state, reason, attempts, retry_at)
        on conflict (chunk_id, target) do update
            set state = excluded.state, reason = excluded.reason, attempts = excluded.attempts,
                retry_at = excluded.retry_at, noted_at = excluded.noted_at;
    end if;
    if c.cursor >= c.size then
        delete from outcome where chunk_id = c.id and target = any (retried_ok) and state = 1;
        get diagnostics accepted_now = row_count;
    end if;
    select count(*) filter (where s = 2), count(*) filter (where s = 3) into newly_suppressed, newly_failed from unnest(states) s;
    if release and new_cursor >= c.size then
        select min(retry_at) into next_retry from outcome where chunk_id = c.id and state = 1;
    end if;
    update chunk set
        cursor = new_cursor,
        accepted = c.accepted + accepted_now,
        suppressed = c.suppressed + newly_suppressed,
        failed = c.failed + newly_failed,
        settled_at = at,
        leased_by = case when release then null else c.leased_by end,
        state = case when not release then 2 when new_cursor < c.size then 0 when next_retry is null then 3 else 1 end,
        -- (a lease is renewed when half of it is gone: a window then touches no index, and stays on its page)
        due_at = case when release then coalesce(next_retry, at)
                      when c.due_at < at + lease / 2 then at + lease
                      else c.due_at end
    where id = c.id;
    if not window_under_way then
        select * into control from campaign where notification_id = c.campaign_id and state > 0;
        if control.state = 1 then
            update chunk set state = 4, leased_by = null where id = c.id and state <> 3;
        elsif control.state = 2 then
            perform close_chunks(array[c.id], control.stop_reason, at);
            if late then
                perform withdraw_again(c.campaign_id);
            end if;
        end if;
    end if;
    return true;
end $$;
