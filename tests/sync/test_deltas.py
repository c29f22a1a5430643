"""What a phone is told when it comes back, one thing at a time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from tests.engine.conftest import Town, open_town

from ent_notify.errors import MalformedSync
from ent_notify.model.audience import Everyone
from ent_notify.model.events import Announcement
from ent_notify.model.inbox import Reader
from ent_notify.ports import Unobserved
from ent_notify.settings import SyncSettings
from ent_notify.wire.forms import JSON, MSGPACK

from .device import Device, ask, send

CLASS = {"group": "0540001A/class/6A"}
FAMILIES = {"guardians_of": CLASS}
EVERYONE = {"everyone": True}


async def publish(town: Town, key: str, audience: dict[str, Any] = EVERYONE, replaces: str | None = None) -> int:
    """Publish and relay; a minute passes. The notification's number."""
    event = {"type": "Announcement", "key": key, "audience": audience, "data": {"title": key, "body": "…"}}
    published = await town.engine.publish(event | ({"replaces": replaces} if replaces else {}))
    await relay(town)
    town.clock.advance(timedelta(minutes=1))
    return published.notification


async def relay(town: Town) -> None:
    await town.engine.conversations.correspondence(Unobserved()).step()
    await town.engine.db.fetchval("fanout.relay", most=1_000)


async def reader(town: Town, person: str = "P11") -> Reader:
    return await town.engine.reader(person)


def titles(device: Device) -> list[str]:
    return [item["data"].get("title", item["type"]) for _, item in sorted(device.items.items())]


async def test_the_first_sync_brings_the_newest_entries_and_the_next_what_is_new(town: Town) -> None:
    gil, phone = await reader(town), Device()
    await publish(town, "one")
    await publish(town, "two", FAMILIES)
    await publish(town, "not for families", CLASS)
    (first,) = await phone.sync(town.engine, gil)
    assert first["reset"]["reason"] == "first"
    assert titles(phone) == ["one", "two"]
    assert phone.unread == 2

    await publish(town, "three")
    (second,) = await phone.sync(town.engine, gil)
    assert [item["data"]["title"] for item in second["items"]] == ["three"]
    assert (second["reset"], second["range"], second["read"], second["gone"]) == (None, None, None, [])
    assert phone.unread == 3


async def test_an_item_is_what_the_inbox_shows(town: Town) -> None:
    gil, phone = await reader(town), Device()
    number = await publish(town, "one", FAMILIES)
    await phone.sync(town.engine, gil)
    (entry,) = await town.engine.inbox(gil)
    (item,) = phone.items.values()
    assert (item["notification"], item["seq"], item["type"]) == (number, entry.seq, entry.type)
    assert (item["data"], item["children"]) == (dict(entry.data), list(entry.children)) == (item["data"], ["Ada"])
    assert item["headline"] == town.engine.headline(entry, gil)
    assert item["published_at"] == "2026-09-08T08:00:00.000000Z"
    assert item["expires_at"] > item["published_at"]


async def test_both_forms_carry_the_same_values(town: Town) -> None:
    gil = await reader(town)
    await publish(town, "one", FAMILIES)
    await town.engine.start_conversation("P21", ["P11"], "Sujet", "Bonjour")
    assert await ask(town.engine, gil, None, form=JSON) == await ask(town.engine, gil, None, form=MSGPACK)


async def test_nothing_new_is_an_empty_page(town: Town) -> None:
    gil, phone = await reader(town), Device()
    await publish(town, "one")
    await phone.sync(town.engine, gil)
    (page,) = await phone.sync(town.engine, gil)
    assert (page["items"], page["gone"], page["conversations"], page["read"], page["more"]) == ([], [], [], None, False)


async def test_what_is_recalled_loses_its_text_and_what_is_replaced_goes(town: Town) -> None:
    gil, phone = await reader(town), Device()
    recalled = await publish(town, "wrong")
    await publish(town, "first version")
    await publish(town, "for all")
    await phone.sync(town.engine, gil)

    await town.engine.campaigns.recall(recalled, by="t", reason="wrong")
    await publish(town, "second version", replaces="first version")
    await publish(town, "for the class only", CLASS, replaces="for all")
    (page,) = await phone.sync(town.engine, gil)
    assert titles(phone) == ["Withdrawn", "second version"]
    assert page["items"][0]["data"] == {}
    assert sorted(page["gone"]) == [2, 3]
    assert phone.unread == 2


async def test_who_loses_a_key_loses_its_entries_and_who_leaves_a_class_keeps_what_was_theirs(town: Town) -> None:
    gil, ada, phone, tablet = await reader(town), await reader(town, "P1"), Device(), Device()
    await publish(town, "families", FAMILIES)
    await publish(town, "class", CLASS)
    await publish(town, "all")
    await phone.sync(town.engine, gil)
    await tablet.sync(town.engine, ada)
    await town.engine.db.script("update ent_notify.guardian_link set restricted = true where pupil_id = 1")
    await leave(town, 1)
    await publish(town, "later", CLASS)

    (page,) = await phone.sync(town.engine, gil)
    assert titles(phone) == ["all"]
    assert page["range"] == [0, 3]  # what is held there and not told is gone
    assert page["reset"] is None
    await tablet.sync(town.engine, ada)
    assert titles(tablet) == ["class", "all"]

    await town.engine.db.script("update ent_notify.guardian_link set restricted = false where pupil_id = 1")
    await phone.sync(town.engine, gil)
    assert titles(phone) == ["families", "all"]


async def leave(town: Town, person: int) -> None:
    at = town.clock.now().isoformat()
    await town.engine.db.script(f"update ent_notify.membership set valid_until = '{at}' where person_id = {person}")


async def test_a_child_with_a_new_name_is_told(town: Town) -> None:
    gil, phone = await reader(town), Device()
    await publish(town, "one", FAMILIES)
    await phone.sync(town.engine, gil)
    await town.engine.db.script("update ent_notify.person set given_name = 'Adèle' where id = 1")
    await phone.sync(town.engine, gil)
    assert [item["children"] for item in phone.items.values()] == [["Adèle"]]


async def test_who_joins_late_in_a_transaction_misses_nothing_that_was_published_meanwhile(
    town: Town, town_dsn: str
) -> None:
    """An import takes its time: the membership begins before entries that are in the feed already when it commits."""
    eva, phone = await reader(town, "P5"), Device()
    await phone.sync(town.engine, eva)
    with psycopg.connect(town_dsn) as slow:
        slow.execute(
            "insert into ent_notify.membership (group_id, person_id, valid_from) values (7, 5, %s)", [town.clock.now()]
        )
        await publish(town, "meanwhile", CLASS)
        await phone.sync(town.engine, eva)
        assert titles(phone) == []
    await phone.sync(town.engine, eva)
    assert titles(phone) == ["meanwhile"]


async def test_reading_elsewhere_clears_the_badge(town: Town) -> None:
    gil, phone = await reader(town), Device()
    for key in ("one", "two", "three"):
        await publish(town, key)
    await phone.sync(town.engine, gil)
    await town.engine.mark_read(gil, [2])
    (page,) = await phone.sync(town.engine, gil)
    assert page["items"] == []
    assert [phone.is_read(seq) for seq in (1, 2, 3)] == [False, True, False]
    assert phone.unread == 2
    await town.engine.mark_all_read(gil, 3)
    await phone.sync(town.engine, gil)
    assert phone.unread == 0
    assert all(map(phone.is_read, (1, 2, 3)))


async def test_an_unread_count_stops_at_ninety_nine(town: Town) -> None:
    gil = await reader(town)
    events = [Announcement(key=f"k{i}", title="T", body="B", audience=Everyone()) for i in range(120)]
    await town.engine.publish_many([event.to_json() for event in events])
    await relay(town)
    page = (await Device().sync(town.engine, gil))[-1]
    assert (page["unread"], page["unread_is_more"]) == (99, True)
    await town.engine.mark_all_read(gil, 21)
    page = (await Device().sync(town.engine, gil))[-1]
    assert (page["unread"], page["unread_is_more"]) == (99, False)


async def test_pages_are_bounded_and_come_to_an_end(town_dsn: str) -> None:
    async with open_town(town_dsn, sync=SyncSettings(newest=5, page=2)) as town:
        gil, phone = await reader(town), Device()
        for number in range(8):
            await publish(town, f"n{number}")
        pages = await phone.sync(town.engine, gil)
        assert [len(page["items"]) for page in pages] == [2, 2, 1]
        assert titles(phone) == ["n3", "n4", "n5", "n6", "n7"]
        assert phone.floor == 3
        for number in range(8, 13):
            await publish(town, f"n{number}")
        pages = await phone.sync(town.engine, gil, most=100)
        assert [len(page["items"]) for page in pages] == [2, 2, 1]
        assert [page["unread"] for page in pages] == [None, None, 13]
        assert len(phone.items) == 10


@pytest.mark.parametrize(("days", "reason"), [(59, None), (61, "too_old")])
async def test_a_cursor_that_is_too_old_starts_again_and_says_so(town: Town, days: int, reason: str | None) -> None:
    gil, phone = await reader(town), Device()
    wrong = await publish(town, "wrong")
    await phone.sync(town.engine, gil)
    await town.engine.campaigns.recall(wrong, by="t", reason="wrong")
    await relay(town)
    town.clock.advance(timedelta(days=days))
    await town.engine.upkeep.sweep(town.clock.now())  # what is kept is kept for those who may still ask
    (page,) = await phone.sync(town.engine, gil)
    assert phone.resets == ["first"] + ([reason] if reason else [])
    assert titles(phone) == ["Withdrawn"]
    if reason is not None:
        assert "drop everything that is held" in page["reset"]["remedy"]


async def test_a_cursor_of_a_database_that_was_restored_starts_again(town: Town) -> None:
    gil, phone = await reader(town), Device()
    await publish(town, "one")
    await phone.sync(town.engine, gil)
    await town.engine.db.script(
        "delete from ent_notify.campaign; delete from ent_notify.audience; delete from ent_notify.notification;"
        "update ent_notify.feed set last_seq = 0"
    )
    await phone.sync(town.engine, gil)
    assert phone.resets == ["first", "other_store"]
    assert phone.items == {}


async def test_nobody_gets_anything_by_somebody_elses_cursor(town: Town) -> None:
    theirs = Device()
    await theirs.sync(town.engine, await reader(town, "P12"))
    with pytest.raises(MalformedSync, match=r"given to somebody else; sync without a cursor to start again"):
        await ask(town.engine, await reader(town), theirs.cursor)


# ---------------------------------------------------------------- conversations


async def test_conversations_come_with_what_is_new_in_them(town: Town) -> None:
    lou, gil, phone, tablet = await reader(town, "P21"), await reader(town), Device(), Device()
    number, _ = await town.engine.start_conversation("P21", ["P11"], "Sortie", "Bonjour")
    other, _ = await town.engine.start_conversation("P21", ["P12"], "Autre", "Bonjour")
    await phone.sync(town.engine, gil)
    assert list(phone.conversations) == [number]
    await tablet.sync(town.engine, lou)
    assert list(tablet.conversations) == [number, other]

    await town.engine.post(number, "P11", "Merci")
    for device, who in ((phone, gil), (tablet, lou)):
        (page,) = await device.sync(town.engine, who)
        (told,) = page["conversations"]
        assert (told["id"], told["last_seq"], told["told_after"]) == (number, 2, 1)
        assert [message["body"] for message in told["messages"]] == ["Merci"]
        assert [m["body"] for m in device.conversations[number]["messages"].values()] == ["Bonjour", "Merci"]
    assert (phone.conversations[number]["read_seq"], tablet.conversations[number]["read_seq"]) == (2, 1)

    await send(town.engine, lou, [{"client_id": "r", "kind": "read_conversation", "conversation": number, "upto": 9}])
    (page,) = await tablet.sync(town.engine, lou)
    assert [(told["read_seq"], told["messages"]) for told in page["conversations"]] == [(2, [])]
    (page,) = await phone.sync(town.engine, gil)
    assert page["conversations"] == []


async def test_a_message_that_commits_late_is_told(town: Town, town_dsn: str) -> None:
    """Its transaction began before another whose message a phone has been told already."""
    gil, phone = await reader(town), Device()
    slowly, _ = await town.engine.start_conversation("P21", ["P11"], "Lente", "Bonjour")
    quickly, _ = await town.engine.start_conversation("P21", ["P11"], "Vite", "Bonjour")
    await phone.sync(town.engine, gil)
    with psycopg.connect(town_dsn) as slow:
        slow.execute("update ent_notify.conversation set last_seq = 2 where id = %s", [slowly])
        slow.execute(
            "insert into ent_notify.message (conversation_id, seq, author_id, body, posted_at)"
            " values (%s, 2, 21, 'Enfin', %s)", [slowly, town.clock.now()],
        )  # fmt: skip
        for body in ("un", "deux"):
            await town.engine.post(quickly, "P21", body)
            await phone.sync(town.engine, gil)
        assert phone.conversations[quickly]["last_seq"] == 3
        assert phone.conversations[slowly]["last_seq"] == 1
    await phone.sync(town.engine, gil)
    assert phone.conversations[slowly]["messages"][2]["body"] == "Enfin"


async def test_many_conversations_come_in_pages_and_long_messages_as_far_as_they_fit(town: Town) -> None:
    gil, phone = await reader(town), Device()
    await phone.sync(town.engine, gil)
    numbers = [(await town.engine.start_conversation("P21", ["P11"], f"n{i}", "x" * 9_000))[0] for i in range(45)]
    for _ in range(9):
        await town.engine.post(numbers[0], "P21", "y" * 9_000)
    pages = await phone.sync(town.engine, gil)
    assert [len(page["conversations"]) for page in pages] == [20, 20, 5]
    assert sorted(phone.conversations) == numbers
    longest = phone.conversations[numbers[0]]
    assert (longest["told_after"], sorted(longest["messages"])) == (3, list(range(4, 11)))
