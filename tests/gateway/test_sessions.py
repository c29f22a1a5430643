"""A ticket once, then a session: in a browser's cookie, or in an app's header."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from live_peers import EVERYBODY, Browser, House, open_house
from test_on_the_engine import open_live

from ent_notify.model.feed import Entry
from ent_notify.model.upkeep import Chore

SECURE = "x-forwarded-proto: https"


def cookie_of(browser: Browser) -> str:
    """The request header with which a browser shows the cookie that it was given."""
    return f"cookie: theme=dark; {browser.headers['set-cookie'].partition(';')[0]}"


async def take(house: House, person: int, *headers: str) -> tuple[str, Browser]:
    """Open a stream as a page does; its address, and the stream."""
    target = f"/v1/stream?ticket={house.feed.ticket(person)}"
    return target, await house.get(target, headers=headers)


async def test_an_event_source_connects_again_by_itself_though_its_ticket_is_spent() -> None:
    async with open_house() as house:
        house.feed.person(1)
        target, first = await take(house, 1)
        assert first.status == 200
        house.feed.publish(EVERYBODY)
        [seen] = await first.ids(1)
        await first.stream.aclose()
        house.feed.publish(EVERYBODY)
        again = await house.get(target, headers=[cookie_of(first), f"last-event-id: {seen}"])
        assert again.status == 200
        assert "set-cookie" not in again.headers
        assert await again.ids(1) == [2]
        assert (await house.get(target)).status == 401
        assert (await house.get("/v1/stream", headers=[cookie_of(first)])).status == 200
        assert (await house.get("/v1/stream", headers=["cookie: ent_notify_stream=guessed"])).status == 401


@pytest.mark.parametrize(
    ("settings", "headers", "name", "secure"),
    [
        ({}, [], "ent_notify_stream", False),
        ({}, [SECURE], "ent_notify_stream", False),  # anybody may write that
        ({"trusted_proxies": ["127.0.0.1"]}, [SECURE], "__Host-ent_notify_stream", True),
        ({"trusted_proxies": ["127.0.0.1"]}, ["x-forwarded-proto: http"], "ent_notify_stream", False),
        ({"trusted_proxies": ["127.0.0.1"]}, ["x-forwarded-proto: https, http"], "ent_notify_stream", False),
        ({"tls": True}, [], "__Host-ent_notify_stream", True),
    ],
)
async def test_the_cookie_is_for_the_stream_alone(
    settings: dict[str, Any], headers: list[str], name: str, secure: bool
) -> None:
    async with open_house(session_hours=2, **settings) as house:
        house.feed.person(1)
        _, browser = await take(house, 1, *headers)
        value, *attributes = browser.headers["set-cookie"].split("; ")
        assert value.partition("=")[0] == name
        assert set(attributes) == {"Path=/", "Max-Age=7200", "HttpOnly", "SameSite=Strict"} | (
            {"Secure"} if secure else set()
        )


async def test_an_app_shows_and_gets_headers_and_no_cookie() -> None:
    async with open_house() as house:
        house.feed.person(1)
        first = await house.get("/v1/stream", headers=[f"ent-notify-ticket: {house.feed.ticket(1)}"])
        assert first.status == 200
        assert "set-cookie" not in first.headers
        session = first.headers["ent-notify-session"]
        assert (await house.get("/v1/stream", headers=[f"ent-notify-session: {session}"])).status == 200
        assert (await house.get("/v1/stream", headers=["ent-notify-session: guessed"])).status == 401
        assert (await house.get("/v1/stream", headers=[f"ent-notify-session: {'x' * 600}"])).status == 401


async def test_several_tabs_go_on_with_one_session_and_each_comes_back() -> None:
    async with open_house() as house:
        house.feed.person(1)
        first_tab, first = await take(house, 1)
        second_tab, second = await take(house, 1, cookie_of(first))
        assert "set-cookie" not in second.headers
        assert len(house.feed.sessions) == 1
        for tab in (first_tab, second_tab):
            assert (await house.get(tab, headers=[cookie_of(first)])).status == 200


async def test_on_a_shared_tablet_the_ticket_decides_and_the_others_tab_hears_nothing() -> None:
    async with open_house() as house:
        house.feed.person(1)
        house.feed.person(2)
        ones_tab, ones = await take(house, 1)
        _, twos = await take(house, 2, cookie_of(ones))
        assert twos.status == 200
        assert twos.headers["set-cookie"] != ones.headers["set-cookie"]
        assert len(house.gateway._streams.of_person(2)) == 1
        # the tab that was left open shows the other's cookie now: it was not opened by them
        assert (await house.get(ones_tab, headers=[cookie_of(twos)])).status == 401


async def test_another_site_gets_neither_stream_nor_cookie() -> None:
    async with open_house(origins=["https://ent.example"]) as house:
        house.feed.person(1)
        _, mine = await take(house, 1, "origin: https://ent.example")
        assert mine.headers["access-control-allow-credentials"] == "true"
        for foreign in ("origin: https://evil.example", "sec-fetch-site: cross-site"):
            refused = await house.get("/v1/stream", headers=[foreign, cookie_of(mine)])
            assert refused.status == 403
            assert "set-cookie" not in refused.headers


async def test_sessions_in_the_database(dsn: str) -> None:
    async with open_live(dsn) as live:
        engine, now = live.engine, live.engine.clock.now()
        reader = await engine.reader("P1")
        other = await engine.reader("P2")

        async def enter(*shown: tuple[str | None, str | None], hours: float = 0) -> list[tuple[int, bool] | None]:
            answers = await engine.feed.enter([Entry(*each) for each in shown], now + timedelta(hours=hours))
            secrets.extend(answer.secret for answer in answers if answer and answer.secret)
            return [None if answer is None else (answer.person, answer.secret is not None) for answer in answers]

        secrets: list[str] = []
        tickets = [await engine.stream_ticket(reader) for _ in range(4)]
        theirs = await engine.stream_ticket(other)
        # many at once, a ticket twice among them: it works once
        assert await enter((tickets[0], None), (theirs, None), (tickets[0], None), ("none", "none"), (None, None)) == [
            (reader.person, True),
            (other.person, True),
            None,
            None,
            None,
        ]
        mine, others = secrets
        rows = await engine.db.fetch("streams.live_sessions", people=[reader.person, other.person], now=now)
        assert len(rows) == 2
        assert await enter((tickets[1], mine), (tickets[2], mine)) == [(reader.person, False)] * 2
        for ticket in tickets[:3]:
            assert await enter((ticket, mine), (ticket, others), (None, mine), hours=11.9) == [
                (reader.person, False),
                None,
                (reader.person, False),
            ]
        assert await enter((None, mine), hours=12.1) == [None]
        assert await enter((tickets[3], others)) == [(reader.person, True)]  # not the session of somebody else
        assert (await engine.feed.rights([reader.person], now))[reader.person].sessions != frozenset()
        later = now + timedelta(hours=13)
        assert (await engine.feed.rights([reader.person], later))[reader.person].sessions == frozenset()
        dropped = await engine.upkeep.sweep(later)
        assert dropped[Chore.SESSIONS] == 3
        assert await engine.stream_sessions(reader) == []
