-- Safety: who may not write as they like, freezes, how many people somebody writes to, reports with their evidence, what
-- moderators did, and taking back all that somebody wrote.

set local search_path = ent_notify;

-- ---------------------------------------------------------------- who may not write

-- Somebody who may not write as they like: 1 quarantined (writes nothing, nothing of theirs is told), 2 restricted
-- (writes to teachers and staff alone, one at a time) until an instant. ent_notify.model.safety.Restraint.
create table restraint (
    person_id   int primary key,
    kind        smallint not null check (kind in (1, 2)),
    since       timestamptz not null,
    until       timestamptz,
    done_by     text not null,
    reason      text not null
);

-- Where only some may write. A school is in it whose UAI begins with one of `prefixes` ('': all).
create table frozen_area (
    area        text primary key,                  -- project | academy:NAME | school:UAI
    prefixes    text[] not null,
    tier        smallint not null check (tier between 1 and 3),   -- 1 direction, 2 teachers and staff, 3 nobody writes
    functions   text[] not null,                   -- who the direction is
    since       timestamptz not null,
    done_by     text not null,
    reason      text not null
);

-- Whoever writes or announces holds this lock shared, to the end of the transaction; whoever freezes, quarantines or
-- lifts holds it alone. So nothing is written under a look that has been overtaken, and nothing stays held by mistake.
create function safety_lock(alone boolean) returns void
language plpgsql volatile as $$
begin
    if alone then
        perform pg_advisory_xact_lock(hashtextextended('ent_notify.safety', 0));
    else
        perform pg_advisory_xact_lock_shared(hashtextextended('ent_notify.safety', 0));
    end if;
end $$;

-- Why somebody may not write now: quarantined, restricted, frozen_1, frozen_2, frozen_3; null: they may. In a
-- conversation, or (wanted null) in a new one: `sole` is whom a direct one is to, `groups` are those that it is to.
-- A line to the pupil-life office (shape 7) is always open. Call it with the lock held.
create function why_not_write(author int, wanted bigint, sole int, groups int[], at timestamptz) returns text
language plpgsql stable set search_path = ent_notify, pg_temp as $$
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

-- Campaigns of a quarantined sender's messages that had not all left: paused until the release, or for good.
create table held_campaign (
    campaign_id bigint primary key,
    person_id   int not null
);
create index held_campaign_person on held_campaign (person_id);

-- Pauses what has yet to leave of what a sender wrote in the days that a message lives; answers how many campaigns.
create function hold_told(author int, who text, why text, at timestamptz) returns int
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
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

-- ---------------------------------------------------------------- how many people somebody writes to

-- Two limits of each sender, each one instant (GCRA): `tat` for people written to, `alarm` for what was refused.
create table sender_cells (
    person_id   int primary key,
    tat         timestamptz not null default '-infinity',
    alarm       timestamptz not null default '-infinity'
);

-- To whom somebody has written within a day: they are new no more. Scopes as in an audience.
create table lately_written (
    author_id   int not null,
    scope       smallint not null,
    ref         int not null,
    written_at  timestamptz not null,
    primary key (author_id, scope, ref)
);
create index lately_written_old on lately_written (written_at);

-- Counts who a message goes to: `most` people at most, of whom those that were not written to within a day take a cell
-- each, `burst` cells being filled again in `refill`. Answers taken, most or velocity (nothing was counted then). The
-- sender's row is locked, so that no two messages take the same cells.
create function take_recipients(author int, scopes smallint[], refs int[], most int, burst int, refill interval, at timestamptz)
returns text
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
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

-- Something of a sender's was refused; whether that is enough to stop them: more than `most` strikes, of which one is
-- forgotten every `most`-th of an hour.
create function strike(author int, strikes int, most int, at timestamptz) returns boolean
language sql volatile set search_path = ent_notify, pg_temp as $$
    insert into sender_cells as s (person_id, alarm) values (author, at + interval '1 hour' * strikes / most)
    on conflict (person_id) do update set alarm = greatest(s.alarm, at) + interval '1 hour' * strikes / most
    returning alarm > at + interval '1 hour'
$$;

-- ---------------------------------------------------------------- writing

-- When people were last added by name: whoever writes after that is looked at again.
alter table conversation add column peopled_at timestamptz;

-- What is held because its author may not write now; let go (and looked at again) when anything is lifted.
alter table message_due add column held boolean not null default false;
create index message_due_next on message_due (place) where not held;
alter table message_draft add column held boolean not null default false;
drop index message_draft_due;
create index message_draft_due on message_draft (due_at) where state = 1 and not held;

-- As before, for those who may write now: `said` is also what why_not_write answers. People who were added by name since
-- the last look are looked at.
create or replace function post_message(wanted bigint, author int, content text, at timestamptz, check_after timestamptz,
                                        checked boolean default false, answered int default null,
                                        out said text, out seq int)
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
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

-- ---------------------------------------------------------------- evidence

-- What a message was when it was reported, or taken back by others than its author.
create table evidence (
    id              bigint generated always as identity primary key,
    conversation_id bigint not null,
    seq             int not null,
    author_id       int not null,
    subject         text not null,
    body            text not null,
    earlier         jsonb not null,                -- before each edit: [{"body", "changed_at"}, ...]
    attachments     jsonb not null,                -- [{"name", "type", "size", "sha256"}, ...]; the host has the bytes
    posted_at       timestamptz not null,
    taken_at        timestamptz not null
);
create index evidence_message on evidence (conversation_id, seq);

create function take_evidence(conversations bigint[], seqs int[], at timestamptz) returns void
language sql volatile set search_path = ent_notify, pg_temp as $$
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

-- Messages that no retention may take away.
create table message_hold (
    conversation_id bigint not null,
    seq             int not null,
    case_id         bigint not null,
    placed_at       timestamptz not null,
    primary key (conversation_id, seq)
);

-- Conversations that a hold keeps: its own, those in which a held person takes part, and those of reported messages.
create or replace function held_conversations(at timestamptz) returns table (conversation_id bigint)
language sql stable as $$
    select h.conversation_id from ent_notify.standing_holds(at) h where h.conversation_id is not null
    union
    select p.conversation_id from ent_notify.standing_holds(at) h
    join ent_notify.participant p on p.person_id = h.person_id
    union
    select m.conversation_id from ent_notify.message_hold m
$$;

create function keep_held() returns trigger
language plpgsql as $$
begin
    if exists (select from ent_notify.message_hold h where h.conversation_id = old.conversation_id and h.seq = old.seq) then
        raise exception 'message % of conversation % was reported, and is kept until its case is dismissed',
            old.seq, old.conversation_id using errcode = 'EN004';
    end if;
    return old;
end $$;
create trigger keep_held before delete on message for each row execute function keep_held();

-- ---------------------------------------------------------------- cases

-- What moderators have to look at: 1 a message that was reported, 2 a sender whom the rules have stopped.
create table moderation_case (
    id              bigint generated always as identity primary key,
    kind            smallint not null,
    person_id       int not null,                  -- whom it is about
    conversation_id bigint,
    seq             int,
    schools         text[] not null,               -- whose moderators see it
    opened_at       timestamptz not null,
    closed_at       timestamptz,
    decision        text
);
create unique index moderation_case_message on moderation_case (conversation_id, seq);
create index moderation_case_open on moderation_case (id) where closed_at is null;

create table moderation_report (
    case_id     bigint not null references moderation_case on delete cascade,
    reporter_id int not null,
    reason      text not null,
    note        text not null,
    reported_at timestamptz not null,
    primary key (case_id, reporter_id)
);

-- Who did what, when and why; nothing of it is ever changed.
create table safety_audit (
    id          bigint generated always as identity primary key,
    done_at     timestamptz not null,
    done_by     text not null,
    act         text not null,
    about       text not null,                     -- a person, an area, a message
    case_id     bigint,
    schools     text[] not null,                   -- whose direction sees it
    reason      text not null
);
create index safety_audit_case on safety_audit (case_id);

create function refuse_audit_change() returns trigger
language plpgsql as $$
begin
    raise exception 'what was done is written down for good: % is only added to', tg_table_name using errcode = 'EN004';
end $$;
create trigger append_only before update or delete or truncate on safety_audit
for each statement execute function refuse_audit_change();

-- ---------------------------------------------------------------- taking back

create index message_author on message (author_id, posted_at) where recalled_at is null;
alter table message_change add column run bigint;
create index message_change_run on message_change (run) where run is not null;

-- Taking back all that somebody wrote, in batches, by whichever worker comes to it.
create table recall_run (
    id          bigint generated always as identity primary key,
    person_id   int not null,
    since       timestamptz not null,
    until       timestamptz not null,
    done_by     text not null,
    reason      text not null,
    recalled    int not null default 0,
    started_at  timestamptz not null,
    ended_at    timestamptz
);
create index recall_run_open on recall_run (id) where ended_at is null;

-- Takes messages back that others than their author do not want to be seen: text, earlier texts, the subject of what they
-- began, what waits to be announced, and what was; keeps evidence, and who had read them. Answers how many.
create function withdraw_messages(conversations bigint[], seqs int[], taken_by text, why text, of_run bigint, at timestamptz)
returns int
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
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

-- The next batch of a run; whether it goes on.
create function go_on_recalling(wanted bigint, most int, at timestamptz) returns boolean
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
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
