-- Years of messages in a region: 400 for each person, in conversations of two or three people; nine tenths in short ones of
-- ten messages, the rest in long ones of two hundred. All conversations go on at once, so that the messages of one lie
-- as far apart in the table as they do in a year's. What is said is drawn from 5,000 texts of thirty words, of which a
-- few are in most and most in few. Nobody in it is real.

-- name: make
set search_path = ent_notify;
set synchronous_commit = off;   -- the making of the data is not measured
set maintenance_work_mem = '512MB';
set work_mem = '256MB';
set session_replication_role = replica;   -- no look at foreign keys row by row
select setseed(0.5);
create temporary table vocabulary as
select n, case when n <= 12 then (array['bonjour','la','réunion','de','les','élèves','cordialement','pour','vous','sortie','absence','classe'])[n]
               else 'mot' || chr(97 + n %% 26) || n end as word
from generate_series(1, 8000) n;
create temporary table texts as
select t.t as n, string_agg(v.word, ' ' order by d.place) as body
from generate_series(0, 4999) t (t)
cross join lateral (select place, 1 + floor(8000 ^ random() - 1)::int as n, t.t as text from generate_series(1, 30) place) d
join vocabulary v on v.n = d.n
group by t.t;
create temporary table said as select n, body, words_of(body) as words from texts;
create unique index on said (n);
analyze said;

create temporary table talks as
select n as id, case when n <= %(messages)s * 9 / 100 then 10 else 200 end as last_seq,
       timestamptz '2024-09-01' + (n %% 1000) * interval '1 minute' as started_at, hashint4(n) & 2147483647 as draw
from generate_series(1, (%(messages)s * 9 / 100 + %(messages)s / 2000)::int) n;
insert into conversation (id, subject, started_by, started_at, last_at, last_seq) overriding system value
select id, 'Sujet ' || id, draw %% (%(people)s) + 1, started_at, started_at + last_seq * interval '1 day', last_seq from talks;
select setval(pg_get_serial_sequence('conversation', 'id'), (select max(id) from conversation));
insert into participant (conversation_id, person_id, read_seq, wrote)
select distinct id, (draw + k * 7919::bigint) %% (%(people)s) + 1, last_seq / 2, true from talks, generate_series(0, 1 + id %% 2) k;
insert into message (conversation_id, seq, author_id, body, posted_at)
select c.id, s, (c.draw + (s %% 2) * 7919::bigint) %% (%(people)s) + 1, t.body, c.started_at + s * interval '1 day'
from generate_series(1, 200) s
join talks c on c.last_seq >= s
join said t on t.n = (c.draw + s * 31::bigint) %% 5000
order by s, c.draw;
insert into message_words (conversation_id, seq, words)
select c.id, s, t.words
from generate_series(1, 200) s
join talks c on c.last_seq >= s
join said t on t.n = (c.draw + s * 31::bigint) %% 5000
order by s, c.draw;

-- name: long_ones
select p.person_id, p.conversation_id from ent_notify.participant p join ent_notify.conversation c on c.id = p.conversation_id
where c.last_seq = 200 order by hashint8(p.conversation_id), p.person_id limit 2000;
