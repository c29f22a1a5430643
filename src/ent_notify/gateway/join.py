"""The way into a stream: origin, ticket, caps, then what was missed, then live, with no gap and no duplicate.

How the two halves meet: the stream is listed in the hub first, and every live frame for it that passes while it still
catches up only leaves its sequence in ``owed``. The replay reads the database until nothing more is owed, and goes
live in the same step as that last look, without an await between.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

import trio

from ent_notify.errors import RequestRefused, StoreError
from ent_notify.gateway.gather import Gather
from ent_notify.gateway.http import Request, check_origin, send_all
from ent_notify.gateway.limits import Room
from ent_notify.gateway.metrics import GatewayMetrics
from ent_notify.gateway.pump import FeedPump
from ent_notify.gateway.session import Sessions
from ent_notify.gateway.sse import parse_event_id, stream_head
from ent_notify.gateway.streams import Stream, Streams
from ent_notify.gateway.websocket import SOCKET, Upgrade
from ent_notify.gateway.wires import EVENTS
from ent_notify.model.feed import Entrance, Entry, FeedItem, Key, Rights
from ent_notify.ports import Clock, FeedPort
from ent_notify.settings import GatewaySettings

STREAM_PATH = "/v1/stream"
SOCKET_PATH = "/v1/ws"
_PAGE = 200
_SEND_SECONDS = 30.0
"""How long a reader may take over one page of its replay."""
_GOLDEN = 0.6180339887498949
"""Steps of the golden ratio, modulo 1, are spread evenly over [0, 1) after any number of them."""


class Joiner:
    """Lets readers in. One for each gateway process."""

    def __init__(
        self,
        port: FeedPort,
        streams: Streams,
        pump: FeedPump,
        metrics: GatewayMetrics,
        *,
        settings: GatewaySettings,
        clock: Clock,
        room: Room,
        label: Callable[[Stream], str] | None = None,
    ) -> None:
        self._label = label
        self._room = room
        self._port = port
        self._streams = streams
        self._pump = pump
        self._metrics = metrics
        self.take_on(settings)
        self._clock = clock
        self._entries = Gather[Entry, Entrance | None](lambda entries: port.enter(entries, clock.now()))
        self._rights = Gather[int, Rights](self._ask_rights)
        self._missed = Gather[tuple[int, int], list[FeedItem]](lambda asked: port.missed(asked, _PAGE))
        self._turn = 0.0

    def take_on(self, settings: GatewaySettings) -> None:
        """Let in by these settings from now on."""
        self._settings = settings
        self._origins = frozenset(settings.origins)
        self._sessions = Sessions(settings)

    async def run(self) -> None:
        """Ask the engine for those who come in, many at a time, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._entries.run)
            nursery.start_soon(self._rights.run)
            nursery.start_soon(self._missed.run)

    async def join(self, sock: socket.socket, request: Request) -> Stream | None:
        """Make ``request`` a live stream on ``sock``; None if its reader left meanwhile.

        ``GET /v1/stream[?ticket=TICKET][&after=SEQ]``; the header Last-Event-ID goes before ``after``. With neither,
        the stream begins now. Raises ``RequestRefused``: 400 (sequence), 401 (ticket or session), 403 (origin, or no
        right to listen), 429 and 503 (caps, or not ready).

        ``GET /v1/ws`` with the same query makes a WebSocket of it; 400 and 426 for what is no such handshake.
        """
        origin = check_origin(request, self._origins)
        upgrade = Upgrade(request) if request.path == SOCKET_PATH else None
        after = _resume_point(request)
        entry = self._sessions.entry(request)
        if self._pump.seq is None:
            raise RequestRefused(503, "Not ready", "the feed cannot be read yet; come back soon", 5)
        self._check_room(request.address)
        entrance = await self._entries.ask(entry)
        if entrance is None:
            raise RequestRefused(401, "Ticket refused", "this ticket is unknown, used or too old; take another")
        self._check_room(request.address)
        if len(self._streams.of_person(entrance.person)) >= self._settings.max_per_person:
            raise RequestRefused(
                429, "Too many streams", f"one person has at most {self._settings.max_per_person} streams at once", 30
            )
        stream = Stream(sock, entrance.person, entrance.session, request.address, SOCKET if upgrade else EVENTS)
        self._streams.add(stream)
        try:
            self._streams.set_keys(stream, await self._keys_of(stream))
            headers = self._sessions.headers(request, entrance)
            head = upgrade.accept(headers) if upgrade else stream_head(allow_origin=origin, headers=headers)
            live = await self._catch_up(stream, after, head)
        except BaseException:
            self._streams.remove(stream)
            raise
        return stream if live else None

    async def _keys_of(self, stream: Stream) -> frozenset[Key]:
        """Keys as they are now: read again if a change was announced while they were read."""
        while True:
            stream.stale = False
            rights = await self._rights.ask(stream.person)
            if not rights.keys or stream.session not in rights.sessions:
                raise RequestRefused(403, "Not allowed", "this person may not listen any more")
            if not stream.stale:
                return rights.keys

    async def _ask_rights(self, people: Sequence[int]) -> list[Rights]:
        found = await self._port.rights(people, self._clock.now())
        return [found.get(person, Rights()) for person in people]

    async def _catch_up(self, stream: Stream, after: int | None, head: bytes) -> bool:
        now_at = self._pump.seq or 0
        seen = now_at if after is None else after
        wire = stream.wire
        data = head + wire.retry(self._retry_ms())
        if self._label is not None:
            data += wire.held(self._label(stream))
        if seen > now_at and seen > await self._port.feed_head():
            # A position from another life of the database: nothing can be said about what lies between.
            seen = now_at
            data += wire.reload(seen)
        else:
            data += wire.position(seen)
        if not await self._send(stream, data):
            return False
        replayed = 0
        more = after is not None
        while more or stream.owed > seen:
            owed = stream.owed
            try:
                page = await self._missed.ask((stream.person, seen))
            except StoreError:
                # The head is out: all that can be done is to end the stream, and the reader resumes.
                self._streams.cut(stream, "store")
                return False
            more = len(page) == _PAGE
            replayed += len(page)
            if replayed > self._settings.max_replay:
                seen, more, replayed = max(self._pump.seq or 0, owed), False, 0
                data = wire.reload(seen)
            else:
                data = b"".join(map(wire.notification, page))
                seen = page[-1].seq if more else max(seen, owed, *(item.seq for item in page))
            if not await self._send(stream, data):
                return False
            self._metrics.replayed.inc(len(page))
        self._streams.go_live(stream, seen)
        return True

    async def _send(self, stream: Stream, data: bytes) -> bool:
        """Whether the reader took ``data`` and is still here."""
        with trio.move_on_after(_SEND_SECONDS) as patience:
            await send_all(stream.sock, data)
        if patience.cancelled_caught:
            self._streams.cut(stream, "slow")
        return stream.sock.fileno() >= 0

    def _retry_ms(self) -> int:
        """Spread readers over 1 to 2 times ``retry_seconds``, for the day this process is killed."""
        self._turn = (self._turn + _GOLDEN) % 1
        return round(self._settings.retry_seconds * (1 + self._turn) * 1000)

    def _check_room(self, address: str) -> None:
        if len(self._streams) >= self._room.streams:
            raise RequestRefused(503, "Full", "this process holds all the streams it may; come back soon", 5)
        if self._streams.of_address(address) >= self._settings.max_per_address:
            raise RequestRefused(
                429, "Too many streams", f"one address has at most {self._settings.max_per_address} streams at once", 30
            )


def _resume_point(request: Request) -> int | None:
    text = request.headers.get("last-event-id", "") or request.query.get("after", "")
    if not text:
        return None
    seq = parse_event_id(text)
    if seq is None:
        raise RequestRefused(400, "Malformed position", "Last-Event-ID and after are numbers that a stream has sent")
    return seq
