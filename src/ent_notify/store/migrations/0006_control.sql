-- Control of campaigns: pause, resume, cancel, recall, and versions of one event. Each function is one transaction's
-- worth of work, does nothing the second time, and writes down who did what, when and why.
-- Locks are taken in one order everywhere: the relay's, the campaign, its chunks.

set local search_path = ent_notify;

alter table event_type
    add column ends_after jsonb not null default '[]';   -- [["ends_at", seconds]...]: the first field present, plus so many
                                                    -- seconds, ends the event's life

alter table notification
    add column root bigint,                        -- the first version of this event; null: this one
    add column superseded_by bigint,               -- the version that has taken its place
    add column withdraws bigint,                   -- the notification that this one takes back from screens; such a one
                                                   -- is a push and nothing else: it is in no inbox
    add column withdrawn_type text;                -- its type before it was recalled: then its text is gone
create index notification_root on notification (root) where root is not null;
create index notification_version on notification (feed_seq) where root is not null and withdraws is null;

alter table campaign
    add column withdraws bigint,
    add column state smallint not null default 0,  -- 0 runs, 1 paused, 2 stopped for good
    add column stop_reason text;                   -- cancelled, recalled, superseded
drop index campaign_unplanned;
create index campaign_unplanned on campaign (feed_seq) where planned_at is null and state < 2;

-- (state 4 of a chunk: its campaign is paused)
alter table chunk
    add column stopped int not null default 0;     -- of `suppressed`: those after the cursor, never tried, which have no
                                                   -- row of their own; why is campaign.stop_reason

-- Who did what to a campaign.
create table campaign_action (
    id          bigint generated always as identity primary key,
    campaign_id bigint not null,
    action      text not null,                     -- pause, resume, cancel, recall, supersede
    done_by     text not null,
    reason      text not null,
    done_at     timestamptz not null
);
create index campaign_action_campaign on campaign_action (campaign_id, id);

-- Who had read a notification when it was recalled: person ids packed by bucket, ascending.
create table recalled_reader (
    notification_id bigint not null,
    bucket          int not null,
    people          int[] not null,
    primary key (notification_id, bucket)
);

-- ---------------------------------------------------------------- chunks of a stopped campaign

-- What a worker says of a window whose lease it has lost. It completes nothing: whoever has the chunk now sends the window
-- again, and tells of it. Only when the campaign is stopped before that is this the last word there will be.
create table late_word (
    chunk_id    bigint not null,
    target      int not null,
    state       smallint not null,                 -- as in outcome
    reason      text not null,
    primary key (chunk_id, target)
);

-- Ends chunks that nobody holds (the caller has locked them): what was never tried is suppressed without a row for
-- each, waiting retries get a row that says so. A retry whose answer never came may have arrived: it fails as unknown.
-- What was told late, and by nobody since, holds.
create function close_chunks(chunks bigint[], why text, at timestamptz) returns void
language sql volatile set search_path = ent_notify, pg_temp as $$
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

-- Takes what a worker says of a window of which it has lost the lease (arguments as settle_window's). Of a chunk that is
-- closed by a stop it is counted at once; of any other it is kept until that chunk is settled again, or closed. Answers
-- whether it was counted.
create function hear_late(chunk_told bigint, fence_held int, new_cursor int, retried_ok int[], told int[], states smallint[],
                          reasons text[], at timestamptz) returns boolean
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
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

-- Makes ready what is due: pauses and retries that ended, leases that ran out. Of a campaign that is paused nothing
-- becomes ready, of a stopped one it ends.
create function promote(at timestamptz, most int) returns int
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
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

-- ---------------------------------------------------------------- what an operator does

-- A campaign's row, locked. One that waits for the relay is relayed first. EN003 when there is none.
create function lock_campaign(wanted bigint) returns campaign
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
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

create function note_action(campaign bigint, what text, who text, why text, at timestamptz) returns void
language sql volatile set search_path = ent_notify, pg_temp as $$
    insert into campaign_action (campaign_id, action, done_by, reason, done_at) values (campaign, what, who, why, at)
$$;

-- Deliveries of a campaign that workers hold at this moment.
create function in_hand(campaign bigint) returns int
language sql stable set search_path = ent_notify, pg_temp as $$
    select coalesce(sum(size - accepted - suppressed - failed), 0)::int from chunk where campaign_id = campaign and state = 2
$$;

-- Lets nothing more be claimed. Answers whether anything changed.
create function pause_campaign(wanted bigint, who text, why text, at timestamptz) returns boolean
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
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

-- Lets a paused campaign go on; what is not urgent waits for `hold`, the end of the readers' pause. Retries keep their hour.
create function resume_campaign(wanted bigint, who text, why text, at timestamptz, hold timestamptz) returns boolean
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
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

-- Stops a campaign for good. What a worker holds ends with its window: settle_window or promote closes it.
create function stop_campaign(wanted bigint, word text, what text, who text, why text, at timestamptz) returns boolean
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
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

-- Takes a notification back, with every earlier version: stops it, keeps who had read it, blanks its data (its readers
-- find a tombstone), and opens a campaign that replaces the pushes that were shown. Answers that campaign, or null when
-- it had been recalled before.
create function recall_campaign(wanted bigint, who text, why text, at timestamptz) returns bigint
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
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

-- A window of a stopped campaign was counted late: if the event was recalled, who was reached is looked at once more.
create function withdraw_again(stopped_campaign bigint) returns void
language sql volatile set search_path = ent_notify, pg_temp as $$
    update campaign k set planned_at = null
    from notification n join notification w on w.root = coalesce(n.root, n.id) and w.withdraws is not null
    where n.id = stopped_campaign and k.notification_id = w.id and k.state < 2 and k.planned_at is not null
$$;

-- The devices on which an event may be seen: a push of any of its versions was accepted (or its answer never came), or
-- its person was mailed.
create function reached_devices(first bigint) returns table (device_id int)
language sql stable as $$
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

-- ---------------------------------------------------------------- forecast

-- What an event of a type would be planned into for an audience, as things stand at `at`: sends for each lane and time
-- zone of their readers. The row without a lane counts the people. `expr` null: the type's natural audience, filled
-- from `body`. EN001 and EN002 as publish.
create function forecast_sends(kind_name text, expr jsonb, body jsonb, at timestamptz)
returns table (lane_id smallint, timezone text, sends int)
language plpgsql stable set search_path = ent_notify, pg_temp set plan_cache_mode = force_custom_plan as $$
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
