"""The streams that a process holds: who is connected, the flat send loop, slow readers, caps.

A held stream is one ``Stream`` and one parked task (``hold``). Nothing else: no request, no buffer, no timer.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import trio

from ent_notify.gateway.hub import Hub, Reader
from ent_notify.gateway.metrics import GatewayMetrics
from ent_notify.gateway.websocket import Ears
from ent_notify.gateway.wires import EVENTS, Wire
from ent_notify.model.evidence import Marks
from ent_notify.model.feed import Clause, FeedItem, Key, TalkHint
from ent_notify.model.subjects import HeldSubjects
from ent_notify.observe import get_logger

_log = get_logger(__name__)
_JOINING = sys.maxsize
_ABRUPT = frozenset({"slow", "revoked"})
_DROP_UNSENT = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 s: what the kernel still holds for that reader is freed at once, not after minutes of retries."""
_RECEIVE_BYTES = 4_096
_UNANSWERED = 2
"""Heartbeats that a WebSocket's reader may leave without an answer; at the next it is cut."""
_HEARTBEAT_TURNS = 20
"""Parts of a heartbeat's period: each stream has its turn in one of them, so that no round is one long loop."""


class Stream(Reader):
    """One reader's connection.

    ``floor``: live frames up to this sequence are not for it, because the replay has brought them. While it joins,
    every live frame is below the floor and only leaves its sequence in ``owed``, for the replay to fetch.
    ``pending``: what the kernel did not take yet; None as long as the reader keeps up. ``stale``: its rights may have
    changed since they were asked for last. ``silent``: heartbeats sent since the reader, if it may speak, last spoke.
    """

    __slots__ = (
        "address",
        "floor",
        "owed",
        "pending",
        "person",
        "reason",
        "session",
        "silent",
        "sock",
        "stale",
        "wire",
    )

    def __init__(self, sock: socket.socket, person: int, session: int, address: str, wire: Wire = EVENTS) -> None:
        super().__init__()
        self.sock = sock
        self.person = person
        self.session = session
        self.wire = wire
        self.address = address
        self.floor = _JOINING
        self.owed = 0
        self.pending: bytearray | None = None
        self.reason: str | None = None
        self.stale = False
        self.silent = 0


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """What is held now."""

    streams: int
    people: int
    addresses: int
    keys: int
    slow: int
    """Streams whose reader is behind, with something pending."""
    pending_bytes: int


class Streams:
    """All streams of this process."""

    def __init__(
        self, metrics: GatewayMetrics, *, max_pending_bytes: int, on_seen: Callable[[int, int], None] | None = None
    ) -> None:
        self.on_look: Callable[[Stream, bool], None] = lambda stream, visible: None
        """Hears whether the reader of a stream that listens looks at it."""
        self.on_end: Callable[[Stream], None] = lambda stream: None
        """Hears of each stream that has ended."""
        self._metrics = metrics
        self.on_seen = on_seen or (lambda person, seq: None)
        self._ears = Ears[Stream]()
        self._max_pending = max_pending_bytes
        self.held = HeldSubjects()
        self._hub: Hub[Stream] = Hub(self.held)
        self._all: set[Stream] = set()
        self._slow: set[Stream] = set()
        self._people: dict[int, tuple[Stream, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._to_flush: list[Stream] = []
        self._flush_wanted = trio.Event()
        self._draining = False
        self._changed = trio.Event()

    def __len__(self) -> int:
        return len(self._all)

    def statistics(self) -> StreamStatistics:
        """A snapshot."""
        return StreamStatistics(
            streams=len(self._all),
            people=len(self._people),
            addresses=len(self._addresses),
            keys=len(self._hub),
            slow=len(self._slow),
            pending_bytes=sum(len(stream.pending or b"") for stream in self._slow),
        )

    def of_person(self, person: int) -> tuple[Stream, ...]:
        """This person's streams."""
        return self._people.get(person, ())

    def people(self) -> list[int]:
        """Everybody who holds a stream here."""
        return list(self._people)

    def of_address(self, address: str) -> int:
        """How many streams come from this address."""
        return self._addresses.get(address, 0)

    # -------------------------------------------------------------- a stream's life

    def add(self, stream: Stream) -> None:
        """Take ``stream`` in, joining: it hears nothing until ``go_live``."""
        self._all.add(stream)
        self._people[stream.person] = (*self._people.get(stream.person, ()), stream)
        self._addresses[stream.address] = self._addresses.get(stream.address, 0) + 1
        self._metrics.opened.inc()
        self._metrics.streams.set(len(self._all))

    def set_keys(self, stream: Stream, keys: Iterable[Key]) -> None:
        """Route by ``keys`` from now on. A stream that has ended stays out."""
        if stream in self._all:
            self._hub.set_keys(stream, keys)

    def doubt(self, person: int | None) -> None:
        """The rights of ``person`` (None: of anybody) may just have changed: whoever is joining asks once more."""
        for stream in self._all if person is None else self.of_person(person):
            stream.stale = True

    def ask_to_reload(self, stream: Stream, seq: int) -> None:
        """Tell a live stream that its reader's inbox may hold more, up to ``seq``, than was sent."""
        if stream in self._all and stream.floor != _JOINING:
            self._send([stream], stream.wire.reload(max(seq, stream.floor)))

    def tell_read(self, person: int, marks: Marks) -> None:
        """Tell all live streams of a person what they have read."""
        for stream in self.of_person(person):
            if stream.floor != _JOINING:
                self._send([stream], stream.wire.read(marks))

    def tell_talk(self, talk: TalkHint) -> None:
        """Tell all live streams whose readers hold one of its keys what has happened in a conversation."""
        due: defaultdict[Wire, list[Stream]] = defaultdict(list)
        for stream in self._hub.addressed([Clause(talk.keys)]):
            if stream.floor != _JOINING:
                due[stream.wire].append(stream)
        for wire, streams in due.items():
            self._send(streams, wire.talk(talk))

    def go_live(self, stream: Stream, floor: int) -> None:
        """End the joining: everything up to ``floor`` has been replayed, everything above is sent live."""
        stream.floor = floor

    def remove(self, stream: Stream) -> None:
        """Forget ``stream``; a second call changes nothing."""
        if stream not in self._all:
            return
        self._all.remove(stream)
        self._slow.discard(stream)
        self._hub.set_keys(stream, ())
        if rest := tuple(other for other in self._people[stream.person] if other is not stream):
            self._people[stream.person] = rest
        else:
            del self._people[stream.person]
        if (left := self._addresses[stream.address] - 1) > 0:
            self._addresses[stream.address] = left
        else:
            del self._addresses[stream.address]
        self._ears.forget(stream)
        stream.pending = None
        self._metrics.closed.labels(stream.reason or "peer").inc()
        self._metrics.streams.set(len(self._all))
        self.on_end(stream)
        self._changed.set()

    def cut(self, stream: Stream, reason: str) -> None:
        """End ``stream`` now: forget it, close its socket, and so end its parked task."""
        self._end(stream, reason, stream.wire.goodbye(reason))

    def _end(self, stream: Stream, reason: str, last_word: bytes) -> None:
        if stream not in self._all:
            return
        stream.reason = reason
        said = bool(last_word) and stream.pending is None and stream.floor != _JOINING
        self.remove(stream)
        if said:
            with suppress(OSError):
                stream.sock.send(last_word)
        elif reason in _ABRUPT:
            stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DROP_UNSENT)
        trio.lowlevel.notify_closing(stream.sock)
        stream.sock.close()

    async def hold(self, stream: Stream) -> None:
        """The parked task: waits for the peer to go away, or to say something. Who has nothing to say ends the stream
        by saying it."""
        try:
            while stream in self._all:  # not cut before this task began
                await trio.lowlevel.wait_readable(stream.sock)
                if not self._listen(stream):
                    break
        except trio.ClosedResourceError:
            pass  # cut
        except Exception as error:  # noqa: BLE001 - what one reader says ends their stream alone
            _log.error("handler_failed", error=error)
        finally:
            self.remove(stream)
            stream.sock.close()

    def _listen(self, stream: Stream) -> bool:
        if not stream.wire.listens:
            return False
        try:
            data = stream.sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return bool(data) and self.hear(stream, data)

    def hear(self, stream: Stream, data: bytes) -> bool:
        """Take what the reader of a stream that listens has said; whether the stream goes on."""
        heard = self._ears.take(stream, data, trio.current_time())
        stream.silent = 0
        if heard.seen is not None:
            self.on_seen(stream.person, heard.seen)
        if heard.visible is not None:
            self.on_look(stream, heard.visible)
        if heard.reply:
            self._send([stream], heard.reply)
        if heard.end is not None:
            self._end(stream, "peer", heard.end)
        return heard.end is None

    # -------------------------------------------------------------- sending

    def publish(self, item: FeedItem) -> int:
        """Send one notification to whom it addresses, each once; how many streams that was. Never blocks."""
        seq = item.seq
        due: defaultdict[Wire, list[Stream]] = defaultdict(list)
        for stream in self._hub.addressed(item.clauses):
            if seq > stream.floor:
                due[stream.wire].append(stream)
            else:
                stream.owed = seq
        for wire, streams in due.items():
            self._send(streams, wire.notification(item))
        sent = sum(map(len, due.values()))
        self._metrics.frames.inc(sent)
        return sent

    async def heartbeat_forever(self, period: float, position: Callable[[], int]) -> None:
        """The one timer of all streams: each gets a comment, and its position, once per ``period`` seconds."""
        while True:
            for turn in range(_HEARTBEAT_TURNS):
                await trio.sleep(period / _HEARTBEAT_TURNS)
                seq = position()
                # Whoever is behind hears enough, and whoever is ahead of the feed must not be moved back.
                due: defaultdict[Wire, list[Stream]] = defaultdict(list)
                for stream in self._all:
                    if (
                        stream.sock.fileno() % _HEARTBEAT_TURNS == turn
                        and stream.pending is None
                        and stream.floor <= seq
                    ):
                        due[stream.wire].append(stream)
                for wire, streams in due.items():
                    self._send(streams, wire.heartbeat(seq))
                    if wire.listens:
                        self._expect_answers(streams)
            self._ears.allow_more()
            for stream in self._ears.dribbling(trio.current_time() - period):
                self.cut(stream, "silent")

    def _expect_answers(self, streams: Iterable[Stream]) -> None:
        for stream in streams:
            stream.silent += 1
            if stream.silent > _UNANSWERED:
                self.cut(stream, "silent")

    async def flush_forever(self) -> None:
        """Send what slow readers have pending, as they take it: one short-lived task for each."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._flush_wanted.wait()
                self._flush_wanted = trio.Event()
                waiting, self._to_flush = self._to_flush, []
                for stream in waiting:
                    nursery.start_soon(self._flush, stream, name="flush")

    def _send(self, streams: list[Stream], frame: bytes) -> None:
        """The flat loop: one frame, one ``send`` a stream; a buffer only for what the kernel did not take."""
        size = len(frame)
        for stream in streams:
            if stream.pending is None:
                try:
                    sent = stream.sock.send(frame)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    self.cut(stream, "peer")
                    continue
                if sent != size:
                    stream.pending = bytearray(frame[sent:])
                    self._slow.add(stream)
                    self._to_flush.append(stream)
            else:
                stream.pending += frame
                if len(stream.pending) > self._max_pending:
                    self.cut(stream, "slow")
        if self._to_flush:
            self._flush_wanted.set()

    async def _flush(self, stream: Stream) -> None:
        while stream.pending:
            try:
                await trio.lowlevel.wait_writable(stream.sock)
                if stream.pending:  # not cut while we waited
                    del stream.pending[: stream.sock.send(stream.pending)]
            except BlockingIOError:
                continue
            except (OSError, trio.ClosedResourceError):
                self.cut(stream, "peer")
        if stream in self._slow:
            self._slow.remove(stream)
            stream.pending = None
            if self._draining:
                self.cut(stream, "drained")

    # -------------------------------------------------------------- stopping

    async def drain(self, retry_seconds: float, patience: float) -> None:
        """Ask every reader to come back after 1 to 2 times ``retry_seconds``, evenly spread, then end its stream.

        Slow readers get at most ``patience`` seconds to take what is theirs.
        """
        self._draining = True
        streams = list(self._all)
        for place, stream in enumerate(streams):
            wait = retry_seconds * (1 + place / len(streams))
            if stream.floor != _JOINING:
                self._send([stream], stream.wire.retry(round(wait * 1000)))
            if stream.pending is None:
                self.cut(stream, "drained")
        with trio.move_on_after(patience):
            while self._all:
                self._changed = trio.Event()
                await self._changed.wait()
        for stream in list(self._all):
            self.cut(stream, "drained")
