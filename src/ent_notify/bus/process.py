"""The bus of one process that holds a worker and a gateway: no network and no database in it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import trio

from ent_notify.model.feed import FeedHint
from ent_notify.model.subjects import BusStatistics, HeldSubjects
from ent_notify.policy.hints import MergedHint


class _Ear:
    """One listener."""

    def __init__(self, held: HeldSubjects | None) -> None:
        self.held = held
        self.merged = MergedHint()
        self.arrived = trio.Event()

    def put(self, hint: FeedHint) -> None:
        self.merged.add(hint)
        self.arrived.set()

    async def hints(self) -> AsyncGenerator[FeedHint, None]:
        while True:
            await self.arrived.wait()
            self.arrived = trio.Event()
            yield self.merged.take()


class ProcessBus:
    """A ``Bus`` within one trio run."""

    told_by_store = False

    def __init__(self) -> None:
        self._ears: list[_Ear] = []
        self._sent = self._received = self._ignored = 0

    async def publish(self, hints: Sequence[FeedHint]) -> None:
        """See Bus."""
        self._sent += len(hints)
        for hint in hints:
            for ear in self._ears:
                self._received += 1
                if ear.held is None or ear.held.concerns(hint.subjects):
                    ear.put(hint)
                else:
                    self._ignored += 1
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def listen(self, held: HeldSubjects | None = None) -> AsyncIterator[AsyncIterator[FeedHint]]:
        """See Bus."""
        ear = _Ear(held)
        self._ears.append(ear)
        try:
            async with aclosing(ear.hints()) as hints:
                yield hints
        finally:
            self._ears.remove(ear)

    def statistics(self) -> BusStatistics:
        """See Bus."""
        subjects = {name for ear in self._ears if ear.held is not None for name in ear.held.names()}
        return BusStatistics(
            kind="process",
            connected=True,
            sent=self._sent,
            received=self._received,
            ignored=self._ignored,
            subjects=len(subjects),
        )
