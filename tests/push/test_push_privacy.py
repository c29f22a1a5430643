"""No personal data in a push: canaries planted all around are in none of the bytes that the providers got."""

from __future__ import annotations

from dataclasses import fields, replace

from ent_notify.model.delivery import ACCEPTED, Outgoing, WakeUp

from .kit import WAKE_UPS, OpenApns, OpenFcm, android, ios

CANARIES = {
    "name": "Canarina Testulot",
    "children": "Canarin et Canarette",
    "unsubscribe_url": "https://ent.example/canari-desabonnement",
    "class": "6e Canari",
}


def with_canaries(items: list[Outgoing]) -> list[Outgoing]:
    return [replace(item, personal=CANARIES) for item in items]


def test_a_wake_up_has_no_place_for_personal_data() -> None:
    """A new field is a decision: think of what could leak through it before adding it here."""
    assert [field.name for field in fields(WakeUp)] == [
        "sentence",
        "notification",
        "category",
        "collapse_id",
        "urgency",
        "expires_at",
        "shown",  # yes or no: a page of theirs had it on screen
        "clears",  # collapse ids that the same device was sent before
        "badge",  # how many entries are unread
    ]


async def test_canaries_reach_neither_provider(open_apns: OpenApns, open_fcm: OpenFcm) -> None:
    async with open_apns() as (apns, to_apple), open_fcm() as (fcm, to_google):
        assert await to_apple.send(WAKE_UPS, with_canaries(ios(5))) == [ACCEPTED] * 5
        assert await to_google.send(WAKE_UPS, with_canaries(android(5))) == [ACCEPTED] * 5
        got = [(str(dict(push.headers)) + push.device).encode() + push.body for push in apns.requests]
        got += [(str(dict(message.headers)) + message.device).encode() + message.body for message in fcm.requests]
        assert len(got) == 10
        for canary in CANARIES.values():
            for word in canary.split():
                if len(word) > 2:
                    assert not any(word.encode() in received for received in got)


async def test_an_address_stays_where_it_belongs(open_apns: OpenApns) -> None:
    """A token is in the path and nowhere else; the person's id is nowhere."""
    async with open_apns() as (apns, channel):
        item = replace(ios(1)[0], target=123_456_789)
        await channel.send(WAKE_UPS, [item])
        (push,) = apns.requests
        assert item.address not in str(dict(push.headers)) + push.body.decode()
        assert b"123456789" not in push.body
