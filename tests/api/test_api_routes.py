"""What each route does for the person it is for, and for nobody else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgpack  # type: ignore[import-untyped]  # ships no types
import psycopg
import pytest

from ent_notify.errors import MalformedMessage, NotFound
from ent_notify.model.audience import Everyone, Group, GuardiansOf, Person
from ent_notify.model.events import Announcement, HomeworkAssigned
from ent_notify.model.feed import Entry

from .api_house import House
from .conftest import SetClock

CLASS = "0540001A/class/6A"


async def publish(house: House, key: str, audience: Any = None, **rest: Any) -> int:
    event = Announcement(key=key, audience=audience or Everyone(), title=f"Title {key}", body="Body", **rest)
    published = await house.engine.publish(event)
    await house.engine.worker("relay").run_until_idle()
    return published.notification


# ------------------------------------------------------------------ the inbox


async def test_pages_are_newest_first_and_lose_nothing(house: House) -> None:
    wanted = [await publish(house, f"n{number}", Group(CLASS)) for number in range(5)]
    seen: list[int] = []
    cursor = ""
    while True:
        page = await house.get(f"/v1/inbox?limit=2{cursor}", "P1")
        seen += [entry["notification"] for entry in page["entries"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == wanted[::-1]
    assert page["head"] == 5
    assert (await house.get("/v1/inbox", "P5"))["entries"] == []


async def test_an_entry_says_what_it_is_and_whom_it_concerns(house: House) -> None:
    await house.engine.publish(
        HomeworkAssigned(key="h", group=CLASS, subject="Maths", title="p. 12", due=house.engine.clock.now().date())
    )
    await house.engine.worker("relay").run_until_idle()
    (entry,) = (await house.get("/v1/inbox", "P12"))["entries"]
    assert entry["children"] == ["Ada", "Cleo", "Dan"]
    assert entry["type"] == "HomeworkAssigned" and "Maths" in entry["headline"] and entry["data"]["title"] == "p. 12"
    assert not entry["read"] and entry["acknowledged_at"] is None
    (entry,) = (await house.get("/v1/inbox", "P1"))["entries"]
    assert entry["children"] == []


async def test_marks_are_single_or_up_to_a_place_and_the_badge_follows(house: House) -> None:
    for number in range(4):
        await publish(house, f"n{number}")
    assert await house.get("/v1/inbox/unread", "P1") == {"count": 4, "more": False, "shown": "4"}
    assert (await house.post("/v1/inbox/read", "P1", {"seqs": [2, 3]}))["count"] == 2
    assert (await house.post("/v1/inbox/read", "P1", {"seqs": [2, 3]}))["count"] == 2, "again: no change"
    read = {entry["seq"]: entry["read"] for entry in (await house.get("/v1/inbox", "P1"))["entries"]}
    assert read == {1: False, 2: True, 3: True, 4: False}
    assert (await house.post("/v1/inbox/read-all", "P1", {"upto": 3}))["count"] == 1
    assert (await house.get("/v1/inbox/unread", "P2"))["count"] == 4, "somebody else's badge"


async def test_the_badge_ends_at_99(house: House) -> None:
    await house.engine.publish_many(
        [Announcement(key=f"n{number}", audience=Everyone(), title="T", body="B") for number in range(101)]
    )
    await house.engine.worker("relay").run_until_idle()
    assert await house.get("/v1/inbox/unread", "P1") == {"count": 99, "more": True, "shown": "99+"}
    assert await house.post("/v1/inbox/read", "P1", {"seqs": [1]}) == {"count": 99, "more": True, "shown": "99+"}
    assert await house.post("/v1/inbox/read", "P1", {"seqs": [2]}) == {"count": 99, "more": False, "shown": "99"}


async def test_nobody_reads_what_is_yet_to_come(house: House) -> None:
    await publish(house, "now")
    got = await house.ask("POST", "/v1/inbox/read-all", {"upto": 2}, person="P1")
    assert got.status == 409 and got.json["errors"][0]["pointer"] == "/upto"
    assert (await house.get("/v1/inbox/unread", "P1"))["count"] == 1


async def test_a_mark_of_an_entry_that_is_not_mine_leaves_no_trace(house: House) -> None:
    await publish(house, "other", Person("P2"))
    assert (await house.post("/v1/inbox/read", "P1", {"seqs": [1, 77]}))["count"] == 0
    assert await house.engine.db.fetchval("personal.unread", person_id=1, most=9, now=house.engine.clock.now()) == 0
    mine = await publish(house, "mine", Person("P1"))
    assert mine and (await house.get("/v1/inbox/unread", "P1"))["count"] == 1


async def test_a_get_marks_nothing(house: House) -> None:
    await publish(house, "n")
    for path in ("/v1/inbox", "/v1/inbox/unread"):
        await house.get(path, "P1")
    assert (await house.ask("GET", "/v1/inbox/read", person="P1")).status == 405
    assert (await house.get("/v1/inbox/unread", "P1"))["count"] == 1


# ------------------------------------------------------------------ acknowledgement


async def test_the_first_acknowledgement_counts(house: House, clock: SetClock) -> None:
    notification = await publish(house, "rules", GuardiansOf(Group(CLASS)))
    path = f"/v1/notifications/{notification}/acknowledgement"
    first = await house.post(path, "P12")
    clock.at += timedelta(hours=1)
    assert await house.post(path, "P12") == first
    assert first["acknowledged_at"] == "2026-09-08T08:00:00Z"
    (entry,) = (await house.get("/v1/inbox", "P12"))["entries"]
    assert entry["acknowledged_at"] == first["acknowledged_at"]
    (entry,) = (await house.get("/v1/inbox", "P11"))["entries"]
    assert entry["acknowledged_at"] is None
    page, after = await house.engine.personal.acknowledgements(notification)
    assert [(one.person, one.at) for one in page] == [("P12", clock.at - timedelta(hours=1))] and after == 0


async def test_who_has_acknowledged_is_read_page_by_page(house: House) -> None:
    notification = await publish(house, "rules")
    for person in ("P1", "P2", "P21"):
        await house.post(f"/v1/notifications/{notification}/acknowledgement", person)
    page, after = await house.engine.personal.acknowledgements(notification, most=2)
    rest, end = await house.engine.personal.acknowledgements(notification, most=2, after=after)
    assert [one.person for one in page + rest] == ["P1", "P2", "P21"] and end == 0


# ------------------------------------------------------------------ devices


async def test_a_shared_tablet_serves_one_person_at_a_time(house: House) -> None:
    tablet = {"provider": "fcm", "app": "fr.ent", "token": "tablet"}

    def holders() -> list[str]:
        with psycopg.connect(house.engine.settings.store.url) as connection:
            rows = connection.execute(
                "select external_id from ent_notify.device d join ent_notify.person p on p.id = d.person_id "
                "where token = 'tablet' and dropped_at is null"
            ).fetchall()
        return [row[0] for row in rows]

    for person in ("P1", "P2"):
        assert await house.post("/v1/devices", person, tablet) == {"provider": "fcm", "bound": True}
        assert holders() == [person]
    sign_out = {"provider": "fcm", "token": "tablet"}
    assert (await house.ask("POST", "/v1/devices/drop", sign_out, person="P1")).status == 404
    assert holders() == ["P2"]
    assert await house.post("/v1/devices/drop", "P2", sign_out) == {"provider": "fcm", "bound": False}
    assert holders() == []


# ------------------------------------------------------------------ preferences


async def test_preferences_are_shown_changed_and_obeyed(house: House) -> None:
    shown = (await house.get("/v1/preferences", "P11"))["preferences"]
    assert {"category": "homework", "channel": "email", "enabled": True} in shown
    off = {"category": "homework", "channel": "email", "enabled": False}
    changed = await house.ask("PATCH", "/v1/preferences", {"preferences": [off]}, person="P11")
    assert off in changed.json["preferences"] and len(changed.json["preferences"]) == len(shown)
    assert (await house.get("/v1/preferences", "P12"))["preferences"] == shown


async def test_an_unknown_choice_changes_nothing(house: House) -> None:
    before = await house.get("/v1/preferences", "P11")
    off = {"category": "homework", "channel": "email", "enabled": False}
    wrong = {"category": "weather", "channel": "email", "enabled": False}
    got = await house.ask("PATCH", "/v1/preferences", {"preferences": [off, wrong]}, person="P11")
    assert got.status == 409 and "weather" in got.json["detail"] and "homework on email" in got.json["detail"]
    assert await house.get("/v1/preferences", "P11") == before


# ------------------------------------------------------------------ conversations


async def test_a_conversation_is_opened_answered_paged_and_read(house: House) -> None:
    new = {"to": ["P21"], "subject": "Sortie", "body": "Bonjour"}
    opened = await house.post("/v1/conversations", "P11", new)
    path = f"/v1/conversations/{opened['conversation']}"
    for number in range(120):
        assert (await house.post(f"{path}/messages", "P21", {"body": f"m{number}"}))["seq"] == number + 2
        if number % 50 == 49:
            house.api._desk._writes._due.clear()  # they write more than a person may in half a minute
    page = await house.get(path, "P11")
    assert [message["seq"] for message in page["messages"]] == list(range(1, 101)) and page["next"] == 100
    assert page["messages"][0]["mine"] and page["messages"][1]["author"] == "Lou Exemple"
    rest = await house.get(f"{path}?after={page['next']}", "P11")
    assert [message["seq"] for message in rest["messages"]] == list(range(101, 122)) and rest["next"] is None
    assert await house.post(f"{path}/read", "P11", {"seq": 50}) == {"read_seq": 50}
    assert await house.post(f"{path}/read", "P11", {"seq": 5}) == {"read_seq": 50}, "never back"
    assert await house.post(f"{path}/read", "P11", {"seq": 9999}) == {"read_seq": 121}, "no further than there is"


async def test_nobody_learns_which_people_there_are(house: House) -> None:
    """A pupil may not write to a pupil, nor to nobody: the same words."""
    answers = {
        (await house.ask("POST", "/v1/conversations", {"to": [to], "subject": "S", "body": "B"}, person="P1")).body
        for to in ("P2", "nobody", "P6", "")
        if to
    }
    assert len(answers) == 1 and b"may not open" in answers.pop()


async def test_the_engine_refuses_a_text_that_cannot_be_kept(house: House) -> None:
    conversation, _ = await house.engine.start_conversation("P21", ["P11"], "Sortie", "Bonjour")
    for text in ("a\0b", "\ud800", " \n", "", "x" * 20_001):
        with pytest.raises(MalformedMessage):
            await house.engine.post(conversation, "P11", text)
        with pytest.raises(MalformedMessage):
            await house.engine.start_conversation("P21", ["P11"], text, "Bonjour")
    for nobody in ("P\0", "\ud800"):
        with pytest.raises(NotFound):
            await house.engine.reader(nobody)


# ------------------------------------------------------------------ streams


async def test_a_ticket_opens_one_stream_of_whom_it_was_given(house: House) -> None:
    ticket = await house.post("/v1/streams/ticket", "P1")
    assert ticket["expires_in"] == 60
    shown = Entry(ticket["ticket"], None)
    first, again = await house.engine.feed.enter([shown, shown], house.engine.clock.now())
    assert first is not None and first.person == 1 and again is None


# ------------------------------------------------------------------ sync


async def test_a_phone_comes_back_writes_and_is_told_the_same_in_either_form(house: House) -> None:
    notification = await publish(house, "rules", Person("P11"))
    conversation, _ = await house.engine.start_conversation("P21", ["P11"], "Sortie", "Bonjour")
    first = await house.get("/v1/sync", "P11")
    assert first["reset"]["reason"] == "first" and first["unread"] == 1
    assert [item["notification"] for item in first["items"]] == [notification]
    packed = await house.ask("GET", "/v1/sync", person="P11", headers={"accept": "application/msgpack"})
    assert packed.headers["content-type"] == "application/msgpack" and msgpack.unpackb(packed.body) == first

    writes = [
        {"client_id": "1", "kind": "acknowledge", "notification": notification},
        {"client_id": "2", "kind": "post", "conversation": conversation, "body": "Merci"},
        {"client_id": "3", "kind": "post", "conversation": 77, "body": "Merci"},
        {"client_id": "4", "kind": "wave"},
    ]
    answers = await house.post("/v1/sync", "P11", {"writes": writes})
    assert [answer["done"] for answer in answers["answers"]] == [True, True, False, False]
    again = await house.ask(
        "POST",
        "/v1/sync",
        person="P11",
        body=msgpack.packb({"writes": writes}),
        headers={"content-type": "application/msgpack", "accept": "application/json"},
    )
    assert again.json == answers, "a retry is the same write"
    delta = await house.get(f"/v1/sync?cursor={first['cursor']}", "P11")
    (moved,) = delta["conversations"]
    assert moved["last_seq"] == 2 and delta["reset"] is None and delta["items"] == []


async def test_a_cursor_or_a_batch_that_is_none_is_refused(house: House) -> None:
    cursor = (await house.get("/v1/sync", "P11"))["cursor"]
    for person, text in (("P12", cursor), ("P11", cursor[:-3]), ("P11", "nonsense")):
        got = await house.ask("GET", f"/v1/sync?cursor={text}", person=person)
        assert got.status == 422 and "without a cursor" in got.json["detail"]
    twice = [{"client_id": "1", "kind": "read", "seqs": [1]}] * 2
    assert (await house.ask("POST", "/v1/sync", {"writes": twice}, person="P11")).status == 422
    packed = {"content-type": "application/msgpack"}
    assert (await house.ask("POST", "/v1/sync", person="P11", body=b"\xc1", headers=packed)).status == 400
    assert (await house.ask("POST", "/v1/inbox/read", person="P11", body=b"\x80", headers=packed)).status == 415
