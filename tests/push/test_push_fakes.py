"""The fakes are strict where the providers are: what a careless client would hear."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import h2.config
import h2.connection
import h2.events
import jwt
import orjson
import pytest
import trio

from ent_notify._island import Island
from ent_notify.channels.apns import ApnsChannel
from ent_notify.channels.push_options import ApnsOptions
from ent_notify.model.delivery import ACCEPTED
from ent_notify.testing.apns import STATUS_OF_REASON, FakeApns, open_fake_apns
from ent_notify.testing.fcm import open_fake_fcm
from ent_notify.testing.process import open_fake_process
from ent_notify.testing.scripting import Refuse

from .kit import REGISTERED, WAKE_UPS, HandClock, device, ios, options_for

Answer = tuple[int, dict[str, Any]]


class Client:
    """A bare HTTP/2 client: one request at a time, any headers."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self.stream = stream
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()

    @classmethod
    @asynccontextmanager
    async def to(cls, fake: Any) -> AsyncIterator[Client]:
        context = ssl.create_default_context(cadata=fake.ca)
        context.set_alpn_protocols(["h2"])
        stream = await trio.open_ssl_over_tcp_stream(fake.host, fake.port, ssl_context=context, https_compatible=True)
        async with stream:
            yield cls(stream)

    async def request(self, path: str, headers: Mapping[str, str], body: bytes, method: str = "POST") -> Answer:
        number = self._h2.get_next_available_stream_id()
        first = {":method": method, ":scheme": "https", ":authority": "fake", ":path": path}
        self._h2.send_headers(number, list((first | dict(headers)).items()))
        self._h2.send_data(number, body, end_stream=True)
        status, answer = 0, b""
        while True:
            await self.stream.send_all(self._h2.data_to_send())
            for event in self._h2.receive_data(bytes(await self.stream.receive_some())):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[":status"])  # type: ignore[index]
                elif isinstance(event, h2.events.DataReceived):
                    answer += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    return status, orjson.loads(answer) if answer else {}


def provider_token(apns: FakeApns, **changes: Any) -> str:
    claims = {"iss": apns.team_id, "iat": int(REGISTERED.timestamp())} | changes
    return jwt.encode(claims, apns.key, algorithm="ES256", headers={"kid": apns.key_id})


GOOD_BODY = b'{"aps":{"alert":"x"}}'


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"authorization": ""}, "MissingProviderToken"),
        ({"authorization": "bearer rubbish"}, "InvalidProviderToken"),
        ({"apns-topic": "other.app"}, "DeviceTokenNotForTopic"),
        ({"apns-push-type": "shout"}, "InvalidPushType"),
        ({"apns-priority": "7"}, "BadPriority"),
        ({"apns-expiration": "soon"}, "BadExpirationDate"),
        ({"apns-collapse-id": "c" * 65}, "BadCollapseId"),
        ({"apns-id": "4711"}, "BadMessageId"),
        ({":path": "/3/device/"}, "MissingDeviceToken"),
        ({":path": "/3/device/xyz"}, "BadDeviceToken"),
        ({":path": "/4/device/ab"}, "BadPath"),
        ({":method": "GET"}, "MethodNotAllowed"),
        ({"body": ""}, "PayloadEmpty"),
        ({"body": "x" * 4_097}, "PayloadTooLarge"),
        ({"without": "apns-topic"}, "MissingTopic"),
    ],
)
async def test_apns_refuses_what_apple_refuses(changes: dict[str, str], reason: str) -> None:
    async with open_fake_apns(now=lambda: REGISTERED) as apns, Client.to(apns) as client:
        headers = {"authorization": f"bearer {provider_token(apns)}", "apns-topic": apns.topic} | changes
        path = headers.pop(":path", f"/3/device/{device(1)}")
        method = headers.pop(":method", "POST")
        body = headers.pop("body", GOOD_BODY.decode()).encode()
        headers.pop(headers.pop("without", ""), None)
        assert await client.request(path, headers, body, method) == (STATUS_OF_REASON[reason], {"reason": reason})
        assert apns.counts == {reason: 1}
        assert not apns.visible


async def test_apns_judges_provider_tokens_by_age_issuer_and_how_often_they_change() -> None:
    clock = HandClock(REGISTERED)
    async with open_fake_apns(now=clock.now) as apns, Client.to(apns) as client:
        path = f"/3/device/{device(1)}"

        async def tell(token: str) -> str:
            headers = {"authorization": f"bearer {token}", "apns-topic": apns.topic}
            status, answer = await client.request(path, headers, GOOD_BODY)
            return "accepted" if status == 200 else answer["reason"]

        at = int(REGISTERED.timestamp())
        first = provider_token(apns)
        assert await tell(provider_token(apns, iss="SOMEBODY00")) == "InvalidProviderToken"
        assert await tell(provider_token(apns, iat=at + 3_600)) == "InvalidProviderToken"
        assert await tell(provider_token(apns, iat=at - 3_601)) == "ExpiredProviderToken"
        assert await tell(first) == "accepted"
        clock.advance(timedelta(minutes=19))
        assert await tell(provider_token(apns, iat=at + 60)) == "TooManyProviderTokenUpdates"
        assert await tell(first) == "accepted"
        clock.advance(timedelta(minutes=2))
        assert await tell(provider_token(apns, iat=at + 1_200)) == "accepted"
        clock.advance(timedelta(minutes=60))
        assert await tell(first) == "ExpiredProviderToken"


async def test_fcm_refuses_what_google_refuses() -> None:
    async with open_fake_fcm(now=lambda: REGISTERED) as fcm, Client.to(fcm) as client:
        fcm.access_tokens["t"] = REGISTERED + timedelta(hours=1)
        url = f"/v1/projects/{fcm.project}/messages:send"

        async def tell(message: Any, *, path: str = url, bearer: str = "t") -> tuple[int, str, list[Any]]:
            body = orjson.dumps({"message": message})
            status, answer = await client.request(path, {"authorization": f"Bearer {bearer}"}, body)
            error = answer.get("error", {})
            return status, error.get("status", ""), [detail["@type"] for detail in error.get("details", [])]

        details = [
            "type.googleapis.com/google.firebase.fcm.v1.FcmError",
            "type.googleapis.com/google.rpc.BadRequest",
        ]
        invalid = (400, "INVALID_ARGUMENT", details)
        assert await tell({"token": "a"}) == (200, "", [])
        assert await tell({"token": "a"}, bearer="old") == (401, "UNAUTHENTICATED", [])
        assert await tell({"token": "a"}, path="/v1/projects/other/messages:send") == (404, "NOT_FOUND", [])
        assert await tell({}) == invalid
        assert await tell({"token": "a", "fid": "b"}) == invalid
        assert await tell({"token": ""}) == invalid
        assert await tell({"token": "a", "data": {"n": 1}}) == invalid
        assert await tell({"token": "a", "data": {"google.x": "1"}}) == invalid
        assert await tell({"token": "a", "android": {"ttl": "2419201s"}}) == invalid
        assert await tell({"token": "a", "data": {"n": "x" * 5_000}}) == invalid
        fcm.next(Refuse("UNREGISTERED"))
        assert await tell({"token": "a"}) == (404, "NOT_FOUND", details[:1])


async def test_memory_is_bounded_and_counters_are_exact(island: Island) -> None:
    async with open_fake_apns(keep=10) as apns:
        channel = ApnsChannel(island, options_for(apns))
        assert await channel.send(WAKE_UPS, ios(100)) == [ACCEPTED] * 100
        await channel.aclose()
        assert (len(apns.requests), len(apns.visible)) == (10, 10)
        assert apns.summary() == {"received": 100, "replaced": 0, "accepted": 100}


async def test_a_fake_in_a_process_of_its_own(island: Island) -> None:
    async with open_fake_process("ent_notify.testing.apns", "--share", "Unregistered=0.5") as fake:
        channel = ApnsChannel(island, ApnsOptions(**fake.address))
        verdicts = await channel.send(WAKE_UPS, ios(200))
        await channel.aclose()
        counters = await fake.summary()
        assert counters["accepted"] == verdicts.count(ACCEPTED)
        assert counters["accepted"] + counters["Unregistered"] == counters["received"] == 200
        assert 60 < counters["Unregistered"] < 140


async def test_a_client_that_breaks_the_protocol_is_written_down() -> None:
    async with open_fake_apns() as apns, Client.to(apns) as client:
        await client.stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
        with suppress(trio.BrokenResourceError):
            while await client.stream.receive_some():
                pass  # SETTINGS, GOAWAY, the end
        assert len(apns.server.protocol_errors) == 1
