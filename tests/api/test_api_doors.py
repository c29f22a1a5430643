"""Who is let in, and what is refused: tokens, other people's things, malformed requests, origins, writes too often."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from ent_notify.asgi.auth import Tokens, read_keys
from ent_notify.asgi.limits import PersonLimit
from ent_notify.asgi.router import Route
from ent_notify.asgi.routes import ROUTES
from ent_notify.asgi.tokens import TokenRefused, open_tokens
from ent_notify.errors import SettingsError
from ent_notify.model.audience import Everyone, Person
from ent_notify.model.events import Announcement
from ent_notify.settings import ApiSettings

from .api_house import AUDIENCE, ISSUER, NOW, House, Signer, write_keys
from .conftest import Open

# ------------------------------------------------------------------ tokens


@pytest.fixture
def tokens(keys: Path) -> Tokens:
    return Tokens(ApiSettings(keys_file=keys, issuer=ISSUER, audience=AUDIENCE))


def seconds(**delta: float) -> int:
    return int((NOW + timedelta(**delta)).timestamp())


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    return f"{b64(orjson.dumps(header))}.{b64(orjson.dumps(claims))}.{b64(signature)}"


CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "sub": "P1", "iat": seconds(), "exp": seconds(seconds=600)}


def test_a_good_token_says_who_it_is(tokens: Tokens, signer: Signer) -> None:
    assert tokens.person(signer.token("P1"), NOW) == "P1"
    assert tokens.person(signer.token("P1", aud=["other", AUDIENCE]), NOW) == "P1"
    assert tokens.person(signer.token("P1", header={"typ": "at+jwt"}), NOW) == "P1"
    # the leeway, on both sides
    assert tokens.person(signer.token("P1"), NOW + timedelta(seconds=629)) == "P1"
    assert tokens.person(signer.token("P1"), NOW - timedelta(seconds=30)) == "P1"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": seconds(seconds=-30)}, "expired"),
        ({"iat": seconds(seconds=31), "exp": seconds(seconds=600)}, "early"),
        ({"nbf": seconds(seconds=31)}, "early"),
        ({"exp": seconds(seconds=3601)}, "life"),
        ({"exp": None}, "times"),
        ({"iat": None}, "times"),
        ({"exp": str(seconds(seconds=600))}, "times"),
        ({"exp": True}, "times"),
        ({"exp": float("inf")}, "signature"),
        ({"iss": "https://other.example"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"aud": "other"}, "audience"),
        ({"aud": []}, "audience"),
        ({"aud": None}, "audience"),
        ({"sub": None}, "subject"),
        ({"sub": ""}, "subject"),
        ({"sub": 1}, "subject"),
        ({"sub": "P\0"}, "subject"),
        ({"sub": "x" * 201}, "subject"),
    ],
)
def test_a_claim_that_is_wrong(tokens: Tokens, signer: Signer, claims: dict[str, Any], reason: str) -> None:
    with pytest.raises(TokenRefused) as refused:
        tokens.person(signer.token("P1", **claims), NOW)
    assert refused.value.reason == f"token.{reason}"


def forged(signer: Signer, keys: Path) -> dict[str, tuple[str, str]]:
    """Tokens of people who have the public key set and no private key of ours: (token, reason)."""
    header = {"alg": "ES256", "kid": signer.kid}
    public_pem = signer.key.as_pem(private=False)
    signing_input = unsigned({"alg": "HS256", "kid": signer.kid}, CLAIMS).rpartition(".")[0]
    hs256 = {
        name: f"{signing_input}.{b64(hmac.digest(secret, signing_input.encode(), hashlib.sha256))}"
        for name, secret in {
            "HS256 with the public key as PEM": public_pem,
            "HS256 with the public key set": keys.read_bytes(),
            "HS256 with a coordinate": orjson.dumps(signer.public()["x"]),
        }.items()
    }
    good = signer.token("P1")
    other = ECKey.generate_key("P-256")
    head, payload, signature = good.split(".")
    embedded = {"alg": "ES256", "kid": signer.kid, "jwk": other.as_dict(private=False)}
    return {
        **{name: (token, "algorithm") for name, token in hs256.items()},
        "alg none": (unsigned({"alg": "none", "kid": signer.kid}, CLAIMS), "algorithm"),
        "alg None, signed with nothing": (unsigned({"alg": "None", "kid": signer.kid}, CLAIMS), "algorithm"),
        "no alg": (unsigned({"kid": signer.kid}, CLAIMS, b"x" * 64), "signature"),
        "no signature": (unsigned(header, CLAIMS), "signature"),
        "an all-zero signature": (unsigned(header, CLAIMS, bytes(64)), "signature"),
        "another's payload": (f"{head}.{unsigned({}, CLAIMS | {'sub': 'P2'}).split('.')[1]}.{signature}", "signature"),
        "another key, our kid": (
            jwt.encode(header, CLAIMS, other, algorithms=["ES256"]),
            "signature",
        ),
        "a key in the header": (jwt.encode(embedded, CLAIMS, other, algorithms=["ES256"]), "header"),
        "EdDSA": (
            unsigned({"alg": "EdDSA", "kid": signer.kid}, CLAIMS, OKPKey.generate_key("Ed25519").as_bytes()[:64]),
            "algorithm",
        ),
        "RS256": (
            jwt.encode({"alg": "RS256", "kid": signer.kid}, CLAIMS, RSAKey.generate_key(2048), algorithms=["RS256"]),
            "algorithm",
        ),
        "an unknown kid": (signer.token("P1", header={"kid": "2020-01"}), "unknown_key"),
        "a kid that is no text": (unsigned({"alg": "ES256", "kid": ["x"]}, CLAIMS, b"x" * 64), "unknown_key"),
        "crit": (signer.token("P1").replace(head, b64(orjson.dumps(header | {"crit": ["exp"], "exp": 1}))), "header"),
        "b64 false": (unsigned(header | {"b64": False}, CLAIMS, b"x" * 64), "signature"),
        "another type": (signer.token("P1", header={"typ": "secevent+jwt"}), "header"),
        "a header that is no object": (f"{b64(b'[]')}.{payload}.{signature}", "signature"),
        "no JSON": (f"{b64(b'{')}.{payload}.{signature}", "signature"),
        "five parts": (f"{good}.a.b", "malformed"),
        "nothing": ("..", "signature"),
        "too long": (f"{good}{'A' * 4096}", "malformed"),
        "not ASCII": (f"{good}é", "malformed"),
    }


def test_no_forgery_passes(tokens: Tokens, signer: Signer, keys: Path) -> None:
    for name, (token, reason) in forged(signer, keys).items():
        with pytest.raises(TokenRefused) as refused:
            tokens.person(token, NOW)
        assert refused.value.reason == f"token.{reason}", name


def test_keys_are_rotated_without_a_restart(tokens: Tokens, signer: Signer, keys: Path) -> None:
    new = Signer("2026-10")

    def rewrite(*signers: Signer, at: int) -> None:
        write_keys(keys, *signers)
        os.utime(keys, ns=(at, at))

    with pytest.raises(TokenRefused):
        tokens.person(new.token("P1"), NOW)
    rewrite(signer, new, at=1)
    assert tokens.person(new.token("P1"), NOW) == tokens.person(signer.token("P1"), NOW) == "P1"
    rewrite(new, at=2)
    assert tokens.person(new.token("P1"), NOW) == "P1"
    with pytest.raises(TokenRefused, match="kid"):
        tokens.person(signer.token("P1"), NOW)
    # a file that is half written, or gone, shuts nobody out, and lets nobody more in
    keys.write_bytes(b'{"keys": [')
    assert tokens.person(new.token("P1"), NOW) == "P1"
    assert tokens.trouble is not None
    keys.unlink()
    assert tokens.person(new.token("P1"), NOW) == "P1"
    rewrite(signer, at=3)
    assert tokens.person(signer.token("P1"), NOW) == "P1" and tokens.trouble is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no key set"),
        (b"[]", "no key set"),
        (b'{"keys": []}', "no key set"),
        (b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "a"}]}', "no key for ES256"),
        (b'{"keys": [{"kty": "EC", "crv": "P-256", "kid": "a", "d": "x"}]}', "private key"),
        (b'{"keys": [{"kty": "EC", "crv": "P-256", "kid": "a", "alg": "ES384"}]}', "something else"),
        (b'{"keys": [{"kty": "EC", "crv": "P-256"}]}', "no kid of its own"),
        (b'{"keys": [{"kty": "EC", "crv": "P-256", "kid": "a", "x": "AAAA", "y": "AAAA"}]}', "damaged"),
    ],
)
def test_a_key_file_that_cannot_be_used_is_told_at_the_start(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "bad.json"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=says):
        open_tokens(ApiSettings(keys_file=file, issuer=ISSUER))
    with pytest.raises(SettingsError, match="cannot be read"):
        read_keys(tmp_path / "missing.json")


async def test_the_client_learns_nothing_and_the_operator_the_reason(
    house: House, signer: Signer, keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = [await house.ask("GET", "/v1/inbox")]
    for token, _ in forged(signer, keys).values():
        if token.isascii():
            asked.append(await house.ask("GET", "/v1/inbox", token=token))
    answers = {(got.status, got.body, got.headers["www-authenticate"]) for got in asked}
    assert len(answers) == 1
    ((status, body, challenge),) = answers
    assert status == 401 and challenge == "Bearer" and orjson.loads(body)["title"] == "Not authenticated"
    lines = [orjson.loads(record.getMessage()) for record in caplog.records if "token_refused" in record.getMessage()]
    reasons = [line["reason"] for line in lines]
    assert set(reasons) == {f"token.{r}" for r in ("algorithm", "signature", "header", "unknown_key", "malformed")}
    assert len(reasons) == len(set(reasons)), "one line for each reason in a minute"


async def test_a_token_of_somebody_who_has_left_or_never_was(house: House) -> None:
    answers = {(await house.ask("GET", "/v1/inbox", person=person)).body for person in ("P6", "nobody")}
    assert len(answers) == 1 and orjson.loads(answers.pop())["status"] == 403


async def test_without_keys_nobody_is_let_in(open_house: Open) -> None:
    async with open_house(api={"keys_file": None}) as house:
        assert (await house.ask("GET", "/v1/inbox", person="P1")).status == 401
        assert (await house.ask("GET", "/v1/openapi.json")).status == 200


# ------------------------------------------------------------------ other people's things


BODIES: dict[str, Any] = {
    "ReadMarks": {"seqs": [1]},
    "ReadUpTo": {"upto": 1},
    "DeviceBody": {"provider": "fcm", "app": "fr.ent", "token": "another"},
    "DeviceToken": {"provider": "fcm", "token": "tok-12"},
    "Choices": {"preferences": [{"category": "homework", "channel": "email", "enabled": False}]},
    "NewConversation": {"to": ["P21"], "subject": "S", "body": "B"},
    "NewMessage": {"body": "I am a stranger"},
    "ReadTo": {"seq": 1},
    "DraftBody": {"body": "B"},
    "Blocking": {"person": "P12", "blocked": True},
    "RequestBody": {"kind": "erase"},
    "Look": {"stream": "a.1", "visible": True},
    "Seen": {"upto": 1},
    "SyncWrites": {
        "writes": [
            {"client_id": "a", "kind": "acknowledge", "notification": 1},
            {"client_id": "b", "kind": "post", "conversation": 1, "body": "I am a stranger"},
            {"client_id": "c", "kind": "read_conversation", "conversation": 1, "upto": 1},
        ]
    },
}
"""A body of each kind, that names things of P12."""
QUERIES = {"GET /v1/search": "?words=Bonjour"}
NOTHING = (
    b'{"type":"about:blank","title":"Not found","status":404,"detail":"There is no such thing, or it is not yours."}'
)


def sent(route: Route) -> Any:
    return BODIES[route.body.__name__] if route.body else None


async def dump(house: House, person: str) -> list[Any]:
    """Everything that a person can see of their own."""
    conversation = await house.engine.conversation(1, await house.engine.reader("P12"))
    return [
        conversation,
        *[await house.get(path, person) for path in ("/v1/inbox", "/v1/inbox/unread", "/v1/preferences")],
        await house.engine.personal.acknowledgements(1),
        await house.engine.drop_device("P12", "fcm", "nothing"),  # type: ignore[arg-type]  # a provider's name does
    ]


async def test_no_route_touches_another_persons_things_nor_tells_that_they_are_there(house: House) -> None:
    """Every route whose path names nothing, asked by P1: nothing of P12's is told or changed. The others are asked in
    ``test_api_strangers``."""
    await house.engine.publish(Announcement(key="a", audience=Person("P12"), title="T", body="B"))
    await house.engine.worker("relay").run_until_idle()
    conversation, _ = await house.engine.start_conversation("P21", ["P12"], "Sortie", "Bonjour")
    assert conversation == 1
    before = await dump(house, "P12")
    for route in ROUTES:
        if not isinstance(route, Route) or "{" in route.path:
            continue
        label = f"{route.method} {route.path}"
        got = await house.ask(route.method, route.path + QUERIES.get(label, ""), sent(route), person="P1")
        if route.path.startswith("/v1/officer/"):
            assert (got.status, got.body) == (404, NOTHING), label
        elif label == "POST /v1/devices/drop":
            nothing = await house.ask(route.method, route.path, {**sent(route), "token": "none"}, person="P1")
            assert got.status == nothing.status == 404
            assert got.body == nothing.body == NOTHING and got.headers == nothing.headers
        else:
            assert got.status < 300, (label, got)
    assert await dump(house, "P12") == before
    assert await house.engine.drop_device("P12", "fcm", "tok-12")  # type: ignore[arg-type]  # a provider's name does
    assert (await house.get("/v1/inbox", "P1"))["entries"] == []
    # what is not even a route, or no number: the same bytes again
    for path in ("/v1/conversations/0", "/v1/conversations/x", "/v1/nothing", "/", "/v1/conversations/1/x"):
        assert (await house.ask("GET", path, person="P1")).body == NOTHING, path


async def test_every_route_for_a_person_asks_for_a_token(house: House) -> None:
    for route in ROUTES:
        if isinstance(route, Route):
            path = re.sub(r"\{\w+\}", "1", route.path)
            assert (await house.ask(route.method, path, {} if route.body else None)).status == 401, path


# ------------------------------------------------------------------ malformed requests


MALFORMED = [
    (b'{"to":["P21"],"subject":"S","body":"B","boddy":"x"}', "/boddy", "did you mean body?"),
    (b'{"to":["P21"],"subject":"S","body":"B","\\u0000":1}', "/\0", "is not a field here; take it out"),
    (b'{"to":["P21"],"subject":"S"}', "/body", "is missing; give it"),
    (b'{"to":["P21"],"subject":"S","body":"a\\u0000b"}', "/body", "it holds a NUL character"),
    (b'{"to":["P\\u0000"],"subject":"S","body":"B"}', "/to/0", "it holds a NUL character"),
    (b'{"to":["P21"],"subject":"S","body":1}', "/body", "input should be a valid string"),
    (b'{"to":"P21","subject":"S","body":"B"}', "/to", "input should be a valid array"),
    (b"[]", "", "input should be an object"),
]
REFUSED = [
    (b'{"to":["P21"],"subject":" ","body":"B"}', "subject"),
    (b'{"to":[],"subject":"S","body":"B"}', "name a person or a group"),
]
"""What a conversation's shape asks for."""


async def test_a_body_that_is_not_as_declared(house: House) -> None:
    json = {"content-type": "application/json"}
    for body, pointer, says in MALFORMED:
        got = await house.ask("POST", "/v1/conversations", body=body, person="P11", headers=json)
        assert got.status == 422 and got.headers["content-type"] == "application/problem+json"
        (fault,) = got.json["errors"]
        assert fault["pointer"] == pointer and says in fault["detail"], body
    for body, says in REFUSED:
        got = await house.ask("POST", "/v1/conversations", body=body, person="P11", headers=json)
        assert got.status == 422 and got.headers["content-type"] == "application/problem+json"
        assert says in got.json["detail"], (body, got.json)


async def test_what_is_no_request_of_ours(house: House) -> None:
    async def status(method: str, target: str, **rest: Any) -> int:
        got = await house.ask(method, target, person="P1", **rest)
        assert got.headers["content-type"] == "application/problem+json" and got.headers["cache-control"] == "no-store"
        return got.status

    json = {"content-type": "application/json"}
    assert await status("POST", "/v1/inbox/read", body=b"{", headers=json) == 400
    assert await status("POST", "/v1/inbox/read", body=b'{"seqs":[1]}') == 415
    assert await status("POST", "/v1/inbox/read", body=b" " * 65_537, headers=json) == 413
    assert await status("POST", "/v1/inbox/read", body=b"x", headers={**json, "content-length": "9" * 30}) == 413
    assert await status("POST", "/v1/inbox/read", body=b'{"seqs":[1.5]}', headers=json) == 422
    assert await status("POST", "/v1/inbox/read", body=b'{"seqs":["1"]}', headers=json) == 422
    assert await status("POST", "/v1/streams/ticket", body=b"{}", headers=json) == 422
    assert await status("GET", "/v1/inbox?limit=101") == 422
    assert await status("GET", "/v1/inbox?limit=1_0") == 422
    assert await status("GET", "/v1/inbox?cursor=-1") == 422
    assert await status("GET", "/v1/inbox?before=1") == 422
    assert await status("GET", "/v1/inbox?limit=1&limit=2") == 422
    assert await status("GET", "/v1/inbox?limit=%ff") == 422
    assert await status("GET", "/v1/inbox/unread?x=1") == 422
    assert await status("GET", f"/v1/inbox?x={'y' * 9000}") == 414
    assert await status("POST", "/v1/inbox") == 405
    got = await house.ask("DELETE", "/v1/inbox", person="P1")
    assert got.status == 405 and got.headers["allow"] == "GET, HEAD, OPTIONS"
    got = await house.ask("HEAD", "/v1/inbox/unread", person="P1")
    assert got.status == 200 and got.body == b"" and int(got.headers["content-length"]) > 10


async def test_a_client_that_leaves_before_its_body_is_whole(house: House) -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pytest.fail("there is nobody to answer")

    scope = {"type": "http", "method": "POST", "path": "/v1/inbox/read", "headers": []}
    await house.api(scope, receive, send)


# ------------------------------------------------------------------ origins


async def test_only_pages_of_exact_origins_may_ask(house: House) -> None:
    async def asked(origin: str) -> Any:
        return await house.ask("GET", "/v1/inbox/unread", person="P1", headers={"origin": origin})

    for origin in ("https://app.ent.example", ISSUER):
        got = await asked(origin)
        assert got.status == 200 and got.headers["access-control-allow-origin"] == origin
        assert got.headers["vary"] == "origin" and "access-control-allow-credentials" not in got.headers
    for origin in ("https://evil.example", "null", "http://app.ent.example", "https://app.ent.example.evil.example"):
        got = await asked(origin)
        assert got.status == 403 and "access-control-allow-origin" not in got.headers
    got = await house.ask(
        "OPTIONS", "/v1/preferences", headers={"origin": ISSUER, "access-control-request-method": "PATCH"}
    )
    assert got.status == 200 and "PATCH" in got.headers["access-control-allow-methods"]
    assert got.headers["access-control-allow-headers"] == "authorization, content-type"
    # a page may read why it was refused
    got = await house.ask("GET", "/v1/inbox", headers={"origin": ISSUER})
    assert got.status == 401 and got.headers["access-control-allow-origin"] == ISSUER


# ------------------------------------------------------------------ writes too often


def test_a_limit_gives_back_what_it_says() -> None:
    limit = PersonLimit(per_minute=60)
    assert [limit.take("p", 0.0) for _ in range(31)] == [None] * 30 + [1]
    assert limit.take("other", 0.0) is None
    assert limit.take("p", 1.0) is None and limit.take("p", 1.0) == 1
    assert [limit.take("p", 100.0) for _ in range(31)] == [None] * 30 + [1]


def test_a_batch_goes_through_whole_and_is_paid_for_afterwards() -> None:
    limit = PersonLimit(per_minute=60)
    assert limit.take("p", 0.0, 100) is None
    assert limit.take("p", 0.0) == 71
    assert limit.take("p", 70.0) == 1
    assert limit.take("p", 71.0) is None


async def test_messages_in_batches_are_counted_one_by_one(open_house: Open) -> None:
    async with open_house(api={"writes_per_minute": 60}) as house:
        number, _ = await house.engine.start_conversation("P21", ["P11"], "Sortie", "Bonjour")

        def batch(kind: str, **fields: Any) -> Any:
            return {"writes": [{"client_id": f"{kind}{n}", "kind": kind, **fields} for n in range(40)]}

        read = batch("read_conversation", conversation=number, upto=1)
        for _ in range(5):
            await house.post("/v1/sync", "P11", read)
        await house.post("/v1/sync", "P11", batch("post", conversation=number, body="Merci"))
        got = await house.ask("POST", "/v1/sync", read, person="P11")
        assert got.status == 429 and got.headers["retry-after"] == "16"


async def test_somebody_who_writes_too_often_is_told_when_to_come_back(open_house: Open) -> None:
    async with open_house(api={"writes_per_minute": 2}) as house:
        await house.engine.publish(Announcement(key="a", audience=Everyone(), title="T", body="B"))
        assert (await house.ask("POST", "/v1/streams/ticket", person="P1")).status == 200
        got = await house.ask("POST", "/v1/streams/ticket", person="P1")
        assert got.status == 429 and got.headers["retry-after"] == "30"
        assert (await house.ask("GET", "/v1/inbox", person="P1")).status == 200
        assert (await house.ask("POST", "/v1/streams/ticket", person="P2")).status == 200


async def test_one_person_who_reads_too_often_waits_and_nobody_else(open_house: Open) -> None:
    async with open_house(api={"reads_per_minute": 4}) as house:
        answers = [await house.ask("GET", "/v1/inbox/unread", person="P1") for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert (await house.ask("GET", "/v1/inbox/unread", person="P2")).status == 200
        await house.post("/v1/inbox/read", "P1", {"seqs": [1]})  # writes are counted for themselves
