"""A town with its API, asked over ASGI in memory, and tokens as a host signs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from joserfc import jwt
from joserfc.jwk import ECKey

from ent_notify.asgi import Api
from ent_notify.engine import Engine

ISSUER = "https://ent.example"
AUDIENCE = "ent-notify"
NOW = datetime(2026, 9, 8, 8, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Signer:
    """A host's key, with its kid."""

    kid: str
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256"))

    def public(self) -> dict[str, Any]:
        return {**self.key.as_dict(private=False), "kid": self.kid, "use": "sig", "alg": "ES256"}

    def token(self, person: str, now: datetime = NOW, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token for ``person``; ``claims`` replace the usual ones, None takes one out."""
        issued = int(now.timestamp())
        usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": person, "iat": issued, "exp": issued + 600}
        payload = {name: value for name, value in (usual | claims).items() if value is not None}
        return jwt.encode({"alg": "ES256", "kid": self.kid} | (header or {}), payload, self.key, algorithms=["ES256"])


def write_keys(file: Path, *signers: Signer) -> None:
    file.write_bytes(orjson.dumps({"keys": [signer.public() for signer in signers]}))


@dataclass(frozen=True)
class Got:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class House:
    """The API on an engine, and whom a request comes from."""

    api: Api
    engine: Engine
    signer: Signer

    async def ask(
        self,
        method: str,
        target: str,
        json: Any = None,
        *,
        person: str | None = None,
        token: str | None = None,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        root: str = "",
    ) -> Got:
        """One request, as a server hands it over: the body in two parts."""
        path, _, query = target.partition("?")
        sent = dict(headers or {})
        if person is not None:
            token = self.signer.token(person, self.engine.clock.now())
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        if json is not None:
            body = orjson.dumps(json)
            sent.setdefault("content-type", "application/json")
        body = body or b""
        half = len(body) // 2
        messages = [
            {"type": "http.request", "body": body[:half], "more_body": True},
            {"type": "http.request", "body": body[half:]},
        ]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "method": method,
            "path": root + path,
            "root_path": root,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
        }
        answers: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            answers.append(message)

        await self.api(scope, receive, send)
        if not answers:
            return Got(0, {}, b"")
        start, end = answers
        return Got(start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, end["body"])

    async def get(self, target: str, person: str) -> Any:
        got = await self.ask("GET", target, person=person)
        assert got.status == 200, got
        return got.json

    async def post(self, target: str, person: str, json: Any = None) -> Any:
        got = await self.ask("POST", target, json, person=person)
        assert got.status in (200, 201), got
        return got.json
