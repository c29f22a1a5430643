-- Work that has just appeared wakes the workers.
--
-- A hint and nothing more: a worker looks four times a second anyway. NOTIFY takes one lock of the whole server, from
-- just before its commit until that is on disk, so transactions that notify commit one after the other. Here one
-- transaction at a time may notify, and nobody waits for it: whoever finds another at it leaves it to that one, whose
-- hint has the worker look, and look again as long as it finds something.

set local search_path = ent_notify;

-- `set ent_notify.wake = off` keeps a session from it: a transaction that has notified cannot be prepared (two phases).
create function wake_workers() returns trigger
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
begin
    if current_setting('ent_notify.wake', true) is distinct from 'off'
       and pg_try_advisory_xact_lock(hashtextextended('ent_notify.wake', 0)) then
        perform pg_notify('ent_notify_work', '');
    end if;
    return null;
end $$;

-- What hosts insert in transactions of any length is said at their commit: the turn is taken for that moment alone.
create constraint trigger wakes_workers after insert on notification
    deferrable initially deferred for each row when (new.feed_seq is null) execute function wake_workers();
create constraint trigger wakes_workers after insert on message_due
    deferrable initially deferred for each row execute function wake_workers();

-- Planned, paused, resumed, to be planned again: one statement for many campaigns, in a transaction of ours.
create trigger wakes_workers after update of planned_at, state on campaign
    for each statement execute function wake_workers();

-- What has been read elsewhere is cleared from the phones and browsers that a push of it has reached.

-- Whose devices of a lane are to be looked at, and what had been read when they last were: the difference is cleared, so
-- each push is once, and a crash forgets one turn and no more.
create table clearing (
    person_id   int not null references person on delete cascade,
    lane_id     smallint not null references lane,
    due_at      timestamptz,                       -- null: nothing waits
    watermark   bigint not null default 0,
    above       bigint[] not null default '{}',
    primary key (person_id, lane_id)
) with (fillfactor = 80);
create index clearing_due on clearing (lane_id, due_at) where due_at is not null;

-- Notes that people have read something. The first of several times within `after` counts, so that nobody waits longer.
create function note_reading(people int[], at timestamptz, after interval) returns void
language sql volatile set search_path = ent_notify, pg_temp as $$
    insert into clearing (person_id, lane_id, due_at)
    select distinct d.person_id, l.id, at + after
    from device d join lane l on l.channel = 'push' and l.provider = d.provider and l.app = d.app
    where d.person_id = any (people) and d.dropped_at is null
    order by 1, 2
    on conflict (person_id, lane_id) do update set due_at = excluded.due_at where clearing.due_at is null
$$;

-- A reader's newest entries, those of the inbox's first page.
create function newest_entries(reader int, at timestamptz, most int) returns table (feed_seq bigint, notification_id bigint)
language sql stable as $$
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

-- How many entries of an inbox are not read, counted no further than `most`.
create function count_unread(reader int, at timestamptz, most int) returns int
language sql stable as $$
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

-- Takes people of a lane who are due; for each of their devices that a push has reached of something which they have read
-- since they were last looked at: the events' first versions, newest first, and how much they have not read (to 100).
-- A push may be on its way at this moment: then its reader is looked at once more `again` later.
create function take_clearings(wanted_lane smallint, at timestamptz, again interval, most int, entries int)
returns table (person_id int, device_id int, token text, registered_at timestamptz, roots bigint[], unread int)
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
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
