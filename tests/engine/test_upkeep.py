"""Rows that nobody can need any more are forgotten by the worker that runs, and those that somebody needs are kept."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
import trio
from tests.engine.conftest import TUESDAY, Town

from ent_notify.errors import StoreUnreachable
from ent_notify.flows.upkeep import EVERY, SLICE, Upkeep
from ent_notify.model.upkeep import Chore
from ent_notify.ports import Unobserved
from ent_notify.store.sql import Query

OLD_AND_NEW = """
    insert into ent_notify.stream_ticket select sha256(n::text::bytea), 1, '{now}'::timestamptz + n * interval '1 s'
        from generate_series(-2, 1) n;
    insert into ent_notify.stream_session (digest, person_id, tickets, opened_at, expires_at)
        select sha256(n::text::bytea), 1, '{{}}', '{now}', '{now}'::timestamptz + n * interval '1 s'
        from generate_series(-2, 1) n;
    insert into ent_notify.client_write (person_id, client_id, digest, written_at)
        select 1, n::text, '', '{now}'::timestamptz - n * interval '10 days' from generate_series(2, 4) n;
    insert into ent_notify.retraction (scope, ref, feed_seq, notifications, retracted_at)
        select 0, 0, n, '{{}}', '{now}'::timestamptz - n * interval '30 days' from generate_series(1, 3) n;
    insert into ent_notify.sender values ('quiet', '{now}'), ('busy', '{now}'::timestamptz + interval '1 h');
    insert into ent_notify.chunk (campaign_id, lane_id, bucket, urgency, turn, size, targets, state, due_at)
        select c.notification_id, l.id, s, 1, 1, 2, '{{1,2}}', s, '{now}'::timestamptz + interval '1 h'
        from ent_notify.campaign c, ent_notify.lane l, generate_series(2, 3) s where l.name = 'email';
    insert into ent_notify.seen select n, 1, '{now}'::timestamptz - n * interval '20 days' from generate_series(1, 2) n;
    insert into ent_notify.lately_written select 1, 3, n, '{now}'::timestamptz - n * interval '1 day'
        from generate_series(1, 3) n;
    insert into ent_notify.late_word select id, 1, 4, 'late' from ent_notify.chunk where bucket in (2, 3);
    insert into ent_notify.fair_share select id, 1, 77, turns[2], 1 from ent_notify.lane where name = 'email';
    insert into ent_notify.fair_share select id, 1, 78, turns[2] + 1, 1 from ent_notify.lane where name = 'email';
    insert into ent_notify.homework (external_id, group_id, is_test, subject, title, due, notification_id)
        select n::text, 7, false, '', '', '{now}'::timestamptz::date - 25 * n, 1 from generate_series(1, 2) n;
    insert into ent_notify.reminded select n, '{now}', false, '{now}', '{now}'::timestamptz - n * interval '5 days'
        from generate_series(1, 2) n;
    insert into ent_notify.homework_reminder select n, '{{1}}', '{now}'::timestamptz + n * interval '1 s'
        from generate_series(0, 1) n;
    insert into ent_notify.lesson (group_id, external_id, base_day)
        select 7, n::text, '{now}'::timestamptz::date - 5 * n
        from generate_series(1, 2) n;
    insert into ent_notify.timetable_day (group_id, day, look_at) select 7, '{now}'::timestamptz::date - 5 * n, '{now}'
        from generate_series(1, 2) n;
"""
KINDS = {
    Chore.TICKETS: ("stream_ticket", 3),
    Chore.SESSIONS: ("stream_session", 3),
    Chore.CLIENT_WRITES: ("client_write", 1),
    Chore.RETRACTIONS: ("retraction", 1),
    Chore.LATE_WORDS: ("late_word", 1),
    Chore.TURNS: ("fair_share", 1),
    Chore.SENDERS: ("sender", 1),
    Chore.SEEN: ("seen", 1),
    Chore.HOMEWORK: ("homework", 1),
    Chore.REMINDED: ("reminded", 1),
    Chore.REMINDERS: ("homework_reminder", 1),
    Chore.LESSONS: ("lesson", 1),
    Chore.TIMETABLE_DAYS: ("timetable_day", 1),
    Chore.LATELY_WRITTEN: ("lately_written", 1),
}
"""The table of each kind, and how many of the rows above are past their use."""


COUNTS = Query(
    "test.counts",
    "",
    " union all ".join(f"select '{chore}', count(*)::int from {table}" for chore, (table, _) in KINDS.items()),
    (),
)


async def counts(town: Town) -> dict[Chore, int]:
    return {Chore(kind): number for kind, number in await town.engine.db.fetch(COUNTS)}


async def old_and_new(town: Town) -> dict[Chore, int]:
    """Fill the tables; what is to be left of them."""
    data = {"title": "T", "body": "B"}
    await town.engine.publish({"type": "Announcement", "key": "a", "audience": {"everyone": True}, "data": data})
    await town.engine.db.fetchval("fanout.relay", most=10)
    await town.engine.db.script(OLD_AND_NEW.format(now=town.clock.now().isoformat()))
    held = await counts(town)
    assert all(held[chore] > past for chore, (_, past) in KINDS.items())  # something is to be kept, too
    return {chore: held[chore] - past for chore, (_, past) in KINDS.items()}


async def test_what_is_past_its_use_is_forgotten_and_nothing_else(town: Town) -> None:
    left = await old_and_new(town)
    assert await town.engine.upkeep.sweep(town.clock.now()) == {chore: past for chore, (_, past) in KINDS.items()}
    assert await counts(town) == left
    assert set((await town.engine.upkeep.sweep(town.clock.now())).values()) == {0}


async def test_a_worker_that_runs_does_it_by_itself(town: Town) -> None:
    left = await old_and_new(town)
    await town.engine.campaigns.pause(1, by="t", reason="its chunks are ours alone")
    worker = town.engine.worker()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            # (its idle looks let time pass: what is not past its use yet may be forgotten, too)
            while any(number > left[chore] for chore, number in (await counts(town)).items()):
                await trio.lowlevel.checkpoint()
            worker.drain()


class Shelf:
    """An UpkeepStore that holds numbers of rows, and may be away."""

    def __init__(self, **rows: int) -> None:
        self.rows = {Chore(name): number for name, number in rows.items()}
        self.asked: list[tuple[Chore, datetime]] = []
        self.away = False

    async def forget(self, chore: Chore, before: datetime, most: int) -> int:
        await trio.lowlevel.checkpoint()
        self.asked.append((chore, before))
        if self.away:
            raise StoreUnreachable("away")
        dropped = min(self.rows.get(chore, 0), most)
        self.rows[chore] = self.rows.get(chore, 0) - dropped
        return dropped


async def test_much_is_dropped_slice_by_slice_and_looked_for_again_after_a_while() -> None:
    shelf = Shelf(tickets=2 * SLICE + 1, sessions=SLICE - 1)
    upkeep = Upkeep(shelf, Unobserved(), lambda: 1.0, {Chore.SESSIONS: timedelta(days=1)})
    assert await upkeep.step(TUESDAY) == SLICE + SLICE - 1
    assert (Chore.SESSIONS, TUESDAY - timedelta(days=1)) in shelf.asked
    assert (Chore.TICKETS, TUESDAY) in shelf.asked
    shelf.asked.clear()
    assert [await upkeep.step(TUESDAY) for _ in range(3)] == [SLICE, 1, 0]
    assert {chore for chore, _ in shelf.asked} == {Chore.TICKETS}
    shelf.asked.clear()
    assert await upkeep.step(TUESDAY + EVERY) == 0
    assert {chore for chore, _ in shelf.asked} == set(Chore)


async def test_a_database_that_is_away_is_not_asked_again_at_once() -> None:
    shelf = Shelf(tickets=1)
    shelf.away = True
    upkeep = Upkeep(shelf, Unobserved(), lambda: 0.0)
    for chore in Chore:
        with pytest.raises(StoreUnreachable):
            await upkeep.step(TUESDAY)
        assert shelf.asked[-1][0] is chore
    assert await upkeep.step(TUESDAY) == 0
    shelf.away = False
    assert await upkeep.step(TUESDAY + EVERY) == 1
