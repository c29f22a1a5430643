-- name: asked$
-- What somebody types, as a question; nothing when it holds no word.
select search_query(:typed)::text;

-- name: places
-- A reader's conversations that may hold what is looked for, those with the newest message first. (A child's: about it,
-- or of its class.)
select c.id, c.last_at
from conversation c
where c.id in (select o.conversation_id from conversations_of(:person_id, :now) o)
  and c.last_at >= :since and c.started_at < :until
  and (:label::text is null or exists (
      select from participant p where p.conversation_id = c.id and p.person_id = :person_id and :label = any (p.labels)
  ))
  and (:child::text is null or c.about_id = (select h.id from person h where h.external_id = :child) or exists (
      select from reader_keys(:person_id, :now) k
      join conversation_key y on y.scope = k.scope and y.ref = k.ref and y.conversation_id = c.id
      where k.until > :now and k.child = (select h.id from person h where h.external_id = :child)
  ))
order by c.last_at desc, c.id desc;

-- name: hits
-- Messages of some of a reader's conversations that answer a question, newest first; the subject counts as if it stood in
-- the first message that they see. (asked null: whatever they say.)
select hit.conversation_id, hit.seq, hit.posted_at, hit.edited_at, hit.body, c.subject,
       a.external_id as author, a.given_name, a.family_name
from (
    select m.*
    from parts(:person_id, :conversations::bigint[], :now) x
    join conversation c on c.id = x.conversation_id
    left join participant p on p.conversation_id = x.conversation_id and p.person_id = :person_id
    cross join lateral (
        select n.* from (   -- from the newest on, and no further than the page
            select n.*
            from message_words w
            cross join lateral (
                select * from message n where n.conversation_id = w.conversation_id and n.seq = w.seq offset 0
            ) n
            where w.conversation_id = x.conversation_id and w.seq between x.first_seq and x.last_seq
              and (:asked::text is null or w.words @@ :asked::tsquery
                   or w.seq = x.first_seq and (w.words || c.subject_words) @@ :asked::tsquery)
              and (p.gone is null or w.seq <> all (p.gone))
              and (n.posted_at, n.conversation_id, n.seq) < (:before_at, :before_conversation, :before_seq)
              and n.posted_at >= :since and n.posted_at < :until and n.recalled_at is null
              and (:author::text is null or n.author_id = (select h.id from person h where h.external_id = :author))
            order by w.seq desc limit :most
        ) n
        union all
        select n.*   -- what waits to be announced
        from message_due d
        join message n on n.conversation_id = d.conversation_id and n.seq = d.seq
        where d.conversation_id = x.conversation_id and d.seq between x.first_seq and x.last_seq
          and not exists (select from message_words w where w.conversation_id = d.conversation_id and w.seq = d.seq)
          and (:asked::text is null or words_of(n.body) @@ :asked::tsquery
               or d.seq = x.first_seq and (words_of(n.body) || c.subject_words) @@ :asked::tsquery)
          and (p.gone is null or d.seq <> all (p.gone))
          and (n.posted_at, n.conversation_id, n.seq) < (:before_at, :before_conversation, :before_seq)
          and n.posted_at >= :since and n.posted_at < :until and n.recalled_at is null
          and (:author::text is null or n.author_id = (select h.id from person h where h.external_id = :author))
    ) m
    order by m.posted_at desc, m.conversation_id desc, m.seq desc limit :most
) hit
join conversation c on c.id = hit.conversation_id
left join person a on a.id = hit.author_id
order by hit.posted_at desc, hit.conversation_id desc, hit.seq desc;
