"""The year's clock."""

from __future__ import annotations

from datetime import datetime, timedelta

import trio
from trio.testing import wait_all_tasks_blocked

_LONG = 5.0
_STILL = 0.3
"""Real seconds for which nothing moves before a long sleep is over."""


class YearClock:
    """A clock that the driver moves. Whoever sleeps moves it a little, too: a rate's slot, a provider's silence."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        """See Clock."""
        return self._now

    def advance_to(self, when: datetime) -> None:
        """It is never set back."""
        self._now = max(self._now, when)

    async def sleep(self, seconds: float) -> None:
        """See Clock. A long sleep (a lease's heartbeat) is over only once nothing else has moved for a while: it must
        not carry everybody past a lease because the database takes its time."""
        if seconds > _LONG:
            until = self._now + timedelta(seconds=seconds)
            await wait_all_tasks_blocked(_STILL)
            self.advance_to(until)
            return
        self._now += timedelta(seconds=seconds)
        await trio.lowlevel.checkpoint()
