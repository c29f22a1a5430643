"""A teacher, guardians and the head over HTTP: what they write, keep, take back, read and sign."""

from __future__ import annotations

import pytest

from .api_house import House
from .conftest import Open, SetClock

CLASS = "0540001A/class/6A"
SLIP = {
    "shape": "circle",
    "subject": "Sortie",
    "body": "Au musée",
    "circles": [{"group": CLASS, "scope": "guardians"}],
    "ask": {"kind": "signature", "quorum": "one_guardian", "deadline": "2026-09-20T10:00:00Z", "remind_hours": 48},
}


@pytest.fixture
async def taught(house: House) -> House:
    """Lou (P21) teaches 6A."""
    await house.engine.db.script(
        "insert into ent_notify.membership (group_id, person_id, valid_from) "
        f"select id, 21, '2026-09-01' from ent_notify.people_group where external_id = '{CLASS}'"
    )
    return house


async def test_a_class_s_guardians_sign_and_the_teacher_sees_how_it_stands(taught: House) -> None:
    house = taught
    number = (await house.post("/v1/conversations", "P21", SLIP))["conversation"]
    message = f"/v1/conversations/{number}/messages/1"
    (seen,) = (await house.get(f"/v1/conversations/{number}", "P13"))["messages"]
    assert (seen["body"], seen["asks"], seen["mine"]) == ("Au musée", True, False)
    asked = await house.get(f"{message}/request", "P13")
    assert (asked["kind"], asked["quorum"], asked["changed"]) == ("signature", "one_guardian", False)
    assert [slot["child"] for slot in asked["slots"]] == ["P2"]
    assert (await house.ask("POST", f"{message}/request", {}, person="P13")).status == 403  # of which text?
    signed = await house.post(f"{message}/request", "P13", {"version": asked["version"]})
    assert await house.post(f"{message}/request", "P13", {"version": asked["version"]}) == signed
    standing = await house.get(f"{message}/standing", "P21")
    assert standing == {"asked": 4, "met": 1, "missing": 3, "unreachable": 0, "outdated": 0, "late": 0}
    page = await house.get(f"{message}/answerers", "P21")
    assert {each["person"] for each in page["answerers"] if each["met"]} == {"P13"}
    await house.post(f"{message}/edit", "P21", {"body": "Au zoo"})
    assert (await house.get(f"{message}/standing", "P21"))["outdated"] == 1
    proof = await house.get(f"{message}/proof", "P21")
    assert [each["version"] for each in proof["given"]] == [asked["version"]]
    assert set(proof["texts"].values()) == {"Sortie\n\nAu musée", "Sortie\n\nAu zoo"}
    assert [each["body"] for each in (await house.get(f"{message}/history", "P21"))["earlier"]] == ["Au musée"]
    assert (await house.ask("GET", f"{message}/history", person="P13")).status == 403


async def test_drafts_hours_and_the_address_book(taught: House) -> None:
    house = taught
    book = await house.get("/v1/contacts?q=gi", "P21")
    assert [each["person"] for each in book["people"]] == ["P11"]
    assert {"group": CLASS, "name": "6A", "scope": "guardians"} in (await house.get("/v1/contacts?q=6a", "P21"))[
        "groups"
    ]
    new = {"shape": "direct", "to": ["P11"], "body": "Bonjour"}
    draft = (await house.post("/v1/drafts", "P21", {"new": new}))["draft"]
    hour = {"on": "2026-09-09", "at": "17:00", "zone": "Europe/Paris"}
    await house.post(f"/v1/drafts/{draft}", "P21", {"new": new, "sending": hour})
    (kept,) = (await house.get("/v1/drafts", "P21"))["drafts"]
    assert (kept["state"], kept["due_at"], kept["to"]) == ("scheduled", "2026-09-09T15:00:00Z", ["P11"])
    sent = await house.post(f"/v1/drafts/{draft}/send", "P21")
    assert await house.post(f"/v1/drafts/{draft}/send", "P21") == sent
    other = (await house.post("/v1/drafts", "P21", {"body": "À qui ?"}))["draft"]
    await house.post(f"/v1/drafts/{other}/forget", "P21")
    assert (await house.get("/v1/drafts", "P21"))["drafts"] == []
    wrong = {"new": new, "sending": hour | {"zone": "Europe/Pari"}}
    assert (await house.ask("POST", "/v1/drafts", wrong, person="P21")).status == 422


async def test_what_one_keeps_recalls_and_leaves(taught: House) -> None:
    house = taught
    new = {"to": ["P11", "P31"], "subject": "S", "body": "Un"}
    number = (await house.post("/v1/conversations", "P21", new))["conversation"]
    root = f"/v1/conversations/{number}"
    await house.post(f"{root}/keep", "P11", {"archived": True, "labels": ["à lire"]})
    assert (await house.get("/v1/conversations", "P11"))["conversations"] == []
    (thread,) = (await house.get("/v1/conversations?kept=archived", "P11"))["conversations"]
    assert (thread["labels"], thread["unread"], thread["tracked"], thread["shape"]) == (["à lire"], 1, False, "group")
    people = (await house.get(f"{root}/people", "P11"))["people"]
    assert {each["person"] for each in people} == {"P11", "P21", "P31"}
    await house.post(f"{root}/read", "P11", {"seq": 1})
    assert (await house.ask("GET", f"{root}/messages/1/readers", person="P21")).status == 403
    reply = await house.post(f"{root}/messages/1/reply", "P11", {"body": "Pour vous seule"})
    assert reply["conversation"] != number
    assert await house.post(f"{root}/messages/1/recall", "P21") == {"seq": 1, "readers": 1}
    (seen,) = (await house.get(root, "P11"))["messages"]
    assert (seen["body"], seen["recalled_at"] is not None) == ("", True)
    await house.post(f"{root}/leave", "P31")
    await house.post(f"{root}/close", "P21")
    assert (await house.ask("POST", f"{root}/messages", {"body": "Trop tard"}, person="P11")).status == 403
    await house.post(f"{root}/delete", "P11", {})
    assert (await house.get("/v1/conversations?kept=all", "P11"))["conversations"][0]["conversation"] != number


async def test_lists_go_on_page_by_page_without_gaps(open_house: Open, clock: SetClock) -> None:
    async with open_house(api={"writes_per_minute": 100_000, "reads_per_minute": 100_000}) as house:
        lou = await house.engine.reader("P21")
        for number in range(52):
            await house.engine.start_conversation("P21", ["P11"], f"S{number}", "Un")
            await house.engine.conversations.keep_draft(lou, body=str(number))
        first = await house.get("/v1/conversations", "P21")
        second = await house.get(f"/v1/conversations?before={first['next']}", "P21")
        assert (len(first["conversations"]), len(second["conversations"]), second["next"]) == (50, 2, None)
        subjects = {each["subject"] for page in (first, second) for each in page["conversations"]}
        assert subjects == {f"S{number}" for number in range(52)}
        drafts = await house.get("/v1/drafts", "P21")
        rest = await house.get(f"/v1/drafts?before={drafts['next']}", "P21")
        assert [each["body"] for each in rest["drafts"]] == ["1", "0"]
