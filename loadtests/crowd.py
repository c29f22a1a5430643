"""Readers as the gateway meets them at 08:55: each logs in, takes a ticket, holds a stream, loses it and comes back.

Thousands of them live in one ``Holder``. Each comes as an operator's reverse proxy would hand them on: from one of a
few trusted addresses, with the reader's own in X-Forwarded-For. Pupils and teachers of a school share its address;
everybody else has one of their own.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

import orjson

from loadtests.holder import EventParser, Holder, Peer, StreamEvent
from loadtests.plan import Plan
from loadtests.record import Kind, Record

SMALL_BUFFER = 2_304
"""SO_RCVBUF of who reads slowly: the least that Linux gives."""
SIP_BYTES = 256
SIP_SECONDS = 2.0
SCHOOL = 1_875
"""People of a school in the generated region; its first 750 are pupils, then 975 guardians, then teachers and staff."""
PUPILS, GUARDIANS = 750, 975
_GOLDEN = 0.6180339887498949

Report = Callable[[str, float, str | None], None]
"""``report(name, milliseconds, error)``: a request has ended."""


class State(IntEnum):
    """Where a reader stands."""

    AWAY = 0
    TICKET = 1
    JOINING = 2
    HELD = 3
    WAITING = 4


class Reader(Peer):
    """One person with one stream."""

    __slots__ = ("cookie", "crowd", "intended", "person", "position", "rest", "retry_ms", "slow", "state")

    def __init__(self, crowd: Crowd, person: int, *, slow: bool) -> None:
        super().__init__()
        self.crowd = crowd
        self.person = person
        self.slow = slow
        self.state = State.AWAY
        self.cookie = ""
        self.position: int | None = None
        self.retry_ms = 3_000
        self.rest = b""
        self.intended = 0.0

    def opened(self) -> None:
        if self.cookie:
            self.crowd.ask_stream(self)
        else:
            self.crowd.ask_ticket(self)

    def received(self, data: bytes) -> None:
        if self.state == State.HELD:
            self.crowd.hear(self, data)
        else:
            self.crowd.answered(self, data)

    def ended(self, error: OSError | None) -> None:
        self.crowd.lost(self, error)


class Crowd:
    """The readers of one client process. ``sign(person)`` makes the host's bearer token for a person."""

    def __init__(
        self,
        plan: Plan,
        people: Sequence[int],
        sources: Sequence[str],
        *,
        record: Record,
        sign: Callable[[int], str],
        report: Report,
        note_frame: Callable[[StreamEvent, int], None],
    ) -> None:
        self.holder = Holder()
        self._plan = plan
        self._sources = itertools.cycle(sources)
        self._target = (plan.host, plan.port)
        self._record = record
        self._sign = sign
        self._report = report
        self._note_frame = note_frame
        self._parser = EventParser()
        every = round(1 / plan.slow_share) if plan.slow_share else 0
        self._readers = [Reader(self, person, slow=bool(every) and person % every == 0) for person in people]
        self._arrived = self._under_way = 0
        self._began = 0.0
        self._turn = 0.0
        self._unplugged: list[Reader] = []
        self._frozen = False

    # -------------------------------------------------------------- orders

    def arrive(self) -> None:
        """Begin to let everybody come, evenly over the plan's time. Latencies count from when each meant to come."""
        self._began = time.monotonic()
        self._let_in()

    def _let_in(self) -> None:
        step = self._plan.arrive_seconds / max(len(self._readers), 1)
        now = time.monotonic()
        while self._arrived < len(self._readers) and self._under_way < self._plan.most_under_way:
            due = self._began + self._arrived * step
            if due > now:
                break
            reader = self._readers[self._arrived]
            reader.intended = due
            self._arrived += 1
            self._connect(reader)
        if self._arrived < len(self._readers):
            self.holder.later(0.005 if self._under_way >= self._plan.most_under_way else max(step, 0.002), self._let_in)

    def lose_network(self, share: float, return_seconds: float) -> None:
        """A share of those who listen lose the network without a word, and are back within ``return_seconds``."""
        for reader in self._some(share):
            self._unplug(reader)
            self._come_back(reader, self._spread(return_seconds))

    def half_open(self, share: float) -> None:
        """The same, but they stay away until ``plug_in``."""
        self._unplugged = self._some(share)
        for reader in self._unplugged:
            self._unplug(reader)

    def plug_in(self, seconds: float) -> None:
        """Those who are away come back within ``seconds``."""
        for reader in self._unplugged:
            self._come_back(reader, self._spread(seconds))
        self._unplugged = []

    def read_slowly(self, *, slowly: bool) -> None:
        """The slow readers take a few bytes now and then, or (False) read as all others do again."""
        self._frozen = slowly
        for reader in self._readers:
            if reader.slow and reader.state == State.HELD:
                (self.holder.freeze if slowly else self.holder.thaw)(reader)
        if slowly:
            self.holder.later(SIP_SECONDS, self._sip)

    def _sip(self) -> None:
        if self._frozen:
            for reader in self._readers:
                if reader.frozen:
                    self.holder.sip(reader, SIP_BYTES)
            self.holder.later(SIP_SECONDS, self._sip)

    def finish(self) -> None:
        """The run is over: note where each stands, and leave."""
        now = time.time_ns()
        for reader in self._readers:
            place = reader.position if self._stands(reader) else None
            self._record.note(reader.person, Kind.LAST, -1 if place is None else place, now)
        self.holder.close_all()

    def state(self) -> dict[str, Any]:
        """How they stand: counts, and how many stand at each place of the feed."""
        states = Counter(reader.state for reader in self._readers)
        positions = Counter(reader.position or 0 for reader in self._readers if reader.state == State.HELD)
        return {
            "readers": len(self._readers),
            "arrived": self._arrived,
            **{state.name.lower(): states[state] for state in State},
            "frozen": sum(reader.frozen for reader in self._readers),
            "positions": {str(place): number for place, number in positions.items()},
        }

    # -------------------------------------------------------------- a reader's life

    def _connect(self, reader: Reader) -> None:
        reader.rest = b""
        reader.state = State.JOINING if reader.cookie else State.TICKET
        self._under_way += 1
        try:
            source = next(self._sources)
            self.holder.connect(reader, self._target, source, SMALL_BUFFER if reader.slow else None)
        except OSError as error:
            self._refused(reader, 0, f"connect: {error}", 1.0)

    def ask_ticket(self, reader: Reader) -> None:
        """Log in: show the host's token, ask for a ticket."""
        self.holder.send(reader, request("POST", "/v1/streams/ticket", reader.person, token=self._sign(reader.person)))

    def ask_stream(self, reader: Reader, ticket: str = "") -> None:
        """Open the stream, by the ticket or by the cookie of the session."""
        reader.state = State.JOINING
        headers = {"accept": "text/event-stream"}
        if reader.cookie:
            headers["cookie"] = reader.cookie
        if reader.position is not None:
            headers["last-event-id"] = str(reader.position)
        path = f"/v1/stream?ticket={ticket}" if ticket else "/v1/stream"
        self.holder.send(reader, request("GET", path, reader.person, headers=headers))

    def answered(self, reader: Reader, data: bytes) -> None:
        """Bytes of an answer that is no stream yet."""
        head, found, body = (reader.rest + data).partition(b"\r\n\r\n")
        reader.rest = reader.rest + data
        if not found:
            return
        status, headers = read_head(head)
        name = "POST /v1/streams/ticket" if reader.state == State.TICKET else "GET /v1/stream"
        if status == 200 and reader.state == State.JOINING:
            self._joined(reader, headers, body)
            return
        if len(body) < int(headers.get("content-length", "0")):
            return
        reader.rest = b""
        if status != 200:
            self._refused(reader, status, f"{name}: {status}", float(headers.get("retry-after", "5")))
            return
        self._report(name, self._since(reader), None)
        self.ask_stream(reader, orjson.loads(body)["ticket"])

    def _joined(self, reader: Reader, headers: dict[str, str], body: bytes) -> None:
        if cookie := headers.get("set-cookie"):
            reader.cookie = cookie.partition(";")[0]
        self._under_way -= 1
        first = reader.position is None
        self._report("GET /v1/stream" if first else "GET /v1/stream (back)", self._since(reader), None)
        reader.state, reader.rest = State.HELD, b""
        if not first:
            self._record.note(reader.person, Kind.BACK, reader.position or 0, time.time_ns())
        if self._frozen and reader.slow:
            self.holder.freeze(reader)
        if body:
            self.hear(reader, body)

    def hear(self, reader: Reader, data: bytes) -> None:
        """Bytes of a stream."""
        heard, reader.rest = self._parser.take(reader.rest, data)
        now = time.time_ns()
        if heard.retry is not None:
            reader.retry_ms = heard.retry
        if reader.position is None and heard.position is not None:
            assert heard.first is not None
            self._record.note(reader.person, Kind.OPENED, heard.first, now)
        for event in heard.events:
            if event.name == "notification":
                assert event.id is not None, "a notification without a place"
                self._record.note(reader.person, Kind.HEARD, event.id, now)
                self._note_frame(event, now)
            elif event.name == "reload":
                self._record.note(reader.person, Kind.RELOAD, event.id or 0, now)
        if heard.position is not None:
            reader.position = heard.position

    def lost(self, reader: Reader, error: OSError | None) -> None:
        """The other side has ended a connection."""
        if reader.state == State.HELD:
            self._record.note(reader.person, Kind.LOST, reader.position or 0, time.time_ns())
            self._come_back(reader, reader.retry_ms / 1000)
        else:
            self._refused(reader, 0, f"the connection ended before the answer ({error})", reader.retry_ms / 1000)

    def _refused(self, reader: Reader, status: int, error: str, retry_seconds: float) -> None:
        self._under_way -= 1
        self._record.note(reader.person, Kind.REFUSED, status, time.time_ns())
        self._report("refused", self._since(reader), error)
        self.holder.close(reader)
        # Retry-After names the least; what comes on top keeps those who were refused together from coming together.
        self._come_back(reader, retry_seconds + self._spread(retry_seconds))

    def _come_back(self, reader: Reader, seconds: float) -> None:
        reader.state = State.WAITING
        reader.intended = time.monotonic() + seconds
        self.holder.at(reader.intended, lambda: self._connect(reader))

    def _unplug(self, reader: Reader) -> None:
        self._record.note(reader.person, Kind.LEFT, reader.position or 0, time.time_ns())
        reader.state = State.AWAY
        self.holder.unplug(reader, seconds=300)

    def _some(self, share: float) -> list[Reader]:
        held = [reader for reader in self._readers if self._stands(reader) and not reader.slow]
        every = max(round(1 / share), 1)
        return held[::every] if share else []

    def _stands(self, reader: Reader) -> bool:
        return reader.state == State.HELD and reader.position is not None

    def _spread(self, seconds: float) -> float:
        self._turn = (self._turn + _GOLDEN) % 1
        return seconds * self._turn

    def _since(self, reader: Reader) -> float:
        return (time.monotonic() - reader.intended) * 1000


# ------------------------------------------------------------------ HTTP, as little as is needed


def request(
    method: str, path: str, person: int, *, token: str = "", body: bytes = b"", headers: dict[str, str] | None = None
) -> bytes:
    """A request as a reverse proxy hands it on."""
    lines = [f"{method} {path} HTTP/1.1", "host: ent.example", *(f"{k}: {v}" for k, v in proxied(person).items())]
    if token:
        lines.append(f"authorization: Bearer {token}")
    if method == "POST":
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def proxied(person: int) -> dict[str, str]:
    """The headers that a reverse proxy adds for a person's requests."""
    return {"x-forwarded-for": address_of(person), "x-forwarded-proto": "https"}


def address_of(person: int) -> str:
    """The network address that a person comes from: the school's own, or one at home."""
    school, place = divmod(person - 1, SCHOOL)
    if PUPILS <= place < PUPILS + GUARDIANS:
        return f"10.{person >> 16 & 255}.{person >> 8 & 255}.{person & 255}"
    return f"172.16.{school >> 8 & 255}.{school & 255}"


def read_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers (names in lower case) of a response."""
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return int(first.split(" ", 2)[1]), headers
