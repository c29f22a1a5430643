"""A fake of Apple's push service that speaks its real protocol: HTTP/2 over TLS, provider tokens, every error.

::

    async with open_fake_apns() as apns:
        channel = ApnsChannel(island, ApnsOptions(
            host=apns.host, port=apns.port, ca=apns.ca,
            team_id=apns.team_id, key_id=apns.key_id, key=apns.key, topic=apns.topic))
        apns.next(Refuse("Unregistered"), device="a1b2...")
        ...
        assert apns.counts["accepted"] == 3

It checks what Apple checks (provider token and its age, topic, token form, headers, payload size) before it looks at
the script. In a process of its own: ``python -m ent_notify.testing.apns --port 0``; the first line that it prints is
JSON with ``host``, ``port``, ``ca`` (PEM), ``key``, ``key_id``, ``team_id`` and ``topic``; then each line on its
standard input makes it print its counters, and the end of the input ends it.

Sources: Apple, "Sending notification requests to APNs", "Handling notification responses from APNs",
"Establishing a token-based connection to APNs".
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ent_notify.clock import SystemClock
from ent_notify.testing.behaviours import Answer, Behaviour, Limit, Request
from ent_notify.testing.http2 import HttpsServer, open_https_server
from ent_notify.testing.process import run_as_process
from ent_notify.testing.scripting import Accept, Refuse, Script, Shown, epoch_milliseconds, outcome_of

STATUS_OF_REASON: Mapping[str, int] = {
    "BadCollapseId": 400,
    "BadDeviceToken": 400,
    "BadExpirationDate": 400,
    "BadMessageId": 400,
    "BadPriority": 400,
    "BadTopic": 400,
    "DeviceTokenNotForTopic": 400,
    "DuplicateHeaders": 400,
    "IdleTimeout": 400,
    "InvalidPushType": 400,
    "MissingDeviceToken": 400,
    "MissingTopic": 400,
    "PayloadEmpty": 400,
    "TopicDisallowed": 400,
    "BadCertificate": 403,
    "BadCertificateEnvironment": 403,
    "BadEnvironmentKeyIdInToken": 403,
    "ExpiredProviderToken": 403,
    "Forbidden": 403,
    "InvalidProviderToken": 403,
    "MissingProviderToken": 403,
    "UnrelatedKeyIdInToken": 403,
    "BadPath": 404,
    "MethodNotAllowed": 405,
    "ExpiredToken": 410,
    "Unregistered": 410,
    "PayloadTooLarge": 413,
    "TooManyProviderTokenUpdates": 429,
    "TooManyRequests": 429,
    "InternalServerError": 500,
    "ServiceUnavailable": 503,
    "Shutdown": 503,
}
"""Every documented error of APNs."""

_PUSH_TYPES = frozenset(
    {"alert", "background", "location", "voip", "complication", "fileprovider", "mdm", "liveactivity", "pushtotalk"}
)
_DEVICE = re.compile(r"[0-9a-fA-F]{64,200}\Z")
_PATH = "/3/device/"
_TOKEN_LIFE = timedelta(hours=1)
_TOKEN_REST = timedelta(minutes=20)


@dataclass(frozen=True, slots=True)
class ApnsRequest:
    """One push as APNs got it. ``order`` counts from 1 over all connections."""

    order: int
    at: datetime
    connection: int
    device: str
    apns_id: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def payload(self) -> dict[str, Any]:
        """The JSON payload."""
        payload: dict[str, Any] = orjson.loads(self.body)
        return payload


class FakeApns(Script[ApnsRequest]):
    """See the module. Made by ``open_fake_apns``."""

    def __init__(self, keep: int, topic: str, now: Callable[[], datetime], max_streams: int, strict_tokens: bool):
        super().__init__(keep)
        self.topic = topic
        self.team_id = "TEAM000001"
        self.key_id = "KEY0000001"
        self.provider_tokens: dict[str, datetime] = {}
        """Distinct provider tokens, and when each came first."""
        self.server: HttpsServer
        self._now = now
        self._max_streams = max_streams
        self._strict_tokens = strict_tokens
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._issued: dict[str, datetime] = {}
        self._in_use: dict[int, str] = {}
        self._expired: set[str] = set()
        self._renewable: set[str] = set()  # those that we called expired: a new one right after is no update too many

    @property
    def host(self) -> str:
        """Where it listens."""
        return self.server.host

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port

    @property
    def key(self) -> str:
        """The signing key that it accepts, as the .p8 file that Apple hands out (PEM)."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    @property
    def ca(self) -> str:
        """The certificate authority that clients of this fake must trust, in PEM."""
        return self.server.ca_pem

    def expire_provider_tokens(self) -> None:
        """Every provider token seen so far is too old from now on."""
        self._expired.update(self.provider_tokens)

    def describe(self) -> dict[str, Any]:
        """The line that a process of its own prints first."""
        return {
            "host": self.host,
            "port": self.port,
            "ca": self.ca,
            "key": self.key,
            "key_id": self.key_id,
            "team_id": self.team_id,
            "topic": self.topic,
        }

    # ------------------------------------------------------------------ a request

    def handle(self, request: Request) -> Behaviour:
        """What the server does on ``request``."""
        now, headers = self._now(), request.headers
        self.received += 1
        apns_id = headers.get("apns-id") or str(uuid4())
        device = request.path.removeprefix(_PATH)
        push = ApnsRequest(self.received, now, request.connection, device, apns_id, headers, request.body)
        self.requests.append(push)
        first = request.connection not in self._in_use
        refused = self._refusal_of_token(request.connection, headers, now) or self._refusal(request, push)
        behaviour = self._refuse(push, Refuse(refused)) if refused else self._scripted(push)
        if first and request.connection in self._in_use:
            # One stream until the connection has shown a provider token, then what SETTINGS says.
            return Limit(self._max_streams, behaviour)
        return behaviour

    def _scripted(self, push: ApnsRequest) -> Behaviour:
        step = self.step_for(push.device, push)
        match step:
            case Accept():
                return self._accept(push)
            case Refuse():
                return self._refuse(push, step)
            case Shown(then):
                self._accept(push)
                return then
            case _:
                self.counts[outcome_of(step)] += 1
                return step

    def _accept(self, push: ApnsRequest) -> Answer:
        self.counts["accepted"] += 1
        self.show(push.device, push.headers.get("apns-collapse-id", push.apns_id), push)
        return Answer(200, headers=(("apns-id", push.apns_id),))

    def _refuse(self, push: ApnsRequest, refusal: Refuse) -> Answer:
        self.counts[refusal.reason] += 1
        if refusal.reason == "ExpiredProviderToken":
            self._renewable.add(push.headers["authorization"].partition(" ")[2])
        status = refusal.status or STATUS_OF_REASON[refusal.reason]
        body: dict[str, Any] = {"reason": refusal.reason}
        if status == 410:
            body["timestamp"] = epoch_milliseconds(refusal.timestamp or push.at)
        headers = [("apns-id", push.apns_id)]
        if refusal.retry_after is not None:
            headers.append(("retry-after", str(refusal.retry_after)))
        return Answer(status, orjson.dumps(body), tuple(headers))

    def _refusal(self, request: Request, push: ApnsRequest) -> str | None:
        headers = request.headers
        if request.method != "POST":
            return "MethodNotAllowed"
        if not request.path.startswith(_PATH):
            return "BadPath"
        if not push.device:
            return "MissingDeviceToken"
        if not _DEVICE.match(push.device):
            return "BadDeviceToken"
        if "apns-topic" not in headers:
            return "MissingTopic"
        if headers["apns-topic"] != self.topic:
            return "DeviceTokenNotForTopic"
        if headers.get("apns-push-type", "alert") not in _PUSH_TYPES:
            return "InvalidPushType"
        if headers.get("apns-priority", "10") not in ("1", "5", "10"):
            return "BadPriority"
        if not headers.get("apns-expiration", "0").isdecimal():
            return "BadExpirationDate"
        if len(headers.get("apns-collapse-id", "").encode()) > 64:
            return "BadCollapseId"
        if "apns-id" in headers and not _is_uuid(headers["apns-id"]):
            return "BadMessageId"
        if not push.body:
            return "PayloadEmpty"
        if len(push.body) > (5_120 if headers.get("apns-push-type") == "voip" else 4_096):
            return "PayloadTooLarge"
        return None

    def _refusal_of_token(self, connection: int, headers: Mapping[str, str], now: datetime) -> str | None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return "MissingProviderToken"
        issued = self._issued.get(token)
        if issued is None:
            issued = self._read(token)
            if issued is None or issued > now + timedelta(minutes=5):
                return "InvalidProviderToken"
            self._issued[token] = issued
        if now - issued > _TOKEN_LIFE or token in self._expired:
            self._note(token, now)
            return "ExpiredProviderToken"
        if self._in_use.get(connection) != token:
            if token not in self.provider_tokens and self._updated_lately(connection, now):
                self.provider_tokens[token] = now
                return "TooManyProviderTokenUpdates"
            self._note(token, now)
            self._in_use[connection] = token
        return None

    def _note(self, token: str, now: datetime) -> None:
        self.provider_tokens.setdefault(token, now)

    def _updated_lately(self, connection: int, now: datetime) -> bool:
        """Whether one more new token would be the second update within 20 minutes, on its connection or (strict)
        over all connections. The first token is not an update."""
        last = self._in_use.get(connection)
        if self._strict_tokens:
            times = sorted(at for token, at in self.provider_tokens.items() if token not in self._renewable)[1:]
        else:
            times = [] if last is None or last in self._renewable else [self.provider_tokens[last]]
        return bool(times) and now - times[-1] < _TOKEN_REST

    def _read(self, token: str) -> datetime | None:
        try:
            if jwt.get_unverified_header(token).get("kid") != self.key_id:
                return None
            claims = jwt.decode(
                token, self._key.public_key(), algorithms=["ES256"], options={"verify_iat": False, "require": ["iat"]}
            )
            return datetime.fromtimestamp(claims["iat"], self._now().tzinfo) if claims["iss"] == self.team_id else None
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
            return None


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


@asynccontextmanager
async def open_fake_apns(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    keep: int = 10_000,
    topic: str = "fr.example.ent",
    now: Callable[[], datetime] | None = None,
    max_streams: int = 1_000,
    streams_before_auth: int = 1,
    strict_tokens: bool = False,
    strict_headers: bool = True,
) -> AsyncIterator[FakeApns]:
    """Serve a fake APNs on ``host:port`` (0: a free one) until the block ends.

    ``streams_before_auth`` is the limit of a connection until it has shown a valid provider token, ``max_streams``
    the limit after. ``strict_tokens`` counts provider token updates over all connections, not on each. ``now`` is
    the clock by which tokens age.
    """
    fake = FakeApns(keep, topic, now or SystemClock().now, max_streams, strict_tokens)
    async with open_https_server(
        fake.handle, host=host, port=port, max_streams=streams_before_auth, strict=strict_headers
    ) as fake.server:
        yield fake


if __name__ == "__main__":
    run_as_process("ent_notify.testing.apns", open_fake_apns)
