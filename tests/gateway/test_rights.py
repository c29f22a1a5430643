"""Who may hear what changes while they are connected: from the directory to the open stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import orjson
import psycopg
import pytest
import trio
import trio.testing
from live_peers import EVERYBODY, Browser, House, open_house, to_person
from test_on_the_engine import Live, open_live

from ent_notify.model.audience import Audience, Everyone, Group, GuardiansOf, Person
from ent_notify.model.events import Announcement
from ent_notify.model.feed import Clause
from ent_notify.model.people import GuardianLink, PersonRecord, Removal

CLASS = "0540001A/class/6A"
NOW = datetime(2026, 9, 8, 8, 0, tzinfo=UTC)


async def tell(live: Live, key: str, audience: Audience) -> int:
    """Publish an announcement; its notification."""
    return (await live.engine.publish(Announcement(key=key, audience=audience, title="T", body="B"))).notification


async def heard(browser: Browser) -> int:
    """The next notification that a stream brings."""
    event = await browser.next_event()
    assert event is not None
    assert event.event == "notification"
    notification: int = orjson.loads(event.data)["notification"]
    return notification


# ---------------------------------------------------------------- from the directory, on the engine


async def test_who_comes_into_a_class_hears_it_and_who_leaves_it_does_not(dsn: str) -> None:
    async with open_live(dsn) as live:
        browser, member = await live.open("P5", after=0), await live.open("P1", after=0)
        assert await tell(live, "before", Group(CLASS)) == await heard(member)
        await live.engine.sync([PersonRecord(id="P5", groups=frozenset({CLASS}))], source="test")
        during = await tell(live, "during", Group(CLASS))
        assert await heard(browser) == during
        await live.engine.sync([PersonRecord(id="P5", groups=frozenset())], source="test")
        await tell(live, "after", Group(CLASS))
        last = await tell(live, "last", Person("P5"))
        assert await heard(browser) == last


async def test_a_guardian_follows_their_child_into_a_class(dsn: str) -> None:
    async with open_live(dsn) as live:
        browser = await live.open("P11", after=0)  # a child in each school
        await live.engine.sync([PersonRecord(id="P5", groups=frozenset({CLASS}))], source="test")
        await live.engine.sync([PersonRecord(id="P1", groups=frozenset())], source="test")
        through_the_other = await tell(live, "class", GuardiansOf(Group(CLASS)))
        assert await heard(browser) == through_the_other


async def test_a_guardian_whom_a_court_restricts_hears_nothing_more_of_the_child(dsn: str) -> None:
    async with open_live(dsn) as live:
        browser = await live.open("P13", after=0)
        first = await tell(live, "first", GuardiansOf(Group(CLASS)))
        assert await heard(browser) == first
        restricted = (GuardianLink(guardian="P13", legal_level=1, restricted=True),)
        await live.engine.sync([PersonRecord(id="P2", guardians=restricted)], source="test")
        await tell(live, "of the child", GuardiansOf(Group(CLASS)))
        own = await tell(live, "own", Person("P13"))
        assert await heard(browser) == own


async def test_who_has_left_is_cut(dsn: str) -> None:
    async with open_live(dsn) as live:
        browser = await live.open("P22", after=0)
        stays = await live.open("P21", after=0)
        await live.engine.sync([Removal(id="P22")], source="test", allowed_removals=1)
        assert await browser.next_event() is None
        assert await tell(live, "all", Everyone()) == await heard(stays)


async def test_who_is_revoked_is_cut_and_comes_back_with_a_new_ticket_only(dsn: str) -> None:
    async with open_live(dsn) as live:
        reader = await live.engine.reader("P1")
        other = await live.open("P2", after=0)
        unused = await live.engine.stream_ticket(reader)
        browser = await live.open("P1", after=0)
        cookie = f"cookie: {browser.headers['set-cookie'].partition(';')[0]}"
        assert len(await live.engine.stream_sessions(reader)) == 1
        assert await live.engine.revoke_streams(reader) == 1
        assert await browser.next_event() is None
        assert (await live.house.get(f"/v1/stream?ticket={unused}")).status == 401
        assert (await live.house.get("/v1/stream", headers=[cookie])).status == 401
        assert await live.engine.stream_sessions(reader) == []
        await live.open("P1", after=0)
        assert await tell(live, "all", Everyone()) == await heard(other)


async def test_one_session_is_revoked_and_the_persons_others_go_on(dsn: str) -> None:
    async with open_live(dsn) as live:
        reader = await live.engine.reader("P1")
        phone = await live.open("P1", after=0)
        [session] = await live.engine.stream_sessions(reader)
        tablet = await live.open("P1", after=0)
        assert await live.engine.revoke_streams(reader, session.id) == 1
        assert await phone.next_event() is None
        assert await tell(live, "all", Everyone()) == await heard(tablet)
        # nobody ends another's
        stranger = await live.engine.reader("P2")
        [left] = await live.engine.stream_sessions(reader)
        assert await live.engine.revoke_streams(stranger, left.id) == 0
        assert await tell(live, "again", Everyone()) == await heard(tablet)


async def test_one_change_a_transaction_however_many_statements_and_people(dsn: str) -> None:
    async with open_live(dsn) as live:
        before = await live.engine.feed.rights_head()
        with psycopg.connect(dsn) as host:
            host.execute("set search_path = ent_notify")
            host.execute("insert into person (id, external_id, source, profile, created_at) overriding system value "
                         "select 1000 + n, 'x' || n, 'x', 1, now() from generate_series(1, 3000) n")  # fmt: skip
            host.execute("insert into membership (group_id, person_id, valid_from) values (8, 1, now())")
            host.execute("delete from membership where group_id = 8 and person_id = 1")
            host.execute("update guardian_link set kinship = 'x' where pupil_id = 1")
            host.commit()
            named = await live.engine.feed.rights_changes(before)
            assert named.seq == before + 1
            assert named.people == frozenset({1, 11, 12})
            host.execute("insert into membership (group_id, person_id, valid_from) "
                         "select 8, id, now() from person where id > 1000")  # fmt: skip
            assert (await live.engine.feed.rights_changes(named.seq)).seq == named.seq  # nothing before the commit
            host.commit()
            everybody = await live.engine.feed.rights_changes(named.seq)
            assert everybody.seq == before + 2
            assert everybody.people is None
            host.execute("update membership set valid_until = valid_until where group_id = 8 and person_id = -1")
            host.execute("update person set given_name = 'y' where id = 1001")
            host.commit()
            assert await live.engine.feed.rights_head() == before + 2  # nobody's rights


async def test_a_change_that_commits_late_is_not_skipped(dsn: str) -> None:
    async with open_live(dsn) as live:
        with psycopg.connect(dsn) as slow, psycopg.connect(dsn) as quick:
            change = "insert into ent_notify.membership (group_id, person_id, valid_from) values (8, %s, now())"
            before = await live.engine.feed.rights_head()
            slow.execute(change, [1])
            quick.execute(change, [2])
            quick.commit()
            first = await live.engine.feed.rights_changes(before)
            assert first.people == frozenset({2, 13, 14})
            slow.commit()
            second = await live.engine.feed.rights_changes(first.seq)
            assert second.people == frozenset({1, 11, 12})


async def test_who_is_far_behind_or_ahead_looks_at_everybody(dsn: str) -> None:
    async with open_live(dsn) as live:
        before = await live.engine.feed.rights_head()
        with psycopg.connect(dsn, autocommit=True) as host:
            for _ in range(1_100):
                host.execute("select ent_notify.revoke_streams(1)")
            assert host.execute("select count(*) from ent_notify.rights_change").fetchone() == (1_000,)
        assert await live.engine.feed.rights_changes(before) == await live.engine.feed.rights_changes(before + 500)
        assert (await live.engine.feed.rights_changes(before)).people is None
        assert (await live.engine.feed.rights_changes(before + 1_090)).people == frozenset({1})
        assert (await live.engine.feed.rights_changes(before + 5_000)).people is None


# ---------------------------------------------------------------- in the gateway


@asynccontextmanager
async def crowd(size: int) -> AsyncIterator[tuple[House, list[Browser]]]:
    """A gateway with ``size`` people connected."""
    async with open_house(refresh_seconds=600, heartbeat_seconds=300) as house:
        for person in range(1, size + 1):
            house.feed.person(person)
        yield house, [await house.open(person) for person in range(1, size + 1)]


async def pass_seconds(mock_clock: trio.testing.MockClock, seconds: int) -> None:
    """Let time pass, and what it brings happen."""
    for _ in range(seconds):
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(1)
    await trio.testing.wait_all_tasks_blocked()


def questions(house: House) -> list[int]:
    """How many people each question about rights was about, since the last time."""
    sizes = [size for name, size in house.feed.statements if name == "rights"]
    house.feed.statements.clear()
    return sizes


async def test_a_change_asks_once_about_those_held_here_and_about_nobody_else() -> None:
    async with crowd(5) as (house, _):
        questions(house)
        house.feed.change(2, 3, 4711)
        await trio.testing.wait_all_tasks_blocked()
        assert questions(house) == [2]
        house.feed.change(4711)
        await trio.testing.wait_all_tasks_blocked()
        assert questions(house) == []


async def test_a_change_of_everybody_is_spread_over_time_and_loses_nothing(mock_clock: trio.testing.MockClock) -> None:
    to_group = (Clause(included=((1, 50),)),)
    async with crowd(1_100) as (house, browsers):
        questions(house)
        for person in (1, 1_100):
            house.feed.person(person, (1, 50))
        del house.feed.keys[2]
        house.feed.change()
        house.feed.publish(to_group)  # one of the two is not known to hear it yet
        await trio.testing.wait_all_tasks_blocked()
        assert questions(house) == [500]
        await pass_seconds(mock_clock, 30)
        assert questions(house) == [500, 100]
        house.feed.publish(to_group)
        told = []
        for person in (1, 1_100):
            first = await browsers[person - 1].next_event()
            assert first is not None
            told.append((first.event, first.id))
            assert await browsers[person - 1].ids(1) == [2]
        # told to read its inbox again, for what it missed while its turn had not come
        assert told == [("reload", "1"), ("reload", "1")]
        assert await browsers[1].next_event() is None
        house.feed.publish(EVERYBODY)
        assert await browsers[2].ids(1) == [3]


async def test_rights_are_read_again_now_and_then_even_if_nothing_said_so(mock_clock: trio.testing.MockClock) -> None:
    async with crowd(3) as (house, browsers):
        house.feed.sessions = {key: one for key, one in house.feed.sessions.items() if one[0] != 2}  # it has ended
        await pass_seconds(mock_clock, 599)
        assert house.gateway.statistics().streams.streams == 3
        await pass_seconds(mock_clock, 2)
        assert house.gateway.statistics().streams.streams == 2
        assert await browsers[1].next_event() is None


async def test_who_is_revoked_while_they_come_in_is_not_let_in() -> None:
    async with open_house() as house:
        house.feed.person(1)
        house.feed.before_rights = trio.Event()
        ticket = house.feed.ticket(1)
        browser = await house.connect()
        await browser.send(b"GET /v1/stream?ticket=%b HTTP/1.1\r\nhost: x\r\n\r\n" % ticket.encode())
        await house.feed.rights_asked.wait()
        house.feed.revoke(1)
        await trio.testing.wait_all_tasks_blocked()
        house.feed.before_rights.set()
        assert await browser.next_block() is None
        assert house.gateway.statistics().streams.streams == 0


async def test_changes_wait_for_the_database_and_are_then_followed(mock_clock: trio.testing.MockClock) -> None:
    async with crowd(2) as (house, browsers):
        house.feed.down = True
        house.feed.revoke(1)
        await pass_seconds(mock_clock, 3)
        assert house.gateway.statistics().streams.streams == 2
        house.feed.down = False
        await pass_seconds(mock_clock, 3)
        assert await browsers[0].next_event() is None
        house.feed.publish(to_person(2))
        assert await browsers[1].ids(1) == [1]


# ---------------------------------------------------------------- storms


@pytest.mark.parametrize("readers", [300])
async def test_a_storm_of_readers_is_a_handful_of_statements(readers: int) -> None:
    async with open_house() as house:
        for person in range(1, readers + 1):
            house.feed.person(person)
        house.feed.publish(EVERYBODY)
        await trio.testing.wait_all_tasks_blocked()
        house.feed.before_rights = trio.Event()
        async with trio.open_nursery() as nursery:
            for person in range(1, readers + 1):
                nursery.start_soon(one_of_the_storm, house, person)
            await trio.testing.wait_all_tasks_blocked()
            house.feed.before_rights.set()
        asked = {"enter": 0, "rights": 0, "missed": 0}
        for name, size in house.feed.statements:
            asked[name] += size
        assert asked == dict.fromkeys(asked, readers)
        assert len(house.feed.statements) < readers / 4


async def one_of_the_storm(house: House, person: int) -> None:
    browser = await house.open(person, after=0)
    assert await browser.ids(1) == [1]
