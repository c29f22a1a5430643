-- Forgetting on time, and proving it: what is due, holds, rights, erasure, receipts, the trail of who looked, restores.

set local search_path = ent_notify;

-- ---------------------------------------------------------------- partitions

-- One row an exception of a delivery: the largest detail there is. Its key begins with the chunk's number, which grows with
-- time, so ranges of it are periods, and a period is dropped whole. What there was becomes the first range, as it lies.
alter table outcome rename to outcome_first;
alter index outcome_pkey rename to outcome_first_pkey;
alter index outcome_campaign rename to outcome_first_campaign;
alter index outcome_person rename to outcome_first_person;
alter index outcome_on_screen rename to outcome_first_on_screen;
create table outcome (
    chunk_id    bigint not null,
    target      int not null,
    campaign_id bigint not null,
    person_id   int not null,
    state       smallint not null,                 -- 1 retry, 2 suppressed, 3 failed, 4 accepted, as a receipt says
    reason      text not null,
    attempts    smallint not null,
    retry_at    timestamptz,
    noted_at    timestamptz not null,
    primary key (chunk_id, target)
) partition by range (chunk_id);
create index outcome_campaign on outcome (campaign_id, state, reason);
create index outcome_person on outcome (person_id, campaign_id);
create index outcome_on_screen on outcome (person_id) where state = 1 and reason = 'on_screen';
do $$
declare
    head bigint := (select case when is_called then last_value else 0 end from chunk_id_seq);
begin
    execute format('alter table outcome attach partition outcome_first for values from (0) to (%s)', head + 100000);
end $$;
create table outcome_rest partition of outcome default;   -- what comes when nobody has made room in time

-- The ranges of a table's partitions: [lower, upper), the default one without bounds.
create function partitions_of(parent regclass) returns table (name text, lower bigint, upper bigint)
language sql stable as $$
    select c.relname::text, (regexp_match(b.bounds, 'FROM \(''?(\d+)''?\)'))[1]::bigint,
           (regexp_match(b.bounds, 'TO \(''?(\d+)''?\)'))[1]::bigint
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    cross join lateral (select pg_get_expr(c.relpartbound, c.oid) as bounds) b
    where i.inhparent = parent
$$;

-- Makes room for the next numbers of chunks: a range is about as wide as a day of them, and two days lie ahead. Answers the
-- name of what was made, if anything was.
create function make_room(a_day bigint) returns text
language plpgsql volatile set search_path = ent_notify, pg_temp set lock_timeout = '100ms' as $$
declare
    head bigint := (select last_value from chunk_id_seq);
    upto bigint := (select coalesce(max(p.upper), 0) from partitions_of('outcome') p);
    width bigint := greatest(a_day, 10000);
    made text;
begin
    if upto > head + 2 * width then
        return null;
    end if;
    if upto <= head then
        upto := greatest(head, (select coalesce(max(chunk_id), 0) from outcome_rest)) + 1;
    end if;
    made := 'outcome_' || upto;
    execute format('create table %I (like outcome including all)', made);
    execute format('alter table outcome attach partition %I for values from (%s) to (%s)', made, upto, upto + width);
    return made;
end $$;

-- What a campaign's exceptions were, in numbers, once their rows are gone: its account goes on adding up.
create table outcome_total (
    campaign_id bigint not null,
    lane_id     smallint not null,
    state       smallint not null,
    reason      text not null,
    n           bigint not null,
    primary key (campaign_id, lane_id, state, reason)
);
alter table campaign add column detail smallint not null default 0;   -- who got it: 0 known, 1 counted, 2 gone
create index campaign_counted on campaign (notification_id) where detail = 1;

-- ---------------------------------------------------------------- holds

-- What must be kept though its time has come: a person and all they wrote, a message, a conversation, a notification. One
-- person asks and another sets it; one asks to lift it and another does. While it is asked for, it holds for a week.
create table hold (
    id              bigint generated always as identity primary key,
    person_id       int,
    conversation_id bigint,
    seq             int,
    notification_id bigint,
    reason          text not null,
    reference       text not null default '',
    asked_by        text not null,
    asked_at        timestamptz not null,
    set_by          text check (set_by <> asked_by),
    set_at          timestamptz,
    review_at       timestamptz not null,
    lift_asked_by   text,
    lift_asked_at   timestamptz,
    lifted_by       text check (lifted_by <> lift_asked_by),
    lifted_at       timestamptz,
    check (num_nonnulls(person_id, conversation_id, notification_id) = 1 and (seq is null or conversation_id is not null))
);
create index hold_standing on hold (id) where lifted_at is null;

create function standing_holds(at timestamptz) returns setof hold
language sql stable as $$
    select * from ent_notify.hold h
    where h.lifted_at is null and (h.set_at is not null or h.asked_at > at - interval '7 days')
$$;

-- Conversations that a hold keeps: its own, or those in which a held person takes part.
create function held_conversations(at timestamptz) returns table (conversation_id bigint)
language sql stable as $$
    select h.conversation_id from ent_notify.standing_holds(at) h where h.conversation_id is not null
    union
    select p.conversation_id from ent_notify.standing_holds(at) h
    join ent_notify.participant p on p.person_id = h.person_id
$$;

-- Notifications that a hold keeps: its own with its other versions, and those to a held person alone.
create function held_notifications(at timestamptz) returns table (notification_id bigint)
language sql stable as $$
    select v.id from ent_notify.standing_holds(at) h
    join ent_notify.notification n on n.id = h.notification_id
    join ent_notify.notification v on v.id in (n.id, n.root)
    union
    select a.notification_id from ent_notify.standing_holds(at) h
    join ent_notify.audience a on a.scope in (3, 4) and a.ref = h.person_id
$$;

-- People whom a hold keeps: its own, and those who take part or wrote in what it keeps.
create function held_people(at timestamptz) returns table (person_id int)
language sql stable as $$
    select h.person_id from ent_notify.standing_holds(at) h where h.person_id is not null
    union
    select p.person_id from ent_notify.held_conversations(at) c
    join ent_notify.participant p on p.conversation_id = c.conversation_id
    union
    select m.author_id from ent_notify.held_conversations(at) c
    join ent_notify.message m on m.conversation_id = c.conversation_id
    union
    select a.ref from ent_notify.held_notifications(at) n
    join ent_notify.audience a on a.notification_id = n.notification_id and a.scope in (3, 4)
$$;

-- ---------------------------------------------------------------- receipts of deletions

-- A chain: each receipt's digest is of the one before and its own text. It says how many rows of which tables went, when
-- and why, and of nobody.
create table deletion_receipt (
    seq         bigint primary key,
    body        text not null,
    digest      bytea not null
);

create function append_receipt(what text, cause text, rows jsonb, at timestamptz) returns bigint
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
declare
    last deletion_receipt;
    text_of text;
begin
    perform pg_advisory_xact_lock(hashtextextended('ent_notify.receipts', 0));
    select * into last from deletion_receipt order by seq desc limit 1;
    text_of := jsonb_build_object('seq', coalesce(last.seq, 0) + 1, 'at', to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                                  'what', what, 'cause', cause, 'rows', rows)::text;
    insert into deletion_receipt (seq, body, digest)
    values (coalesce(last.seq, 0) + 1, text_of, sha256(coalesce(last.digest, ''::bytea) || convert_to(text_of, 'UTF8')));
    return coalesce(last.seq, 0) + 1;
end $$;

-- ---------------------------------------------------------------- rights and erasures

-- What somebody has asked for under the GDPR. The text of an answer is not kept, nor is the proof itself: a word for it is.
create table rights_request (
    id          bigint generated always as identity primary key,
    person_id   int not null,
    kind        text not null check (kind in ('export', 'rectify', 'restrict', 'object', 'erase')),
    actor       text not null,                     -- who asks, by external id
    capacity    text not null,                     -- self, guardian, or officer
    proof       text not null,                     -- how it was made sure of
    received_at timestamptz not null,
    deadline    timestamptz not null,
    state       text not null default 'open' check (state in ('open', 'held', 'done', 'refused')),
    note        text not null default '',
    closed_at   timestamptz
);
create index rights_request_open on rights_request (deadline) where state in ('open', 'held');
create index rights_request_person on rights_request (person_id);

-- Whose data nothing is done with but keeping: nothing is sent to them.
alter table person add column restricted_at timestamptz;

-- Who was erased, by internal id and a digest that only this database can make: to be done again on a restored backup.
create table erasure (
    person_id   int primary key,
    digest      bytea not null,
    way         smallint not null,                 -- their messages: 1 erased, 2 without a name, 3 kept
    cause       text not null,
    erased_at   timestamptz not null,
    sweep_at    timestamptz not null,              -- looked for once more then: a send may have been under way
    devices     int[] not null default '{}',
    swept_at    timestamptz
);
create index erasure_unswept on erasure (sweep_at) where swept_at is null;

-- Which database this is. `place` changes when it is restored from a dump; `salt` makes digests.
create table instance (
    only_row    boolean primary key default true check (only_row),
    salt        bytea not null,
    place       text
);
insert into instance (salt) values (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

create function here() returns text
language sql stable as $$
    select (select system_identifier from pg_control_system())::text || ':'
        || (select oid from pg_database where datname = current_database())::text
$$;
create function digest_of(who int, external_id text) returns bytea
language sql stable as $$
    select sha256(salt || convert_to(who || ':' || external_id, 'UTF8')) from ent_notify.instance
$$;

-- ---------------------------------------------------------------- who looked

-- Who read, exported, moderated or overrode: pseudonyms, never changed, a month to a partition.
create table audit (
    id          bigint generated always as identity,
    noted_at    timestamptz not null,
    actor       text not null,                     -- a keyed pseudonym
    capacity    text not null,
    action      text not null,
    subject     text not null default '',          -- a keyed pseudonym
    detail      text not null default '',
    primary key (noted_at, id)
) partition by range (noted_at);
create index audit_subject on audit (subject, noted_at);
create table audit_rest partition of audit default;

create function refuse_change() returns trigger
language plpgsql set search_path = ent_notify, pg_temp as $$
begin
    if coalesce(current_setting('ent_notify.forgetting', true), '') <> 'on' then
        raise exception '% is only added to', tg_table_name using errcode = 'EN004';
    end if;
    return coalesce(new, old);
end $$;
create trigger audit_stays before update or delete on audit for each row execute function refuse_change();
create trigger receipts_stay before update or delete on deletion_receipt for each row execute function refuse_change();

-- ---------------------------------------------------------------- runs of retention

create table retention_run (
    id          bigint generated always as identity primary key,
    night       date unique,                       -- of the worker; null: by hand
    planned_at  timestamptz not null,
    lines       jsonb not null,
    line        int not null default 0,            -- under way
    removed     jsonb not null default '{}',       -- rows so far, by table
    state       text not null check (state in ('running', 'asks', 'done', 'refused')),
    confirmed_by text,
    done_at     timestamptz
);
create index retention_run_open on retention_run (id) where state = 'running';

-- Looked for by erasure and retention alone.
create index audience_excluded on audience (scope, ref) where excluded;
create index conversation_about on conversation (about_id) where about_id is not null;
create index conversation_old on conversation (started_at);

-- Adds the numbers of one account to another: {"message": 3} + {"message": 2, "device": 1}.
create function add_counts(a jsonb, b jsonb) returns jsonb
language sql immutable as $$
    select coalesce(jsonb_object_agg(k.key, k.n), '{}')
    from (
        select key, sum(value::bigint) as n
        from (select * from jsonb_each_text(a) union all select * from jsonb_each_text(b)) x group by key
    ) k where k.n <> 0
$$;

-- ---------------------------------------------------------------- what is due

-- The figure that applies to each school that has one of its own, else the project's: campaigns whose detail is due.
-- Nothing that still moves is: a campaign is due when every chunk of it has ended.
create function due_delivery(cutoff timestamptz, schools int[], cutoffs timestamptz[], at timestamptz)
returns table (id bigint, school_id int, aged timestamptz, held boolean)
language sql stable rows 10000 as $$
    select c.notification_id, s.school_id, n.published_at,
           exists (select from ent_notify.held_notifications(at) h where h.notification_id = c.notification_id)
    from ent_notify.notification n
    join ent_notify.campaign c on c.notification_id = n.id and c.detail = 0
    left join unnest(schools, cutoffs) s (school_id, own) on s.school_id = c.school_id
    where n.published_at < greatest(cutoff, (select max(x) from unnest(cutoffs) x))
      and n.published_at < coalesce(s.own, cutoff)
      and not exists (select from ent_notify.chunk h where h.campaign_id = c.notification_id and h.state <> 3)
$$;

create function due_inbox(cutoff timestamptz, schools int[], cutoffs timestamptz[], at timestamptz)
returns table (id bigint, school_id int, aged timestamptz, held boolean)
language sql stable rows 10000 as $$
    select n.id, s.school_id, n.published_at,
           exists (select from ent_notify.held_notifications(at) h where h.notification_id = n.id)
    from ent_notify.notification n
    join ent_notify.campaign c on c.notification_id = n.id
    left join unnest(schools, cutoffs) s (school_id, own) on s.school_id = c.school_id
    where n.published_at < greatest(cutoff, (select max(x) from unnest(cutoffs) x))
      and n.published_at < coalesce(s.own, cutoff) and n.expires_at <= at
$$;

create function due_messages(cutoff timestamptz, at timestamptz)
returns table (conversation_id bigint, seq int, aged timestamptz, held boolean)
language sql stable rows 10000 as $$
    select m.conversation_id, m.seq, m.posted_at,
           exists (select from ent_notify.held_conversations(at) h where h.conversation_id = m.conversation_id)
    from ent_notify.conversation c
    join ent_notify.message m on m.conversation_id = c.id
    where c.started_at < cutoff and m.posted_at < cutoff
$$;

create function due_drafts(cutoff timestamptz) returns table (id bigint, aged timestamptz)
language sql stable as $$
    select d.id, d.updated_at from ent_notify.message_draft d where d.updated_at < cutoff and d.state <> 1
$$;

create function due_people(cutoff timestamptz, at timestamptz) returns table (id int, aged timestamptz, held boolean)
language sql stable as $$
    select p.id, p.hidden_at, exists (select from ent_notify.held_people(at) h where h.person_id = p.id)
    from ent_notify.person p
    where p.hidden_at < cutoff and not exists (select from ent_notify.erasure e where e.person_id = p.id)
$$;

-- ---------------------------------------------------------------- a slice of each

-- Counts what became of the deliveries of some campaigns, and forgets who they were to. The rows of exceptions go with
-- their partition, or in forget_counted.
create function forget_delivery(cutoff timestamptz, schools int[], cutoffs timestamptz[], at timestamptz, most int) returns jsonb
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
declare
    ids bigint[];
    chunks int;
begin
    ids := array(
        select c.notification_id from campaign c
        where c.notification_id = any (array(
            select d.id from due_delivery(cutoff, schools, cutoffs, at) d where not d.held order by d.id limit most
        ))
        order by 1 for update skip locked
    );
    insert into outcome_total (campaign_id, lane_id, state, reason, n)
    select o.campaign_id, h.lane_id, o.state, o.reason, count(*)
    from outcome o join chunk h on h.id = o.chunk_id
    where o.campaign_id = any (ids) and o.state in (2, 3)
    group by 1, 2, 3, 4
    on conflict (campaign_id, lane_id, state, reason) do update set n = excluded.n;
    delete from late_word w using chunk h where h.id = w.chunk_id and h.campaign_id = any (ids);
    update chunk set targets = null where campaign_id = any (ids) and targets is not null;
    get diagnostics chunks = row_count;
    update campaign set detail = 1 where notification_id = any (ids);
    return jsonb_build_object('campaign', cardinality(ids), 'chunk', chunks);
end $$;

-- Drops the partitions of exceptions all of whose campaigns are counted; answers how many. One that somebody uses is left
-- for the next time.
create function drop_counted(most int) returns jsonb
language plpgsql volatile set search_path = ent_notify, pg_temp set lock_timeout = '100ms' as $$
declare
    part record;
    dropped int := 0;
    head bigint := (select last_value from chunk_id_seq);
begin
    for part in select * from partitions_of('outcome') p where p.upper <= head order by p.lower loop
        exit when dropped >= most;
        if not exists (
            select from chunk h join campaign c on c.notification_id = h.campaign_id and c.detail = 0
            where h.id >= part.lower and h.id < part.upper
        ) then
            begin
                execute format('alter table outcome detach partition %I', part.name);
                execute format('drop table %I', part.name);
                dropped := dropped + 1;
            exception when lock_not_available then
                null;
            end;
        end if;
    end loop;
    return jsonb_build_object('outcome partitions', dropped);
end $$;

-- Deletes exceptions that waited long enough for their partition, and ends the detail of campaigns that have none left.
create function forget_counted(before timestamptz, most int) returns jsonb
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
declare
    ids bigint[];
    n int;
    ended int;
begin
    ids := array(
        select c.notification_id from campaign c join notification n on n.id = c.notification_id
        where c.detail = 1 and (n.published_at < before or not exists (select from outcome o where o.campaign_id = c.notification_id))
        order by 1 limit most for update of c skip locked
    );
    with picked as (
        select o.chunk_id, o.target from outcome o where o.campaign_id = any (ids) limit most * 10
    )
    delete from outcome o using picked s where o.chunk_id = s.chunk_id and o.target = s.target;
    get diagnostics n = row_count;
    update campaign c set detail = 2
    where c.notification_id = any (ids) and not exists (select from outcome o where o.campaign_id = c.notification_id);
    get diagnostics ended = row_count;
    return jsonb_build_object('outcome', n, 'ended', ended);
end $$;

-- Forgets notifications whole: text, audience, campaign, chunks, acknowledgements.
create function remove_notifications(ids bigint[]) returns jsonb
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
declare
    counts jsonb := '{}';
    n bigint;
begin
    delete from late_word w using chunk h where h.id = w.chunk_id and h.campaign_id = any (ids);
    delete from outcome where campaign_id = any (ids);
    get diagnostics n = row_count;
    counts := counts || jsonb_build_object('outcome', n);
    delete from outcome_total where campaign_id = any (ids);
    delete from chunk where campaign_id = any (ids);
    get diagnostics n = row_count;
    counts := counts || jsonb_build_object('chunk', n);
    delete from campaign where notification_id = any (ids);
    delete from audience where notification_id = any (ids);
    get diagnostics n = row_count;
    counts := counts || jsonb_build_object('audience', n);
    delete from recalled_reader where notification_id = any (ids);
    delete from acknowledgement where notification_id = any (ids);
    get diagnostics n = row_count;
    counts := counts || jsonb_build_object('acknowledgement', n);
    delete from notification where id = any (ids);
    get diagnostics n = row_count;
    return add_counts(counts, jsonb_build_object('notification', n));
end $$;

create function forget_inbox(cutoff timestamptz, schools int[], cutoffs timestamptz[], at timestamptz, most int) returns jsonb
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
begin
    return remove_notifications(array(
        select n.id from notification n
        where n.id = any (array(
            select d.id from due_inbox(cutoff, schools, cutoffs, at) d where not d.held order by d.id limit most
        ))
        order by 1 for update skip locked
    ));
end $$;

create function forget_messages(cutoff timestamptz, at timestamptz, most int) returns jsonb
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
declare
    conversations bigint[];
    seqs int[];
    n int;
    emptied int;
begin
    select coalesce(array_agg(d.conversation_id), '{}'), coalesce(array_agg(d.seq), '{}') into conversations, seqs
    from (
        select m.conversation_id, m.seq from message m
        join (select * from due_messages(cutoff, at) d where not d.held order by 1, 2 limit most) d
            on d.conversation_id = m.conversation_id and d.seq = m.seq
        order by 1, 2 for update of m skip locked
    ) d;
    delete from message_change h using unnest(conversations, seqs) d (c, s) where h.conversation_id = d.c and h.seq = d.s;
    delete from acknowledgement_request r using unnest(conversations, seqs) d (c, s) where r.conversation_id = d.c and r.seq = d.s;
    delete from message m using unnest(conversations, seqs) d (c, s) where m.conversation_id = d.c and m.seq = d.s;
    get diagnostics n = row_count;
    delete from conversation c
    where c.id = any (array(
        select x.id from conversation x
        where x.started_at < cutoff and x.last_at < cutoff
          and not exists (select from message m where m.conversation_id = x.id)
          and not exists (select from held_conversations(at) h where h.conversation_id = x.id)
        limit most for update skip locked
    ));
    get diagnostics emptied = row_count;
    return add_counts(jsonb_build_object('message', n), jsonb_build_object('conversation', emptied));
end $$;

create function forget_drafts(cutoff timestamptz, most int) returns jsonb
language sql volatile as $$
    with gone as (
        delete from ent_notify.message_draft where id = any (array(select d.id from ent_notify.due_drafts(cutoff) d limit most))
        returning id
    )
    select jsonb_build_object('message_draft', count(*)) from gone
$$;

-- The trail of who looked, and who did what to campaigns: months are dropped, the rest is deleted.
create function forget_audit(cutoff timestamptz, most int) returns jsonb
language plpgsql volatile set search_path = ent_notify, pg_temp set ent_notify.forgetting = 'on' set lock_timeout = '100ms' as $$
declare
    part record;
    n int := 0;
    actions int;
begin
    for part in
        select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'audit'::regclass and c.relname ~ '^audit_\d{6}$'
          and to_timestamp(substr(c.relname, 7), 'YYYYMM') + interval '1 month' <= cutoff
    loop
        execute format('alter table audit detach partition %I', part.name);
        execute format('drop table %I', part.name);
    end loop;
    delete from audit a using (select noted_at, id from audit where noted_at < cutoff limit most) d
    where a.noted_at = d.noted_at and a.id = d.id;
    get diagnostics n = row_count;
    delete from campaign_action where id = any (array(select id from campaign_action where done_at < cutoff limit most));
    get diagnostics actions = row_count;
    return add_counts(jsonb_build_object('audit', n), jsonb_build_object('campaign_action', actions));
end $$;

-- A month's partition of the trail, made before it begins.
create function make_month(at timestamptz) returns void
language plpgsql volatile set search_path = ent_notify, pg_temp set lock_timeout = '100ms' as $$
declare
    first timestamptz := date_trunc('month', at at time zone 'UTC') at time zone 'UTC' + interval '1 month';
    next timestamptz := (date_trunc('month', at at time zone 'UTC') + interval '2 months') at time zone 'UTC';
    made text;
begin
    first := (date_trunc('month', at at time zone 'UTC') + interval '1 month') at time zone 'UTC';
    made := 'audit_' || to_char(first at time zone 'UTC', 'YYYYMM');
    if to_regclass('ent_notify.' || made) is null
       and not exists (select from audit_rest where noted_at >= first and noted_at < next) then
        execute format('create table %I partition of audit for values from (%L) to (%L)', made, first, next);
    end if;
end $$;

-- Requests that were answered, holds that were lifted, runs that ended, erasures that no backup can undo any more.
create function forget_proofs(cutoff timestamptz, backups timestamptz, most int) returns jsonb
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
declare
    requests int;
    holds int;
    erasures int;
    runs int;
begin
    delete from rights_request where id = any (array(select id from rights_request where closed_at < cutoff limit most));
    get diagnostics requests = row_count;
    delete from hold where id = any (array(select id from hold where lifted_at < cutoff limit most));
    get diagnostics holds = row_count;
    delete from erasure where person_id = any (array(
        select e.person_id from erasure e where e.swept_at < backups and e.way < 3 limit most));
    get diagnostics erasures = row_count;
    delete from retention_run where id = any (array(select id from retention_run where done_at < backups limit most));
    get diagnostics runs = row_count;
    return jsonb_build_object('rights_request', requests, 'hold', holds, 'erasure', erasures, 'retention_run', runs);
end $$;

-- ---------------------------------------------------------------- erasing a person

-- Everything of one person, but what is packed in chunks (erase_from_chunks). `way`: see erasure. Their place in a thread
-- stays, so that others' answers keep their sense; author 0 is nobody. May be called again, and finds what came since.
-- EN004 when a hold keeps them.
create function erase_person(who int, way_asked smallint, why text, at timestamptz, sweep interval, own text[]) returns jsonb
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
declare
    p person;
    counts jsonb := '{}';
    n bigint;
    theirs bigint[];        -- conversations
    mentions bigint[];      -- notifications whose audience names them
    alone bigint[];         -- and nobody else
    external text;
    quoted text;
    devices_now int[];
    a_table text;
begin
    select * into p from person where id = who for update;
    if exists (select from held_people(at) h where h.person_id = who) then
        raise exception 'a hold keeps this person: nothing of theirs is erased until it is lifted' using errcode = 'EN004';
    end if;
    devices_now := array(select d.id from device d where d.person_id = who order by 1);
    insert into erasure as e (person_id, digest, way, cause, erased_at, sweep_at, devices)
    values (who, coalesce(digest_of(who, p.external_id), ''::bytea), way_asked, why, at, at + sweep, devices_now)
    on conflict (person_id) do update set devices = e.devices || excluded.devices;
    external := p.external_id;
    quoted := to_jsonb(external)::text;

    -- what they wrote
    theirs := array(select c.conversation_id from participant c where c.person_id = who
                    union select c.id from conversation c where c.about_id = who);
    delete from message_due d using message m
    where m.conversation_id = any (theirs) and m.author_id = who and d.conversation_id = m.conversation_id and d.seq = m.seq;
    update notification x set data = x.data || case when way_asked = 1 then '{"sender": "—", "subject": "—"}'::jsonb
                                                    else '{"sender": "—"}'::jsonb end
    from message m
    where way_asked < 3 and m.conversation_id = any (theirs) and m.author_id = who and x.type = 'MessagePosted'
      and x.idempotency_key = 'message:' || m.conversation_id || ':' || m.seq;
    if way_asked = 1 then
        update message_change h set body = null from message m
        where m.conversation_id = any (theirs) and m.author_id = who and h.conversation_id = m.conversation_id
          and h.seq = m.seq and h.body is not null;
        insert into message_change (conversation_id, seq, kind, changed_by, changed_at)
        select m.conversation_id, m.seq, 2, 0, at from message m
        where m.conversation_id = any (theirs) and m.author_id = who and m.recalled_at is null;
    end if;
    if way_asked < 3 then
        update message m set
            author_id = 0,
            body = case when way_asked = 1 then '' else m.body end,
            recalled_at = case when way_asked = 1 then coalesce(m.recalled_at, at) else m.recalled_at end,
            recalled_by = case when m.recalled_by = who then 0 else m.recalled_by end
        where m.conversation_id = any (theirs) and m.author_id = who;
        get diagnostics n = row_count;
        counts := add_counts(counts, jsonb_build_object('message', n));
        update acknowledgement_request r set asked_by = null where r.asked_by = who;
        update attachment a set owner_id = 0 where a.owner_id = who;
        update message m set recalled_by = 0 where m.conversation_id = any (theirs) and m.recalled_by = who;
        update message_change h set changed_by = 0 where h.conversation_id = any (theirs) and h.changed_by = who;
    end if;
    update message_change h set read_by = array_remove(h.read_by, who)
    where h.conversation_id = any (theirs) and h.read_by @> array[who];
    update conversation c set
        moved = this_transaction(),
        subject = case when way_asked = 1 and c.started_by = who then '—' else c.subject end,
        started_by = case when way_asked < 3 and c.started_by = who then 0 else c.started_by end,
        closed_by = case when c.closed_by = who then 0 else c.closed_by end,
        about_id = nullif(c.about_id, who),
        pair = case when who = any (c.pair) then null else c.pair end
    where c.id = any (theirs);
    delete from message_draft where author_id = who;
    get diagnostics n = row_count;
    counts := add_counts(counts, jsonb_build_object('message_draft', n));
    delete from conversation_key where scope = 4 and ref = who;

    -- what was for them, or names them
    mentions := array(select a.notification_id from audience a where a.scope in (3, 4) and a.ref = who and not a.excluded
                      union select a.notification_id from audience a where a.scope in (3, 4) and a.ref = who and a.excluded);
    alone := array(select m from unnest(mentions) m where not exists (
        select from audience a where a.notification_id = m and not a.excluded and not (a.scope in (3, 4) and a.ref = who)));
    counts := add_counts(counts, remove_notifications(alone));
    delete from audience a where a.notification_id = any (mentions) and a.scope in (3, 4) and a.ref = who;
    delete from retraction where scope in (3, 4) and ref = who;
    if external is not null then
        update notification x set
            audience = replace(x.audience::text, quoted, '"—"')::jsonb,
            clauses = regexp_replace(x.clauses::text, '\[([34]), ' || who || '\]', '[\1, 0]', 'g')::jsonb,
            data = replace(x.data::text, quoted, '"—"')::jsonb
        where x.id = any (mentions) or x.data::text like '%' || replace(replace(quoted, '\', '\\'), '_', '\_') || '%';
        update notification x set data = x.data || '{"sender": "—"}'
        where way_asked < 3 and x.data->>'sender' = btrim(p.given_name || ' ' || p.family_name);
        update message_draft d set content = replace(d.content::text, quoted, '"—"')::jsonb
        where d.content::text like '%' || replace(replace(quoted, '\', '\\'), '_', '\_') || '%';
        update campaign_action set done_by = '—' where done_by = external;
        update contact_rules set changed_by = '—' where changed_by = external;
        update reading_choice set changed_by = '—' where changed_by = external;
        update school_calendar set changed_by = '—' where changed_by = external;
        update same_human set declared_by = '—' where declared_by = external;
        update rights_request set actor = '—' where actor = external;
        delete from sender where name = external;
    end if;
    update recalled_reader r set people = array_remove(r.people, who)
    where r.bucket = who / 1000 and r.people @> array[who];

    -- rows of their own
    -- (`own` says which: "table.column", from the annotations)
    foreach a_table in array own loop
        execute format('delete from %I where %I = $1', split_part(a_table, '.', 1), split_part(a_table, '.', 2)) using who;
        get diagnostics n = row_count;
        counts := add_counts(counts, jsonb_build_object(split_part(a_table, '.', 1), n));
    end loop;
    if way_asked = 3 and p.id is not null then
        update person set external_id = 'gone:' || who, email = null, email_dropped_at = null, email_drop_reason = null,
                          function = null, hidden_at = coalesce(hidden_at, at), restricted_at = null
        where id = who;
    else
        delete from person where id = who;
    end if;
    get diagnostics n = row_count;
    return add_counts(counts, jsonb_build_object('person', n));
end $$;

-- Takes a person out of the chunks of the next campaigns after a place: a number that is nobody's takes the place of each
-- target, so that cursors and counts stay true, and what was not sent is withheld as erased. Answers the last campaign
-- looked at (null: there was none left) and how many places were taken.
create function erase_from_chunks(who int, devices int[], after bigint, most int, out upto bigint, out taken int)
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
declare
    looked bigint[] := array(
        select c.notification_id from campaign c where c.notification_id > after and c.detail = 0 order by 1 limit most);
    one chunk;
    lost int[];
begin
    upto := looked[cardinality(looked)];
    taken := 0;
    for one in
        select h.* from campaign c
        join lane l on l.channel in ('email', 'push')
        cross join lateral (
            select * from chunk x
            where x.campaign_id = c.notification_id and x.lane_id = l.id and x.bucket in (-1, who / coalesce(c.width, 1000))
            offset 0
        ) h
        where c.notification_id = any (looked)
          and case when l.channel = 'email' then h.targets @> array[who] else h.targets && devices end
        order by h.id
    loop
        select * into one from chunk where id = one.id for update;
        lost := case when (select channel from lane where id = one.lane_id) = 'email' then array[who] else devices end;
        update outcome o set person_id = 0, target = -array_position(one.targets, o.target)
        where o.chunk_id = one.id and o.target = any (lost) and array_position(one.targets, o.target) is not null;
        delete from late_word where chunk_id = one.id and target = any (lost);
        update chunk set targets = (
            select array_agg(case when t = any (lost) then -place else t end order by place)
            from unnest(one.targets) with ordinality u (t, place)
        )
        where id = one.id;
        taken := taken + 1;
    end loop;
end $$;

-- What workers told after that: rows of exceptions that still name somebody.
create function erase_outcomes(who int) returns int
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
declare
    n int;
begin
    update outcome o set person_id = 0, target = x.fresh
    from (
        select o.chunk_id, o.target,
               (least(0, (select min(y.target) from outcome y where y.chunk_id = o.chunk_id)) - h.size
                - row_number() over (partition by o.chunk_id order by o.target))::int as fresh
        from outcome o join chunk h on h.id = o.chunk_id where o.person_id = who
    ) x
    where o.chunk_id = x.chunk_id and o.target = x.target;
    get diagnostics n = row_count;
    return n;
end $$;
