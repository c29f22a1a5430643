-- A year of conversations in a region of 15,000 people: 20,000 of two or three people with 12 messages each, one long one,
-- and a thread of every class with its guardians.
set search_path = ent_notify;
set synchronous_commit = off;
insert into conversation (id, subject, started_by, started_at, last_at, last_seq) overriding system value
select n, 'Sujet ' || n, n % 15000 + 1, timestamptz '2026-08-15' + n * interval '1 minute',
       timestamptz '2026-08-15' + n * interval '1 minute', case n when 500 then 20000 else 12 end
from generate_series(1, 20000) n;
insert into participant (conversation_id, person_id, read_seq)
select distinct n, (n + k * 751) % 15000 + 1, 6 from generate_series(1, 20000) n, generate_series(0, 1 + n % 2) k;
insert into message (conversation_id, seq, author_id, body, posted_at)
select c.id, s, c.started_by, 'Bonjour', c.started_at from conversation c, generate_series(1, c.last_seq) s;
insert into conversation (id, subject, started_by, started_at, last_at, last_seq, shape, keyed) overriding system value
select 20000 + g.id, g.name, 1, '2026-08-20', '2026-08-20', 30, 3, true from people_group g where g.kind = 4;
insert into conversation_key (conversation_id, scope, ref)
select 20000 + g.id, s, g.id from people_group g, generate_series(1, 2) s where g.kind = 4;
insert into message (conversation_id, seq, author_id, body, posted_at)
select c.id, s, 1, 'Bonjour', '2026-08-20' from conversation c, generate_series(1, 30) s where c.shape = 3;
insert into message_words (conversation_id, seq, words)
select m.conversation_id, m.seq, w.words
from message m join (select words_of('Bonjour') as words offset 0) w on true where m.seq > 1 or m.conversation_id > 5000;
update message set body = 'Absent' where conversation_id = 899 and seq = 3;
insert into message_due (conversation_id, seq) select n, 12 from generate_series(1, 5000) n;
insert into message_draft (author_id, content, state, due_at, updated_at)
select n % 15000 + 1, '{}', 1, '2026-10-01', '2026-09-01' from generate_series(1, 5000) n;
