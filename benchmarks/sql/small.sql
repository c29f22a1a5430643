-- Transactions for pgbench, and the questions around them: small campaigns against a bare one-row insert.

-- name: create_bare
create table if not exists public.bench_bare (id bigint generated always as identity primary key, data jsonb not null);

-- name: bare
insert into public.bench_bare (data)
values (jsonb_build_object('type', 'HomeworkAssigned', 'key', gen_random_uuid(), 'class', :class::int));

-- name: publish
select ent_notify.publish(jsonb_build_object(
    'type', 'HomeworkAssigned', 'key', gen_random_uuid(),
    'data', jsonb_build_object('group', to_char(540000 + 1 + :class::int / 28, 'FM0000000') || chr(65 + (1 + :class::int / 28) % 23)
                                        || '/class/' || 1 + :class::int % 28,
                               'subject', 'Anglais', 'title', 'Exercice 4', 'due', '2026-09-10')),
    timestamptz '2026-09-08 08:00+00');

-- name: waiting
select (select count(*) from ent_notify.notification where feed_seq is null)
     + (select count(*) from ent_notify.campaign where planned_at is null);

-- name: planned
select count(distinct campaign_id), count(*), sum(size) from ent_notify.chunk
where campaign_id > %(after)s;

-- name: newest
select coalesce(max(id), 0) from ent_notify.notification;
