"""What the worker does for safety: goes on with mass recalls that whoever began them did not end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ent_notify.ports import Clock

BATCH = 100
"""Messages taken back in one transaction."""


class RecallStore(Protocol):
    """Mass recalls."""

    async def open_runs(self) -> list[int]:
        """Runs that have not ended."""

    async def go_on(self, run: int, most: int, now: datetime) -> bool:
        """Take the next messages of a run back; whether there is more."""


@dataclass(slots=True)
class Recalling:
    """Any number of workers may: a batch is taken by one."""

    store: RecallStore
    clock: Clock

    async def step(self) -> int:
        """A batch of each run that has not ended; how many went on."""
        runs = await self.store.open_runs()
        return sum([await self.store.go_on(run, BATCH, self.clock.now()) for run in runs])
