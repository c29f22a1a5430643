"""The net change of a day: apply, revert, permute; and when it is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ent_notify.errors import MalformedTimetable
from ent_notify.model.delivery import Urgency
from ent_notify.model.timetable import Kept, Lesson, lesson_from
from ent_notify.policy.calendar import SchoolCalendar
from ent_notify.policy.timetable import (
    Action,
    ChangeKind,
    DayChange,
    Decision,
    Given,
    TimetableRules,
    change_data,
    change_from,
    change_of,
    decide,
    merge,
)

PARIS = ZoneInfo("Europe/Paris")
WEDNESDAY = date(2026, 9, 9)
NOW = datetime(2026, 9, 8, 8, 0, tzinfo=UTC)
"""Tuesday, ten o'clock in Paris."""
HORIZON = timedelta(days=14)
CALENDAR = SchoolCalendar()


def at(hour: int, day: date = WEDNESDAY) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=PARIS).astimezone(UTC)


def lesson(name: str, hour: int, day: date = WEDNESDAY, **more: Any) -> Lesson:
    fields = {"subject": name, "room": "A1", "teacher": "Mme Petit"} | more
    return Lesson(id=name, group="", starts_at=at(hour, day), ends_at=at(hour + 1, day), **fields)


CHOIR = lesson("Choir", 16, WEDNESDAY + timedelta(days=1))
WEEK = {each.id: each for each in (lesson("Maths", 8), lesson("Anglais", 9), lesson("Sport", 14), CHOIR)}

operations = st.lists(
    st.tuples(
        st.sampled_from(["Maths", "Anglais", "Sport", "New"]),
        st.sampled_from(["cancel", "remove", "move", "later", "room", "teacher", "exam", "subject"]),
        st.integers(7, 18),
    ),
    max_size=8,
)


def applied(week: dict[str, Lesson], done: list[tuple[str, str, int]]) -> dict[str, Lesson]:
    found = dict(week)
    for name, what, n in done:
        each = found.get(name) or lesson(name, n)
        if what == "remove":
            found.pop(name, None)
        else:
            found[name] = {
                "cancel": lambda e, n: replace(e, cancelled=n % 2 == 0),
                "move": lambda e, n: replace(e, starts_at=at(n), ends_at=at(n + 1)),
                "later": lambda e, n: replace(
                    e, starts_at=at(n, WEDNESDAY + timedelta(1)), ends_at=at(n + 1, WEDNESDAY + timedelta(1))
                ),
                "room": lambda e, n: replace(e, room=f"B{n}"),
                "teacher": lambda e, n: replace(e, teacher=f"M. {n}"),
                "exam": lambda e, n: replace(e, exam=n % 2 == 0),
                "subject": lambda e, n: replace(e, subject=f"{e.id} {n}"),
            }[what](each, n)
    return found


def through(*versions: dict[str, Lesson]) -> dict[str, Kept]:
    """What is known after imports of whole versions, one after the other."""
    known: dict[str, Kept] = {}
    for version in versions:
        whole = (NOW.date(), NOW.date() + timedelta(days=10))
        for id_, kept in merge(known, Given(version, whole), NOW, PARIS, HORIZON).rows.items():
            if kept is None:
                known.pop(id_, None)
            else:
                known[id_] = kept
    return known


def net(known: dict[str, Kept], day: date = WEDNESDAY) -> DayChange:
    return change_of(known.values(), day, PARIS)


@given(done=operations)
def test_what_is_changed_and_changed_back_is_nothing(done: list[tuple[str, str, int]]) -> None:
    known = through(WEEK, applied(WEEK, done), WEEK)
    assert net(known) == DayChange(WEDNESDAY)
    assert net(known, WEDNESDAY + timedelta(days=1)) == DayChange(WEDNESDAY + timedelta(days=1))


@given(first=operations, second=operations)
def test_only_the_net_change_counts_whatever_came_between(
    first: list[tuple[str, str, int]], second: list[tuple[str, str, int]]
) -> None:
    last = applied(WEEK, second)
    assert net(through(WEEK, applied(WEEK, first), last)) == net(through(WEEK, last))


@given(done=operations, data=st.data())
def test_changes_of_different_lessons_may_come_in_any_order(done: list[tuple[str, str, int]], data: Any) -> None:
    done = list({name: (name, what, n) for name, what, n in done}.values())
    shuffled = data.draw(st.permutations(done))
    # one import each against one import of all
    single = [applied(WEEK, shuffled[: n + 1]) for n in range(len(shuffled))]
    assert net(through(WEEK, *single)) == net(through(WEEK, applied(WEEK, done)))


@given(done=operations)
def test_the_change_says_all_that_is_new_and_nothing_else(done: list[tuple[str, str, int]]) -> None:
    """Whoever knows the day as it was, and is told its change, knows the day as it is."""
    new = applied(WEEK, done)
    change = net(through(WEEK, new))
    day = {each.starts_at: each for each in WEEK.values() if each is not CHOIR}
    told: list[tuple[Any, ...]] = []
    for line in change.lines:
        was = None if line.kind is ChangeKind.ADDED else day.pop(line.at)
        if line.kind is ChangeKind.CANCELLED:
            continue
        start = line.to or line.at
        if start.astimezone(PARIS).date() == WEDNESDAY:
            room = line.room or (was.room if was else "")
            teacher = line.teacher or (was.teacher if was else "")
            told.append((start, line.subject, room, teacher, line.exam))
    told += [(each.starts_at, each.subject, each.room, each.teacher, False) for each in day.values()]
    held = [
        (each.starts_at, each.subject, each.room, each.teacher, each.exam)
        for each in new.values()
        if not each.cancelled and each.day(PARIS) == WEDNESDAY
    ]
    assert sorted(told) == sorted(held)
    starts = min((each[0] for each in held), default=None)
    assert change.starts == (starts if starts != at(8) else None)
    assert change.free == (not held)


@given(done=operations)
def test_a_change_survives_being_kept(done: list[tuple[str, str, int]]) -> None:
    change = net(through(WEEK, applied(WEEK, done)))
    assert change_from(WEDNESDAY, change_data(change)) == change


@given(done=operations)
def test_the_same_version_again_changes_nothing(done: list[tuple[str, str, int]]) -> None:
    version = applied(WEEK, done)
    known = through(WEEK, version)
    whole = (NOW.date(), NOW.date() + timedelta(days=10))
    again = merge(known, Given(version, whole), NOW, PARIS, HORIZON)
    assert (again.rows, again.days, again.changed) == ({}, set(), 0)


def test_an_export_that_numbers_anew_changes_nothing() -> None:
    renumbered = {f"{n}": replace(each, id=f"{n}") for n, each in enumerate(WEEK.values())}
    known = through(WEEK, renumbered)
    assert net(known) == DayChange(WEDNESDAY) and set(known) == set(renumbered)


def test_new_days_are_the_timetable_and_lessons_among_known_days_are_added() -> None:
    friday = date(2026, 9, 11)
    known = through(WEEK | {"F": lesson("F", 8, friday)}, WEEK | {"F": lesson("F", 8, friday), "X": lesson("X", 11)})
    assert [line.kind for line in net(known).lines] == [ChangeKind.ADDED]
    monday = date(2026, 9, 14)
    later = through(WEEK, WEEK | {"M": lesson("M", 8, monday)})
    assert net(later, monday) == DayChange(monday)


def test_far_ahead_the_newest_version_is_the_timetable_but_a_cancellation_is_kept() -> None:
    far = NOW.date() + timedelta(days=30)
    known: dict[str, Kept] = {}
    for version in (
        [lesson("A", 8, far), lesson("B", 9, far)],
        [lesson("A", 10, far), lesson("B", 9, far, cancelled=True)],
    ):
        known |= {
            id_: kept
            for id_, kept in merge(known, Given({e.id: e for e in version}), NOW, PARIS, HORIZON).rows.items()
            if kept is not None
        }
    assert [(line.kind, line.subject) for line in net(known, far).lines] == [(ChangeKind.CANCELLED, "B")]


def said(
    change: DayChange,
    now: datetime,
    told: DayChange | None = None,
    *,
    loud: bool = False,
    since: datetime | None = None,
) -> Decision:
    return decide(
        change, told, loud=loud, changed_at=since, now=now, zone=PARIS, calendar=CALENDAR, rules=TimetableRules()
    )


FIRST_FALLS = net(through(WEEK, applied(WEEK, [("Maths", "remove", 0)])))


def test_the_first_lesson_falls_so_the_day_begins_later() -> None:
    assert (FIRST_FALLS.starts, FIRST_FALLS.ends) == (at(9), None)
    last_falls = net(through(WEEK, applied(WEEK, [("Sport", "cancel", 0)])))
    assert (last_falls.starts, last_falls.ends) == (None, at(10))


def test_changes_are_gathered_for_a_minute_and_tomorrow_is_told_at_once() -> None:
    waiting = said(FIRST_FALLS, NOW, since=NOW)
    assert (waiting.action, waiting.look_at) == (Action.NOTHING, NOW + timedelta(seconds=60))
    told = said(FIRST_FALLS, NOW + timedelta(seconds=60), since=NOW)
    assert (told.action, told.urgency, told.expires_at) == (Action.TELL, Urgency.NORMAL, at(9))


def test_urgency_rises_as_the_lesson_nears() -> None:
    seen = []
    for day, hour in ((2, 12), (8, 12), (9, 7)):
        now = at(hour, date(2026, 9, day))
        found = said(FIRST_FALLS, now, since=now - timedelta(minutes=5))
        seen.append((found.action, found.urgency))
    assert seen == [(Action.NOTE, Urgency.BULK), (Action.TELL, Urgency.NORMAL), (Action.TELL, Urgency.URGENT)]
    # so near, nothing waits for more changes
    assert said(FIRST_FALLS, at(7), since=at(7)).action is Action.TELL


def test_what_was_noted_is_said_aloud_on_the_eve_once() -> None:
    monday = date(2026, 9, 14)
    change = replace(
        FIRST_FALLS,
        day=monday,
        starts=at(9, monday),
        lines=tuple(replace(line, at=at(8, monday), until=at(9, monday)) for line in FIRST_FALLS.lines),
    )
    noted = said(change, NOW + timedelta(minutes=2), since=NOW)
    friday = at(17, date(2026, 9, 11))
    assert (noted.action, noted.look_at) == (Action.NOTE, friday)
    assert said(change, friday - timedelta(hours=1), change).look_at == friday
    assert said(change, friday, change).action is Action.TELL
    assert said(change, friday + timedelta(hours=1), change, loud=True).action is Action.NOTHING


def test_beyond_the_horizon_nothing_is_said() -> None:
    found = said(FIRST_FALLS, at(12, date(2026, 8, 20)))
    assert (found.action, found.look_at) == (Action.NOTHING, at(17, date(2026, 8, 26)))


@given(minutes=st.integers(0, 24 * 60), done=operations)
def test_nothing_is_said_of_a_lesson_that_is_over(minutes: int, done: list[tuple[str, str, int]]) -> None:
    now = at(0) + timedelta(minutes=minutes)
    change = net(through(WEEK, applied(WEEK, done)))
    found = said(change, now)
    if found.action is Action.NOTHING:
        assert not found.change.lines or found.look_at is not None
    else:
        assert found.expires_at is not None and found.expires_at > now
        assert all(line.over_at > now for line in found.change.lines)


def test_what_was_told_and_is_not_so_is_taken_back_as_loudly_as_it_was_told() -> None:
    nothing = DayChange(WEDNESDAY)
    assert (found := said(nothing, NOW, FIRST_FALLS, loud=True)).restored and found.action is Action.TELL
    assert said(nothing, NOW, FIRST_FALLS).action is Action.NOTE
    assert said(nothing, at(12), FIRST_FALLS, loud=True).action is Action.NOTHING  # it would have been over
    assert said(nothing, NOW, nothing, loud=True).action is Action.NOTHING


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"starts_at": "2026-09-09T10:00:00"}, "time zone"),
        ({"starts_at": "soon"}, "soon"),
        ({"ends_at": "2026-09-09T07:00:00Z"}, "ends after"),
        ({"ends_at": "2026-09-19T07:00:00Z"}, "within a day"),
        ({"id": ""}, "id"),
        ({"subject": "x" * 301}, "subject"),
        ({"room": 7}, "room"),
        ({"cancelled": "yes"}, "cancelled"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_wrong_lessons_are_refused_with_what_is_wrong(changes: dict[str, Any], names: str) -> None:
    data = {"id": "L", "group": "G", "subject": "Maths"}
    data |= {"starts_at": "2026-09-09T08:00:00Z", "ends_at": "2026-09-09T09:00:00Z"}
    assert lesson_from(data).subject == "Maths"
    with pytest.raises(MalformedTimetable, match=names):
        lesson_from(data | changes)
