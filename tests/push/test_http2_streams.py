"""One HTTP/2 connection without a network: h2's server side in memory, a loop whose time is moved by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from ent_notify.channels.http2 import MOST_ANSWER_BYTES, PATIENCE, STALE_AFTER, Exchange, Fate, Http2Streams

HEADERS = [(":method", "POST"), (":scheme", "https"), (":authority", "peer"), (":path", "/")]
OK = [(":status", "200")]


class HandLoop:
    """An event loop's clock and agenda, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._agenda: list[tuple[float, Callable[..., object], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        self.call_later(0.0, callback, *args)

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> None:
        self._agenda.append((self.now + delay, callback, args))

    def advance(self, seconds: float = 0.0) -> None:
        self.now += seconds
        due = [entry for entry in self._agenda if entry[0] <= self.now]
        self._agenda = [entry for entry in self._agenda if entry[0] > self.now]
        for _, callback, args in due:
            callback(*args)


class Wire:
    """The transport, and the peer at its other end."""

    def __init__(self, *, settings: bool = True) -> None:
        self.loop = HandLoop()
        self.ended: list[Note] = []
        self.changes = 0
        self.end = ""
        self.peer = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, validate_outbound_headers=False)
        )
        self.heard: list[h2.events.Event] = []
        self.client = Http2Streams(self.loop, self._changed)
        self.client.connection_made(self)
        if settings:
            self.peer.initiate_connection()
            self.deliver()

    def _changed(self, _: Http2Streams) -> None:
        self.changes += 1

    def write(self, data: bytes) -> None:
        self.heard += self.peer.receive_data(data)

    def close(self) -> None:
        self.end = self.end or "closed"

    def abort(self) -> None:
        self.end = "aborted"

    def deliver(self) -> None:
        """Let the client hear what the peer has said."""
        self.client.data_received(self.peer.data_to_send())

    def start(self, body: bytes = b"{}") -> Note:
        assert self.client.has_room(len(body))
        note = Note(self, body)
        self.client.start(note)
        return note


class Note(Exchange):
    """An exchange that writes down its end."""

    __slots__ = ("wire",)

    def __init__(self, wire: Wire, body: bytes) -> None:
        super().__init__(HEADERS, body)
        self.wire = wire

    def on_end(self) -> None:
        self.wire.ended.append(self)


def test_nothing_is_started_before_the_peers_settings() -> None:
    wire = Wire(settings=False)
    assert not wire.client.has_room(2)
    wire.peer.initiate_connection()
    wire.deliver()
    assert wire.client.has_room(2)


def test_a_peer_that_never_sends_settings_is_left() -> None:
    wire = Wire(settings=False)
    wire.loop.advance(PATIENCE)
    assert (wire.end, wire.client.farewell) == ("aborted", "no SETTINGS from the peer")


def test_many_starts_are_one_write() -> None:
    wire = Wire()
    writes: list[bytes] = []
    wire.write = writes.append  # type: ignore[method-assign, assignment]
    for _ in range(10):
        wire.start()
    assert writes == []
    wire.loop.advance()
    assert len(writes) == 1


def test_what_was_never_written_is_unsent_and_what_was_is_lost() -> None:
    wire = Wire()
    written = wire.start()
    wire.loop.advance()
    waiting = wire.start()
    wire.client.connection_lost(ConnectionResetError())
    assert (written.fate, waiting.fate) == (Fate.LOST, Fate.UNSENT)
    assert written.detail == "connection lost (ConnectionResetError)"
    assert wire.client.closed
    assert not wire.client.exchanges


@pytest.mark.parametrize("end", ["reset", "lost"])
def test_a_known_status_is_an_answer_whatever_comes_after_it(end: str) -> None:
    wire = Wire()
    note = wire.start()
    wire.loop.advance()
    wire.peer.send_headers(1, OK)
    if end == "reset":
        wire.peer.reset_stream(1)
    wire.deliver()
    if end == "lost":
        wire.client.connection_lost(None)
    assert (note.fate, note.status) == (Fate.ANSWERED, 200)
    assert wire.ended == [note]


def test_a_body_without_end_is_cut_and_its_window_given_back() -> None:
    wire = Wire()
    note = wire.start()
    wire.loop.advance()
    wire.peer.send_headers(1, OK)
    for _ in range(100):  # 1.6 MB: more than the window of 1 MB, which must therefore move
        wire.peer.send_data(1, b"x" * 16_384)
        wire.deliver()
    wire.peer.end_stream(1)
    wire.deliver()
    assert note.fate is Fate.ANSWERED
    assert MOST_ANSWER_BYTES <= len(note.answer_body) < MOST_ANSWER_BYTES + 16_384


def test_a_full_socket_has_no_room_until_it_is_drained() -> None:
    wire = Wire()
    wire.client.pause_writing()
    assert not wire.client.has_room(2)
    changes = wire.changes
    wire.client.resume_writing()
    assert wire.client.has_room(2)
    assert wire.changes > changes


def test_a_body_larger_than_the_window_finds_no_room() -> None:
    wire = Wire()
    assert wire.client.has_room(65_535)
    assert not wire.client.has_room(65_536)


def test_rubbish_from_the_peer_ends_the_connection_and_every_exchange() -> None:
    wire = Wire()
    note = wire.start()
    wire.loop.advance()
    wire.client.data_received(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00")  # WINDOW_UPDATE by nothing
    assert wire.end == "closed"
    wire.client.connection_lost(None)
    assert note.fate is Fate.LOST
    assert "by the peer" in note.detail


def test_an_abandoned_exchange_frees_its_stream_and_says_nothing() -> None:
    wire = Wire()
    note = wire.start()
    wire.loop.advance()
    wire.client.abandon(note)
    assert any(isinstance(event, h2.events.StreamReset) for event in wire.heard)
    assert not wire.client.exchanges
    assert wire.ended == []


def test_a_retired_connection_closes_after_its_last_exchange() -> None:
    wire = Wire()
    note = wire.start()
    wire.loop.advance()
    wire.client.retire()
    assert not wire.client.has_room(2)
    assert wire.end == ""
    wire.peer.send_headers(1, OK, end_stream=True)
    wire.deliver()
    assert note.fate is Fate.ANSWERED
    assert wire.end == "closed"


def test_a_connection_that_was_silent_for_long_is_asked_before_it_is_trusted() -> None:
    wire = Wire()
    wire.loop.advance(STALE_AFTER - 1)
    assert wire.client.has_room(2)
    wire.loop.advance(1)
    assert not wire.client.has_room(2)
    assert any(isinstance(event, h2.events.PingReceived) for event in wire.heard)
    wire.deliver()  # the answer, which h2 gives by itself
    assert wire.client.has_room(2)
    wire.loop.advance(PATIENCE)
    assert wire.end == ""


def test_a_connection_that_does_not_answer_is_left() -> None:
    wire = Wire()
    wire.loop.advance(STALE_AFTER)
    assert not wire.client.has_room(2)
    wire.loop.advance(PATIENCE)
    assert wire.end == "aborted"
    assert not wire.client.has_room(2)


def test_a_busy_connection_is_not_asked() -> None:
    wire = Wire()
    wire.start()
    wire.loop.advance(STALE_AFTER)
    assert wire.client.has_room(2)


def test_silence_counts_from_the_start_of_an_exchange() -> None:
    wire = Wire()
    at_once = wire.start()
    assert wire.client.silent_since(at_once)  # the SETTINGS came in the same millisecond
    wire.loop.advance(1)
    wire.peer.ping(b"12345678")
    wire.deliver()
    assert not wire.client.silent_since(at_once)
    assert wire.client.silent_since(wire.start())


def test_closed_streams_are_forgotten() -> None:
    wire = Wire()
    for number in range(1_000):
        wire.start()
        wire.loop.advance()
        wire.peer.send_headers(2 * number + 1, OK, end_stream=True)
        wire.deliver()
    assert len(wire.ended) == 1_000
    assert not wire.client.exchanges
    assert not wire.client.conn.streams


def test_the_last_stream_id_retires_the_connection() -> None:
    wire = Wire()
    wire.client.conn.highest_outbound_stream_id = 2**31 - 3
    wire.start()
    assert not wire.client.has_room(2)
