"""Readers of the feed through the real pump and hub, on the real database, hinted at by whatever bus a test gives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import trio
from prometheus_client import CollectorRegistry
from tests.patience import patience

from ent_notify.engine.hints import SayingFanout
from ent_notify.gateway.hub import Hub, Reader
from ent_notify.gateway.metrics import GatewayMetrics
from ent_notify.gateway.pump import FeedPump
from ent_notify.model.events import BUILT_IN
from ent_notify.model.feed import FeedHint, FeedItem
from ent_notify.model.subjects import HeldSubjects
from ent_notify.ports import Bus
from ent_notify.store import Database
from ent_notify.store.inbox import PostgresInbox
from ent_notify.store.publishing import PostgresPublishing
from ent_notify.store.streams import PostgresStreams

NOW = datetime(2026, 9, 8, 8, 0, tzinfo=UTC)
PEOPLE = {"P1": 1, "P5": 5, "P11": 11, "P12": 12, "P21": 21, "P31": 31}
"""People of the town who read: external and internal id."""
AUDIENCES: Sequence[Mapping[str, Any]] = (
    {"everyone": True},
    {"group": "0540001A/class/6A"},
    {"guardians_of": {"group": "0540002B/class/5B"}},
    {"school": "0540002B"},
    {"person": "P12"},
    {"union": [{"person": "P1"}, {"person": "P31"}]},
    {"minus": [{"school": "0540001A"}, {"person": "P21"}]},
)


class Listener(Reader):
    """One who reads, and what they were sent."""

    def __init__(self, person: int) -> None:
        super().__init__()
        self.person = person
        self.heard: list[int] = []


class Node:
    """A gateway's pump and hub with their readers, without its sockets; ``store`` may be another connection pool's."""

    def __init__(self, db: Database, bus: Bus, poll_seconds: float) -> None:
        self.held = HeldSubjects()
        self.hub: Hub[Listener] = Hub(self.held)
        self.readers = [Listener(person) for person in PEOPLE.values()]
        self._inbox = PostgresInbox(db)
        self._bus = bus
        self._moved = trio.Event()
        self.pump = FeedPump(
            self,  # type: ignore[arg-type] # of a FeedPort the pump uses these three
            GatewayMetrics(CollectorRegistry()),
            publish=self._publish,
            follow_rights=trio.lowlevel.checkpoint,
            held=self.held,
            poll_seconds=poll_seconds,
        )

    async def feed_after(self, seq: int, limit: int) -> list[FeedItem]:
        self._moved.set()  # the pump knows its place, from its very first look on
        return await self._inbox.feed_after(seq, limit)

    async def feed_head(self) -> int:
        return await self._inbox.feed_head()

    def hints(self, held: HeldSubjects | None = None) -> AbstractAsyncContextManager[AsyncIterator[FeedHint]]:
        return self._bus.listen(held)

    def _publish(self, item: FeedItem) -> None:
        for reader in self.hub.addressed(item.clauses):
            reader.heard.append(item.seq)
        self._moved.set()

    async def reached(self, seq: int) -> None:
        """Wait until the pump has handed on all up to ``seq``."""
        with patience(f"the pump hands on what is at place {seq} of the feed"):
            while self.pump.seq is None or self.pump.seq < seq:
                self._moved = trio.Event()
                await self._moved.wait()


@asynccontextmanager
async def open_followed(db: Database, buses: Sequence[Bus], poll_seconds: float) -> AsyncIterator[list[Node]]:
    """A node for each bus, at the head of the feed, with its readers listed."""
    await PostgresPublishing(db).register_types(BUILT_IN)
    rights = await PostgresStreams(db).rights(list(PEOPLE.values()), NOW)
    nodes = [Node(db, bus, poll_seconds) for bus in buses]
    head = await PostgresInbox(db).feed_head()
    async with trio.open_nursery() as nursery:
        for node in nodes:
            for reader in node.readers:
                node.hub.set_keys(reader, rights[reader.person].keys)
            nursery.start_soon(node.pump.run)
            await node.reached(head)
        yield nodes
        nursery.cancel_scope.cancel()


def announcement(key: str, audience: Mapping[str, Any]) -> dict[str, Any]:
    """An event in its wire form."""
    return {"type": "Announcement", "key": key, "audience": audience, "data": {"title": "T", "body": "B"}}


async def expected(db: Database, person: int, after: int) -> list[int]:
    """What somebody should have been sent since: by the database's own reading, which knows neither bus nor hub."""
    (missed,) = await PostgresStreams(db).missed([(person, after)], 10_000, NOW)
    return [item.seq for item in missed]


def relaying(db: Database, bus: Bus) -> SayingFanout:
    """A relay that says on ``bus`` what it has placed."""
    return SayingFanout(db, bus, PostgresInbox(db))
