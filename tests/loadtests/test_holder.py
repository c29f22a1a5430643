"""The holder of connections, against a plain server: what comes, what ends, and what a lost network looks like."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from loadtests.holder import EventParser, Heard, Holder, Peer, StreamEvent

LIMIT_SECONDS = 20.0
ACCEPTED: list[socket.socket] = []
"""What a test's server has accepted; it ends with the test."""


class Listener(Peer):
    def __init__(self, holder: Holder) -> None:
        super().__init__()
        self.holder = holder
        self.heard = b""
        self.ends: list[OSError | None] = []

    def opened(self) -> None:
        self.holder.send(self, b"hello")

    def received(self, data: bytes) -> None:
        self.heard += data

    def ended(self, error: OSError | None) -> None:
        self.ends.append(error)


@pytest.fixture
def holder() -> Iterator[Holder]:
    made = Holder()
    yield made
    made.close_all()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT_SECONDS)
        yield listener
    while ACCEPTED:
        ACCEPTED.pop().close()


def until(holder: Holder, condition: Callable[[], object]) -> None:
    for _ in range(500):
        if condition():
            return
        holder.poll(0.1)
    raise AssertionError("it did not come to pass")


def connect(holder: Holder, server: socket.socket, source: str = "127.0.0.7") -> tuple[Listener, socket.socket]:
    peer = Listener(holder)
    holder.connect(peer, server.getsockname(), source)
    accepted, address = server.accept()
    ACCEPTED.append(accepted)
    accepted.settimeout(LIMIT_SECONDS)
    assert address[0] == source
    until(holder, lambda: not peer.connecting)
    assert accepted.recv(5) == b"hello"
    return peer, accepted


def test_bytes_come_and_an_orderly_end_is_told_from_a_reset(holder: Holder, server: socket.socket) -> None:
    first, there = connect(holder, server)
    second, other = connect(holder, server)
    there.sendall(b"a" * 200_000)
    until(holder, lambda: len(first.heard) == 200_000)
    there.close()
    until(holder, lambda: first.ends)
    assert first.ends == [None]
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    other.close()
    until(holder, lambda: second.ends)
    assert isinstance(second.ends[0], ConnectionResetError)
    assert len(holder) == 0


def test_nobody_there_is_an_end_and_the_peer_may_try_again(holder: Holder, server: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    peer = Listener(holder)
    holder.connect(peer, address)
    until(holder, lambda: peer.ends)
    assert isinstance(peer.ends[0], ConnectionRefusedError)
    holder.connect(peer, server.getsockname())
    until(holder, lambda: not peer.connecting)


def test_much_is_sent_as_the_other_side_takes_it(holder: Holder, server: socket.socket) -> None:
    peer, there = connect(holder, server)
    holder.send(peer, b"x" * 8_000_000)
    holder.send(peer, b"y")
    assert peer.unsent
    taken = 0
    while taken < 8_000_001:
        holder.poll(0)
        taken += len(there.recv(1_000_000))
    assert not peer.unsent


def test_who_loses_the_network_neither_hears_nor_acknowledges_nor_says_so(
    holder: Holder, server: socket.socket
) -> None:
    peer, there = connect(holder, server)
    there.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
    holder.unplug(peer, seconds=60)
    assert len(holder) == 0
    there.sendall(b"lost")
    with pytest.raises(TimeoutError, match="timed out") as timed_out:  # ETIMEDOUT of the kernel: no FIN, no reset came
        there.recv(1)
    assert timed_out.value.errno is not None
    holder.connect(peer, server.getsockname())
    accepted, _ = server.accept()
    ACCEPTED.append(accepted)
    accepted.sendall(b"news")
    until(holder, lambda: peer.heard == b"news")
    assert peer.ends == []


def test_a_frozen_reader_takes_nothing_until_it_thaws(holder: Holder, server: socket.socket) -> None:
    peer, there = connect(holder, server)
    holder.freeze(peer)
    there.sendall(b"later")
    assert holder.poll(0.05) == 0
    assert peer.heard == b""
    holder.thaw(peer)
    until(holder, lambda: peer.heard == b"later")


def test_timers_run_in_order_and_bound_the_wait(holder: Holder) -> None:
    ran: list[int] = []
    holder.later(0.02, lambda: ran.append(2))
    holder.later(0.01, lambda: ran.append(1))
    assert holder.patience(5) <= 0.02
    until(holder, lambda: len(ran) == 2)
    assert ran == [1, 2]
    assert holder.patience(5) == 5


FRAMES = (
    b"retry: 3500\n\n:\nid: 7\n\nid: 8\nevent: notification\ndata: {}\n\n"
    b"id: 9\nevent: notification\ndata: a\ndata: b\n\n"
)


@pytest.mark.parametrize("size", [1, 2, 5, 11, 1_000])
def test_events_are_the_same_however_their_bytes_are_cut(size: int) -> None:
    parser = EventParser()
    rest, said = b"", []
    for start in range(0, len(FRAMES), size):
        heard, rest = parser.take(rest, FRAMES[start : start + size])
        said.append(heard)
    assert rest == b""
    events = [event for heard in said for event in heard.events]
    assert events == [StreamEvent(8, "notification", b"{}"), StreamEvent(9, "notification", b"a\nb")]
    assert [heard.retry for heard in said if heard.retry is not None] == [3500]
    assert [heard.position for heard in said if heard.position is not None][-1] == 9


def test_a_comment_moves_the_position_without_an_event() -> None:
    assert EventParser().take(b"", b":\nid: 12\n\n") == (Heard(position=12, first=12), b"")
