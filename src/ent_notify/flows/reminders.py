"""Reminders of homework and tests: once an evening, for all schools, by whichever worker comes first.

What to remind of is computed when the evening comes, from the work as it stands then; so a date that was moved, a
withdrawal and what is done need no care before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from ent_notify.policy.calendar import SchoolCalendar, SchoolPlace
from ent_notify.policy.reminders import Asked, Offset, ReminderRules, dues_of, local_instant
from ent_notify.ports import Clock

LOOK_EVERY = timedelta(seconds=30)
CATCH_UP = timedelta(hours=14)
"""An evening that no worker saw is made up for until the next morning; what is due by then is left out."""
SCHOOLS_AT_ONCE = 50
"""Schools whose reminders are computed and published in one statement: about twenty thousand pupils."""


class ReminderStore(Protocol):
    """Homework as it stands."""

    async def schools_with_work(self, now: datetime) -> list[tuple[SchoolPlace, datetime]]:
        """Every school that is open and has work for some day from now on, and since when it has had any."""

    async def remind(self, asked: Sequence[Asked], now: datetime) -> int:
        """Publish what of this nobody has published before; how many notifications. One statement, all or nothing."""


@dataclass(slots=True)
class Reminders:
    """One step does what has become due. ``calendar`` answers for a school and a civil year."""

    store: ReminderStore
    calendar: Callable[[SchoolPlace, int], SchoolCalendar]
    clock: Clock
    rules: ReminderRules
    _looked_at: datetime | None = None
    _asked: set[tuple[int, date, bool, Offset]] = field(default_factory=set)

    async def step(self) -> int:
        """Publish the reminders whose hour has come; how many notifications."""
        now = self.clock.now()
        if self._looked_at is not None and timedelta(0) <= now - self._looked_at < LOOK_EVERY:
            return 0
        schools = await self.store.schools_with_work(now)
        moved = 0
        for start in range(0, len(schools), SCHOOLS_AT_ONCE):
            part = schools[start : start + SCHOOLS_AT_ONCE]
            due = {key: asked for school, since in part for key, asked in self._due(school, since, now)}
            asked = [each for found in due.values() for each in found]
            if asked:
                moved += await self.store.remind(asked, now)
            self._asked |= due.keys()
        self._looked_at = now
        self._asked = {key for key in self._asked if now.date() - key[1] < timedelta(days=4)}
        return moved

    def _due(
        self, school: SchoolPlace, since: datetime, now: datetime
    ) -> Iterator[tuple[tuple[int, date, bool, Offset], list[Asked]]]:
        """What has become due in a school and was not asked for yet by this worker. An evening on whose hour the school
        had no work is over: what is set later has just been told of by itself."""
        zone = ZoneInfo(school.timezone)
        today = now.astimezone(zone).date()
        for evening in (today - timedelta(days=1), today):
            for is_test, offset in self.rules.offsets():
                key = (school.id, evening, is_test, offset)
                hour = local_instant(evening, offset.at, zone)
                if key in self._asked or not timedelta(0) <= now - hour < CATCH_UP or since > hour:
                    continue
                calendar = self.calendar(school, evening.year)
                yield (
                    key,
                    [
                        Asked(school.id, evening, is_test, due, local_instant(due, self.rules.day_begins, zone))
                        for due in dues_of(evening, offset.days, calendar)
                    ],
                )
