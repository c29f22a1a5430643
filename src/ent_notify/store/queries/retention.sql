-- name: columns
-- Every column of every table that is no part of another.
select c.relname::text as table_name, a.attname::text as column_name
from pg_class c
join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'ent_notify'
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relkind in ('r', 'p') and not c.relispartition
order by c.relname, a.attnum;

-- name: schools
-- Some schools by UAI, whatever its case.
select id, uai from school where lower(uai) = any (:uais::text[]);

-- name: plan_delivery
-- Campaigns whose detail is due, under each figure.
select d.school_id, count(*) filter (where not d.held) as items, count(*) filter (where d.held) as held,
       (select count(*) from campaign c where c.detail = 0) as of,
       min(d.aged) filter (where not d.held) as oldest, max(d.aged) filter (where not d.held) as newest
from due_delivery(:cutoff, :schools::int[], :cutoffs::timestamptz[], :now) d group by d.school_id;

-- name: plan_inbox
-- Notifications that are due, under each figure.
select d.school_id, count(*) filter (where not d.held) as items, count(*) filter (where d.held) as held,
       (select count(*) from notification) as of,
       min(d.aged) filter (where not d.held) as oldest, max(d.aged) filter (where not d.held) as newest
from due_inbox(:cutoff, :schools::int[], :cutoffs::timestamptz[], :now) d group by d.school_id;

-- name: plan_messages
-- Messages that are due.
select null::int as school_id, count(*) filter (where not d.held) as items, count(*) filter (where d.held) as held,
       (select count(*) from message) as of,
       min(d.aged) filter (where not d.held) as oldest, max(d.aged) filter (where not d.held) as newest
from due_messages(:cutoff, :now) d;

-- name: plan_drafts
-- Drafts that are due.
select null::int as school_id, count(*) as items, 0::bigint as held, (select count(*) from message_draft) as of,
       min(d.aged) as oldest, max(d.aged) as newest
from due_drafts(:cutoff) d;

-- name: plan_leavers
-- People who have left and are due.
select null::int as school_id, count(*) filter (where not d.held) as items, count(*) filter (where d.held) as held,
       (select count(*) from person) as of,
       min(d.aged) filter (where not d.held) as oldest, max(d.aged) filter (where not d.held) as newest
from due_people(:cutoff, :now) d;

-- name: plan_audit
-- What is due of the trail of who looked, and who did what.
select null::int as school_id, count(*) as items, 0::bigint as held,
       (select count(*) from audit) + (select count(*) from campaign_action) + (select count(*) from safety_audit)
       + (select count(*) from recall_run) + (select count(*) from break_glass) as of, min(d.aged) as oldest, max(d.aged) as newest
from (
    select noted_at as aged from audit where noted_at < :cutoff
    union all
    select done_at from campaign_action where done_at < :cutoff
    union all
    select done_at from safety_audit where done_at < :cutoff
    union all
    select ended_at from recall_run where ended_at < :cutoff
    union all
    select asked_at from break_glass where asked_at < :cutoff
) d;

-- name: plan_proofs
-- Answered requests, lifted holds and closed cases that are due.
select null::int as school_id, count(*) as items, 0::bigint as held,
       (select count(*) from rights_request) + (select count(*) from hold) + (select count(*) from moderation_case) as of,
       min(d.aged) as oldest, max(d.aged) as newest
from (
    select closed_at as aged from rights_request where closed_at < :cutoff
    union all
    select lifted_at from hold where lifted_at < :cutoff
    union all
    select closed_at from moderation_case where closed_at < :cutoff
) d;

-- name: forget_delivery$
-- A slice of deliveries' detail.
select forget_delivery(:cutoff, :schools::int[], :cutoffs::timestamptz[], :now, :most);

-- name: forget_inbox$
-- A slice of notifications.
select forget_inbox(:cutoff, :schools::int[], :cutoffs::timestamptz[], :now, :most);

-- name: forget_messages$
-- A slice of messages.
select forget_messages(:cutoff, :now, :most);

-- name: forget_drafts$
-- A slice of drafts.
select forget_drafts(:cutoff, :most);

-- name: forget_audit$
-- A slice of the trail.
select forget_audit(:cutoff, :most);

-- name: forget_proofs$
-- A slice of proofs.
select forget_proofs(:cutoff, :backups, :most);

-- name: drop_counted$
-- Drop partitions of exceptions that are counted.
select drop_counted(:most);

-- name: forget_counted$
-- A slice of exceptions that no partition took along.
select forget_counted(:before, :most);

-- name: make_room$
-- Make room for the exceptions of the next days.
select make_room((select count(*) from chunk h join campaign c on c.notification_id = h.campaign_id
                  where c.planned_at > :since::timestamptz));

-- name: make_month!
-- Make the trail's partition of the next month.
select make_month(:now);

-- name: leavers_due
-- The next people who have left and are due.
select d.id from due_people(:cutoff, :now) d where not d.held order by d.id limit :most;

-- name: overdue_leavers^
-- Those who should have gone long ago: how many, and of them those whom a hold keeps.
select count(*) filter (where not d.held) as late, count(*) filter (where d.held) as held from due_people(:cutoff, :now) d;

-- name: begin_run$
-- Write a run down; nothing when that night has one.
insert into retention_run (night, planned_at, lines, state) values (:night, :now, :lines, :state)
on conflict (night) do nothing returning id;

-- name: night_done$
-- Whether a night has its run.
select exists (select from retention_run where night = :night);

-- name: take_run^
-- A run that is under way, for whoever takes its next slice; nobody waits for another's.
select id, planned_at, lines, line, removed from retention_run
where state = 'running' and (:run_id::bigint is null or id = :run_id) order by id limit 1 for update skip locked;

-- name: advance_run!
-- Note what a slice removed, and where the run stands.
update retention_run set line = :line, removed = add_counts(removed, :removed), state = :state,
       done_at = case when :state = 'done' then :now::timestamptz end
where id = :run_id;

-- name: confirm_run$
-- Let a run go on that asked, or refuse it.
update retention_run set state = :state, confirmed_by = :confirmed_by where id = :run_id and state = 'asks' returning id;

-- name: runs
-- The newest runs.
select id, night, state, planned_at, removed, lines, done_at from retention_run order by id desc limit :most;

-- name: run^
-- One run of retention, by its number.
select id, night, state, planned_at, removed, lines, done_at from retention_run where id = :run_id;

-- name: receipt$
-- Append a receipt to the chain.
select append_receipt(:what, :cause, :rows, :now);

-- name: receipts
-- The chain from a place on.
select seq, body, digest from deletion_receipt where seq > :after order by seq limit :most;

-- name: holds_receipt$
-- Whether a receipt has this digest.
select exists (select from deletion_receipt where encode(digest, 'hex') = lower(:digest::text));
