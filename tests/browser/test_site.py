"""The demo site without a browser: who may ask for what, and what each answer carries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import httpx
import orjson
import pytest
from pages_house import PagesHouse, open_pages

from ent_notify.model.audience import Person
from ent_notify.model.events import Announcement

PAGES = files("ent_notify.demo") / "pages"


class Visitor:
    """A browser session, as far as HTTP goes."""

    def __init__(self, house: PagesHouse) -> None:
        self.house = house
        self.client = httpx.AsyncClient(base_url=house.url, trust_env=False)

    async def post(self, path: str, body: Mapping[str, Any], **headers: str) -> httpx.Response:
        sent = {"content-type": "application/json", "origin": self.house.url} | headers
        return await self.client.post(path, content=orjson.dumps(body), headers=sent)

    async def enter(self, person: str) -> dict[str, Any]:
        answer = await self.post("/api/enter", {"person": person})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def inbox(self, person: str) -> list[dict[str, Any]]:
        answer = await self.client.get("/api/inbox", params={"person": person})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["entries"]
        return found


async def relayed(visitor: Visitor, person: str, number: int) -> list[dict[str, Any]]:
    """The inbox, once the worker has relayed ``number`` entries into it."""
    for _ in range(5_000):
        if len(entries := await visitor.inbox(person)) >= number:
            return entries
    raise AssertionError(f"{number} entries were expected, {len(entries)} came")


async def test_every_answer_carries_the_headers_that_fence_it(dsn: str) -> None:
    async with open_pages(dsn) as house, Visitor(house).client as client:
        for path in (
            "/",
            "/operator",
            "/static/style.css",
            "/static/common.js",
            "/static/person.js",
            "/static/icon.svg",
        ):
            answer = await client.get(path)
            assert answer.status_code == 200
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
        assert (await client.get("/api/people")).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("page", ["person.html", "operator.html"])
def test_pages_have_nothing_inline_and_nothing_from_outside(page: str) -> None:
    html = (PAGES / page).read_text(encoding="utf-8")
    assert re.findall(r"\s(?:style|on\w+)=|<style|<script(?![^>]*\ssrc=)|javascript:", html) == []
    addresses = re.findall(r'(?:src|href)="([^"#]*)"', html)
    assert addresses
    assert [address for address in addresses if address and not address.startswith("/")] == []


@pytest.mark.parametrize("script", ["common.js", "person.js", "operator.js"])
def test_scripts_never_make_markup_of_data(script: str) -> None:
    text = (PAGES / script).read_text(encoding="utf-8")
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|srcdoc", text) == []


async def test_a_session_sees_only_whom_it_has_entered_as(dsn: str) -> None:
    async with open_pages(dsn) as house:
        conversation, _ = await house.engine.start_conversation("P21", ["P11"], "Rendez-vous", "Bonjour ?")
        mine, other = Visitor(house), Visitor(house)
        async with mine.client, other.client:
            entered = await mine.client.get("/api/inbox", params={"person": "P11"})
            assert entered.status_code == 401
            await mine.enter("P11")
            await other.enter("P12")
            assert (await relayed(mine, "P11", 1))[0]["conversation"] == conversation
            for path in ("/api/inbox", f"/api/conversation/{conversation}"):
                assert (await other.client.get(path, params={"person": "P11"})).status_code == 401
            for path in ("/api/ticket", "/api/read", "/api/post", "/api/publish"):
                assert (await other.post(path, {"person": "P11", "upto": 9, "body": "x"})).status_code == 401
            # Entered, and a stranger to it: the same answer as for none.
            ours = {"person": "P12", "conversation": conversation, "body": "x"}
            theirs = ours | {"conversation": 999_999}
            for path in (f"/api/conversation/{conversation}", "/api/conversation/999999"):
                assert (await other.client.get(path, params={"person": "P12"})).status_code == 404
            assert (await other.post("/api/post", ours)).status_code == 404
            assert (await other.post("/api/post", theirs)).status_code == 404
            read = await mine.client.get(f"/api/conversation/{conversation}", params={"person": "P11"})
            assert [message["body"] for message in read.json()["messages"]] == ["Bonjour ?"]


async def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(dsn: str) -> None:
    async with open_pages(dsn) as house:
        visitor = Visitor(house)
        async with visitor.client:
            answer = await visitor.post("/api/enter", {"person": "P1"})
            cookie = answer.headers["set-cookie"]
            assert "; HttpOnly" in cookie
            assert "; SameSite=Strict" in cookie
            # A session may be several people (tabs); its cookie stays.
            again = await visitor.post("/api/enter", {"person": "P2"})
            assert again.headers["set-cookie"] == cookie
            assert await visitor.inbox("P1") == await visitor.inbox("P2") == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "evil.example", "origin": "http://evil.example"}, 421),
        ({"content-type": "text/plain"}, 415),
        ({}, 200),
    ],
)
async def test_posts_come_from_our_own_page_only(dsn: str, headers: dict[str, str], status: int) -> None:
    async with open_pages(dsn) as house:
        visitor = Visitor(house)
        async with visitor.client:
            assert (await visitor.post("/api/enter", {"person": "P1"}, **headers)).status_code == status
            if "host" in headers:
                assert (await visitor.client.get("/", headers={"host": "evil.example"})).status_code == 421
            del visitor.client.headers["user-agent"]
            bare = {"content-type": "application/json"}
            assert (await visitor.client.post("/api/enter", content=b"{}", headers=bare)).status_code == 403


async def test_nothing_is_read_by_getting_it(dsn: str) -> None:
    async with open_pages(dsn) as house:
        visitor = Visitor(house)
        async with visitor.client:
            await visitor.enter("P1")
            for number in range(3):
                await house.engine.publish(
                    Announcement(key=f"g{number}", audience=Person("P1"), title=f"T{number}", body="B")
                )
            entries = await relayed(visitor, "P1", 3)
            assert [entry["headline"] for entry in entries] == ["T2", "T1", "T0"]
            assert [entry["read"] for entry in await visitor.inbox("P1")] == [False] * 3
            assert (await visitor.client.get("/api/read", params={"person": "P1", "upto": "9"})).status_code == 405
            await visitor.post("/api/read", {"person": "P1", "seqs": [entries[1]["seq"]]})
            assert [entry["read"] for entry in await visitor.inbox("P1")] == [False, True, False]
            await visitor.post("/api/read", {"person": "P1", "upto": entries[0]["seq"]})
            assert [entry["read"] for entry in await visitor.inbox("P1")] == [True] * 3


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/enter", {}),
        ("/api/enter", {"person": 1}),
        ("/api/read", {"person": "P1", "seqs": "all"}),
        ("/api/read", {"person": "P1", "seqs": [-1]}),
        ("/api/read", {"person": "P1", "seqs": [True]}),
        ("/api/read", {"person": "P1", "seqs": list(range(60))}),
        ("/api/read", {"person": "P1", "upto": 2**63}),
        ("/api/post", {"person": "P1", "conversation": "x", "body": "x"}),
        ("/api/post", {"person": "P1", "conversation": 1, "body": " "}),
        ("/api/post", {"person": "P1", "conversation": 1, "body": "x" * 20_001}),
        ("/api/publish", {"person": "P1"}),
    ],
)
async def test_what_is_malformed_is_refused(dsn: str, path: str, body: dict[str, object]) -> None:
    async with open_pages(dsn) as house:
        visitor = Visitor(house)
        async with visitor.client:
            await visitor.enter("P1")
            answer = await visitor.post(path, body)
            assert answer.status_code == 400
            assert answer.headers["content-type"] == "application/problem+json"


async def test_each_profile_is_offered_what_it_can_see_arrive(dsn: str) -> None:
    async with open_pages(dsn) as house:
        visitor = Visitor(house)
        async with visitor.client:
            for person, profile in (("P1", "pupil"), ("P11", "guardian"), ("P21", "teacher")):
                samples = [sample["id"] for sample in (await visitor.enter(person))["samples"]]
                assert len(samples) >= 3, profile
                for number, sample in enumerate(samples, start=1):
                    assert (await visitor.post("/api/publish", {"person": person, "sample": sample})).status_code == 202
                    await relayed(visitor, person, number)
            assert (await visitor.post("/api/publish", {"person": "P1", "sample": "absence"})).status_code == 404


async def test_people_are_found_by_the_beginning_of_a_name(dsn: str) -> None:
    async with open_pages(dsn) as house, Visitor(house).client as client:

        async def names(**query: str) -> list[str]:
            answer = await client.get("/api/people", params=query)
            return [person["name"] for person in answer.json()["people"]]

        assert await names(profile="teacher") == ["Lou Exemple", "Max Exemple"]
        assert await names(profile="guardian", q="gi") == ["Gil Exemple"]
        assert await names(profile="pupil", q="Fil") == []  # has left
        assert (await client.get("/api/people", params={"profile": "king"})).status_code == 400
