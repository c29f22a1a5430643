"""The bus of a few nodes: LISTEN and NOTIFY of the database that they share.

Transactions that change the feed or somebody's rights notify at their commit, once each, however much they change:
that is atomic with the change, and costs no other program. But every notification wakes every listener, and a commit
that notifies takes a lock of the whole database: beyond a handful of gateways, see ``nats``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any, Protocol

from ent_notify.bus.wire import MOST_KEYS, MOST_READERS, decode, encode
from ent_notify.errors import StoreError
from ent_notify.model.feed import FeedHint, TalkHint
from ent_notify.model.subjects import BusStatistics, HeldSubjects

CHANNEL = "ent_notify_feed"
"""What the store's own functions notify."""


class Notifications(Protocol):
    """What it needs of the database (``store.Database``)."""

    def listen(self, channel: str) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        """Payloads from now on; the empty one after a lost connection."""
        ...

    async def fetchval(self, name: str, /, **parameters: Any) -> Any:
        """The first value of a query."""
        ...


class PostgresBus:
    """A ``Bus`` on LISTEN and NOTIFY."""

    told_by_store = True

    def __init__(self, db: Notifications) -> None:
        self._db = db
        self._listeners = 0
        self._sent = self._lost = self._received = 0

    async def publish(self, hints: Sequence[FeedHint]) -> None:
        """See Bus. All of ``hints`` are one notification, to everybody (several, when very many people have read
        something). What changed the feed has said so already."""
        if not hints:
            return
        readers = sorted({person for hint in hints for person in hint.readers})
        news = [hint.seq for hint in hints if hint.news]
        seqs = [seq for seq in news if seq is not None]
        seq = max(seqs) if seqs and len(seqs) == len(news) else None
        talks = [talk for hint in hints for talk in hint.talks]
        for part in _within_bounds(talks):
            await self._notify(FeedHint(talks=part, news=False))
        if talks and not readers and not news:
            return
        for first in range(0, max(len(readers), 1), MOST_READERS):
            some = frozenset(readers[first : first + MOST_READERS])
            await self._notify(FeedHint(seq=seq, readers=some, news=bool(news) and first == 0))

    async def _notify(self, hint: FeedHint) -> None:
        try:
            await self._db.fetchval("bus.notify", channel=CHANNEL, payload=encode(hint).decode())
        except StoreError:
            self._lost += 1
        else:
            self._sent += 1

    @asynccontextmanager
    async def listen(self, held: HeldSubjects | None = None) -> AsyncIterator[AsyncIterator[FeedHint]]:
        """See Bus; every hint is for everybody. Raises StoreError when the database cannot be reached now."""
        async with self._db.listen(CHANNEL) as payloads, aclosing(self._hints(payloads)) as hints:
            self._listeners += 1
            try:
                yield hints
            finally:
                self._listeners -= 1

    async def _hints(self, payloads: AsyncIterator[str]) -> AsyncGenerator[FeedHint, None]:
        async for payload in payloads:
            self._received += 1
            yield decode(payload)

    def statistics(self) -> BusStatistics:
        """See Bus."""
        return BusStatistics(
            kind="postgres",
            connected=self._listeners > 0,
            sent=self._sent,
            lost=self._lost,
            received=self._received,
        )


def _within_bounds(talks: Sequence[TalkHint]) -> Iterator[tuple[TalkHint, ...]]:
    """``talks``, as many together as one notification holds."""
    part: list[TalkHint] = []
    for talk in talks:
        if part and sum(len(each.keys) for each in part) + len(talk.keys) > MOST_KEYS:
            yield tuple(part)
            part = []
        part.append(talk)
    if part:
        yield tuple(part)
