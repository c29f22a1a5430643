-- Restores: erasures in the order of their ledger, and which holds keep somebody. The trail: what a hold still hides.
-- Reading another's data: two people open the glass.

set local search_path = ent_notify;

-- The order in which erasures are copied into ledgers that are kept apart.
alter table erasure add column seq bigint generated always as identity;
create unique index erasure_seq on erasure (seq);

-- Holds that keep somebody: of themselves, of a conversation they wrote or took part in, of what was sent to them.
create function holds_keeping(who int, at timestamptz) returns table (hold_id bigint)
language sql stable as $$
    select h.id from ent_notify.standing_holds(at) h
    where h.person_id = who
       or exists (
           select from ent_notify.participant p
           where p.person_id = who and (p.conversation_id = h.conversation_id or exists (
               select from ent_notify.participant o where o.conversation_id = p.conversation_id and o.person_id = h.person_id))
       )
       or exists (
           select from ent_notify.message m
           where m.author_id = who and (m.conversation_id = h.conversation_id or m.conversation_id in (
               select o.conversation_id from ent_notify.participant o where o.person_id = h.person_id))
       )
       or exists (
           select from ent_notify.audience a
           where a.scope in (3, 4) and a.ref = who and (a.notification_id in (
               select v.id from ent_notify.notification n join ent_notify.notification v on v.id in (n.id, n.root)
               where n.id = h.notification_id
           ) or a.notification_id in (
               select b.notification_id from ent_notify.audience b where b.scope in (3, 4) and b.ref = h.person_id))
       )
$$;

-- What is done for a hold is shown to those it concerns once the hold is lifted: a procedure may be secret until then.
alter table audit add column hold_id bigint;

-- Reading what one has no part in: one person asks with a reason, another opens, for an hour, and both stand in the trail.
create table break_glass (
    id              bigint generated always as identity primary key,
    conversation_id bigint not null,
    reason          text not null,
    asked_by        text not null,
    asked_at        timestamptz not null,
    opened_by       text check (opened_by <> asked_by),
    opened_at       timestamptz,
    open_until      timestamptz
);
