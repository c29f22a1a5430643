-- name: beat!
-- A gateway process lives, and has handed the feed on so far.
select beat(:node, :seq, :lease);

-- name: presence!
-- Who looks at a page, and who does not any more.
select note_presence(:people::int[], :nodes::bigint[], :streams::bigint[], :visible::boolean[], :now, :linger);

-- name: seen!
-- How far people have seen the feed.
select note_seen(:people::int[], :uptos::bigint[], :now);

-- name: held
-- Pages that are said to be looked at on the streams of one gateway, told before an instant.
select person_id, stream from presence where node = :node and since < :before;

-- name: marks
-- The read marks of some people: the watermark, and the newest marks above it.
select person_id, watermark, above[greatest(cardinality(above) - :most::int + 1, 1):] as above
from reading where person_id = any (:people::int[]);

-- name: counts^
-- Gateway processes that live, pages that are looked at there, and pushes that wait for their readers.
select (select count(*) from gateway_node where lease_until > :now) as gateways,
       (select count(*) from presence p join gateway_node g on g.id = p.node and g.lease_until > :now) as pages,
       (select count(*) from outcome where state = 1 and reason = 'on_screen') as waiting;
