"""Looking for messages over HTTP: filters, days where the reader is, pages, strangers, a limit."""

from __future__ import annotations

from .api_house import House
from .conftest import Open, SetClock


async def test_one_finds_one_s_own_messages_page_by_page(house: House, clock: SetClock) -> None:
    for number in range(25):
        await house.engine.start_conversation("P21", ["P11"], f"Sortie {number}", "Rendez-vous au Musée")
    found = (await house.ask("GET", "/v1/search?words=musee", person="P11")).json
    assert len(found["hits"]) == 20
    hit = found["hits"][0]
    assert (hit["subject"], hit["excerpt"], hit["mine"]) == ("Sortie 24", "Rendez-vous au Musée", False)
    rest = (await house.ask("GET", f"/v1/search?words=musee&after={found['next']}", person="P11")).json
    assert [hit["subject"] for hit in rest["hits"]] == [f"Sortie {number}" for number in (4, 3, 2, 1, 0)]
    assert rest["next"] is None
    assert (await house.ask("GET", "/v1/search?words=musee", person="P12")).json == {"hits": [], "next": None}


async def test_days_are_those_of_the_reader(house: House, clock: SetClock) -> None:
    await house.engine.start_conversation("P21", ["P11"], "Sortie", "Au musée")  # on the 8th, in Paris
    for query, hits in {
        "since=2026-09-08": 1,
        "until=2026-09-08": 1,
        "since=2026-09-09": 0,
        "until=2026-09-07": 0,
        "since=0001-01-01&until=9999-12-31": 1,
        "author=P21": 1,
        "author=P11": 0,
        "child=P1": 0,
        "label=a": 0,
        "": 0,
        "after=9.9.9": 0,
    }.items():
        got = await house.ask("GET", f"/v1/search?{query}", person="P11")
        assert len(got.json["hits"]) == hits, query


async def test_what_cannot_be_asked_is_said(house: House) -> None:
    for query in ("after=1.1", "since=8/9/2026", "since=2026-02-30", "after=x&words=a", "words=%00", "other=1"):
        assert (await house.ask("GET", f"/v1/search?{query}", person="P11")).status == 422, query


async def test_one_person_may_search_only_so_often(open_house: Open, clock: SetClock) -> None:
    async with open_house(conversations={"searches_per_minute": 4}) as house:
        statuses = [(await house.ask("GET", "/v1/search?words=a", person="P11")).status for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert (await house.ask("GET", "/v1/search?words=a", person="P12")).status == 200
        assert (await house.ask("GET", "/v1/inbox", person="P11")).status == 200
