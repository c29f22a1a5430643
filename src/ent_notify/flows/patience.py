"""Patience with the database: what has been sent is kept in mind until the database has taken it.

A worker that gave up here would forget up to a window of sends for every chunk it holds, and another would repeat
them. Every call that is made this way may be made twice: the store counts the second one as nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from ent_notify.errors import StoreBusy, StoreError, StoreUnreachable
from ent_notify.ports import Clock, FanoutObserver

T = TypeVar("T")

FIRST_WAIT = 0.25
LONGEST_WAIT = 5.0
"""Seconds between two tries: they double, up to this."""

_PASSING = ("53", "57", "58")
"""SQLSTATE classes of troubles that end without us: no memory, disk or connection left; an operator's restart; the
system's own errors. https://www.postgresql.org/docs/current/errcodes-appendix.html"""


def passes(error: StoreError) -> bool:
    """Whether the database may well take the same call a little later."""
    return isinstance(error, (StoreUnreachable, StoreBusy)) or (error.sqlstate or "").startswith(_PASSING)


def longer(wait: float) -> float:
    """The wait after one of ``wait`` seconds."""
    return min(wait * 2, LONGEST_WAIT)


@dataclass(frozen=True, slots=True)
class Patience:
    """Asks until the database answers. ``limited`` is without patience: every error is raised at once."""

    clock: Clock
    randomness: Callable[[], float]
    observer: FanoutObserver
    limited: bool = False

    async def __call__(self, ask: Callable[[datetime], Awaitable[T]]) -> T:
        """What ``ask(now)`` answers, each time with the instant of that try. Raises a StoreError that will not pass."""
        wait = FIRST_WAIT
        while True:
            try:
                return await ask(self.clock.now())
            except StoreError as error:
                if self.limited or not passes(error):
                    raise
                self.observer.store_failed(error)
            await self.clock.sleep(wait * (1 + self.randomness()) / 2)
            wait = longer(wait)
