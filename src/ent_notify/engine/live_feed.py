"""What a live gateway needs of the engine: who may listen, what there is to hear, and hints that something is new."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta

from ent_notify.model.feed import Entrance, Entry, FeedHint, FeedItem, Rights, RightsChanges
from ent_notify.model.subjects import HeldSubjects
from ent_notify.ports import Bus, Clock
from ent_notify.store.inbox import PostgresInbox
from ent_notify.store.streams import PostgresStreams


class LiveFeed:
    """``FeedPort`` on the database and the bus: reached as ``engine.feed``."""

    def __init__(
        self, streams: PostgresStreams, inbox: PostgresInbox, bus: Bus, clock: Clock, session_life: timedelta
    ) -> None:
        self._streams = streams
        self._inbox = inbox
        self._bus = bus
        self._clock = clock
        self._session_life = session_life

    async def enter(self, entries: Sequence[Entry], now: datetime) -> list[Entrance | None]:
        """See FeedPort."""
        return await self._streams.enter(entries, now, self._session_life)

    async def rights(self, people: Sequence[int], now: datetime) -> Mapping[int, Rights]:
        """See FeedPort."""
        return await self._streams.rights(people, now)

    async def rights_head(self) -> int:
        """See FeedPort."""
        return await self._streams.rights_head()

    async def rights_changes(self, after: int) -> RightsChanges:
        """See FeedPort."""
        return await self._streams.rights_changes(after)

    async def feed_after(self, seq: int, limit: int) -> list[FeedItem]:
        """See FeedPort."""
        return await self._inbox.feed_after(seq, limit)

    async def feed_head(self) -> int:
        """See FeedPort."""
        return await self._inbox.feed_head()

    async def missed(self, asked: Sequence[tuple[int, int]], limit: int) -> list[list[FeedItem]]:
        """See FeedPort."""
        return await self._streams.missed(asked, limit, self._clock.now())

    def hints(self, held: HeldSubjects | None = None) -> AbstractAsyncContextManager[AsyncIterator[FeedHint]]:
        """See FeedPort."""
        return self._bus.listen(held)
