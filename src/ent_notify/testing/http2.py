"""A small HTTPS server on trio: HTTP/2 by h2, HTTP/1.1 by h11, certificates by trustme.

It is the ground of the fake APNs and the fake FCM; what it does on a request is a ``Behaviour``.

The server keeps to flow control in both directions, as a real one does: a client that never acknowledges DATA
gets no more bodies once its window is used up.
"""

from __future__ import annotations

import math
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hyperframe.frame
import trio
import trustme

from ent_notify.testing.behaviours import (
    REFUSED_STREAM,
    Answer,
    Behaviour,
    Drop,
    EmptyData,
    GoAway,
    Handler,
    Limit,
    Request,
    Reset,
    Silence,
    Slow,
    Starve,
)
from ent_notify.testing.http1 import serve_http1

_READ_SIZE = 65_536
_UNCOUNTED = 2**32
GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
"""The client has left, or we have cut it; TLS errors are OSErrors."""


@dataclass(slots=True)
class _Arriving:
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)


class HttpsServer:
    """What ``open_https_server`` gives: an address, a certificate authority and counters."""

    def __init__(self, handler: Handler, max_streams: int, strict: bool) -> None:
        self.host = ""
        self.port = 0
        self.connections = 0
        """Connections ever accepted."""
        self.open_connections = 0
        self.refused = 0
        """Streams refused because the client went over the limit that it had acknowledged."""
        self.hang_up = False
        """Close each new connection after its handshake, without a word."""
        self.protocol_errors: list[str] = []
        """What clients did against RFC 9113, in words (the first hundred)."""
        self.max_streams = max_streams
        self.handler = handler
        self.strict = strict
        self._authority = trustme.CA()
        self._live: set[_Http2Connection] = set()

    @property
    def ca_pem(self) -> str:
        """The certificate authority that clients must trust, in PEM."""
        return self._authority.cert_pem.bytes().decode("ascii")

    def server_context(self, *names: str) -> ssl.SSLContext:
        """The server's own TLS context."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._authority.issue_cert(*names).configure_cert(context)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context

    async def feed(self) -> None:
        """Give starved connections their window back."""
        for connection in list(self._live):
            await connection.feed()

    async def drop_all(self) -> None:
        """Cut every connection."""
        for connection in list(self._live):
            await connection.cut()

    async def serve(self, tcp: trio.SocketStream, context: ssl.SSLContext) -> None:
        """One connection, from its TLS handshake to its end."""
        self.connections += 1
        self.open_connections += 1
        tls = trio.SSLStream(tcp, context, server_side=True, https_compatible=True)
        try:
            await tls.do_handshake()
            if self.hang_up:
                return
            if tls.selected_alpn_protocol() == "h2":
                connection = _Http2Connection(self, tcp, tls, self.connections)
                self._live.add(connection)
                try:
                    await connection.serve()
                finally:
                    self._live.discard(connection)
            else:
                await serve_http1(tls, self._over_http1(self.connections))
        except GONE:
            pass
        finally:
            self.open_connections -= 1
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await trio.aclose_forcefully(tls)

    def note_error(self, error: Exception) -> None:
        """Keep a protocol error for the test to see."""
        if len(self.protocol_errors) < 100:
            self.protocol_errors.append(f"{type(error).__name__}: {error}")

    def _over_http1(self, connection: int) -> Callable[..., tuple[int, tuple[tuple[str, str], ...], bytes, float]]:
        def answer(
            method: str, path: str, headers: Mapping[str, str], body: bytes
        ) -> tuple[int, tuple[tuple[str, str], ...], bytes, float]:
            behaviour, delay = self.handler(Request(connection, 0, method, path, headers, body)), 0.0
            while isinstance(behaviour, (Slow, Limit, Starve, EmptyData)):
                delay += behaviour.seconds if isinstance(behaviour, Slow) else 0.0
                behaviour = behaviour.then
            if isinstance(behaviour, Answer):
                return behaviour.status, behaviour.headers, behaviour.body, delay
            if isinstance(behaviour, Silence):
                return 0, (), b"", math.inf
            return 0, (), b"", delay

        return answer


class _ServerH2(h2.connection.H2Connection):
    """h2, with the limit of streams left to us: a stream too many is refused, the connection goes on (RFC 9113, 5.1.2).

    It also spares h2's walk through every open stream at each request; one in 256 is enough to forget closed ones.
    """

    _opened = 0

    @property
    def open_inbound_streams(self) -> int:
        self._opened += 1
        return super().open_inbound_streams - _UNCOUNTED if self._opened % 256 == 0 else -_UNCOUNTED


class _Http2Connection:
    """One HTTP/2 connection: h2 does the protocol, this moves bytes and keeps to what the behaviours say."""

    def __init__(
        self, server: HttpsServer, tcp: trio.SocketStream, tls: trio.SSLStream[trio.SocketStream], number: int
    ):
        self._server = server
        self._tcp = tcp
        self._tls = tls
        self._number = number
        self._h2 = _ServerH2(
            h2.config.H2Configuration(
                client_side=False,
                header_encoding="utf-8",
                validate_inbound_headers=server.strict,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._arriving: dict[int, _Arriving] = {}
        self._unanswered: set[int] = set()
        self._blocked: deque[tuple[int, bytes]] = deque()
        self._out = bytearray()
        self._sending = trio.Lock()
        self._starved = False
        self._owed = 0
        self._last_stream = math.inf
        self._finished = False
        self._limit = math.inf  # what the client has acknowledged; before that it may open as many as it likes
        self._nursery: trio.Nursery

    async def serve(self) -> None:
        codes = h2.settings.SettingCodes
        self._h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={codes.MAX_CONCURRENT_STREAMS: self._server.max_streams, codes.MAX_HEADER_LIST_SIZE: 65_536},
        )
        self._h2.initiate_connection()
        await self.flush()
        async with trio.open_nursery() as self._nursery:
            with suppress(*GONE):
                await self._listen()
            self._nursery.cancel_scope.cancel()

    async def _listen(self) -> None:
        while data := await self._tls.receive_some(_READ_SIZE):
            try:
                for event in self._h2.receive_data(data):
                    self._take(event)
            except h2.exceptions.ProtocolError as error:
                self._server.note_error(error)
                await self.flush()
                return
            await self.flush()
            await self._finish()

    async def _finish(self) -> None:
        """After a GOAWAY, when all that is due is said: say no more, and read until the client leaves.

        To close at once would reset the connection, and the client could lose answers that it has not read.
        """
        if self._last_stream < math.inf and not self._unanswered:
            await self.flush()  # what other tasks have said since
            if not self._finished:
                self._finished = True
                async with self._sending:
                    await self._tcp.send_eof()

    async def flush(self) -> None:
        async with self._sending:
            self._out += self._h2.data_to_send()
            if self._out and not self._finished:
                data, self._out = self._out, bytearray()
                await self._tls.send_all(data)

    async def feed(self) -> None:
        self._starved = False
        if self._owed:
            self._h2.increment_flow_control_window(self._owed)
            self._owed = 0
        with suppress(*GONE):
            await self.flush()

    async def cut(self) -> None:
        await trio.aclose_forcefully(self._tcp)

    def limit_streams(self, streams: int) -> None:
        """A new SETTINGS_MAX_CONCURRENT_STREAMS, from the next flush on."""
        self._h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: streams})

    # ------------------------------------------------------------------ what arrives

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            arriving = self._arriving.get(event.stream_id)
            if arriving is not None:
                arriving.body += event.data
            if self._starved:
                self._owed += event.flow_controlled_length
            elif event.flow_controlled_length:
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.RequestReceived):
            if len(self._arriving) + len(self._unanswered) >= self._limit:
                self._server.refused += 1
                self._h2.reset_stream(event.stream_id, REFUSED_STREAM)
            elif event.stream_id <= self._last_stream:
                self._arriving[event.stream_id] = _Arriving(dict(event.headers))  # type: ignore[arg-type]
        elif isinstance(event, h2.events.StreamEnded):
            self._complete(event.stream_id)
        elif isinstance(event, h2.events.WindowUpdated):
            self._unblock()
        elif isinstance(event, h2.events.SettingsAcknowledged):
            changed = event.changed_settings.get(h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS)
            if changed is not None:
                self._limit = changed.new_value
            elif math.isinf(self._limit):
                self._limit = self._server.max_streams
        elif isinstance(event, h2.events.StreamReset):
            self._arriving.pop(event.stream_id, None)
            self._unanswered.discard(event.stream_id)

    def _complete(self, stream: int) -> None:
        arriving = self._arriving.pop(stream, None)
        if arriving is None:
            return
        headers = arriving.headers
        method, path = headers.pop(":method"), headers.pop(":path")
        request = Request(self._number, stream, method, path, headers, bytes(arriving.body))
        self._unanswered.add(stream)
        self._behave(stream, self._server.handler(request))

    # ------------------------------------------------------------------ what goes out

    def _behave(self, stream: int, behaviour: Behaviour) -> None:
        match behaviour:
            case Answer():
                self._answer(stream, behaviour)
            case Slow():
                self._nursery.start_soon(self._later, stream, behaviour)
            case EmptyData(then):
                self._answer(stream, then, empty_first=True)
            case Limit(streams, then):
                self.limit_streams(streams)
                self._behave(stream, then)
            case Starve(then):
                self._starved = True
                self._behave(stream, then)
            case Reset(code):
                self._unanswered.discard(stream)
                self._h2.reset_stream(stream, code)
            case GoAway():
                self._go_away(stream, behaviour)
            case Drop():
                self._nursery.start_soon(self.cut)
            case Silence():
                pass

    def _answer(self, stream: int, answer: Answer, *, empty_first: bool = False) -> None:
        if stream not in self._unanswered:
            return  # the client has reset it meanwhile
        has_body = bool(answer.body) or empty_first
        self._h2.send_headers(stream, [(":status", str(answer.status)), *answer.headers], end_stream=not has_body)
        if empty_first:
            self._h2.send_data(stream, b"")
        if has_body:
            self._blocked.append((stream, answer.body))
            self._unblock()
        else:
            self._unanswered.discard(stream)

    def _unblock(self) -> None:
        while self._blocked:
            stream, body = self._blocked[0]
            if stream in self._unanswered:
                if self._h2.local_flow_control_window(stream) < len(body):
                    return
                self._h2.send_data(stream, body, end_stream=True)
                self._unanswered.discard(stream)
            self._blocked.popleft()

    async def _later(self, stream: int, behaviour: Slow) -> None:
        await trio.sleep(behaviour.seconds)
        self._behave(stream, behaviour.then)
        with suppress(*GONE):
            await self.flush()
            await self._finish()

    def _go_away(self, stream: int, behaviour: GoAway) -> None:
        # h2 refuses to speak after close_connection(); RFC 9113, 6.8 lets earlier streams finish, as Apple does.
        last = stream if behaviour.processed else max(stream - 2, 0)
        self._last_stream = last
        self._out += self._h2.data_to_send()
        self._out += hyperframe.frame.GoAwayFrame(0, last_stream_id=last, error_code=behaviour.code).serialize()
        self._unanswered = {open_stream for open_stream in self._unanswered if open_stream <= last}
        if behaviour.processed:
            if behaviour.then is None:
                self._unanswered.discard(stream)
            else:
                self._behave(stream, behaviour.then)


@asynccontextmanager
async def open_https_server(
    handler: Handler,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    max_streams: int = 1_000,
    strict: bool = True,
) -> AsyncIterator[HttpsServer]:
    """Serve ``handler`` on ``host:port`` (0: a free one) until the block ends.

    ``max_streams`` is announced as SETTINGS_MAX_CONCURRENT_STREAMS. ``strict`` checks every request header as
    RFC 9113 wants it; without it a core serves about a tenth more.
    """
    server = HttpsServer(handler, max_streams, strict)
    context = server.server_context("localhost", host)
    listeners = await trio.open_tcp_listeners(port, host=host, backlog=1_024)
    server.host, server.port = host, listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:

        async def serve(stream: trio.SocketStream) -> None:
            await server.serve(stream, context)

        await nursery.start(trio.serve_listeners, serve, listeners)
        try:
            yield server
        finally:
            nursery.cancel_scope.cancel()
