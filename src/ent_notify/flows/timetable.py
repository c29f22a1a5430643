"""What a worker does for timetables: looks at the days that have changed, when their time has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ent_notify.policy.calendar import SchoolCalendar, SchoolPlace
from ent_notify.policy.timetable import TimetableRules
from ent_notify.ports import Clock

LOOK_EVERY = timedelta(seconds=1)
DAYS_AT_ONCE = 200
"""Changed days that are decided and published in one transaction."""


class TimetableStore(Protocol):
    """Days that have changed."""

    async def tell(
        self, now: datetime, rules: TimetableRules, calendar: Callable[[SchoolPlace, int], SchoolCalendar], most: int
    ) -> tuple[int, int]:
        """Look at the next changed days: (how many were looked at, how many alerts were published)."""


@dataclass(slots=True)
class TimetableAlerts:
    """One step does all that there is to do. Any number of workers may: each day is taken by one."""

    store: TimetableStore
    calendar: Callable[[SchoolPlace, int], SchoolCalendar]
    clock: Clock
    rules: TimetableRules
    _looked_at: datetime | None = None

    async def step(self) -> int:
        """Publish what is to be told by now; how many alerts."""
        now = self.clock.now()
        if self._looked_at is not None and timedelta(0) <= now - self._looked_at < LOOK_EVERY:
            return 0
        self._looked_at = now
        published, looked = 0, DAYS_AT_ONCE
        while looked >= DAYS_AT_ONCE:
            looked, told = await self.store.tell(now, self.rules, self.calendar, DAYS_AT_ONCE)
            published += told
        return published
