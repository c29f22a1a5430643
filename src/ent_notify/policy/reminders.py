"""When pupils are reminded of what they have to do: offsets in school days and local hours, as pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from ent_notify.policy.calendar import SchoolCalendar

FARTHEST = timedelta(days=5)
"""The school day before counts when it lies at most so far back (a weekend, a bridge). Before work for the first day
after holidays nobody is reminded weeks ahead, but on the eve."""
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Offset:
    """So many days before, at a local hour. One day before Monday is Friday: before the weekend's pause."""

    days: int = 1
    at: time = time(18, 0)


@dataclass(frozen=True, slots=True)
class ReminderRules:
    """When to remind of work and of tests, and the local hour at which a day's work is due unless it says so."""

    work: tuple[Offset, ...] = (Offset(),)
    tests: tuple[Offset, ...] = (Offset(days=3), Offset())
    day_begins: time = time(8, 0)

    def offsets(self) -> list[tuple[bool, Offset]]:
        """(whether for tests, offset)."""
        return [(False, each) for each in self.work] + [(True, each) for each in self.tests]


@dataclass(frozen=True, slots=True)
class Asked:
    """The reminders of one school on one evening of what is due on one day; ``ends``: when that is, unless work says so
    itself."""

    school: int
    evening: date
    is_test: bool
    due: date
    ends: datetime


def evening_of(due: date, days: int, calendar: SchoolCalendar) -> date:
    """On which day to remind of what is due: ``days`` school days before, none of them passed over for long."""
    found = due
    for _ in range(days):
        before = calendar.day_before(found)
        found = before if found - before <= FARTHEST else found - _DAY
    return found


def dues_of(evening: date, days: int, calendar: SchoolCalendar) -> list[date]:
    """The days whose work pupils are reminded of on ``evening``: what ``evening_of`` says, seen from the other side."""
    latest = FARTHEST.days * days
    ahead = (evening + timedelta(days=n) for n in range(1, latest + 1))
    return [due for due in ahead if evening_of(due, days, calendar) == evening]


def local_instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    """A local hour in UTC: one that does not exist is taken after the gap, one that exists twice the first time."""
    return datetime.combine(day, at, zone).astimezone(UTC)
