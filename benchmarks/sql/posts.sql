-- Transactions for pgbench, and what they need: messages posted against a bare one-row insert.

-- name: create_bare
create table if not exists public.bench_message (id bigint generated always as identity primary key, body text not null);

-- name: bare
insert into public.bench_message (body) values (repeat('Bonjour, ', 20) || :talk::int);

-- name: create_talks
-- Conversation n is of the people n and n + 1; both have written before, a minute ago.
insert into ent_notify.conversation (id, subject, started_by, started_at, last_at)
overriding system value
select n, 'Sortie', n, '2026-09-08 07:00+00', '2026-09-08 07:59+00' from generate_series(1, %(talks)s) n;
insert into ent_notify.participant (conversation_id, person_id, wrote, checked_at)
select n, n + side, true, '2026-09-08 07:59+00' from generate_series(1, %(talks)s) n, generate_series(0, 1) side;

-- name: post
select said from ent_notify.post_message(:talk, :talk, repeat('Bonjour, ', 20) || :talk::int,
                                         timestamptz '2026-09-08 08:00+00', timestamptz '2026-09-08 07:50+00');

-- name: count
select count(*) from ent_notify.message;
