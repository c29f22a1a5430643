-- What 0018 keeps of people is erased and forgotten like the rest; a case of moderation that is open keeps whom it is about.

set local search_path = ent_notify;

-- People whom a hold keeps: its own, and those who take part or wrote in what it keeps. And whoever an open case of
-- moderation is about: its evidence is theirs to be judged by, and may be their victim's only one (GDPR 17.3.e).
create or replace function held_people(at timestamptz) returns table (person_id int)
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
    union
    select c.person_id from ent_notify.moderation_case c where c.closed_at is null
$$;
create index moderation_case_person on moderation_case (person_id);

-- Only added to, but by forgetting: its time comes, and names of people who were erased go out of it.
create or replace function refuse_audit_change() returns trigger
language plpgsql as $$
begin
    if coalesce(current_setting('ent_notify.forgetting', true), '') = 'on' then
        return null;
    end if;
    raise exception 'what was done is written down for good: % is only added to', tg_table_name using errcode = 'EN004';
end $$;

-- Names and ids of somebody where a text has them, before their row goes: what they did to others, timetables they teach in.
create function erase_elsewhere(who int) returns void
language plpgsql volatile set search_path = ent_notify, pg_temp set ent_notify.forgetting = 'on' as $$
declare
    p person;
    spoken text[];
begin
    select * into p from person where id = who;
    if p.id is null then
        return;
    end if;
    update safety_audit set
        done_by = case when done_by = p.external_id then '—' else done_by end,
        about = case when about = p.external_id then '—' else about end
    where p.external_id in (done_by, about);
    update recall_run set done_by = '—' where done_by = p.external_id;
    update restraint set done_by = '—' where done_by = p.external_id;
    update frozen_area set done_by = '—' where done_by = p.external_id;
    if p.profile in (3, 4) then
        spoken := array[p.given_name || ' ' || p.family_name, p.family_name || ' ' || p.given_name,
                        upper(p.family_name) || ' ' || p.given_name];
        update lesson l set
            base = case when base->>'teacher' = any (spoken) then base - 'teacher' else base end,
            now = case when now->>'teacher' = any (spoken) then now - 'teacher' else now end
        where base->>'teacher' = any (spoken) or now->>'teacher' = any (spoken);
    end if;
end $$;

-- The trail of who looked, who did what to campaigns, and who moderated: months are dropped, the rest is deleted.
create or replace function forget_audit(cutoff timestamptz, most int) returns jsonb
language plpgsql volatile set search_path = ent_notify, pg_temp set ent_notify.forgetting = 'on' set lock_timeout = '100ms' as $$
declare
    part record;
    n int := 0;
    actions int;
    acts int;
    runs int;
    glasses int;
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
    delete from safety_audit where id = any (array(select id from safety_audit where done_at < cutoff limit most));
    get diagnostics acts = row_count;
    delete from recall_run where id = any (array(select id from recall_run where ended_at < cutoff limit most));
    get diagnostics runs = row_count;
    delete from break_glass where id = any (array(select id from break_glass where asked_at < cutoff limit most));
    get diagnostics glasses = row_count;
    return jsonb_build_object('audit', n, 'campaign_action', actions, 'safety_audit', acts, 'recall_run', runs,
                              'break_glass', glasses);
end $$;

-- Requests that were answered, holds that were lifted, cases that are closed with their evidence, runs that ended, erasures
-- that no backup can undo any more.
create or replace function forget_proofs(cutoff timestamptz, backups timestamptz, most int) returns jsonb
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
declare
    requests int;
    holds int;
    cases int;
    proofs int;
    erasures int;
    runs int;
begin
    delete from rights_request where id = any (array(select id from rights_request where closed_at < cutoff limit most));
    get diagnostics requests = row_count;
    delete from hold where id = any (array(select id from hold where lifted_at < cutoff limit most));
    get diagnostics holds = row_count;
    delete from moderation_case where id = any (array(select id from moderation_case where closed_at < cutoff limit most));
    get diagnostics cases = row_count;
    delete from message_hold h where not exists (select from moderation_case c where c.id = h.case_id);
    delete from evidence where id = any (array(
        select v.id from evidence v
        where v.taken_at < cutoff and not exists (
            select from moderation_case c where c.conversation_id = v.conversation_id and c.seq = v.seq)
        limit most));
    get diagnostics proofs = row_count;
    delete from erasure where person_id = any (array(
        select e.person_id from erasure e where e.swept_at < backups and e.way < 3 limit most));
    get diagnostics erasures = row_count;
    delete from retention_run where id = any (array(select id from retention_run where done_at < backups limit most));
    get diagnostics runs = row_count;
    return jsonb_build_object('rights_request', requests, 'hold', holds, 'moderation_case', cases, 'evidence', proofs,
                              'erasure', erasures, 'retention_run', runs);
end $$;

-- Whom a ledger says was erased was kept by nothing then: what a restored backup holds of them from before had been lifted,
-- and its cases closed.
create function lift_for_replay(who int, erased timestamptz, at timestamptz) returns void
language plpgsql volatile set search_path = ent_notify, pg_temp as $$
begin
    update hold set lifted_at = at, lifted_by = 'the ledger of erasures'
    where id in (select hold_id from holds_keeping(who, at)) and asked_at < erased and lifted_at is null;
    delete from message_hold h
    where h.placed_at < erased and (
        exists (select from participant p where p.conversation_id = h.conversation_id and p.person_id = who)
        or exists (select from message m where m.conversation_id = h.conversation_id and m.author_id = who)
    );
    update moderation_case set closed_at = at, decision = coalesce(decision, 'dismiss')
    where person_id = who and opened_at < erased and closed_at is null;
end $$;
