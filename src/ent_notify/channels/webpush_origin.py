"""One push service: its connections, its breaker, and the messages on their way to it. For the island's thread only.

Every message ends with a verdict within twice the deadline, whatever the service does. What is the service's own
trouble (``pause_group``) makes it rest, alone: other services know nothing of it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ent_notify._island.tasks import Event, Future, gather, new_future, running_loop
from ent_notify.channels.http2 import Exchange, Fate, Http2Streams
from ent_notify.channels.http2_pool import Http2Pool
from ent_notify.channels.push_payload import WebPushPayload, retry_after_seconds
from ent_notify.channels.webpush_dial import Resolve, dial
from ent_notify.channels.webpush_keys import VapidKey, encrypt
from ent_notify.errors import MalformedDevice
from ent_notify.model.delivery import Outgoing, Verdict, VerdictKind
from ent_notify.model.webpush import Subscription
from ent_notify.policy.push_verdicts import webpush_verdict
from ent_notify.policy.webpush import Endpoint, OriginHealth
from ent_notify.ports import Clock

MOST_TRIES = 4
"""Times that one message is written, if each time before the service has surely not processed it."""
SIDE_BY_SIDE = 100
"""Messages of one call under way at once, for each connection allowed."""

BAD_KEY = Verdict(VerdictKind.DROP_TARGET, "webpush.BadKey", quarantine=True)
NOT_SENT = Verdict(VerdictKind.RETRY_AT, "webpush.NotSent", pause_group=True)
LOST = Verdict(VerdictKind.UNKNOWN, "webpush.ConnectionLost", pause_group=True)
TIMEOUT = Verdict(VerdictKind.UNKNOWN, "webpush.Timeout", pause_group=True)


@dataclass(frozen=True, slots=True)
class WebPushLetter:
    """One message to be sent."""

    item: Outgoing
    subscription: Subscription
    endpoint: Endpoint
    payload: WebPushPayload


class _Post(Exchange):
    """A message on its way, and the future that its sender waits for until the deadline."""

    __slots__ = ("answer", "authorization", "letter", "origin", "overdue")

    def __init__(self, letter: WebPushLetter, body: bytes, origin: PushOrigin) -> None:
        super().__init__((), body)
        self.letter = letter
        self.origin = origin
        self.authorization = ""
        self.answer: Future[None] = new_future()
        self.overdue = False

    def on_end(self) -> None:
        if self.overdue:
            self.origin.late_answer(self)
        elif not self.answer.done():
            self.answer.set_result(None)

    def expire(self) -> None:
        """The deadline: whoever waits goes on, the stream stays."""
        if not self.answer.done():
            self.overdue = True
            self.answer.set_result(None)


@dataclass(frozen=True, slots=True)
class OriginOptions:
    """What all push services have in common: see WebPushOptions."""

    connections: int
    send_timeout: float
    late_window: float
    tls: ssl.SSLContext
    lookup: Resolve
    loopback: bool


class PushOrigin:
    """See the module. ``late`` hears of answers after the deadline."""

    def __init__(
        self,
        endpoint: Endpoint,
        options: OriginOptions,
        key: VapidKey,
        clock: Clock,
        late: Callable[[Outgoing, Verdict], None],
    ) -> None:
        self._loop = running_loop()
        self._host, self._port = endpoint.host, endpoint.port
        self._authority, self._origin = endpoint.authority, endpoint.origin
        self._options = options
        self._key = key
        self._clock = clock
        self._late = late
        self._trusted = ""
        """The VAPID header under which this service has taken a message."""
        self._trial: Event | None = None
        self.health = OriginHealth()
        self.pool = Http2Pool(self._connect, options.connections)
        self.overdue: set[_Post] = set()
        """Messages past their deadline whose answer would still be taken."""
        self.busy = 0
        """Calls under way."""

    async def send(self, letters: Sequence[WebPushLetter]) -> list[Verdict]:
        """One verdict for each letter, in order. Never raises for the service's trouble."""
        self.busy += 1
        try:
            verdicts: list[Verdict] = []
            while len(verdicts) < len(letters):
                rest = letters[len(verdicts) :]
                if self.health.wait(self._now()):
                    verdicts += [self._paused()] * len(rest)
                elif not self.health.on_trial:
                    verdicts += await self._send_all(rest)
                elif self._trial is None:
                    verdicts += await self._try_one(rest[0])
                else:
                    await self._trial.wait()  # somebody else's: what comes of it holds for us
            return verdicts
        finally:
            self.busy -= 1

    async def aclose(self) -> None:
        """Close every connection."""
        await self.pool.aclose()

    def late_answer(self, post: _Post) -> None:
        """An answer past its deadline."""
        self.overdue.discard(post)
        if post.fate is Fate.ANSWERED:
            self._late(post.letter.item, self._read(post))

    # ------------------------------------------------------------------ going out

    async def _try_one(self, letter: WebPushLetter) -> list[Verdict]:
        self._trial = Event()
        try:
            return await self._send_all([letter])
        finally:
            self._trial.set()
            self._trial = None

    async def _send_all(self, letters: Sequence[WebPushLetter]) -> list[Verdict]:
        # In a thread: a tenth of a millisecond of elliptic curve for each, and the island serves the database too.
        bodies = await self._loop.run_in_executor(None, _encrypt_all, letters)
        give_up_at = self._loop.time() + self._options.send_timeout
        return await gather(
            (self._one(letter, body, give_up_at) for letter, body in zip(letters, bodies, strict=True)),
            limit=SIDE_BY_SIDE * self._options.connections,
        )

    async def _one(self, letter: WebPushLetter, body: bytes | None, give_up_at: float) -> Verdict:
        if body is None:
            return BAD_KEY
        if self.health.wait(self._now()):
            return self._paused()  # since this call began
        post = _Post(letter, body, self)
        for _ in range(MOST_TRIES):
            trouble = await self._write(post, give_up_at)
            if trouble is not None:
                return trouble
            if post.fate is not Fate.UNSENT:
                break
        verdict = self._outcome(post)
        self._note(post, verdict)
        return verdict

    async def _write(self, post: _Post, give_up_at: float) -> Verdict | None:
        """Write it and wait for its answer; a verdict if it could not be written."""
        while (connection := self.pool.pick(len(post.body))) is None:
            if self.pool.is_down:
                self.health.bad(self._now(), "webpush.Unreachable", at_once=True)
                return NOT_SENT
            if self._loop.time() >= give_up_at:
                self.health.bad(self._now(), "webpush.NotSent")
                return NOT_SENT
            await self._change(give_up_at)
        post.reset()
        post.answer = new_future()
        post.authorization = self._key.authorization(self._origin, self._now())
        post.headers = self._headers(post)
        connection.start(post)
        timer = self._loop.call_later(self._options.send_timeout, post.expire)
        await post.answer
        timer.cancel()
        if post.overdue:
            self.overdue.add(post)
            self._loop.call_later(self._options.late_window, self._abandon, post, connection)
            if connection.silent_since(post):
                connection.retire()
        return None

    def _headers(self, post: _Post) -> list[tuple[str, str]]:
        left = post.letter.payload.ttl(self._now())
        return [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", self._authority),
            (":path", post.letter.endpoint.target),
            ("authorization", post.authorization),
            ("content-type", "application/octet-stream"),
            ("content-encoding", "aes128gcm"),
            ("ttl", str(left)),
            *post.letter.payload.headers,
        ]

    def _abandon(self, post: _Post, connection: Http2Streams) -> None:
        self.overdue.discard(post)
        if post.fate is None:
            connection.abandon(post)

    async def _change(self, deadline: float) -> None:
        changed: Future[None] = new_future()

        def tell() -> None:
            if not changed.done():
                changed.set_result(None)

        self.pool.listen(tell)
        timer = self._loop.call_later(max(deadline - self._loop.time(), 0.0), tell)
        try:
            await changed
        finally:
            self.pool.unlisten(tell)
            timer.cancel()

    async def _connect(self) -> Http2Streams:
        options = self._options
        make = lambda: Http2Streams(self._loop, self.pool.changed)  # noqa: E731
        return await dial(
            make,
            self._host,
            self._port,
            tls=options.tls,
            lookup=options.lookup,
            loopback=options.loopback,
        )

    # ------------------------------------------------------------------ coming back

    def _outcome(self, post: _Post) -> Verdict:
        if post.overdue:
            return TIMEOUT
        if post.fate is Fate.UNSENT:
            return NOT_SENT
        if post.fate is Fate.LOST:
            return LOST
        return self._read(post)

    def _read(self, post: _Post) -> Verdict:
        asked = retry_after_seconds(post.header(b"retry-after"), self._now()) if post.status >= 400 else None
        return webpush_verdict(post.status, asked, trusted=post.authorization == self._trusted)

    def _note(self, post: _Post, verdict: Verdict) -> None:
        now = self._now()
        if not verdict.pause_group:
            self.health.good(now)
            if verdict.kind is VerdictKind.ACCEPTED:
                self._trusted = post.authorization
            return
        refused = verdict.kind is VerdictKind.PAUSE_CHANNEL
        if refused and self.health.on_trial:
            self._key.forget(self._origin)  # not the subscription then, nor chance: sign anew for the next trial
        at_once = refused or post.status == 429
        self.health.bad(now, verdict.reason, asked=verdict.retry_after, at_once=at_once)

    def _paused(self) -> Verdict:
        """Of a message that was not even tried: no attempt of its own."""
        wait = self.health.wait(self._now())
        return Verdict(VerdictKind.PAUSE_CHANNEL, "webpush.OriginPaused", wait, pause_group=True)

    def _now(self) -> datetime:
        return self._clock.now()


def _encrypt_all(letters: Sequence[WebPushLetter]) -> list[bytes | None]:
    return [_encrypt(letter) for letter in letters]


def _encrypt(letter: WebPushLetter) -> bytes | None:
    try:
        return encrypt(letter.subscription, letter.payload.plaintext)
    except MalformedDevice:
        return None
