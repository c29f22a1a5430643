"""The FCM channel against the fake that speaks FCM's protocol: what is sent, what each answer becomes, each fault."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import google.oauth2.credentials
import orjson
import pytest
import trio

from ent_notify._island import Island
from ent_notify.channels.fcm import FcmChannel
from ent_notify.channels.push_options import FcmOptions
from ent_notify.errors import ChannelDown, SettingsError
from ent_notify.model.delivery import ACCEPTED, Outgoing, Urgency, Verdict, VerdictKind
from ent_notify.policy.push_verdicts import FCM_QUOTA_WAIT
from ent_notify.testing.behaviours import (
    REFUSED_STREAM,
    Answer,
    Drop,
    EmptyData,
    GoAway,
    Limit,
    Reset,
    Silence,
    Slow,
    Starve,
)
from ent_notify.testing.fcm import FakeFcm
from ent_notify.testing.scripting import Refuse, Shown

from .kit import REGISTERED, WAKE_UPS, HandClock, OpenFcm, android, android_token, fcm_options_for

K = VerdictKind
LOST = Verdict(K.UNKNOWN, "fcm.ConnectionLost")
TIMEOUT = Verdict(K.UNKNOWN, "fcm.Timeout")
NOT_SENT = Verdict(K.RETRY_AT, "fcm.NotSent")


async def assert_clean(fcm: FakeFcm, channel: FcmChannel) -> None:
    """The channel still works, holds nothing, and has kept to the protocol."""
    fcm.always(None)
    assert await channel.send(WAKE_UPS, android(20, first=9_000)) == [ACCEPTED] * 20
    statistics = await channel.statistics()
    assert (statistics.open_streams, statistics.overdue, statistics.connections) == (0, 0, 1)
    assert fcm.server.protocol_errors == []
    assert fcm.server.refused == 0


async def test_a_message_arrives_with_everything_google_needs_and_nothing_else(open_fcm: OpenFcm) -> None:
    clock = HandClock(REGISTERED)
    async with open_fcm(fake={"now": clock.now}, clock=clock) as (fcm, channel):
        assert await channel.send(WAKE_UPS, android(1)) == [ACCEPTED]
        (request,) = fcm.requests
        assert orjson.loads(request.body) == {
            "message": {
                "token": android_token(1),
                "data": {"n": "n-4711", "category": "homework"},
                "notification": {"body": "Une nouvelle information vous attend."},
                "android": {
                    "collapse_key": "c-4711",
                    "priority": "high",
                    "ttl": f"{7 * 86_400}s",
                    "notification": {"tag": "c-4711", "channel_id": "homework"},
                },
            }
        }
        headers = dict(request.headers)
        assert headers.pop("authorization").startswith("Bearer ya29.")
        assert headers.pop("x-firebase-client").startswith("fire-admin-python/")
        assert headers == {
            ":scheme": "https",
            ":authority": f"{fcm.host}:{fcm.port}",
            "content-type": "application/json",
            "x-goog-api-format-version": "2",
        }


async def test_a_device_is_known_by_its_token_or_by_its_installation_id(open_fcm: OpenFcm) -> None:
    async with open_fcm() as (fcm, channel):
        token, installation = android(2)
        installation = replace(installation, address="fid:dXQ0Y2Vs-1")
        assert await channel.send(WAKE_UPS, [token, installation]) == [ACCEPTED] * 2
        assert sorted((request.kind, request.device) for request in fcm.requests) == [
            ("fid", "dXQ0Y2Vs-1"),
            ("token", token.address),
        ]


@pytest.mark.parametrize(
    ("urgency", "priority"), [(Urgency.URGENT, "high"), (Urgency.NORMAL, "high"), (Urgency.BULK, "normal")]
)
async def test_bulk_spares_the_battery(open_fcm: OpenFcm, urgency: Urgency, priority: str) -> None:
    async with open_fcm() as (fcm, channel):
        await channel.send({"fr": replace(WAKE_UPS["fr"], urgency=urgency)}, android(1))
        assert fcm.requests[0].message["android"]["priority"] == priority


@pytest.mark.parametrize(("life", "ttl"), [(timedelta(days=90), "2419200s"), (timedelta(days=-1), "0s")])
async def test_the_ttl_stays_within_googles_28_days(open_fcm: OpenFcm, life: timedelta, ttl: str) -> None:
    clock = HandClock(REGISTERED)
    async with open_fcm(fake={"now": clock.now}, clock=clock) as (fcm, channel):
        wake_up = replace(WAKE_UPS["fr"], expires_at=REGISTERED + life)
        assert await channel.send({"fr": wake_up}, android(1)) == [ACCEPTED]
        assert fcm.requests[0].message["android"]["ttl"] == ttl


async def test_a_repeat_replaces_what_the_phone_shows(open_fcm: OpenFcm) -> None:
    async with open_fcm() as (fcm, channel):
        for _ in range(3):
            assert await channel.send(WAKE_UPS, android(2)) == [ACCEPTED] * 2
        assert fcm.replaced == 4
        assert [len(shown) for shown in fcm.visible.values()] == [1, 1]


async def test_what_fcm_would_refuse_anyway_stays_at_home(open_fcm: OpenFcm) -> None:
    async with open_fcm() as (fcm, channel):
        good = android(1)[0]
        empty = Verdict(K.DROP_TARGET, "fcm.INVALID_ARGUMENT.target", quarantine=True)
        batch = [replace(good, address=""), replace(good, address="fid:"), replace(good, language="de"), good]
        assert await channel.send(WAKE_UPS, batch) == [empty, empty, Verdict(K.BAD_MESSAGE, "push.NoText"), ACCEPTED]
        long = {"fr": replace(WAKE_UPS["fr"], sentence="x" * 4_096)}
        assert await channel.send(long, [good]) == [Verdict(K.BAD_MESSAGE, "fcm.PayloadTooLarge")]
        assert fcm.received == 1


FCM_TABLE = [
    (Refuse("UNREGISTERED"), Verdict(K.DROP_TARGET, "fcm.UNREGISTERED")),
    (Refuse("NOT_FOUND"), Verdict(K.PAUSE_CHANNEL, "fcm.404")),
    (
        Refuse("INVALID_ARGUMENT", field="message.token"),
        Verdict(K.DROP_TARGET, "fcm.INVALID_ARGUMENT.target"),
    ),
    (Refuse("INVALID_ARGUMENT", field="message.data"), Verdict(K.BAD_MESSAGE, "fcm.INVALID_ARGUMENT")),
    (Refuse("INVALID_ARGUMENT"), Verdict(K.BAD_MESSAGE, "fcm.INVALID_ARGUMENT")),
    (Refuse("SENDER_ID_MISMATCH"), Verdict(K.DROP_TARGET, "fcm.SENDER_ID_MISMATCH", quarantine=True)),
    (Refuse("PERMISSION_DENIED"), Verdict(K.PAUSE_CHANNEL, "fcm.403")),
    (Refuse("THIRD_PARTY_AUTH_ERROR"), Verdict(K.PAUSE_CHANNEL, "fcm.THIRD_PARTY_AUTH_ERROR")),
    (Refuse("UNAUTHENTICATED"), Verdict(K.PAUSE_CHANNEL, "fcm.401")),
    (Refuse("QUOTA_EXCEEDED"), Verdict(K.PAUSE_CHANNEL, "fcm.QUOTA_EXCEEDED", FCM_QUOTA_WAIT)),
    (Refuse("QUOTA_EXCEEDED", retry_after=90), Verdict(K.PAUSE_CHANNEL, "fcm.QUOTA_EXCEEDED", 90.0)),
    (Refuse("INTERNAL"), Verdict(K.RETRY_AT, "fcm.500")),
    (Refuse("UNAVAILABLE"), Verdict(K.RETRY_AT, "fcm.503")),
    (Refuse("UNAVAILABLE", retry_after=17), Verdict(K.RETRY_AT, "fcm.503", 17.0)),
    (Refuse("DEADLINE_EXCEEDED"), Verdict(K.UNKNOWN, "fcm.504")),
    (Refuse("Novelty", status=418), Verdict(K.UNKNOWN, "fcm.418")),
]


async def test_every_row_of_the_table_over_the_wire_each_sent_once(open_fcm: OpenFcm) -> None:
    """Once: firebase-admin alone would send the 500 and 503 five times each, the 401 three times."""
    async with open_fcm() as (fcm, channel):
        for number, (step, _) in enumerate(FCM_TABLE, start=1):
            fcm.always(step, device=android_token(number))
        verdicts = await channel.send(WAKE_UPS, android(len(FCM_TABLE) + 1))
        assert verdicts == [*(verdict for _, verdict in FCM_TABLE), ACCEPTED]
        assert fcm.received == len(FCM_TABLE) + 1


# ---------------------------------------------------------------------- the wire


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer(500), Verdict(K.RETRY_AT, "fcm.500")),
        (Answer(503), Verdict(K.RETRY_AT, "fcm.503")),
        (Answer(503, b"<html>\xff"), Verdict(K.UNKNOWN, "fcm.Raised")),
        (Answer(502, b"<html>"), Verdict(K.UNKNOWN, "fcm.502")),
        (Answer(404, b"[]"), Verdict(K.PAUSE_CHANNEL, "fcm.404")),
        (Answer(200), Verdict(K.UNKNOWN, "fcm.Raised")),
        (Answer(200, b"{}"), Verdict(K.UNKNOWN, "fcm.NoMessageId")),
        (EmptyData(Answer(503, b"{}")), Verdict(K.RETRY_AT, "fcm.503")),
        (Reset(), LOST),
    ],
)
async def test_an_answer_that_makes_firebase_admin_raise_concerns_one_recipient(
    open_fcm: OpenFcm, answer: Answer | EmptyData | Reset, verdict: Verdict
) -> None:
    async with open_fcm() as (fcm, channel):
        fcm.always(answer, device=android_token(3))
        verdicts = await channel.send(WAKE_UPS, android(150))
        assert verdicts == [ACCEPTED] * 2 + [verdict] + [ACCEPTED] * 147
        await assert_clean(fcm, channel)


async def test_a_refused_stream_goes_again(open_fcm: OpenFcm) -> None:
    async with open_fcm() as (fcm, channel):
        fcm.next(Reset(REFUSED_STREAM), Reset(REFUSED_STREAM), device=android_token(5))
        fcm.always(Reset(REFUSED_STREAM), device=android_token(6))
        assert await channel.send(WAKE_UPS, android(7)) == [ACCEPTED] * 5 + [NOT_SENT, ACCEPTED]
        await assert_clean(fcm, channel)


async def test_goaway_those_above_go_again_those_below_get_their_answer(open_fcm: OpenFcm) -> None:
    async with open_fcm() as (fcm, channel):
        await channel.send(WAKE_UPS, android(1, first=100))
        for number in range(1, 11):
            fcm.next(Slow(0.05, Answer(200, b'{"name": "m"}')), device=android_token(number))
        fcm.next(GoAway(processed=False), device=android_token(11))
        assert await channel.send(WAKE_UPS, android(30)) == [ACCEPTED] * 30
        got = [request.device for request in fcm.requests]
        assert all(got.count(android_token(number)) == 1 for number in range(1, 11))
        await assert_clean(fcm, channel)


async def test_a_lowered_stream_limit_is_kept_to_while_streams_are_open(open_fcm: OpenFcm) -> None:
    """httpx's pool waits here for a stream to end while it holds the lock of those who read: for ever."""
    async with open_fcm() as (fcm, channel):
        await channel.send(WAKE_UPS, android(1, first=100))
        answer = Answer(200, b'{"name": "m"}')
        fcm.next(Limit(2, Slow(0.05, answer)), device=android_token(1))
        fcm.always(Slow(0.001, answer))
        assert await channel.send(WAKE_UPS, android(60)) == [ACCEPTED] * 60
        await assert_clean(fcm, channel)


async def test_a_window_that_the_server_closes_sends_nothing_more(open_fcm: OpenFcm) -> None:
    """65,535 bytes of window are some sixteen messages of 4,000 bytes."""
    long = {"fr": replace(WAKE_UPS["fr"], sentence="x" * 3_700)}
    async with open_fcm(send_timeout=1.0) as (fcm, channel):
        fcm.next(Starve(Answer(200, b'{"name": "m"}')))
        assert await channel.send(long, android(40)) == [ACCEPTED] * 16 + [NOT_SENT] * 24
        assert fcm.received == 16
        await fcm.server.feed()
        await assert_clean(fcm, channel)


async def test_silence_is_unknown_and_its_late_answer_is_taken(open_fcm: OpenFcm) -> None:
    told: list[tuple[Outgoing, Verdict]] = []
    heard = trio.Event()

    def late(item: Outgoing, verdict: Verdict) -> None:
        told.append((item, verdict))
        heard.set()

    async with open_fcm(send_timeout=1.0, late_window=2.0, late=late) as (fcm, channel):
        fcm.next(Silence(), device=android_token(1))
        fcm.next(Slow(1.3, Answer(200, b'{"name": "m"}')), device=android_token(2))
        batch = android(3)
        assert await channel.send(WAKE_UPS, batch) == [TIMEOUT, TIMEOUT, ACCEPTED]
        with trio.fail_after(5):
            await heard.wait()
            while (await channel.statistics()).overdue:
                await trio.testing.wait_all_tasks_blocked(0.01)
        assert told == [(batch[1], ACCEPTED)]
        await assert_clean(fcm, channel)


async def test_a_connection_dropped_after_data_makes_unknown_what_had_no_answer(open_fcm: OpenFcm) -> None:
    async with open_fcm() as (fcm, channel):
        await channel.send(WAKE_UPS, android(1, first=100))
        fcm.always(Silence())
        fcm.next(Shown(Drop()), device=android_token(10))
        assert await channel.send(WAKE_UPS, android(10)) == [LOST] * 10
        fcm.always(None)
        assert await channel.send(WAKE_UPS, android(10)) == [ACCEPTED] * 10
        assert len(fcm.visible[android_token(10)]) == 1
        await assert_clean(fcm, channel)


async def test_a_cancelled_caller_waits_and_its_neighbours_are_not_harmed(open_fcm: OpenFcm) -> None:
    async with open_fcm() as (fcm, channel):
        await channel.send(WAKE_UPS, android(1, first=100))
        fcm.always(Slow(0.1, Answer(200, b'{"name": "m"}')))
        results: dict[str, list[Verdict]] = {}
        scope = trio.CancelScope()

        async def cancelled() -> None:
            with scope:
                results["cancelled"] = await channel.send(WAKE_UPS, android(5))

        async def neighbour() -> None:
            results["neighbour"] = await channel.send(WAKE_UPS, android(50, first=200))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancelled)
            nursery.start_soon(neighbour)
            while fcm.received < 56:
                await trio.testing.wait_all_tasks_blocked(0.005)
            scope.cancel()
        assert results == {"cancelled": [ACCEPTED] * 5, "neighbour": [ACCEPTED] * 50}
        await assert_clean(fcm, channel)


async def test_nobody_at_that_address_is_the_channel_down(island: Island, open_fcm: OpenFcm) -> None:
    async with open_fcm() as (fcm, _):
        options = fcm_options_for(fcm, base_url="https://127.0.0.1:1")
        channel = FcmChannel(island, options)
        with pytest.raises(ChannelDown, match="cannot connect"):
            await channel.send(WAKE_UPS, android(3))
        await channel.aclose()


# ---------------------------------------------------------------------- credentials


async def test_one_access_token_for_all_messages_renewed_before_it_ends(open_fcm: OpenFcm) -> None:
    async with open_fcm(connections=2) as (fcm, channel):
        for _ in range(3):
            assert await channel.send(WAKE_UPS, android(120)) == [ACCEPTED] * 120
        assert fcm.token_requests == 1


async def test_the_loop_is_free_while_the_token_is_fetched(island: Island, open_fcm: OpenFcm) -> None:
    async def round_trip() -> None:
        pass

    async with open_fcm() as (fcm, channel):
        waiting = trio.Event()

        def hold_the_first(number: int) -> Slow | None:
            waiting.set()
            return Slow(0.2, Answer(503, b"{}")) if number == 1 else None

        fcm.on_token = hold_the_first
        done: list[str] = []

        async def send() -> None:
            assert await channel.send(WAKE_UPS, android(3)) == [ACCEPTED] * 3
            done.append("sent")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await waiting.wait()
            for _ in range(50):
                await island.run(round_trip)
            done.append("fifty round trips")
        assert done == ["fifty round trips", "sent"]


async def test_refused_credentials_are_the_channel_down_and_nothing_is_sent(open_fcm: OpenFcm) -> None:
    async with open_fcm() as (fcm, channel):
        fcm.on_token = lambda _: Answer(400, b'{"error": "invalid_grant", "error_description": "canary-account"}')
        with pytest.raises(ChannelDown, match="invalid_grant") as caught:
            await channel.send(WAKE_UPS, android(5))
        assert "canary" not in str(caught.value)
        assert fcm.received == 0
        fcm.on_token = None
        await assert_clean(fcm, channel)


async def test_a_token_endpoint_that_hangs_up_is_the_channel_down_and_nothing_is_sent(open_fcm: OpenFcm) -> None:
    async with open_fcm() as (fcm, channel):
        fcm.on_token = lambda _: Drop()
        with pytest.raises(ChannelDown, match="no access token: TransportError"):
            await channel.send(WAKE_UPS, android(5))
        assert fcm.received == 0
        fcm.on_token = None
        await assert_clean(fcm, channel)


async def test_a_failed_renewal_does_no_harm_while_the_token_lives(open_fcm: OpenFcm) -> None:
    async with open_fcm(fake={"token_life": timedelta(minutes=5)}) as (fcm, channel):
        assert await channel.send(WAKE_UPS, android(1)) == [ACCEPTED]
        fcm.on_token = lambda _: Answer(400, b'{"error": "invalid_grant"}')
        for _ in range(3):
            assert await channel.send(WAKE_UPS, android(1)) == [ACCEPTED]
        with trio.fail_after(5):
            while fcm.token_requests < 2:
                await trio.testing.wait_all_tasks_blocked(0.01)
        assert await channel.send(WAKE_UPS, android(1)) == [ACCEPTED]


async def test_after_a_401_the_next_batch_fetches_another_token(open_fcm: OpenFcm) -> None:
    async with open_fcm() as (fcm, channel):
        await channel.send(WAKE_UPS, android(1))
        fcm.revoke_access_tokens()
        assert await channel.send(WAKE_UPS, android(30)) == [Verdict(K.PAUSE_CHANNEL, "fcm.401")] * 30
        assert fcm.received == 31  # none was sent again
        assert await channel.send(WAKE_UPS, android(30)) == [ACCEPTED] * 30
        assert fcm.token_requests == 2


class Given(google.oauth2.credentials.Credentials):
    """Credentials of a host's own."""

    def __init__(self) -> None:
        super().__init__(None)  # type: ignore[no-untyped-call]

    def refresh(self, request: object) -> None:
        self.token, self.expiry = "given", None


async def test_any_google_credentials_will_do(island: Island, open_fcm: OpenFcm) -> None:
    async with open_fcm() as (fcm, _):
        fcm.access_tokens["given"] = REGISTERED.replace(year=2999)
        options = FcmOptions(credentials=Given(), project=fcm.project, base_url=fcm.base_url, ca=fcm.ca)
        channel = FcmChannel(island, options)
        assert await channel.send(WAKE_UPS, android(2)) == [ACCEPTED] * 2
        await channel.aclose()


async def test_settings_that_are_wrong_say_so_and_quote_no_secret(island: Island, open_fcm: OpenFcm) -> None:
    async with open_fcm() as (fcm, _):
        account = fcm.service_account | {"private_key": "canary-key"}
        with pytest.raises(SettingsError, match="service account cannot be read") as caught:
            FcmChannel(island, FcmOptions(service_account=account))
        assert "canary" not in str(caught.value)
        assert "PRIVATE" not in repr(fcm_options_for(fcm))
        nameless = {name: value for name, value in fcm.service_account.items() if name != "project_id"}
        with pytest.raises(SettingsError, match="project is not known"):
            FcmChannel(island, FcmOptions(service_account=nameless))
