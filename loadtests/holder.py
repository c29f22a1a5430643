"""Holds thousands of connections in one process: one epoll and flat loops, no task or greenlet for each.

A greenlet or task costs more than the stream that it would hold, and a process is to hold 18,000 of them. Plain sockets
are used even where gevent has patched the modules; a gevent program waits for ``Holder.fileno()`` to become readable
(``gevent.socket.wait_read``) and then calls ``poll(0)``, any other calls ``poll(seconds)``.
"""

from __future__ import annotations

import _socket  # the plain sockets below Python's class, which gevent replaces; they also take a third of its memory
import ctypes
import errno
import heapq
import itertools
import select
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

RECEIVE_BYTES = 65_536
_EVENTS = 4_096
_TIMERS = 256
"""Timers run between two looks at the connections: whoever has come back must not wait for all who are due."""
_BIND_NO_PORT = 24
"""IP_BIND_ADDRESS_NO_PORT (Linux): the port is chosen by connect(), so that one source has 28,000 for each target."""
_SO_ATTACH_FILTER = 26
_ABORT = struct.pack("ii", 1, 0)
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)
"""Classic BPF: ``ret #0``, keep nothing."""


def _make_epoll() -> select.epoll:
    if hasattr(select, "epoll"):
        return select.epoll()
    return sys.modules["gevent.monkey"].get_original("select", "epoll")()  # type: ignore[no-any-return]


class Peer:
    """One connection. Subclass it; the holder calls ``opened``, then ``received``, and ``ended`` once at most."""

    __slots__ = ("connecting", "frozen", "sock", "unsent")

    def __init__(self) -> None:
        self.sock: _socket.socket | None = None
        self.connecting = False
        self.frozen = False
        self.unsent = b""

    def opened(self) -> None:
        """The connection stands: send the request."""

    def received(self, data: bytes) -> None:
        """Bytes have come."""
        raise NotImplementedError

    def ended(self, error: OSError | None) -> None:
        """The other side has ended it: None for an orderly end. Not called for what we end ourselves."""
        raise NotImplementedError


class Holder:
    """The connections of this process. Everything is called from one thread or greenlet."""

    def __init__(self) -> None:
        self._epoll = _make_epoll()
        self._peers: dict[int, Peer] = {}
        self._closing: list[_socket.socket] = []
        self._unplugged: set[_socket.socket] = set()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        """Connections that stand or are being opened."""
        return len(self._peers)

    def fileno(self) -> int:
        """A descriptor that is readable whenever ``poll`` would find something on a connection."""
        return self._epoll.fileno()

    # -------------------------------------------------------------- a connection's life

    def connect(
        self, peer: Peer, target: tuple[str, int], source: str | None = None, receive_buffer: int | None = None
    ) -> None:
        """Begin to connect ``peer`` to ``target``, from the address ``source``, with so small a receive buffer.

        Raises OSError when there is no descriptor or port left. What fails later comes to ``peer.ended``.
        """
        sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
        try:
            if receive_buffer is not None:
                sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVBUF, receive_buffer)
            if source is not None:
                sock.setsockopt(_socket.IPPROTO_IP, _BIND_NO_PORT, 1)
                sock.bind((source, 0))
            code = sock.connect_ex(target)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, f"cannot connect from {source} to {target}")  # noqa: TRY301 - closed below
        except BaseException:
            sock.close()
            raise
        peer.sock, peer.connecting, peer.frozen, peer.unsent = sock, True, False, b""
        self._peers[sock.fileno()] = peer
        self._epoll.register(sock.fileno(), _OUT)

    def send(self, peer: Peer, data: bytes) -> None:
        """Send ``data``; what the kernel does not take now goes out later."""
        assert peer.sock is not None
        if peer.unsent:
            peer.unsent += data
            return
        try:
            sent = peer.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # the next poll reports it
        if sent < len(data):
            peer.unsent = data[sent:]
            self._epoll.modify(peer.sock.fileno(), _IN | _OUT)

    def close(self, peer: Peer, *, abort: bool = False) -> None:
        """End a connection ourselves, in order or (``abort``) by a reset. A second call changes nothing."""
        sock = self._forget(peer)
        if sock is None:
            return
        if abort:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _ABORT)
        self._closing.append(sock)

    def freeze(self, peer: Peer) -> None:
        """Read nothing more from a connection until ``thaw``: what comes fills the kernel's buffers."""
        if peer.sock is not None and not peer.frozen:
            self._epoll.unregister(peer.sock.fileno())
            peer.frozen = True

    def thaw(self, peer: Peer) -> None:
        """Read again."""
        if peer.sock is not None and peer.frozen:
            self._epoll.register(peer.sock.fileno(), _IN)
            peer.frozen = False

    def sip(self, peer: Peer, most: int) -> None:
        """Read ``most`` bytes at most from a frozen connection."""
        if peer.sock is not None and peer.frozen:
            self._read(peer, most)

    def unplug(self, peer: Peer, seconds: float) -> None:
        """Lose the network under a connection: nothing that is sent to it arrives or is acknowledged any more, and
        nothing tells the other side. ``peer`` is free to connect anew; the dead socket is reset after ``seconds``.

        A socket filter that keeps nothing does it: the kernel drops every segment before TCP sees it. No right is
        needed, and nothing has to be put back.
        """
        sock = self._forget(peer)
        if sock is None:
            return
        cut_off(sock)
        self._unplugged.add(sock)

        def bury() -> None:
            self._unplugged.discard(sock)
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _ABORT)
            sock.close()

        self.later(seconds, bury)

    def _forget(self, peer: Peer) -> _socket.socket | None:
        sock = peer.sock
        if sock is None:
            return None
        del self._peers[sock.fileno()]
        if not peer.frozen:
            self._epoll.unregister(sock.fileno())
        peer.sock, peer.connecting, peer.frozen, peer.unsent = None, False, False, b""
        return sock

    # -------------------------------------------------------------- the loop

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Call ``act`` from ``poll``, ``seconds`` from now."""
        self.at(time.monotonic() + seconds, act)

    def at(self, moment: float, act: Callable[[], None]) -> None:
        """Call ``act`` from ``poll`` when ``time.monotonic()`` has reached ``moment``."""
        heapq.heappush(self._timers, (moment, next(self._numbers), act))

    def patience(self, most: float) -> float:
        """Seconds until the next timer is due, ``most`` at most."""
        return min(most, max(0.0, self._timers[0][0] - time.monotonic())) if self._timers else most

    def poll(self, seconds: float = 0.0) -> int:
        """Wait ``seconds`` at most for something to happen, and handle it; how many events that were."""
        due = self._run_timers()
        events = self._epoll.poll(0.0 if due else self.patience(seconds), _EVENTS)
        peers = self._peers
        for fd, mask in events:
            peer = peers.get(fd)
            if peer is None or peer.sock is None:
                continue  # ended while this batch was handled
            if peer.connecting:
                self._opened(peer)
            elif mask & _OUT and not mask & _BROKEN:
                self._flush(peer)
                if mask & _IN:
                    self._read(peer)
            else:
                self._read(peer)
        # Only now, so that no descriptor is used again within a batch.
        closing, self._closing = self._closing, []
        for sock in closing:
            sock.close()
        return len(events) + due

    def _run_timers(self) -> int:
        timers, now, run = self._timers, time.monotonic(), 0
        while timers and timers[0][0] <= now and run < _TIMERS:
            heapq.heappop(timers)[2]()
            run += 1
        return run

    def _opened(self, peer: Peer) -> None:
        assert peer.sock is not None
        code = peer.sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if code:
            self._lost(peer, OSError(code, "cannot connect"))
            return
        peer.connecting = False
        self._epoll.modify(peer.sock.fileno(), _IN)
        peer.opened()

    def _flush(self, peer: Peer) -> None:
        assert peer.sock is not None
        try:
            peer.unsent = peer.unsent[peer.sock.send(peer.unsent) :]
        except BlockingIOError:
            return
        except OSError:
            peer.unsent = b""  # reading tells what it was
        if not peer.unsent:
            self._epoll.modify(peer.sock.fileno(), _IN)

    def _read(self, peer: Peer, most: int = RECEIVE_BYTES) -> None:
        assert peer.sock is not None
        try:
            data = peer.sock.recv(most)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(peer, error)
            return
        if data:
            peer.received(data)
        else:
            self._lost(peer, None)

    def _lost(self, peer: Peer, error: OSError | None) -> None:
        self.close(peer)
        peer.ended(error)

    def close_all(self) -> None:
        """Reset every connection, and end the holder."""
        for peer in list(self._peers.values()):
            self.close(peer, abort=True)
        for sock in (*self._closing, *self._unplugged):
            sock.close()
        self._epoll.close()


_IN, _OUT, _BROKEN = 0x001, 0x004, 0x008 | 0x010  # EPOLLIN, EPOLLOUT, EPOLLERR | EPOLLHUP: gevent takes the names away


def cut_off(sock: _socket.socket) -> None:
    """Make the kernel drop all that comes to a connected socket, unacknowledged: it is half-open from now on."""
    code = (ctypes.c_char * len(_DROP_ALL)).from_buffer_copy(_DROP_ALL)
    sock.setsockopt(_socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HxxxxxxQ", 1, ctypes.addressof(code)))


# ------------------------------------------------------------------ server-sent events


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event of a stream. ``id`` is the stream's position after it (None: none was ever given)."""

    id: int | None
    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """What some bytes of a stream say. ``first`` and ``position``: the first and last id in them; ``retry``: the last,
    in milliseconds."""

    position: int | None = None
    first: int | None = None
    retry: int | None = None
    events: tuple[StreamEvent, ...] = ()


class EventParser:
    """Splits streams into what they say (WHATWG HTML, "Server-sent events"). One serves all streams of a process:
    thousands of them get the same bytes, which are then read once."""

    def __init__(self) -> None:
        self._known: dict[bytes, Heard] = {}

    def take(self, rest: bytes, data: bytes) -> tuple[Heard, bytes]:
        """What ``rest`` (of the last call, for this stream) and ``data`` say, and the rest of them."""
        if rest or data[-2:] != b"\n\n":
            whole, found, rest = (rest + data).rpartition(b"\n\n")
            if not found:
                return _NOTHING, rest
            data = whole + found
        heard = self._known.get(data)
        if heard is None:
            if len(self._known) >= 4_096:
                self._known.clear()
            heard = self._known[data] = _read_events(data)
        return heard, rest


_NOTHING = Heard()


def _read_events(text: bytes) -> Heard:
    position = first = retry = None
    events = []
    for block in text.split(b"\n\n"):
        name, data = "message", None
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"id":
                position = int(value)
                first = position if first is None else first
            elif field == b"event":
                name = value.decode()
            elif field == b"data":
                data = value if data is None else data + b"\n" + value
            elif field == b"retry":
                retry = int(value)
        if data is not None:
            events.append(StreamEvent(position, name, data))
    return Heard(position, first, retry, tuple(events))
