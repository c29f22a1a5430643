-- Receipts: what is learnt of a delivery after its window was sent. A bounce, a provider's late answer, a device's own
-- word. They move the same table as sending does; state 4 of an outcome is "accepted, and this is how we know".

set local search_path = ent_notify;

-- Takes one receipt. `source`: bounce, late, device; `new_state`: 1 (the retry that waits has this reason), 3 failed,
-- 4 accepted. Answers `moved`, `unchanged` (it says nothing new, or comes after better knowledge), or `unknown` (no such
-- delivery, or one that was never sent). The chunk's row is locked, so that its counts stay exact beside a sender's.
--
--            nothing, window not settled   accepted   retry          failed         suppressed   known by a receipt
-- bounce     failed                        failed     failed         unknown only   -            failed
-- late 4     accepted                      -          accepted       unknown only   -            -
-- late 3     failed                        -          unknown only   unknown only   -            -
-- late 1     -                             -          unknown only   -              -            -
-- device     accepted                      accepted   accepted       accepted       -            opened after shown
create function take_receipt(source text, campaign bigint, way text, told int, new_state smallint, new_reason text,
                             at timestamptz, out effect text, out lane_id smallint)
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
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

-- Drops are taken back by the time at which they were made.
create index person_dropped on person (email_dropped_at) where email_dropped_at is not null;
create index device_dropped on device (dropped_at) where dropped_at is not null;
