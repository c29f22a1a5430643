"""The APNs channel against the fake that speaks APNs' protocol: what is sent, and what each answer becomes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ent_notify._island import Island
from ent_notify.channels.apns import ApnsChannel
from ent_notify.errors import ChannelDown, SettingsError
from ent_notify.model.delivery import ACCEPTED, Urgency, Verdict, VerdictKind
from ent_notify.testing.scripting import Refuse

from .kit import REGISTERED, WAKE_UPS, HandClock, OpenApns, device, ios, kinds, options_for

K = VerdictKind


async def test_a_push_arrives_with_everything_apple_needs_and_nothing_else(open_apns: OpenApns) -> None:
    async with open_apns() as (apns, channel):
        french, english = ios(1)[0], replace(ios(1, first=2)[0], language="en")
        assert await channel.send(WAKE_UPS, [french, english]) == [ACCEPTED, ACCEPTED]
        first, second = apns.requests
        assert first.device == french.address
        assert first.payload == {
            "aps": {
                "alert": {"body": "Une nouvelle information vous attend."},
                "sound": "default",
                "thread-id": "homework",
            },
            "n": "n-4711",
        }
        assert second.payload["aps"]["alert"] == {"body": "Something new awaits you."}
        headers = dict(first.headers)
        assert headers.pop("authorization").startswith("bearer ")
        assert headers == {
            ":scheme": "https",
            ":authority": f"{apns.host}:{apns.port}",
            "apns-id": french.dedup_id,
            "apns-topic": apns.topic,
            "apns-push-type": "alert",
            "apns-priority": "10",
            "apns-collapse-id": "c-4711",
            "apns-expiration": "1788854400",
        }
        assert "apns-expiration" not in second.headers
        assert apns.server.protocol_errors == []


@pytest.mark.parametrize(("urgency", "priority"), [(Urgency.URGENT, "10"), (Urgency.NORMAL, "10"), (Urgency.BULK, "5")])
async def test_bulk_spares_the_battery(open_apns: OpenApns, urgency: Urgency, priority: str) -> None:
    async with open_apns() as (apns, channel):
        await channel.send({"fr": replace(WAKE_UPS["fr"], urgency=urgency)}, ios(1))
        assert apns.requests[0].headers["apns-priority"] == priority


async def test_a_repeat_replaces_what_the_phone_shows(open_apns: OpenApns) -> None:
    async with open_apns() as (apns, channel):
        for _ in range(3):
            assert await channel.send(WAKE_UPS, ios(2)) == [ACCEPTED] * 2
        assert apns.received == 6
        assert [len(shown) for shown in apns.visible.values()] == [1, 1]
        assert apns.replaced == 4


APNS_TABLE = [
    (Refuse("BadDeviceToken"), Verdict(K.DROP_TARGET, "apns.BadDeviceToken", quarantine=True)),
    (Refuse("DeviceTokenNotForTopic"), Verdict(K.DROP_TARGET, "apns.DeviceTokenNotForTopic", quarantine=True)),
    *(
        (Refuse(reason), Verdict(K.PAUSE_CHANNEL, f"apns.{reason}"))
        for reason in (
            "TopicDisallowed",
            "MissingTopic",
            "BadTopic",
            "BadCertificate",
            "BadCertificateEnvironment",
            "Forbidden",
            "InvalidProviderToken",
            "MissingProviderToken",
            "TooManyProviderTokenUpdates",
        )
    ),
    *(
        (Refuse(reason), Verdict(K.BAD_MESSAGE, f"apns.{reason}"))
        for reason in (
            "PayloadTooLarge",
            "PayloadEmpty",
            "BadCollapseId",
            "BadExpirationDate",
            "BadMessageId",
            "BadPriority",
            "DuplicateHeaders",
            "InvalidPushType",
            "MissingDeviceToken",
            "BadPath",
            "MethodNotAllowed",
        )
    ),
    (Refuse("TooManyRequests"), Verdict(K.SLOW_TARGET, "apns.TooManyRequests")),
    (Refuse("TooManyRequests", retry_after=30), Verdict(K.SLOW_TARGET, "apns.TooManyRequests", 30.0)),
    (Refuse("IdleTimeout"), Verdict(K.RETRY_AT, "apns.IdleTimeout")),
    (Refuse("InternalServerError"), Verdict(K.RETRY_AT, "apns.InternalServerError")),
    (Refuse("ServiceUnavailable"), Verdict(K.RETRY_AT, "apns.ServiceUnavailable")),
    (Refuse("ServiceUnavailable", retry_after=9), Verdict(K.RETRY_AT, "apns.ServiceUnavailable", 9.0)),
    (Refuse("Shutdown"), Verdict(K.RETRY_AT, "apns.Shutdown")),
    (Refuse("Novelty", status=400), Verdict(K.BAD_MESSAGE, "apns.400")),
    (Refuse("Novelty", status=418), Verdict(K.UNKNOWN, "apns.418")),
]


async def test_every_row_of_the_table_over_the_wire(open_apns: OpenApns) -> None:
    async with open_apns() as (apns, channel):
        for number, (step, _) in enumerate(APNS_TABLE, start=1):
            apns.next(step, device=device(number))
        verdicts = await channel.send(WAKE_UPS, ios(len(APNS_TABLE) + 1))
        assert verdicts == [*(verdict for _, verdict in APNS_TABLE), ACCEPTED]
        assert (await channel.statistics()).open_streams == 0


@pytest.mark.parametrize("reason", ["Unregistered", "ExpiredToken"])
async def test_a_410_drops_only_a_token_older_than_it(open_apns: OpenApns, reason: str) -> None:
    async with open_apns() as (apns, channel):
        apns.always(Refuse(reason, timestamp=REGISTERED))
        before = ios(1, registered_at=REGISTERED - timedelta(milliseconds=1))
        since = ios(1, first=2, registered_at=REGISTERED)
        unknown = ios(1, first=3, registered_at=None)
        assert await channel.send(WAKE_UPS, before + since + unknown) == [
            Verdict(K.DROP_TARGET, f"apns.{reason}"),
            Verdict(K.RETRY_AT, f"apns.{reason}.stale"),
            Verdict(K.DROP_TARGET, f"apns.{reason}", quarantine=True),
        ]


# ---------------------------------------------------------------------- what is refused before it leaves


async def test_what_apns_would_refuse_anyway_stays_at_home(open_apns: OpenApns) -> None:
    async with open_apns() as (apns, channel):
        good = ios(1)[0]
        batch = [
            replace(good, address="not hexadecimal"),
            replace(good, address="ab\r\napns-topic: other"),
            replace(good, dedup_id="no-uuid"),
            replace(good, language="de"),
            good,
        ]
        assert await channel.send(WAKE_UPS, batch) == [
            Verdict(K.DROP_TARGET, "apns.BadDeviceToken", quarantine=True),
            Verdict(K.DROP_TARGET, "apns.BadDeviceToken", quarantine=True),
            Verdict(K.BAD_MESSAGE, "apns.BadMessageId"),
            Verdict(K.BAD_MESSAGE, "push.NoText"),
            ACCEPTED,
        ]
        assert apns.received == 1


async def test_sizes_are_apples_to_the_byte(open_apns: OpenApns) -> None:
    async with open_apns() as (apns, channel):
        base = WAKE_UPS["fr"]
        await channel.send({"fr": replace(base, sentence="")}, ios(1))
        room = 4_096 - len(apns.requests[0].body)
        assert await channel.send({"fr": replace(base, sentence="x" * room)}, ios(1)) == [ACCEPTED]
        assert len(apns.requests[1].body) == 4_096
        assert await channel.send({"fr": replace(base, sentence="x" * (room + 1))}, ios(1)) == [
            Verdict(K.BAD_MESSAGE, "apns.PayloadTooLarge")
        ]
        assert await channel.send({"fr": replace(base, collapse_id="c" * 64)}, ios(1)) == [ACCEPTED]
        for collapse_id in ("c" * 65, "c\r\nx: y", "é"):
            assert await channel.send({"fr": replace(base, collapse_id=collapse_id)}, ios(1)) == [
                Verdict(K.BAD_MESSAGE, "apns.BadCollapseId")
            ]
        assert apns.received == 3


# ---------------------------------------------------------------------- the provider token


async def test_one_provider_token_for_all_connections_renewed_between_20_and_60_minutes(open_apns: OpenApns) -> None:
    clock = HandClock(REGISTERED)
    fake = {"now": clock.now, "max_streams": 4, "strict_tokens": True}
    async with open_apns(fake=fake, clock=clock, connections=3) as (apns, channel):
        for minutes in (0, 20, 39, 40, 60, 79, 80):
            clock.time = REGISTERED + timedelta(minutes=minutes)
            assert await channel.send(WAKE_UPS, ios(30)) == [ACCEPTED] * 30
        assert apns.server.connections > 1
        assert [(at - REGISTERED) // timedelta(minutes=1) for at in apns.provider_tokens.values()] == [0, 40, 80]


async def test_an_expired_token_is_renewed_once_for_the_whole_batch(open_apns: OpenApns) -> None:
    async with open_apns() as (apns, channel):
        assert await channel.send(WAKE_UPS, ios(1)) == [ACCEPTED]
        apns.expire_provider_tokens()
        assert await channel.send(WAKE_UPS, ios(50)) == [ACCEPTED] * 50
        assert len(apns.provider_tokens) == 2
        assert apns.counts["ExpiredProviderToken"] == 50


async def test_a_token_that_stays_expired_pauses_the_channel_without_a_storm_of_renewals(open_apns: OpenApns) -> None:
    async with open_apns() as (apns, channel):
        apns.always(Refuse("ExpiredProviderToken"))
        for _ in range(3):
            verdicts = await channel.send(WAKE_UPS, ios(20))
            assert verdicts == [Verdict(K.PAUSE_CHANNEL, "apns.ExpiredProviderToken")] * 20
        assert len(apns.provider_tokens) == 2
        assert apns.received == 20 * 3 + 1  # only the very first push is tried again, with the renewed token


async def test_one_update_too_many_goes_back_to_the_older_token(open_apns: OpenApns) -> None:
    clock = HandClock(REGISTERED)
    async with open_apns(fake={"now": clock.now}, clock=clock) as (apns, channel):
        await channel.send(WAKE_UPS, ios(1))
        clock.advance(timedelta(minutes=45))
        apns.next(Refuse("TooManyProviderTokenUpdates"))
        assert kinds(await channel.send(WAKE_UPS, ios(1))) == [K.PAUSE_CHANNEL]
        older, newer = apns.provider_tokens
        clock.advance(timedelta(minutes=-44))  # well within the older one's life
        assert await channel.send(WAKE_UPS, ios(1)) == [ACCEPTED]
        assert apns.requests[-1].headers["authorization"] == f"bearer {older}"
        assert apns.requests[-2].headers["authorization"] == f"bearer {newer}"


async def test_a_key_that_cannot_sign_is_a_setting_that_is_wrong(island: Island, open_apns: OpenApns) -> None:
    async with open_apns() as (apns, _):
        secret = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----"
        with pytest.raises(SettingsError, match="'KEY0000001'") as caught:
            ApnsChannel(island, options_for(apns, key=secret))
        assert "c2VjcmV0" not in str(caught.value)
        assert "c2VjcmV0" not in repr(options_for(apns, key=secret))


# ---------------------------------------------------------------------- nobody there


async def test_nobody_at_that_address_is_the_channel_down(island: Island, open_apns: OpenApns) -> None:
    async with open_apns() as (apns, _):
        options = options_for(apns)
    channel = ApnsChannel(island, options)  # the fake is gone
    with pytest.raises(ChannelDown, match="cannot connect"):
        await channel.send(WAKE_UPS, ios(3))
    await channel.aclose()


async def test_a_certificate_that_is_not_trusted_is_the_channel_down(island: Island, open_apns: OpenApns) -> None:
    async with open_apns() as (apns, _):
        channel = ApnsChannel(island, options_for(apns, ca=None))
        with pytest.raises(ChannelDown, match="CERTIFICATE_VERIFY_FAILED"):
            await channel.send(WAKE_UPS, ios(1))
        await channel.aclose()
        assert apns.received == 0
