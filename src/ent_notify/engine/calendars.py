"""School calendars as a host has them: ``engine.calendars``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ent_notify.directory.school_years import calendar_of, known_enough
from ent_notify.policy.calendar import SchoolCalendar, SchoolPlace, own_calendar
from ent_notify.ports import Clock
from ent_notify.store.alerts import PostgresAlerts


class Calendars:
    """Which days are school days where: the national calendar, public holidays, and what a host says on top."""

    def __init__(self, store: PostgresAlerts, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def of(self, school: str) -> SchoolCalendar:
        """A school's calendar (UAI). ``known_until`` says how far its holidays are known. Raises NotFound."""
        return calendar_at(await self._store.place(school), self._clock.now().year)

    async def known_enough(self, school: str) -> bool:
        """Whether a school's holidays are known to the end of the present school year; else say them: ``set_own``."""
        return known_enough(await self.of(school), self._clock.now().date())

    async def set_own(self, data: Mapping[str, Any], *, by: str, school: str | None = None) -> None:
        """Say what the project, or a school (UAI), has of its own: see ``policy.calendar.own_calendar``. What was said
        before is replaced. Raises MalformedCalendar, NotFound for an unknown school."""
        own_calendar(data)
        await self._store.set_calendar(school, data, by, self._clock.now())


def calendar_at(place: SchoolPlace, year: int) -> SchoolCalendar:
    """The calendar of a school around a civil year: the libraries', then the project's words, then its own."""
    calendar = calendar_of(place.uai, year)
    for own in place.own:
        calendar = calendar.extended(own)
    return calendar
