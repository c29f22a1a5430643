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
