"""Homework: reminded of once an evening, merged, only while it is to be done, and never after it was due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.conftest import StepClock, open_town

from ent_notify.directory.school_years import calendar_of
from ent_notify.engine.calendars import calendar_at
from ent_notify.errors import MalformedEvent, UnknownAudience
from ent_notify.flows.reminders import Reminders
from ent_notify.model.events import (
    HomeworkAssigned,
    HomeworkChanged,
    HomeworkDone,
    HomeworkWithdrawn,
    TestAnnounced,
)
from ent_notify.model.people import Preference
from ent_notify.policy.calendar import SchoolCalendar, SchoolPlace
from ent_notify.policy.reminders import Asked, ReminderRules, dues_of, evening_of, local_instant

from .conftest import CLASS, OTHER_CLASS, Town, go_to, lines, shown

WEDNESDAY = date(2026, 9, 9)
EVENING = datetime(2026, 9, 8, 16, 0, tzinfo=UTC)
"""18:00 in Paris on the Tuesday on which the town begins."""


def work(
    key: str, subject: str = "Maths", *, due: date = WEDNESDAY, group: str = CLASS, **more: Any
) -> HomeworkAssigned:
    return HomeworkAssigned(key=key, group=group, subject=subject, title=f"Travail {key}", due=due, **more)


def moved(homework: str, due: date, subject: str = "Maths") -> HomeworkChanged:
    return HomeworkChanged(
        key=f"{homework}/{due}", homework=homework, group=CLASS, subject=subject, title="Travail", due=due
    )


async def reminders(town: Town, person: str) -> list[tuple[str, int]]:
    """(day, how many works) of each reminder in somebody's inbox."""
    return [(data["due"], data["count"]) for kind, data in await shown(town, person) if kind == "HomeworkReminder"]


async def test_what_is_due_tomorrow_is_one_reminder_at_six_in_the_evening(town: Town) -> None:
    await town.engine.publish_many([work("a"), work("b", "Histoire"), work("c", "Anglais")])
    await town.engine.publish(work("d", due=date(2026, 9, 11)))
    await go_to(town, EVENING - timedelta(minutes=1))
    assert await reminders(town, "P1") == []
    await go_to(town, EVENING)
    assert await reminders(town, "P1") == [("2026-09-09", 3)]
    assert (await lines(town, "P1"))[0] == "3 devoirs pour demain, mercredi 9 septembre\u00a0: Anglais, Histoire, Maths"
    # the guardian is told about which children; the restricted one, the contact and other classes hear nothing
    reader = await town.engine.reader("P12")
    (entry, *_) = await town.engine.inbox(reader)
    assert (entry.type, entry.children) == ("HomeworkReminder", ("Ada", "Cleo", "Dan"))
    for other in ("P14", "P15", "P5"):
        assert await reminders(town, other) == []


async def test_an_evening_is_reminded_of_once_through_a_crash_and_by_many_workers(town: Town) -> None:
    await town.engine.publish_many([work("a"), work("b", group=OTHER_CLASS)])
    town.clock.advance(EVENING - town.clock.now())
    workers = [town.engine.worker(f"w{n}") for n in range(4)]
    async with trio.open_nursery() as nursery:
        for worker in workers:
            nursery.start_soon(worker.tick)
    await go_to(town, EVENING + timedelta(hours=1))
    for person in ("P1", "P5"):
        assert await reminders(town, person) == [("2026-09-09", 1)]
    mails = [item.target for item in town.mail.sent]
    # each is told of the work by one mail and of the reminder by another; guardian 11 has a child in both classes
    assert {target: mails.count(target) for target in set(mails)} == {2: 2, 4: 2, 11: 4, 12: 2}


async def test_what_is_set_after_the_hour_is_told_once_whatever_else_the_school_has(town: Town) -> None:
    await town.engine.publish(work("other", group=OTHER_CLASS, due=date(2026, 9, 11)))
    town.clock.advance(EVENING + timedelta(minutes=5) - town.clock.now())
    await town.engine.publish(work("late"))
    await go_to(town, EVENING + timedelta(minutes=6))
    assert await reminders(town, "P1") == []
    # nor where the school had work for another day, and so had its evening
    await town.engine.publish(work("late too", group=OTHER_CLASS))
    await go_to(town, EVENING + timedelta(minutes=7))
    assert await reminders(town, "P5") == []


async def test_a_reminder_whose_transaction_failed_is_published_by_the_next_worker(town: Town) -> None:
    class Crash(Exception):
        pass

    await town.engine.publish(work("a"))
    town.clock.advance(EVENING - town.clock.now())
    asked = {"schools": [1], "evenings": [EVENING.date()], "tests": [False], "dues": [WEDNESDAY]}
    with pytest.raises(Crash):
        async with town.engine.db.transaction() as tx:
            ends = [datetime(2026, 9, 9, 6, tzinfo=UTC)]
            assert await tx.fetchval("alerts.remind", **asked, ends=ends, now=EVENING) == 1
            raise Crash
    await go_to(town, EVENING)
    assert await reminders(town, "P1") == [("2026-09-09", 1)]


async def test_only_those_who_have_not_done_it_are_reminded(town: Town) -> None:
    await town.engine.publish_many([work("a"), work("b", "Histoire")])
    done = await town.engine.publish_many(
        [
            HomeworkDone(key="1", homework="a", pupil="P1"),
            HomeworkDone(key="2", homework="a", pupil="P1"),
            HomeworkDone(key="3", homework="a", pupil="P2"),
            HomeworkDone(key="4", homework="b", pupil="P2"),
            HomeworkDone(key="5", homework="a", pupil="P3"),
            HomeworkDone(key="6", homework="a", pupil="P3", done=False),
        ]
    )
    assert [each.created for each in done] == [True, False, True, True, True, True]
    await go_to(town, EVENING)
    assert await reminders(town, "P1") == [("2026-09-09", 1)]
    assert await reminders(town, "P2") == await reminders(town, "P13") == []
    assert await reminders(town, "P3") == [("2026-09-09", 2)]


async def test_guardians_choose_for_themselves(town: Town) -> None:
    await town.engine.set_preferences([Preference(person="P12", category="reminder", channel="email", enabled=False)])
    await town.engine.publish(work("a"))
    await go_to(town, EVENING)
    mailed = [item.target for item in town.mail.sent]
    assert (mailed.count(11), mailed.count(12)) == (2, 1)


async def test_a_reminder_moves_with_the_date_and_goes_with_a_withdrawal(town: Town) -> None:
    await town.engine.publish_many([work("a"), work("b", "Histoire"), work("c", "Anglais")])
    await town.engine.publish(moved("a", date(2026, 9, 11)))
    await town.engine.publish(HomeworkWithdrawn(key="b!", homework="b", group=CLASS, subject="Histoire", due=WEDNESDAY))
    await go_to(town, EVENING)
    assert await reminders(town, "P1") == [("2026-09-09", 1)]
    await go_to(town, EVENING + timedelta(days=2))
    assert await reminders(town, "P1") == [("2026-09-11", 1), ("2026-09-09", 1)]
    # the change took the place of what was told first
    assert [kind for kind, _ in await shown(town, "P1")].count("HomeworkAssigned") == 1


async def test_a_reminder_that_has_become_wrong_is_replaced(town: Town) -> None:
    await town.engine.publish_many([work("a"), work("b", "Histoire")])
    await go_to(town, EVENING)
    await town.engine.publish(moved("a", date(2026, 9, 11)))
    await go_to(town, EVENING + timedelta(minutes=5))
    assert await reminders(town, "P1") == [("2026-09-09", 1)]
    pushes = len(town.apns.sent)
    await town.engine.publish(HomeworkWithdrawn(key="b!", homework="b", group=CLASS, subject="Histoire", due=WEDNESDAY))
    await go_to(town, EVENING + timedelta(minutes=10))
    assert await reminders(town, "P1") == []
    assert "Plus rien à faire pour le mercredi 9 septembre" in await lines(town, "P1")
    assert len(town.apns.sent) == pushes + 2  # the withdrawal itself, to two devices; the inbox's line makes no push


async def test_nothing_is_reminded_of_after_it_was_due(town: Town) -> None:
    await town.engine.publish_many([work("a"), work("b", due_at=datetime(2026, 9, 9, 4, 0, tzinfo=UTC))])
    # no worker saw the evening; one comes at 07:30, when one work is due at 08:00 and the other was at 06:00
    await go_to(town, datetime(2026, 9, 9, 5, 30, tzinfo=UTC))
    assert await reminders(town, "P1") == [("2026-09-09", 1)]
    await town.engine.publish(work("late", due=date(2026, 9, 10)))
    await go_to(town, datetime(2026, 9, 10, 6, 0, tzinfo=UTC))  # 08:00: too late
    assert [due for due, _ in await reminders(town, "P1")] == ["2026-09-09"]


async def test_a_reminder_that_is_held_too_long_is_not_sent(town_dsn: str) -> None:
    late = datetime(2026, 9, 8, 18, 30, tzinfo=UTC)  # 20:30: the pause has begun
    async with open_town(town_dsn) as town:
        await town.engine.publish(work("a", due_at=datetime(2026, 9, 9, 4, 59, tzinfo=UTC)))
        await go_to(town, late)  # (no worker saw the evening before)
        before = [item.target for item in town.mail.sent]
        await go_to(town, datetime(2026, 9, 9, 5, 1, tzinfo=UTC))
        published = [kind for kind, _ in await shown(town, "P1")]
        assert published.count("HomeworkReminder") == 1  # it is in the inbox
        after = [item.target for item in town.mail.sent][len(before) :]
        assert after.count(12) == 1  # the work itself was mailed at 07:00, its reminder was over


async def test_monday_is_reminded_of_on_friday_and_tests_three_days_ahead_too(town: Town) -> None:
    monday = date(2026, 9, 14)
    await town.engine.publish(work("a", due=monday))
    await town.engine.publish(TestAnnounced(key="t", group=CLASS, subject="Maths", title="Fractions", due=monday))
    with pytest.raises(MalformedEvent, match="is a test"):
        await town.engine.publish(HomeworkDone(key="x", homework="t", pupil="P1"))
    found: dict[str, list[str]] = {}
    for days in range(6):
        evening = EVENING + timedelta(days=days)
        before = len(await shown(town, "P1"))
        await go_to(town, evening)
        now = await shown(town, "P1")
        fresh = [kind for kind, _ in now[: len(now) - before] if kind.endswith("Reminder")]
        found[f"{evening:%a}"] = sorted(fresh)
    assert found == {
        "Tue": [],
        "Wed": ["TestReminder"],
        "Thu": [],
        "Fri": ["HomeworkReminder", "TestReminder"],
        "Sat": [],
        "Sun": [],
    }
    assert any(line.startswith("Contrôle le lundi 14 septembre\u00a0: Maths") for line in await lines(town, "P1"))


async def test_a_school_with_a_calendar_of_its_own_is_reminded_by_it(town: Town) -> None:
    await town.engine.calendars.set_own({"weekdays": [1, 2, 4, 5]}, by="head", school="0540001A")
    await town.engine.publish(work("a", due=date(2026, 9, 10)))
    await go_to(town, EVENING)  # Wednesday is no school day there: the evening before Thursday is Tuesday's
    assert await reminders(town, "P1") == [("2026-09-10", 1)]
    assert await town.engine.calendars.known_enough("0540001A")


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (HomeworkDone(key="k", homework="none", pupil="P1"), MalformedEvent),
        (HomeworkDone(key="k", homework="a", pupil="P5"), MalformedEvent),
        (HomeworkDone(key="k", homework="a", pupil="nobody"), UnknownAudience),
        (moved("none", WEDNESDAY), MalformedEvent),
        (work("b", homework="x" * 201), MalformedEvent),
    ],
)
async def test_what_speaks_of_no_homework_is_refused(town: Town, event: Any, error: type[Exception]) -> None:
    await town.engine.publish(work("a"))
    with pytest.raises(error):
        await town.engine.publish(event)


@dataclass
class CountedStore:
    """A ReminderStore of many schools that counts its statements."""

    schools: int
    asked: list[int] = field(default_factory=list)
    looks: int = 0

    async def schools_with_work(self, now: datetime) -> list[tuple[SchoolPlace, datetime]]:
        await trio.lowlevel.checkpoint()
        self.looks += 1
        since = datetime.min.replace(tzinfo=UTC)
        return [(SchoolPlace(n, f"054{n:04}A", "Europe/Paris"), since) for n in range(self.schools)]

    async def remind(self, asked: Sequence[Asked], now: datetime) -> int:
        await trio.lowlevel.checkpoint()
        self.asked.append(len({each.school for each in asked}))
        return len(asked)


async def test_the_evening_of_a_whole_region_is_a_few_statements() -> None:
    store, clock = CountedStore(840), StepClock(EVENING)
    reminders = Reminders(store, calendar_at, clock, ReminderRules())
    await reminders.step()
    assert len(store.asked) == 17 and sum(store.asked) == 840
    for _ in range(10):  # and it is asked for once, however often it is looked at
        clock.advance(timedelta(minutes=1))
        assert await reminders.step() == 0
    assert (len(store.asked), store.looks) == (17, 11)


@given(
    closed=st.sets(st.dates(date(2026, 9, 1), date(2026, 12, 31)), max_size=80),
    due=st.dates(date(2026, 9, 10), date(2026, 12, 20)),
    days=st.integers(1, 3),
)
def test_each_day_has_one_evening_before_it(closed: set[date], due: date, days: int) -> None:
    calendar = SchoolCalendar(closed=dict.fromkeys(closed, "x"))
    evening = evening_of(due, days, calendar)
    assert evening < due
    around = [due + timedelta(days=n) for n in range(-20, 1)]
    assert [each for each in around if due in dues_of(each, days, calendar)] == [evening]


def test_after_long_holidays_it_is_the_eve() -> None:
    nancy = calendar_of("0541234A", 2026)
    assert evening_of(date(2026, 11, 2), 1, nancy) == date(2026, 11, 1)


def test_a_local_hour_is_read_on_both_nights() -> None:
    paris = ZoneInfo("Europe/Paris")
    assert local_instant(date(2026, 3, 29), time(2, 30), paris) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert local_instant(date(2026, 10, 25), time(2, 30), paris) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
