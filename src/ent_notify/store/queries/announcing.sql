-- name: waiting^
-- Whether messages wait to be announced, whether the hour of one to be sent has come, and that of a reminder.
select exists (select from message_due where not held) as announce,
       coalesce((select due_at from message_draft where state = 1 and not held order by due_at limit 1) <= :now, false) as send,
       coalesce((select min(remind_at) from acknowledgement_request where remind_at is not null) <= :now, false) as remind;

-- name: lock
-- Let nothing be frozen, quarantined or lifted until this transaction ends.
select ent_notify.safety_lock(false);

-- name: take
-- Take messages that nobody has announced, in their order, and note what they are found by; another worker's are left to
-- it. Those whose author may not write now are held.
with next as materialized (
    select t.place, t.conversation_id, t.seq, why_not_write(m.author_id, t.conversation_id, null, null, :now) as why
    from (
        select * from message_due d where not d.held order by d.place limit :most for update skip locked
    ) t
    left join message m on m.conversation_id = t.conversation_id and m.seq = t.seq
),
kept as (
    update message_due d set held = true from next n where d.place = n.place and n.why is not null and n.why <> 'restricted'
),
taken as (
    delete from message_due d using next n where d.place = n.place and (n.why is null or n.why = 'restricted')
    returning d.place, d.conversation_id, d.seq
),
found_by as (
    insert into message_words (conversation_id, seq, words)
    select m.conversation_id, m.seq, words_of(m.body)
    from taken t join message m on m.conversation_id = t.conversation_id and m.seq = t.seq and m.recalled_at is null
    on conflict (conversation_id, seq) do nothing   -- (an edit has noted newer ones)
)
select n.conversation_id, n.seq, t.place is null as held from next n left join taken t on t.place = n.place order by n.place;

-- name: posted
-- Messages with their authors and conversations, in the order asked for.
select m.conversation_id, m.seq, m.author_id, c.subject, c.shape, c.replies, c.started_by, c.keyed,
       o.profile as opener_profile, a.external_id, a.profile, a.function, a.given_name, a.family_name
from unnest(:conversations::bigint[], :seqs::int[]) with ordinality d (conversation_id, seq, place)
join message m on m.conversation_id = d.conversation_id and m.seq = d.seq and m.recalled_at is null
join conversation c on c.id = m.conversation_id
join person a on a.id = m.author_id
join person o on o.id = c.started_by
order by d.place;

-- name: recipients
-- Who takes part by name in what somebody wrote, and what they have to do with each other; who has muted the conversation
-- or blocked the author is left out.
select d.conversation_id, d.seq, f.*, k.wrote
from unnest(:conversations::bigint[], :seqs::int[], :authors::int[]) d (conversation_id, seq, author_id)
cross join lateral contact_facts(d.author_id, array(
    select p.person_id from participant p
    where p.conversation_id = d.conversation_id and p.member and not p.muted and p.person_id <> d.author_id
      and p.first_seq <= d.seq and coalesce(p.until_seq, d.seq) >= d.seq
      and (not p.joined or exists (select from parts(p.person_id, array[d.conversation_id], :now)))
      and not exists (select from contact_block b where b.person_id = p.person_id and b.blocked_id = d.author_id)
), :now) f
join participant k on k.conversation_id = d.conversation_id and k.person_id = f.person_id
order by d.conversation_id, d.seq, f.person_id;

-- name: keys
-- Whose groups take part by key in what somebody wrote. Those who may only join are told of the first message.
select d.conversation_id, d.seq, y.scope, g.external_id as group_id, w.external_id as pupil_id, g.kind, s.uai,
       exists (select from near_groups(d.author_id, :now) c where c.group_id = g.id) as within,
       exists (select from near_groups(d.author_id, :now) c where c.school_id = g.school_id) as same_school
from unnest(:conversations::bigint[], :seqs::int[], :authors::int[]) d (conversation_id, seq, author_id)
join conversation_key y on y.conversation_id = d.conversation_id and (not y.joinable or d.seq = 1)
left join people_group g on y.scope in (1, 2) and g.id = y.ref
left join school s on s.id = g.school_id
left join person w on y.scope = 4 and w.id = y.ref
order by d.conversation_id, d.seq, y.scope, y.ref;

-- name: silent
-- Who is not told of messages that go to whole groups: who has muted the conversation, or blocked the author.
select d.conversation_id, d.seq, p.external_id
from unnest(:conversations::bigint[], :seqs::int[], :authors::int[]) d (conversation_id, seq, author_id)
cross join lateral (
    select k.person_id from participant k where k.conversation_id = d.conversation_id and k.muted
    union
    select b.person_id from contact_block b where b.blocked_id = d.author_id
) x
join person p on p.id = x.person_id
order by d.conversation_id, d.seq, p.id;

-- name: publish
-- Publish what tells of messages; what cannot be published says why.
select ent_notify.announce_message(e.event, :now) as refused
from jsonb_array_elements(:events::jsonb) with ordinality e (event, place)
order by e.place;
