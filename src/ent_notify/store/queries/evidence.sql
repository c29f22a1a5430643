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

-- name: forget!
-- Drop what was seen so long ago that no delivery asks for it.
delete from seen where noted_at < :before;
