-- Who has read, and who has acknowledged: what schools let senders see, requests for acknowledgements and signatures, what
-- was given. And a cheaper post.

set local search_path = ent_notify;

-- ---------------------------------------------------------------- what senders see

-- What the project (school_id null) and schools say; what is null is as the project says, or by default.
create table reading_choice (
    school_id   int unique nulls not distinct references school,
    track       boolean,                           -- senders see who has read (by default they do not)
    names       boolean,                           -- who asks for acknowledgements sees names (by default they do)
    since       timestamptz not null,              -- when `track` last changed: what was read before stays unseen
    changed_by  text not null
);

alter table conversation add column schools int[];  -- of who opened it, when they did: their choices count
comment on column conversation.schools is 'null: opened before choices were kept; nobody sees who has read';

-- Since when the readers of a conversation of these schools are shown to senders; null: they are not. All must say so.
create function tracked_since(schools int[]) returns timestamptz
language sql stable as $$
    select case when bool_and(coalesce(s.track, p.track, false)) then max(greatest(s.since, p.since)) end
    from unnest(schools) x (id)
    left join ent_notify.reading_choice s on s.school_id = x.id
    left join ent_notify.reading_choice p on p.school_id is null
$$;

-- Whether who asks for acknowledgements in these schools sees who has given them.
create function names_shown(schools int[]) returns boolean
language sql stable as $$
    select coalesce(bool_and(coalesce(s.names, p.names, true)), true)
    from unnest(schools) x (id)
    left join ent_notify.reading_choice s on s.school_id = x.id
    left join ent_notify.reading_choice p on p.school_id is null
$$;

-- ---------------------------------------------------------------- what is asked and given

-- "Prenez connaissance", or "signez", of a notification or of a message. Whom it is for is looked up, never kept: whoever
-- was addressed when it was asked, and is still.
create table acknowledgement_request (
    id              bigint generated always as identity primary key,
    notification_id bigint unique references notification on delete cascade,
    conversation_id bigint references conversation on delete cascade,
    seq             int,
    kind            smallint not null check (kind in (1, 2)),       -- 1 acknowledgement, 2 signature
    quorum          smallint not null check (quorum in (1, 2, 3)),  -- 1 each person; of each child 2 one guardian, 3 all
    asked_by        int,                           -- who is told how it stands; null: the host alone
    asked_at        timestamptz not null,
    deadline        timestamptz,
    remind_every    interval,
    remind_at       timestamptz,                   -- the next reminder; null: there is none any more
    remind_round    int not null default 1,
    remind_after    int not null default 0,        -- in the round that has begun, people up to here are reminded
    unique (conversation_id, seq),
    check ((notification_id is null) = (conversation_id is not null)),
    check ((conversation_id is null) = (seq is null))
);
create index acknowledgement_request_remind on acknowledgement_request (remind_at) where remind_at is not null;

-- What somebody said of a text, for themselves (child_id 0) or for a child. Said of an earlier text it stays, and does not
-- count.
create table acknowledgement_given (
    request_id  bigint not null references acknowledgement_request on delete cascade,
    person_id   int not null,
    child_id    int not null,
    text_hash   bytea not null,
    given_at    timestamptz not null,
    primary key (request_id, person_id, child_id, text_hash)
);
create index acknowledgement_given_person on acknowledgement_given (person_id);

-- What is attached to a message, as lines of its text: a name and the SHA-256 of the bytes.
create function attached_text(conversation bigint, message_seq int) returns text
language sql stable as $$
    select coalesce(string_agg(E'\n' || a.name || ' ' || encode(a.digest, 'hex'), '' order by a.id), '')
    from ent_notify.attachment a where a.conversation_id = conversation and a.seq = message_seq
$$;

-- What is acknowledged, as text: a message under its subject, with what is attached; a notification's data. Null: it was taken back or replaced.
create function asked_text(request bigint) returns text
language sql stable as $$
    select case when r.notification_id is null
                then (select c.subject || E'\n\n' || m.body || ent_notify.attached_text(m.conversation_id, m.seq)
                      from ent_notify.message m join ent_notify.conversation c on c.id = m.conversation_id
                      where m.conversation_id = r.conversation_id and m.seq = r.seq and m.recalled_at is null)
                else (select n.data::text from ent_notify.notification n
                      where n.id = r.notification_id and n.superseded_by is null) end
    from ent_notify.acknowledgement_request r where r.id = request
$$;

create function text_hash(content text) returns bytea
language sql immutable strict as $$ select sha256(convert_to(content, 'UTF8')) $$;

-- Which audience keys a request is for.
create function asked_keys(request bigint) returns table (scope smallint, ref int)
language sql stable as $$
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

-- Who is asked: each person (child_id 0), or by quorum of guardians each child with each guardian (person_id null: the
-- child has none). Whoever was addressed when it was asked, and is at `at`.
create function asked_of(request bigint, at timestamptz) returns table (person_id int, child_id int)
language plpgsql stable set search_path = ent_notify, pg_temp as $$
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

-- The same for one reader, from their own keys.
create function asked_of_reader(request bigint, reader int, at timestamptz) returns table (child_id int)
language plpgsql stable set search_path = ent_notify, pg_temp as $$
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

-- Whom it still waits for: those of whom no acknowledgement of the present text counts.
create function asked_still(request bigint, at timestamptz) returns table (person_id int, child_id int)
language sql stable as $$
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

-- Somebody acknowledges, or signs: for themselves, or for those of `children` (null: all) for whom they are asked.
-- `said`: given, or why not: stranger (not asked), gone (taken back or replaced), changed (`seen`, the hash of what they
-- have read, is not that of the present text), unread (a signature says what was read). The first time counts.
create function give_acknowledgement(request bigint, reader int, children int[], seen bytea, at timestamptz,
                                     out said text, out first_at timestamptz)
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
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

-- Whoever takes note of a notification (by any client, also one that was offline) has acknowledged what it asks for. A
-- signature is more than that.
create function note_acknowledged() returns trigger
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
begin
    perform give_acknowledgement(r.id, new.person_id, null, null, new.acknowledged_at)
    from acknowledgement_request r where r.notification_id = new.notification_id and r.kind = 1;
    return null;
end $$;
create trigger note_acknowledged after insert on acknowledgement
for each row when (pg_trigger_depth() = 0) execute function note_acknowledged();

-- ---------------------------------------------------------------- posting

-- Whoever sets `moved` itself needs no trigger to do it.
drop trigger note_moved on conversation;
drop trigger note_moved on participant;
create trigger note_moved before update on conversation
for each row when (old.moved = new.moved) execute function note_moved();   -- (nothing updates one without a change)
create trigger note_moved before update on participant
for each row when (old.moved = new.moved and old.* is distinct from new.*) execute function note_moved();

-- As before; whoever has a row as a participant, as most have, has it changed, and not tried to be added.
create or replace function post_message(wanted bigint, author int, content text, at timestamptz, check_after timestamptz,
                                        checked boolean default false, answered int default null,
                                        out said text, out seq int)
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
declare
    c conversation;
    p participant;
begin
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
                           or p.checked_at <= (select max(r.changed_at) from contact_rules r)) then
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
