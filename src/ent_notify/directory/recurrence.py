"""Rules of recurrence (RFC 5545, 3.3.10) as timetables use them, day by day: what is asked of the machine is bounded by
the days of a period, whatever a rule says.

DAILY, WEEKLY, MONTHLY and YEARLY, with INTERVAL, COUNT, UNTIL, WKST, BYMONTH, BYMONTHDAY and BYDAY ("-1FR" in a month).
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

LONGEST = 4_000
"""Days that a rule may go on, from its first to the end of the period: eleven years."""
_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_KNOWN = frozenset({"FREQ", "INTERVAL", "COUNT", "WKST", "BYMONTH", "BYMONTHDAY", "BYDAY"})
_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")


class BadRule(ValueError):
    """A rule that is not one of these; says why."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule without its end. ``by_day``: (which one in the month, 0 for each; weekday)."""

    frequency: str
    interval: int = 1
    count: int | None = None
    week_start: int = 0
    months: frozenset[int] = frozenset()
    month_days: frozenset[int] = frozenset()
    by_day: frozenset[tuple[int, int]] = frozenset()

    def days(self, first: date, last: date) -> Iterator[date]:
        """The days on which it falls, from ``first`` to ``last``. Raises BadRule when that is too long to look."""
        if (last - first).days > LONGEST:
            raise BadRule(f"it goes on for more than {LONGEST} days, from {first}")
        found = 0
        for n in range((last - first).days + 1):
            day = first + timedelta(days=n)
            if self._falls(day, first):
                yield day
                found += 1
                if found == self.count:
                    return

    def _falls(self, day: date, first: date) -> bool:
        if self.months and day.month not in self.months:
            return False
        length = calendar.monthrange(day.year, day.month)[1]
        if self.month_days and not {day.day, day.day - length - 1} & self.month_days:
            return False
        if self.by_day and not self.by_day & {
            (0, day.weekday()),
            ((day.day - 1) // 7 + 1, day.weekday()),
            ((day.day - length) // 7 - (1 if (day.day - length) % 7 == 0 else 0), day.weekday()),
        }:
            return False
        return self._in_step(day, first)

    def _in_step(self, day: date, first: date) -> bool:
        free = bool(self.by_day or self.month_days)
        if self.frequency == "DAILY":
            return (day - first).days % self.interval == 0
        if self.frequency == "WEEKLY":
            began = first - timedelta(days=(first.weekday() - self.week_start) % 7)
            return (day - began).days // 7 % self.interval == 0 and (free or day.weekday() == first.weekday())
        if self.frequency == "MONTHLY":
            months = (day.year - first.year) * 12 + day.month - first.month
            return months % self.interval == 0 and (free or day.day == first.day)
        same = (self.months or day.month == first.month) and (free or day.day == first.day)
        return (day.year - first.year) % self.interval == 0 and bool(same)


def rule_from(parts: Mapping[str, str]) -> Rule:
    """A rule from its parts, UNTIL apart. Raises BadRule."""
    if unknown := sorted(parts.keys() - _KNOWN):
        raise BadRule(f"{unknown[0][:20]} is not understood")
    frequency = parts.get("FREQ", "")
    if frequency not in _FREQUENCIES:
        raise BadRule(f"it repeats {frequency[:20] or 'never'}; lessons repeat {', '.join(_FREQUENCIES)}")
    by_day = frozenset(_by_day(text) for text in parts.get("BYDAY", "").split(",") if text)
    if frequency != "MONTHLY" and any(place for place, _ in by_day):
        raise BadRule("a numbered BYDAY belongs to a month")
    if parts.get("WKST", "MO") not in _DAYS:
        raise BadRule(f"WKST is {parts['WKST'][:20]!r}")
    return Rule(
        frequency,
        interval=_number(parts.get("INTERVAL", "1"), 1, LONGEST, "INTERVAL"),
        count=_number(parts["COUNT"], 1, LONGEST, "COUNT") if "COUNT" in parts else None,
        week_start=_DAYS.index(parts.get("WKST", "MO")),
        months=frozenset(_number(text, 1, 12, "BYMONTH") for text in parts.get("BYMONTH", "").split(",") if text),
        month_days=frozenset(
            _number(text, -31, 31, "BYMONTHDAY") for text in parts.get("BYMONTHDAY", "").split(",") if text
        ),
        by_day=by_day,
    )


def _by_day(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([+-]?[1-5])?(MO|TU|WE|TH|FR|SA|SU)", text)
    if match is None:
        raise BadRule(f"BYDAY has {text[:20]!r}")
    return int(match.group(1) or 0), _DAYS.index(match.group(2))


def _number(text: str, least: int, most: int, name: str) -> int:
    if not re.fullmatch(r"-?\d{1,5}", text) or not least <= int(text) <= most or int(text) == 0:
        raise BadRule(f"{name} is {text[:20]!r}; it is {least} to {most}")
    return int(text)
