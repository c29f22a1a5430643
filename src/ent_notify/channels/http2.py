"""HTTP/2 streams as the providers need them: every request that was started ends, in one of three ways.

``Http2Streams`` is an asyncio protocol (by its methods; this module imports no asyncio) on top of h2. Each request is
an ``Exchange``; its ``on_end`` is called exactly once, with its ``fate``:

- ``ANSWERED``: a status is known, whatever happened to the stream after it;
- ``UNSENT``: the peer has surely not processed it (REFUSED_STREAM, above GOAWAY's last stream id, or never written),
  so that sending it again doubles nothing (RFC 9113, 6.8 and 8.7);
- ``LOST``: it may have been processed: the stream was reset, or the connection ended.

Nothing here waits for a single request: deadlines belong to the caller, who may ``abandon`` an exchange.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, Protocol

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import Frame, GoAwayFrame

MOST_ANSWER_BYTES = 64 * 1024
"""An answer's body beyond this is cut: no provider's is longer."""
DEFAULT_STREAMS = 100
"""Streams to use when SETTINGS names no limit (RFC 9113, 6.5.2 recommends no less)."""
STALE_AFTER = 60.0
"""Seconds without a byte after which an idle connection is asked (PING) before it is used again."""
PATIENCE = 5.0
"""Seconds in which a peer must send its first SETTINGS, or answer a PING."""
_WINDOW = 1 << 20


class Fate(Enum):
    """How an exchange ended."""

    ANSWERED = auto()
    UNSENT = auto()
    LOST = auto()


class Exchange(ABC):
    """One request and what came of it. Subclass it to remember what it was for, and to act in ``on_end``."""

    __slots__ = ("answer_body", "answer_headers", "body", "detail", "fate", "headers", "started_at", "status", "stream")

    def __init__(self, headers: Sequence[tuple[Any, Any]], body: bytes) -> None:
        self.headers = headers
        self.body = body
        self.reset()

    def reset(self) -> None:
        """Make it ready to be sent (again)."""
        self.stream = 0
        self.started_at = 0.0
        self.fate: Fate | None = None
        self.status = 0
        self.answer_headers: Sequence[tuple[bytes, bytes]] = ()
        self.answer_body = b""
        self.detail = ""

    def header(self, name: bytes) -> str | None:
        """A header of the answer."""
        for key, value in self.answer_headers:
            if key == name:
                return value.decode("latin-1")
        return None

    @abstractmethod
    def on_end(self) -> None:
        """Called once, on the loop's thread, when ``fate`` is known."""


class Loop(Protocol):
    """What is needed of an asyncio loop."""

    def time(self) -> float:
        """Seconds, monotonic."""
        ...

    def call_soon(self, callback: Callable[..., object], *args: Any) -> Any:
        """Call ``callback`` in the loop's next round."""
        ...

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Any:
        """Call ``callback`` after ``delay`` seconds."""
        ...


class PatientH2(h2.connection.H2Connection):
    """h2 for a client that hears a GOAWAY out.

    h2 closes the whole connection on GOAWAY and takes any further frame for an error, though streams up to the last id
    still complete (RFC 9113, 6.8). It also walks through every open stream at each new one to count them, which is
    quadratic; the streams are counted by the caller here, and one walk in 256 lets h2 forget closed ones.
    """

    MAX_CLOSED_STREAMS = 2**14  # h2 remembers closed streams to judge late frames; its own 2**16 take 10 MB

    _opened = 0

    def __init__(self) -> None:
        super().__init__(
            h2.config.H2Configuration(
                client_side=True,
                header_encoding=None,
                # Our own headers are built from checked parts; what the peer sends is validated as ever.
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )

    @property
    def open_outbound_streams(self) -> int:
        self._opened += 1
        if self._opened % 256 == 0:
            self.forget_closed_streams()
        return 0

    def forget_closed_streams(self) -> None:
        """Let h2 drop the state of streams that are over."""
        super().open_outbound_streams  # noqa: B018 - read for its side effect

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[h2.events.Event]]:
        event = h2.events.ConnectionTerminated()
        event.error_code = frame.error_code
        event.last_stream_id = frame.last_stream_id
        event.additional_data = frame.additional_data or None
        return [], [event]


class Http2Streams:
    """One HTTP/2 connection of a client. ``on_change`` is called whenever room may have come, or the end."""

    def __init__(self, loop: Loop, on_change: Callable[[Http2Streams], None]) -> None:
        self.loop = loop
        self.conn = PatientH2()
        self.transport: Any = None
        self.exchanges: dict[int, Exchange] = {}
        self.limit: int | None = None
        """Streams that the peer allows at once; None until its SETTINGS have come."""
        self.retired = False
        """No new exchange here; it closes when those it has are over."""
        self.closed = False
        self.heard_at = 0.0
        self.farewell = ""
        """What the peer's GOAWAY said, if it did."""
        self._on_change = on_change
        self._written_up_to = 0
        self._flush_due = False
        self._congested = False
        self._asked_at: float | None = None

    # ------------------------------------------------------------------ for the caller

    def has_room(self, size: int) -> bool:
        """Whether an exchange with a body of ``size`` bytes can be started now."""
        if self.limit is None or len(self.exchanges) >= self.limit or self.retired or self._congested:
            return False
        if self._asked_at is not None or self._is_stale():
            return False
        window = min(self.conn.outbound_flow_control_window, self.conn.remote_settings.initial_window_size)
        return window >= size

    def start(self, exchange: Exchange) -> None:
        """Send a request. Only right after ``has_room`` said yes."""
        stream = self.conn.get_next_available_stream_id()
        self.conn.send_headers(stream, exchange.headers)
        self.conn.send_data(stream, exchange.body, end_stream=True)
        exchange.stream = stream
        exchange.started_at = self.loop.time()
        self.exchanges[stream] = exchange
        if stream >= h2.connection.H2Connection.HIGHEST_ALLOWED_STREAM_ID - 2:
            self.retired = True  # its stream ids are used up
        if not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self.flush)

    def abandon(self, exchange: Exchange) -> None:
        """Wait no longer for the answer: the stream is reset, ``on_end`` is not called."""
        if self.exchanges.pop(exchange.stream, None) is None or self.closed:
            return
        self.conn.reset_stream(exchange.stream, h2.errors.ErrorCodes.CANCEL)
        self.flush()
        self._changed()

    def silent_since(self, exchange: Exchange) -> bool:
        """Whether not a byte has come since ``exchange`` was started (loops count in milliseconds: at once is before).

        Then the connection may be half-open.
        """
        return self.heard_at <= exchange.started_at

    def retire(self) -> None:
        """Take no new exchange; close when those under way are over."""
        self.retired = True
        self._changed()

    def flush(self) -> None:
        """Write what h2 has to say."""
        self._flush_due = False
        if self.transport is not None and not self.closed:
            data = self.conn.data_to_send()
            if data:
                self.transport.write(data)
            self._written_up_to = self.conn.highest_outbound_stream_id

    # ------------------------------------------------------------------ asyncio's protocol

    def connection_made(self, transport: Any) -> None:
        """The TLS connection stands."""
        self.transport = transport
        self.heard_at = self.loop.time()
        codes = h2.settings.SettingCodes
        self.conn.local_settings = h2.settings.Settings(
            client=True, initial_values={codes.ENABLE_PUSH: 0, codes.INITIAL_WINDOW_SIZE: _WINDOW}
        )
        self.conn.initiate_connection()
        self.conn.increment_flow_control_window(_WINDOW)
        self.flush()
        self.loop.call_later(PATIENCE, self._expect_settings)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self.heard_at = self.loop.time()
        try:
            for event in self.conn.receive_data(data):
                self._take(event)
        except h2.exceptions.ProtocolError as error:
            self.farewell = f"{type(error).__name__} by the peer"
            self.flush()
            self.transport.close()
            return
        self.flush()
        self._changed()

    def eof_received(self) -> None:
        """The peer has closed its side: asyncio closes ours, and ``connection_lost`` follows."""

    def pause_writing(self) -> None:
        """The socket is full."""
        self._congested = True

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        self._congested = False
        self._changed()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over. What was never written is unsent, what was may have arrived."""
        self.closed = self.retired = True
        left, self.exchanges = self.exchanges, {}
        for stream, exchange in left.items():
            unsent = stream > self._written_up_to
            self._end(exchange, Fate.UNSENT if unsent else Fate.LOST, self.farewell or _words(exc))
        self._on_change(self)

    # ------------------------------------------------------------------ what arrives

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            exchange = self.exchanges.get(event.stream_id)
            if exchange is not None:
                exchange.answer_headers = event.headers
                exchange.status = int(exchange.header(b":status") or 0)
        elif isinstance(event, h2.events.DataReceived):
            exchange = self.exchanges.get(event.stream_id)
            if exchange is not None and len(exchange.answer_body) < MOST_ANSWER_BYTES:
                exchange.answer_body += event.data
            if event.flow_controlled_length:
                self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            exchange = self.exchanges.pop(event.stream_id, None)
            if exchange is not None:
                self._end(exchange, Fate.LOST, "an answer without a status")
        elif isinstance(event, h2.events.StreamReset):
            exchange = self.exchanges.pop(event.stream_id, None)
            if exchange is not None:
                refused = event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM
                self._end(exchange, Fate.UNSENT if refused else Fate.LOST, f"reset, code {int(event.error_code or 0)}")
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            changed = event.changed_settings.get(h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS)
            if changed is not None:
                self.limit = changed.new_value
            elif self.limit is None:
                self.limit = DEFAULT_STREAMS
        elif isinstance(event, h2.events.PingAckReceived):
            self._asked_at = None
        elif isinstance(event, h2.events.ConnectionTerminated):
            self._farewell(event)

    def _farewell(self, event: h2.events.ConnectionTerminated) -> None:
        self.retired = True
        data = (event.additional_data or b"").decode("ascii", "replace")
        self.farewell = f"GOAWAY, code {int(event.error_code or 0)} {data}".strip()
        last = event.last_stream_id or 0
        for stream in [stream for stream in self.exchanges if stream > last]:
            self._end(self.exchanges.pop(stream), Fate.UNSENT, self.farewell)

    def _end(self, exchange: Exchange, fate: Fate, detail: str) -> None:
        exchange.fate = Fate.ANSWERED if exchange.status else fate
        exchange.detail = detail
        exchange.on_end()

    def _changed(self) -> None:
        if not self.exchanges and not self.closed:
            self.conn.forget_closed_streams()
            if self.retired and self.transport is not None:
                self.transport.close()
        self._on_change(self)

    # ------------------------------------------------------------------ is anybody there?

    def _is_stale(self) -> bool:
        """An idle connection that has been silent for a minute may be half-open: ask before trusting it."""
        if self.exchanges or self.loop.time() - self.heard_at < STALE_AFTER:
            return False
        self._asked_at = self.loop.time()
        self.conn.ping(b"ent-note")
        self.flush()
        self.loop.call_later(PATIENCE, self._give_up, self._asked_at)
        return True

    def _expect_settings(self) -> None:
        if self.limit is None and not self.closed:
            self.farewell = "no SETTINGS from the peer"
            self.retired = True
            self.transport.abort()

    def _give_up(self, asked_at: float) -> None:
        if self._asked_at == asked_at and not self.closed:
            self.retired = True
            self.transport.abort()


def _words(exc: Exception | None) -> str:
    return "connection closed by the peer" if exc is None else f"connection lost ({type(exc).__name__})"
