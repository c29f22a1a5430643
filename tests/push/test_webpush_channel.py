"""The Web Push channel against the fake that speaks push services' protocol and decrypts what it is sent."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import trio

from ent_notify._island import Island
from ent_notify.channels.push_options import WebPushOptions
from ent_notify.channels.webpush import WebPushChannel
from ent_notify.errors import SettingsError
from ent_notify.model.delivery import ACCEPTED, Outgoing, Urgency, Verdict, VerdictKind
from ent_notify.testing.behaviours import REFUSED_STREAM, Drop, GoAway, Reset, Silence, Slow
from ent_notify.testing.behaviours import Answer as Said
from ent_notify.testing.scripting import Accept, Refuse, Shown
from ent_notify.testing.webpush import DEMO_KEY, WebPushRequest

from .kit import REGISTERED, WAKE_UPS, HandClock, kinds
from .webpush_kit import browsers, open_webpush

K = VerdictKind


def origin_paused(seconds: float) -> Verdict:
    return Verdict(K.PAUSE_CHANNEL, "webpush.OriginPaused", seconds, pause_group=True)


async def test_a_message_arrives_readable_with_what_rfc_8030_asks_for_and_nothing_else(island: Island) -> None:
    clock = HandClock(REGISTERED)
    async with open_webpush(island, clock=clock) as (channel, service):
        french, english = browsers(service, 2)
        english = replace(english, language="en")
        assert await channel.send(WAKE_UPS, [french, english]) == [ACCEPTED, ACCEPTED]
        first, second = sorted(service.requests, key=lambda request: request.device)
        assert first.payload == {
            "body": "Une nouvelle information vous attend.",
            "n": "n-4711",
            "category": "homework",
            "tag": "c-4711",
        }
        assert second.payload["body"] == "Something new awaits you."
        headers = dict(first.headers)
        assert headers.pop("authorization").startswith("vapid t=")
        assert headers == {
            ":scheme": "https",
            ":authority": f"localhost:{service.port}",
            "content-type": "application/octet-stream",
            "content-encoding": "aes128gcm",
            "ttl": str(7 * 86_400),
            "urgency": "normal",
            "topic": "c-4711",
        }
        assert second.ttl == 28 * 86_400  # no end of its own: the longest that services keep
        assert len(first.plaintext) == len(second.plaintext) == 256  # a length that tells nothing
        assert first.body[16:20] == (4096).to_bytes(4, "big")  # RFC 8188: one record
        assert service.server.protocol_errors == []


@pytest.mark.parametrize(("urgency", "word"), [(Urgency.URGENT, "high"), (Urgency.NORMAL, "normal"), (2, "low")])
async def test_urgency_is_said_in_rfc_8030s_words(island: Island, urgency: int, word: str) -> None:
    async with open_webpush(island) as (channel, service):
        await channel.send({"fr": replace(WAKE_UPS["fr"], urgency=Urgency(urgency))}, browsers(service, 1))
        assert service.requests[0].headers["urgency"] == word


async def test_a_later_message_of_the_same_topic_replaces_and_an_old_one_expires(island: Island) -> None:
    clock = HandClock(REGISTERED)
    async with open_webpush(island, clock=clock) as (channel, service):
        (item,) = browsers(service, 1)
        wake_up = replace(WAKE_UPS["fr"], expires_at=REGISTERED + timedelta(hours=2))
        later = replace(wake_up, notification="n-2")
        other = replace(wake_up, collapse_id="c-other", expires_at=REGISTERED + timedelta(hours=1))
        for content in (wake_up, other, later):
            assert await channel.send({"fr": content}, [item]) == [ACCEPTED]
        assert service.replaced == 1
        clock.advance(timedelta(minutes=90))
        assert [message.payload["n"] for message in service.collect("b1")] == ["n-2"]
        clock.advance(timedelta(hours=1))
        await channel.send({"fr": wake_up}, [item])
        assert service.requests[-1].ttl == 0  # now or never


TABLE = [
    (Refuse("404"), Verdict(K.DROP_TARGET, "webpush.404")),
    (Refuse("410"), Verdict(K.DROP_TARGET, "webpush.410")),
    (Refuse("413"), Verdict(K.BAD_MESSAGE, "webpush.413")),
    (Refuse("400"), Verdict(K.BAD_MESSAGE, "webpush.400")),  # (400 to 403: another message has just been taken)
    (Refuse("401"), Verdict(K.DROP_TARGET, "webpush.401", quarantine=True)),
    (Refuse("403"), Verdict(K.DROP_TARGET, "webpush.403", quarantine=True)),
    (Refuse("405"), Verdict(K.BAD_MESSAGE, "webpush.405")),
    (Refuse("301"), Verdict(K.DROP_TARGET, "webpush.301", quarantine=True)),
    (Refuse("307"), Verdict(K.DROP_TARGET, "webpush.307", quarantine=True)),
    (Refuse("500"), Verdict(K.RETRY_AT, "webpush.500", pause_group=True)),
    (Refuse("502"), Verdict(K.RETRY_AT, "webpush.502", pause_group=True)),
    (Refuse("503"), Verdict(K.RETRY_AT, "webpush.503", pause_group=True)),
    (Refuse("503", retry_after=9), Verdict(K.RETRY_AT, "webpush.503", 9.0, pause_group=True)),
    (Refuse("429"), Verdict(K.RETRY_AT, "webpush.429", pause_group=True)),
    (Refuse("429", retry_after=30), Verdict(K.RETRY_AT, "webpush.429", 30.0, pause_group=True)),
    (Said(200), ACCEPTED),
    (Said(201), ACCEPTED),
    (Said(202), ACCEPTED),
    (Reset(), Verdict(K.UNKNOWN, "webpush.ConnectionLost", pause_group=True)),
    (Drop(), Verdict(K.UNKNOWN, "webpush.ConnectionLost", pause_group=True)),
    (Shown(Drop()), Verdict(K.UNKNOWN, "webpush.ConnectionLost", pause_group=True)),
    (GoAway(processed=True), Verdict(K.UNKNOWN, "webpush.ConnectionLost", pause_group=True)),
    (Silence(), Verdict(K.UNKNOWN, "webpush.Timeout", pause_group=True)),
    (Reset(REFUSED_STREAM), ACCEPTED),  # surely not processed: it goes again at once
    (GoAway(processed=False), ACCEPTED),
]


@pytest.mark.parametrize(("step", "verdict"), TABLE, ids=str)
async def test_every_row_of_the_table_over_the_wire(island: Island, step: object, verdict: Verdict) -> None:
    async with open_webpush(island, send_timeout=0.2) as (channel, service):
        assert await channel.send(WAKE_UPS, browsers(service, 1)) == [ACCEPTED]
        service.next(step, device="b2")
        assert await channel.send(WAKE_UPS, browsers(service, 1, first=2)) == [verdict]


@pytest.mark.parametrize("status", ["400", "401", "403"])
async def test_a_refused_key_pauses_that_origin_alone_and_one_message_tries_it_again(
    island: Island, status: str
) -> None:
    clock = HandClock(REGISTERED)
    async with open_webpush(island, services=2, clock=clock) as (channel, sour, sweet):
        sour.always(Refuse(status))
        refused = Verdict(K.PAUSE_CHANNEL, f"webpush.{status}", pause_group=True)
        assert await channel.send(WAKE_UPS, browsers(sour, 1)) == [refused]
        for _ in range(2):
            verdicts = await channel.send(WAKE_UPS, browsers(sour, 5) + browsers(sweet, 5))
            assert verdicts == [origin_paused(5.0)] * 5 + [ACCEPTED] * 5
        assert sour.received == 1
        assert list(await channel.paused()) == [sour.origin]
        clock.advance(timedelta(seconds=5))
        verdicts = await channel.send(WAKE_UPS, browsers(sour, 3))
        assert verdicts == [refused, origin_paused(10.0), origin_paused(10.0)]
        assert sour.received == 2
        clock.advance(timedelta(seconds=10))
        sour.always(None)
        assert await channel.send(WAKE_UPS, browsers(sour, 3)) == [ACCEPTED] * 3
        assert await channel.paused() == {}


async def test_a_429_pauses_its_origin_for_as_long_as_it_asks_and_no_other(island: Island) -> None:
    clock = HandClock(REGISTERED)
    async with open_webpush(island, services=2, clock=clock) as (channel, crowded, quiet):
        crowded.next(Refuse("429", retry_after=120))
        slow_down = Verdict(K.RETRY_AT, "webpush.429", 120.0, pause_group=True)
        assert await channel.send(WAKE_UPS, browsers(crowded, 1)) == [slow_down]
        clock.advance(timedelta(seconds=119))
        verdicts = await channel.send(WAKE_UPS, browsers(crowded, 2) + browsers(quiet, 2))
        assert verdicts == [origin_paused(1.0)] * 2 + [ACCEPTED] * 2
        assert crowded.received == 1
        clock.advance(timedelta(seconds=1))
        assert await channel.send(WAKE_UPS, browsers(crowded, 2)) == [ACCEPTED] * 2


async def test_an_origin_that_hangs_holds_up_nobody_for_longer_than_its_deadline(island: Island) -> None:
    clock = HandClock(REGISTERED)
    async with open_webpush(island, services=2, clock=clock, send_timeout=0.2) as (channel, silent, quick):
        silent.always(Silence())
        verdicts = await channel.send(WAKE_UPS, browsers(silent, 20) + browsers(quick, 20))
        assert kinds(verdicts) == [K.UNKNOWN] * 20 + [K.ACCEPTED] * 20
        verdicts = await channel.send(WAKE_UPS, browsers(silent, 20) + browsers(quick, 20))
        assert verdicts == [origin_paused(5.0)] * 20 + [ACCEPTED] * 20
        assert silent.received == 20
        clock.advance(timedelta(seconds=5))
        verdicts = await channel.send(WAKE_UPS, browsers(silent, 20))
        assert kinds(verdicts) == [K.UNKNOWN] + [K.PAUSE_CHANNEL] * 19  # one went first, the others did not


async def test_an_origin_that_is_not_there_costs_its_own_messages_an_attempt_and_nobody_elses(island: Island) -> None:
    async with open_webpush(island, services=2) as (channel, service, other):
        gone = [replace(item, address=item.address.replace(f":{other.port}/", ":1/")) for item in browsers(other, 3)]
        verdicts = await channel.send(WAKE_UPS, gone + browsers(service, 3))
        assert kinds(verdicts[3:]) == [K.ACCEPTED] * 3
        assert all(v.pause_group and v.kind in (K.RETRY_AT, K.PAUSE_CHANNEL) for v in verdicts[:3])
        assert list(await channel.paused()) == ["https://localhost:1"]


async def test_a_single_failure_proves_nothing(island: Island) -> None:
    async with open_webpush(island) as (channel, service):
        for number in range(1, 5):
            service.next(Refuse("500"), device=f"b{number}")
        verdicts = await channel.send(WAKE_UPS, browsers(service, 4))
        assert kinds(verdicts) == [K.RETRY_AT] * 4
        assert await channel.send(WAKE_UPS, browsers(service, 4)) == [ACCEPTED] * 4


async def test_while_one_message_tries_an_origin_other_calls_wait_for_what_comes_of_it(island: Island) -> None:
    clock = HandClock(REGISTERED)
    async with open_webpush(island, clock=clock) as (channel, service):
        service.next(Refuse("429"))
        await channel.send(WAKE_UPS, browsers(service, 1))
        clock.advance(timedelta(seconds=5))
        service.next(Slow(0.2, Said(201)))
        verdicts: list[Verdict] = []
        most = 0

        def watch(_: WebPushRequest) -> None:
            nonlocal most
            most = max(most, service.received)

        service.decide = watch
        async with trio.open_nursery() as nursery:

            async def send(first: int) -> None:
                verdicts.extend(await channel.send(WAKE_UPS, browsers(service, 3, first=first)))

            nursery.start_soon(send, 10)
            nursery.start_soon(send, 20)
            while service.received < 2:
                await trio.lowlevel.checkpoint()
            assert most == 2  # the first message ever, and the one on trial
        assert verdicts == [ACCEPTED] * 6


# ---------------------------------------------------------------------- VAPID


async def test_one_token_for_each_origin_until_shortly_before_its_end(island: Island) -> None:
    clock = HandClock(REGISTERED)
    async with open_webpush(island, services=2, clock=clock) as (channel, one, two):
        for hours in (0, 6, 10, 11, 21, 22):
            clock.time = REGISTERED + timedelta(hours=hours)
            assert await channel.send(WAKE_UPS, browsers(one, 20) + browsers(two, 20)) == [ACCEPTED] * 40
        assert list(one.tokens.values()) == list(two.tokens.values()) == [60, 40, 20]
        assert not one.tokens.keys() & two.tokens.keys()  # each is for its own audience
        assert (await channel.statistics()).credentials_made == 6
        clock.time = REGISTERED  # the clock was set back: a token of the future would live too long
        assert await channel.send(WAKE_UPS, browsers(one, 1)) == [ACCEPTED]


async def test_a_subscription_made_for_another_key_is_left_alone_without_harm_to_others(island: Island) -> None:
    async with open_webpush(island) as (channel, service):
        service.other_keys["b3"] = "BBBB"
        assert await channel.send(WAKE_UPS, browsers(service, 2)) == [ACCEPTED] * 2
        verdicts = await channel.send(WAKE_UPS, browsers(service, 3))
        assert verdicts == [ACCEPTED, ACCEPTED, Verdict(K.DROP_TARGET, "webpush.403", quarantine=True)]
        assert await channel.paused() == {}


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({"subject": "ops@ent.example"}, "must begin with mailto: or https://"),
        ({"key": "c2hvcnQ"}, "must be a P-256 private key"),
        ({"key": "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----"}, "must be a P-256 private key"),
    ],
)
async def test_a_key_or_subject_that_cannot_be_is_refused_at_once(
    island: Island, changes: dict[str, str], trouble: str
) -> None:
    settings = {"subject": "mailto:ops@ent.example", "key": DEMO_KEY} | changes
    with pytest.raises(SettingsError, match=trouble) as caught:
        WebPushChannel(island, WebPushOptions(**settings))  # type: ignore[arg-type]
    assert settings["key"] not in str(caught.value)
    assert DEMO_KEY not in repr(WebPushOptions(subject="mailto:a@b.example", key=DEMO_KEY))


# ---------------------------------------------------------------------- what stays at home


async def test_what_cannot_be_sent_stays_at_home_and_harms_nobody(island: Island) -> None:
    async with open_webpush(island) as (channel, service):
        good = browsers(service, 1)[0]
        no_point = replace(service.subscribe("b1"), p256dh=b"\x04" + b"\x01" * 64).token
        elsewhere = replace(service.subscribe("b1"), endpoint="https://evil.example/push/b1").token
        batch = [
            replace(good, address="not a subscription"),
            replace(good, address=elsewhere),
            replace(good, address=no_point),
            replace(good, language="de"),
            good,
        ]
        assert await channel.send(WAKE_UPS, batch) == [
            Verdict(K.DROP_TARGET, "webpush.BadSubscription", quarantine=True),
            Verdict(K.DROP_TARGET, "webpush.HostNotAllowed", quarantine=True),
            Verdict(K.DROP_TARGET, "webpush.BadKey", quarantine=True),
            Verdict(K.BAD_MESSAGE, "push.NoText"),
            ACCEPTED,
        ]
        assert service.received == 1


async def test_sizes_are_rfc_8291s_to_the_byte(island: Island) -> None:
    async with open_webpush(island) as (channel, service):
        base = WAKE_UPS["fr"]
        await channel.send({"fr": replace(base, sentence="")}, browsers(service, 1))
        room = 3_993 - len(service.requests[0].plaintext.rstrip())
        assert await channel.send({"fr": replace(base, sentence="x" * room)}, browsers(service, 1)) == [ACCEPTED]
        assert len(service.requests[1].body) == 4_096
        assert await channel.send({"fr": replace(base, sentence="x" * (room + 1))}, browsers(service, 1)) == [
            Verdict(K.BAD_MESSAGE, "webpush.PayloadTooLarge")
        ]
        for topic in ("c" * 33, "c\r\nx: y", "é", ""):
            assert await channel.send({"fr": replace(base, collapse_id=topic)}, browsers(service, 1)) == [
                Verdict(K.BAD_MESSAGE, "webpush.BadTopic")
            ]
        assert service.received == 2


async def test_an_answer_after_the_deadline_is_still_told(island: Island) -> None:
    told: list[tuple[Outgoing, Verdict]] = []
    came = trio.Event()

    def late(item: Outgoing, verdict: Verdict) -> None:
        told.append((item, verdict))
        came.set()

    async with open_webpush(island, late=late, send_timeout=0.1) as (channel, service):
        service.next(Slow(0.4, Said(201)))
        items = browsers(service, 1)
        assert kinds(await channel.send(WAKE_UPS, items)) == [K.UNKNOWN]
        await came.wait()
        assert told == [(items[0], ACCEPTED)]
        assert (await channel.statistics()).overdue == 0


async def test_canaries_reach_no_push_service_and_the_endpoint_stays_in_the_path(island: Island) -> None:
    personal = {"name": "Canarina Testulot", "children": "Canarin et Canarette", "unsubscribe_url": "https://canari"}
    async with open_webpush(island) as (channel, service):
        items = [replace(item, personal=personal, target=123_456_789) for item in browsers(service, 3)]
        assert await channel.send(WAKE_UPS, items) == [ACCEPTED] * 3
        for message in service.requests:
            seen = str(dict(message.headers)).encode() + message.body + message.plaintext
            for word in ("Canari", "Testulot", "123456789", message.device):
                assert word.encode() not in seen
        assert service.step_for("b9", service.requests[0]) == Accept()
