"""The school calendar: which days are school days, and "the school day before", as pure functions over dates.

The dates themselves are data: ``directory.school_years`` takes them from libraries, a host adds its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from ent_notify.errors import MalformedCalendar

LONGEST_CLOSURE = 150
"""Days without school after which a calendar is taken for wrong: the longest summer is half of that."""
MOST_CLOSURES = 400
WEEKDAYS = frozenset(range(5))
"""Monday to Friday; a school that works on Saturdays, or not on Wednesdays, says so."""
_DAY = timedelta(days=1)


class SchoolZone(StrEnum):
    """The zones of the national school calendar. Corsica and the overseas academies fix their own."""

    A = "A"
    B = "B"
    C = "C"
    CORSICA = "Corsica"
    OVERSEAS = "overseas"


# Arrêté of 7 December 2022 (school calendar), article 2: academies by zone; here by department, as a UAI begins.
_DEPARTMENTS: Mapping[SchoolZone, str] = {
    SchoolZone.A: "03 07 15 16 17 19 21 23 24 25 26 33 38 39 40 42 43 47 58 63 64 69 70 71 73 74 79 86 87 89 90 01",
    SchoolZone.B: "02 04 05 06 08 10 13 14 18 22 27 28 29 35 36 37 41 44 45 49 50 51 52 53 54 55 56 57 59 60 61 62 "
    "67 68 72 76 80 83 84 85 88",
    SchoolZone.C: "09 11 12 30 31 32 34 46 48 65 66 75 77 78 81 82 91 92 93 94 95",
}
ZONE_OF_DEPARTMENT: Mapping[str, SchoolZone] = MappingProxyType(
    {"0" + number: zone for zone, numbers in _DEPARTMENTS.items() for number in numbers.split()}
    | {"620": SchoolZone.CORSICA, "720": SchoolZone.CORSICA}
)
"""The zone of the first three characters of a metropolitan UAI; any other is overseas."""

_ISLANDS = {"975": "PM", "977": "BL", "978": "MF", "983": "NC", "984": "PF", "986": "WF"}
HOLIDAYS_OF_DEPARTMENT: Mapping[str, str] = MappingProxyType(
    {"057": "57", "067": "6AE", "068": "6AE"} | {code: code for code in ("971", "972", "973", "974", "976")} | _ISLANDS
)
"""Where public holidays differ from the common ones, and as which subdivision (ISO 3166-2:FR without the prefix):
Good Friday and 26 December in Alsace and Moselle (Code du travail, L3134-13), the abolition of slavery overseas."""


def zone_of(uai: str) -> SchoolZone:
    """The zone in which a school lies, by its UAI (``0541234A``: Meurthe-et-Moselle, zone B)."""
    return ZONE_OF_DEPARTMENT.get(uai[:3], SchoolZone.OVERSEAS)


def holidays_of(uai: str) -> str | None:
    """The subdivision whose public holidays a school has; None: the common ones alone."""
    return HOLIDAYS_OF_DEPARTMENT.get(uai[:3])


@dataclass(frozen=True, slots=True)
class Closure:
    """Days without school, both ends included."""

    first: date
    last: date
    name: str = ""


@dataclass(frozen=True, slots=True)
class SchoolCalendar:
    """Days without school (holidays and public holidays), on top of the days of the week that have none.

    ``opened`` are school days in spite of all that (a Saturday that makes up for a bridge). ``known_until`` is the last
    day that the holidays are known for; after it only weekdays and public holidays speak. None: they are not known.
    """

    closed: Mapping[date, str] = field(default_factory=dict)
    weekdays: frozenset[int] = WEEKDAYS
    opened: frozenset[date] = frozenset()
    known_until: date | None = None

    def is_school_day(self, day: date) -> bool:
        """Whether there is school."""
        return day in self.opened or (day.weekday() in self.weekdays and day not in self.closed)

    def day_before(self, day: date) -> date:
        """The last school day before ``day``, which need not be one itself."""
        return self._from(day, -_DAY)

    def next_day(self, day: date) -> date:
        """The first school day after ``day``."""
        return self._from(day, _DAY)

    def _from(self, day: date, step: timedelta) -> date:
        found = day
        for _ in range(LONGEST_CLOSURE):
            found += step
            if self.is_school_day(found):
                return found
        # a calendar that never opens would hold everything back: the plain neighbour is the lesser wrong
        return day + step

    def closing(self, closures: Iterable[Closure]) -> SchoolCalendar:
        """This calendar with more days without school."""
        more = {
            each.first + timedelta(days=n): each.name
            for each in closures
            for n in range((each.last - each.first).days + 1)
        }
        return replace(self, closed=MappingProxyType(dict(self.closed) | more))

    def extended(self, own: OwnCalendar) -> SchoolCalendar:
        """This calendar as a host's own data change it: what is opened by hand wins over every closure."""
        changed = self.closing(own.closed)
        return replace(
            changed,
            weekdays=own.weekdays or self.weekdays,
            opened=self.opened | own.opened,
            known_until=max((day for day in (self.known_until, own.known_until) if day is not None), default=None),
        )


@dataclass(frozen=True, slots=True)
class OwnCalendar:
    """What a project or a school says of its own calendar."""

    closed: tuple[Closure, ...] = ()
    opened: frozenset[date] = frozenset()
    weekdays: frozenset[int] = frozenset()
    known_until: date | None = None


@dataclass(frozen=True, slots=True)
class SchoolPlace:
    """A school where it lies: internal id, UAI, IANA time zone, and what the project and itself say of its calendar."""

    id: int
    uai: str
    timezone: str
    own: tuple[OwnCalendar, ...] = ()


def own_calendar(data: Mapping[str, Any]) -> OwnCalendar:
    """An own calendar from data: ``{"closed": [{"first", "last", "name"?}], "opened": [day], "weekdays": [1..7],
    "known_until": day}``, all optional, days in ISO 8601 (1 is Monday). Raises MalformedCalendar."""
    unknown = data.keys() - {"closed", "opened", "weekdays", "known_until"}
    if unknown:
        raise MalformedCalendar(f"{min(unknown)!r} is not known; a calendar has closed, opened, weekdays, known_until")
    closed = [_closure(each) for each in _list(data, "closed")]
    weekdays = frozenset(_list(data, "weekdays"))
    if not weekdays <= set(range(1, 8)) or any(isinstance(each, bool) for each in weekdays):
        raise MalformedCalendar(f"weekdays are {sorted(map(str, weekdays))}; write numbers, 1 (Monday) to 7")
    until = data.get("known_until")
    return OwnCalendar(
        closed=tuple(closed),
        opened=frozenset(_day(each, "opened") for each in _list(data, "opened")),
        weekdays=frozenset(each - 1 for each in weekdays),
        known_until=None if until is None else _day(until, "known_until"),
    )


def _closure(data: Any) -> Closure:
    if not isinstance(data, Mapping) or data.keys() - {"first", "last", "name"} or "first" not in data:
        raise MalformedCalendar(f'a closure is {{"first": day, "last": day, "name": text}}, not {data!r}')
    first = _day(data["first"], "first")
    last = _day(data.get("last", data["first"]), "last")
    if not first <= last <= first + timedelta(days=LONGEST_CLOSURE):
        raise MalformedCalendar(f"a closure lasts 1 to {LONGEST_CLOSURE} days, not from {first} to {last}")
    return Closure(first, last, str(data.get("name", "")))


def _list(data: Mapping[str, Any], name: str) -> list[Any]:
    found = data.get(name, [])
    if not isinstance(found, list) or len(found) > MOST_CLOSURES or not all(isinstance(e, _ITEMS) for e in found):
        raise MalformedCalendar(f"{name!r} is a list of at most {MOST_CLOSURES}, not {str(found)[:60]}")
    return found


def _day(value: Any, name: str) -> date:
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise MalformedCalendar(f"{name!r} is a day such as 2026-10-17, not {value!r}") from None


_ITEMS = (Mapping, str, int)
