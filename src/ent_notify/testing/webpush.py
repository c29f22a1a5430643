"""A fake push service of browsers that speaks the real protocol: HTTP/2 over TLS, VAPID, encrypted messages.

::

    async with open_fake_webpush() as service:
        channel = WebPushChannel(island, WebPushOptions(
            subject="mailto:ops@ent.example", key=service.key, loopback=True, ca=service.ca))
        subscription = service.subscribe("browser-1")          # what a page would get and register
        service.next(Refuse("410"), device="browser-1")
        ...
        assert service.requests[0].payload["body"] == "..."    # decrypted with the browser's private key

It checks what a push service checks (RFC 8030, 8291, 8292: TTL, Topic, Urgency, the VAPID signature, its audience and
its age, the key that the subscription was made for, the size, the encryption) before it looks at the script. Messages
wait for their browser until ``collect`` takes them: a later one of the same topic replaces an earlier one, and what is
past its TTL is gone. In a process of its own: ``python -m ent_notify.testing.webpush --port 0``; the first line that it
prints is JSON with ``host``, ``port``, ``origin``, ``ca`` (PEM) and ``key``; then as ``ent_notify.testing.apns``.

A browser's keys follow from its name alone, so that whoever generates devices and the service that decrypts for them
need not meet.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import http_ece
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ent_notify.clock import SystemClock
from ent_notify.model.webpush import Subscription
from ent_notify.testing.behaviours import Answer, Behaviour, Request
from ent_notify.testing.http2 import HttpsServer, open_https_server
from ent_notify.testing.process import run_as_process
from ent_notify.testing.scripting import Accept, Refuse, Script, Shown, outcome_of

DEMO_KEY = urlsafe_b64encode(hashlib.sha256(b"ent_notify: the VAPID key of tests").digest()).rstrip(b"=").decode()
"""A VAPID private key that everybody knows."""

_CURVE = ec.SECP256R1()
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (SEC 2, 2.4.2)
_PATH = "/push/"
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")  # RFC 8030, 5.4
_URGENCIES = frozenset({"very-low", "low", "normal", "high"})  # RFC 8030, 5.3
_VAPID = re.compile(r"vapid\s+t=([A-Za-z0-9_.-]+)\s*,\s*k=([A-Za-z0-9_-]+)\Z")
_LONGEST_TOKEN = timedelta(hours=24)
_SKEW = timedelta(minutes=5)
_MOST_BODY = 4_096


def subscribe(device: str, origin: str) -> Subscription:
    """The subscription of the browser called ``device`` (letters, digits, - and _) at the fake of ``origin``."""
    return Subscription(f"{origin}{_PATH}{device}", _public(_private(device)), _secret(device))


def _private(device: str) -> ec.EllipticCurvePrivateKey:
    number = int.from_bytes(hashlib.sha256(f"browser/{device}".encode()).digest(), "big")
    return ec.derive_private_key(number % (_ORDER - 1) + 1, _CURVE)


def _secret(device: str) -> bytes:
    return hashlib.sha256(f"auth/{device}".encode()).digest()[:16]


def _public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@dataclass(frozen=True, slots=True)
class WebPushRequest:
    """One message as the service got it. ``plaintext`` is what the browser would read; ``order`` counts from 1."""

    order: int
    at: datetime
    connection: int
    device: str
    headers: Mapping[str, str]
    body: bytes
    plaintext: bytes
    ttl: int

    @property
    def payload(self) -> dict[str, Any]:
        """The message, as a service worker's ``event.data.json()``."""
        payload: dict[str, Any] = orjson.loads(self.plaintext)
        return payload

    @property
    def topic(self) -> str:
        """Its topic, or a name of its own."""
        return self.headers.get("topic") or f"message-{self.order}"


class FakeWebPush(Script[WebPushRequest]):
    """See the module. Made by ``open_fake_webpush``."""

    def __init__(self, keep: int, now: Callable[[], datetime], vapid_public: str | None) -> None:
        super().__init__(keep)
        self.tokens: dict[str, int] = {}
        """VAPID tokens seen, and how often."""
        self.other_keys: dict[str, str] = {}
        """Browsers that have subscribed with another site's key: name to public key."""
        self.server: HttpsServer
        self._now = now
        self._vapid_public = vapid_public
        self._waiting: dict[str, dict[str, tuple[datetime, WebPushRequest]]] = {}
        self._keys = lru_cache(maxsize=1_024)(_private)

    @property
    def host(self) -> str:
        """Where it listens."""
        return self.server.host

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port

    @property
    def origin(self) -> str:
        """What its endpoints begin with."""
        return f"https://localhost:{self.port}"

    @property
    def ca(self) -> str:
        """The certificate authority that clients of this fake must trust, in PEM."""
        return self.server.ca_pem

    @property
    def key(self) -> str:
        """A VAPID private key (base64url), the one that its subscriptions are made for."""
        return DEMO_KEY

    def subscribe(self, device: str) -> Subscription:
        """The subscription of a browser; the same name gives the same one."""
        return subscribe(device, self.origin)

    def collect(self, device: str) -> list[WebPushRequest]:
        """The browser comes online and takes what waits for it: oldest first, without what has expired."""
        now = self._now()
        return [request for until, request in self._waiting.pop(device, {}).values() if now <= until]

    def describe(self) -> dict[str, Any]:
        """The line that a process of its own prints first."""
        return {"host": self.host, "port": self.port, "origin": self.origin, "ca": self.ca, "key": self.key}

    # ------------------------------------------------------------------ a request

    def handle(self, request: Request) -> Behaviour:
        """What the server does on ``request``."""
        self.received += 1
        device = request.path.removeprefix(_PATH)
        refused = self._refusal(request, device)
        plaintext = b""
        if refused is None:
            try:
                plaintext = self._decrypt(device, request.body)
            except (http_ece.ECEException, ValueError):
                refused = "400"
        ttl = request.headers.get("ttl", "")
        message = WebPushRequest(
            self.received,
            self._now(),
            request.connection,
            device,
            request.headers,
            request.body,
            plaintext,
            int(ttl) if ttl.isdecimal() else -1,
        )
        self.requests.append(message)
        return self._refuse(Refuse(refused)) if refused else self._scripted(message)

    def _scripted(self, message: WebPushRequest) -> Behaviour:
        step = self.step_for(message.device, message)
        match step:
            case Accept():
                return self._accept(message)
            case Refuse():
                return self._refuse(step)
            case Shown(then):
                self._accept(message)
                return then
            case _:
                self.counts[outcome_of(step)] += 1
                return step

    def _accept(self, message: WebPushRequest) -> Answer:
        self.counts["accepted"] += 1
        self.show(message.device, message.topic, message)
        waiting = self._waiting.setdefault(message.device, {})
        waiting.pop(message.topic, None)  # RFC 8030, 5.4: the new one takes its place
        waiting[message.topic] = message.at + timedelta(seconds=message.ttl), message
        if len(self._waiting) > self.keep:
            del self._waiting[next(iter(self._waiting))]
        location = f"{self.origin}/message/{message.order}"
        return Answer(201, headers=(("location", location), ("ttl", str(message.ttl))))

    def _refuse(self, refusal: Refuse) -> Answer:
        """``reason`` is the status that the service answers."""
        self.counts[refusal.reason] += 1
        headers: tuple[tuple[str, str], ...] = ()
        if refusal.retry_after is not None:
            headers = (("retry-after", str(refusal.retry_after)),)
        if refusal.reason.startswith("3"):
            headers = (*headers, ("location", f"{self.origin}/push/elsewhere"))
        return Answer(int(refusal.reason), b"", headers)

    def _refusal(self, request: Request, device: str) -> str | None:
        headers = request.headers
        if not request.path.startswith(_PATH) or not device:
            return "404"
        if request.method != "POST":
            return "405"
        if not headers.get("ttl", "").isdecimal():
            return "400"  # RFC 8030, 5.2
        if "topic" in headers and not _TOPIC.match(headers["topic"]):
            return "400"
        if headers.get("urgency", "normal") not in _URGENCIES:
            return "400"
        refused = self._refusal_of_token(headers, device)
        if refused is not None:
            return refused
        if headers.get("content-encoding") != "aes128gcm":
            return "400"
        return "413" if len(request.body) > _MOST_BODY else None

    def _refusal_of_token(self, headers: Mapping[str, str], device: str) -> str | None:
        found = _VAPID.match(headers.get("authorization", ""))
        if found is None:
            return "401"
        token, key = found[1], found[2]
        if key != self.other_keys.get(device, self._vapid_public or key):
            return "403"  # RFC 8292, 4.2
        self.tokens[token] = self.tokens.get(token, 0) + 1
        try:
            point = urlsafe_b64decode(key + "=" * (-len(key) % 4))
            claims = jwt.decode(
                token,
                ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, point),
                algorithms=["ES256"],
                audience=f"https://{headers.get(':authority', '')}",
                options={"verify_exp": False, "require": ["exp", "aud", "sub"]},
            )
            until = datetime.fromtimestamp(claims["exp"], self._now().tzinfo)
        except (jwt.InvalidTokenError, TypeError, ValueError):
            return "403"
        now = self._now()
        if not str(claims["sub"]).startswith(("mailto:", "https:")) or not now < until <= now + _LONGEST_TOKEN + _SKEW:
            return "403"
        return None

    def _decrypt(self, device: str, body: bytes) -> bytes:
        private = self._keys(device)
        plaintext = http_ece.decrypt(body, private_key=private, auth_secret=_secret(device), version="aes128gcm")
        return bytes(plaintext)


@asynccontextmanager
async def open_fake_webpush(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    keep: int = 10_000,
    now: Callable[[], datetime] | None = None,
    max_streams: int = 100,
    vapid_public: str | None = None,
) -> AsyncIterator[FakeWebPush]:
    """Serve a fake push service on ``host:port`` (0: a free one) until the block ends.

    ``vapid_public`` is the only public key that it takes, when given. ``now`` is the clock by which tokens and messages
    age.
    """
    fake = FakeWebPush(keep, now or SystemClock().now, vapid_public)
    async with open_https_server(fake.handle, host=host, port=port, max_streams=max_streams) as fake.server:
        yield fake


if __name__ == "__main__":
    run_as_process("ent_notify.testing.webpush", open_fake_webpush)
