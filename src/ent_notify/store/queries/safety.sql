-- name: lock
-- Write under what is frozen and quarantined now, or (alone) change it.
select ent_notify.safety_lock(:alone);

-- name: why$
-- Why somebody may not write now, in a conversation or in a new one; nothing: they may.
select why_not_write(:author_id, :conversation_id, :sole, :groups::int[], :now);

-- name: take_recipients$
-- Count who a message goes to; taken, most or velocity.
select take_recipients(:author_id, :scopes::smallint[], :refs::int[], :most, :burst, :refill, :now);

-- name: strike$
-- Something of a sender's was refused; whether that stops them.
select strike(:author_id, :strikes, :most, :now);

-- name: person^
-- Somebody by external id.
select id, external_id, profile, function, given_name, family_name from person where external_id = :external_id;

-- name: restrain!
-- Let somebody not write as they like. A quarantine is not loosened by this.
insert into restraint (person_id, kind, since, until, done_by, reason)
values (:person_id, :kind, :now, :until, :done_by, :reason)
on conflict (person_id) do update
set kind = excluded.kind, since = excluded.since, until = excluded.until, done_by = excluded.done_by, reason = excluded.reason
where restraint.kind = 2;

-- name: hold_told$
-- Pause what has yet to leave of what a sender wrote.
select hold_told(:person_id, :done_by, :reason, :now);

-- name: release!
-- Let somebody write again.
delete from restraint where person_id = :person_id;

-- name: forget_alarm!
-- A released sender begins without strikes.
update sender_cells set alarm = '-infinity' where person_id = :person_id;

-- name: resume_told
-- Let go what was paused of a sender's; what was taken back meanwhile stays so.
with freed as (
    delete from held_campaign h where h.person_id = :person_id returning h.campaign_id
)
select resume_campaign(k.notification_id, :done_by, :reason, :now, :hold)
from freed f join campaign k on k.notification_id = f.campaign_id and k.state = 1;

-- name: let_go!
-- What is held is looked at again.
with announced as (
    update message_due set held = false where held
)
update message_draft set held = false where held and state = 1;

-- name: restraint^
-- What somebody may not do.
select p.external_id, r.kind, r.since, r.until, r.done_by, r.reason
from restraint r join person p on p.id = r.person_id
where r.person_id = :person_id and (r.until is null or r.until > :now);

-- name: restraints
-- Who may not write as they like, of some schools or (null) of all; newest first.
select p.external_id, r.kind, r.since, r.until, r.done_by, r.reason
from restraint r join person p on p.id = r.person_id
where (r.until is null or r.until > :now)
  and (:schools::text[] is null
       or exists (select from near_groups(p.id, :now) g join school s on s.id = g.school_id where s.uai = any (:schools)))
order by r.since desc, p.id limit :most;

-- name: freeze!
-- Freeze an area, or change who may still write there.
insert into frozen_area (area, prefixes, tier, functions, since, done_by, reason)
values (:area, :prefixes::text[], :tier, :functions::text[], :now, :done_by, :reason)
on conflict (area) do update
set tier = excluded.tier, functions = excluded.functions, since = excluded.since, done_by = excluded.done_by, reason = excluded.reason
where frozen_area.tier <> excluded.tier;

-- name: unfreeze!
-- Let people write in an area again.
delete from frozen_area where area = :area;

-- name: freezes
-- What is frozen, oldest first.
select area, prefixes, tier, since, done_by, reason from frozen_area order by since, area;

-- name: knows_school$
-- Whether there is a school.
select exists (select from school where uai = :school);

-- name: write_down!
-- Write down what was done.
insert into safety_audit (done_at, done_by, act, about, case_id, schools, reason)
values (:now, :done_by, :act, :about, :case_id, :schools::text[], :reason);

-- name: audit
-- What was done, newest first: of a case, or where some schools (null: any) are concerned.
select id, done_at, done_by, act, about, case_id, reason from safety_audit
where (:case_id::bigint is null or case_id = :case_id) and (:schools::text[] is null or schools && :schools)
  and id < :before
order by id desc limit :most;

-- name: message^
-- A message that a reader sees, to report it.
select m.author_id, a.external_id as author, m.recalled_at is not null as recalled
from parts(:person_id, array[:conversation_id::bigint], :now) x
join message m on m.conversation_id = x.conversation_id and m.seq = :seq and m.seq between x.first_seq and x.last_seq
join person a on a.id = m.author_id;

-- name: take_evidence
-- Keep what a message is now.
select ent_notify.take_evidence(array[:conversation_id::bigint], array[:seq::int], :now);

-- name: hold!
-- Let no retention take a message away.
insert into message_hold (conversation_id, seq, case_id, placed_at) values (:conversation_id, :seq, :case_id, :now)
on conflict do nothing;

-- name: unhold!
-- A case was dismissed: its message is kept as any other.
delete from message_hold where case_id = :case_id;

-- name: open_case^
-- Open a case, or the one that there is of a message again; whether it was not open.
with before as (
    select id, closed_at from moderation_case where conversation_id = :conversation_id and seq = :seq
),
opened as (
    insert into moderation_case (kind, person_id, conversation_id, seq, schools, opened_at)
    values (:kind, :person_id, :conversation_id, :seq, :schools::text[], :now)
    on conflict (conversation_id, seq) do update set closed_at = null
    returning id
)
select o.id, b.id is null or b.closed_at is not null as fresh from opened o left join before b on b.id = o.id;

-- name: report!
-- Somebody reports a message; the second time changes nothing.
insert into moderation_report (case_id, reporter_id, reason, note, reported_at)
values (:case_id, :reporter_id, :reason, :note, :now)
on conflict do nothing;

-- name: has_reported$
-- Whether somebody has reported it already.
select exists (select from moderation_report where case_id = :case_id and reporter_id = :reporter_id);

-- name: moderators
-- Who moderates some schools, or the project, but not somebody themselves (external ids).
select distinct p.external_id
from person p
where p.hidden_at is null and p.external_id = any (:project::text[]) and p.id <> :but
union
select p.external_id
from school s
join people_group g on g.school_id = s.id and g.kind = 3
join membership m on m.group_id = g.id and m.valid_from <= :now and m.valid_until > :now
join person p on p.id = m.person_id and p.hidden_at is null and p.profile = 4 and p.function = any (:functions::text[])
where s.uai = any (:schools::text[]) and p.id <> :but
order by 1;

-- name: publish$
-- Publish one event of ours.
select publish(:event, :now);

-- name: cases
-- Cases before a place, newest first: of some schools or (null) of all, never those about the reader.
select k.id, k.kind, p.external_id, p.given_name, p.family_name, k.conversation_id, k.seq, k.schools, k.opened_at, k.closed_at,
       k.decision, r.reports, r.reasons
from moderation_case k
join person p on p.id = k.person_id
cross join lateral (
    select count(*)::int as reports, coalesce(array_agg(distinct reason), '{}') as reasons
    from moderation_report where case_id = k.id
) r
where k.id < :before and (:one::bigint is null or k.id = :one) and (:schools::text[] is null or k.schools && :schools)
  and (:closed or k.closed_at is null) and p.external_id <> :reader
order by k.id desc limit :most;

-- name: evidence
-- What was kept of a case's message, or of what was taken back from its sender since.
select e.conversation_id, e.seq, e.subject, e.body, e.earlier, e.attachments, e.posted_at, e.taken_at
from moderation_case k
join evidence e on case when k.kind = 1 then e.conversation_id = k.conversation_id and e.seq = k.seq
                        else e.author_id = k.person_id and e.taken_at >= k.opened_at end
where k.id = :case_id
order by e.id limit :most;

-- name: notes
-- Why a message was reported, in the reporters' own words.
select note from moderation_report where case_id = :case_id and note <> '' order by reported_at, reporter_id;

-- name: reporters
-- Who reported a message.
select p.external_id, r.reason, r.note, r.reported_at
from moderation_report r join person p on p.id = r.reporter_id
where r.case_id = :case_id order by r.reported_at, p.id;

-- name: close_case!
-- A moderator has decided.
update moderation_case set closed_at = coalesce(closed_at, :now), decision = :decision where id = :case_id;

-- name: withdraw$
-- Take a message back for all.
select withdraw_messages(array[:conversation_id::bigint], array[:seq::int], :done_by, :reason, null, :now);

-- name: start_run$
-- Begin to take back all that somebody wrote.
insert into recall_run (person_id, since, until, done_by, reason, started_at)
values (:person_id, :since, :now, :done_by, :reason, :now)
returning id;

-- name: refuse_drafts!
-- What somebody has scheduled since an instant is not sent.
update message_draft set state = 3, held = false, refusal = 'taken back by the school'
where author_id = :person_id and state = 1 and updated_at >= :since;

-- name: go_on$
-- Take the next batch of a run back; whether there is more.
select go_on_recalling(:run, :most, :now);

-- name: run^
-- How a run stands.
select r.id, p.external_id, r.since, r.until, r.recalled, r.ended_at
from recall_run r join person p on p.id = r.person_id where r.id = :run;

-- name: open_runs
-- Runs that have not ended.
select id from recall_run where ended_at is null order by id;

-- name: run_readers
-- The next people, by id, who had read some of what a run took back, and how many messages.
select p.external_id, n.messages, p.id
from (
    select u.person_id, count(*)::int as messages
    from message_change t cross join lateral unnest(t.read_by) u (person_id)
    where t.run = :run and u.person_id > :after
    group by u.person_id order by u.person_id limit :most
) n
join person p on p.id = n.person_id
order by p.id;

-- name: office
-- Who works in the pupil-life office of a pupil's schools; where nobody does, their direction.
with staff as (
    select distinct p.id, case when p.function = any (:office::text[]) then 1 else 2 end as rank, s.id as school_id
    from near_groups(:person_id, :now) c
    join school s on s.id = c.school_id
    join people_group g on g.school_id = s.id and g.kind = 3
    join membership m on m.group_id = g.id and m.valid_from <= :now and m.valid_until > :now
    join person p on p.id = m.person_id and p.hidden_at is null and p.function = any (:office::text[] || :direction::text[])
)
select distinct w.id from staff w
where w.rank = (select min(o.rank) from staff o where o.school_id = w.school_id)
order by w.id;

-- name: reopen_line!
-- A line is open again, and those who work in the office no more take part no more.
with gone as (
    update participant k set until_seq = c.last_seq
    from conversation c
    where c.id = :conversation_id and k.conversation_id = c.id and k.until_seq is null and k.person_id <> all (:people::int[])
)
update conversation set closed_at = null, closed_by = null where id = :conversation_id and closed_at is not null;
