"""The island's half of the APNs channel: a flat loop over streams, no task and no future for each push.

Each push has a deadline of its own, from the moment it is written. A push that is past it is ``Unknown``, and its
stream stays open for a while: an answer that comes late is still taken, and reported.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hpack import NeverIndexedHeaderTuple

from ent_notify._island.tasks import Event, running_loop
from ent_notify.channels.apns_protocol import ApnsConnector
from ent_notify.channels.apns_token import ProviderToken
from ent_notify.channels.http2 import Exchange, Fate, Http2Streams
from ent_notify.channels.http2_pool import Http2Pool
from ent_notify.channels.push_options import ApnsOptions
from ent_notify.channels.push_payload import ApnsPayload, json_object, retry_after_seconds
from ent_notify.errors import ChannelDown
from ent_notify.model.delivery import Outgoing, Verdict, VerdictKind
from ent_notify.policy.push_verdicts import apns_verdict
from ent_notify.ports import Clock

MOST_TRIES = 4
"""Times that one push is written, if each time before APNs has surely not processed it."""

NOT_SENT = Verdict(VerdictKind.RETRY_AT, "apns.NotSent")
LOST = Verdict(VerdictKind.UNKNOWN, "apns.ConnectionLost")
TIMEOUT = Verdict(VerdictKind.UNKNOWN, "apns.Timeout")


@dataclass(frozen=True, slots=True)
class Letter:
    """One push to be sent."""

    item: Outgoing
    payload: ApnsPayload


class _Push(Exchange):
    """A letter on its way."""

    __slots__ = ("authorization", "batch", "connection", "letter", "token_renewed", "tries", "verdict")

    def __init__(self, letter: Letter, batch: _Batch) -> None:
        super().__init__((), letter.payload.body)
        self.letter = letter
        self.batch = batch
        self.connection: Http2Streams | None = None
        self.authorization = ""
        self.token_renewed = False
        self.tries = 0
        self.verdict: Verdict | None = None

    def on_end(self) -> None:
        self.batch.sender.ended(self)


class _Batch:
    """The pushes of one call: those to be written, those written in order of their deadlines."""

    def __init__(self, sender: ApnsSender, letters: Sequence[Letter]) -> None:
        self.sender = sender
        self.pushes = [_Push(letter, self) for letter in letters]
        self.waiting = deque(self.pushes)
        self.written: deque[tuple[float, int, _Push]] = deque()  # deadline, which try, push
        self.open = len(self.pushes)
        self.ever_written = False
        self.news = Event()

    def look_again(self) -> None:
        """There may be room for those that wait."""
        if self.waiting:
            self.news.set()

    def settle(self, push: _Push, verdict: Verdict) -> None:
        push.verdict = verdict
        self.open -= 1
        if self.open == 0:
            self.news.set()


class ApnsSender:
    """Connections to APNs and the pushes on them. For the island's thread only."""

    def __init__(
        self,
        options: ApnsOptions,
        token: ProviderToken,
        clock: Clock,
        late: Callable[[Outgoing, Verdict], None],
    ) -> None:
        self._loop = running_loop()
        connector = ApnsConnector(options, token, lambda connection: self.pool.changed(connection))
        self.pool = Http2Pool(connector.create_connection, options.connections)
        self._authority = options.host if options.port == 443 else f"{options.host}:{options.port}"
        self._topic = options.topic
        self._token = token
        self._clock = clock
        self._timeout = options.send_timeout
        self._late_window = options.late_window
        self._late = late
        self._overdue: deque[tuple[float, _Push]] = deque()
        self._sweeping = False

    async def send(self, letters: Sequence[Letter]) -> list[Verdict]:
        """One verdict for each letter; ChannelDown if no connection could be made and nothing was written."""
        batch = _Batch(self, letters)
        give_up_at = self._loop.time() + self._timeout
        self.pool.listen(batch.look_again)
        timer = None
        try:
            while batch.open:
                batch.news.clear()
                self._write(batch)
                now = self._loop.time()
                self._expire(batch, now)
                if batch.waiting and (now >= give_up_at or self.pool.is_down):
                    self._give_up(batch)
                if not batch.open:
                    break
                wake_at = min(self._next_deadline(batch), give_up_at if batch.waiting else math.inf)
                timer = self._loop.call_at(wake_at, batch.news.set)
                await batch.news.wait()
                timer.cancel()
        finally:
            self.pool.unlisten(batch.look_again)
            if timer is not None:
                timer.cancel()
        return [push.verdict or NOT_SENT for push in batch.pushes]

    @property
    def overdue(self) -> int:
        """Pushes called Unknown whose answer would still be taken."""
        return sum(push.fate is None for _, push in self._overdue)

    async def aclose(self) -> None:
        """Close every connection."""
        await self.pool.aclose()

    # ------------------------------------------------------------------ going out

    def _write(self, batch: _Batch) -> None:
        waiting, now = batch.waiting, self._loop.time()
        while waiting:
            push = waiting[0]
            connection = self.pool.pick(len(push.body))
            if connection is None:
                return
            waiting.popleft()
            push.reset()
            push.authorization = self._token.get_header()
            push.headers = self._headers(push)
            push.connection = connection
            push.tries += 1
            connection.start(push)
            batch.written.append((now + self._timeout, push.tries, push))
            batch.ever_written = True

    def _headers(self, push: _Push) -> list[Any]:
        # Apple asks that these values stay out of its small table of header values.
        letter = push.letter
        return [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", self._authority),
            NeverIndexedHeaderTuple(":path", f"/3/device/{letter.item.address}"),
            NeverIndexedHeaderTuple("authorization", push.authorization),
            NeverIndexedHeaderTuple("apns-id", letter.item.dedup_id),
            ("apns-topic", self._topic),
            *letter.payload.headers,
        ]

    def _give_up(self, batch: _Batch) -> None:
        if self.pool.is_down and not batch.ever_written:
            raise ChannelDown("apns", self.pool.failure)
        while batch.waiting:
            batch.settle(batch.waiting.popleft(), NOT_SENT)

    # ------------------------------------------------------------------ coming back

    def ended(self, push: _Push) -> None:
        """A push's exchange is over: settle it, or put it back in the queue."""
        if push.verdict is not None:
            if push.fate is Fate.ANSWERED:
                self._late(push.letter.item, self._read(push))
            return
        batch = push.batch
        if push.fate is Fate.LOST:
            batch.settle(push, LOST)
        elif push.fate is Fate.UNSENT:
            self._again(push, NOT_SENT)
        else:
            verdict = self._read(push)
            if verdict.reason == "apns.ExpiredProviderToken" and not push.token_renewed:
                if self._token.renew(push.authorization):
                    push.token_renewed = True
                    self._again(push, verdict)
                    return
            elif verdict.reason == "apns.TooManyProviderTokenUpdates":
                self._token.keep_older(push.authorization)
            batch.settle(push, verdict)

    def _again(self, push: _Push, otherwise: Verdict) -> None:
        if push.tries >= MOST_TRIES:
            push.batch.settle(push, otherwise)
        else:
            push.batch.waiting.append(push)
            push.batch.news.set()

    def _read(self, push: _Push) -> Verdict:
        body = json_object(push.answer_body) if push.status != 200 else {}
        reason, timestamp = body.get("reason"), body.get("timestamp")
        return apns_verdict(
            push.status,
            reason if isinstance(reason, str) else "",
            timestamp if isinstance(timestamp, int) else None,
            push.letter.item.registered_at,
            retry_after_seconds(push.header(b"retry-after"), self._clock.now()) if push.status >= 429 else None,
        )

    # ------------------------------------------------------------------ deadlines

    def _next_deadline(self, batch: _Batch) -> float:
        """When the next unanswered push of this batch is overdue; infinity if none is under way."""
        written = batch.written
        while written:
            deadline, tried, push = written[0]
            if push.fate is None and push.tries == tried:
                return deadline
            written.popleft()  # answered, or written again since
        return math.inf

    def _expire(self, batch: _Batch, now: float) -> None:
        while self._next_deadline(batch) <= now:
            push = batch.written.popleft()[2]
            batch.settle(push, TIMEOUT)
            self._overdue.append((now + self._late_window, push))
            if push.connection is not None and push.connection.silent_since(push):
                push.connection.retire()  # what it still says is taken
        if self._overdue and not self._sweeping:
            self._sweeping = True
            self._loop.call_at(self._overdue[0][0], self._sweep)

    def _sweep(self) -> None:
        """Close the streams of those whose late window is over, so that they take no room."""
        self._sweeping = False
        now = self._loop.time()
        while self._overdue and (self._overdue[0][0] <= now or self._overdue[0][1].fate is not None):
            _, push = self._overdue.popleft()
            if push.fate is None and push.connection is not None:
                push.connection.abandon(push)
        if self._overdue:
            self._sweeping = True
            self._loop.call_at(self._overdue[0][0], self._sweep)
