-- Lanes, rates, breakers, claiming and settling: the statements that several workers run at once.

set local search_path = ent_notify;

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

-- Leases the next chunk of a lane that has a limit, or that is being probed: urgent first, then fair turns. Where there is a limit no sends come with it: they are
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

-- Leases the next chunks of a lane, up to `most` of them: urgent first, then fair turns. A lane with a limit, or one that
-- is being probed after an outage, gives one at a time (claim_chunk). Where there is no limit they come with all the
-- sends they need.
create function claim_chunks(lane_wanted smallint, worker text, at timestamptz, lease interval, horizon interval,
                             slot interval, most int)
returns table (id bigint, campaign_id bigint, fence int, size int, start_cursor int, urgency smallint, is_retry boolean,
               starts_at timestamptz, slot_sends int, per_second double precision, wait_until timestamptz)
language plpgsql volatile rows 10 set search_path = ent_notify, pg_temp as $$
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

-- Settles one window of a leased chunk, in one statement's worth of work: moves the cursor, counts the successes,
-- keeps what is not plain success, renews the lease. False for a fence that is no longer held: the word is only kept in
-- mind, for the case that the campaign is stopped and nobody sends the window again (hear_late).
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

-- Settles windows of several chunks at once. What is plain (a first try, a campaign that runs, no receipt that came before)
-- goes together; the rest one by one as above. Answers the chunks whose fence was still held. Arrays in parallel: one
-- place a chunk, and after them one place a retry that was accepted, and one place an outcome.
create function settle_windows(chunks bigint[], fences int[], cursors int[], accepted_now int[], releases boolean[],
                               retried_chunks bigint[], retried_ok int[],
                               outcome_chunks bigint[], targets int[], people int[], states smallint[], reasons text[],
                               attempts smallint[], retries timestamptz[], at timestamptz, lease interval) returns bigint[]
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
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

-- ---------------------------------------------------------------- the look just before sending

-- The next windows of some mail chunks, each person with the reason why not to send, if there is one. `part` is the
-- place of the chunk in `chunks`. Nobody of a chunk whose lease is lost, or whose campaign is paused or stopped.
create function load_mail(chunks bigint[], fences int[], firsts int[], lasts int[], of_retries boolean[], at timestamptz)
returns table (part int, target int, attempt int, address text, language text, name text, children text[], withheld text)
language plpgsql stable rows 500 set search_path = ent_notify, pg_temp as $$
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

-- The next windows of some push chunks, as above. A push that takes another back goes to whom that one went: whether they
-- are still addressed, and the day's cap, do not matter. `on_screen` withholds for `grace` only, and once: its reader has a
-- page open to which it was given.
create function load_push(chunks bigint[], fences int[], firsts int[], lasts int[], of_retries boolean[], at timestamptz,
                          day_start timestamptz, daily_cap int, grace interval)
returns table (part int, target int, person_id int, attempt int, address text, language text, registered_at timestamptz,
               withheld text)
language plpgsql stable rows 500 set search_path = ent_notify, pg_temp as $$
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
