-- What phones that were offline are told: what was taken back, which conversations moved, which writes were applied.
-- Nothing here is written per person and notification: the rest is read from the feed, in its order.

set local search_path = ent_notify;

-- ---------------------------------------------------------------- taken back

-- Under which keys an entry that a phone may hold has changed or gone: a row for each key of its audience, written when
-- the version that follows it, or its recall, gets its own place in the feed (which orders these rows).
create table retraction (
    scope         smallint not null,
    ref           int not null,
    feed_seq      bigint not null,                 -- the place of the new version or of the recall
    notifications bigint[] not null,               -- the versions before it
    retracted_at  timestamptz not null,
    primary key (scope, ref, feed_seq)
);
create index retraction_old on retraction (retracted_at);

create function note_retraction() returns trigger
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
begin
    insert into retraction (scope, ref, feed_seq, notifications, retracted_at)
    select a.scope, a.ref, new.feed_seq, array_agg(distinct a.notification_id), new.published_at
    from notification v join audience a on a.notification_id = v.id and not a.excluded
    where (v.id = new.root or v.root = new.root) and v.withdraws is null and v.feed_seq < new.feed_seq
    group by a.scope, a.ref
    on conflict do nothing;
    return null;
end $$;
create trigger note_retraction after update of feed_seq on notification
for each row when (new.root is not null and old.feed_seq is null and new.feed_seq is not null)
execute function note_retraction();

-- ---------------------------------------------------------------- conversations that moved

-- The transaction that wrote a row last. Whoever has seen a snapshot whose oldest unfinished transaction was X has seen
-- what smaller ones wrote, and asks for `moved >= X`: late commits are not missed, and a few rows are told twice.
create function this_transaction() returns bigint
language sql volatile as $$ select pg_current_xact_id()::text::bigint $$;

alter table conversation add column moved bigint not null default 0;
alter table conversation alter column moved set default ent_notify.this_transaction();
alter table participant add column moved bigint not null default 0;
alter table participant alter column moved set default ent_notify.this_transaction();
alter table message add column moved bigint not null default 0;
alter table message alter column moved set default ent_notify.this_transaction();

create function note_moved() returns trigger
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
begin
    new.moved := this_transaction();
    return new;
end $$;
create trigger note_moved before update on conversation
for each row when (old.* is distinct from new.*) execute function note_moved();
create trigger note_moved before update on participant
for each row when (old.* is distinct from new.*) execute function note_moved();

-- ---------------------------------------------------------------- writes of phones

-- Writes that a repeat would double (messages), by the id that the phone gave them. Read marks need no row: a second one
-- changes nothing.
create table client_write (
    person_id   int not null,
    client_id   text not null check (char_length(client_id) between 1 and 64),
    digest      bytea not null,                    -- of what was asked: the same id with something else is refused
    answer      jsonb,                             -- null only inside the transaction that applies it
    written_at  timestamptz not null,
    primary key (person_id, client_id)
);
create index client_write_old on client_write (written_at);
