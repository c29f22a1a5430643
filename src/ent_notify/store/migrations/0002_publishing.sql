-- Publishing and the relay: statements that must be one transaction wherever they are called from.
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
        select p.id, p.feed_seq, case when coalesce(s.people, 0) <= 1000 then null else 2000 end, p.withdraws, s.school_id
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
        -- one hint a batch: how far the feed reaches now; readers pull with their cursor
        perform pg_notify('ent_notify_feed', (before + relayed)::text);
    end if;
    return relayed;
end $$;
