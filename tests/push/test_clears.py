"""Silent pushes that take read alerts away, as each platform gets them: over the wire, to the fakes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import orjson

from ent_notify._island import Island
from ent_notify.channels.push_options import WebPushOptions
from ent_notify.channels.webpush import NO_SILENCE, WebPushChannel
from ent_notify.flows.clearing import LIFE, wake_up
from ent_notify.flows.outbox import collapse_id
from ent_notify.model.delivery import ACCEPTED, MOST_CLEARED, WakeUp
from ent_notify.model.evidence import Clear
from ent_notify.testing.webpush import DEMO_KEY, subscribe

from .kit import REGISTERED, WAKE_UPS, HandClock, OpenApns, OpenFcm, android, ios
from .webpush_kit import browsers, open_webpush

READ = Clear(person=1, device=1, token="t", registered_at=REGISTERED, roots=(9, 7), unread=3)
TAGS = [collapse_id(9), collapse_id(7)]


def clears(read: Clear = READ) -> dict[str, WakeUp]:
    return {"fr": wake_up(read, REGISTERED)}


async def test_an_iphone_gets_its_badge_and_wakes_its_app(open_apns: OpenApns) -> None:
    async with open_apns() as (apns, channel):
        assert await channel.send(clears(), ios(1)) == [ACCEPTED]
        (push,) = apns.requests
        assert orjson.loads(push.body) == {"aps": {"content-available": 1, "badge": 3}, "clear": TAGS}
        said = {name: value for name, value in push.headers.items() if name.startswith("apns-")}
        del said["apns-id"], said["apns-topic"]
        assert said == {
            "apns-push-type": "alert",
            "apns-priority": "5",  # Apple: 10 is an error where content-available is all
            "apns-collapse-id": TAGS[0],
            "apns-expiration": str(int((REGISTERED + LIFE).timestamp())),
        }


async def test_an_android_phone_gets_a_data_message(open_fcm: OpenFcm) -> None:
    async with open_fcm(clock=HandClock(REGISTERED)) as (fcm, channel):
        assert await channel.send(clears(), android(1)) == [ACCEPTED]
        (push,) = fcm.requests
        assert "notification" not in push.message
        assert push.message["data"] == {"clear": " ".join(TAGS), "badge": "3"}
        assert push.message["android"] == {
            "collapse_key": TAGS[0],
            "priority": "normal",
            "ttl": f"{LIFE.total_seconds():.0f}s",
        }


async def test_an_alert_that_waits_for_a_browser_gives_way_to_what_clears_it(island: Island) -> None:
    async with open_webpush(island, clock=HandClock(REGISTERED)) as (channel, service):
        (browser,) = browsers(service, 1)
        alert = {"fr": replace(WAKE_UPS["fr"], collapse_id=TAGS[0], expires_at=None)}
        assert await channel.send(alert, [browser]) == [ACCEPTED]
        assert await channel.send(clears(), [browser]) == [ACCEPTED]
        message = service.requests[-1]
        assert message.payload == {"clear": TAGS, "badge": 3}
        assert (message.headers["urgency"], message.ttl) == ("low", LIFE.total_seconds())
        assert [waiting.payload for waiting in service.collect(message.device)] == [message.payload]


async def test_safari_is_spared_pushes_of_which_nothing_is_shown(island: Island) -> None:
    apple = subscribe("b1", "https://web.push.apple.com")
    (item,) = ios(1)
    channel = WebPushChannel(
        island, WebPushOptions(subject="mailto:ops@ent.example", key=DEMO_KEY), clock=HandClock(REGISTERED)
    )
    assert await channel.send(clears(), [replace(item, address=apple.token)]) == [NO_SILENCE]
    await channel.aclose()


async def test_as_much_as_can_be_cleared_at_once_fits_everywhere(
    island: Island, open_apns: OpenApns, open_fcm: OpenFcm
) -> None:
    most = clears(replace(READ, roots=tuple(range(1, 200)), unread=100))
    assert (len(most["fr"].clears), most["fr"].badge) == (MOST_CLEARED, 99)
    async with open_apns() as (_, to_apple), open_fcm() as (_, to_google), open_webpush(island) as (channel, service):
        assert await to_apple.send(most, ios(1)) == [ACCEPTED]
        assert await to_google.send(most, android(1)) == [ACCEPTED]
        assert await channel.send(most, browsers(service, 1)) == [ACCEPTED]


def test_they_are_kept_for_a_week_end() -> None:
    assert clears()["fr"].expires_at == REGISTERED + timedelta(days=2)
