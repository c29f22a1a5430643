"""Somebody who does everything that an ENT is opened for at 08:55, on gevent's sockets, one greenlet for each.

Every step has the moment at which it was meant to happen; its latency counts from then, however late it was begun, so
that a slow server is not spared by clients that wait for it.
"""

from __future__ import annotations

import http.client
import random
import time
from collections.abc import Callable
from typing import Any

import gevent
import orjson
from gevent import socket

from loadtests.crowd import GUARDIANS, PUPILS, SCHOOL, Report, proxied, read_head, request
from loadtests.holder import EventParser, StreamEvent, cut_off
from loadtests.host import external_id
from loadtests.plan import Plan
from loadtests.record import Kind, Record

_ANSWER_SECONDS = 60.0
_LOSES_EVERY = 4
"""Rounds after which the network is lost for a moment."""


class Refused(Exception):
    """The API or the gateway answered something else than what was asked for."""

    def __init__(self, status: int, retry_after: float) -> None:
        self.status = status
        self.retry_after = retry_after
        super().__init__(f"HTTP {status}")


class Visitor:
    """One person: logs in, holds a stream, pages the inbox, marks read, posts, loses the network, comes back."""

    def __init__(
        self,
        plan: Plan,
        person: int,
        source: str,
        *,
        record: Record,
        sign: Callable[[int], str],
        report: Report,
        note_frame: Callable[[StreamEvent, int], None],
    ) -> None:
        self._plan = plan
        self.person = person
        self._source = source
        self._record = record
        self._sign = sign
        self._report = report
        self._note_frame = note_frame
        self._random = random.Random(person)
        self._token = ""
        self._signed_at = -1e9
        self._cookie = ""
        self.position: int | None = None
        self._retry_ms = 3_000
        self._stream: Any = None
        self._dead: list[Any] = []
        self._stopping = False
        self.held = False

    # -------------------------------------------------------------- the visit

    def run(self, arrives: float, quiet: Callable[[], bool]) -> None:
        """Come at ``arrives`` (``time.monotonic()``), then do one thing after the other until ``quiet()``."""
        _sleep_until(arrives)
        listening = gevent.spawn(self._listen, arrives)
        steps = (self._page, self._mark_read, self._unread, self._post)
        due, turn = arrives, 0
        while not quiet():
            due += self._plan.think_seconds * self._random.uniform(0.5, 1.5)
            _sleep_until(due, quiet)
            if quiet():
                break
            turn += 1
            if turn % (_LOSES_EVERY * len(steps)) == 0:
                self._lose_network()
            step = steps[turn % len(steps)]
            try:
                step(due)
            except (OSError, http.client.HTTPException, Refused) as error:
                self._report(step.__name__.strip("_"), _since(due), f"{type(error).__name__}: {error}")
        listening.join()

    def finish(self) -> None:
        """Note where the stream stands, and leave."""
        self._stopping = True
        self._record.note(self.person, Kind.LAST, self.position if self.held else -1, time.time_ns())  # type: ignore[arg-type]
        for sock in (self._stream, *self._dead):
            if sock is not None:
                sock.close()

    def _page(self, due: float) -> None:
        page = self._call("GET", "/v1/inbox?limit=20", due, "GET /v1/inbox")
        if page["next"]:
            self._call("GET", f"/v1/inbox?limit=20&cursor={page['next']}", time.monotonic(), "GET /v1/inbox (next)")

    def _unread(self, due: float) -> None:
        self._call("GET", "/v1/inbox/unread", due, "GET /v1/inbox/unread")

    def _mark_read(self, due: float) -> None:
        page = self._call("GET", "/v1/inbox?limit=5", due, "GET /v1/inbox")
        if seqs := [entry["seq"] for entry in page["entries"] if not entry["read"]]:
            self._call("POST", "/v1/inbox/read", time.monotonic(), "POST /v1/inbox/read", {"seqs": seqs})

    def _post(self, due: float) -> None:
        message = {
            "to": [external_id(self._correspondent())],
            "subject": "Réunion",
            "body": "Pouvons-nous en parler demain à 8 h 55 ?",
        }
        self._call("POST", "/v1/conversations", due, "POST /v1/conversations", message, expected=201)

    def _correspondent(self) -> int:
        """Somebody of the same school to whom this person may write: a teacher, or for teachers a guardian."""
        school, place = divmod(self.person - 1, SCHOOL)
        teacher = place >= PUPILS + GUARDIANS
        chosen = self._random.randrange(PUPILS, PUPILS + GUARDIANS) if teacher else PUPILS + GUARDIANS
        other = school * SCHOOL + chosen + 1
        return other if other <= self._plan.people and other != self.person else self._plan.people

    def _call(
        self, method: str, path: str, due: float, name: str, body: dict[str, Any] | None = None, expected: int = 200
    ) -> dict[str, Any]:
        if time.monotonic() - self._signed_at > 1_500:
            self._token, self._signed_at = self._sign(self.person), time.monotonic()
        connection = http.client.HTTPConnection(
            self._plan.host, self._plan.port, timeout=_ANSWER_SECONDS, source_address=(self._source, 0)
        )
        headers = {"authorization": f"Bearer {self._token}", "connection": "close", **proxied(self.person)}
        if body is not None:
            headers["content-type"] = "application/json"
        try:
            connection.request(method, path, body=None if body is None else orjson.dumps(body), headers=headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        if response.status != expected:
            raise Refused(response.status, float(response.getheader("retry-after") or 5))
        self._report(name, _since(due), None)
        answer: dict[str, Any] = orjson.loads(text)
        return answer

    # -------------------------------------------------------------- the stream

    def _lose_network(self) -> None:
        sock, self._stream = self._stream, None
        if sock is not None and self.held:
            self._record.note(self.person, Kind.LEFT, self.position or 0, time.time_ns())
            self.held = False
            cut_off(sock)
            self._dead.append(sock)

    def _listen(self, due: float) -> None:
        while not self._stopping:
            wait = self._retry_ms / 1000
            try:
                sock, parser, rest = self._open(due)
                wait = self._follow(sock, parser, rest)
            except Refused as refused:
                self._record.note(self.person, Kind.REFUSED, refused.status, time.time_ns())
                self._report("refused", _since(due), str(refused))
                wait = refused.retry_after + self._random.uniform(0, refused.retry_after)
            except (OSError, http.client.HTTPException) as error:
                self._record.note(self.person, Kind.REFUSED, 0, time.time_ns())
                self._report("refused", _since(due), f"{type(error).__name__}: {error}")
            due = time.monotonic() + wait
            if not self._stopping:
                gevent.sleep(wait)

    def _open(self, due: float) -> tuple[Any, EventParser, bytes]:
        first = self.position is None
        path, headers = "/v1/stream", {"accept": "text/event-stream"}
        if self._cookie:
            headers["cookie"] = self._cookie
        else:
            ticket = self._call("POST", "/v1/streams/ticket", due, "POST /v1/streams/ticket")["ticket"]
            path += f"?ticket={ticket}"
        if not first:
            headers["last-event-id"] = str(self.position)
        sock = socket.create_connection((self._plan.host, self._plan.port), _ANSWER_SECONDS, (self._source, 0))
        try:
            sock.sendall(request("GET", path, self.person, headers=headers))
            data = b""
            while b"\r\n\r\n" not in data:
                more = sock.recv(65_536)
                if not more:
                    raise ConnectionResetError("the connection ended before the answer")  # noqa: TRY301 - closed below
                data += more
            head, _, rest = data.partition(b"\r\n\r\n")
            status, answered = read_head(head)
            if status != 200:
                raise Refused(status, float(answered.get("retry-after", "5")))  # noqa: TRY301 - closed below
        except BaseException:
            sock.close()
            raise
        if cookie := answered.get("set-cookie"):
            self._cookie = cookie.partition(";")[0]
        self._report("GET /v1/stream" if first else "GET /v1/stream (back)", _since(due), None)
        if not first:
            self._record.note(self.person, Kind.BACK, self.position or 0, time.time_ns())
        sock.settimeout(None)
        self._stream, self.held = sock, True
        return sock, EventParser(), rest

    def _follow(self, sock: Any, parser: EventParser, data: bytes) -> float:
        """Hear until the stream ends; seconds to wait before the next."""
        rest = b""
        while True:
            if data:
                rest = self._hear(parser, rest, data)
            try:
                data = _receive(sock, lambda: self._stream is not sock or self._stopping)
            except OSError:
                data = b""
            if self._stopping:
                return 0.0
            if self._stream is not sock:
                return self._random.uniform(0.5, 2.0)  # the phone finds another network
            if not data:
                self._record.note(self.person, Kind.LOST, self.position or 0, time.time_ns())
                self.held = False
                sock.close()
                return self._retry_ms / 1000

    def _hear(self, parser: EventParser, rest: bytes, data: bytes) -> bytes:
        heard, rest = parser.take(rest, data)
        now = time.time_ns()
        self._retry_ms = heard.retry or self._retry_ms
        if self.position is None and heard.first is not None:
            self._record.note(self.person, Kind.OPENED, heard.first, now)
        for event in heard.events:
            if event.name == "notification":
                self._record.note(self.person, Kind.HEARD, event.id or 0, now)
                self._note_frame(event, now)
            elif event.name == "reload":
                self._record.note(self.person, Kind.RELOAD, event.id or 0, now)
        if heard.position is not None:
            self.position = heard.position
        return rest


def _receive(sock: Any, over: Callable[[], bool]) -> bytes:
    """The next bytes; none when ``over()`` says so first."""
    while not over():
        try:
            socket.wait_read(sock.fileno(), timeout=0.5, timeout_exc=TimeoutError())
        except TimeoutError:
            continue
        return bytes(sock.recv(65_536))
    return b""


def _sleep_until(moment: float, over: Callable[[], bool] = lambda: False) -> None:
    while not over() and (left := moment - time.monotonic()) > 0:
        gevent.sleep(min(left, 0.5))


def _since(moment: float) -> float:
    return (time.monotonic() - moment) * 1000
