-- Who may listen: stream sessions, and what says at once that somebody's rights have changed.

set local search_path = ent_notify;

-- ---------------------------------------------------------------- stream sessions

create table stream_session (
    id          bigint generated always as identity primary key,
    digest      bytea not null unique,             -- sha256 of the secret; the secret itself is never stored
    person_id   int not null,
    tickets     bytea[] not null,                  -- digests of the last 16 tickets that it was opened with: what a page
                                                   -- that connects again still has in its address
    opened_at   timestamptz not null,
    expires_at  timestamptz not null
);
create index stream_session_person on stream_session (person_id);
create index stream_session_expiry on stream_session (expires_at);
create index stream_ticket_expiry on stream_ticket (expires_at);
create index stream_ticket_person on stream_ticket (person_id);

-- ---------------------------------------------------------------- changes of rights

-- One row a transaction, whatever it changes; its place is given as the last act of the transaction, so that a cursor
-- never skips one that committed late, and a long import holds up nobody.
create table rights_change (
    xact        xid8 primary key,
    seq         bigint unique,
    people      int[]                              -- whose keys or sessions may have changed; null: anybody's
);
create table rights_head (
    only_row    boolean primary key default true check (only_row),
    last_seq    bigint not null
);
insert into rights_head (last_seq) values (0);

-- Notes that the rights of `changed` may have changed in this transaction; null stands for everybody, and so do more
-- than 1000 people.
create function note_rights_changed(changed int[]) returns void
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
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

-- At commit: the place, one hint, and an end to what every reader has long seen (or will be told to look at everybody).
create function place_rights_change() returns trigger
language plpgsql set search_path = ent_notify, pg_temp as $$
declare
    place bigint;
begin
    update rights_head set last_seq = last_seq + 1 returning last_seq into place;
    update rights_change set seq = place where xact = new.xact;
    delete from rights_change where seq <= place - 1000;
    perform pg_notify('ent_notify_feed', '');
    return null;
end $$;
create constraint trigger rights_change_placed after insert on rights_change
deferrable initially deferred for each row execute function place_rights_change();

-- More than 1000 changed rows are not looked at one by one: everybody's rights are then read again, spread over time.
create function memberships_changed() returns trigger
language plpgsql set search_path = ent_notify, pg_temp as $$
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
create trigger membership_added after insert on membership referencing new table as changed
for each statement execute function memberships_changed();
create trigger membership_changed after update on membership referencing new table as changed
for each statement execute function memberships_changed();
create trigger membership_removed after delete on membership referencing old table as changed
for each statement execute function memberships_changed();

create function guardians_changed() returns trigger
language plpgsql set search_path = ent_notify, pg_temp as $$
begin
    perform note_rights_changed(case when count(*) <= 1000 then (
        select coalesce(array_agg(distinct guardian_id), '{}') from changed
    ) end) from (select from changed limit 1001) bounded;
    return null;
end $$;
create trigger guardian_added after insert on guardian_link referencing new table as changed
for each statement execute function guardians_changed();
create trigger guardian_changed after update on guardian_link referencing new table as changed
for each statement execute function guardians_changed();
create trigger guardian_removed after delete on guardian_link referencing old table as changed
for each statement execute function guardians_changed();

create function people_changed() returns trigger
language plpgsql set search_path = ent_notify, pg_temp as $$
begin
    perform note_rights_changed(case when count(*) <= 1000 then (
        select coalesce(array_agg(n.id), '{}') from changed n join before o on o.id = n.id
        where (n.hidden_at is null) <> (o.hidden_at is null) or n.profile <> o.profile
    ) end) from (select from changed limit 1001) bounded;
    return null;
end $$;
create trigger person_changed after update on person referencing old table as before new table as changed
for each statement execute function people_changed();

create function people_removed() returns trigger
language plpgsql set search_path = ent_notify, pg_temp as $$
begin
    perform note_rights_changed(case when count(*) <= 1000 then (
        select coalesce(array_agg(id), '{}') from changed
    ) end) from (select from changed limit 1001) bounded;
    return null;
end $$;
create trigger person_removed after delete on person referencing old table as changed
for each statement execute function people_removed();

-- ---------------------------------------------------------------- letting in

-- Lets many readers in at once: a fresh ticket opens a session, or goes on with the one that its reader has already; a
-- session alone, or with a ticket that it was opened with, is good until its end. Answers a row for each request let in,
-- by its place among the requests.
create function enter_streams(asked_tickets bytea[], asked_sessions bytea[], new_digests bytea[], at timestamptz, life interval)
returns table (place bigint, session_id bigint, person_id int, is_new boolean)
language sql volatile set search_path = ent_notify, pg_temp as $$
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

-- Ends sessions and tickets, of a person or one session alone; how many sessions. The gateways cut their streams.
create function revoke_streams(who int, one bigint default null) returns int
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
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

-- ---------------------------------------------------------------- what was missed

-- A reader's next entries after a place in the feed, oldest first: those of their inbox, and the versions before them.
create function missed(reader int, after_seq bigint, most int, at timestamptz)
returns table (feed_seq bigint, notification_id bigint)
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
