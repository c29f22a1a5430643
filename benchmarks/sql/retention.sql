-- A month of deliveries behind a platform: each chunk of a thousand with an exception for each of its people, in a partition
-- of their own, as the nightly run makes room for them; all settled, all older than delivery detail is kept.

-- name: place
select greatest((select coalesce(max(upper), 0) from ent_notify.partitions_of('ent_notify.outcome')),
                (select last_value from ent_notify.chunk_id_seq)) + 1;

-- name: fill_notifications
insert into ent_notify.notification (idempotency_key, type, category, urgency, data, audience, clauses, published_at, expires_at)
select 'month/' || %(low)s || '/' || n, 'Announcement', 'announcement', 2, '{"title": "T", "body": "B"}', '{"everyone": true}',
       '[]', %(now)s - interval '61 days' + n * interval '1 minute', %(now)s - interval '40 days'
from generate_series(1, %(campaigns)s) n;

-- name: fill_campaigns
insert into ent_notify.campaign (notification_id, feed_seq, planned_at)
select id, id, published_at from ent_notify.notification where idempotency_key like 'month/' || %(low)s || '/%%';

-- name: fill_chunks
insert into ent_notify.chunk (id, campaign_id, lane_id, bucket, urgency, turn, size, targets, cursor, failed, state, due_at, settled_at)
overriding system value
select %(low)s + n, c.id, (select min(id) from ent_notify.lane where channel = 'email'), n, 2, 0, 1000,
       array(select generate_series(n * 1000 + 1, n * 1000 + 1000)), 1000, 1000, 3, %(now)s, %(now)s
from generate_series(0, %(chunks)s - 1) n
join (select id, row_number() over (order by id) - 1 as place, count(*) over () as of
      from ent_notify.notification where idempotency_key like 'month/' || %(low)s || '/%%') c on c.place = n %% c.of;

-- name: fill_outcomes
insert into ent_notify.outcome (chunk_id, target, campaign_id, person_id, state, reason, attempts, noted_at)
select h.id, t, h.campaign_id, t, 3, 'smtp.5.1.1', 1, %(now)s
from ent_notify.chunk h cross join unnest(h.targets) t where h.id >= %(low)s;

-- name: delete_rows
delete from ent_notify.outcome o using ent_notify.chunk h where h.id = o.chunk_id and h.id >= %(low)s;

-- name: blank_chunks
update ent_notify.chunk set targets = null where id >= %(low)s;

-- name: rows
select count(*) from ent_notify.outcome where chunk_id >= %(low)s;

-- name: write_much
insert into ent_notify.conversation (subject, started_by, started_at, last_seq, last_at)
select 'Sujet ' || n, %(person)s, %(now)s, 100, %(now)s from generate_series(1, %(messages)s / 100) n;

-- name: take_part
insert into ent_notify.participant (conversation_id, person_id, wrote)
select c.id, p, true from ent_notify.conversation c cross join unnest(array[%(person)s, %(other)s]) p
where c.started_by = %(person)s on conflict do nothing;

-- name: write_messages
insert into ent_notify.message (conversation_id, seq, author_id, body, posted_at)
select c.id, n, %(person)s, 'Bonjour, voici le message ' || n || ' de cette conversation, avec quelques mots.', %(now)s
from ent_notify.conversation c cross join generate_series(1, 100) n where c.started_by = %(person)s;
