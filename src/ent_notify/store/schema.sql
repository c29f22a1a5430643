-- Written by `make schema` from the migrations. To be read, and compared with; never applied.
SET check_function_bodies = false;  -- functions come before the tables that they name

CREATE SCHEMA ent_notify;

CREATE TYPE ent_notify.piece AS (
	campaign_id bigint,
	lane_id smallint,
	bucket integer,
	held_until timestamp with time zone,
	size integer,
	targets integer[]
);

CREATE FUNCTION ent_notify.add_counts(a jsonb, b jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE
    AS $$
    select coalesce(jsonb_object_agg(k.key, k.n), '{}')
    from (
        select key, sum(value::bigint) as n
        from (select * from jsonb_each_text(a) union all select * from jsonb_each_text(b)) x group by key
    ) k where k.n <> 0
$$;

CREATE FUNCTION ent_notify.announce_message(event jsonb, at timestamp with time zone) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    perform publish(event, at);
    return null;
exception when sqlstate 'EN001' or sqlstate 'EN002' or sqlstate 'EN005' then
    return sqlerrm;
end $$;

CREATE FUNCTION ent_notify.append_receipt(what text, cause text, rows jsonb, at timestamp with time zone) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    last deletion_receipt;
    text_of text;
begin
    perform pg_advisory_xact_lock(hashtextextended('ent_notify.receipts', 0));
    select * into last from deletion_receipt order by seq desc limit 1;
    text_of := jsonb_build_object('seq', coalesce(last.seq, 0) + 1, 'at', to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                                  'what', what, 'cause', cause, 'rows', rows)::text;
    insert into deletion_receipt (seq, body, digest)
    values (coalesce(last.seq, 0) + 1, text_of, sha256(coalesce(last.digest, ''::bytea) || convert_to(text_of, 'UTF8')));
    return coalesce(last.seq, 0) + 1;
end $$;

CREATE FUNCTION ent_notify.asked_keys(request bigint) RETURNS TABLE(scope smallint, ref integer)
    LANGUAGE sql STABLE
    AS $$
    select y.scope, y.ref
    from ent_notify.acknowledgement_request r
    join ent_notify.conversation_key y on y.conversation_id = r.conversation_id and not y.joinable
    where r.id = request
    union all
    select a.scope, a.ref
    from ent_notify.acknowledgement_request r
    join ent_notify.audience a on a.notification_id = r.notification_id and not a.excluded
    where r.id = request
$$;

CREATE FUNCTION ent_notify.asked_of(request bigint, at timestamp with time zone) RETURNS TABLE(person_id integer, child_id integer)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    r acknowledgement_request;
begin
    select * into r from acknowledgement_request q where q.id = request;
    if r.quorum > 1 then
        return query
        with children as (
            select m.person_id as id
            from asked_keys(request) k
            join membership m on k.scope = 2 and m.group_id = k.ref and m.valid_from <= r.asked_at and m.valid_until > at
            union
            select k.ref from asked_keys(request) k where k.scope = 4
        )
        select g.guardian_id, c.id
        from children c
        join person p on p.id = c.id and p.hidden_at is null and p.profile = 1   -- (teachers are members of a class, too)
        left join (
            select l.pupil_id, l.guardian_id from guardian_link l join person w on w.id = l.guardian_id and w.hidden_at is null
            where l.legal_level in (1, 2) and not l.restricted
        ) g on g.pupil_id = c.id;
    elsif r.notification_id is not null then
        return query
        select a.person_id, 0 from audience_people(array[r.notification_id], at) a
        join person p on p.id = a.person_id and p.hidden_at is null
        where a.person_id is distinct from r.asked_by;
    else
        return query
        select distinct u.person_id, 0
        from (
            select x.person_id from asked_keys(request) k cross join lateral people_under(k.scope, k.ref, r.asked_at, at) x
            union all
            select k.person_id from participant k
            where k.conversation_id = r.conversation_id and k.member
              and k.first_seq <= r.seq and coalesce(k.until_seq, r.seq) >= r.seq
        ) u
        join person p on p.id = u.person_id and p.hidden_at is null
        where u.person_id is distinct from r.asked_by
          and exists (select from parts(u.person_id, array[r.conversation_id], at) x where r.seq between x.first_seq and x.last_seq);
    end if;
end $$;

CREATE FUNCTION ent_notify.asked_of_reader(request bigint, reader integer, at timestamp with time zone) RETURNS TABLE(child_id integer)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    r acknowledgement_request;
begin
    select * into r from acknowledgement_request q where q.id = request;
    if r.quorum > 1 then
        return query
        select distinct h.child
        from asked_keys(request) k
        join reader_keys(reader, at) h on h.scope = k.scope and h.ref = k.ref and h.since <= r.asked_at and h.until > at
        join person p on p.id = h.child and p.hidden_at is null
        where k.scope in (2, 4);
    elsif reader is not distinct from r.asked_by then
        return;
    elsif r.notification_id is not null then
        return query
        select 0
        where exists (
            select from audience a
            join reader_keys(reader, at) h on h.scope = a.scope and h.ref = a.ref and h.since <= r.asked_at and h.until > at
            where a.notification_id = r.notification_id and not a.excluded
              and not exists (
                  select from audience x
                  join reader_keys(reader, at) o on o.scope = x.scope and o.ref = x.ref
                       and o.since <= r.asked_at and o.until > r.asked_at
                  where x.notification_id = a.notification_id and x.excluded and x.clause = a.clause
              )
        );
    else
        return query
        select 0
        where exists (
            select from parts(reader, array[r.conversation_id], at) x where r.seq between x.first_seq and x.last_seq
        ) and (
            exists (
                select from asked_keys(request) k
                join reader_keys(reader, at) h on h.scope = k.scope and h.ref = k.ref
                     and h.since <= r.asked_at and h.until > at
            ) or exists (
                select from participant k
                where k.conversation_id = r.conversation_id and k.person_id = reader and k.member
                  and k.first_seq <= r.seq and coalesce(k.until_seq, r.seq) >= r.seq
            )
        );
    end if;
end $$;

CREATE FUNCTION ent_notify.asked_still(request bigint, at timestamp with time zone) RETURNS TABLE(person_id integer, child_id integer)
    LANGUAGE sql STABLE
    AS $$
    select a.person_id, a.child_id
    from ent_notify.acknowledgement_request r
    cross join lateral (select ent_notify.text_hash(ent_notify.asked_text(r.id)) as hash offset 0) t
    cross join lateral ent_notify.asked_of(r.id, at) a
    where r.id = request and a.person_id is not null and t.hash is not null
      and not exists (
          select from ent_notify.acknowledgement_given g
          where g.request_id = r.id and g.child_id = a.child_id and g.text_hash = t.hash
            and (g.person_id = a.person_id or r.quorum = 2)
      )
$$;

CREATE FUNCTION ent_notify.asked_text(request bigint) RETURNS text
    LANGUAGE sql STABLE
    AS $$
    select case when r.notification_id is null
                then (select c.subject || E'\n\n' || m.body || ent_notify.attached_text(m.conversation_id, m.seq)
                      from ent_notify.message m join ent_notify.conversation c on c.id = m.conversation_id
                      where m.conversation_id = r.conversation_id and m.seq = r.seq and m.recalled_at is null)
                else (select n.data::text from ent_notify.notification n
                      where n.id = r.notification_id and n.superseded_by is null) end
    from ent_notify.acknowledgement_request r where r.id = request
$$;

CREATE FUNCTION ent_notify.attached_text(conversation bigint, message_seq integer) RETURNS text
    LANGUAGE sql STABLE
    AS $$
    select coalesce(string_agg(E'\n' || a.name || ' ' || encode(a.digest, 'hex'), '' order by a.id), '')
    from ent_notify.attachment a where a.conversation_id = conversation and a.seq = message_seq
$$;

CREATE FUNCTION ent_notify.audience_clauses(expr jsonb, bind jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $_$
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
end $_$;

CREATE FUNCTION ent_notify.audience_people(campaigns bigint[], at timestamp with time zone) RETURNS TABLE(campaign_id bigint, person_id integer)
    LANGUAGE sql STABLE
    AS $$
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

CREATE FUNCTION ent_notify.audience_terms(expr jsonb, guardians boolean, bind jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    AS $_$
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
end $_$;

CREATE FUNCTION ent_notify.beat(node bigint, at_seq bigint, lease timestamp with time zone) RETURNS void
    LANGUAGE sql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
    insert into gateway_node as g (id, seq, lease_until) values (node, at_seq, lease)
    on conflict (id) do update set seq = excluded.seq, lease_until = excluded.lease_until
$$;

CREATE FUNCTION ent_notify.claim_chunk(lane_wanted smallint, worker text, at timestamp with time zone, lease interval, horizon interval, slot interval, OUT id bigint, OUT campaign_id bigint, OUT fence integer, OUT size integer, OUT start_cursor integer, OUT urgency smallint, OUT is_retry boolean, OUT starts_at timestamp with time zone, OUT slot_sends integer, OUT per_second double precision, OUT wait_until timestamp with time zone) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
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

CREATE FUNCTION ent_notify.claim_chunks(lane_wanted smallint, worker text, at timestamp with time zone, lease interval, horizon interval, slot interval, most integer) RETURNS TABLE(id bigint, campaign_id bigint, fence integer, size integer, start_cursor integer, urgency smallint, is_retry boolean, starts_at timestamp with time zone, slot_sends integer, per_second double precision, wait_until timestamp with time zone)
    LANGUAGE plpgsql ROWS 10
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
#variable_conflict use_column
declare
    l lane;
begin
    select * into l from lane x where x.id = lane_wanted;
    if l.per_second is not null or l.failures > 0 or l.paused_until > at then
        return query select c.* from claim_chunk(lane_wanted, worker, at, lease, horizon, slot) c;
        return;
    end if;
    return query
    with picked as materialized (
        select h.id, h.urgency, h.turn from chunk h
        where h.lane_id = lane_wanted and h.state = 0
        order by h.urgency, h.turn limit most for update skip locked
    ),
    passed as materialized (
        select array[coalesce(max(p.turn) filter (where p.urgency = 0), 0), coalesce(max(p.turn) filter (where p.urgency = 1), 0),
                     coalesce(max(p.turn) filter (where p.urgency = 2), 0)] as turns
        from picked p
    ),
    moved as (
        update lane x set turns = array[greatest(x.turns[1], p.turns[1]), greatest(x.turns[2], p.turns[2]),
                                        greatest(x.turns[3], p.turns[3])]
        from passed p
        where x.id = lane_wanted
          and (x.turns[1] < p.turns[1] or x.turns[2] < p.turns[2] or x.turns[3] < p.turns[3])
    ),
    leased as (
        update chunk h set state = 2, fence = h.fence + 1, leased_by = worker, due_at = at + lease
        from picked p where h.id = p.id
        returning h.id, h.campaign_id, h.fence, h.size, h.cursor, h.urgency, h.turn
    )
    select c.id, c.campaign_id, c.fence, c.size, c.cursor, c.urgency, c.cursor >= c.size,
           at, c.size, null::double precision, null::timestamptz
    from leased c order by c.urgency, c.turn;
end $$;

CREATE FUNCTION ent_notify.close_chunks(chunks bigint[], why text, at timestamp with time zone) RETURNS void
    LANGUAGE sql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
    with word as (
        delete from late_word where chunk_id = any (chunks) returning *
    ),
    held as (
        insert into outcome (chunk_id, target, campaign_id, person_id, state, reason, attempts, retry_at, noted_at)
        select h.id, w.target, h.campaign_id, coalesce(case when l.channel = 'push' then d.person_id else w.target end, 0),
               w.state, w.reason, 1, null, at
        from word w
        join chunk h on h.id = w.chunk_id
        join lane l on l.id = h.lane_id
        left join device d on l.channel = 'push' and d.id = w.target
        where array_position(h.targets, w.target) > h.cursor
           or exists (select from outcome o where o.chunk_id = h.id and o.target = w.target)
        on conflict (chunk_id, target) do update
            set state = excluded.state, reason = excluded.reason, retry_at = null, noted_at = at
            where outcome.state = 1
        returning chunk_id, state
    ),
    counted as (
        select chunk_id, count(*) filter (where state = 4)::int as accepted, count(*) filter (where state = 2)::int as suppressed,
               count(*) filter (where state = 3)::int as failed
        from held group by chunk_id
    )
    update chunk h set accepted = h.accepted + k.accepted, suppressed = h.suppressed + k.suppressed, failed = h.failed + k.failed
    from counted k where k.chunk_id = h.id;

    with ended as (
        update outcome o set
            state = case when o.reason like 'unknown:%' then 3 else 2 end,
            reason = case when o.reason like 'unknown:%' then o.reason else why end,
            retry_at = null, noted_at = at
        where o.chunk_id = any (chunks) and o.state = 1
        returning o.chunk_id, o.state
    ),
    counted as (
        select chunk_id, count(*) filter (where state = 2)::int as suppressed, count(*) filter (where state = 3)::int as failed
        from ended group by chunk_id
    ),
    rest as (
        select h.id, h.size - h.cursor - (
                   select count(*) from outcome o   -- a receipt has told of these already, or a late word
                   where o.chunk_id = h.id and o.state in (2, 3, 4) and o.target = any (h.targets[h.cursor + 1:])
               )::int as untried
        from chunk h where h.id = any (chunks)
    )
    update chunk h set
        state = 3, leased_by = null, settled_at = at,
        stopped = rest.untried,
        suppressed = h.suppressed + rest.untried + coalesce(k.suppressed, 0),
        failed = h.failed + coalesce(k.failed, 0)
    from rest left join counted k on k.chunk_id = rest.id
    where h.id = rest.id
$$;

CREATE FUNCTION ent_notify.contact_facts(writer integer, people integer[], at timestamp with time zone) RETURNS TABLE(person_id integer, external_id text, profile smallint, function text, shared jsonb, guardian boolean, schools text[])
    LANGUAGE sql STABLE
    AS $$
    with mine as materialized (
        select c.*, w.profile as writer_profile from ent_notify.near_groups(writer, at) c, ent_notify.person w where w.id = writer
    ),
    asked as materialized (
        select distinct person_id from unnest(people) a (person_id)
    )
    select p.id, p.external_id, p.profile, p.function,
           coalesce((
               select jsonb_object_agg(s.uai, s.relations)
               from (
                   select x.uai, array_remove(array[
                       'same_school',
                       case when bool_or(o.group_id = m.group_id and o.kind = 4) and p.profile < 3 and min(m.writer_profile) < 3
                            then 'same_class' end,
                       case when bool_or(o.group_id = m.group_id and o.kind in (4, 5)) and (p.profile = 3) <> (min(m.writer_profile) = 3)
                            then 'teaches' end
                   ], null) as relations
                   from mine m
                   join ent_notify.near_groups(p.id, at) o on o.school_id = m.school_id
                   join ent_notify.school x on x.id = m.school_id
                   group by x.uai
               ) s
           ), '{}'),
           exists (
               select from ent_notify.guardian_link l
               where l.legal_level in (1, 2) and not l.restricted
                 and ((l.pupil_id = p.id and l.guardian_id = writer) or (l.guardian_id = p.id and l.pupil_id = writer))
           ),
           array(
               select x.uai from ent_notify.school x
               where x.id in (select m.school_id from mine m union select o.school_id from ent_notify.near_groups(p.id, at) o)
               order by x.uai
           )
    from asked a
    join ent_notify.person p on p.id = a.person_id and p.hidden_at is null
$$;

CREATE FUNCTION ent_notify.conversations_of(reader integer, at timestamp with time zone) RETURNS TABLE(conversation_id bigint)
    LANGUAGE sql STABLE
    AS $$
    select p.conversation_id from ent_notify.participant p where p.person_id = reader
    union
    select y.conversation_id
    from ent_notify.reader_keys(reader, at) k
    join ent_notify.conversation_key y on y.scope = k.scope and y.ref = k.ref and not y.joinable
    where k.scope in (1, 2, 4) and k.until > at
$$;

CREATE FUNCTION ent_notify.count_unread(reader integer, at timestamp with time zone, most integer) RETURNS integer
    LANGUAGE sql STABLE
    AS $$
    with keys as materialized (
        select * from ent_notify.reader_keys(reader, at)
    ),
    mark as materialized (
        select coalesce(max(watermark), 0) as watermark, coalesce(max(above), '{}') as above
        from ent_notify.reading where person_id = reader
    )
    select count(*)::int
    from (
        select distinct hit.feed_seq
        from mark cross join keys k
        cross join lateral (
            select a.feed_seq
            from ent_notify.audience a
            cross join lateral (   -- (offset 0: one by one in the index's order, and no further than the count)
                select m.published_at from ent_notify.notification m
                where m.id = a.notification_id and m.superseded_by is null
                  and m.published_at >= k.since and m.published_at < k.until
                offset 0
            ) m
            where a.scope = k.scope and a.ref = k.ref and not a.excluded
              and a.feed_seq > mark.watermark and not a.feed_seq = any (mark.above)
              and not exists (
                  select from ent_notify.audience x join keys y on y.scope = x.scope and y.ref = x.ref
                  where x.notification_id = a.notification_id and x.excluded and x.clause = a.clause
                    and m.published_at >= y.since and m.published_at < y.until
              )
            order by a.feed_seq desc limit most
        ) hit
        limit most
    ) unread
$$;

CREATE FUNCTION ent_notify.digest_of(who integer, external_id text) RETURNS bytea
    LANGUAGE sql STABLE
    AS $$
    select sha256(salt || convert_to(who || ':' || external_id, 'UTF8')) from ent_notify.instance
$$;

CREATE FUNCTION ent_notify.drop_counted(most integer) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    SET lock_timeout TO '100ms'
    AS $$
declare
    part record;
    dropped int := 0;
    head bigint := (select last_value from chunk_id_seq);
begin
    for part in select * from partitions_of('outcome') p where p.upper <= head order by p.lower loop
        exit when dropped >= most;
        if not exists (
            select from chunk h join campaign c on c.notification_id = h.campaign_id and c.detail = 0
            where h.id >= part.lower and h.id < part.upper
        ) then
            begin
                execute format('alter table outcome detach partition %I', part.name);
                execute format('drop table %I', part.name);
                dropped := dropped + 1;
            exception when lock_not_available then
                null;
            end;
        end if;
    end loop;
    return jsonb_build_object('outcome partitions', dropped);
end $$;

CREATE FUNCTION ent_notify.due_delivery(cutoff timestamp with time zone, schools integer[], cutoffs timestamp with time zone[], at timestamp with time zone) RETURNS TABLE(id bigint, school_id integer, aged timestamp with time zone, held boolean)
    LANGUAGE sql STABLE ROWS 10000
    AS $$
    select c.notification_id, s.school_id, n.published_at,
           exists (select from ent_notify.held_notifications(at) h where h.notification_id = c.notification_id)
    from ent_notify.notification n
    join ent_notify.campaign c on c.notification_id = n.id and c.detail = 0
    left join unnest(schools, cutoffs) s (school_id, own) on s.school_id = c.school_id
    where n.published_at < greatest(cutoff, (select max(x) from unnest(cutoffs) x))
      and n.published_at < coalesce(s.own, cutoff)
      and not exists (select from ent_notify.chunk h where h.campaign_id = c.notification_id and h.state <> 3)
$$;

CREATE FUNCTION ent_notify.due_drafts(cutoff timestamp with time zone) RETURNS TABLE(id bigint, aged timestamp with time zone)
    LANGUAGE sql STABLE
    AS $$
    select d.id, d.updated_at from ent_notify.message_draft d where d.updated_at < cutoff and d.state <> 1
$$;

CREATE FUNCTION ent_notify.due_inbox(cutoff timestamp with time zone, schools integer[], cutoffs timestamp with time zone[], at timestamp with time zone) RETURNS TABLE(id bigint, school_id integer, aged timestamp with time zone, held boolean)
    LANGUAGE sql STABLE ROWS 10000
    AS $$
    select n.id, s.school_id, n.published_at,
           exists (select from ent_notify.held_notifications(at) h where h.notification_id = n.id)
    from ent_notify.notification n
    join ent_notify.campaign c on c.notification_id = n.id
    left join unnest(schools, cutoffs) s (school_id, own) on s.school_id = c.school_id
    where n.published_at < greatest(cutoff, (select max(x) from unnest(cutoffs) x))
      and n.published_at < coalesce(s.own, cutoff) and n.expires_at <= at
$$;

CREATE FUNCTION ent_notify.due_messages(cutoff timestamp with time zone, at timestamp with time zone) RETURNS TABLE(conversation_id bigint, seq integer, aged timestamp with time zone, held boolean)
    LANGUAGE sql STABLE ROWS 10000
    AS $$
    select m.conversation_id, m.seq, m.posted_at,
           exists (select from ent_notify.held_conversations(at) h where h.conversation_id = m.conversation_id)
    from ent_notify.conversation c
    join ent_notify.message m on m.conversation_id = c.id
    where c.started_at < cutoff and m.posted_at < cutoff
$$;

CREATE FUNCTION ent_notify.due_people(cutoff timestamp with time zone, at timestamp with time zone) RETURNS TABLE(id integer, aged timestamp with time zone, held boolean)
    LANGUAGE sql STABLE
    AS $$
    select p.id, p.hidden_at, exists (select from ent_notify.held_people(at) h where h.person_id = p.id)
    from ent_notify.person p
    where p.hidden_at < cutoff and not exists (select from ent_notify.erasure e where e.person_id = p.id)
$$;

CREATE FUNCTION ent_notify.enter_streams(asked_tickets bytea[], asked_sessions bytea[], new_digests bytea[], at timestamp with time zone, life interval) RETURNS TABLE(place bigint, session_id bigint, person_id integer, is_new boolean)
    LANGUAGE sql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
    with asked as (
        select a.ticket, a.session, a.fresh, a.place
        from unnest(asked_tickets, asked_sessions, new_digests) with ordinality a (ticket, session, fresh, place)
    ),
    taken as (
        delete from stream_ticket t
        where t.digest = any (asked_tickets) and t.expires_at > at
        returning t.digest, t.person_id
    ),
    by_ticket as (
        select distinct on (t.digest) a.place, a.fresh, t.digest as ticket, t.person_id, s.id as session_id
        from taken t
        join asked a on a.ticket = t.digest
        left join stream_session s on s.digest = a.session and s.person_id = t.person_id and s.expires_at > at
        order by t.digest, a.place
    ),
    opened as (
        insert into stream_session (digest, person_id, tickets, opened_at, expires_at)
        select b.fresh, b.person_id, array[b.ticket], at, at + life from by_ticket b where b.session_id is null
        returning id, digest
    ),
    gone_on as (
        update stream_session s
        set tickets = (b.tickets || s.tickets)[:16]
        from (select session_id, array_agg(ticket) as tickets from by_ticket where session_id is not null group by session_id) b
        where s.id = b.session_id
    )
    select b.place, coalesce(b.session_id, o.id), b.person_id, b.session_id is null
    from by_ticket b left join opened o on o.digest = b.fresh
    union all
    select a.place, s.id, s.person_id, false
    from asked a
    join stream_session s on s.digest = a.session and s.expires_at > at
    where (a.ticket is null or a.ticket = any (s.tickets))
      and not exists (select from by_ticket b where b.place = a.place)
$$;

CREATE FUNCTION ent_notify.erase_elsewhere(who integer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    SET "ent_notify.forgetting" TO 'on'
    AS $$
declare
    p person;
    spoken text[];
begin
    select * into p from person where id = who;
    if p.id is null then
        return;
    end if;
    while exists (
        select from notification n
        where n.feed_seq is null and position(to_jsonb(p.external_id)::text in n.audience::text) > 0
    ) loop
        perform relay(10000);
    end loop;
    update safety_audit set
        done_by = case when done_by = p.external_id then '—' else done_by end,
        about = case when about = p.external_id then '—' else about end
    where p.external_id in (done_by, about);
    update recall_run set done_by = '—' where done_by = p.external_id;
    update restraint set done_by = '—' where done_by = p.external_id;
    update frozen_area set done_by = '—' where done_by = p.external_id;
    if p.profile in (3, 4) then
        spoken := array[p.given_name || ' ' || p.family_name, p.family_name || ' ' || p.given_name,
                        upper(p.family_name) || ' ' || p.given_name];
        update lesson l set
            base = case when base->>'teacher' = any (spoken) then base - 'teacher' else base end,
            now = case when now->>'teacher' = any (spoken) then now - 'teacher' else now end
        where base->>'teacher' = any (spoken) or now->>'teacher' = any (spoken);
    end if;
end $$;

CREATE FUNCTION ent_notify.erase_from_chunks(who integer, devices integer[], after bigint, most integer, OUT upto bigint, OUT taken integer) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    looked bigint[] := array(
        select c.notification_id from campaign c where c.notification_id > after and c.detail = 0 order by 1 limit most);
    one chunk;
    lost int[];
begin
    upto := looked[cardinality(looked)];
    taken := 0;
    for one in
        select h.* from campaign c
        join lane l on l.channel in ('email', 'push')
        cross join lateral (
            select * from chunk x
            where x.campaign_id = c.notification_id and x.lane_id = l.id and x.bucket in (-1, who / coalesce(c.width, 1000))
            offset 0
        ) h
        where c.notification_id = any (looked)
          and case when l.channel = 'email' then h.targets @> array[who] else h.targets && devices end
        order by h.id
    loop
        select * into one from chunk where id = one.id for update;
        lost := case when (select channel from lane where id = one.lane_id) = 'email' then array[who] else devices end;
        update outcome o set person_id = 0, target = -array_position(one.targets, o.target)
        where o.chunk_id = one.id and o.target = any (lost) and array_position(one.targets, o.target) is not null;
        delete from late_word where chunk_id = one.id and target = any (lost);
        update chunk set targets = (
            select array_agg(case when t = any (lost) then -place else t end order by place)
            from unnest(one.targets) with ordinality u (t, place)
        )
        where id = one.id;
        taken := taken + 1;
    end loop;
end $$;

CREATE FUNCTION ent_notify.erase_outcomes(who integer) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    n int;
begin
    update outcome o set person_id = 0, target = x.fresh
    from (
        select o.chunk_id, o.target,
               (least(0, (select min(y.target) from outcome y where y.chunk_id = o.chunk_id)) - h.size
                - row_number() over (partition by o.chunk_id order by o.target))::int as fresh
        from outcome o join chunk h on h.id = o.chunk_id where o.person_id = who
    ) x
    where o.chunk_id = x.chunk_id and o.target = x.target;
    get diagnostics n = row_count;
    return n;
end $$;

CREATE FUNCTION ent_notify.erase_person(who integer, way_asked smallint, why text, at timestamp with time zone, sweep interval, own text[]) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $_$
declare
    p person;
    counts jsonb := '{}';
    n bigint;
    theirs bigint[];        -- conversations
    mentions bigint[];      -- notifications whose audience names them
    alone bigint[];         -- and nobody else
    external text;
    quoted text;
    devices_now int[];
    a_table text;
begin
    select * into p from person where id = who for update;
    if exists (select from held_people(at) h where h.person_id = who) then
        raise exception 'a hold keeps this person: nothing of theirs is erased until it is lifted' using errcode = 'EN004';
    end if;
    devices_now := array(select d.id from device d where d.person_id = who order by 1);
    insert into erasure as e (person_id, digest, way, cause, erased_at, sweep_at, devices)
    values (who, coalesce(digest_of(who, p.external_id), ''::bytea), way_asked, why, at, at + sweep, devices_now)
    on conflict (person_id) do update set devices = e.devices || excluded.devices;
    external := p.external_id;
    quoted := to_jsonb(external)::text;

    -- what they wrote
    theirs := array(select c.conversation_id from participant c where c.person_id = who
                    union select c.id from conversation c where c.about_id = who);
    delete from message_due d using message m
    where m.conversation_id = any (theirs) and m.author_id = who and d.conversation_id = m.conversation_id and d.seq = m.seq;
    update notification x set data = x.data || case when way_asked = 1 then '{"sender": "—", "subject": "—"}'::jsonb
                                                    else '{"sender": "—"}'::jsonb end
    from message m
    where way_asked < 3 and m.conversation_id = any (theirs) and m.author_id = who and x.type = 'MessagePosted'
      and x.idempotency_key = 'message:' || m.conversation_id || ':' || m.seq;
    if way_asked = 1 then
        update message_change h set body = null from message m
        where m.conversation_id = any (theirs) and m.author_id = who and h.conversation_id = m.conversation_id
          and h.seq = m.seq and h.body is not null;
        insert into message_change (conversation_id, seq, kind, changed_by, changed_at)
        select m.conversation_id, m.seq, 2, 0, at from message m
        where m.conversation_id = any (theirs) and m.author_id = who and m.recalled_at is null;
    end if;
    if way_asked < 3 then
        update message m set
            author_id = 0,
            body = case when way_asked = 1 then '' else m.body end,
            recalled_at = case when way_asked = 1 then coalesce(m.recalled_at, at) else m.recalled_at end,
            recalled_by = case when m.recalled_by = who then 0 else m.recalled_by end
        where m.conversation_id = any (theirs) and m.author_id = who;
        get diagnostics n = row_count;
        counts := add_counts(counts, jsonb_build_object('message', n));
        update acknowledgement_request r set asked_by = null where r.asked_by = who;
        update attachment a set owner_id = 0 where a.owner_id = who;
        update message m set recalled_by = 0 where m.conversation_id = any (theirs) and m.recalled_by = who;
        update message_change h set changed_by = 0 where h.conversation_id = any (theirs) and h.changed_by = who;
    end if;
    update message_change h set read_by = array_remove(h.read_by, who)
    where h.conversation_id = any (theirs) and h.read_by @> array[who];
    update conversation c set
        moved = this_transaction(),
        subject = case when way_asked = 1 and c.started_by = who then '—' else c.subject end,
        started_by = case when way_asked < 3 and c.started_by = who then 0 else c.started_by end,
        closed_by = case when c.closed_by = who then 0 else c.closed_by end,
        about_id = nullif(c.about_id, who),
        pair = case when who = any (c.pair) then null else c.pair end
    where c.id = any (theirs);
    delete from message_draft where author_id = who;
    get diagnostics n = row_count;
    counts := add_counts(counts, jsonb_build_object('message_draft', n));
    delete from conversation_key where scope = 4 and ref = who;

    -- what was for them, or names them
    mentions := array(select a.notification_id from audience a where a.scope in (3, 4) and a.ref = who and not a.excluded
                      union select a.notification_id from audience a where a.scope in (3, 4) and a.ref = who and a.excluded);
    alone := array(select m from unnest(mentions) m where not exists (
        select from audience a where a.notification_id = m and not a.excluded and not (a.scope in (3, 4) and a.ref = who)));
    counts := add_counts(counts, remove_notifications(alone));
    delete from audience a where a.notification_id = any (mentions) and a.scope in (3, 4) and a.ref = who;
    delete from retraction where scope in (3, 4) and ref = who;
    if external is not null then
        update notification x set
            audience = replace(x.audience::text, quoted, '"—"')::jsonb,
            clauses = regexp_replace(x.clauses::text, '\[([34]), ' || who || '\]', '[\1, 0]', 'g')::jsonb,
            data = replace(x.data::text, quoted, '"—"')::jsonb
        where x.id = any (mentions) or x.data::text like '%' || replace(replace(quoted, '\', '\\'), '_', '\_') || '%';
        update notification x set data = x.data || '{"sender": "—"}'
        where way_asked < 3 and x.data->>'sender' = btrim(p.given_name || ' ' || p.family_name);
        update message_draft d set content = replace(d.content::text, quoted, '"—"')::jsonb
        where d.content::text like '%' || replace(replace(quoted, '\', '\\'), '_', '\_') || '%';
        update campaign_action set done_by = '—' where done_by = external;
        update contact_rules set changed_by = '—' where changed_by = external;
        update reading_choice set changed_by = '—' where changed_by = external;
        update school_calendar set changed_by = '—' where changed_by = external;
        update same_human set declared_by = '—' where declared_by = external;
        update rights_request set actor = '—' where actor = external;
        delete from sender where name = external;
    end if;
    update recalled_reader r set people = array_remove(r.people, who)
    where r.bucket = who / 1000 and r.people @> array[who];

    -- rows of their own
    -- (`own` says which: "table.column", from the annotations)
    foreach a_table in array own loop
        execute format('delete from %I where %I = $1', split_part(a_table, '.', 1), split_part(a_table, '.', 2)) using who;
        get diagnostics n = row_count;
        counts := add_counts(counts, jsonb_build_object(split_part(a_table, '.', 1), n));
    end loop;
    if way_asked = 3 and p.id is not null then
        update person set external_id = 'gone:' || who, email = null, email_dropped_at = null, email_drop_reason = null,
                          function = null, hidden_at = coalesce(hidden_at, at), restricted_at = null
        where id = who;
    else
        delete from person where id = who;
    end if;
    get diagnostics n = row_count;
    return add_counts(counts, jsonb_build_object('person', n));
end $_$;

CREATE FUNCTION ent_notify.forecast_sends(kind_name text, expr jsonb, body jsonb, at timestamp with time zone) RETURNS TABLE(lane_id smallint, timezone text, sends integer)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'ent_notify', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
#variable_conflict use_column
declare
    kind event_type;
    compiled jsonb;
begin
    select * into kind from event_type t where t.name = kind_name;
    if not found then
        raise exception 'event type "%" is not known; known are %', kind_name,
            (select string_agg(t.name, ', ' order by t.name) from event_type t) using errcode = 'EN002';
    elsif expr is null and kind.natural_audience is null then
        raise exception '% needs an "audience"', kind.name using errcode = 'EN002';
    end if;
    compiled := case when expr is null then audience_clauses(kind.natural_audience, body) else audience_clauses(expr, null) end;
    return query
    with terms as (
        select distinct c.place as clause, t.excluded, (t.term->>0)::smallint as scope, (t.term->>1)::int as ref
        from jsonb_array_elements(compiled) with ordinality c (clause, place)
        cross join lateral (
            select false as excluded, x as term from jsonb_array_elements(c.clause->'in') x
            union all
            select true, x from jsonb_array_elements(c.clause->'not') x
        ) t
    ),
    reached as materialized (
        select t.clause, t.excluded, p.person_id from terms t cross join lateral people_under(t.scope, t.ref, at, at) p
    ),
    people as materialized (
        select p.id, p.timezone, p.mail_lane, p.email is not null and p.email_dropped_at is null as mailable
        from (
            select r.person_id from reached r
            where not r.excluded
              and not exists (select from reached x where x.excluded and x.clause = r.clause and x.person_id = r.person_id)
            group by r.person_id
        ) r
        join person p on p.id = r.person_id and p.hidden_at is null
    )
    select null::smallint, null::text, count(*)::int from people
    union all
    select coalesce(e.mail_lane, l.id), e.timezone, count(*)::int
    from people e
    join lane l on l.name = 'email'
    left join preference f on f.person_id = e.id and f.category = kind.category and f.channel = 'email' and not f.enabled
    where 'email' = any (kind.channels) and e.mailable and f.person_id is null
    group by 1, 2
    union all
    select l.id, e.timezone, count(*)::int
    from people e
    join device v on v.person_id = e.id and v.dropped_at is null
    join lane l on l.channel = 'push' and l.provider = v.provider and l.app = v.app
    left join preference f on f.person_id = e.id and f.category = kind.category and f.channel = 'push' and not f.enabled
    where 'push' = any (kind.channels) and f.person_id is null
    group by 1, 2;
end $$;

CREATE FUNCTION ent_notify.forget_audit(cutoff timestamp with time zone, most integer) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    SET "ent_notify.forgetting" TO 'on'
    SET lock_timeout TO '100ms'
    AS $_$
declare
    part record;
    n int := 0;
    actions int;
    acts int;
    runs int;
    glasses int;
begin
    for part in
        select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'audit'::regclass and c.relname ~ '^audit_\d{6}$'
          and to_timestamp(substr(c.relname, 7), 'YYYYMM') + interval '1 month' <= cutoff
    loop
        execute format('alter table audit detach partition %I', part.name);
        execute format('drop table %I', part.name);
    end loop;
    delete from audit a using (select noted_at, id from audit where noted_at < cutoff limit most) d
    where a.noted_at = d.noted_at and a.id = d.id;
    get diagnostics n = row_count;
    delete from campaign_action where id = any (array(select id from campaign_action where done_at < cutoff limit most));
    get diagnostics actions = row_count;
    delete from safety_audit where id = any (array(select id from safety_audit where done_at < cutoff limit most));
    get diagnostics acts = row_count;
    delete from recall_run where id = any (array(select id from recall_run where ended_at < cutoff limit most));
    get diagnostics runs = row_count;
    delete from break_glass where id = any (array(select id from break_glass where asked_at < cutoff limit most));
    get diagnostics glasses = row_count;
    return jsonb_build_object('audit', n, 'campaign_action', actions, 'safety_audit', acts, 'recall_run', runs,
                              'break_glass', glasses);
end $_$;

CREATE FUNCTION ent_notify.forget_counted(before timestamp with time zone, most integer) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    ids bigint[];
    n int;
    ended int;
begin
    ids := array(
        select c.notification_id from campaign c join notification n on n.id = c.notification_id
        where c.detail = 1 and (n.published_at < before or not exists (select from outcome o where o.campaign_id = c.notification_id))
        order by 1 limit most for update of c skip locked
    );
    with picked as (
        select o.chunk_id, o.target from outcome o where o.campaign_id = any (ids) limit most * 10
    )
    delete from outcome o using picked s where o.chunk_id = s.chunk_id and o.target = s.target;
    get diagnostics n = row_count;
    update campaign c set detail = 2
    where c.notification_id = any (ids) and not exists (select from outcome o where o.campaign_id = c.notification_id);
    get diagnostics ended = row_count;
    return jsonb_build_object('outcome', n, 'ended', ended);
end $$;

CREATE FUNCTION ent_notify.forget_delivery(cutoff timestamp with time zone, schools integer[], cutoffs timestamp with time zone[], at timestamp with time zone, most integer) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    ids bigint[];
    chunks int;
begin
    ids := array(
        select c.notification_id from campaign c
        where c.notification_id = any (array(
            select d.id from due_delivery(cutoff, schools, cutoffs, at) d where not d.held order by d.id limit most
        ))
        order by 1 for update skip locked
    );
    insert into outcome_total (campaign_id, lane_id, state, reason, n)
    select o.campaign_id, h.lane_id, o.state, o.reason, count(*)
    from outcome o join chunk h on h.id = o.chunk_id
    where o.campaign_id = any (ids) and o.state in (2, 3)
    group by 1, 2, 3, 4
    on conflict (campaign_id, lane_id, state, reason) do update set n = excluded.n;
    delete from late_word w using chunk h where h.id = w.chunk_id and h.campaign_id = any (ids);
    update chunk set targets = null where campaign_id = any (ids) and targets is not null;
    get diagnostics chunks = row_count;
    update campaign set detail = 1 where notification_id = any (ids);
    return jsonb_build_object('campaign', cardinality(ids), 'chunk', chunks);
end $$;

CREATE FUNCTION ent_notify.forget_drafts(cutoff timestamp with time zone, most integer) RETURNS jsonb
    LANGUAGE sql
    AS $$
    with gone as (
        delete from ent_notify.message_draft where id = any (array(select d.id from ent_notify.due_drafts(cutoff) d limit most))
        returning id
    )
    select jsonb_build_object('message_draft', count(*)) from gone
$$;

CREATE FUNCTION ent_notify.forget_inbox(cutoff timestamp with time zone, schools integer[], cutoffs timestamp with time zone[], at timestamp with time zone, most integer) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    return remove_notifications(array(
        select n.id from notification n
        where n.id = any (array(
            select d.id from due_inbox(cutoff, schools, cutoffs, at) d where not d.held order by d.id limit most
        ))
        order by 1 for update skip locked
    ));
end $$;

CREATE FUNCTION ent_notify.forget_messages(cutoff timestamp with time zone, at timestamp with time zone, most integer) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    conversations bigint[];
    seqs int[];
    n int;
    emptied int;
begin
    select coalesce(array_agg(d.conversation_id), '{}'), coalesce(array_agg(d.seq), '{}') into conversations, seqs
    from (
        select m.conversation_id, m.seq from message m
        join (select * from due_messages(cutoff, at) d where not d.held order by 1, 2 limit most) d
            on d.conversation_id = m.conversation_id and d.seq = m.seq
        order by 1, 2 for update of m skip locked
    ) d;
    delete from message_change h using unnest(conversations, seqs) d (c, s) where h.conversation_id = d.c and h.seq = d.s;
    delete from acknowledgement_request r using unnest(conversations, seqs) d (c, s) where r.conversation_id = d.c and r.seq = d.s;
    delete from message m using unnest(conversations, seqs) d (c, s) where m.conversation_id = d.c and m.seq = d.s;
    get diagnostics n = row_count;
    delete from conversation c
    where c.id = any (array(
        select x.id from conversation x
        where x.started_at < cutoff and x.last_at < cutoff
          and not exists (select from message m where m.conversation_id = x.id)
          and not exists (select from held_conversations(at) h where h.conversation_id = x.id)
        limit most for update skip locked
    ));
    get diagnostics emptied = row_count;
    return add_counts(jsonb_build_object('message', n), jsonb_build_object('conversation', emptied));
end $$;

CREATE FUNCTION ent_notify.forget_proofs(cutoff timestamp with time zone, backups timestamp with time zone, most integer) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    requests int;
    holds int;
    cases int;
    proofs int;
    erasures int;
    runs int;
begin
    delete from rights_request where id = any (array(select id from rights_request where closed_at < cutoff limit most));
    get diagnostics requests = row_count;
    delete from hold where id = any (array(select id from hold where lifted_at < cutoff limit most));
    get diagnostics holds = row_count;
    delete from moderation_case where id = any (array(select id from moderation_case where closed_at < cutoff limit most));
    get diagnostics cases = row_count;
    delete from message_hold h where not exists (select from moderation_case c where c.id = h.case_id);
    delete from evidence where id = any (array(
        select v.id from evidence v
        where v.taken_at < cutoff and not exists (
            select from moderation_case c where c.conversation_id = v.conversation_id and c.seq = v.seq)
        limit most));
    get diagnostics proofs = row_count;
    delete from erasure where person_id = any (array(
        select e.person_id from erasure e where e.swept_at < backups and e.way < 3 limit most));
    get diagnostics erasures = row_count;
    delete from retention_run where id = any (array(select id from retention_run where done_at < backups limit most));
    get diagnostics runs = row_count;
    return jsonb_build_object('rights_request', requests, 'hold', holds, 'moderation_case', cases, 'evidence', proofs,
                              'erasure', erasures, 'retention_run', runs);
end $$;

CREATE FUNCTION ent_notify.give_acknowledgement(request bigint, reader integer, children integer[], seen bytea, at timestamp with time zone, OUT said text, OUT first_at timestamp with time zone) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    r acknowledgement_request;
    hash bytea;
    wanted int[];
begin
    select * into r from acknowledgement_request q where q.id = request;
    -- no edit between the look at the text and what is said of it
    perform from message m where m.conversation_id = r.conversation_id and m.seq = r.seq for share;
    hash := text_hash(asked_text(request));
    wanted := array(select a.child_id from asked_of_reader(request, reader, at) a
                    where children is null or a.child_id = any (children));
    if r.id is null or wanted = '{}' or not coalesce(children, '{}') <@ wanted then
        said := 'stranger';
    elsif hash is null then
        said := 'gone';
    elsif seen is null and r.kind = 2 then
        said := 'unread';
    elsif seen <> hash then
        said := 'changed';
    else
        said := 'given';
        insert into acknowledgement_given (request_id, person_id, child_id, text_hash, given_at)
        select request, reader, child, hash, at from unnest(wanted) child
        on conflict do nothing;
        select min(g.given_at) into first_at from acknowledgement_given g
        where g.request_id = request and g.person_id = reader and g.child_id = any (wanted) and g.text_hash = hash;
        if r.notification_id is not null then
            insert into acknowledgement (notification_id, person_id, acknowledged_at)
            values (r.notification_id, reader, at) on conflict do nothing;
        end if;
    end if;
end $$;

CREATE FUNCTION ent_notify.give_room_back() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    update attachment_usage u set bytes = u.bytes - d.bytes
    from (select g.owner_id, sum(g.size) as bytes from gone g group by g.owner_id) d
    where u.person_id = d.owner_id;
    return null;
end $$;

CREATE FUNCTION ent_notify.go_on_recalling(wanted bigint, most integer, at timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    r recall_run;
    found_conversations bigint[];
    found_seqs int[];
    taken int;
begin
    select * into r from recall_run where id = wanted and ended_at is null for update skip locked;
    if r.id is null then
        return false;
    end if;
    select array_agg(x.conversation_id), array_agg(x.seq) into found_conversations, found_seqs
    from (
        select m.conversation_id, m.seq from message m
        where m.author_id = r.person_id and m.posted_at between r.since and r.until and m.recalled_at is null
        order by m.posted_at desc limit most
    ) x;
    taken := withdraw_messages(found_conversations, found_seqs, r.done_by, r.reason, r.id, at);
    update recall_run set
        recalled = recalled + taken,
        ended_at = case when coalesce(cardinality(found_seqs), 0) < most then at end
    where id = r.id;
    return coalesce(cardinality(found_seqs), 0) >= most;
end $$;

CREATE FUNCTION ent_notify.guardians_changed() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    perform note_rights_changed(case when count(*) <= 1000 then (
        select coalesce(array_agg(distinct guardian_id), '{}') from changed
    ) end) from (select from changed limit 1001) bounded;
    return null;
end $$;

CREATE FUNCTION ent_notify.hear_late(chunk_told bigint, fence_held integer, new_cursor integer, retried_ok integer[], told integer[], states smallint[], reasons text[], at timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
#variable_conflict use_column
declare
    c chunk;
    why text;
    again record;
begin
    select * into c from chunk where id = chunk_told and fence >= fence_held for update;
    why := (select k.stop_reason from campaign k where k.notification_id = c.campaign_id and k.state = 2);
    if c.id is null or (c.state = 3 and why is null) then
        return false;
    end if;
    delete from late_word w   -- settled by others since
    where not exists (select from chunk h where h.id = w.chunk_id and h.state <> 3);
    insert into late_word (chunk_id, target, state, reason)
    select c.id, x.target, x.state, x.reason
    from (
        select t.target, 4 as state, 'late' as reason
        from unnest(case when c.cursor < c.size then c.targets[c.cursor + 1:new_cursor] else retried_ok end) t (target)
        where t.target <> all (told)
        union all
        select o.target, case when o.state = 1 then 3 else o.state end, o.reason
        from unnest(told, states, reasons) o (target, state, reason)
        where o.state <> 1 or o.reason like 'unknown:%'
    ) x
    left join outcome o on o.chunk_id = c.id and o.target = x.target
    where case when o.target is null then array_position(c.targets, x.target) > c.cursor
               else o.state = 1 or (o.state = 2 and o.reason = why) or (o.state = 3 and o.reason like 'unknown:%') end
    on conflict (chunk_id, target) do update set state = excluded.state, reason = excluded.reason where excluded.state = 4;
    if c.state <> 3 or not found then
        return false;
    end if;
    with reopened as (
        update outcome o set state = 1
        from late_word w join outcome was on was.chunk_id = w.chunk_id and was.target = w.target
        where w.chunk_id = c.id and o.chunk_id = was.chunk_id and o.target = was.target
        returning was.state
    )
    select count(*) filter (where state = 2)::int as suppressed, count(*) filter (where state = 3)::int as failed
    into again from reopened;
    update chunk set suppressed = suppressed - stopped - again.suppressed, failed = failed - again.failed, stopped = 0
    where id = c.id;
    perform close_chunks(array[c.id], why, at);
    perform withdraw_again(c.campaign_id);
    return true;
end $$;

CREATE FUNCTION ent_notify.heed_departures(at timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    gone int[];
    chunks bigint[];
    freed int := 0;
begin
    with dead as (
        delete from gateway_node where lease_until <= at returning id
    ),
    lost as (
        delete from presence p using dead d where p.node = d.id returning p.person_id
    )
    insert into departure (person_id, due_at)
    select distinct l.person_id, at from lost l order by 1
    on conflict (person_id) do update set due_at = excluded.due_at, looks = 0;
    gone := array(select d.person_id from departure d where d.due_at <= at order by d.person_id for update skip locked);
    if cardinality(gone) = 0 then
        return 0;
    end if;
    chunks := array(
        select h.id from chunk h
        where h.id in (
            select o.chunk_id from outcome o
            where o.person_id = any (gone) and o.state = 1 and o.reason = 'on_screen' and o.retry_at > at
              and not exists (select from on_screen(array[o.person_id], at))
        )
        order by h.id for update skip locked
    );
    if cardinality(chunks) > 0 then
        update outcome o set retry_at = at
        where o.person_id = any (gone) and o.state = 1 and o.reason = 'on_screen' and o.retry_at > at
          and o.chunk_id = any (chunks) and not exists (select from on_screen(array[o.person_id], at));
        get diagnostics freed = row_count;
        update chunk set due_at = at where id = any (chunks) and state = 1 and cursor >= size and due_at > at;
    end if;
    delete from departure where person_id = any (gone) and looks >= 3;
    update departure set due_at = at + interval '1 second' * (5 ^ looks), looks = looks + 1 where person_id = any (gone);
    return freed;
end $$;

CREATE FUNCTION ent_notify.held_conversations(at timestamp with time zone) RETURNS TABLE(conversation_id bigint)
    LANGUAGE sql STABLE
    AS $$
    select h.conversation_id from ent_notify.standing_holds(at) h where h.conversation_id is not null
    union
    select p.conversation_id from ent_notify.standing_holds(at) h
    join ent_notify.participant p on p.person_id = h.person_id
    union
    select m.conversation_id from ent_notify.message_hold m
$$;

CREATE FUNCTION ent_notify.held_notifications(at timestamp with time zone) RETURNS TABLE(notification_id bigint)
    LANGUAGE sql STABLE
    AS $$
    select v.id from ent_notify.standing_holds(at) h
    join ent_notify.notification n on n.id = h.notification_id
    join ent_notify.notification v on v.id in (n.id, n.root)
    union
    select a.notification_id from ent_notify.standing_holds(at) h
    join ent_notify.audience a on a.scope in (3, 4) and a.ref = h.person_id
$$;

CREATE FUNCTION ent_notify.held_people(at timestamp with time zone) RETURNS TABLE(person_id integer)
    LANGUAGE sql STABLE
    AS $$
    select h.person_id from ent_notify.standing_holds(at) h where h.person_id is not null
    union
    select p.person_id from ent_notify.held_conversations(at) c
    join ent_notify.participant p on p.conversation_id = c.conversation_id
    union
    select m.author_id from ent_notify.held_conversations(at) c
    join ent_notify.message m on m.conversation_id = c.conversation_id
    union
    select a.ref from ent_notify.held_notifications(at) n
    join ent_notify.audience a on a.notification_id = n.notification_id and a.scope in (3, 4)
    union
    select c.person_id from ent_notify.moderation_case c where c.closed_at is null
$$;

CREATE FUNCTION ent_notify.here() RETURNS text
    LANGUAGE sql STABLE
    AS $$
    select (select system_identifier from pg_control_system())::text || ':'
        || (select oid from pg_database where datname = current_database())::text
$$;

CREATE FUNCTION ent_notify.hold_told(author integer, who text, why text, at timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    told bigint;
    held int := 0;
begin
    perform relay(10000);
    for told in
        select k.notification_id
        from message m
        join notification n on n.idempotency_key = 'message:' || m.conversation_id || ':' || m.seq
        join campaign k on k.notification_id = n.id and k.state = 0
        where m.author_id = author and m.posted_at > at - interval '8 days' and m.recalled_at is null
          and (k.planned_at is null or exists (select from chunk h where h.campaign_id = k.notification_id and h.state in (0, 1, 2)))
        order by k.notification_id
    loop
        perform pause_campaign(told, who, why, at);
        insert into held_campaign (campaign_id, person_id) values (told, author) on conflict do nothing;
        held := held + 1;
    end loop;
    return held;
end $$;

CREATE FUNCTION ent_notify.holds_keeping(who integer, at timestamp with time zone) RETURNS TABLE(hold_id bigint)
    LANGUAGE sql STABLE
    AS $$
    select h.id from ent_notify.standing_holds(at) h
    where h.person_id = who
       or exists (
           select from ent_notify.participant p
           where p.person_id = who and (p.conversation_id = h.conversation_id or exists (
               select from ent_notify.participant o where o.conversation_id = p.conversation_id and o.person_id = h.person_id))
       )
       or exists (
           select from ent_notify.message m
           where m.author_id = who and (m.conversation_id = h.conversation_id or m.conversation_id in (
               select o.conversation_id from ent_notify.participant o where o.person_id = h.person_id))
       )
       or exists (
           select from ent_notify.audience a
           where a.scope in (3, 4) and a.ref = who and (a.notification_id in (
               select v.id from ent_notify.notification n join ent_notify.notification v on v.id in (n.id, n.root)
               where n.id = h.notification_id
           ) or a.notification_id in (
               select b.notification_id from ent_notify.audience b where b.scope in (3, 4) and b.ref = h.person_id))
       )
$$;

CREATE FUNCTION ent_notify.homework_root() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    named text := coalesce(new.data->>'homework', new.idempotency_key);
    first_version bigint;
begin
    select coalesce(n.root, n.id) into first_version
    from homework h join notification n on n.id = h.notification_id
    where h.external_id = named and n.withdrawn_type is null and n.withdraws is null;
    new.root := coalesce(new.root, first_version);
    if new.type in ('HomeworkChanged', 'HomeworkWithdrawn') and not exists (select from homework where external_id = named) then
        raise exception 'no homework "%" was assigned; give the `homework` of HomeworkAssigned, or its key', named
            using errcode = 'EN002';
    end if;
    return new;
end $$;

CREATE FUNCTION ent_notify.in_hand(campaign bigint) RETURNS integer
    LANGUAGE sql STABLE
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
    select coalesce(sum(size - accepted - suppressed - failed), 0)::int from chunk where campaign_id = campaign and state = 2
$$;

CREATE FUNCTION ent_notify.keep_held() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    if exists (select from ent_notify.message_hold h where h.conversation_id = old.conversation_id and h.seq = old.seq) then
        raise exception 'message % of conversation % was reported, and is kept until its case is dismissed',
            old.seq, old.conversation_id using errcode = 'EN004';
    end if;
    return old;
end $$;

CREATE FUNCTION ent_notify.lift_for_replay(who integer, erased timestamp with time zone, at timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    update hold set lifted_at = at, lifted_by = 'the ledger of erasures'
    where id in (select hold_id from holds_keeping(who, at)) and asked_at < erased and lifted_at is null;
    delete from message_hold h
    where h.placed_at < erased and (
        exists (select from participant p where p.conversation_id = h.conversation_id and p.person_id = who)
        or exists (select from message m where m.conversation_id = h.conversation_id and m.author_id = who)
    );
    update moderation_case set closed_at = at, decision = coalesce(decision, 'dismiss')
    where person_id = who and opened_at < erased and closed_at is null;
end $$;

CREATE FUNCTION ent_notify.load_mail(chunks bigint[], fences integer[], firsts integer[], lasts integer[], of_retries boolean[], at timestamp with time zone) RETURNS TABLE(part integer, target integer, attempt integer, address text, language text, name text, children text[], withheld text)
    LANGUAGE plpgsql STABLE ROWS 500
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
#variable_conflict use_column
begin
    return query
    with c as materialized (
        select s.part, s.first, s.last, s.of_retries, h.id, h.campaign_id, n.category, n.feed_seq, n.expires_at <= at as expired
        from unnest(chunks, fences, firsts, lasts, of_retries) with ordinality s (id, fence, first, last, of_retries, part)
        join chunk h on h.id = s.id and h.fence = s.fence and h.state = 2
        join campaign k on k.notification_id = h.campaign_id and k.state = 0
        join notification n on n.id = h.campaign_id
    ),
    t as materialized (
        select c.part, c.campaign_id, c.category, c.feed_seq, c.expired, u.target, 1 as attempt, u.place
        from c join chunk h on h.id = c.id
        cross join lateral unnest(h.targets[c.first + 1:c.last]) with ordinality u (target, place)
        where not c.of_retries
        union all
        select c.part, c.campaign_id, c.category, c.feed_seq, c.expired, o.target, o.attempts + 1, o.target
        from c cross join lateral (
            select o.target, o.attempts from outcome o
            where o.chunk_id = c.id and o.state = 1 and o.retry_at <= at
            order by o.target limit c.last - c.first
        ) o
        where c.of_retries
    ),
    a as materialized (
        select s.* from (
            select array_agg(t.campaign_id) as campaigns, array_agg(t.target) as people from t
        ) x cross join lateral still_addressed(x.campaigns, x.people, at) s
    )
    select t.part::int, t.target, t.attempt, p.email, coalesce(p.language, 'fr'),
           trim(concat_ws(' ', p.given_name, p.family_name)),
           case when a.children is not null then
               (select array_agg(k.given_name order by k.given_name) from person k where k.id = any (a.children))
           end,
           case when t.expired then 'expired'
                when p.id is null then 'erased'
                when p.hidden_at is not null then 'left'
                when a.person_id is null then 'no_longer_addressed'
                when p.email is null then 'no_address'
                when p.email_dropped_at is not null then 'address_dropped'
                when f.enabled is false then 'opted_out'
                when r.watermark >= t.feed_seq or t.feed_seq = any (r.above) then 'read'
           end
    from t
    left join person p on p.id = t.target
    left join a on a.campaign_id = t.campaign_id and a.person_id = t.target
    left join preference f on f.person_id = t.target and f.category = t.category and f.channel = 'email'
    left join reading r on r.person_id = t.target
    order by t.part, t.place;
end $$;

CREATE FUNCTION ent_notify.load_push(chunks bigint[], fences integer[], firsts integer[], lasts integer[], of_retries boolean[], at timestamp with time zone, day_start timestamp with time zone, daily_cap integer, grace interval) RETURNS TABLE(part integer, target integer, person_id integer, attempt integer, address text, language text, registered_at timestamp with time zone, withheld text)
    LANGUAGE plpgsql STABLE ROWS 500
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
#variable_conflict use_column
declare
    day_first bigint := (select min(m.feed_seq) from notification m where m.published_at >= day_start);
begin
    return query
    with c as materialized (
        select s.part, s.first, s.last, s.of_retries, h.id, h.campaign_id, n.category, n.feed_seq, n.expires_at <= at as expired,
               n.withdraws is not null as takes_back,
               -- its reader's eyes may come first: while it is new, or has reached their screen (see 0011)
               n.urgency > 0 and n.expires_at > at + grace and grace > interval '0' as may_wait, n.published_at,
               -- nobody can have had more than were published since the day began
               n.urgency > 0 and n.feed_seq - day_first >= daily_cap as is_capped
        from unnest(chunks, fences, firsts, lasts, of_retries) with ordinality s (id, fence, first, last, of_retries, part)
        join chunk h on h.id = s.id and h.fence = s.fence and h.state = 2
        join campaign k on k.notification_id = h.campaign_id and k.state = 0
        join notification n on n.id = h.campaign_id
    ),
    t as materialized (
        select c.part, c.campaign_id, c.category, c.feed_seq, c.expired, c.takes_back, c.is_capped, c.may_wait, c.published_at,
               u.target, 1 as attempt, u.place
        from c join chunk h on h.id = c.id
        cross join lateral unnest(h.targets[c.first + 1:c.last]) with ordinality u (target, place)
        where not c.of_retries
        union all
        select c.part, c.campaign_id, c.category, c.feed_seq, c.expired, c.takes_back, c.is_capped,
               false, c.published_at, o.target, o.attempts + 1, o.target
        from c cross join lateral (
            select o.target, o.attempts from outcome o
            where o.chunk_id = c.id and o.state = 1 and o.retry_at <= at
            order by o.target limit c.last - c.first
        ) o
        where c.of_retries
    ),
    v as materialized (
        select d.id, d.person_id, d.token, d.language, d.registered_at, d.dropped_at
        from device d where d.id = any (array(select t.target from t))
    ),
    a as materialized (
        select s.campaign_id, s.person_id from (
            select array_agg(t.campaign_id) as campaigns, array_agg(v.person_id) as people
            from t join v on v.id = t.target where not t.takes_back
        ) x cross join lateral still_addressed(x.campaigns, x.people, at) s
        group by s.campaign_id, s.person_id
    ),
    here as materialized (
        select * from on_screen(array(select v.person_id from v), at)
    )
    select t.part::int, t.target, coalesce(v.person_id, 0), t.attempt, v.token, coalesce(v.language, p.language, 'fr'),
           v.registered_at,
           case when t.expired then 'expired'
                when v.id is null or p.id is null then 'erased'
                when p.hidden_at is not null then 'left'
                when v.dropped_at is not null then 'device_dropped'
                when t.takes_back then null
                when a.person_id is null then 'no_longer_addressed'
                when f.enabled is false then 'opted_out'
                when r.watermark >= t.feed_seq or t.feed_seq = any (r.above) then 'read'
                when s.upto >= t.feed_seq then 'seen'
                when t.is_capped and (
                    select count(*) from (
                        select distinct x.feed_seq
                        from reader_keys(v.person_id, at) k
                        cross join lateral (
                            select b.feed_seq from audience b
                            where b.scope = k.scope and b.ref = k.ref and not b.excluded
                              and b.feed_seq >= day_first and b.feed_seq < t.feed_seq
                            order by b.feed_seq limit daily_cap
                        ) x
                        limit daily_cap
                    ) y
                ) >= daily_cap then 'daily_cap'
                -- (the last of all: it is no reason to withhold, but to look again)
                when t.may_wait and (e.seq >= t.feed_seq or e.person_id is not null and t.published_at > at - grace)
                then 'on_screen'
           end
    from t
    left join v on v.id = t.target
    left join person p on p.id = v.person_id
    left join a on a.campaign_id = t.campaign_id and a.person_id = v.person_id
    left join preference f on f.person_id = v.person_id and f.category = t.category and f.channel = 'push'
    left join reading r on r.person_id = v.person_id
    left join seen s on s.person_id = v.person_id
    left join here e on e.person_id = v.person_id
    order by t.part, t.place;
end $$;

CREATE TABLE ent_notify.campaign (
    notification_id bigint NOT NULL,
    feed_seq bigint NOT NULL,
    width integer,
    school_id integer,
    planned_at timestamp with time zone,
    withdraws bigint,
    state smallint DEFAULT 0 NOT NULL,
    stop_reason text,
    detail smallint DEFAULT 0 NOT NULL
);

CREATE FUNCTION ent_notify.lock_campaign(wanted bigint) RETURNS ent_notify.campaign
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    k campaign;
begin
    select * into k from campaign where notification_id = wanted for update;
    while k.notification_id is null and exists (select from notification where id = wanted and feed_seq is null) loop
        perform relay(10000);
        select * into k from campaign where notification_id = wanted for update;
    end loop;
    if k.notification_id is null then
        raise exception 'there is no campaign %', wanted using errcode = 'EN003';
    end if;
    return k;
end $$;

CREATE FUNCTION ent_notify.make_month(at timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    SET lock_timeout TO '100ms'
    AS $$
declare
    first timestamptz := date_trunc('month', at at time zone 'UTC') at time zone 'UTC' + interval '1 month';
    next timestamptz := (date_trunc('month', at at time zone 'UTC') + interval '2 months') at time zone 'UTC';
    made text;
begin
    first := (date_trunc('month', at at time zone 'UTC') + interval '1 month') at time zone 'UTC';
    made := 'audit_' || to_char(first at time zone 'UTC', 'YYYYMM');
    if to_regclass('ent_notify.' || made) is null
       and not exists (select from audit_rest where noted_at >= first and noted_at < next) then
        execute format('create table %I partition of audit for values from (%L) to (%L)', made, first, next);
    end if;
end $$;

CREATE FUNCTION ent_notify.make_room(a_day bigint) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    SET lock_timeout TO '100ms'
    AS $$
declare
    head bigint := (select last_value from chunk_id_seq);
    upto bigint := (select coalesce(max(p.upper), 0) from partitions_of('outcome') p);
    width bigint := greatest(a_day, 10000);
    made text;
begin
    if upto > head + 2 * width then
        return null;
    end if;
    if upto <= head then
        upto := greatest(head, (select coalesce(max(chunk_id), 0) from outcome_rest)) + 1;
    end if;
    made := 'outcome_' || upto;
    execute format('create table %I (like outcome including all)', made);
    execute format('alter table outcome attach partition %I for values from (%s) to (%s)', made, upto, upto + width);
    return made;
end $$;

CREATE FUNCTION ent_notify.memberships_changed() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    perform note_rights_changed(case when count(*) <= 1000 then (
        select coalesce(array_agg(person_id), '{}') from (
            select person_id from changed
            union
            select g.guardian_id from changed join guardian_link g on g.pupil_id = changed.person_id
        ) everybody
    ) end) from (select from changed limit 1001) bounded;
    return null;
end $$;

CREATE FUNCTION ent_notify.missed(reader integer, after_seq bigint, most integer, at timestamp with time zone) RETURNS TABLE(feed_seq bigint, notification_id bigint)
    LANGUAGE sql STABLE
    AS $$
    with keys as materialized (
        select * from ent_notify.reader_keys(reader, at)
    )
    select distinct hit.feed_seq, hit.notification_id
    from keys k
    cross join lateral (
        select a.feed_seq, a.notification_id
        from ent_notify.audience a
        cross join lateral (   -- (offset 0: one by one in the index's order, and no further than the page)
            select m.published_at from ent_notify.notification m
            where m.id = a.notification_id and m.published_at >= k.since and m.published_at < k.until
            offset 0
        ) m
        where a.scope = k.scope and a.ref = k.ref and not a.excluded and a.feed_seq > after_seq
          and not exists (   -- kept out is who held an excluded key at publication, as in the inbox
              select from ent_notify.audience x join keys y on y.scope = x.scope and y.ref = x.ref
              where x.notification_id = a.notification_id and x.excluded and x.clause = a.clause
                and m.published_at >= y.since and m.published_at < y.until
          )
        order by a.feed_seq limit most
    ) hit
    order by hit.feed_seq limit most
$$;

CREATE FUNCTION ent_notify.names_shown(schools integer[]) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
    select coalesce(bool_and(coalesce(s.names, p.names, true)), true)
    from unnest(schools) x (id)
    left join ent_notify.reading_choice s on s.school_id = x.id
    left join ent_notify.reading_choice p on p.school_id is null
$$;

CREATE FUNCTION ent_notify.near_groups(who integer, at timestamp with time zone) RETURNS TABLE(group_id integer, kind smallint, school_id integer)
    LANGUAGE sql STABLE
    AS $$
    select g.id, g.kind, g.school_id
    from ent_notify.membership m join ent_notify.people_group g on g.id = m.group_id
    where m.person_id = who and m.valid_from <= at and m.valid_until > at
    union
    select g.id, g.kind, g.school_id
    from ent_notify.guardian_link l
    join ent_notify.membership m on m.person_id = l.pupil_id and m.valid_from <= at and m.valid_until > at
    join ent_notify.people_group g on g.id = m.group_id
    where l.guardian_id = who and l.legal_level in (1, 2) and not l.restricted
$$;

CREATE FUNCTION ent_notify.new_turns(chunks bigint[]) RETURNS TABLE(chunk_id bigint, turn bigint)
    LANGUAGE sql
    AS $$
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

CREATE FUNCTION ent_notify.newest_entries(reader integer, at timestamp with time zone, most integer) RETURNS TABLE(feed_seq bigint, notification_id bigint)
    LANGUAGE sql STABLE
    AS $$
    with keys as materialized (
        select * from ent_notify.reader_keys(reader, at)
    )
    select distinct hit.feed_seq, hit.notification_id
    from keys k
    cross join lateral (
        select a.feed_seq, a.notification_id
        from ent_notify.audience a
        cross join lateral (   -- (offset 0: one by one in the index's order, and no further than the page)
            select m.published_at from ent_notify.notification m
            where m.id = a.notification_id and m.superseded_by is null
              and m.published_at >= k.since and m.published_at < k.until
            offset 0
        ) m
        where a.scope = k.scope and a.ref = k.ref and not a.excluded
          and not exists (
              select from ent_notify.audience x join keys y on y.scope = x.scope and y.ref = x.ref
              where x.notification_id = a.notification_id and x.excluded and x.clause = a.clause
                and m.published_at >= y.since and m.published_at < y.until
          )
        order by a.feed_seq desc limit most
    ) hit
    order by hit.feed_seq desc limit most
$$;

CREATE FUNCTION ent_notify.note_acknowledged() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    perform give_acknowledgement(r.id, new.person_id, null, null, new.acknowledged_at)
    from acknowledgement_request r where r.notification_id = new.notification_id and r.kind = 1;
    return null;
end $$;

CREATE FUNCTION ent_notify.note_action(campaign bigint, what text, who text, why text, at timestamp with time zone) RETURNS void
    LANGUAGE sql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
    insert into campaign_action (campaign_id, action, done_by, reason, done_at) values (campaign, what, who, why, at)
$$;

CREATE FUNCTION ent_notify.note_homework() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    named text := coalesce(new.data->>'homework', new.idempotency_key);
    h homework;
    g people_group;
    stale record;
    rest bigint[];
    version bigint;
begin
    if char_length(named) > 200 then
        raise exception '`homework` is an id of at most 200 characters' using errcode = 'EN002';
    end if;
    select * into g from people_group where external_id = new.data->>'group';
    if g.id is null then
        raise exception 'no group "%" is in the directory; a class is written UAI/class/NAME', new.data->>'group' using errcode = 'EN001';
    end if;
    if new.type = 'HomeworkWithdrawn' then
        update homework set withdrawn_at = new.published_at, notification_id = new.id where external_id = named returning * into h;
    else
        insert into homework as x (external_id, school_id, group_id, is_test, subject, title, due, due_at, notification_id)
        values (named, g.school_id, g.id, new.type = 'TestAnnounced', new.data->>'subject', new.data->>'title',
                (new.data->>'due')::date, (new.data->>'due_at')::timestamptz, new.id)
        on conflict (external_id) do update
        set school_id = excluded.school_id, group_id = excluded.group_id, subject = excluded.subject, title = excluded.title,
            due = excluded.due, due_at = excluded.due_at, withdrawn_at = null, notification_id = excluded.notification_id,
            is_test = case when new.type = 'HomeworkChanged' then x.is_test else excluded.is_test end
        returning * into h;
    end if;
    for stale in
        select r.notification_id, r.homework, r.expires_at, n.type, n.category, n.urgency, n.audience, n.clauses,
               coalesce(n.root, n.id) as root, n.data
        from homework_reminder r join notification n on n.id = r.notification_id
        where r.homework @> array[h.id] and r.expires_at > new.published_at
          and (h.withdrawn_at is not null or h.due <> (n.data->>'due')::date or h.due_at < r.expires_at)
        for update of r
    loop
        select coalesce(array_agg(x.id order by x.id), '{}') into rest
        from homework x
        where x.id = any (stale.homework) and x.withdrawn_at is null and x.due = (stale.data->>'due')::date
          and coalesce(x.due_at > new.published_at, true);
        insert into notification (idempotency_key, type, category, urgency, data, audience, clauses, published_at, expires_at, root)
        values ('reminder:' || stale.notification_id || ':' || new.id,
                case when rest = '{}' then 'ReminderWithdrawn' else stale.type end, stale.category, stale.urgency,
                case when rest = '{}' then jsonb_build_object('due', stale.data->'due')
                     else works_of(rest) || jsonb_build_object('tomorrow', stale.data->'tomorrow') end,
                stale.audience, stale.clauses, new.published_at, least(stale.expires_at, h.due_at), stale.root)
        returning id into version;
        delete from homework_reminder where notification_id = stale.notification_id;
        if rest <> '{}' then
            insert into homework_reminder values (version, rest, least(stale.expires_at, h.due_at));
        end if;
    end loop;
    return null;
end $$;

CREATE FUNCTION ent_notify.note_homework_done(body jsonb, at timestamp with time zone) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    h homework;
    pupil person;
    changed int;
begin
    select * into h from homework where external_id = body->>'homework';
    if h.id is null then
        raise exception 'no homework "%" was assigned; give the `homework` of HomeworkAssigned, or its key', body->>'homework'
            using errcode = 'EN002';
    elsif h.is_test then
        raise exception '"%" is a test: it is not done beforehand', body->>'homework' using errcode = 'EN002';
    end if;
    select * into pupil from person where external_id = body->>'pupil';
    if pupil.id is null then
        raise exception 'no person "%" is in the directory; import them first, or correct the id', body->>'pupil' using errcode = 'EN001';
    elsif not exists (select from membership m where m.group_id = h.group_id and m.person_id = pupil.id and m.valid_until > at) then
        raise exception 'homework "%" is not for "%"', body->>'homework', body->>'pupil' using errcode = 'EN002';
    end if;
    if coalesce((body->>'done')::boolean, true) then
        insert into homework_done values (h.id, pupil.id, at) on conflict do nothing;
    else
        delete from homework_done d where d.homework_id = h.id and d.person_id = pupil.id;
    end if;
    get diagnostics changed = row_count;
    return jsonb_build_object('notification', h.notification_id, 'created', changed > 0);
end $$;

CREATE FUNCTION ent_notify.note_lane(lane_noted smallint, healthy boolean, why text, at timestamp with time zone, rest interval) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
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

CREATE FUNCTION ent_notify.note_moved() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    new.moved := this_transaction();
    return new;
end $$;

CREATE FUNCTION ent_notify.note_presence(people integer[], nodes bigint[], streams bigint[], visible boolean[], at timestamp with time zone, linger interval) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    insert into presence (person_id, node, stream, since)
    select t.person, t.node, t.stream, at
    from unnest(people, nodes, streams, visible) t (person, node, stream, visible)
    join gateway_node g on g.id = t.node
    where t.visible
    order by 1, 2, 3
    on conflict do nothing;
    with gone as (
        delete from presence p
        using unnest(people, nodes, streams, visible) t (person, node, stream, visible)
        where not t.visible and p.person_id = t.person and p.node = t.node and p.stream = t.stream
        returning p.person_id
    )
    insert into departure (person_id, due_at)
    select distinct g.person_id, at + linger from gone g order by 1
    on conflict (person_id) do update set due_at = excluded.due_at, looks = 0;
end $$;

CREATE FUNCTION ent_notify.note_reading(people integer[], at timestamp with time zone, after interval) RETURNS void
    LANGUAGE sql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
    insert into clearing (person_id, lane_id, due_at)
    select distinct d.person_id, l.id, at + after
    from device d join lane l on l.channel = 'push' and l.provider = d.provider and l.app = d.app
    where d.person_id = any (people) and d.dropped_at is null
    order by 1, 2
    on conflict (person_id, lane_id) do update set due_at = excluded.due_at where clearing.due_at is null
$$;

CREATE FUNCTION ent_notify.note_retraction() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    insert into retraction (scope, ref, feed_seq, notifications, retracted_at)
    select a.scope, a.ref, new.feed_seq, array_agg(distinct a.notification_id), new.published_at
    from notification v join audience a on a.notification_id = v.id and not a.excluded
    where (v.id = new.root or v.root = new.root) and v.withdraws is null and v.feed_seq < new.feed_seq
    group by a.scope, a.ref
    on conflict do nothing;
    return null;
end $$;

CREATE FUNCTION ent_notify.note_rights_changed(changed integer[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    if changed = '{}' then
        return;
    end if;
    insert into rights_change as c (xact, people)
    values (pg_current_xact_id(), case when cardinality(changed) <= 1000 then changed end)
    on conflict (xact) do update
    set people = case when cardinality(c.people) + cardinality(excluded.people) <= 1000
                      then array(select unnest(c.people) union select unnest(excluded.people)) end;
end $$;

CREATE FUNCTION ent_notify.note_seen(people integer[], uptos bigint[], at timestamp with time zone) RETURNS void
    LANGUAGE sql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
    insert into seen as s (person_id, upto, noted_at)
    select t.person, least(t.upto, f.last_seq), at
    from unnest(people, uptos) t (person, upto) cross join feed f
    order by 1
    on conflict (person_id) do update set upto = greatest(s.upto, excluded.upto), noted_at = excluded.noted_at
$$;

CREATE FUNCTION ent_notify.note_zones() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    insert into zone (name) select distinct p.timezone from placed p on conflict do nothing;
    return null;
end $$;

CREATE FUNCTION ent_notify.on_screen(people integer[], at timestamp with time zone) RETURNS TABLE(person_id integer, seq bigint)
    LANGUAGE sql STABLE
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
    select p.person_id, max(g.seq)
    from presence p join gateway_node g on g.id = p.node and g.lease_until > at
    where p.person_id = any (people)
    group by p.person_id
$$;

CREATE FUNCTION ent_notify.open_lanes() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    insert into lane (name, channel, provider, app)
    select distinct 'push:' || d.provider || ':' || d.app, 'push', d.provider, d.app from registered d
    on conflict (name) do nothing;
    return null;
end $$;

CREATE FUNCTION ent_notify.partitions_of(parent regclass) RETURNS TABLE(name text, lower bigint, upper bigint)
    LANGUAGE sql STABLE
    AS $$
    select c.relname::text, (regexp_match(b.bounds, 'FROM \(''?(\d+)''?\)'))[1]::bigint,
           (regexp_match(b.bounds, 'TO \(''?(\d+)''?\)'))[1]::bigint
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    cross join lateral (select pg_get_expr(c.relpartbound, c.oid) as bounds) b
    where i.inhparent = parent
$$;

CREATE FUNCTION ent_notify.parts(reader integer, wanted bigint[], at timestamp with time zone) RETURNS TABLE(conversation_id bigint, first_seq integer, last_seq integer, read_seq integer, active boolean)
    LANGUAGE sql STABLE
    AS $$
    select c.id, greatest(s.first_seq, coalesce(p.cleared_seq, 0) + 1), least(c.last_seq, p.until_seq),
           greatest(coalesce(p.read_seq, 0), s.first_seq - 1), p.until_seq is null
    from ent_notify.conversation c
    left join ent_notify.participant p on p.conversation_id = c.id and p.person_id = reader
    left join lateral (
        select min(k.since) as since
        from ent_notify.conversation_key y
        join ent_notify.reader_keys(reader, at) k on k.scope = y.scope and k.ref = y.ref and k.until > at
        where c.keyed and y.conversation_id = c.id and (not y.joinable or p.joined)
    ) k on c.keyed
    cross join lateral (
        select case when p.member and not p.joined then p.first_seq
                    when p.joined and k.since is not null then p.first_seq
                    when k.since is null then null
                    when c.late_sees = 1 or k.since <= c.started_at then 1
                    else coalesce((
                        select m.seq + 1 from ent_notify.message m
                        where m.conversation_id = c.id and m.posted_at < k.since order by m.seq desc limit 1
                    ), 1) end as first_seq
    ) s
    where c.id = any (wanted) and s.first_seq is not null
      and (c.shape <> 5 or (select w.profile from ent_notify.person w where w.id = reader) >= 3)
$$;

CREATE FUNCTION ent_notify.pause_campaign(wanted bigint, who text, why text, at timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    k campaign := lock_campaign(wanted);
begin
    if k.state = 2 then
        raise exception 'campaign % is %: it cannot be paused any more', wanted, k.stop_reason using errcode = 'EN004';
    elsif k.state = 1 then
        return false;
    end if;
    update campaign set state = 1 where notification_id = wanted;
    perform from chunk where campaign_id = wanted and state <> 3 order by id for update;
    update chunk set state = 4 where campaign_id = wanted and state in (0, 1);
    perform note_action(wanted, 'pause', who, why, at);
    return true;
end $$;

CREATE FUNCTION ent_notify.people_changed() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    perform note_rights_changed(case when count(*) <= 1000 then (
        select coalesce(array_agg(n.id), '{}') from changed n join before o on o.id = n.id
        where (n.hidden_at is null) <> (o.hidden_at is null) or n.profile <> o.profile
    ) end) from (select from changed limit 1001) bounded;
    return null;
end $$;

CREATE FUNCTION ent_notify.people_removed() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    perform note_rights_changed(case when count(*) <= 1000 then (
        select coalesce(array_agg(id), '{}') from changed
    ) end) from (select from changed limit 1001) bounded;
    return null;
end $$;

CREATE FUNCTION ent_notify.people_under(scope smallint, ref integer, published timestamp with time zone, at timestamp with time zone) RETURNS TABLE(person_id integer)
    LANGUAGE sql STABLE
    AS $$
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

CREATE FUNCTION ent_notify.pieces_of(campaigns bigint[], zones text[], holds timestamp with time zone[], default_hold timestamp with time zone, at timestamp with time zone) RETURNS SETOF ent_notify.piece
    LANGUAGE plpgsql STABLE
    SET search_path TO 'ent_notify', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    SET enable_nestloop TO 'on'
    AS $$
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

CREATE FUNCTION ent_notify.pieces_of_everyone(campaign bigint, hold timestamp with time zone) RETURNS SETOF ent_notify.piece
    LANGUAGE plpgsql STABLE
    SET search_path TO 'ent_notify', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    SET enable_nestloop TO 'off'
    SET work_mem TO '256MB'
    AS $$
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

CREATE FUNCTION ent_notify.pieces_of_many(campaign bigint, zones text[], holds timestamp with time zone[], default_hold timestamp with time zone, at timestamp with time zone) RETURNS SETOF ent_notify.piece
    LANGUAGE plpgsql STABLE
    SET search_path TO 'ent_notify', 'pg_temp'
    SET enable_nestloop TO 'off'
    SET work_mem TO '256MB'
    AS $$
begin
    return query select * from pieces_of(array[campaign], zones, holds, default_hold, at);
end $$;

CREATE FUNCTION ent_notify.pieces_of_small(campaigns bigint[], zones text[], holds timestamp with time zone[], default_hold timestamp with time zone, at timestamp with time zone) RETURNS SETOF ent_notify.piece
    LANGUAGE plpgsql STABLE
    SET search_path TO 'ent_notify', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    SET enable_nestloop TO 'on'
    SET work_mem TO '64MB'
    AS $$
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

CREATE FUNCTION ent_notify.place_rights_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    place bigint;
begin
    update rights_head set last_seq = last_seq + 1 returning last_seq into place;
    update rights_change set seq = place where xact = new.xact;
    delete from rights_change where seq <= place - 1000;
    perform pg_notify('ent_notify_feed', '');
    return null;
end $$;

CREATE FUNCTION ent_notify.plain(text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN lower(regexp_replace(NORMALIZE($1, NFD), '[\u0300-\u036f]'::text, ''::text, 'g'::text));

CREATE FUNCTION ent_notify.plan_campaigns(campaigns bigint[], zones text[], holds timestamp with time zone[], default_hold timestamp with time zone, at timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    SET enable_nestloop TO 'off'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
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

CREATE FUNCTION ent_notify.plan_pieces(campaigns bigint[], zones text[], holds timestamp with time zone[], default_hold timestamp with time zone, at timestamp with time zone) RETURNS SETOF ent_notify.piece
    LANGUAGE plpgsql STABLE ROWS 100000
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
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

CREATE FUNCTION ent_notify.post_message(wanted bigint, author integer, content text, at timestamp with time zone, check_after timestamp with time zone, checked boolean DEFAULT false, answered integer DEFAULT NULL::integer, OUT said text, OUT seq integer) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    c conversation;
    p participant;
begin
    perform safety_lock(false);
    said := why_not_write(author, wanted, null, null, at);
    if said is not null and exists (select from parts(author, array[wanted], at)) then
        return;
    end if;
    select * into c from conversation where id = wanted for no key update;
    select * into p from participant where conversation_id = wanted and person_id = author;
    if c.id is null
       or ((p.member is not true or p.joined or c.shape = 5) and not exists (select from parts(author, array[wanted], at)))
    then
        said := 'stranger';
    elsif p.until_seq is not null then
        said := 'left';
    elsif c.closed_at is not null then
        said := 'closed';
    elsif c.replies < 2 and c.started_by <> author then
        said := 'no_replies';
    elsif c.pair is not null and exists (
        select from contact_block b where b.person_id = any (c.pair) and b.person_id <> author and b.blocked_id = author
    ) then
        said := 'blocked';
    elsif not checked and (p.checked_at is null or p.checked_at < check_after or p.checked_at > at
                           or p.checked_at <= c.peopled_at or p.checked_at <= (select max(r.changed_at) from contact_rules r)) then
        said := 'check';
    else
        said := 'posted';
        seq := c.last_seq + 1;
        at := greatest(c.last_at, at);
        update conversation set last_seq = post_message.seq, last_at = post_message.at, moved = this_transaction()
        where id = wanted;
        insert into message (conversation_id, seq, author_id, body, posted_at, answers)
        values (wanted, post_message.seq, author, content, at, answered);
        insert into message_due (conversation_id, seq) values (wanted, post_message.seq);
        update participant k
        set read_seq = post_message.seq, wrote = true, read_at = post_message.at, moved = this_transaction(),
            checked_at = case when checked then post_message.at else k.checked_at end
        where k.conversation_id = wanted and k.person_id = author;
        if not found then
            insert into participant as k (conversation_id, person_id, member, read_seq, wrote, checked_at, read_at)
            values (wanted, author, false, post_message.seq, true, post_message.at, post_message.at)
            on conflict (conversation_id, person_id) do update
            set read_seq = excluded.read_seq, wrote = true, read_at = excluded.read_at, checked_at = excluded.checked_at;
        end if;
    end if;
end $$;

CREATE FUNCTION ent_notify.promote(at timestamp with time zone, most integer) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    due bigint[];
    moved int;
    halted record;
begin
    due := array(select id from chunk where state in (1, 2) and due_at <= at order by due_at limit most for update skip locked);
    -- a lease that ends later than any can was taken before the clock was set back
    due := due || array(select id from chunk where state = 2 and due_at > at + interval '2 minutes' for update skip locked);
    if cardinality(due) = 0 then
        return 0;
    end if;
    for halted in
        select k.state, k.stop_reason, array_agg(h.id) as chunks
        from chunk h join campaign k on k.notification_id = h.campaign_id and k.state > 0
        where h.id = any (due) group by k.state, k.stop_reason
    loop
        if halted.state = 1 then
            update chunk set state = 4, leased_by = null where id = any (halted.chunks);
        else
            perform close_chunks(halted.chunks, halted.stop_reason, at);
        end if;
    end loop;
    -- pauses and retries that ended take new turns, what a lease was lost of keeps its own
    update chunk h set state = 0, leased_by = null, turn = coalesce(t.turn, h.turn)
    from unnest(due) d (id)
    left join new_turns(array(select x.id from chunk x where x.id = any (due) and x.state = 1)) t on t.chunk_id = d.id
    where h.id = d.id and h.state in (1, 2);
    get diagnostics moved = row_count;
    return moved;
end $$;

CREATE FUNCTION ent_notify.publish(event jsonb, at timestamp with time zone DEFAULT clock_timestamp()) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $_$
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
            when 'items' then jsonb_typeof(value) = 'array' and jsonb_array_length(value) <= 100 and not exists (
                                  select from jsonb_array_elements(value) i
                                  where jsonb_typeof(i) <> 'object' or char_length(i::text) > 20000)
            else false end)
        then
            raise exception '% field "%" is a %, not %', kind.name, name,
                case rtrim(spec, '?') when 'string' then 'text of at most 20000 characters'
                                      when 'items' then 'list of at most 100 objects' else rtrim(spec, '?') end,
                case when jsonb_typeof(value) = 'string' and char_length(body->>name) > 60
                     then 'one of ' || char_length(body->>name) || ' characters' else value::text end
                using errcode = 'EN002';
        end if;
    end loop;

    if kind.name = 'HomeworkDone' then
        return note_homework_done(body, at);   -- tells nobody, so there is no notification
    end if;
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
end $_$;

CREATE FUNCTION ent_notify.quarter_ramp(at timestamp with time zone) RETURNS double precision
    LANGUAGE sql IMMUTABLE STRICT
    AS $$
    select case when s < 60 or s >= 840 then 0.5 when s < 120 then 0.5 + (s - 60) / 120 else 1 end
    from (select (extract(epoch from at)::numeric % 900)::double precision as s) t
$$;

CREATE FUNCTION ent_notify.reached_devices(first bigint) RETURNS TABLE(device_id integer)
    LANGUAGE sql STABLE
    AS $$
    select d.id
    from ent_notify.notification v
    join ent_notify.chunk h on h.campaign_id = v.id
    join ent_notify.lane l on l.id = h.lane_id and l.channel in ('push', 'email')
    cross join lateral unnest(h.targets) with ordinality u (target, place)
    left join ent_notify.outcome o on o.chunk_id = h.id and o.target = u.target
    join ent_notify.device d on d.dropped_at is null
        and case when l.channel = 'push' then d.id = u.target else d.person_id = u.target end
    where (v.id = first or v.root = first) and v.withdraws is null
      and case when o.target is null then u.place <= h.cursor else o.state = 4 or o.reason like 'unknown:%' end
$$;

CREATE FUNCTION ent_notify.reader_keys(reader integer, at timestamp with time zone) RETURNS TABLE(scope smallint, ref integer, since timestamp with time zone, until timestamp with time zone, child integer)
    LANGUAGE sql STABLE
    AS $$
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

CREATE FUNCTION ent_notify.recall_campaign(wanted bigint, who text, why text, at timestamp with time zone) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    k campaign := lock_campaign(wanted);
    n notification;
    first bigint;
    answer bigint;
begin
    select * into n from notification where id = wanted for update;
    if n.withdraws is not null then
        raise exception 'campaign % takes campaign % back; it cannot be recalled itself', wanted, n.withdraws using errcode = 'EN004';
    elsif n.superseded_by is not null then
        raise exception 'campaign % was superseded by campaign %: recall that one, and its earlier versions go with it',
            wanted, n.superseded_by using errcode = 'EN004';
    elsif n.withdrawn_type is not null then
        return null;
    end if;
    first := coalesce(n.root, n.id);
    if not stop_campaign(wanted, 'recalled', 'recall', who, why, at) then
        perform note_action(wanted, 'recall', who, why, at);
    end if;
    insert into recalled_reader (notification_id, bucket, people)
    select v.id, a.person_id / 1000, array_agg(a.person_id order by a.person_id)
    from notification v
    cross join lateral audience_people(array[v.id], v.published_at) a
    join reading r on r.person_id = a.person_id and (r.watermark >= v.feed_seq or v.feed_seq = any (r.above))
    where (v.id = first or v.root = first) and v.withdraws is null
    group by v.id, a.person_id / 1000
    on conflict do nothing;
    update notification set withdrawn_type = type, type = 'Withdrawn', data = '{}'
    where (id = first or root = first) and withdraws is null and withdrawn_type is null;
    insert into notification (idempotency_key, type, category, urgency, data, audience, clauses, published_at, expires_at,
                              root, withdraws)
    select 'ent_notify:withdrawn:' || wanted, t.name, t.category, n.urgency, '{}', n.audience, n.clauses, at, at + t.life,
           first, wanted
    from event_type t where t.name = 'Withdrawn'
    returning id into answer;
    return answer;
end $$;

CREATE FUNCTION ent_notify.refuse_audit_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    if coalesce(current_setting('ent_notify.forgetting', true), '') = 'on' then
        return null;
    end if;
    raise exception 'what was done is written down for good: % is only added to', tg_table_name using errcode = 'EN004';
end $$;

CREATE FUNCTION ent_notify.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    if coalesce(current_setting('ent_notify.forgetting', true), '') <> 'on' then
        raise exception '% is only added to', tg_table_name using errcode = 'EN004';
    end if;
    return coalesce(new, old);
end $$;

CREATE FUNCTION ent_notify.relay(most integer) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
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

CREATE FUNCTION ent_notify.remind(schools integer[], evenings date[], tests boolean[], dues date[], ends timestamp with time zone[], at timestamp with time zone) RETURNS integer
    LANGUAGE sql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
    with claimed as (
        insert into reminded as r (school_id, evening, is_test, due, at)
        select * , remind.at from unnest(schools, evenings, tests, dues) order by 1, 2, 3, 4
        on conflict do nothing
        returning r.school_id, r.evening, r.is_test, r.due
    ),
    work as materialized (
        select h.id, h.school_id, h.group_id, h.is_test, h.due, c.evening,
               coalesce(h.due_at, e.ends) as ends
        from claimed c
        join unnest(schools, evenings, tests, dues, ends) e (school_id, evening, is_test, due, ends) using (school_id, evening, is_test, due)
        join homework h on h.school_id = c.school_id and h.due = c.due and h.is_test = c.is_test and h.withdrawn_at is null
        where coalesce(h.due_at, e.ends) > remind.at
    ),
    todo as (
        select w.school_id, w.is_test, w.due, w.evening, p.id as person_id, array_agg(distinct w.id order by w.id) as works,
               min(w.ends) as ends
        from work w
        join membership m on m.group_id = w.group_id and m.valid_from <= remind.at and m.valid_until > remind.at
        join person p on p.id = m.person_id and p.profile = 1 and p.hidden_at is null
        where not exists (select from homework_done d where d.homework_id = w.id and d.person_id = p.id)
        group by w.school_id, w.is_test, w.due, w.evening, p.id
    ),
    sets as materialized (
        select t.school_id, t.is_test, t.due, t.evening, t.works, min(t.ends) as ends, array_agg(t.person_id order by t.person_id) as pupils
        from todo t group by t.school_id, t.is_test, t.due, t.evening, t.works
    ),
    published as (
        insert into notification (idempotency_key, type, category, urgency, data, audience, clauses, published_at, expires_at)
        select format('reminder:%s:%s:%s:%s:%s', c.uai, s.evening, s.due, case when s.is_test then 'test' else 'work' end,
                      md5(s.works::text)),
               k.name, k.category, k.urgency,
               works_of(s.works) || jsonb_build_object('tomorrow', s.due = s.evening + 1),
               (select jsonb_build_object('union', jsonb_agg(t.term)) from (
                    select jsonb_build_object('person', p.external_id) as term from person p where p.id = any (s.pupils)
                    union all
                    select jsonb_build_object('guardians_of', jsonb_build_object('person', p.external_id))
                    from person p where p.id = any (s.pupils)) t),
               jsonb_build_array(jsonb_build_object('not', '[]'::jsonb, 'in', (
                   select jsonb_agg(jsonb_build_array(x.scope, u.pupil)) from unnest(s.pupils) u (pupil), (values (3), (4)) x (scope)))),
               remind.at, s.ends
        from sets s
        join school c on c.id = s.school_id
        join event_type k on k.name = case when s.is_test then 'TestReminder' else 'HomeworkReminder' end
        returning id, idempotency_key, expires_at
    ),
    kept as (
        insert into homework_reminder (notification_id, homework, expires_at)
        select p.id, s.works, p.expires_at
        from published p
        join sets s on p.idempotency_key = format('reminder:%s:%s:%s:%s:%s', (select c.uai from school c where c.id = s.school_id),
                                                  s.evening, s.due, case when s.is_test then 'test' else 'work' end, md5(s.works::text))
        returning 1
    )
    select count(*)::int from published
$$;

CREATE FUNCTION ent_notify.remove_notifications(ids bigint[]) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    counts jsonb := '{}';
    n bigint;
begin
    delete from late_word w using chunk h where h.id = w.chunk_id and h.campaign_id = any (ids);
    delete from outcome where campaign_id = any (ids);
    get diagnostics n = row_count;
    counts := counts || jsonb_build_object('outcome', n);
    delete from outcome_total where campaign_id = any (ids);
    delete from chunk where campaign_id = any (ids);
    get diagnostics n = row_count;
    counts := counts || jsonb_build_object('chunk', n);
    delete from campaign where notification_id = any (ids);
    delete from audience where notification_id = any (ids);
    get diagnostics n = row_count;
    counts := counts || jsonb_build_object('audience', n);
    delete from recalled_reader where notification_id = any (ids);
    delete from acknowledgement where notification_id = any (ids);
    get diagnostics n = row_count;
    counts := counts || jsonb_build_object('acknowledgement', n);
    delete from notification where id = any (ids);
    get diagnostics n = row_count;
    return add_counts(counts, jsonb_build_object('notification', n));
end $$;

CREATE FUNCTION ent_notify.reserve(lane_wanted smallint, wanted integer, at timestamp with time zone, horizon interval, slot interval, OUT starts_at timestamp with time zone, OUT slot_sends integer, OUT per_second double precision, OUT wait_until timestamp with time zone) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
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

CREATE FUNCTION ent_notify.resume_campaign(wanted bigint, who text, why text, at timestamp with time zone, hold timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    k campaign := lock_campaign(wanted);
begin
    if k.state = 2 then
        raise exception 'campaign % is %: it cannot be resumed; publish it again under a new key', wanted, k.stop_reason
            using errcode = 'EN004';
    elsif k.state = 0 then
        return false;
    end if;
    update campaign set state = 0 where notification_id = wanted;
    update chunk h set
        state = case when x.due is null then 3 else 1 end,   -- promote gives it its turn
        due_at = greatest(x.due, at)
    from (
        select c.id, case
            when c.cursor >= c.size then (select min(o.retry_at) from outcome o where o.chunk_id = c.id and o.state = 1)
            when c.urgency > 0 then greatest(c.held_until, hold, at)
            else at end as due
        from chunk c where c.campaign_id = wanted and c.state = 4
    ) x
    where h.id = x.id;
    perform note_action(wanted, 'resume', who, why, at);
    return true;
end $$;

CREATE FUNCTION ent_notify.revoke_streams(who integer, one bigint DEFAULT NULL::bigint) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    ended int;
begin
    if one is null then
        delete from stream_ticket where person_id = who;
    end if;
    delete from stream_session where person_id = who and (one is null or id = one);
    get diagnostics ended = row_count;
    perform note_rights_changed(array[who]);
    return ended;
end $$;

CREATE FUNCTION ent_notify.safety_lock(alone boolean) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
    if alone then
        perform pg_advisory_xact_lock(hashtextextended('ent_notify.safety', 0));
    else
        perform pg_advisory_xact_lock_shared(hashtextextended('ent_notify.safety', 0));
    end if;
end $$;

CREATE FUNCTION ent_notify.search_query(typed text) RETURNS tsquery
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    word text;
    one tsquery;
    every tsquery;
    silent tsquery;
begin
    for word in select w from regexp_split_to_table(searchable(typed), ' ') with ordinality s (w, place) where w <> '' order by place limit 10 loop
        one := to_tsquery('french_words', word || ':*') || to_tsquery('french_stems', word);
        if numnode(one) > 0 then
            every := coalesce(every && one, one);
        else
            silent := (quote_literal(word) || ':*')::tsquery;
        end if;
    end loop;
    return coalesce(every, silent);
end $$;

CREATE FUNCTION ent_notify.searchable(text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN regexp_replace(replace(replace(ent_notify.plain($1), 'œ'::text, 'oe'::text), 'æ'::text, 'ae'::text), '[\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00bf\u2000-\u2bff\u3000-\u303f\ufe00-\ufe0f\U0001f000-\U0001faff]+'::text, ' '::text, 'g'::text);

CREATE FUNCTION ent_notify.set_mail_lane() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    new.mail_lane := (select d.lane_id from mail_domain d where d.domain = lower(split_part(new.email, '@', 2)));
    return new;
end $$;

CREATE FUNCTION ent_notify.settle_window(chunk_settled bigint, fence_held integer, new_cursor integer, accepted_now integer, retried_ok integer[], targets integer[], people integer[], states smallint[], reasons text[], attempts smallint[], retries timestamp with time zone[], at timestamp with time zone, lease interval, release boolean) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    c chunk;
    newly_suppressed int;
    newly_failed int;
    next_retry timestamptz;
    known int[];
    control campaign;
    window_under_way boolean;   -- a heartbeat: only the lease is renewed
begin
    select * into c from chunk where id = chunk_settled and fence = fence_held and state = 2 for update;
    if not found then
        -- (said before: the chunk is as it was given back, and nobody has claimed it since)
        return hear_late(chunk_settled, fence_held, new_cursor, retried_ok, targets, states, reasons, at) or release and exists (
            select from chunk h
            where h.id = chunk_settled and h.fence = fence_held and h.cursor = new_cursor and (h.state <> 0 or new_cursor < h.size)
        );
    end if;
    if c.cursor < c.size and new_cursor <= c.cursor then
        accepted_now := 0;
        targets := '{}';
        states := '{}';
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
        end if;
    end if;
    return true;
end $$;

CREATE FUNCTION ent_notify.settle_windows(chunks bigint[], fences integer[], cursors integer[], accepted_now integer[], releases boolean[], retried_chunks bigint[], retried_ok integer[], outcome_chunks bigint[], targets integer[], people integer[], states smallint[], reasons text[], attempts smallint[], retries timestamp with time zone[], at timestamp with time zone, lease interval) RETURNS bigint[]
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
#variable_conflict use_column
declare
    held bigint[];
    one record;
begin
    perform from chunk h where h.id = any (chunks) order by h.id for update;
    -- (a statement of its own: it sees what was committed before those locks were had)
    held := array(
        select h.id
        from unnest(chunks, fences, cursors) s (id, fence, cursor)
        join chunk h on h.id = s.id and h.fence = s.fence and h.state = 2 and h.cursor < h.size and h.cursor < s.cursor
        join campaign k on k.notification_id = h.campaign_id and k.state = 0
        where not exists (select from outcome o where o.chunk_id = h.id and o.state <> 1)
           or not (h.targets[h.cursor + 1:s.cursor] && array(
                  select o.target from outcome o where o.chunk_id = h.id and o.state <> 1))
    );
    if cardinality(outcome_chunks) > 0 then
        insert into outcome (chunk_id, target, campaign_id, person_id, state, reason, attempts, retry_at, noted_at)
        select o.chunk_id, o.target, h.campaign_id, o.person, o.state, o.reason, o.attempts, o.retry_at, at
        from unnest(outcome_chunks, targets, people, states, reasons, attempts, retries)
            o (chunk_id, target, person, state, reason, attempts, retry_at)
        join chunk h on h.id = o.chunk_id
        where o.chunk_id = any (held)
        on conflict (chunk_id, target) do update
            set state = excluded.state, reason = excluded.reason, attempts = excluded.attempts,
                retry_at = excluded.retry_at, noted_at = excluded.noted_at;
    end if;
    update chunk h set
        cursor = s.cursor,
        accepted = h.accepted + s.accepted,
        suppressed = h.suppressed + s.suppressed,
        failed = h.failed + s.failed,
        settled_at = at,
        leased_by = case when s.release then null else h.leased_by end,
        state = case when not s.release then 2 when s.cursor < h.size then 0 when s.next_retry is null then 3 else 1 end,
        due_at = case when s.release then coalesce(s.next_retry, at)
                      when h.due_at < at + lease / 2 then at + lease
                      else h.due_at end
    from (
        select w.id, w.cursor, w.accepted, w.release, coalesce(c.suppressed, 0) as suppressed, coalesce(c.failed, 0) as failed,
               case when w.release then (
                   select min(o.retry_at) from outcome o where o.chunk_id = w.id and o.state = 1
               ) end as next_retry
        from unnest(chunks, cursors, accepted_now, releases) w (id, cursor, accepted, release)
        left join (
            select o.chunk_id, (count(*) filter (where o.state = 2))::int as suppressed,
                   (count(*) filter (where o.state = 3))::int as failed
            from unnest(outcome_chunks, states) o (chunk_id, state)
            group by o.chunk_id
        ) c on c.chunk_id = w.id
        where w.id = any (held)
    ) s
    where h.id = s.id;
    if cardinality(held) < cardinality(chunks) then
        for one in
            select * from unnest(chunks, fences, cursors, accepted_now, releases) s (id, fence, cursor, accepted, release)
            where s.id <> all (held)
        loop
            if (
                select settle_window(
                    one.id, one.fence, one.cursor, one.accepted,
                    array(select r.target from unnest(retried_chunks, retried_ok) r (chunk_id, target) where r.chunk_id = one.id),
                    coalesce(array_agg(o.target), '{}'), coalesce(array_agg(o.person), '{}'),
                    coalesce(array_agg(o.state), '{}'), coalesce(array_agg(o.reason), '{}'),
                    coalesce(array_agg(o.attempts), '{}'), coalesce(array_agg(o.retry_at), '{}'), at, lease, one.release)
                from unnest(outcome_chunks, targets, people, states, reasons, attempts, retries)
                    o (chunk_id, target, person, state, reason, attempts, retry_at)
                where o.chunk_id = one.id
            ) then
                held := held || one.id;
            end if;
        end loop;
    end if;
    return held;
end $$;

CREATE TABLE ent_notify.hold (
    id bigint NOT NULL,
    person_id integer,
    conversation_id bigint,
    seq integer,
    notification_id bigint,
    reason text NOT NULL,
    reference text DEFAULT ''::text NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    set_by text,
    set_at timestamp with time zone,
    review_at timestamp with time zone NOT NULL,
    lift_asked_by text,
    lift_asked_at timestamp with time zone,
    lifted_by text,
    lifted_at timestamp with time zone,
    CONSTRAINT hold_check CHECK ((set_by <> asked_by)),
    CONSTRAINT hold_check1 CHECK ((lifted_by <> lift_asked_by)),
    CONSTRAINT hold_check2 CHECK (((num_nonnulls(person_id, conversation_id, notification_id) = 1) AND ((seq IS NULL) OR (conversation_id IS NOT NULL))))
);

CREATE FUNCTION ent_notify.standing_holds(at timestamp with time zone) RETURNS SETOF ent_notify.hold
    LANGUAGE sql STABLE
    AS $$
    select * from ent_notify.hold h
    where h.lifted_at is null and (h.set_at is not null or h.asked_at > at - interval '7 days')
$$;

CREATE FUNCTION ent_notify.still_addressed(campaigns bigint[], people integer[], at timestamp with time zone) RETURNS TABLE(campaign_id bigint, person_id integer, children integer[])
    LANGUAGE plpgsql STABLE
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
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

CREATE FUNCTION ent_notify.stop_campaign(wanted bigint, word text, what text, who text, why text, at timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    k campaign := lock_campaign(wanted);
begin
    if k.state = 2 then
        return false;
    end if;
    update campaign set state = 2, stop_reason = word where notification_id = wanted;
    perform from chunk where campaign_id = wanted and state <> 3 order by id for update;
    perform close_chunks(array(select id from chunk where campaign_id = wanted and state in (0, 1, 4)), word, at);
    perform note_action(wanted, what, who, why, at);
    return true;
end $$;

CREATE FUNCTION ent_notify.strike(author integer, strikes integer, most integer, at timestamp with time zone) RETURNS boolean
    LANGUAGE sql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
    insert into sender_cells as s (person_id, alarm) values (author, at + interval '1 hour' * strikes / most)
    on conflict (person_id) do update set alarm = greatest(s.alarm, at) + interval '1 hour' * strikes / most
    returning alarm > at + interval '1 hour'
$$;

CREATE FUNCTION ent_notify.take_clearings(wanted_lane smallint, at timestamp with time zone, again interval, most integer, entries integer) RETURNS TABLE(person_id integer, device_id integer, token text, registered_at timestamp with time zone, roots bigint[], unread integer)
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
#variable_conflict use_column
declare
    picked int[] := array(
        select c.person_id from clearing c
        where c.lane_id = wanted_lane and c.due_at <= at order by c.due_at limit most for update skip locked
    );
begin
    if cardinality(picked) = 0 then
        return;
    end if;
    -- (a statement of its own: what was read before the note that it waited for is seen by it)
    return query
    with who as materialized (
        select c.person_id, c.watermark, c.above, coalesce(r.watermark, 0) as new_watermark, coalesce(r.above, '{}') as new_above
        from clearing c left join reading r on r.person_id = c.person_id
        where c.lane_id = wanted_lane and c.person_id = any (picked)
    ),
    fresh as materialized (
        select w.person_id, e.feed_seq, coalesce(n.root, n.id) as root
        from who w
        cross join lateral newest_entries(w.person_id, at, entries) e
        join notification n on n.id = e.notification_id
        where (e.feed_seq <= w.new_watermark or e.feed_seq = any (w.new_above))
          and not (e.feed_seq <= w.watermark or e.feed_seq = any (w.above))
    ),
    sent as materialized (   -- every version has the same place on a screen
        select f.person_id, f.feed_seq, f.root, d.id as device_id, d.token, d.registered_at,
               case when o.target is null then p.place <= h.cursor else o.state = 4 or o.reason like 'unknown:%' end as reached,
               h.state = 2 and (o.state = 1 or o.target is null and p.place > h.cursor) as on_its_way
        from fresh f
        join lane l on l.id = wanted_lane
        join device d on d.person_id = f.person_id and d.provider = l.provider and d.app = l.app and d.dropped_at is null
        cross join lateral (
            select f.root as id union all select v.id from notification v where v.root = f.root
        ) v
        join campaign k on k.notification_id = v.id
        cross join lateral (   -- (offset 0: by the whole key)
            select * from chunk h
            where h.campaign_id = k.notification_id and h.lane_id = wanted_lane
              and h.bucket in (-1, f.person_id / coalesce(k.width, 1000))
            offset 0
        ) h
        cross join lateral (select array_position(h.targets, d.id) as place) p
        left join outcome o on o.chunk_id = h.id and o.target = d.id
        where p.place is not null
    ),
    busy as materialized (
        select distinct s.person_id from sent s where s.on_its_way
    ),
    noted as (
        update clearing c
        set due_at = case when b.person_id is null then null else at + again end,
            watermark = case when b.person_id is null then w.new_watermark else c.watermark end,
            above = case when b.person_id is null then w.new_above else c.above end
        from who w left join busy b on b.person_id = w.person_id
        where c.lane_id = wanted_lane and c.person_id = w.person_id
    )
    select x.person_id, x.device_id, x.token, x.registered_at, x.roots, count_unread(x.person_id, at, 100)
    from (
        select s.person_id, s.device_id, s.token, s.registered_at, array_agg(s.root order by s.newest desc) as roots
        from (
            select s.person_id, s.device_id, s.token, s.registered_at, s.root, max(s.feed_seq) as newest
            from sent s where s.reached and s.person_id not in (select b.person_id from busy b)
            group by 1, 2, 3, 4, 5
        ) s
        group by 1, 2, 3, 4
    ) x;
end $$;

CREATE FUNCTION ent_notify.take_evidence(conversations bigint[], seqs integer[], at timestamp with time zone) RETURNS void
    LANGUAGE sql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
    insert into evidence (conversation_id, seq, author_id, subject, body, earlier, attachments, posted_at, taken_at)
    select m.conversation_id, m.seq, m.author_id, c.subject, m.body,
           coalesce((
               select jsonb_agg(jsonb_build_object('body', h.body, 'changed_at', h.changed_at) order by h.id)
               from message_change h where h.conversation_id = m.conversation_id and h.seq = m.seq and h.kind = 1
           ), '[]'),
           coalesce((
               select jsonb_agg(jsonb_build_object('name', f.name, 'type', f.type, 'size', f.size, 'sha256', encode(f.digest, 'hex'))
                                order by f.id)
               from attachment f where f.conversation_id = m.conversation_id and f.seq = m.seq
           ), '[]'), m.posted_at, at
    from unnest(conversations, seqs) w (conversation_id, seq)
    join message m on m.conversation_id = w.conversation_id and m.seq = w.seq and m.recalled_at is null
    join conversation c on c.id = m.conversation_id
$$;

CREATE FUNCTION ent_notify.take_from_sender(who text, at timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
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

CREATE FUNCTION ent_notify.take_receipt(source text, campaign bigint, way text, told integer, new_state smallint, new_reason text, at timestamp with time zone, OUT effect text, OUT lane_id smallint) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    who int := told;
    found_id bigint;
    c chunk;
    o outcome;
    was smallint;      -- 0: nothing is known yet
    doubtful boolean;  -- no answer was ever had
    applies boolean;
    next_retry timestamptz;
begin
    effect := 'unknown';
    if way = 'push' then
        select d.person_id into who from device d where d.id = told;
    end if;
    select h.id into found_id
    from campaign k
    join lane l on l.channel = way
    cross join lateral (   -- (offset 0: by the whole key, however few chunks a campaign has as a rule)
        select * from chunk h
        where h.campaign_id = k.notification_id and h.lane_id = l.id and h.bucket in (-1, who / coalesce(k.width, 1000))
        offset 0
    ) h
    where k.notification_id = take_receipt.campaign and h.targets @> array[told];
    select * into c from chunk h where h.id = found_id for update;
    if not found or c.fence = 0 then
        return;
    end if;
    lane_id := c.lane_id;
    select * into o from outcome x where x.chunk_id = c.id and x.target = told;
    was := coalesce(o.state, case when array_position(c.targets, told) <= c.cursor then 4
                                  when c.state = 3 then 2   -- its campaign was stopped before its turn
                                  else 0 end);
    doubtful := o.reason like 'unknown:%';
    applies := case
        when was = 2 then false
        when source = 'bounce' then was <> 3 or doubtful
        when source = 'device' then o.state is distinct from 4 or (o.reason <> 'opened' and o.reason <> new_reason)
        when new_state = 4 then was in (0, 1) or (was = 3 and doubtful)
        when new_state = 3 then was = 0 or (was in (1, 3) and doubtful)
        else was = 1 and doubtful
    end;
    if not coalesce(applies, false) then
        effect := 'unchanged';
        return;
    end if;
    effect := 'moved';
    insert into outcome (chunk_id, target, campaign_id, person_id, state, reason, attempts, retry_at, noted_at)
    values (c.id, told, c.campaign_id, who, new_state, new_reason, 1, null, at)
    on conflict (chunk_id, target) do update
        set state = excluded.state, reason = excluded.reason, noted_at = excluded.noted_at,
            retry_at = case when excluded.state = 1 then outcome.retry_at end;
    select min(x.retry_at) into next_retry from outcome x where x.chunk_id = c.id and x.state = 1;
    update chunk h set
        accepted = h.accepted + (new_state = 4)::int - (was = 4)::int,
        failed = h.failed + (new_state = 3)::int - (was = 3)::int,
        state = case when h.state = 1 and h.cursor >= h.size and next_retry is null then 3 else h.state end,
        due_at = case when h.state = 1 and h.cursor >= h.size then coalesce(next_retry, h.due_at) else h.due_at end
    where h.id = c.id;
end $$;

CREATE FUNCTION ent_notify.take_recipients(author integer, scopes smallint[], refs integer[], most integer, burst integer, refill interval, at timestamp with time zone) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    cells sender_cells;
    everybody bigint;
    fresh bigint;
    new_tat timestamptz;
begin
    insert into sender_cells (person_id) values (author) on conflict do nothing;
    select * into cells from sender_cells where person_id = author for update;
    select coalesce(sum(z.people), 0), coalesce(sum(z.people) filter (where l.author_id is null), 0) into everybody, fresh
    from unnest(scopes, refs) a (scope, ref)
    cross join lateral (
        select case when a.scope = 3 then 1 else (select count(distinct u.person_id) from people_under(a.scope, a.ref, at, at) u) end
    ) z (people)
    left join lately_written l
        on l.author_id = author and l.scope = a.scope and l.ref = a.ref and l.written_at > at - interval '1 day';
    new_tat := greatest(cells.tat, at) + refill * fresh / burst;
    if everybody > most then
        return 'most';
    elsif fresh > 0 and new_tat > at + refill then
        return 'velocity';
    end if;
    update sender_cells set tat = new_tat where person_id = author and fresh > 0;
    insert into lately_written (author_id, scope, ref, written_at)
    select distinct author, a.scope, a.ref, at from unnest(scopes, refs) a (scope, ref)
    on conflict (author_id, scope, ref) do update set written_at = excluded.written_at;
    return 'taken';
end $$;

CREATE FUNCTION ent_notify.text_changed() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    delete from message_html h where h.conversation_id = new.conversation_id and h.seq = new.seq;
    if new.recalled_at is null then
        insert into message_words as w (conversation_id, seq, words)
        values (new.conversation_id, new.seq, words_of(new.body))
        on conflict (conversation_id, seq) do update set words = excluded.words;
    else
        delete from message_words w where w.conversation_id = new.conversation_id and w.seq = new.seq;
        delete from attachment a where a.conversation_id = new.conversation_id and a.seq = new.seq;
    end if;
    return null;
end $$;

CREATE FUNCTION ent_notify.text_hash(content text) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT
    AS $$ select sha256(convert_to(content, 'UTF8')) $$;

CREATE FUNCTION ent_notify.this_transaction() RETURNS bigint
    LANGUAGE sql
    AS $$ select pg_current_xact_id()::text::bigint $$;

CREATE FUNCTION ent_notify.tracked_since(schools integer[]) RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    AS $$
    select case when bool_and(coalesce(s.track, p.track, false)) then max(greatest(s.since, p.since)) end
    from unnest(schools) x (id)
    left join ent_notify.reading_choice s on s.school_id = x.id
    left join ent_notify.reading_choice p on p.school_id is null
$$;

CREATE FUNCTION ent_notify.wake_workers() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
begin
    if current_setting('ent_notify.wake', true) is distinct from 'off'
       and pg_try_advisory_xact_lock(hashtextextended('ent_notify.wake', 0)) then
        perform pg_notify('ent_notify_work', '');
    end if;
    return null;
end $$;

CREATE FUNCTION ent_notify.why_not_write(author integer, wanted bigint, sole integer, groups integer[], at timestamp with time zone) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    c conversation;
    kept smallint := (select r.kind from restraint r where r.person_id = author and (r.until is null or r.until > at));
    stopped smallint;
begin
    if wanted is not null and (kept is not null or exists (select from frozen_area)) then
        select * into c from conversation where id = wanted;
        if c.shape = 7 then
            return null;
        end if;
        sole := (select p from unnest(c.pair) p where p <> author);
    end if;
    if kept = 1 then
        return 'quarantined';
    elsif kept = 2 and not exists (select from person p where p.id = sole and p.profile >= 3) then
        return 'restricted';
    elsif not exists (select from frozen_area) then
        return null;
    end if;
    with concerned as materialized (
        select s.uai from near_groups(author, at) g join school s on s.id = g.school_id
        union
        select s.uai
        from conversation_key y join people_group g on g.id = y.ref join school s on s.id = g.school_id
        where y.conversation_id = wanted and y.scope in (1, 2)
        union
        select s.uai from near_groups(c.about_id, at) g join school s on s.id = g.school_id
        union
        select s.uai from people_group g join school s on s.id = g.school_id where g.id = any (groups)
    )
    select max(f.tier) into stopped
    from frozen_area f, person w
    where w.id = author
      and exists (
          select from unnest(f.prefixes) x (prefix)
          where x.prefix = '' or exists (select from concerned k where starts_with(k.uai, x.prefix))
      )
      and not (f.tier = 2 and w.profile >= 3)
      and not (f.tier < 3 and w.profile >= 3 and coalesce(w.function, '') = any (f.functions));
    return 'frozen_' || stopped;
end $$;

CREATE FUNCTION ent_notify.withdraw_again(stopped_campaign bigint) RETURNS void
    LANGUAGE sql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
    update campaign k set planned_at = null
    from notification n join notification w on w.root = coalesce(n.root, n.id) and w.withdraws is not null
    where n.id = stopped_campaign and k.notification_id = w.id and k.state < 2 and k.planned_at is not null
$$;

CREATE FUNCTION ent_notify.withdraw_messages(conversations bigint[], seqs integer[], taken_by text, why text, of_run bigint, at timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'ent_notify', 'pg_temp'
    AS $$
declare
    taken int;
    told bigint;
begin
    perform from conversation c where c.id = any (conversations) order by c.id for no key update;
    select array_agg(m.conversation_id order by m.conversation_id, m.seq), array_agg(m.seq order by m.conversation_id, m.seq)
    into conversations, seqs
    from unnest(conversations, seqs) w (conversation_id, seq)
    join message m on m.conversation_id = w.conversation_id and m.seq = w.seq and m.recalled_at is null;
    if conversations is null then
        return 0;
    end if;
    perform take_evidence(conversations, seqs, at);
    insert into message_change (conversation_id, seq, kind, changed_by, changed_at, read_by, run)
    select m.conversation_id, m.seq, 2, 0, at, array(   -- (0: not its author)
               select p.person_id from participant p
               where p.conversation_id = m.conversation_id and p.read_seq >= m.seq and p.first_seq <= m.seq
                 and coalesce(p.until_seq, m.seq) >= m.seq and p.person_id <> m.author_id
               order by p.person_id
           ), of_run
    from unnest(conversations, seqs) w (conversation_id, seq)
    join message m on m.conversation_id = w.conversation_id and m.seq = w.seq;
    update message_change h set body = null
    from unnest(conversations, seqs) w (conversation_id, seq)
    where h.conversation_id = w.conversation_id and h.seq = w.seq and h.kind = 1;
    delete from message_due d using unnest(conversations, seqs) w (conversation_id, seq)
    where d.conversation_id = w.conversation_id and d.seq = w.seq;
    update message m set body = '', recalled_at = at, recalled_by = 0
    from unnest(conversations, seqs) w (conversation_id, seq)
    where m.conversation_id = w.conversation_id and m.seq = w.seq;
    get diagnostics taken = row_count;
    -- whoever began a conversation chose its subject with its first message
    update conversation c set moved = this_transaction(),
        subject = case when exists (
            select from unnest(conversations, seqs) w (conversation_id, seq) where w.conversation_id = c.id and w.seq = 1
        ) then '–' else c.subject end
    where c.id = any (conversations);
    while exists (
        select from unnest(conversations, seqs) w (conversation_id, seq)
        join notification n on n.idempotency_key = 'message:' || w.conversation_id || ':' || w.seq and n.feed_seq is null
    ) loop
        perform relay(10000);
    end loop;
    for told in
        select n.id from unnest(conversations, seqs) w (conversation_id, seq)
        join notification n on n.idempotency_key = 'message:' || w.conversation_id || ':' || w.seq
        order by n.id
    loop
        perform recall_campaign(told, taken_by, why, at);
    end loop;
    return taken;
end $$;

CREATE TEXT SEARCH DICTIONARY ent_notify.french_word (
    TEMPLATE = pg_catalog.simple,
    stopwords = 'french' );

CREATE TEXT SEARCH CONFIGURATION ent_notify.french_stems (
    PARSER = pg_catalog."default" );

ALTER TEXT SEARCH CONFIGURATION ent_notify.french_stems
    ADD MAPPING FOR asciiword WITH french_stem;

ALTER TEXT SEARCH CONFIGURATION ent_notify.french_stems
    ADD MAPPING FOR word WITH french_stem;

CREATE TEXT SEARCH CONFIGURATION ent_notify.french_words (
    PARSER = pg_catalog."default" );

ALTER TEXT SEARCH CONFIGURATION ent_notify.french_words
    ADD MAPPING FOR asciiword WITH ent_notify.french_word;

ALTER TEXT SEARCH CONFIGURATION ent_notify.french_words
    ADD MAPPING FOR word WITH ent_notify.french_word;

ALTER TEXT SEARCH CONFIGURATION ent_notify.french_words
    ADD MAPPING FOR numword WITH ent_notify.french_word;

ALTER TEXT SEARCH CONFIGURATION ent_notify.french_words
    ADD MAPPING FOR version WITH ent_notify.french_word;

ALTER TEXT SEARCH CONFIGURATION ent_notify.french_words
    ADD MAPPING FOR "float" WITH ent_notify.french_word;

ALTER TEXT SEARCH CONFIGURATION ent_notify.french_words
    ADD MAPPING FOR "int" WITH ent_notify.french_word;

ALTER TEXT SEARCH CONFIGURATION ent_notify.french_words
    ADD MAPPING FOR uint WITH ent_notify.french_word;

CREATE FUNCTION ent_notify.words_of(text) RETURNS tsvector
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    BEGIN ATOMIC
 SELECT strip((to_tsvector('ent_notify.french_words'::regconfig, s.plain) || to_tsvector('ent_notify.french_stems'::regconfig, s.plain))) AS strip
    FROM ( SELECT ent_notify.searchable($1) AS plain
          OFFSET 0) s;
END;

CREATE FUNCTION ent_notify.works_of(wanted bigint[]) RETURNS jsonb
    LANGUAGE sql STABLE
    AS $$
    select jsonb_build_object(
        'count', count(*), 'due', min(h.due),
        'subjects', (select string_agg(s.subject, ', ' order by s.subject)
                     from (select distinct x.subject from ent_notify.homework x where x.id = any (wanted)) s),
        'works', coalesce((select jsonb_agg(w.work) from (
            select jsonb_build_object('subject', left(x.subject, 200), 'title', left(x.title, 500)) as work
            from ent_notify.homework x where x.id = any (wanted) order by x.subject, x.title, x.id limit 50
        ) w), '[]'))
    from ent_notify.homework h where h.id = any (wanted)
$$;

CREATE TABLE ent_notify.acknowledgement (
    notification_id bigint NOT NULL,
    person_id integer NOT NULL,
    acknowledged_at timestamp with time zone NOT NULL
);

CREATE TABLE ent_notify.acknowledgement_given (
    request_id bigint NOT NULL,
    person_id integer NOT NULL,
    child_id integer NOT NULL,
    text_hash bytea NOT NULL,
    given_at timestamp with time zone NOT NULL
);

CREATE TABLE ent_notify.acknowledgement_request (
    id bigint NOT NULL,
    notification_id bigint,
    conversation_id bigint,
    seq integer,
    kind smallint NOT NULL,
    quorum smallint NOT NULL,
    asked_by integer,
    asked_at timestamp with time zone NOT NULL,
    deadline timestamp with time zone,
    remind_every interval,
    remind_at timestamp with time zone,
    remind_round integer DEFAULT 1 NOT NULL,
    remind_after integer DEFAULT 0 NOT NULL,
    CONSTRAINT acknowledgement_request_check CHECK (((notification_id IS NULL) = (conversation_id IS NOT NULL))),
    CONSTRAINT acknowledgement_request_check1 CHECK (((conversation_id IS NULL) = (seq IS NULL))),
    CONSTRAINT acknowledgement_request_kind_check CHECK ((kind = ANY (ARRAY[1, 2]))),
    CONSTRAINT acknowledgement_request_quorum_check CHECK ((quorum = ANY (ARRAY[1, 2, 3])))
);

ALTER TABLE ent_notify.acknowledgement_request ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.acknowledgement_request_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.attachment (
    id bigint NOT NULL,
    owner_id integer NOT NULL,
    digest bytea NOT NULL,
    size bigint NOT NULL,
    type text NOT NULL,
    name text NOT NULL,
    added_at timestamp with time zone NOT NULL,
    draft_id bigint,
    conversation_id bigint,
    seq integer,
    CONSTRAINT attachment_check CHECK ((((draft_id IS NULL) <> (conversation_id IS NULL)) AND ((conversation_id IS NULL) = (seq IS NULL)))),
    CONSTRAINT attachment_name_check CHECK (((char_length(name) >= 1) AND (char_length(name) <= 150)))
);

CREATE TABLE ent_notify.attachment_file (
    digest bytea NOT NULL,
    size bigint NOT NULL,
    touched_at timestamp with time zone NOT NULL,
    CONSTRAINT attachment_file_digest_check CHECK ((octet_length(digest) = 32)),
    CONSTRAINT attachment_file_size_check CHECK ((size >= 0))
);

ALTER TABLE ent_notify.attachment ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.attachment_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.attachment_usage (
    person_id integer NOT NULL,
    bytes bigint NOT NULL,
    CONSTRAINT attachment_usage_bytes_check CHECK ((bytes >= 0))
);

CREATE TABLE ent_notify.audience (
    notification_id bigint NOT NULL,
    clause smallint NOT NULL,
    excluded boolean NOT NULL,
    scope smallint NOT NULL,
    ref integer NOT NULL,
    feed_seq bigint NOT NULL
);

CREATE TABLE ent_notify.audit (
    id bigint NOT NULL,
    noted_at timestamp with time zone NOT NULL,
    actor text NOT NULL,
    capacity text NOT NULL,
    action text NOT NULL,
    subject text DEFAULT ''::text NOT NULL,
    detail text DEFAULT ''::text NOT NULL,
    hold_id bigint
)
PARTITION BY RANGE (noted_at);

ALTER TABLE ent_notify.audit ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.audit_rest (
    id bigint CONSTRAINT audit_id_not_null NOT NULL,
    noted_at timestamp with time zone CONSTRAINT audit_noted_at_not_null NOT NULL,
    actor text CONSTRAINT audit_actor_not_null NOT NULL,
    capacity text CONSTRAINT audit_capacity_not_null NOT NULL,
    action text CONSTRAINT audit_action_not_null NOT NULL,
    subject text DEFAULT ''::text CONSTRAINT audit_subject_not_null NOT NULL,
    detail text DEFAULT ''::text CONSTRAINT audit_detail_not_null NOT NULL,
    hold_id bigint
);

CREATE TABLE ent_notify.break_glass (
    id bigint NOT NULL,
    conversation_id bigint NOT NULL,
    reason text NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    opened_by text,
    opened_at timestamp with time zone,
    open_until timestamp with time zone,
    CONSTRAINT break_glass_check CHECK ((opened_by <> asked_by))
);

ALTER TABLE ent_notify.break_glass ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.break_glass_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.campaign_action (
    id bigint NOT NULL,
    campaign_id bigint NOT NULL,
    action text NOT NULL,
    done_by text NOT NULL,
    reason text NOT NULL,
    done_at timestamp with time zone NOT NULL
);

ALTER TABLE ent_notify.campaign_action ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.campaign_action_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.chunk (
    id bigint NOT NULL,
    campaign_id bigint NOT NULL,
    lane_id smallint NOT NULL,
    bucket integer NOT NULL,
    held_until timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    urgency smallint NOT NULL,
    turn bigint NOT NULL,
    size integer NOT NULL,
    targets integer[],
    cursor integer DEFAULT 0 NOT NULL,
    accepted integer DEFAULT 0 NOT NULL,
    suppressed integer DEFAULT 0 NOT NULL,
    failed integer DEFAULT 0 NOT NULL,
    state smallint NOT NULL,
    fence integer DEFAULT 0 NOT NULL,
    leased_by text,
    due_at timestamp with time zone NOT NULL,
    settled_at timestamp with time zone,
    stopped integer DEFAULT 0 NOT NULL
)
WITH (toast_tuple_target='128', fillfactor='75');
ALTER TABLE ONLY ent_notify.chunk ALTER COLUMN targets SET STORAGE EXTERNAL;

ALTER TABLE ent_notify.chunk ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.chunk_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.clearing (
    person_id integer NOT NULL,
    lane_id smallint NOT NULL,
    due_at timestamp with time zone,
    watermark bigint DEFAULT 0 NOT NULL,
    above bigint[] DEFAULT '{}'::bigint[] NOT NULL
)
WITH (fillfactor='80');

CREATE TABLE ent_notify.client_write (
    person_id integer NOT NULL,
    client_id text NOT NULL,
    digest bytea NOT NULL,
    answer jsonb,
    written_at timestamp with time zone NOT NULL,
    CONSTRAINT client_write_client_id_check CHECK (((char_length(client_id) >= 1) AND (char_length(client_id) <= 64)))
);

CREATE TABLE ent_notify.contact_block (
    person_id integer NOT NULL,
    blocked_id integer NOT NULL,
    blocked_at timestamp with time zone NOT NULL
);

CREATE TABLE ent_notify.contact_rules (
    school_id integer,
    data jsonb NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    changed_by text NOT NULL
);

CREATE TABLE ent_notify.conversation (
    id bigint NOT NULL,
    subject text NOT NULL,
    started_by integer NOT NULL,
    started_at timestamp with time zone NOT NULL,
    last_seq integer DEFAULT 0 NOT NULL,
    moved bigint DEFAULT ent_notify.this_transaction() NOT NULL,
    shape smallint DEFAULT 2 NOT NULL,
    replies smallint DEFAULT 2 NOT NULL,
    late_sees smallint DEFAULT 0 NOT NULL,
    keyed boolean DEFAULT false NOT NULL,
    about_id integer,
    pair integer[],
    language text,
    last_at timestamp with time zone DEFAULT now() NOT NULL,
    closed_at timestamp with time zone,
    closed_by integer,
    subject_words tsvector GENERATED ALWAYS AS (ent_notify.words_of(subject)) STORED,
    schools integer[],
    peopled_at timestamp with time zone,
    CONSTRAINT conversation_subject_check CHECK (((char_length(subject) >= 1) AND (char_length(subject) <= 200)))
);

COMMENT ON COLUMN ent_notify.conversation.schools IS 'null: opened before choices were kept; nobody sees who has read';

ALTER TABLE ent_notify.conversation ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.conversation_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.conversation_key (
    conversation_id bigint NOT NULL,
    scope smallint NOT NULL,
    ref integer NOT NULL,
    joinable boolean DEFAULT false NOT NULL,
    CONSTRAINT conversation_key_scope_check CHECK ((scope = ANY (ARRAY[1, 2, 4])))
);

CREATE TABLE ent_notify.deletion_receipt (
    seq bigint NOT NULL,
    body text NOT NULL,
    digest bytea NOT NULL
);

CREATE UNLOGGED TABLE ent_notify.departure (
    person_id integer NOT NULL,
    due_at timestamp with time zone NOT NULL,
    looks smallint DEFAULT 0 NOT NULL
);

CREATE TABLE ent_notify.device (
    id integer NOT NULL,
    person_id integer NOT NULL,
    provider text NOT NULL,
    app text NOT NULL,
    token text NOT NULL,
    language text,
    registered_at timestamp with time zone NOT NULL,
    dropped_at timestamp with time zone,
    drop_reason text,
    CONSTRAINT device_provider_check CHECK ((provider = ANY (ARRAY['apns'::text, 'fcm'::text, 'webpush'::text])))
);

ALTER TABLE ent_notify.device ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.device_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.erasure (
    person_id integer NOT NULL,
    digest bytea NOT NULL,
    way smallint NOT NULL,
    cause text NOT NULL,
    erased_at timestamp with time zone NOT NULL,
    sweep_at timestamp with time zone NOT NULL,
    devices integer[] DEFAULT '{}'::integer[] NOT NULL,
    swept_at timestamp with time zone,
    seq bigint NOT NULL
);

ALTER TABLE ent_notify.erasure ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.erasure_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.event_type (
    name text NOT NULL,
    category text NOT NULL,
    urgency smallint NOT NULL,
    channels text[] NOT NULL,
    life interval NOT NULL,
    fields jsonb NOT NULL,
    natural_audience jsonb,
    ends_after jsonb DEFAULT '[]'::jsonb NOT NULL
);

CREATE TABLE ent_notify.evidence (
    id bigint NOT NULL,
    conversation_id bigint NOT NULL,
    seq integer NOT NULL,
    author_id integer NOT NULL,
    subject text NOT NULL,
    body text NOT NULL,
    earlier jsonb NOT NULL,
    attachments jsonb NOT NULL,
    posted_at timestamp with time zone NOT NULL,
    taken_at timestamp with time zone NOT NULL
);

ALTER TABLE ent_notify.evidence ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.evidence_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.fair_share (
    lane_id smallint NOT NULL,
    urgency smallint NOT NULL,
    party bigint NOT NULL,
    turn bigint NOT NULL,
    asked integer NOT NULL
);

CREATE TABLE ent_notify.feed (
    only_row boolean DEFAULT true NOT NULL,
    last_seq bigint NOT NULL,
    CONSTRAINT feed_only_row_check CHECK (only_row)
);

CREATE TABLE ent_notify.frozen_area (
    area text NOT NULL,
    prefixes text[] NOT NULL,
    tier smallint NOT NULL,
    functions text[] NOT NULL,
    since timestamp with time zone NOT NULL,
    done_by text NOT NULL,
    reason text NOT NULL,
    CONSTRAINT frozen_area_tier_check CHECK (((tier >= 1) AND (tier <= 3)))
);

CREATE UNLOGGED TABLE ent_notify.gateway_node (
    id bigint NOT NULL,
    seq bigint NOT NULL,
    lease_until timestamp with time zone NOT NULL
);

CREATE TABLE ent_notify.guardian_link (
    pupil_id integer NOT NULL,
    guardian_id integer NOT NULL,
    legal_level smallint NOT NULL,
    kinship text DEFAULT ''::text NOT NULL,
    restricted boolean DEFAULT false NOT NULL,
    CONSTRAINT guardian_link_legal_level_check CHECK (((legal_level >= 0) AND (legal_level <= 2)))
);

CREATE TABLE ent_notify.held_campaign (
    campaign_id bigint NOT NULL,
    person_id integer NOT NULL
);

ALTER TABLE ent_notify.hold ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.hold_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.homework (
    id bigint NOT NULL,
    external_id text NOT NULL,
    school_id integer,
    group_id integer NOT NULL,
    is_test boolean NOT NULL,
    subject text NOT NULL,
    title text NOT NULL,
    due date NOT NULL,
    due_at timestamp with time zone,
    withdrawn_at timestamp with time zone,
    notification_id bigint NOT NULL
);

CREATE TABLE ent_notify.homework_done (
    homework_id bigint NOT NULL,
    person_id integer NOT NULL,
    done_at timestamp with time zone NOT NULL
);

ALTER TABLE ent_notify.homework ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.homework_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.homework_reminder (
    notification_id bigint NOT NULL,
    homework bigint[] NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

CREATE TABLE ent_notify.instance (
    only_row boolean DEFAULT true NOT NULL,
    salt bytea NOT NULL,
    place text,
    CONSTRAINT instance_only_row_check CHECK (only_row)
);

CREATE TABLE ent_notify.lane (
    id smallint NOT NULL,
    name text NOT NULL,
    channel text NOT NULL,
    provider text DEFAULT ''::text NOT NULL,
    app text DEFAULT ''::text NOT NULL,
    per_second double precision,
    tat timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    turns bigint[] DEFAULT '{0,0,0}'::bigint[] NOT NULL,
    paused_until timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    pause_reason text,
    failures smallint DEFAULT 0 NOT NULL
);

ALTER TABLE ent_notify.lane ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.lane_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.late_word (
    chunk_id bigint NOT NULL,
    target integer NOT NULL,
    state smallint NOT NULL,
    reason text NOT NULL
);

CREATE TABLE ent_notify.lately_written (
    author_id integer NOT NULL,
    scope smallint NOT NULL,
    ref integer NOT NULL,
    written_at timestamp with time zone NOT NULL
);

CREATE TABLE ent_notify.lesson (
    group_id integer NOT NULL,
    external_id text NOT NULL,
    base jsonb,
    now jsonb,
    base_day date,
    now_day date
);

CREATE TABLE ent_notify.mail_domain (
    domain text NOT NULL,
    lane_id smallint NOT NULL
);

CREATE TABLE ent_notify.membership (
    group_id integer NOT NULL,
    person_id integer NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    valid_until timestamp with time zone DEFAULT 'infinity'::timestamp with time zone NOT NULL
);

CREATE TABLE ent_notify.message (
    conversation_id bigint NOT NULL,
    seq integer NOT NULL,
    author_id integer NOT NULL,
    body text NOT NULL,
    posted_at timestamp with time zone NOT NULL,
    moved bigint DEFAULT ent_notify.this_transaction() NOT NULL,
    answers integer,
    edited_at timestamp with time zone,
    recalled_at timestamp with time zone,
    recalled_by integer,
    CONSTRAINT message_body_check CHECK (((char_length(body) <= 20000) AND ((body <> ''::text) OR (recalled_at IS NOT NULL))))
);

CREATE TABLE ent_notify.message_change (
    id bigint NOT NULL,
    conversation_id bigint NOT NULL,
    seq integer NOT NULL,
    kind smallint NOT NULL,
    body text,
    changed_by integer NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    read_by integer[],
    moved bigint DEFAULT ent_notify.this_transaction() NOT NULL,
    run bigint
);

ALTER TABLE ent_notify.message_change ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.message_change_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.message_draft (
    id bigint NOT NULL,
    author_id integer NOT NULL,
    conversation_id bigint,
    content jsonb NOT NULL,
    state smallint DEFAULT 0 NOT NULL,
    send_on date,
    send_time time without time zone,
    send_zone text,
    due_at timestamp with time zone,
    refusal text,
    sent_to bigint,
    sent_seq integer,
    updated_at timestamp with time zone NOT NULL,
    held boolean DEFAULT false NOT NULL
);

ALTER TABLE ent_notify.message_draft ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.message_draft_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.message_due (
    place bigint NOT NULL,
    conversation_id bigint NOT NULL,
    seq integer NOT NULL,
    held boolean DEFAULT false NOT NULL
);

ALTER TABLE ent_notify.message_due ALTER COLUMN place ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.message_due_place_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.message_hold (
    conversation_id bigint NOT NULL,
    seq integer NOT NULL,
    case_id bigint NOT NULL,
    placed_at timestamp with time zone NOT NULL
);

CREATE TABLE ent_notify.message_html (
    conversation_id bigint NOT NULL,
    seq integer NOT NULL,
    html text NOT NULL,
    CONSTRAINT message_html_html_check CHECK (((char_length(html) >= 1) AND (char_length(html) <= 60000)))
);

CREATE TABLE ent_notify.message_words (
    conversation_id bigint NOT NULL,
    seq integer NOT NULL,
    words tsvector NOT NULL
);

CREATE TABLE ent_notify.moderation_case (
    id bigint NOT NULL,
    kind smallint NOT NULL,
    person_id integer NOT NULL,
    conversation_id bigint,
    seq integer,
    schools text[] NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    closed_at timestamp with time zone,
    decision text
);

ALTER TABLE ent_notify.moderation_case ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.moderation_case_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.moderation_report (
    case_id bigint NOT NULL,
    reporter_id integer NOT NULL,
    reason text NOT NULL,
    note text NOT NULL,
    reported_at timestamp with time zone NOT NULL
);

CREATE TABLE ent_notify.notification (
    id bigint NOT NULL,
    idempotency_key text NOT NULL,
    type text NOT NULL,
    category text NOT NULL,
    urgency smallint NOT NULL,
    data jsonb NOT NULL,
    audience jsonb NOT NULL,
    clauses jsonb NOT NULL,
    published_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    feed_seq bigint,
    root bigint,
    superseded_by bigint,
    withdraws bigint,
    withdrawn_type text,
    CONSTRAINT notification_idempotency_key_check CHECK (((char_length(idempotency_key) >= 1) AND (char_length(idempotency_key) <= 200)))
);

ALTER TABLE ent_notify.notification ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.notification_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.outcome (
    chunk_id bigint CONSTRAINT outcome_chunk_id_not_null1 NOT NULL,
    target integer CONSTRAINT outcome_target_not_null1 NOT NULL,
    campaign_id bigint CONSTRAINT outcome_campaign_id_not_null1 NOT NULL,
    person_id integer CONSTRAINT outcome_person_id_not_null1 NOT NULL,
    state smallint CONSTRAINT outcome_state_not_null1 NOT NULL,
    reason text CONSTRAINT outcome_reason_not_null1 NOT NULL,
    attempts smallint CONSTRAINT outcome_attempts_not_null1 NOT NULL,
    retry_at timestamp with time zone,
    noted_at timestamp with time zone CONSTRAINT outcome_noted_at_not_null1 NOT NULL
)
PARTITION BY RANGE (chunk_id);

CREATE TABLE ent_notify.outcome_first (
    chunk_id bigint CONSTRAINT outcome_chunk_id_not_null NOT NULL,
    target integer CONSTRAINT outcome_target_not_null NOT NULL,
    campaign_id bigint CONSTRAINT outcome_campaign_id_not_null NOT NULL,
    person_id integer CONSTRAINT outcome_person_id_not_null NOT NULL,
    state smallint CONSTRAINT outcome_state_not_null NOT NULL,
    reason text CONSTRAINT outcome_reason_not_null NOT NULL,
    attempts smallint CONSTRAINT outcome_attempts_not_null NOT NULL,
    retry_at timestamp with time zone,
    noted_at timestamp with time zone CONSTRAINT outcome_noted_at_not_null NOT NULL
);

CREATE TABLE ent_notify.outcome_rest (
    chunk_id bigint CONSTRAINT outcome_chunk_id_not_null1 NOT NULL,
    target integer CONSTRAINT outcome_target_not_null1 NOT NULL,
    campaign_id bigint CONSTRAINT outcome_campaign_id_not_null1 NOT NULL,
    person_id integer CONSTRAINT outcome_person_id_not_null1 NOT NULL,
    state smallint CONSTRAINT outcome_state_not_null1 NOT NULL,
    reason text CONSTRAINT outcome_reason_not_null1 NOT NULL,
    attempts smallint CONSTRAINT outcome_attempts_not_null1 NOT NULL,
    retry_at timestamp with time zone,
    noted_at timestamp with time zone CONSTRAINT outcome_noted_at_not_null1 NOT NULL
);

CREATE TABLE ent_notify.outcome_total (
    campaign_id bigint NOT NULL,
    lane_id smallint NOT NULL,
    state smallint NOT NULL,
    reason text NOT NULL,
    n bigint NOT NULL
);

CREATE TABLE ent_notify.participant (
    conversation_id bigint NOT NULL,
    person_id integer NOT NULL,
    read_seq integer DEFAULT 0 NOT NULL,
    moved bigint DEFAULT ent_notify.this_transaction() NOT NULL,
    member boolean DEFAULT true NOT NULL,
    joined boolean DEFAULT false NOT NULL,
    copy smallint DEFAULT 0 NOT NULL,
    first_seq integer DEFAULT 1 NOT NULL,
    until_seq integer,
    wrote boolean DEFAULT false NOT NULL,
    checked_at timestamp with time zone,
    read_at timestamp with time zone,
    cleared_seq integer DEFAULT 0 NOT NULL,
    gone integer[] DEFAULT '{}'::integer[] NOT NULL,
    archived_at timestamp with time zone,
    favourite boolean DEFAULT false NOT NULL,
    muted boolean DEFAULT false NOT NULL,
    labels text[] DEFAULT '{}'::text[] NOT NULL
);

CREATE TABLE ent_notify.people_group (
    id integer NOT NULL,
    external_id text NOT NULL,
    school_id integer,
    kind smallint NOT NULL,
    name text NOT NULL
);

ALTER TABLE ent_notify.people_group ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.people_group_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.person (
    id integer NOT NULL,
    external_id text NOT NULL,
    source text NOT NULL,
    profile smallint NOT NULL,
    function text,
    given_name text DEFAULT ''::text NOT NULL,
    family_name text DEFAULT ''::text NOT NULL,
    language text DEFAULT 'fr'::text NOT NULL,
    timezone text DEFAULT 'Europe/Paris'::text NOT NULL,
    email text,
    email_dropped_at timestamp with time zone,
    email_drop_reason text,
    mail_lane smallint,
    hidden_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    restricted_at timestamp with time zone,
    CONSTRAINT person_profile_check CHECK (((profile >= 1) AND (profile <= 4)))
);

ALTER TABLE ent_notify.person ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.person_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.preference (
    person_id integer NOT NULL,
    category text NOT NULL,
    channel text NOT NULL,
    enabled boolean NOT NULL
);

CREATE UNLOGGED TABLE ent_notify.presence (
    person_id integer NOT NULL,
    node bigint NOT NULL,
    stream bigint NOT NULL,
    since timestamp with time zone NOT NULL
);

CREATE TABLE ent_notify.reading (
    person_id integer NOT NULL,
    watermark bigint DEFAULT 0 NOT NULL,
    above bigint[] DEFAULT '{}'::bigint[] NOT NULL
);

CREATE TABLE ent_notify.reading_choice (
    school_id integer,
    track boolean,
    names boolean,
    since timestamp with time zone NOT NULL,
    changed_by text NOT NULL
);

CREATE TABLE ent_notify.recall_run (
    id bigint NOT NULL,
    person_id integer NOT NULL,
    since timestamp with time zone NOT NULL,
    until timestamp with time zone NOT NULL,
    done_by text NOT NULL,
    reason text NOT NULL,
    recalled integer DEFAULT 0 NOT NULL,
    started_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone
);

ALTER TABLE ent_notify.recall_run ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.recall_run_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.recalled_reader (
    notification_id bigint NOT NULL,
    bucket integer NOT NULL,
    people integer[] NOT NULL
);

CREATE TABLE ent_notify.reminded (
    school_id integer NOT NULL,
    evening date NOT NULL,
    is_test boolean NOT NULL,
    due date NOT NULL,
    at timestamp with time zone NOT NULL
);

CREATE TABLE ent_notify.restraint (
    person_id integer NOT NULL,
    kind smallint NOT NULL,
    since timestamp with time zone NOT NULL,
    until timestamp with time zone,
    done_by text NOT NULL,
    reason text NOT NULL,
    CONSTRAINT restraint_kind_check CHECK ((kind = ANY (ARRAY[1, 2])))
);

CREATE TABLE ent_notify.retention_run (
    id bigint NOT NULL,
    night date,
    planned_at timestamp with time zone NOT NULL,
    lines jsonb NOT NULL,
    line integer DEFAULT 0 NOT NULL,
    removed jsonb DEFAULT '{}'::jsonb NOT NULL,
    state text NOT NULL,
    confirmed_by text,
    done_at timestamp with time zone,
    CONSTRAINT retention_run_state_check CHECK ((state = ANY (ARRAY['running'::text, 'asks'::text, 'done'::text, 'refused'::text])))
);

ALTER TABLE ent_notify.retention_run ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.retention_run_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.retraction (
    scope smallint NOT NULL,
    ref integer NOT NULL,
    feed_seq bigint NOT NULL,
    notifications bigint[] NOT NULL,
    retracted_at timestamp with time zone NOT NULL
);

CREATE TABLE ent_notify.rights_change (
    xact xid8 NOT NULL,
    seq bigint,
    people integer[]
);

CREATE TABLE ent_notify.rights_head (
    only_row boolean DEFAULT true NOT NULL,
    last_seq bigint NOT NULL,
    CONSTRAINT rights_head_only_row_check CHECK (only_row)
);

CREATE TABLE ent_notify.rights_request (
    id bigint NOT NULL,
    person_id integer NOT NULL,
    kind text NOT NULL,
    actor text NOT NULL,
    capacity text NOT NULL,
    proof text NOT NULL,
    received_at timestamp with time zone NOT NULL,
    deadline timestamp with time zone NOT NULL,
    state text DEFAULT 'open'::text NOT NULL,
    note text DEFAULT ''::text NOT NULL,
    closed_at timestamp with time zone,
    CONSTRAINT rights_request_kind_check CHECK ((kind = ANY (ARRAY['export'::text, 'rectify'::text, 'restrict'::text, 'object'::text, 'erase'::text]))),
    CONSTRAINT rights_request_state_check CHECK ((state = ANY (ARRAY['open'::text, 'held'::text, 'done'::text, 'refused'::text])))
);

ALTER TABLE ent_notify.rights_request ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.rights_request_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.safety_audit (
    id bigint NOT NULL,
    done_at timestamp with time zone NOT NULL,
    done_by text NOT NULL,
    act text NOT NULL,
    about text NOT NULL,
    case_id bigint,
    schools text[] NOT NULL,
    reason text NOT NULL
);

ALTER TABLE ent_notify.safety_audit ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.safety_audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.same_human (
    person_id integer NOT NULL,
    other_id integer NOT NULL,
    declared_by text NOT NULL,
    declared_at timestamp with time zone NOT NULL,
    CONSTRAINT same_human_check CHECK ((person_id < other_id))
);

CREATE TABLE ent_notify.school (
    id integer NOT NULL,
    uai text NOT NULL,
    join_id text,
    name text NOT NULL,
    timezone text DEFAULT 'Europe/Paris'::text NOT NULL,
    closed_at timestamp with time zone
);

CREATE TABLE ent_notify.school_calendar (
    school_id integer,
    data jsonb NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    changed_by text NOT NULL
);

ALTER TABLE ent_notify.school ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.school_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE UNLOGGED TABLE ent_notify.seen (
    person_id integer NOT NULL,
    upto bigint NOT NULL,
    noted_at timestamp with time zone NOT NULL
);

CREATE TABLE ent_notify.sender (
    name text NOT NULL,
    tat timestamp with time zone NOT NULL
);

CREATE TABLE ent_notify.sender_cells (
    person_id integer NOT NULL,
    tat timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    alarm timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL
);

CREATE TABLE ent_notify.sender_limit (
    only_row boolean DEFAULT true NOT NULL,
    per_hour double precision NOT NULL,
    burst integer NOT NULL,
    CONSTRAINT sender_limit_only_row_check CHECK (only_row)
);

CREATE TABLE ent_notify.stream_session (
    id bigint NOT NULL,
    digest bytea NOT NULL,
    person_id integer NOT NULL,
    tickets bytea[] NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

ALTER TABLE ent_notify.stream_session ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ent_notify.stream_session_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE ent_notify.stream_ticket (
    digest bytea NOT NULL,
    person_id integer NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

CREATE TABLE ent_notify.timetable_day (
    group_id integer NOT NULL,
    day date NOT NULL,
    changed_at timestamp with time zone,
    look_at timestamp with time zone NOT NULL,
    told jsonb,
    loud boolean DEFAULT false NOT NULL,
    version integer DEFAULT 0 NOT NULL,
    told_key text
);

CREATE TABLE ent_notify.zone (
    name text NOT NULL
);

ALTER TABLE ONLY ent_notify.audit ATTACH PARTITION ent_notify.audit_rest DEFAULT;

ALTER TABLE ONLY ent_notify.outcome ATTACH PARTITION ent_notify.outcome_first FOR VALUES FROM ('0') TO ('100000');

ALTER TABLE ONLY ent_notify.outcome ATTACH PARTITION ent_notify.outcome_rest DEFAULT;

INSERT INTO ent_notify.feed VALUES (true, 0);

INSERT INTO ent_notify.lane OVERRIDING SYSTEM VALUE VALUES (1, 'web', 'web', '', '', NULL, '-infinity', '{0,0,0}', '-infinity', NULL, 0);
INSERT INTO ent_notify.lane OVERRIDING SYSTEM VALUE VALUES (2, 'email', 'email', '', '', NULL, '-infinity', '{0,0,0}', '-infinity', NULL, 0);

INSERT INTO ent_notify.rights_head VALUES (true, 0);

SELECT pg_catalog.setval('ent_notify.acknowledgement_request_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.attachment_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.audit_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.break_glass_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.campaign_action_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.chunk_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.conversation_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.device_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.erasure_seq_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.evidence_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.hold_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.homework_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.lane_id_seq', 2, true);

SELECT pg_catalog.setval('ent_notify.message_change_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.message_draft_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.message_due_place_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.moderation_case_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.notification_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.people_group_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.person_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.recall_run_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.retention_run_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.rights_request_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.safety_audit_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.school_id_seq', 1, false);

SELECT pg_catalog.setval('ent_notify.stream_session_id_seq', 1, false);

ALTER TABLE ONLY ent_notify.acknowledgement_given
    ADD CONSTRAINT acknowledgement_given_pkey PRIMARY KEY (request_id, person_id, child_id, text_hash);

ALTER TABLE ONLY ent_notify.acknowledgement
    ADD CONSTRAINT acknowledgement_pkey PRIMARY KEY (notification_id, person_id);

ALTER TABLE ONLY ent_notify.acknowledgement_request
    ADD CONSTRAINT acknowledgement_request_conversation_id_seq_key UNIQUE (conversation_id, seq);

ALTER TABLE ONLY ent_notify.acknowledgement_request
    ADD CONSTRAINT acknowledgement_request_notification_id_key UNIQUE (notification_id);

ALTER TABLE ONLY ent_notify.acknowledgement_request
    ADD CONSTRAINT acknowledgement_request_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.attachment_file
    ADD CONSTRAINT attachment_file_pkey PRIMARY KEY (digest);

ALTER TABLE ONLY ent_notify.attachment
    ADD CONSTRAINT attachment_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.attachment_usage
    ADD CONSTRAINT attachment_usage_pkey PRIMARY KEY (person_id);

ALTER TABLE ONLY ent_notify.audience
    ADD CONSTRAINT audience_pkey PRIMARY KEY (notification_id, clause, excluded, scope, ref);

ALTER TABLE ONLY ent_notify.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (noted_at, id);

ALTER TABLE ONLY ent_notify.audit_rest
    ADD CONSTRAINT audit_rest_pkey PRIMARY KEY (noted_at, id);

ALTER TABLE ONLY ent_notify.break_glass
    ADD CONSTRAINT break_glass_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.campaign_action
    ADD CONSTRAINT campaign_action_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.campaign
    ADD CONSTRAINT campaign_pkey PRIMARY KEY (notification_id);

ALTER TABLE ONLY ent_notify.chunk
    ADD CONSTRAINT chunk_campaign_id_lane_id_bucket_held_until_key UNIQUE (campaign_id, lane_id, bucket, held_until);

ALTER TABLE ONLY ent_notify.chunk
    ADD CONSTRAINT chunk_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.clearing
    ADD CONSTRAINT clearing_pkey PRIMARY KEY (person_id, lane_id);

ALTER TABLE ONLY ent_notify.client_write
    ADD CONSTRAINT client_write_pkey PRIMARY KEY (person_id, client_id);

ALTER TABLE ONLY ent_notify.contact_block
    ADD CONSTRAINT contact_block_pkey PRIMARY KEY (person_id, blocked_id);

ALTER TABLE ONLY ent_notify.contact_rules
    ADD CONSTRAINT contact_rules_school_id_key UNIQUE NULLS NOT DISTINCT (school_id);

ALTER TABLE ONLY ent_notify.conversation_key
    ADD CONSTRAINT conversation_key_pkey PRIMARY KEY (conversation_id, scope, ref);

ALTER TABLE ONLY ent_notify.conversation
    ADD CONSTRAINT conversation_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.deletion_receipt
    ADD CONSTRAINT deletion_receipt_pkey PRIMARY KEY (seq);

ALTER TABLE ONLY ent_notify.departure
    ADD CONSTRAINT departure_pkey PRIMARY KEY (person_id);

ALTER TABLE ONLY ent_notify.device
    ADD CONSTRAINT device_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.erasure
    ADD CONSTRAINT erasure_pkey PRIMARY KEY (person_id);

ALTER TABLE ONLY ent_notify.event_type
    ADD CONSTRAINT event_type_pkey PRIMARY KEY (name);

ALTER TABLE ONLY ent_notify.evidence
    ADD CONSTRAINT evidence_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.fair_share
    ADD CONSTRAINT fair_share_pkey PRIMARY KEY (lane_id, urgency, party);

ALTER TABLE ONLY ent_notify.feed
    ADD CONSTRAINT feed_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY ent_notify.frozen_area
    ADD CONSTRAINT frozen_area_pkey PRIMARY KEY (area);

ALTER TABLE ONLY ent_notify.gateway_node
    ADD CONSTRAINT gateway_node_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.guardian_link
    ADD CONSTRAINT guardian_link_pkey PRIMARY KEY (pupil_id, guardian_id);

ALTER TABLE ONLY ent_notify.held_campaign
    ADD CONSTRAINT held_campaign_pkey PRIMARY KEY (campaign_id);

ALTER TABLE ONLY ent_notify.hold
    ADD CONSTRAINT hold_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.homework_done
    ADD CONSTRAINT homework_done_pkey PRIMARY KEY (homework_id, person_id);

ALTER TABLE ONLY ent_notify.homework
    ADD CONSTRAINT homework_external_id_key UNIQUE (external_id);

ALTER TABLE ONLY ent_notify.homework
    ADD CONSTRAINT homework_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.homework_reminder
    ADD CONSTRAINT homework_reminder_pkey PRIMARY KEY (notification_id);

ALTER TABLE ONLY ent_notify.instance
    ADD CONSTRAINT instance_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY ent_notify.lane
    ADD CONSTRAINT lane_name_key UNIQUE (name);

ALTER TABLE ONLY ent_notify.lane
    ADD CONSTRAINT lane_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.late_word
    ADD CONSTRAINT late_word_pkey PRIMARY KEY (chunk_id, target);

ALTER TABLE ONLY ent_notify.lately_written
    ADD CONSTRAINT lately_written_pkey PRIMARY KEY (author_id, scope, ref);

ALTER TABLE ONLY ent_notify.lesson
    ADD CONSTRAINT lesson_pkey PRIMARY KEY (group_id, external_id);

ALTER TABLE ONLY ent_notify.mail_domain
    ADD CONSTRAINT mail_domain_pkey PRIMARY KEY (domain);

ALTER TABLE ONLY ent_notify.membership
    ADD CONSTRAINT membership_pkey PRIMARY KEY (group_id, person_id);

ALTER TABLE ONLY ent_notify.message_change
    ADD CONSTRAINT message_change_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.message_draft
    ADD CONSTRAINT message_draft_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.message_due
    ADD CONSTRAINT message_due_pkey PRIMARY KEY (place);

ALTER TABLE ONLY ent_notify.message_hold
    ADD CONSTRAINT message_hold_pkey PRIMARY KEY (conversation_id, seq);

ALTER TABLE ONLY ent_notify.message_html
    ADD CONSTRAINT message_html_pkey PRIMARY KEY (conversation_id, seq);

ALTER TABLE ONLY ent_notify.message
    ADD CONSTRAINT message_pkey PRIMARY KEY (conversation_id, seq);

ALTER TABLE ONLY ent_notify.message_words
    ADD CONSTRAINT message_words_pkey PRIMARY KEY (conversation_id, seq);

ALTER TABLE ONLY ent_notify.moderation_case
    ADD CONSTRAINT moderation_case_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.moderation_report
    ADD CONSTRAINT moderation_report_pkey PRIMARY KEY (case_id, reporter_id);

ALTER TABLE ONLY ent_notify.notification
    ADD CONSTRAINT notification_feed_seq_key UNIQUE (feed_seq);

ALTER TABLE ONLY ent_notify.notification
    ADD CONSTRAINT notification_idempotency_key_key UNIQUE (idempotency_key);

ALTER TABLE ONLY ent_notify.notification
    ADD CONSTRAINT notification_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.outcome
    ADD CONSTRAINT outcome_pkey PRIMARY KEY (chunk_id, target);

ALTER TABLE ONLY ent_notify.outcome_first
    ADD CONSTRAINT outcome_first_pkey PRIMARY KEY (chunk_id, target);

ALTER TABLE ONLY ent_notify.outcome_rest
    ADD CONSTRAINT outcome_rest_pkey PRIMARY KEY (chunk_id, target);

ALTER TABLE ONLY ent_notify.outcome_total
    ADD CONSTRAINT outcome_total_pkey PRIMARY KEY (campaign_id, lane_id, state, reason);

ALTER TABLE ONLY ent_notify.participant
    ADD CONSTRAINT participant_pkey PRIMARY KEY (conversation_id, person_id);

ALTER TABLE ONLY ent_notify.people_group
    ADD CONSTRAINT people_group_external_id_key UNIQUE (external_id);

ALTER TABLE ONLY ent_notify.people_group
    ADD CONSTRAINT people_group_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.person
    ADD CONSTRAINT person_external_id_key UNIQUE (external_id);

ALTER TABLE ONLY ent_notify.person
    ADD CONSTRAINT person_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.preference
    ADD CONSTRAINT preference_pkey PRIMARY KEY (person_id, category, channel);

ALTER TABLE ONLY ent_notify.presence
    ADD CONSTRAINT presence_pkey PRIMARY KEY (person_id, node, stream);

ALTER TABLE ONLY ent_notify.reading_choice
    ADD CONSTRAINT reading_choice_school_id_key UNIQUE NULLS NOT DISTINCT (school_id);

ALTER TABLE ONLY ent_notify.reading
    ADD CONSTRAINT reading_pkey PRIMARY KEY (person_id);

ALTER TABLE ONLY ent_notify.recall_run
    ADD CONSTRAINT recall_run_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.recalled_reader
    ADD CONSTRAINT recalled_reader_pkey PRIMARY KEY (notification_id, bucket);

ALTER TABLE ONLY ent_notify.reminded
    ADD CONSTRAINT reminded_pkey PRIMARY KEY (school_id, evening, is_test, due);

ALTER TABLE ONLY ent_notify.restraint
    ADD CONSTRAINT restraint_pkey PRIMARY KEY (person_id);

ALTER TABLE ONLY ent_notify.retention_run
    ADD CONSTRAINT retention_run_night_key UNIQUE (night);

ALTER TABLE ONLY ent_notify.retention_run
    ADD CONSTRAINT retention_run_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.retraction
    ADD CONSTRAINT retraction_pkey PRIMARY KEY (scope, ref, feed_seq);

ALTER TABLE ONLY ent_notify.rights_change
    ADD CONSTRAINT rights_change_pkey PRIMARY KEY (xact);

ALTER TABLE ONLY ent_notify.rights_change
    ADD CONSTRAINT rights_change_seq_key UNIQUE (seq);

ALTER TABLE ONLY ent_notify.rights_head
    ADD CONSTRAINT rights_head_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY ent_notify.rights_request
    ADD CONSTRAINT rights_request_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.safety_audit
    ADD CONSTRAINT safety_audit_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.same_human
    ADD CONSTRAINT same_human_pkey PRIMARY KEY (person_id, other_id);

ALTER TABLE ONLY ent_notify.school_calendar
    ADD CONSTRAINT school_calendar_school_id_key UNIQUE NULLS NOT DISTINCT (school_id);

ALTER TABLE ONLY ent_notify.school
    ADD CONSTRAINT school_join_id_key UNIQUE (join_id);

ALTER TABLE ONLY ent_notify.school
    ADD CONSTRAINT school_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.school
    ADD CONSTRAINT school_uai_key UNIQUE (uai);

ALTER TABLE ONLY ent_notify.seen
    ADD CONSTRAINT seen_pkey PRIMARY KEY (person_id);

ALTER TABLE ONLY ent_notify.sender_cells
    ADD CONSTRAINT sender_cells_pkey PRIMARY KEY (person_id);

ALTER TABLE ONLY ent_notify.sender_limit
    ADD CONSTRAINT sender_limit_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY ent_notify.sender
    ADD CONSTRAINT sender_pkey PRIMARY KEY (name);

ALTER TABLE ONLY ent_notify.stream_session
    ADD CONSTRAINT stream_session_digest_key UNIQUE (digest);

ALTER TABLE ONLY ent_notify.stream_session
    ADD CONSTRAINT stream_session_pkey PRIMARY KEY (id);

ALTER TABLE ONLY ent_notify.stream_ticket
    ADD CONSTRAINT stream_ticket_pkey PRIMARY KEY (digest);

ALTER TABLE ONLY ent_notify.timetable_day
    ADD CONSTRAINT timetable_day_pkey PRIMARY KEY (group_id, day);

ALTER TABLE ONLY ent_notify.zone
    ADD CONSTRAINT zone_pkey PRIMARY KEY (name);

CREATE INDEX acknowledgement_given_person ON ent_notify.acknowledgement_given USING btree (person_id);

CREATE INDEX acknowledgement_person ON ent_notify.acknowledgement USING btree (person_id);

CREATE INDEX acknowledgement_request_remind ON ent_notify.acknowledgement_request USING btree (remind_at) WHERE (remind_at IS NOT NULL);

CREATE INDEX attachment_digest ON ent_notify.attachment USING btree (digest);

CREATE INDEX attachment_draft ON ent_notify.attachment USING btree (draft_id) WHERE (draft_id IS NOT NULL);

CREATE INDEX attachment_file_touched ON ent_notify.attachment_file USING btree (touched_at);

CREATE INDEX attachment_message ON ent_notify.attachment USING btree (conversation_id, seq, id) WHERE (conversation_id IS NOT NULL);

CREATE INDEX attachment_owner ON ent_notify.attachment USING btree (owner_id);

CREATE INDEX audience_excluded ON ent_notify.audience USING btree (scope, ref) WHERE excluded;

CREATE INDEX audience_reader ON ent_notify.audience USING btree (scope, ref, feed_seq DESC) INCLUDE (notification_id, clause) WHERE (NOT excluded);

CREATE INDEX audit_subject ON ONLY ent_notify.audit USING btree (subject, noted_at);

CREATE INDEX audit_rest_subject_noted_at_idx ON ent_notify.audit_rest USING btree (subject, noted_at);

CREATE INDEX campaign_action_campaign ON ent_notify.campaign_action USING btree (campaign_id, id);

CREATE INDEX campaign_counted ON ent_notify.campaign USING btree (notification_id) WHERE (detail = 1);

CREATE INDEX campaign_unplanned ON ent_notify.campaign USING btree (feed_seq) WHERE ((planned_at IS NULL) AND (state < 2));

CREATE INDEX chunk_due ON ent_notify.chunk USING btree (due_at) WHERE (state = ANY (ARRAY[1, 2]));

CREATE INDEX chunk_leased ON ent_notify.chunk USING btree (lane_id) WHERE (state = 2);

CREATE INDEX chunk_ready ON ent_notify.chunk USING btree (lane_id, urgency, turn) WHERE (state = 0);

CREATE INDEX clearing_due ON ent_notify.clearing USING btree (lane_id, due_at) WHERE (due_at IS NOT NULL);

CREATE INDEX client_write_old ON ent_notify.client_write USING btree (written_at);

CREATE INDEX contact_block_blocked ON ent_notify.contact_block USING btree (blocked_id) INCLUDE (person_id);

CREATE INDEX conversation_about ON ent_notify.conversation USING btree (about_id) WHERE (about_id IS NOT NULL);

CREATE INDEX conversation_key_reader ON ent_notify.conversation_key USING btree (scope, ref, conversation_id);

CREATE INDEX conversation_old ON ent_notify.conversation USING btree (started_at);

CREATE UNIQUE INDEX conversation_pair ON ent_notify.conversation USING btree (pair) WHERE (pair IS NOT NULL);

CREATE INDEX departure_due ON ent_notify.departure USING btree (due_at);

CREATE INDEX device_dropped ON ent_notify.device USING btree (dropped_at) WHERE (dropped_at IS NOT NULL);

CREATE INDEX device_person ON ent_notify.device USING btree (person_id);

CREATE UNIQUE INDEX device_token ON ent_notify.device USING btree (provider, token) WHERE (dropped_at IS NULL);

CREATE UNIQUE INDEX erasure_seq ON ent_notify.erasure USING btree (seq);

CREATE INDEX erasure_unswept ON ent_notify.erasure USING btree (sweep_at) WHERE (swept_at IS NULL);

CREATE INDEX evidence_message ON ent_notify.evidence USING btree (conversation_id, seq);

CREATE INDEX guardian_link_guardian ON ent_notify.guardian_link USING btree (guardian_id) INCLUDE (pupil_id, legal_level, restricted);

CREATE INDEX held_campaign_person ON ent_notify.held_campaign USING btree (person_id);

CREATE INDEX hold_standing ON ent_notify.hold USING btree (id) WHERE (lifted_at IS NULL);

CREATE INDEX homework_due ON ent_notify.homework USING btree (school_id, due, is_test) WHERE (withdrawn_at IS NULL);

CREATE INDEX homework_past ON ent_notify.homework USING btree (due);

CREATE INDEX homework_reminder_of ON ent_notify.homework_reminder USING gin (homework);

CREATE INDEX homework_reminder_past ON ent_notify.homework_reminder USING btree (expires_at);

CREATE INDEX lately_written_old ON ent_notify.lately_written USING btree (written_at);

CREATE INDEX lesson_base_day ON ent_notify.lesson USING btree (group_id, base_day);

CREATE INDEX lesson_now_day ON ent_notify.lesson USING btree (group_id, now_day);

CREATE INDEX lesson_past ON ent_notify.lesson USING btree (GREATEST(base_day, now_day));

CREATE INDEX membership_person ON ent_notify.membership USING btree (person_id) INCLUDE (group_id, valid_from, valid_until);

CREATE INDEX message_author ON ent_notify.message USING btree (author_id, posted_at) WHERE (recalled_at IS NULL);

CREATE INDEX message_change_message ON ent_notify.message_change USING btree (conversation_id, seq, id);

CREATE INDEX message_change_run ON ent_notify.message_change USING btree (run) WHERE (run IS NOT NULL);

CREATE INDEX message_draft_author ON ent_notify.message_draft USING btree (author_id, id);

CREATE INDEX message_draft_due ON ent_notify.message_draft USING btree (due_at) WHERE ((state = 1) AND (NOT held));

CREATE INDEX message_due_message ON ent_notify.message_due USING btree (conversation_id, seq);

CREATE INDEX message_due_next ON ent_notify.message_due USING btree (place) WHERE (NOT held);

CREATE UNIQUE INDEX moderation_case_message ON ent_notify.moderation_case USING btree (conversation_id, seq);

CREATE INDEX moderation_case_open ON ent_notify.moderation_case USING btree (id) WHERE (closed_at IS NULL);

CREATE INDEX moderation_case_person ON ent_notify.moderation_case USING btree (person_id);

CREATE INDEX notification_published ON ent_notify.notification USING btree (published_at) INCLUDE (feed_seq);

CREATE INDEX notification_root ON ent_notify.notification USING btree (root) WHERE (root IS NOT NULL);

CREATE INDEX notification_unrelayed ON ent_notify.notification USING btree (id) WHERE (feed_seq IS NULL);

CREATE INDEX notification_version ON ent_notify.notification USING btree (feed_seq) WHERE ((root IS NOT NULL) AND (withdraws IS NULL));

CREATE INDEX outcome_campaign ON ONLY ent_notify.outcome USING btree (campaign_id, state, reason);

CREATE INDEX outcome_first_campaign ON ent_notify.outcome_first USING btree (campaign_id, state, reason);

CREATE INDEX outcome_on_screen ON ONLY ent_notify.outcome USING btree (person_id) WHERE ((state = 1) AND (reason = 'on_screen'::text));

CREATE INDEX outcome_first_on_screen ON ent_notify.outcome_first USING btree (person_id) WHERE ((state = 1) AND (reason = 'on_screen'::text));

CREATE INDEX outcome_person ON ONLY ent_notify.outcome USING btree (person_id, campaign_id);

CREATE INDEX outcome_first_person ON ent_notify.outcome_first USING btree (person_id, campaign_id);

CREATE INDEX outcome_rest_campaign_id_state_reason_idx ON ent_notify.outcome_rest USING btree (campaign_id, state, reason);

CREATE INDEX outcome_rest_person_id_campaign_id_idx ON ent_notify.outcome_rest USING btree (person_id, campaign_id);

CREATE INDEX outcome_rest_person_id_idx ON ent_notify.outcome_rest USING btree (person_id) WHERE ((state = 1) AND (reason = 'on_screen'::text));

CREATE INDEX participant_muted ON ent_notify.participant USING btree (conversation_id, person_id) WHERE muted;

CREATE INDEX participant_person ON ent_notify.participant USING btree (person_id);

CREATE INDEX people_group_school ON ent_notify.people_group USING btree (school_id);

CREATE INDEX person_dropped ON ent_notify.person USING btree (email_dropped_at) WHERE (email_dropped_at IS NOT NULL);

CREATE INDEX person_hidden ON ent_notify.person USING btree (id) WHERE (hidden_at IS NOT NULL);

CREATE INDEX preference_refused ON ent_notify.preference USING btree (channel, category) INCLUDE (person_id) WHERE (NOT enabled);

CREATE INDEX presence_node ON ent_notify.presence USING btree (node);

CREATE INDEX recall_run_open ON ent_notify.recall_run USING btree (id) WHERE (ended_at IS NULL);

CREATE INDEX reminded_at ON ent_notify.reminded USING btree (at);

CREATE INDEX retention_run_open ON ent_notify.retention_run USING btree (id) WHERE (state = 'running'::text);

CREATE INDEX retraction_old ON ent_notify.retraction USING btree (retracted_at);

CREATE INDEX rights_request_open ON ent_notify.rights_request USING btree (deadline) WHERE (state = ANY (ARRAY['open'::text, 'held'::text]));

CREATE INDEX rights_request_person ON ent_notify.rights_request USING btree (person_id);

CREATE INDEX safety_audit_case ON ent_notify.safety_audit USING btree (case_id);

CREATE INDEX same_human_other ON ent_notify.same_human USING btree (other_id);

CREATE INDEX seen_old ON ent_notify.seen USING btree (noted_at);

CREATE INDEX stream_session_expiry ON ent_notify.stream_session USING btree (expires_at);

CREATE INDEX stream_session_person ON ent_notify.stream_session USING btree (person_id);

CREATE INDEX stream_ticket_expiry ON ent_notify.stream_ticket USING btree (expires_at);

CREATE INDEX stream_ticket_person ON ent_notify.stream_ticket USING btree (person_id);

CREATE INDEX timetable_day_look ON ent_notify.timetable_day USING btree (look_at) WHERE (look_at < 'infinity'::timestamp with time zone);

CREATE INDEX timetable_day_past ON ent_notify.timetable_day USING btree (day);

ALTER INDEX ent_notify.audit_pkey ATTACH PARTITION ent_notify.audit_rest_pkey;

ALTER INDEX ent_notify.audit_subject ATTACH PARTITION ent_notify.audit_rest_subject_noted_at_idx;

ALTER INDEX ent_notify.outcome_campaign ATTACH PARTITION ent_notify.outcome_first_campaign;

ALTER INDEX ent_notify.outcome_on_screen ATTACH PARTITION ent_notify.outcome_first_on_screen;

ALTER INDEX ent_notify.outcome_person ATTACH PARTITION ent_notify.outcome_first_person;

ALTER INDEX ent_notify.outcome_pkey ATTACH PARTITION ent_notify.outcome_first_pkey;

ALTER INDEX ent_notify.outcome_campaign ATTACH PARTITION ent_notify.outcome_rest_campaign_id_state_reason_idx;

ALTER INDEX ent_notify.outcome_person ATTACH PARTITION ent_notify.outcome_rest_person_id_campaign_id_idx;

ALTER INDEX ent_notify.outcome_on_screen ATTACH PARTITION ent_notify.outcome_rest_person_id_idx;

ALTER INDEX ent_notify.outcome_pkey ATTACH PARTITION ent_notify.outcome_rest_pkey;

CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON ent_notify.safety_audit FOR EACH STATEMENT EXECUTE FUNCTION ent_notify.refuse_audit_change();

CREATE TRIGGER attachment_gone AFTER DELETE ON ent_notify.attachment REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION ent_notify.give_room_back();

CREATE TRIGGER audit_stays BEFORE DELETE OR UPDATE ON ent_notify.audit FOR EACH ROW EXECUTE FUNCTION ent_notify.refuse_change();

CREATE TRIGGER device_opens_lane AFTER INSERT ON ent_notify.device REFERENCING NEW TABLE AS registered FOR EACH STATEMENT EXECUTE FUNCTION ent_notify.open_lanes();

CREATE TRIGGER guardian_added AFTER INSERT ON ent_notify.guardian_link REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION ent_notify.guardians_changed();

CREATE TRIGGER guardian_changed AFTER UPDATE ON ent_notify.guardian_link REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION ent_notify.guardians_changed();

CREATE TRIGGER guardian_removed AFTER DELETE ON ent_notify.guardian_link REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION ent_notify.guardians_changed();

CREATE TRIGGER homework_root BEFORE INSERT ON ent_notify.notification FOR EACH ROW WHEN ((new.type = ANY (ARRAY['HomeworkAssigned'::text, 'TestAnnounced'::text, 'HomeworkChanged'::text, 'HomeworkWithdrawn'::text]))) EXECUTE FUNCTION ent_notify.homework_root();

CREATE TRIGGER keep_held BEFORE DELETE ON ent_notify.message FOR EACH ROW EXECUTE FUNCTION ent_notify.keep_held();

CREATE TRIGGER membership_added AFTER INSERT ON ent_notify.membership REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION ent_notify.memberships_changed();

CREATE TRIGGER membership_changed AFTER UPDATE ON ent_notify.membership REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION ent_notify.memberships_changed();

CREATE TRIGGER membership_removed AFTER DELETE ON ent_notify.membership REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION ent_notify.memberships_changed();

CREATE TRIGGER message_text_changed AFTER UPDATE OF body, recalled_at ON ent_notify.message FOR EACH ROW WHEN (((old.body IS DISTINCT FROM new.body) OR (old.recalled_at IS DISTINCT FROM new.recalled_at))) EXECUTE FUNCTION ent_notify.text_changed();

CREATE TRIGGER note_acknowledged AFTER INSERT ON ent_notify.acknowledgement FOR EACH ROW WHEN ((pg_trigger_depth() = 0)) EXECUTE FUNCTION ent_notify.note_acknowledged();

CREATE TRIGGER note_homework AFTER INSERT ON ent_notify.notification FOR EACH ROW WHEN ((new.type = ANY (ARRAY['HomeworkAssigned'::text, 'TestAnnounced'::text, 'HomeworkChanged'::text, 'HomeworkWithdrawn'::text]))) EXECUTE FUNCTION ent_notify.note_homework();

CREATE TRIGGER note_moved BEFORE UPDATE ON ent_notify.conversation FOR EACH ROW WHEN ((old.moved = new.moved)) EXECUTE FUNCTION ent_notify.note_moved();

CREATE TRIGGER note_moved BEFORE UPDATE ON ent_notify.participant FOR EACH ROW WHEN (((old.moved = new.moved) AND (old.* IS DISTINCT FROM new.*))) EXECUTE FUNCTION ent_notify.note_moved();

CREATE TRIGGER note_retraction AFTER UPDATE OF feed_seq ON ent_notify.notification FOR EACH ROW WHEN (((new.root IS NOT NULL) AND (old.feed_seq IS NULL) AND (new.feed_seq IS NOT NULL))) EXECUTE FUNCTION ent_notify.note_retraction();

CREATE TRIGGER person_changed AFTER UPDATE ON ent_notify.person REFERENCING OLD TABLE AS before NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION ent_notify.people_changed();

CREATE TRIGGER person_mail_lane_insert BEFORE INSERT ON ent_notify.person FOR EACH ROW WHEN ((new.email IS NOT NULL)) EXECUTE FUNCTION ent_notify.set_mail_lane();

CREATE TRIGGER person_mail_lane_update BEFORE UPDATE OF email ON ent_notify.person FOR EACH ROW WHEN ((new.email IS DISTINCT FROM old.email)) EXECUTE FUNCTION ent_notify.set_mail_lane();

CREATE TRIGGER person_removed AFTER DELETE ON ent_notify.person REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION ent_notify.people_removed();

CREATE TRIGGER person_zones_insert AFTER INSERT ON ent_notify.person REFERENCING NEW TABLE AS placed FOR EACH STATEMENT EXECUTE FUNCTION ent_notify.note_zones();

CREATE TRIGGER person_zones_update AFTER UPDATE ON ent_notify.person REFERENCING NEW TABLE AS placed FOR EACH STATEMENT EXECUTE FUNCTION ent_notify.note_zones();

CREATE TRIGGER receipts_stay BEFORE DELETE OR UPDATE ON ent_notify.deletion_receipt FOR EACH ROW EXECUTE FUNCTION ent_notify.refuse_change();

CREATE CONSTRAINT TRIGGER rights_change_placed AFTER INSERT ON ent_notify.rights_change DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ent_notify.place_rights_change();

CREATE TRIGGER wakes_workers AFTER UPDATE OF planned_at, state ON ent_notify.campaign FOR EACH STATEMENT EXECUTE FUNCTION ent_notify.wake_workers();

CREATE CONSTRAINT TRIGGER wakes_workers AFTER INSERT ON ent_notify.message_due DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ent_notify.wake_workers();

CREATE CONSTRAINT TRIGGER wakes_workers AFTER INSERT ON ent_notify.notification DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ((new.feed_seq IS NULL)) EXECUTE FUNCTION ent_notify.wake_workers();

ALTER TABLE ONLY ent_notify.acknowledgement_given
    ADD CONSTRAINT acknowledgement_given_request_id_fkey FOREIGN KEY (request_id) REFERENCES ent_notify.acknowledgement_request(id) ON DELETE CASCADE;

ALTER TABLE ONLY ent_notify.acknowledgement
    ADD CONSTRAINT acknowledgement_notification_id_fkey FOREIGN KEY (notification_id) REFERENCES ent_notify.notification(id) ON DELETE CASCADE;

ALTER TABLE ONLY ent_notify.acknowledgement_request
    ADD CONSTRAINT acknowledgement_request_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES ent_notify.conversation(id) ON DELETE CASCADE;

ALTER TABLE ONLY ent_notify.acknowledgement_request
    ADD CONSTRAINT acknowledgement_request_notification_id_fkey FOREIGN KEY (notification_id) REFERENCES ent_notify.notification(id) ON DELETE CASCADE;

ALTER TABLE ONLY ent_notify.attachment
    ADD CONSTRAINT attachment_conversation_id_seq_fkey FOREIGN KEY (conversation_id, seq) REFERENCES ent_notify.message(conversation_id, seq) ON DELETE CASCADE;

ALTER TABLE ONLY ent_notify.attachment
    ADD CONSTRAINT attachment_digest_fkey FOREIGN KEY (digest) REFERENCES ent_notify.attachment_file(digest);

ALTER TABLE ONLY ent_notify.attachment
    ADD CONSTRAINT attachment_draft_id_fkey FOREIGN KEY (draft_id) REFERENCES ent_notify.message_draft(id) ON DELETE CASCADE;

ALTER TABLE ONLY ent_notify.chunk
    ADD CONSTRAINT chunk_lane_id_fkey FOREIGN KEY (lane_id) REFERENCES ent_notify.lane(id);

ALTER TABLE ONLY ent_notify.clearing
    ADD CONSTRAINT clearing_lane_id_fkey FOREIGN KEY (lane_id) REFERENCES ent_notify.lane(id);

ALTER TABLE ONLY ent_notify.clearing
    ADD CONSTRAINT clearing_person_id_fkey FOREIGN KEY (person_id) REFERENCES ent_notify.person(id) ON DELETE CASCADE;

ALTER TABLE ONLY ent_notify.contact_rules
    ADD CONSTRAINT contact_rules_school_id_fkey FOREIGN KEY (school_id) REFERENCES ent_notify.school(id);

ALTER TABLE ONLY ent_notify.conversation_key
    ADD CONSTRAINT conversation_key_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES ent_notify.conversation(id) ON DELETE CASCADE;

ALTER TABLE ONLY ent_notify.fair_share
    ADD CONSTRAINT fair_share_lane_id_fkey FOREIGN KEY (lane_id) REFERENCES ent_notify.lane(id);

ALTER TABLE ONLY ent_notify.homework_done
    ADD CONSTRAINT homework_done_homework_id_fkey FOREIGN KEY (homework_id) REFERENCES ent_notify.homework(id) ON DELETE CASCADE;

ALTER TABLE ONLY ent_notify.homework
    ADD CONSTRAINT homework_group_id_fkey FOREIGN KEY (group_id) REFERENCES ent_notify.people_group(id);

ALTER TABLE ONLY ent_notify.homework
    ADD CONSTRAINT homework_school_id_fkey FOREIGN KEY (school_id) REFERENCES ent_notify.school(id);

ALTER TABLE ONLY ent_notify.lesson
    ADD CONSTRAINT lesson_group_id_fkey FOREIGN KEY (group_id) REFERENCES ent_notify.people_group(id);

ALTER TABLE ONLY ent_notify.mail_domain
    ADD CONSTRAINT mail_domain_lane_id_fkey FOREIGN KEY (lane_id) REFERENCES ent_notify.lane(id);

ALTER TABLE ONLY ent_notify.message_change
    ADD CONSTRAINT message_change_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES ent_notify.conversation(id) ON DELETE CASCADE;

ALTER TABLE ONLY ent_notify.message
    ADD CONSTRAINT message_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES ent_notify.conversation(id) ON DELETE CASCADE;

ALTER TABLE ONLY ent_notify.message_draft
    ADD CONSTRAINT message_draft_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES ent_notify.conversation(id) ON DELETE CASCADE;

ALTER TABLE ONLY ent_notify.message_html
    ADD CONSTRAINT message_html_conversation_id_seq_fkey FOREIGN KEY (conversation_id, seq) REFERENCES ent_notify.message(conversation_id, seq) ON DELETE CASCADE;

ALTER TABLE ONLY ent_notify.message_words
    ADD CONSTRAINT message_words_conversation_id_seq_fkey FOREIGN KEY (conversation_id, seq) REFERENCES ent_notify.message(conversation_id, seq) ON DELETE CASCADE;

ALTER TABLE ONLY ent_notify.moderation_report
    ADD CONSTRAINT moderation_report_case_id_fkey FOREIGN KEY (case_id) REFERENCES ent_notify.moderation_case(id) ON DELETE CASCADE;

ALTER TABLE ONLY ent_notify.participant
    ADD CONSTRAINT participant_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES ent_notify.conversation(id) ON DELETE CASCADE;

ALTER TABLE ONLY ent_notify.people_group
    ADD CONSTRAINT people_group_school_id_fkey FOREIGN KEY (school_id) REFERENCES ent_notify.school(id);

ALTER TABLE ONLY ent_notify.reading_choice
    ADD CONSTRAINT reading_choice_school_id_fkey FOREIGN KEY (school_id) REFERENCES ent_notify.school(id);

ALTER TABLE ONLY ent_notify.school_calendar
    ADD CONSTRAINT school_calendar_school_id_fkey FOREIGN KEY (school_id) REFERENCES ent_notify.school(id);

ALTER TABLE ONLY ent_notify.timetable_day
    ADD CONSTRAINT timetable_day_group_id_fkey FOREIGN KEY (group_id) REFERENCES ent_notify.people_group(id);

REVOKE ALL ON FUNCTION ent_notify.publish(event jsonb, at timestamp with time zone) FROM PUBLIC;
