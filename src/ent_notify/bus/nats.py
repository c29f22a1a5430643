"""The bus of many nodes: core NATS, so that a hint goes to the nodes that hold somebody it concerns, and to no other.

A hint of one subject is published on it, and only nodes that hold it are subscribed; a hint of several, or of
everybody, is published once on ``all``, and a node that holds none of its subjects lets go of it on the island, without
waking anybody. So a notification is one message, and each node gets it at most once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import trio

from ent_notify._island import Island
from ent_notify.bus.nats_link import Ear, NatsLink
from ent_notify.bus.nats_options import NatsOptions
from ent_notify.bus.wire import encode
from ent_notify.model.feed import FeedHint
from ent_notify.model.subjects import EVERYONE, BusStatistics, HeldSubjects

ALL = "all"
"""The subject that every node is subscribed to."""


class NatsBus:
    """A ``Bus`` on a NATS cluster. Open one with ``open_nats_bus``."""

    told_by_store = False

    def __init__(self, island: Island, link: NatsLink) -> None:
        self._island = island
        self._link = link

    async def publish(self, hints: Sequence[FeedHint]) -> None:
        """See Bus."""
        if hints:
            await self._island.run(self._link.send, [(_subject(hint), encode(hint)) for hint in hints])

    @asynccontextmanager
    async def listen(self, held: HeldSubjects | None = None) -> AsyncIterator[AsyncIterator[FeedHint]]:
        """See Bus. After each reconnection, and each change of subjects, it says "look"."""
        ear = await self._island.run(self._link.open_ear, held)
        try:
            async with aclosing(self._hints(ear)) as hints:
                yield hints
        finally:
            with trio.CancelScope(shield=True):
                await self._island.run_uncancelled(self._link.close_ear, ear)

    async def _hints(self, ear: Ear) -> AsyncGenerator[FeedHint, None]:
        while True:
            yield await self._island.run(ear.next)

    def statistics(self) -> BusStatistics:
        """See Bus."""
        counts = self._link.counts
        return BusStatistics(
            kind="nats",
            connected=self._link.connected,
            sent=counts.sent,
            lost=counts.lost,
            received=counts.received,
            ignored=counts.ignored,
            reconnects=counts.reconnects,
            subjects=counts.subjects,
        )


@asynccontextmanager
async def open_nats_bus(island: Island, options: NatsOptions) -> AsyncIterator[NatsBus]:
    """A bus on ``options.servers``, connected once one of them answers. Never raises for a cluster that is away."""
    link = await island.run(NatsLink.open, options)
    try:
        yield NatsBus(island, link)
    finally:
        with trio.CancelScope(shield=True):
            await island.run_uncancelled(link.aclose)


def _subject(hint: FeedHint) -> str:
    if hint.subjects is not None and len(hint.subjects) == 1 and EVERYONE not in hint.subjects:
        (subject,) = hint.subjects
        return subject
    return ALL
