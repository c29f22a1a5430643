"""Timetables through the engine: many changes are one alert, versions replace each other, the same again is nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
import trio

from ent_notify.errors import MalformedTimetable, NotFound, UnknownAudience
from ent_notify.model.delivery import WakeUp
from ent_notify.model.timetable import Lesson

from .conftest import CLASS, OTHER_CLASS, SCHOOL, Town, go_to, lines, shown

NOW = datetime(2026, 9, 8, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FIRST, LAST = date(2026, 9, 7), date(2026, 9, 18)


def lesson(name: str, day: int, hour: int, group: str = CLASS) -> Lesson:
    """A lesson at a UTC hour of a day of September."""
    start = datetime(2026, 9, day, hour, tzinfo=UTC)
    return Lesson(
        id=f"{name}{day}", group=group, subject=name, starts_at=start, ends_at=start + timedelta(hours=1), room="A1"
    )


HOURS = (("Maths", 6), ("Art", 8), ("EPS", 12))
WEEKS = [lesson(name, day, hour) for day in (8, 9, 10, 11, 14, 15) for name, hour in HOURS]


async def give(town: Town, lessons: list[Lesson]) -> tuple[int, int]:
    report = await town.engine.timetable.replace(SCHOOL, lessons, FIRST, LAST, groups=[CLASS])
    return report.changed, report.days


def without(*ids: str) -> list[Lesson]:
    return [each for each in WEEKS if each.id not in ids]


async def test_the_first_lesson_of_tomorrow_falls_and_all_are_told_when_the_day_begins(town: Town) -> None:
    assert await give(town, WEEKS) == (0, 0)
    assert await give(town, without("Maths9")) == (1, 1)
    await go_to(town, NOW + MINUTE)
    assert await lines(town, "P1") == ["Demain, mercredi 9 septembre\u00a0: début à 10:00"]
    reader = await town.engine.reader("P12")
    (entry,) = await town.engine.inbox(reader)
    assert (entry.type, entry.children) == ("TimetableChanged", ("Ada", "Cleo", "Dan"))
    assert await shown(town, "P5") == await shown(town, "P14") == []
    assert {item.target for item in town.mail.sent} == {2, 4, 11, 12}


async def test_many_changes_of_a_day_are_one_alert(town: Town) -> None:
    await give(town, WEEKS)
    await give(town, without("EPS9"))
    await give(town, [replace(each, room="B2") if each.id == "Art9" else each for each in without("EPS9")])
    await go_to(town, NOW + MINUTE)
    ((kind, data),) = await shown(town, "P1")
    assert kind == "TimetableChanged"
    assert [(each["kind"], each["subject"]) for each in data["changes"]] == [("room", "Art"), ("cancelled", "EPS")]
    assert await lines(town, "P1") == ["Demain, mercredi 9 septembre\u00a0: fin à 11:00"]


async def test_moved_and_moved_back_is_nothing(town: Town) -> None:
    await give(town, WEEKS)
    await give(town, without("Maths9"))
    await give(town, WEEKS)
    await go_to(town, NOW + MINUTE)
    assert await shown(town, "P1") == []


async def test_a_burst_of_imports_of_the_same_timetable_alerts_nobody_twice(town: Town) -> None:
    await give(town, WEEKS)
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(give, town, without("Maths9"))
    await go_to(town, NOW + MINUTE)
    async with trio.open_nursery() as nursery:
        for n in range(3):
            nursery.start_soon(town.engine.worker(f"w{n}").tick)
    for _ in range(50):
        assert await give(town, without("Maths9")) == (0, 0)
    await go_to(town, NOW + 5 * MINUTE)
    assert len(await shown(town, "P1")) == 1
    mailed = [item.target for item in town.mail.sent]
    assert sorted(mailed) == [2, 4, 11, 12]


async def test_the_second_version_replaces_the_first_wherever_it_was_shown(town: Town) -> None:
    await give(town, WEEKS)
    await give(town, without("Maths9"))
    await go_to(town, NOW + MINUTE)
    first, pushed = {each.collapse_id for each in town.apns.contents if isinstance(each, WakeUp)}, len(town.apns.sent)
    await give(town, without("Maths9", "Art9"))
    await go_to(town, NOW + 3 * MINUTE)
    assert await lines(town, "P1") == ["Demain, mercredi 9 septembre\u00a0: début à 14:00"]
    second = {each.collapse_id for each in town.apns.contents if isinstance(each, WakeUp)}
    assert len(town.apns.sent) == 2 * pushed
    assert len(first) == 1 and second == first  # on a phone, the new one takes the place of the old one
    await give(town, WEEKS)
    await go_to(town, NOW + 5 * MINUTE)
    assert await lines(town, "P1") == ["Demain, mercredi 9 septembre\u00a0: emploi du temps comme prévu"]


async def test_further_ones_are_noted_in_the_inbox_and_said_aloud_on_the_eve(town: Town) -> None:
    await give(town, WEEKS)
    await give(town, without("Maths14"))  # a Monday
    await go_to(town, NOW + MINUTE)
    assert [kind for kind, _ in await shown(town, "P1")] == ["TimetableNoted"]
    assert town.mail.sent == town.apns.sent == []
    await go_to(town, datetime(2026, 9, 11, 14, 59, tzinfo=UTC))
    assert town.mail.sent == []
    await go_to(town, datetime(2026, 9, 11, 15, 0, tzinfo=UTC))  # Friday, 17:00
    assert await lines(town, "P1") == ["Lundi 14 septembre\u00a0: début à 10:00"]
    assert len(town.mail.sent) == 4


async def test_an_alert_about_a_lesson_that_is_over_is_never_sent(town: Town) -> None:
    await give(town, WEEKS)
    await give(town, without("Art8"))  # it began at 08:00 UTC, now; no worker looks until it is over
    await go_to(town, NOW + timedelta(hours=2))
    assert await shown(town, "P1") == [] and town.mail.sent == []


async def test_what_a_pause_holds_too_long_is_not_sent(town: Town) -> None:
    await give(town, WEEKS)
    await go_to(town, datetime(2026, 9, 8, 19, 0, tzinfo=UTC))  # 21:00
    await town.engine.timetable.change(
        SCHOOL,
        [
            replace(lesson("Maths", 9, 3), room="B2"),  # at 05:00, before the pause ends
        ],
    )
    await go_to(town, datetime(2026, 9, 8, 19, 2, tzinfo=UTC))
    assert [kind for kind, _ in await shown(town, "P1")] == ["TimetableChanged"]
    await go_to(town, datetime(2026, 9, 9, 7, 30, tzinfo=UTC))
    assert town.mail.sent == []


async def test_an_urgent_one_passes_the_pause(town: Town) -> None:
    await give(town, WEEKS)
    night = datetime(2026, 9, 9, 4, 30, tzinfo=UTC)  # 06:30; the lesson is at 08:00
    await go_to(town, night)
    await town.engine.timetable.change(SCHOOL, removed={CLASS: ["Maths9"]})
    await go_to(town, night)
    assert {item.target for item in town.mail.sent} == {2, 4, 11, 12}


async def test_a_dry_run_counts_and_writes_nothing(town: Town) -> None:
    await give(town, WEEKS)
    report = await town.engine.timetable.replace(SCHOOL, without("Maths9"), FIRST, LAST, dry_run=True)
    assert (report.changed, report.days) == (1, 1)
    await go_to(town, NOW + MINUTE)
    assert await shown(town, "P1") == []


async def test_what_cannot_be_a_timetable_of_the_school_is_refused(town: Town) -> None:
    with pytest.raises(UnknownAudience, match="5B"):
        await town.engine.timetable.change(SCHOOL, [lesson("Maths", 9, 8, OTHER_CLASS)])
    with pytest.raises(NotFound, match="0000000X"):
        await town.engine.timetable.change("0000000X", [])
    with pytest.raises(MalformedTimetable, match="twice"):
        await town.engine.timetable.change(SCHOOL, [lesson("Maths", 9, 8)] * 2)
    with pytest.raises(MalformedTimetable, match="no day"):
        await town.engine.timetable.replace(SCHOOL, [], LAST, FIRST)
