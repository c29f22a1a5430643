-- name: note!
-- Note that people have read something: their devices are to be looked at a little later.
select note_reading(:people::int[], :now, :after);

-- name: due
-- Lanes on which somebody is due, and since when; those that rest are left alone.
select c.lane_id, c.due_at
from lane l
cross join lateral (
    select c.lane_id, c.due_at from clearing c where c.lane_id = l.id and c.due_at <= :now order by c.due_at limit 1
) c
where l.channel = 'push' and l.paused_until <= :now;

-- name: take
-- Take those who are due on a lane, with what is to be cleared from each of their devices. See the function.
select * from take_clearings(:lane_id::smallint, :now, :again, :most, :entries);
