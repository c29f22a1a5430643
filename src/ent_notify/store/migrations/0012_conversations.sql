-- Conversations: shapes, members by key, what each reader keeps of one, what waits to be announced, drafts, and who may
-- write to whom.

set local search_path = ent_notify;

-- ---------------------------------------------------------------- who may write to whom

-- What the project (school_id null) and each school say: ent_notify.policy.contact_rules.
create table contact_rules (
    school_id   int unique nulls not distinct references school,
    data        jsonb not null,
    changed_at  timestamptz not null,
    changed_by  text not null
);

-- Somebody wants no messages of somebody else.
create table contact_block (
    person_id   int not null,
    blocked_id  int not null,
    blocked_at  timestamptz not null,
    primary key (person_id, blocked_id)
);

create index contact_block_blocked on contact_block (blocked_id) include (person_id);

-- Text to search in: without case and accents.
create function plain(text) returns text
language sql immutable parallel safe strict
return lower(regexp_replace(normalize($1, NFD), '[\u0300-\u036f]', '', 'g'));

-- The groups somebody has to do with: their own, and their children's.
create function near_groups(who int, at timestamptz) returns table (group_id int, kind smallint, school_id int)
language sql stable as $$
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

-- What somebody has to do with each of some people: `shared` {"UAI": [relation, ...]}, `guardian`, and every school of
-- either. Whoever has left is in no answer.
create function contact_facts(writer int, people int[], at timestamptz)
returns table (person_id int, external_id text, profile smallint, function text, shared jsonb, guardian boolean, schools text[])
language sql stable as $$
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

-- ---------------------------------------------------------------- shapes

alter table conversation
    add column shape smallint not null default 2,      -- ent_notify.model.conversations.Shape
    add column replies smallint not null default 2,    -- 0 nobody may answer, 1 the opener alone gets answers, 2 everybody
    add column late_sees smallint not null default 0,  -- a late joiner: 0 from joining on, 1 everything
    add column keyed boolean not null default false,   -- members by key, too
    add column about_id int,                           -- the pupil that it is about
    add column pair int[],                             -- of a direct one: the two, in order
    add column language text,
    add column last_at timestamptz,
    add column closed_at timestamptz,
    add column closed_by int;
update conversation c set last_at = coalesce((select max(posted_at) from message m where m.conversation_id = c.id), c.started_at);
alter table conversation alter column last_at set not null, alter column last_at set default now();   -- (of released code)
create unique index conversation_pair on conversation (pair) where pair is not null;

-- Whose group's members take part, as long as they are in it: no row a member. Scopes as in audience: 1 members of a
-- group, 2 guardians of its members, 4 guardians of a pupil.
create table conversation_key (
    conversation_id bigint not null references conversation on delete cascade,
    scope           smallint not null check (scope in (1, 2, 4)),
    ref             int not null,
    joinable        boolean not null default false, -- whoever holds it may join; until then they take no part
    primary key (conversation_id, scope, ref)
);
create index conversation_key_reader on conversation_key (scope, ref, conversation_id);

-- What somebody keeps of a conversation. Of who takes part by a key there is a row only once they keep something.
alter table participant
    add column member boolean not null default true,   -- takes part by name; else by a key
    add column joined boolean not null default false,  -- has joined under a key, and takes part while they hold it
    add column copy smallint not null default 0,       -- 0 to, 1 copy, 2 blind copy
    add column first_seq int not null default 1,       -- sees from here
    add column until_seq int,                          -- to here: has left, or got a blind copy
    add column wrote boolean not null default false,   -- has written in it
    add column checked_at timestamptz,                 -- when it was last looked at whether they may write here
    add column read_at timestamptz,                    -- when read_seq last grew
    add column cleared_seq int not null default 0,     -- has deleted everything up to here, for themselves
    add column gone int[] not null default '{}',       -- and these messages
    add column archived_at timestamptz,
    add column favourite boolean not null default false,
    add column muted boolean not null default false,
    add column labels text[] not null default '{}';
update participant p set wrote = true from message m where m.conversation_id = p.conversation_id and m.author_id = p.person_id;
create index participant_muted on participant (conversation_id, person_id) where muted;

alter table message
    add column answers int,                            -- the seq that it answers
    add column edited_at timestamptz,
    add column recalled_at timestamptz,
    add column recalled_by int,
    drop constraint message_body_check,
    add constraint message_body_check check (char_length(body) <= 20000 and (body <> '' or recalled_at is not null));

-- What a message was before: an edit keeps the earlier text for moderators, a recall keeps none, and who had read it.
create table message_change (
    id              bigint generated always as identity primary key,
    conversation_id bigint not null references conversation on delete cascade,
    seq             int not null,
    kind            smallint not null,                 -- 1 edit, 2 recall
    body            text,                              -- as it was; null once it is recalled
    changed_by      int not null,
    changed_at      timestamptz not null,
    read_by         int[],                             -- of a recall
    moved           bigint not null default this_transaction()
);
create index message_change_message on message_change (conversation_id, seq, id);

-- Messages that the worker has yet to announce: few at any time.
create table message_due (
    place           bigint generated always as identity primary key,
    conversation_id bigint not null,
    seq             int not null
);

-- Drafts, and messages to be sent at a local time: a date and an hour somewhere, which `due_at` is the present reading of.
create table message_draft (
    id          bigint generated always as identity primary key,
    author_id   int not null,
    conversation_id bigint references conversation on delete cascade,   -- null: it opens one
    content     jsonb not null,
    state       smallint not null default 0,           -- 0 draft, 1 to be sent, 2 sent, 3 refused
    send_on     date,
    send_time   time,
    send_zone   text,
    due_at      timestamptz,
    refusal     text,
    sent_to     bigint,
    sent_seq    int,
    updated_at  timestamptz not null
);
create index message_draft_author on message_draft (author_id, id);
create index message_draft_due on message_draft (due_at) where state = 1;

-- ---------------------------------------------------------------- who takes part

-- How some conversations are to a reader: what they see (first_seq to last_seq), how far they have read, and whether they
-- take part now (else they see what was before they left). Nothing for a stranger.
create function parts(reader int, wanted bigint[], at timestamptz)
returns table (conversation_id bigint, first_seq int, last_seq int, read_seq int, active boolean)
language sql stable as $$
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

-- Every conversation of a reader, by id alone.
create function conversations_of(reader int, at timestamptz) returns table (conversation_id bigint)
language sql stable as $$
    select p.conversation_id from ent_notify.participant p where p.person_id = reader
    union
    select y.conversation_id
    from ent_notify.reader_keys(reader, at) k
    join ent_notify.conversation_key y on y.scope = k.scope and y.ref = k.ref and not y.joinable
    where k.scope in (1, 2, 4) and k.until > at
$$;

-- ---------------------------------------------------------------- writing

-- Adds a message, under the conversation's lock: the order of commits is the order of the conversation, without gaps.
-- `said`: posted, or why not: stranger, left, closed, no_replies, blocked, check (nobody has looked lately whether the
-- author may write here: look, and call again with `checked`). `check_after`: a look before that is too old.
create function post_message(wanted bigint, author int, content text, at timestamptz, check_after timestamptz,
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
        update conversation set last_seq = last_seq + 1, last_at = greatest(last_at, at) where id = wanted
        returning last_seq, last_at into seq, at;
        insert into message (conversation_id, seq, author_id, body, posted_at, answers)
        values (wanted, seq, author, content, at, answered);
        insert into message_due (conversation_id, seq) values (wanted, seq);
        insert into participant as k (conversation_id, person_id, member, read_seq, wrote, checked_at, read_at)
        values (wanted, author, false, post_message.seq, true, at, at)
        on conflict (conversation_id, person_id) do update
        set read_seq = excluded.read_seq, wrote = true, read_at = at,
            checked_at = case when checked then at else k.checked_at end;
    end if;
end $$;

-- Publishes what tells of a message; answers why not when it cannot be, so that one message holds up no other.
create function announce_message(event jsonb, at timestamptz) returns text
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
begin
    perform publish(event, at);
    return null;
exception when sqlstate 'EN001' or sqlstate 'EN002' or sqlstate 'EN005' then
    return sqlerrm;
end $$;
