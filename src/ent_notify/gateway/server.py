"""The gateway process: the accept loop, requests, the way into a stream, draining."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import trio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from trio.lowlevel import ParkingLot

from ent_notify.errors import (
    EntNotifyError,
    MalformedDevice,
    NotAllowed,
    NotFound,
    PublishError,
    RequestRefused,
    StoreError,
)
from ent_notify.gateway.client import add_client
from ent_notify.gateway.http import HttpConnection, Request, Response, receive
from ent_notify.gateway.join import SOCKET_PATH, STREAM_PATH, Joiner
from ent_notify.gateway.limits import Room, divide
from ent_notify.gateway.metrics import GatewayMetrics
from ent_notify.gateway.presence import PresenceKeeper
from ent_notify.gateway.pump import FeedPump
from ent_notify.gateway.reads import ReadRelay
from ent_notify.gateway.rights import RightsKeeper
from ent_notify.gateway.router import Router
from ent_notify.gateway.streams import Stream, Streams, StreamStatistics
from ent_notify.model.feed import FeedItem
from ent_notify.observe import get_logger
from ent_notify.ports import Clock, EvidencePort, FeedPort
from ent_notify.settings import GatewaySettings

_BACKLOG = 4_096
_ACCEPTS_AT_ONCE = 64
_REQUESTS_OF_ONE_ADDRESS = 500
"""The same from one address that is no proxy of ours; above it they are closed at once."""
_SEND_BUFFER = 32_768
"""Bytes of kernel send buffer asked for (Linux takes twice that): with ``max_pending_bytes``, a slow reader's bound."""
_DEAD_PEER_MS = 60_000
"""TCP_USER_TIMEOUT: a peer that acknowledges nothing for so long is gone (half-open connections)."""
_ACCEPT_PAUSE = 0.1
_RESPOND_SECONDS = 30.0
_LINGER_SECONDS = 1.0
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GatewayStatistics:
    """A snapshot of this process."""

    streams: StreamStatistics
    requests: int
    """Connections that hold no stream: a request is being read or answered, or may follow."""
    feed_seq: int | None
    feed_healthy: bool
    draining: bool


class Gateway:
    """One live gateway. ``await gateway.run()`` serves until ``drain`` has ended (or cancellation).

    ``extra`` adds routes beside ``/v1/stream``, ``/v1/ws``, ``/healthz`` and ``/readyz``. ``/metrics`` is served on the
    admin port when there is one, else beside them; ``admin`` adds routes to the admin port alone.
    ``on_seen(person, seq)`` hears what apps say by WebSocket: that this person has seen the feed up to there. It must
    not block. ``evidence`` is told who looks at which page, and tells what was read elsewhere.

    ``room`` is what this process can hold; ``limits.divide`` tells it from the limit of descriptors. ``beat`` is called
    about once a second, as long as this process goes round.
    """

    def __init__(
        self,
        port: FeedPort,
        *,
        settings: GatewaySettings,
        clock: Clock,
        registry: CollectorRegistry,
        extra: Router | None = None,
        admin: Router | None = None,
        on_seen: Callable[[int, int], None] | None = None,
        evidence: EvidencePort | None = None,
        poll_seconds: float = 1.0,
        room: Room | None = None,
        beat: Callable[[], None] | None = None,
    ) -> None:
        self._settings = settings
        self._room = room or divide(None, settings.max_connections)
        self._clock = clock
        self._metrics = GatewayMetrics(registry)
        self._metrics.room.set(self._room.streams)
        self._streams = Streams(self._metrics, max_pending_bytes=settings.max_pending_bytes, on_seen=on_seen)
        self._presence: PresenceKeeper | None = None
        self._reads: ReadRelay | None = None
        if evidence is not None:
            self._presence = PresenceKeeper(evidence, self._streams, clock, lambda: self._pump.seq or 0)
            self._reads = ReadRelay(evidence, self._streams)
            self._streams.on_seen = on_seen or self._presence.saw
            self._streams.on_look, self._streams.on_end = self._presence.look, self._presence.ended
        self._rights = RightsKeeper(port, self._streams, self._metrics, clock, refresh_seconds=settings.refresh_seconds)
        self._pump = FeedPump(
            port,
            self._metrics,
            publish=self._publish,
            follow_rights=self._rights.follow,
            held=self._streams.held,
            on_read=self._reads.note if self._reads else None,
            on_talk=self._streams.tell_talk,
            poll_seconds=poll_seconds,
            beat=beat,
        )
        self._joiner = Joiner(
            port,
            self._streams,
            self._pump,
            self._metrics,
            settings=settings,
            clock=clock,
            room=self._room,
            label=self._presence.label if self._presence else None,
        )
        self._router = extra if extra is not None else Router()
        self._admin = admin if admin is not None else Router()
        for router in (self._router, self._admin):
            router.add("GET", "/healthz", self._healthz)
            router.add("GET", "/readyz", self._readyz)
        (self._router if settings.admin_port is None else self._admin).add("GET", "/metrics", self._metrics_page)
        add_client(self._router)
        self._trusted = frozenset(settings.trusted_proxies)
        self._requests = 0
        self._by_peer: dict[str, int] = {}
        self._idle: dict[trio.CancelScope, None] = {}
        self._full = ParkingLot()
        self._draining = trio.Event()

    def statistics(self) -> GatewayStatistics:
        """A snapshot."""
        return GatewayStatistics(
            streams=self._streams.statistics(),
            requests=self._requests,
            feed_seq=self._pump.seq,
            feed_healthy=self._pump.healthy,
            draining=self._draining.is_set(),
        )

    def take_on(self, settings: GatewaySettings) -> None:
        """Treat whoever comes from now on by other settings; what is held stays. Places, ports and sizes do not
        change: see ``settings.live``."""
        self._settings = settings
        self._trusted = frozenset(settings.trusted_proxies)
        self._joiner.take_on(settings)

    def drain(self) -> None:
        """Stop gracefully: accept nobody, ask every stream to come back elsewhere, end; ``run`` then returns."""
        self._draining.set()

    async def wait_draining(self) -> None:
        """Wait until somebody has called ``drain``."""
        await self._draining.wait()

    async def run(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until drained. Starts with the port listened on. Raises ``OSError`` if it cannot be had."""
        settings = self._settings
        with ExitStack() as stack:
            listeners = [stack.enter_context(listen(settings.host, settings.port))]
            routers = [self._router, self._admin]
            if settings.admin_port is not None:
                listeners.append(stack.enter_context(listen(settings.host, settings.admin_port, shared=False)))
            async with trio.open_nursery() as background:
                background.start_soon(self._pump.run)
                background.start_soon(self._joiner.run)
                background.start_soon(self._rights.sweep_forever)
                background.start_soon(self._streams.flush_forever)
                for each in (self._presence, self._reads):
                    if each is not None:
                        background.start_soon(each.run)
                background.start_soon(
                    self._streams.heartbeat_forever, settings.heartbeat_seconds, lambda: self._pump.seq or 0
                )
                async with trio.open_nursery() as nursery:
                    for listener, router in zip(listeners, routers, strict=False):
                        nursery.start_soon(self._accept_forever, listener, router, nursery)
                    task_status.started(listeners[0].getsockname()[1])
                    await self._draining.wait()
                    deadline = trio.current_time() + settings.drain_seconds
                    for listener, router in zip(listeners, routers, strict=False):
                        trio.lowlevel.notify_closing(listener)
                        with suppress(OSError):  # whoever is in the queue gets an answer, not a reset
                            self._accept_ready(listener, router, nursery)
                        listener.close()
                    for scope in self._idle:
                        scope.cancel()
                    await self._streams.drain(settings.retry_seconds, settings.drain_seconds)
                    nursery.cancel_scope.deadline = deadline
                background.cancel_scope.cancel()

    # -------------------------------------------------------------- accepting

    async def _accept_forever(self, listener: socket.socket, router: Router, nursery: trio.Nursery) -> None:
        while True:
            try:
                await trio.lowlevel.wait_readable(listener)
            except trio.ClosedResourceError:
                return
            while self._requests >= self._room.requests:
                for longest_silent in self._idle:
                    longest_silent.cancel()
                    break
                await self._full.park()
            try:
                self._accept_ready(listener, router, nursery)
            except OSError as error:
                # Out of descriptors or memory: those held go on; look again when some may be free.
                _log.error("accept_failed", error=error)
                await trio.sleep(_ACCEPT_PAUSE)

    def _accept_ready(self, listener: socket.socket, router: Router, nursery: trio.Nursery) -> None:
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            sock.setblocking(False)
            peer = address[0]
            if self._by_peer.get(peer, 0) >= _REQUESTS_OF_ONE_ADDRESS and peer not in self._trusted:
                self._metrics.dropped.inc()
                sock.close()
                continue
            self._requests += 1
            self._by_peer[peer] = self._by_peer.get(peer, 0) + 1
            nursery.start_soon(self._serve, sock, peer, router, nursery, name="request")

    async def _serve(self, sock: socket.socket, peer: str, router: Router, nursery: trio.Nursery) -> None:
        """The requests of one connection, until it ends or becomes a stream."""
        stream = None
        try:
            stream = await self._converse(sock, peer, router)
        except OSError:
            pass  # the peer is gone
        except Exception as error:  # noqa: BLE001 - what one request brings to light ends that connection alone
            _log.error("handler_failed", error=error)
        finally:
            self._requests -= 1
            self._full.unpark_all()
            self._by_peer[peer] -= 1
            if not self._by_peer[peer]:
                del self._by_peer[peer]
            if stream is None:
                sock.close()
            else:
                # A task of its own, so that nothing of the request stays in memory.
                nursery.start_soon(self._streams.hold, stream, name="stream")

    async def _converse(self, sock: socket.socket, peer: str, router: Router) -> Stream | None:
        connection = HttpConnection(sock, peer=peer, trusted_proxies=self._trusted)
        while True:
            if not await self._wait_begun(connection):
                return None
            try:
                request = await self._read(connection)
            except RequestRefused as refused:
                await self._respond(connection, self._problem(refused), close=True)
                await _linger(sock)
                return None
            if request is None:
                return None
            if router is self._router and request.path in (STREAM_PATH, SOCKET_PATH) and request.method == "GET":
                try:
                    self._check_open()
                    stream = await self._joiner.join(sock, request)
                    if stream is not None and stream.wire.listens and connection.unread:
                        self._streams.hear(stream, connection.unread)
                    return stream  # noqa: TRY300 - what follows answers a refusal
                except (RequestRefused, StoreError) as error:
                    response = self._problem(error)
            else:
                response = await self._answer(request, router)
            if not await self._respond(connection, response, close=self._draining.is_set()):
                return None
            await trio.lowlevel.checkpoint()

    async def _wait_begun(self, connection: HttpConnection) -> bool:
        """Whether a request begins within ``head_seconds``, before we need the place for somebody else."""
        with trio.move_on_after(self._settings.head_seconds) as silent:
            self._idle[silent] = None
            try:
                return await connection.wait_first_byte()
            finally:
                del self._idle[silent]
        return False

    async def _read(self, connection: HttpConnection) -> Request | None:
        with trio.move_on_after(self._settings.head_seconds):
            return await connection.read_request()
        raise RequestRefused(408, "Request too slow", "the whole request did not arrive in time")

    async def _respond(self, connection: HttpConnection, response: Response, *, close: bool) -> bool:
        with trio.move_on_after(_RESPOND_SECONDS):
            return await connection.respond(response, close=close)
        return False

    # -------------------------------------------------------------- answering

    async def _answer(self, request: Request, router: Router) -> Response:
        try:
            return await router.handle(request)
        except EntNotifyError as error:
            return self._problem(error)
        except Exception as error:  # noqa: BLE001 - one handler's bug is one answer of 500, not everybody's stream
            _log.error("handler_failed", error=error)
            return self._problem(RequestRefused(500, "Internal error", "this request met a fault of ours"))

    def _problem(self, error: EntNotifyError) -> Response:
        refused = refusal_of(error)
        self._metrics.refused.labels(str(refused.status)).inc()
        return Response.problem(refused)

    def _check_open(self) -> None:
        if self._draining.is_set():
            raise RequestRefused(503, "Stopping", "this process is stopping; connect again", 1)

    async def _healthz(self, request: Request) -> Response:
        return Response(body=b"ok\n")

    async def _readyz(self, request: Request) -> Response:
        self._check_open()
        if not self._pump.healthy:
            raise RequestRefused(503, "Not ready", "the feed cannot be read at the moment", 5)
        return Response(body=b"ready\n")

    async def _metrics_page(self, request: Request) -> Response:
        return Response(body=generate_latest(self._metrics.registry), content_type=CONTENT_TYPE_LATEST)

    def _publish(self, item: FeedItem) -> None:
        self._rights.note(item)
        if self._streams.publish(item):
            self._metrics.delay.observe((self._clock.now() - item.published_at).total_seconds())


def listen(host: str, port: int, *, shared: bool = True) -> socket.socket:
    """A non-blocking listening socket, which other processes may share. Its options pass on to what it accepts."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reuse_port = shared and hasattr(socket, "SO_REUSEPORT")
    listener = socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=reuse_port)
    listener.setblocking(False)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_PEER_MS)
    return listener


def refusal_of(error: EntNotifyError) -> RequestRefused:
    """How each kind of our errors is said over HTTP."""
    if isinstance(error, RequestRefused):
        return error
    if isinstance(error, NotFound):
        return RequestRefused(404, "Not found", str(error))
    if isinstance(error, NotAllowed):
        return RequestRefused(403, "Not allowed", str(error))
    if isinstance(error, PublishError):
        return RequestRefused(422, "Event refused", str(error))
    if isinstance(error, MalformedDevice):
        return RequestRefused(422, "Device refused", str(error))
    if isinstance(error, StoreError):
        return RequestRefused(503, "Not ready", "the database does not answer at the moment", 5)
    return RequestRefused(500, "Internal error", "this request met a fault of ours")


async def _linger(sock: socket.socket) -> None:
    """Let a refused client read its answer: closing over its unread bytes would reset the connection first."""
    sock.shutdown(socket.SHUT_WR)
    with trio.move_on_after(_LINGER_SECONDS):
        while await receive(sock):
            pass
