"""Bytes on a connection: over a trio stream (TLS, and while a session opens), or on a bare socket."""

from __future__ import annotations

import socket
from typing import Protocol

import trio

CHUNK = 65_536


class Broken(Exception):
    """The connection is gone."""


class Wire(Protocol):
    """A connection's two directions. ``unsent`` counts the octets of the last write that had not left for certain."""

    unsent: int

    def send_nowait(self, data: bytes) -> bool:
        """Write what goes at once; False if ``send_rest`` has to follow. Raises Broken."""
        ...

    async def send_rest(self) -> None:
        """Write what ``send_nowait`` left. Raises Broken."""
        ...

    async def receive(self) -> bytes:
        """The next bytes, empty at the end. Raises Broken."""
        ...

    def is_quiet(self) -> bool:
        """Whether nothing has come, an end included, that nobody asked for."""
        ...

    async def aclose(self) -> None:
        """Close at once."""
        ...


class StreamWire:
    """Over a trio stream. TLS does not tell how much has left, so a write that breaks counts as sent."""

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        self.unsent = 0
        self._stream = stream
        self._rest = b""

    def send_nowait(self, data: bytes) -> bool:
        self._rest = data
        return False

    async def send_rest(self) -> None:
        try:
            await self._stream.send_all(self._rest)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Broken from None

    async def receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(CHUNK))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Broken from None

    def is_quiet(self) -> bool:
        return True  # what a peer says unasked shows at the next mail, which is then returned

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)


class FlatWire:
    """On a bare non-blocking socket: a write that the kernel takes at once is one system call and no task switch, and
    a write that breaks tells how much had left."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.unsent = 0
        self._rest = b""
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.setblocking(False)

    def send_nowait(self, data: bytes) -> bool:
        self.unsent = len(data)
        try:
            self.unsent -= self._socket.send(data)
        except BlockingIOError:
            pass
        except OSError:
            raise Broken from None
        self._rest = data
        return not self.unsent

    async def send_rest(self) -> None:
        view = memoryview(self._rest)
        try:
            while self.unsent:
                await trio.lowlevel.wait_writable(self._socket)
                self.unsent -= self._socket.send(view[-self.unsent :])
        except OSError:
            raise Broken from None

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()  # while the others have their turn, the reply comes as a rule
        while True:
            try:
                return self._socket.recv(CHUNK)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)
            except OSError:
                raise Broken from None

    def is_quiet(self) -> bool:
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    async def aclose(self) -> None:
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
        await trio.lowlevel.checkpoint()
