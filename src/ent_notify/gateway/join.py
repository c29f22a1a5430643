"""The way into a stream: origin, ticket, caps, then what was missed, then live, with no gap and no duplicate.

How the two halves meet: the stream is listed in the hub first, and every live frame for it that passes while it still
catches up only leaves its sequence in ``owed``. The replay reads the database until nothing more is owed, and goes
live in the same step as that last look, without an await between.
"""

from __future__ import annotations

import socket

import trio

from ent_notify.errors import RequestRefused, StoreError
from ent_notify.gateway.http import Request, check_origin, send_all
from ent_notify.gateway.metrics import GatewayMetrics
from ent_notify.gateway.pump import FeedPump
from ent_notify.gateway.sse import (
    notification_frame,
    parse_event_id,
    position_frame,
    reload_frame,
    retry_frame,
    stream_head,
)
from ent_notify.gateway.streams import Stream, Streams
from ent_notify.model.feed import Key
from ent_notify.ports import Clock, FeedPort
from ent_notify.settings import GatewaySettings

_PAGE = 200
_SEND_SECONDS = 30.0
"""How long a reader may take over one page of its replay."""
_MAX_TICKET = 512
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
    ) -> None:
        self._port = port
        self._streams = streams
        self._pump = pump
        self._metrics = metrics
        self._settings = settings
        self._clock = clock
        self._origins = frozenset(settings.origins)
        self._turn = 0.0

    async def join(self, sock: socket.socket, request: Request) -> Stream | None:
        """Make ``request`` a live stream on ``sock``; None if its reader left meanwhile.

        ``GET /v1/stream?ticket=TICKET[&after=SEQ]``; the header Last-Event-ID goes before ``after``. With neither, the
        stream begins now. Raises ``RequestRefused``: 400 (sequence), 401 (ticket), 403 (origin, or no right to listen),
        429 and 503 (caps, or not ready).
        """
        origin = check_origin(request, self._origins)
        after = _resume_point(request)
        ticket = request.query.get("ticket", "")
        if not ticket or len(ticket) > _MAX_TICKET:
            raise RequestRefused(401, "Ticket required", "take a ticket and open the stream with ?ticket=TICKET")
        if self._pump.seq is None:
            raise RequestRefused(503, "Not ready", "the feed cannot be read yet; come back soon", 5)
        self._check_room(request.address)
        person = await self._port.redeem_ticket(ticket, self._clock.now())
        if person is None:
            raise RequestRefused(401, "Ticket refused", "this ticket is unknown, used or too old; take another")
        self._check_room(request.address)
        if len(self._streams.of_person(person)) >= self._settings.max_per_person:
            raise RequestRefused(
                429, "Too many streams", f"one person has at most {self._settings.max_per_person} streams at once", 30
            )
        stream = Stream(sock, person, request.address)
        self._streams.add(stream)
        try:
            self._streams.set_keys(stream, await self._keys_of(stream))
            live = await self._catch_up(stream, after, stream_head(allow_origin=origin))
        except BaseException:
            self._streams.remove(stream)
            raise
        return stream if live else None

    async def refresh(self, person: int) -> None:
        """Route this person's streams by the keys they hold now; cut them if they hold none any more."""
        keys = await self._port.reader_keys(person, self._clock.now())
        for stream in self._streams.of_person(person):
            stream.stale = True
            if keys:
                self._streams.set_keys(stream, keys)
            else:
                self._streams.cut(stream, "revoked")

    async def _keys_of(self, stream: Stream) -> frozenset[Key]:
        """Keys as they are now: read again if a change was announced while they were read."""
        while True:
            stream.stale = False
            keys = await self._port.reader_keys(stream.person, self._clock.now())
            if not keys:
                raise RequestRefused(403, "Not allowed", "this person may not listen any more")
            if not stream.stale:
                return keys

    async def _catch_up(self, stream: Stream, after: int | None, head: bytes) -> bool:
        now_at = self._pump.seq or 0
        seen = now_at if after is None else after
        data = head + retry_frame(self._retry_ms())
        if seen > now_at and seen > await self._port.feed_head():
            # A position from another life of the database: nothing can be said about what lies between.
            seen = now_at
            data += reload_frame(seen)
        else:
            data += position_frame(seen)
        if not await self._send(stream, data):
            return False
        replayed = 0
        more = after is not None
        while more or stream.owed > seen:
            owed = stream.owed
            try:
                page = await self._port.missed(stream.person, seen, _PAGE)
            except StoreError:
                # The head is out: all that can be done is to end the stream, and the reader resumes.
                self._streams.cut(stream, "store")
                return False
            more = len(page) == _PAGE
            replayed += len(page)
            if replayed > self._settings.max_replay:
                seen, more, replayed = max(self._pump.seq or 0, owed), False, 0
                data = reload_frame(seen)
            else:
                data = b"".join(map(notification_frame, page))
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
        if len(self._streams) >= self._settings.max_connections:
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
