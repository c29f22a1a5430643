"""School years from the libraries ``vacances-scolaires-france`` (zones A, B, C) and ``holidays`` (public holidays).

Corsica and the overseas academies fix their own calendars, which no library has: there only weekdays and public
holidays are known until the host says more (``engine.calendars.set_own``).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from types import MappingProxyType

from holidays import country_holidays
from vacances_scolaires_france import SchoolHolidayDates

from ent_notify.policy.calendar import SchoolCalendar, SchoolZone, holidays_of, zone_of

_SPAN = 6
"""Years for which public holidays are computed, from the first year of the school calendar that is wanted."""


def calendar_of(uai: str, year: int) -> SchoolCalendar:
    """The calendar of a school by its UAI, around the civil year ``year`` (the one before it, and five more)."""
    return _calendar(zone_of(uai), holidays_of(uai), year)


@cache
def _calendar(zone: SchoolZone, subdivision: str | None, year: int) -> SchoolCalendar:
    closed = dict(
        country_holidays("FR", subdiv=subdivision, years=range(year - 1, year + _SPAN), language="fr").items()
    )
    until = None
    if zone.value in SchoolHolidayDates.SUPPORTED_ZONES:
        vacations = _vacations(zone)
        closed |= {day: name for day, name in vacations.items() if year - 1 <= day.year < year + _SPAN}
        until = max(vacations, default=None)
    return SchoolCalendar(closed=MappingProxyType(closed), known_until=until)


@cache
def _vacations(zone: SchoolZone) -> dict[date, str]:
    return dict(_read(zone))


def _read(zone: SchoolZone) -> Iterator[tuple[date, str]]:
    key = f"vacances_zone_{zone.value.lower()}"
    for day, row in SchoolHolidayDates().data.items():
        if row[key]:
            yield day, row["nom_vacances"]


def known_enough(calendar: SchoolCalendar, today: date) -> bool:
    """Whether the holidays are known to the end of the present school year (31 August)."""
    end = date(today.year + (1 if today.month >= 9 else 0), 8, 31)
    # the last summer in the data may end some days before September
    return calendar.known_until is not None and calendar.known_until >= end - timedelta(days=7)
