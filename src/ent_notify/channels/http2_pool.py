"""A handful of HTTP/2 connections to one provider: the least busy that has room, a new one when none has."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from ent_notify._island.tasks import Task, running_loop, sleep, spawn, timeout
from ent_notify.channels.http2 import Http2Streams

CONNECT_TIMEOUT = 10.0
"""Seconds for TCP and TLS together."""
RECONNECT_PAUSE = 1.0
"""Seconds between a failed attempt and the next: whoever asks in between hears of the failure at once."""


class Http2Pool:
    """Connections made by ``connect``, at most ``most`` that take new requests. For the island's thread only."""

    def __init__(self, connect: Callable[[], Awaitable[Http2Streams]], most: int) -> None:
        self._connect = connect
        self._most = most
        self._connecting: Task[None] | None = None
        self._failed_at = -math.inf
        self._listeners: dict[Callable[[], None], None] = {}  # in order: who waits longest is told first
        self.connections: list[Http2Streams] = []
        self.failure = ""
        """Why the last attempt to connect failed; empty while one is under way or after a good one."""

    def pick(self, size: int) -> Http2Streams | None:
        """A connection with room for a body of ``size`` bytes, or None: listen for a change and ask again."""
        best: Http2Streams | None = None
        for connection in self.connections:
            if connection.has_room(size) and (best is None or len(connection.exchanges) < len(best.exchanges)):
                best = connection
        if best is None and self._connecting is None and self._may_grow():
            self.failure = ""
            self._connecting = spawn(self._grow(), name="connect to a push provider")
        return best

    def _may_grow(self) -> bool:
        if sum(not connection.retired for connection in self.connections) >= self._most:
            return False
        return not self.failure or running_loop().time() - self._failed_at >= RECONNECT_PAUSE

    @property
    def is_down(self) -> bool:
        """Whether there is no connection, none on its way, and the last attempt failed."""
        return bool(self.failure) and not any(not connection.retired for connection in self.connections)

    def listen(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever there may be room, or a failure."""
        self._listeners[callback] = None

    def unlisten(self, callback: Callable[[], None]) -> None:
        """End of ``listen``."""
        self._listeners.pop(callback, None)

    def changed(self, connection: Http2Streams) -> None:
        """For the connections: something is new with one of them."""
        if connection.closed and connection in self.connections:
            self.connections.remove(connection)
            if connection.limit is None:
                self._fail(connection.farewell or "the server closed the connection before its SETTINGS")
        self._notify()

    async def aclose(self) -> None:
        """Close every connection at once; what is under way on them is lost."""
        if self._connecting is not None:
            self._connecting.cancel()
        for connection in list(self.connections):
            connection.retired = True
            connection.transport.abort()
        while self.connections:  # each leaves when its transport has gone
            await sleep(0)

    async def _grow(self) -> None:
        try:
            async with timeout(CONNECT_TIMEOUT):
                connection = await self._connect()
        except TimeoutError:
            self._fail(f"no connection within {CONNECT_TIMEOUT:g} s")
        except (OSError, ValueError) as error:  # TLS errors are OSErrors too; an impossible host name is a ValueError
            self._fail(f"cannot connect: {error}")
        else:
            if not _speaks_http2(connection):
                self._fail("the server does not speak HTTP/2 (ALPN h2)")
                connection.transport.abort()
            elif connection.closed:
                self._fail(f"the server closed at once ({connection.farewell or 'without a word'})")
            else:
                self.connections.append(connection)
        finally:
            self._connecting = None
            self._notify()

    def _fail(self, why: str) -> None:
        self.failure = why
        self._failed_at = running_loop().time()

    def _notify(self) -> None:
        for callback in tuple(self._listeners):
            callback()


def _speaks_http2(connection: Http2Streams) -> bool:
    tls = connection.transport.get_extra_info("ssl_object")
    return tls is not None and tls.selected_alpn_protocol() == "h2"
