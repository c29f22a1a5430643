"""The other sides of a gateway: an engine port in memory, and a browser that reads a stream over sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count

import trio
from prometheus_client import CollectorRegistry

from ent_notify.errors import StoreUnreachable
from ent_notify.gateway import Gateway, Router
from ent_notify.model.delivery import Urgency
from ent_notify.model.feed import Clause, Entrance, Entry, FeedHint, FeedItem, Key, Rights, RightsChanges
from ent_notify.model.subjects import HeldSubjects
from ent_notify.settings import GatewaySettings

T0 = datetime(2026, 9, 8, 8, 0, tzinfo=UTC)
EVERYBODY = (Clause(included=((0, 0),)),)


def to_person(person: int) -> tuple[Clause, ...]:
    """Clauses that address one person."""
    return (Clause(included=((3, person),)),)


class StillClock:
    """A clock that only moves by hand."""

    def __init__(self) -> None:
        self.instant = T0

    def now(self) -> datetime:
        return self.instant

    async def sleep(self, seconds: float) -> None:
        """Time does not pass: whoever sleeps is woken by what happens, or not at all."""
        del seconds
        await trio.sleep_forever()


class MemoryFeed:
    """A ``FeedPort`` in memory, with faults: ``down`` (every call raises) and ``deaf`` (hints are lost)."""

    def __init__(self) -> None:
        self.items: list[FeedItem] = []
        self.keys: dict[int, frozenset[Key]] = {}
        self.tickets: dict[str, tuple[int, datetime]] = {}
        self.sessions: dict[str, tuple[int, int, list[str | None]]] = {}
        self.changes: list[frozenset[int] | None] = []
        self.statements: list[tuple[str, int]] = []
        self.down = False
        self.deaf = False
        self.before_missed: trio.Event | None = None
        self.missed_asked = trio.Event()
        self.before_rights: trio.Event | None = None
        self.rights_asked = trio.Event()
        self._numbers = count()
        self._listeners: list[trio.MemorySendChannel[FeedHint]] = []

    def person(self, person: int, *keys: Key) -> None:
        self.keys[person] = frozenset({(0, 0), (3, person), *keys})

    def ticket(self, person: int, *, now: datetime = T0) -> str:
        text = f"ticket-{next(self._numbers)}"
        self.tickets[text] = (person, now + timedelta(seconds=60))
        return text

    def append(self, clauses: tuple[Clause, ...], *, published_at: datetime = T0) -> FeedItem:
        """Publish without a hint."""
        seq = len(self.items) + 1
        item = FeedItem(seq, 1000 + seq, "Announcement", "announcement", Urgency.BULK, published_at, clauses)
        self.items.append(item)
        return item

    def publish(self, clauses: tuple[Clause, ...]) -> FeedItem:
        item = self.append(clauses)
        self.hint()
        return item

    def hint(self) -> None:
        if not self.deaf:
            for listener in self._listeners:
                listener.send_nowait(FeedHint())

    def change(self, *people: int) -> None:
        """Say whose rights have changed; with nobody: anybody's."""
        self.changes.append(frozenset(people) or None)
        self.hint()

    def revoke(self, person: int) -> None:
        """End this person's sessions and tickets."""
        self.sessions = {secret: one for secret, one in self.sessions.items() if one[0] != person}
        self.tickets = {ticket: one for ticket, one in self.tickets.items() if one[0] != person}
        self.change(person)

    # The port itself.

    async def enter(self, entries: Sequence[Entry], now: datetime) -> list[Entrance | None]:
        await self._trip("enter", len(entries))
        return [self._enter(entry, now) for entry in entries]

    def _enter(self, entry: Entry, now: datetime) -> Entrance | None:
        person, expires_at = self.tickets.pop(entry.ticket or "", (0, now))
        old = self.sessions.get(entry.session or "")
        if now < expires_at:
            if old and old[0] == person:
                old[2].append(entry.ticket)
                return Entrance(person, old[1])
            session = next(self._numbers)
            secret = f"secret-{session}"
            self.sessions[secret] = (person, session, [entry.ticket])
            return Entrance(person, session, secret)
        if old and (entry.ticket is None or entry.ticket in old[2]):
            return Entrance(old[0], old[1])
        return None

    async def rights(self, people: Sequence[int], now: datetime) -> dict[int, Rights]:
        self.rights_asked.set()
        await self._trip("rights", len(people))
        answer = {
            person: Rights(self.keys[person], frozenset(one[1] for one in self.sessions.values() if one[0] == person))
            for person in people
            if person in self.keys
        }
        if self.before_rights is not None:
            await self.before_rights.wait()
        return answer

    async def rights_head(self) -> int:
        await self._trip()
        return len(self.changes)

    async def rights_changes(self, after: int) -> RightsChanges:
        await self._trip()
        named: set[int] = set()
        for people in self.changes[after:]:
            if people is None:
                return RightsChanges(len(self.changes), None)
            named |= people
        return RightsChanges(len(self.changes), frozenset(named))

    async def feed_after(self, seq: int, limit: int) -> list[FeedItem]:
        await self._trip()
        return self.items[seq : seq + limit]

    async def feed_head(self) -> int:
        await self._trip()
        return len(self.items)

    async def missed(self, asked: Sequence[tuple[int, int]], limit: int) -> list[list[FeedItem]]:
        self.missed_asked.set()
        await self._trip("missed", len(asked))
        pages = [self.page(person, after, limit) for person, after in asked]
        if self.before_missed is not None:
            await self.before_missed.wait()
        return pages

    def page(self, person: int, after: int, limit: int) -> list[FeedItem]:
        return [item for item in self.items[after:] if addresses(item.clauses, self.keys[person])][:limit]

    @asynccontextmanager
    async def hints(self, held: HeldSubjects | None = None) -> AsyncIterator[AsyncIterator[FeedHint]]:
        await self._trip()
        send, receive = trio.open_memory_channel[FeedHint](10_000)
        self._listeners.append(send)
        try:
            async with receive:
                yield receive
        finally:
            self._listeners.remove(send)

    def lose_hints(self) -> None:
        """The source of hints breaks."""
        for listener in self._listeners:
            listener.close()

    async def _trip(self, question: str = "", size: int = 0) -> None:
        if question:
            self.statements.append((question, size))
        await trio.lowlevel.checkpoint()
        if self.down:
            raise StoreUnreachable("no PostgreSQL answers at memory; start it")


def addresses(clauses: Iterable[Clause], keys: frozenset[Key]) -> bool:
    """The meaning of clauses, said once more and plainly: the model that the hub is held against."""
    return any(keys & set(clause.included) and not keys & set(clause.excluded) for clause in clauses)


@dataclass
class Event:
    """One block of a stream as a browser parses it."""

    id: str = ""
    event: str = "message"
    data: str = ""
    retry: int | None = None
    comment: bool = False


@dataclass
class Browser:
    """A raw HTTP client on one socket; it reads only when asked."""

    stream: trio.SocketStream
    buffer: bytes = b""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def read_head(self) -> int:
        while b"\r\n\r\n" not in self.buffer:
            more = await self.stream.receive_some(4096)
            assert more, f"the server closed before its answer: {self.buffer!r}"
            self.buffer += more
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return self.status

    async def read_body(self) -> bytes:
        size = int(self.headers["content-length"])
        while len(self.buffer) < size:
            more = await self.stream.receive_some(4096)
            assert more, "the server closed before the end of its answer"
            self.buffer += more
        body, self.buffer = self.buffer[:size], self.buffer[size:]
        return body

    async def next_block(self) -> Event | None:
        """The next block of the stream, comments and all; None at its end (a block cut short does not count)."""
        while b"\n\n" not in self.buffer:
            try:
                more = await self.stream.receive_some(65536)
            except trio.BrokenResourceError:
                return None
            if not more:
                return None
            self.buffer += more
        block, _, self.buffer = self.buffer.partition(b"\n\n")
        event = Event()
        for line in block.decode().split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "":
                event.comment = True
            elif name == "retry":
                event.retry = int(value)
            else:
                assert name in ("id", "event", "data"), f"not a field of an event stream: {line!r}"
                setattr(event, name, value)
        return event

    async def next_event(self) -> Event | None:
        """The next block that a browser would dispatch: one with data."""
        while (block := await self.next_block()) is not None:
            if block.data:
                return block
        return None

    async def ids(self, number: int) -> list[int]:
        """The ids of the next ``number`` notifications."""
        found: list[int] = []
        for _ in range(number):
            event = await self.next_event()
            assert event is not None, f"the stream ended after {found}"
            assert event.event == "notification", event
            found.append(int(event.id))
        return found


@dataclass
class House:
    """A gateway at work on a loopback port, with what stands around it."""

    feed: MemoryFeed
    gateway: Gateway
    port: int
    clock: StillClock
    registry: CollectorRegistry
    sockets: list[trio.socket.SocketType] = field(default_factory=list)

    async def connect(self, *, receive_buffer: int | None = None) -> Browser:
        sock = trio.socket.socket()
        self.sockets.append(sock)
        if receive_buffer is not None:
            sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer)
        await sock.connect(("127.0.0.1", self.port))
        return Browser(trio.SocketStream(sock))

    async def get(self, target: str, *, method: str = "GET", headers: Iterable[str] = ()) -> Browser:
        browser = await self.connect()
        await self.request(browser, target, method=method, headers=headers)
        return browser

    async def request(
        self, browser: Browser, target: str, *, method: str = "GET", headers: Iterable[str] = (), body: bytes = b""
    ) -> None:
        lines = [f"{method} {target} HTTP/1.1", f"host: 127.0.0.1:{self.port}", *headers]
        if body:
            lines += [f"content-length: {len(body)}", "content-type: application/json"]
        await browser.send("\r\n".join([*lines, "", ""]).encode() + body)
        await browser.read_head()

    async def open(
        self,
        person: int,
        *,
        after: int | None = None,
        last_event_id: int | None = None,
        receive_buffer: int | None = None,
    ) -> Browser:
        """A stream, joined and live."""
        browser = await self.connect(receive_buffer=receive_buffer)
        target = f"/v1/stream?ticket={self.feed.ticket(person, now=self.clock.now())}"
        if after is not None:
            target += f"&after={after}"
        headers = [] if last_event_id is None else [f"last-event-id: {last_event_id}"]
        await self.request(browser, target, headers=headers)
        assert browser.status == 200, await browser.read_body()
        opening = await browser.next_block()
        assert opening is not None
        assert opening.retry is not None
        return browser

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def open_house(
    *,
    poll_seconds: float = 1.0,
    extra: Router | None = None,
    on_seen: Callable[[int, int], None] | None = None,
    **settings: object,
) -> AsyncIterator[House]:
    """Run a gateway until the end of the block; ``settings`` are fields of ``GatewaySettings``."""
    feed, clock, registry = MemoryFeed(), StillClock(), CollectorRegistry()
    gateway = Gateway(
        feed,
        settings=GatewaySettings.model_validate({"port": 0, **settings}),
        clock=clock,
        registry=registry,
        extra=extra,
        on_seen=on_seen,
        poll_seconds=poll_seconds,
    )
    async with trio.open_nursery() as nursery:
        port: int = await nursery.start(partial(gateway.run))
        while gateway.statistics().feed_seq is None:
            await trio.testing.wait_all_tasks_blocked()
        house = House(feed, gateway, port, clock, registry)
        try:
            yield house
        finally:
            for sock in house.sockets:
                sock.close()
        nursery.cancel_scope.cancel()
