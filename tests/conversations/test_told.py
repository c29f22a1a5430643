"""Who is told of a message: those who take part, once, unless they muted, blocked, or may not be written to."""

from __future__ import annotations

from datetime import timedelta

import trio
from tests.engine.conftest import Town, open_town

from ent_notify.model.conversations import Circle, NewConversation, Scope, Shape
from ent_notify.policy.announcing import Addressee, audience_of
from ent_notify.policy.contact import Rules
from ent_notify.store.sql import Query

from .conftest import CLASS, told, who

MINUTE = timedelta(minutes=1)
KEYS = Query("keys", "", "select idempotency_key from ent_notify.notification order by id", ())


async def test_the_others_are_told_once_whoever_works(taught_dsn: str) -> None:
    async with open_town(taught_dsn) as town, open_town(taught_dsn) as beside:
        talks = town.engine.conversations
        lou, gil = await who(town, "P21", "P11")
        conversation, _ = await talks.open(lou, NewConversation(shape=Shape.DIRECT, body="Un", to=("P11",)))
        for number in range(20):
            await talks.post(conversation, (lou, gil)[number % 2], str(number))
        async with trio.open_nursery() as nursery:
            for each in (town, beside):
                nursery.start_soon(each.engine.worker().run_until_idle)
        keys = [row["idempotency_key"] for row in await town.engine.db.fetch(KEYS)]
        assert sorted(keys) == sorted(f"message:{conversation}:{seq}" for seq in range(1, 22))
        assert await told(town) == {"P11": [conversation] * 11, "P21": [conversation] * 10}
        (newest, *_) = await town.engine.inbox(gil)
        assert newest.data == {
            "conversation": conversation,
            "subject": "Lou Exemple – Gil Exemple",
            "sender": "Lou Exemple",
        }


async def test_a_class_is_told_by_key_but_for_the_author_and_who_has_muted_it(town: Town) -> None:
    talks = town.engine.conversations
    lou, ada, ida = await who(town, "P21", "P1", "P13")
    new = NewConversation(
        shape=Shape.CIRCLE, subject="S", body="Un", circles=(Circle(CLASS), Circle(CLASS, Scope.GUARDIANS))
    )
    conversation, _ = await talks.open(lou, new)
    everybody = ["P1", "P2", "P3", "P4", "P11", "P12", "P13"]  # not who is restricted, nor a mere contact
    assert await told(town) == {name: [conversation] for name in everybody}
    await talks.keep(conversation, ada, muted=True)
    await talks.post(conversation, ida, "Deux")
    assert {name: len(found) for name, found in (await told(town)).items()} == {
        "P2": 2, "P3": 2, "P4": 2, "P11": 2, "P12": 2, "P1": 1, "P13": 1, "P21": 1
    }  # fmt: skip


async def test_mute_and_block_in_a_group(town: Town) -> None:
    talks = town.engine.conversations
    lou, gil, hal, ida = await who(town, "P21", "P11", "P12", "P13")
    new = NewConversation(shape=Shape.GROUP, subject="S", body="Un", to=("P11", "P12", "P13"))
    conversation, _ = await talks.open(lou, new)
    await talks.keep(conversation, hal, muted=True)
    await talks.block(ida, gil.id)
    await talks.post(conversation, gil, "Deux")
    assert await told(town) == {"P11": [conversation], "P13": [conversation], "P21": [conversation]}


async def test_who_may_write_is_looked_at_again_when_it_is_delivered(town: Town) -> None:
    talks = town.engine.conversations
    lou, gil = await who(town, "P21", "P11")
    await talks.open(lou, NewConversation(shape=Shape.DIRECT, body="Un", to=("P11",)))
    await talks.set_contact_rules({"forbid": [{"from": "teacher", "to": "guardian", "when": ["anywhere"]}]}, by="P31")
    assert await told(town) == {}
    del gil


async def test_a_blind_copy_is_of_one_message_and_guardians_are_told_that_they_may_join(town: Town) -> None:
    talks = town.engine.conversations
    (lou,) = await who(town, "P21")
    blind = NewConversation(shape=Shape.GROUP, subject="S", body="Un", to=("P11",), blind=("P31",))
    first, _ = await talks.open(lou, blind)
    await talks.post(first, lou, "Deux")
    child, _ = await talks.open(lou, NewConversation(shape=Shape.CHILD, subject="Bo", body="Un", about="P2"))
    await talks.post(child, lou, "Deux")
    assert await told(town) == {"P11": [first] * 2, "P31": [first], "P13": [child]}


async def test_at_night_the_inbox_has_it_and_phones_wait(taught_dsn: str) -> None:
    async with open_town(taught_dsn) as town:
        town.clock.advance(timedelta(hours=12))  # ten in the evening
        (lou,) = await who(town, "P21")
        await town.engine.conversations.open(lou, NewConversation(shape=Shape.DIRECT, body="Un", to=("P11",)))
        assert list(await told(town)) == ["P11"]
        assert town.fcm.sent == town.apns.sent == town.mail.sent == []
        town.clock.advance(timedelta(hours=9, minutes=30))
        await town.engine.worker().run_until_idle()
        assert len(town.fcm.sent) == len(town.apns.sent) == len(town.mail.sent) == 1


def test_more_silent_people_than_one_union_takes() -> None:
    group = [Addressee({"group": "A/class/1"}, None)]
    audience = audience_of("P1", [], group, [f"P{n}" for n in range(9_000)], Rules())
    assert audience is not None
    base, removed = audience["minus"]
    assert base == {"union": [{"group": "A/class/1"}]}
    assert [len(part["union"]) for part in removed["union"]] == [4_000, 4_000, 1_000]
    assert audience_of("P1", [], [], [], Rules()) is None
