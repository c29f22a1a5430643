"""Upkeep: what nobody can need any more is forgotten, a slice at a time, by whichever worker comes to it.

The one place for chores of this kind. Nothing here decides anything for a reader: a row that is past its use is treated
as if it were gone wherever it is read, so a chore that comes late, or twice, changes nothing but the size of a table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ent_notify.model.upkeep import Chore
from ent_notify.ports import FanoutObserver, UpkeepStore

EVERY = timedelta(minutes=10)
"""How often a worker looks for each kind."""
SLICE = 5_000
"""Rows that one statement drops at most: it holds up nobody for long."""


@dataclass(slots=True)
class Upkeep:
    """Does the chores of one worker. ``kept`` says how long rows are kept beyond the instant that they carry;
    ``also`` is work of the same kind that keeps its own hours: a call is a slice, and answers how many rows moved."""

    store: UpkeepStore
    observer: FanoutObserver
    randomness: Callable[[], float]
    kept: Mapping[Chore, timedelta] = field(default_factory=dict)
    also: Sequence[Callable[[], Awaitable[int]]] = ()
    _due: dict[Chore, datetime] = field(default_factory=dict)

    async def step(self, now: datetime) -> int:
        """Do one slice of each chore that is due; how many rows were dropped. Raises StoreError, and goes on later.

        A chore that filled its slice is due again at once, any other in ten minutes or a little less, so that several
        workers do not come together.
        """
        dropped = 0
        for chore in Chore:
            if self._due.get(chore, now) > now:
                continue
            self._due[chore] = now + EVERY * (0.75 + 0.25 * self.randomness())
            rows = await self._slice(chore, now)
            if rows >= SLICE:
                self._due[chore] = now
            dropped += rows
        for work in self.also:
            dropped += await work()
        return dropped

    async def sweep(self, now: datetime) -> dict[Chore, int]:
        """Do all of every chore now; how many rows each dropped."""
        dropped = dict.fromkeys(Chore, 0)
        for chore in Chore:
            rows = SLICE
            while rows >= SLICE:
                rows = await self._slice(chore, now)
                dropped[chore] += rows
        return dropped

    async def _slice(self, chore: Chore, now: datetime) -> int:
        rows = await self.store.forget(chore, now - self.kept.get(chore, timedelta()), SLICE)
        if rows:
            self.observer.forgot(chore, rows)
        return rows
