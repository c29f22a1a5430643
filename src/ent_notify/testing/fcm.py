"""A fake of Firebase Cloud Messaging (HTTP v1) and of Google's token endpoint: HTTP/2 and HTTP/1.1 over TLS.

::

    async with open_fake_fcm() as fcm:
        channel = FcmChannel(island, FcmOptions(
            service_account=fcm.service_account, base_url=fcm.base_url, ca=fcm.ca))
        fcm.next(Refuse("UNREGISTERED"), device="token-of-a-phone")
        ...
        assert fcm.counts["accepted"] == 3

It checks what Google checks (access token and its age, project, one target, field types, sizes, TTL) before it looks
at the script, and its errors are Google's JSON to the letter, FcmError and BadRequest details included. In a process
of its own: ``python -m ent_notify.testing.fcm --port 0``; the first line that it prints is JSON with ``host``,
``port``, ``base_url``, ``ca`` (PEM) and ``service_account``; then as ``ent_notify.testing.apns``.

Sources: Google, reference of ``projects.messages:send``, "FCM error codes", ``google.rpc.BadRequest``; RFC 7523.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ent_notify.clock import SystemClock
from ent_notify.testing.behaviours import Answer, Behaviour, Request
from ent_notify.testing.http2 import HttpsServer, open_https_server
from ent_notify.testing.process import run_as_process
from ent_notify.testing.scripting import Accept, Refuse, Script, Shown, outcome_of

ERRORS: Mapping[str, tuple[int, str, str]] = {
    "UNREGISTERED": (404, "NOT_FOUND", "Requested entity was not found."),
    "INVALID_ARGUMENT": (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    "SENDER_ID_MISMATCH": (403, "PERMISSION_DENIED", "SenderId mismatch"),
    "QUOTA_EXCEEDED": (429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Send requests'."),
    "UNAVAILABLE": (503, "UNAVAILABLE", "The service is currently unavailable."),
    "INTERNAL": (500, "INTERNAL", "Internal error encountered."),
    "THIRD_PARTY_AUTH_ERROR": (401, "UNAUTHENTICATED", "Auth error from APNS or Web Push Service"),
}
"""FCM's own error codes: HTTP status, google.rpc status, message. They come with an FcmError detail."""

PLATFORM_ERRORS: Mapping[str, tuple[int, str, str]] = {
    "NOT_FOUND": (404, "NOT_FOUND", "Requested entity was not found."),
    "UNAUTHENTICATED": (
        401,
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
        "authentication credential.",
    ),
    "PERMISSION_DENIED": (403, "PERMISSION_DENIED", "The caller does not have permission"),
    "DEADLINE_EXCEEDED": (504, "DEADLINE_EXCEEDED", "The request timed out. Please try again."),
}
"""Errors of Google's front door: the same form, without an FcmError detail."""

_TYPES = "type.googleapis.com/"
_LONGEST_TTL = 28 * 86_400
_TARGETS = ("token", "fid", "topic", "condition")
_RESERVED = ("google.", "gcm.")


@dataclass(frozen=True, slots=True)
class FcmRequest:
    """One message as FCM got it. ``kind`` is ``token`` or ``fid``; ``order`` counts from 1 over all connections."""

    order: int
    at: datetime
    connection: int
    device: str
    kind: str
    message: Mapping[str, Any]
    headers: Mapping[str, str]
    body: bytes


class FakeFcm(Script[FcmRequest]):
    """See the module. Made by ``open_fake_fcm``."""

    def __init__(self, keep: int, project: str, now: Callable[[], datetime], token_life: timedelta) -> None:
        super().__init__(keep)
        self.project = project
        self.access_tokens: dict[str, datetime] = {}
        """Access tokens handed out, and when each ends."""
        self.token_requests = 0
        self.on_token: Callable[[int], Behaviour | None] | None = None
        """For faults of the token endpoint: given its n-th request, what to do; None answers it."""
        self.server: HttpsServer
        self._now = now
        self._token_life = token_life
        self._key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)

    @property
    def host(self) -> str:
        """Where it listens."""
        return self.server.host

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port

    @property
    def base_url(self) -> str:
        """What stands in the place of ``https://fcm.googleapis.com``."""
        return f"https://{self.host}:{self.port}"

    @property
    def service_account(self) -> dict[str, str]:
        """A service account file that this fake accepts, as a dict."""
        key = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return {
            "type": "service_account",
            "project_id": self.project,
            "private_key_id": "0001",
            "private_key": key,
            "client_email": f"sender@{self.project}.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": f"{self.base_url}/token",
        }

    @property
    def ca(self) -> str:
        """The certificate authority that clients of this fake must trust, in PEM."""
        return self.server.ca_pem

    def revoke_access_tokens(self) -> None:
        """No access token handed out so far is valid any more."""
        self.access_tokens = dict.fromkeys(self.access_tokens, self._now())

    def describe(self) -> dict[str, Any]:
        """The line that a process of its own prints first."""
        return {
            "host": self.host,
            "port": self.port,
            "base_url": self.base_url,
            "ca": self.ca,
            "service_account": self.service_account,
        }

    # ------------------------------------------------------------------ a request

    def handle(self, request: Request) -> Behaviour:
        """What the server does on ``request``."""
        if request.path == "/token":
            return self._give_token(request)
        self.received += 1
        message = _message(request.body)
        kind = next((target for target in _TARGETS if target in message), "")
        device = str(message.get(kind, ""))
        push = FcmRequest(
            self.received, self._now(), request.connection, device, kind, message, request.headers, request.body
        )
        self.requests.append(push)
        refusal = self._refusal(request, message)
        return self._refuse(refusal) if refusal is not None else self._scripted(push)

    def _scripted(self, push: FcmRequest) -> Behaviour:
        step = self.step_for(push.device, push)
        match step:
            case Accept():
                return self._accept(push)
            case Refuse():
                return self._refuse(step)
            case Shown(then):
                self._accept(push)
                return then
            case _:
                self.counts[outcome_of(step)] += 1
                return step

    def _accept(self, push: FcmRequest) -> Answer:
        self.counts["accepted"] += 1
        android = push.message.get("android", {})
        place = android.get("notification", {}).get("tag") or android.get("collapse_key") or str(push.order)
        self.show(push.device, place, push)
        name = f"projects/{self.project}/messages/0:{push.order:016d}"
        return Answer(200, orjson.dumps({"name": name}), (("content-type", "application/json; charset=UTF-8"),))

    def _refuse(self, refusal: Refuse) -> Answer:
        self.counts[refusal.reason] += 1
        default = (refusal.status or 500, "UNKNOWN", refusal.reason)
        status, rpc_status, text = ERRORS.get(refusal.reason) or PLATFORM_ERRORS.get(refusal.reason) or default
        error: dict[str, Any] = {"code": refusal.status or status, "message": text, "status": rpc_status}
        details: list[dict[str, Any]] = []
        if refusal.reason in ERRORS:
            details.append({"@type": _TYPES + "google.firebase.fcm.v1.FcmError", "errorCode": refusal.reason})
        if refusal.field is not None:
            violation = {"field": refusal.field, "description": f"Invalid value at '{refusal.field}'"}
            details.append({"@type": _TYPES + "google.rpc.BadRequest", "fieldViolations": [violation]})
        if details:
            error["details"] = details
        headers = [("content-type", "application/json; charset=UTF-8")]
        if refusal.retry_after is not None:
            headers.append(("retry-after", str(refusal.retry_after)))
        return Answer(error["code"], orjson.dumps({"error": error}, option=orjson.OPT_INDENT_2), tuple(headers))

    def _refusal(self, request: Request, message: Mapping[str, Any]) -> Refuse | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        ends = self.access_tokens.get(token)
        if scheme.lower() != "bearer" or ends is None or ends <= self._now():
            return Refuse("UNAUTHENTICATED")
        if request.method != "POST" or request.path != f"/v1/projects/{self.project}/messages:send":
            return Refuse("NOT_FOUND")
        if len([target for target in _TARGETS if target in message]) != 1:
            return Refuse("INVALID_ARGUMENT", field="message")
        return _refusal_of_content(message)

    # ------------------------------------------------------------------ the token endpoint

    def _give_token(self, request: Request) -> Behaviour:
        self.token_requests += 1
        scripted = self.on_token(self.token_requests) if self.on_token else None
        if scripted is not None:
            return scripted
        form = parse_qs(request.body.decode("ascii", "replace"))
        try:
            claims = jwt.decode(
                form["assertion"][0],
                self._key.public_key(),
                algorithms=["RS256"],
                options={"verify_aud": False, "verify_iat": False, "require": ["iat", "exp", "iss", "scope"]},
            )
            if claims["iss"] != self.service_account["client_email"]:
                raise jwt.InvalidIssuerError("unknown service account")
        except (KeyError, jwt.InvalidTokenError) as error:
            body = {"error": "invalid_grant", "error_description": f"Invalid JWT: {error}"}
            return Answer(400, orjson.dumps(body), (("content-type", "application/json"),))
        token = f"ya29.fake-{self.token_requests}"
        self.access_tokens[token] = self._now() + self._token_life
        life = int(self._token_life.total_seconds())
        body_ok = {"access_token": token, "expires_in": life, "token_type": "Bearer"}
        return Answer(200, orjson.dumps(body_ok), (("content-type", "application/json"),))


def _message(body: bytes) -> Mapping[str, Any]:
    try:
        message = orjson.loads(body)["message"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return {}
    return message if isinstance(message, dict) else {}


def _refusal_of_content(message: Mapping[str, Any]) -> Refuse | None:
    for target in ("token", "fid"):
        if target in message and (not isinstance(message[target], str) or not message[target]):
            return Refuse("INVALID_ARGUMENT", field=f"message.{target}")
    data = message.get("data", {})
    if not all(isinstance(value, str) for value in data.values()):
        return Refuse("INVALID_ARGUMENT", field="message.data")
    if any(key == "from" or key.startswith(_RESERVED) for key in data):
        return Refuse("INVALID_ARGUMENT", field="message.data")
    android = message.get("android", {})
    ttl = android.get("ttl", "0s")
    if not (ttl.endswith("s") and ttl[:-1].replace(".", "", 1).isdecimal() and float(ttl[:-1]) <= _LONGEST_TTL):
        return Refuse("INVALID_ARGUMENT", field="message.android.ttl")
    payload = {"data": data, "n": message.get("notification", {}), "a": android.get("notification", {})}
    if len(orjson.dumps(payload)) > 4_096 + len(orjson.dumps({"data": {}, "n": {}, "a": {}})):
        return Refuse("INVALID_ARGUMENT", field="message")  # "Android message is too big"
    return None


@asynccontextmanager
async def open_fake_fcm(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    keep: int = 10_000,
    project: str = "example-ent",
    now: Callable[[], datetime] | None = None,
    token_life: timedelta = timedelta(hours=1),
    max_streams: int = 100,
    strict_headers: bool = True,
) -> AsyncIterator[FakeFcm]:
    """Serve a fake FCM on ``host:port`` (0: a free one) until the block ends.

    ``now`` is the clock by which access tokens (of ``token_life`` each) age; ``max_streams`` is the limit that each
    HTTP/2 connection announces.
    """
    fake = FakeFcm(keep, project, now or SystemClock().now, token_life)
    async with open_https_server(
        fake.handle, host=host, port=port, max_streams=max_streams, strict=strict_headers
    ) as fake.server:
        yield fake


if __name__ == "__main__":
    run_as_process("ent_notify.testing.fcm", open_fake_fcm)
