"""A crowd against a small gateway of the test's own: it logs in, resumes, waits when told to, tells of every loss."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from loadtests.crowd import Crowd, address_of, read_head
from loadtests.judge import Evidence, Verdict, judge
from loadtests.oracle import Published
from loadtests.plan import Plan
from loadtests.record import Kind, Record

PEOPLE = 6


class Gateway(socketserver.ThreadingTCPServer):
    """Serves tickets and streams as the real one does; ``loses`` makes it forget some places for some people."""

    daemon_threads = False
    block_on_close = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.feed: list[int] = []
        self.streams: dict[int, socket.socket] = {}
        self.loses: set[tuple[int, int]] = set()
        self.full_for = 0
        """Requests for a stream that are answered by 503 first."""
        self.resumed: list[tuple[int, str]] = []
        self.addresses: set[str] = set()
        self.towns: list[Town] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that a test has ended."""

    def publish(self, seq: int) -> None:
        with self.lock:
            self.feed.append(seq)
            for person, sock in list(self.streams.items()):
                self.tell(person, sock, seq)

    def tell(self, person: int, sock: socket.socket, seq: int) -> None:
        if (person, seq) not in self.loses:
            data = json.dumps({"seq": seq, "notification": seq + 100})
            sock.sendall(f"id: {seq}\nevent: notification\ndata: {data}\n\n".encode())

    def cut(self, person: int) -> None:
        with self.lock:
            self.streams.pop(person).shutdown(socket.SHUT_RDWR)


class _Handler(socketserver.BaseRequestHandler):
    server: Gateway

    def handle(self) -> None:
        rest = b""
        while True:
            while b"\r\n\r\n" not in rest:
                more = self.request.recv(4_096)
                if not more:
                    return
                rest += more
            head, _, rest = rest.partition(b"\r\n\r\n")
            first, _, lines = head.partition(b"\r\n")
            _, headers = read_head(b"HTTP/1.1 200 x\r\n" + lines)
            self.server.addresses.add(headers["x-forwarded-for"])
            if first.startswith(b"POST"):
                person = headers["authorization"].removeprefix("Bearer ")
                body = json.dumps({"ticket": person, "expires_in": 60}).encode()
                self.request.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            elif self.server.full_for > 0:
                self.server.full_for -= 1
                self.request.sendall(b"HTTP/1.1 503 Full\r\nretry-after: 0\r\ncontent-length: 2\r\n\r\n{}")
            else:
                self.stream(first.decode(), headers)

    def stream(self, first: str, headers: dict[str, str]) -> None:
        cookie = headers.get("cookie", "")
        person = int(cookie.partition("=")[2] or first.partition("ticket=")[2].split()[0])
        given = "" if cookie else f"set-cookie: __Host-s={person}; Secure\r\n"
        after = headers.get("last-event-id", "")
        with self.server.lock:
            seen = int(after) if after else max(self.server.feed, default=0)
            self.server.resumed.append((person, after))
            said = f"retry: 10\n\nevent: hello\ndata: {{}}\n\n:\nid: {seen}\n\n"
            self.request.sendall(f"HTTP/1.1 200 OK\r\n{given}\r\n{said}".encode())
            for seq in self.server.feed:
                if seq > seen:
                    self.server.tell(person, self.request, seq)
            self.server.streams[person] = self.request
        while self.request.recv(4_096):
            pass


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        for town in server.towns:
            town.crowd.holder.close_all()  # and so ends each connection's thread
        server.shutdown()
        thread.join()


class Town:
    """A crowd, what it reports, and the judge."""

    def __init__(self, gateway: Gateway) -> None:
        gateway.towns.append(self)
        host, port = gateway.server_address[:2]
        plan = Plan(
            host=str(host),
            port=port,
            key={},
            issuer="",
            audience="",
            people=PEOPLE,
            readers=PEOPLE,
            visitors=0,
            clients=1,
            arrive_seconds=0.0,
            slow_share=0.5,
            think_seconds=1.0,
            most_under_way=3,
        )
        self.record = Record()
        self.reports: list[tuple[str, str | None]] = []
        self.frames = 0
        self.crowd = Crowd(
            plan,
            plan.everybody(),
            plan.sources(),
            record=self.record,
            sign=str,
            report=lambda name, ms, error: self.reports.append((name, error)),
            note_frame=lambda event, at: setattr(self, "frames", self.frames + 1),
        )
        self.crowd.arrive()

    def until(self, condition: Callable[[], object]) -> None:
        for _ in range(2_000):
            if condition():
                return
            self.crowd.holder.poll(0.01)
        raise AssertionError(f"it did not come to pass: {self.crowd.state()}")

    def held(self) -> bool:
        return bool(self.crowd.state()["held"] == PEOPLE)

    def judge(self, upto: int) -> Verdict:
        self.crowd.finish()
        everybody = np.arange(1, PEOPLE + 1, dtype=np.int64)
        feed = [Published(seq, seq + 100, "Announcement", 0, everybody) for seq in range(1, upto + 1)]
        return judge(Evidence.gather([self.record]), feed, everybody.tolist(), upto)


def test_everybody_logs_in_and_hears_everything_once(gateway: Gateway) -> None:
    town = Town(gateway)
    town.until(town.held)
    for seq in range(1, 6):
        gateway.publish(seq)
    town.until(lambda: town.frames == 5 * PEOPLE)
    verdict = town.judge(5)
    assert verdict.passed
    assert verdict.heard == 5 * PEOPLE
    assert gateway.addresses == {address_of(person) for person in range(1, PEOPLE + 1)}
    assert [name for name, _ in town.reports].count("POST /v1/streams/ticket") == PEOPLE


def test_who_is_cut_comes_back_by_its_session_and_resumes(gateway: Gateway) -> None:
    town = Town(gateway)
    town.until(town.held)
    gateway.publish(1)
    town.until(lambda: town.frames == PEOPLE)
    gateway.full_for = 2
    gateway.cut(3)
    gateway.publish(2)
    town.until(lambda: town.frames == 2 * PEOPLE)
    assert gateway.resumed[-1] == (3, "1")
    assert list(town.record.kinds).count(Kind.REFUSED) == 2
    assert town.judge(2).passed


def test_who_loses_the_network_or_reads_slowly_hears_it_later(gateway: Gateway) -> None:
    town = Town(gateway)
    town.until(town.held)
    town.crowd.read_slowly(slowly=True)
    town.crowd.half_open(1.0)
    assert town.crowd.state()["held"] == PEOPLE // 2
    assert town.crowd.state()["frozen"] == PEOPLE // 2
    gateway.publish(1)
    town.crowd.holder.poll(0.05)
    assert town.frames == 0
    town.crowd.read_slowly(slowly=False)
    town.crowd.plug_in(0.01)
    town.until(lambda: town.frames == PEOPLE)
    town.until(town.held)
    assert town.judge(1).passed


def test_a_gateway_that_loses_one_frame_fails_the_run(gateway: Gateway) -> None:
    town = Town(gateway)
    town.until(town.held)
    gateway.loses = {(4, 2)}
    for seq in range(1, 4):
        gateway.publish(seq)
    town.until(lambda: town.frames == 3 * PEOPLE - 1)
    verdict = town.judge(3)
    assert not verdict.passed
    assert verdict.faults["missed"] == 1
    assert verdict.examples["missed"] == ["reader 4, place 2 (Announcement)"]


def test_a_gateway_that_replays_too_much_fails_the_run(gateway: Gateway) -> None:
    town = Town(gateway)
    town.until(town.held)
    for seq in (1, 2):
        gateway.publish(seq)
    town.until(lambda: town.frames == 2 * PEOPLE)
    gateway.publish(2)
    town.until(lambda: town.frames == 3 * PEOPLE)
    verdict = town.judge(2)
    assert verdict.faults["doubled"] == PEOPLE
