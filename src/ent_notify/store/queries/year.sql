-- name: notifications_after
-- Notifications that are new since one, in their order.
select id, idempotency_key as key, type, data, published_at, expires_at, feed_seq
from notification where id > :after order by id;

-- name: people
-- Internal numbers of people, by the host's ids.
select id, external_id from person;

-- name: known$
-- How many of these keys were published.
select count(*)::int from notification where idempotency_key = any (:keys::text[]);

-- name: there
-- Which of these people are still held.
select external_id from person where external_id = any (:people::text[]);

-- name: stuck
-- What of a notification is not settled after it was over.
select h.campaign_id as notification, h.id as chunk, h.state, h.due_at
from chunk h join notification n on n.id = h.campaign_id
where h.state <> 3 and n.expires_at < :over
order by h.id limit 5;

-- name: want$
-- What is looked for everywhere, for the transaction.
select set_config('ent_notify.wanted', :word, true);

-- name: look_everywhere!
-- Look for it in every row of every table.
do $$
declare
    t record;
    hits bigint;
    found text := '';
begin
    for t in select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where n.nspname = 'ent_notify' and c.relkind = 'r' order by 1 loop
        execute format('select count(*) from ent_notify.%I x where x::text like %L', t.relname,
                       '%' || current_setting('ent_notify.wanted') || '%') into hits;
        if hits > 0 then found := found || ' ' || t.relname; end if;
    end loop;
    perform set_config('ent_notify.found', found, true);
end $$;

-- name: seen_in$
-- Where it was seen.
select current_setting('ent_notify.found');

-- name: account
-- What each provider accepted of a notification, by its chunks.
select case l.channel when 'push' then l.provider else l.channel end as provider, sum(h.accepted)::int as accepted
from chunk h join lane l on l.id = h.lane_id
where h.campaign_id = :campaign group by 1;
