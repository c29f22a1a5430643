"""Whatever becomes of hints, and in whatever order transactions commit: everybody hears theirs, once, in order."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.bus.followers import AUDIENCES, NOW, announcement, expected, open_followed, relaying

from ent_notify._island import Island, open_island
from ent_notify.bus import PostgresBus, ProcessBus
from ent_notify.model.feed import FeedHint
from ent_notify.model.subjects import HeldSubjects
from ent_notify.policy.hints import hints_of
from ent_notify.store import Database, open_database
from ent_notify.store.inbox import PostgresInbox
from ent_notify.store.publishing import PostgresPublishing
from ent_notify.store.sql import Query

HINTS_ALONE = 3_600.0
"""A poll that no test waits for."""
POLLING = 0.02

_keys = count()


class RolledBack(Exception):
    """A transaction that published ends in an error of its host."""


class BadBus(ProcessBus):
    """Loses, doubles and holds back hints, as told; what it holds back comes later, in any order."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self._dice = dice
        self._late: list[FeedHint] = []

    async def publish(self, hints: Sequence[FeedHint]) -> None:
        for hint in hints:
            fate = self._dice.choice(("lost", "doubled", "late", "as it is"))
            if fate == "doubled":
                await super().publish([hint, hint])
            elif fate == "late":
                self._late.append(hint)
            elif fate == "as it is":
                await super().publish([hint])
            if self._late and self._dice.random() < 0.3:
                await super().publish([self._late.pop(self._dice.randrange(len(self._late)))])


batches = st.lists(
    st.lists(st.integers(0, len(AUDIENCES) - 1), min_size=1, max_size=5), min_size=1, max_size=8
)  # which audiences are published to before each relay


@given(plan=batches, seed=st.integers(0, 2**32))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_bus_that_loses_doubles_and_reorders_changes_nothing(town_dsn: str, plan: list[list[int]], seed: int) -> None:
    """The feed goes on from one example to the next, as it does in life."""

    async def main() -> None:
        async with open_island() as island, open_database(town_dsn, island) as db:
            bus = BadBus(random.Random(seed))
            relay, publishing = relaying(db, bus), PostgresPublishing(db)
            start = await PostgresInbox(db).feed_head()
            async with open_followed(db, [bus], POLLING) as (node,):
                for batch in plan:
                    events = [announcement(f"bad-{next(_keys)}", AUDIENCES[place]) for place in batch]
                    await publishing.publish_many(events, NOW)
                    assert await relay.relay(100) == len(batch)
                await node.reached(start + sum(map(len, plan)))
                for reader in node.readers:
                    assert reader.heard == await expected(db, reader.person, start)

    trio.run(main)


async def test_hints_alone_bring_everything_and_only_to_whom_it_concerns(database_of_town: Database) -> None:
    db = database_of_town
    bus = ProcessBus()
    relay, publishing = relaying(db, bus), PostgresPublishing(db)
    async with open_followed(db, [bus], HINTS_ALONE) as (node,):
        for place, audience in enumerate(AUDIENCES):
            await publishing.publish(announcement(f"alone-{place}", audience), NOW)
            await relay.relay(100)
        await node.reached(len(AUDIENCES))
        for reader in node.readers:
            assert reader.heard == await expected(db, reader.person, 0)
        before = bus.statistics()
        await publishing.publish(announcement("other", {"person": "P13"}), NOW)  # holds nobody; same thousand of people
        await relay.relay(100)
        await node.reached(len(AUDIENCES) + 1)
        await bus.publish([FeedHint(seq=100, subjects=frozenset({"people.7"}))])
        after = bus.statistics()
        assert (after.sent - before.sent, after.ignored - before.ignored) == (2, 1)


async def test_the_database_s_own_hints_bring_everything(database_of_town: Database) -> None:
    db = database_of_town
    bus = PostgresBus(db)
    relay, publishing = relaying(db, bus), PostgresPublishing(db)
    async with open_followed(db, [bus, bus], HINTS_ALONE) as nodes:
        for place in range(20):
            await publishing.publish(announcement(f"own-{place}", AUDIENCES[place % len(AUDIENCES)]), NOW)
            await relay.relay(100)
        for node in nodes:
            await node.reached(20)
            for reader in node.readers:
                assert reader.heard == await expected(db, reader.person, 0)
        # one notification for each relay and listener, however many people it was for
        assert bus.statistics().received <= 2 * 20
        assert bus.statistics().sent == 0
        await bus.publish([FeedHint(), FeedHint(seq=99)])
        assert bus.statistics().sent == 1


async def test_what_is_said_before_a_node_listens_is_found_once_it_does(database_of_town: Database) -> None:
    class LateBus(ProcessBus):
        """It takes its time to let a node listen."""

        def __init__(self) -> None:
            super().__init__()
            self.may_listen = trio.Event()

        @asynccontextmanager
        async def listen(self, held: HeldSubjects | None = None) -> AsyncIterator[AsyncIterator[FeedHint]]:
            await self.may_listen.wait()
            async with super().listen(held) as hints:
                yield hints

    db, bus = database_of_town, LateBus()
    async with open_followed(db, [bus], HINTS_ALONE) as (node,):
        await PostgresPublishing(db).publish(announcement("before", AUDIENCES[0]), NOW)
        await relaying(db, bus).relay(100)
        assert bus.statistics().received == 0
        bus.may_listen.set()
        await node.reached(1)
        assert all(reader.heard == [1] for reader in node.readers)


async def test_a_relay_that_dies_before_it_says_so_is_found_by_polling(database_of_town: Database) -> None:
    class DyingBus(ProcessBus):
        """The worker ends between the relay's commit and its hint."""

        async def publish(self, hints: Sequence[FeedHint]) -> None:
            assert hints
            dying.cancel()
            await trio.sleep_forever()

    db = database_of_town
    bus = DyingBus()
    await PostgresPublishing(db).register_types([])
    async with open_followed(db, [bus], POLLING) as (node,):
        await PostgresPublishing(db).publish(announcement("dying", AUDIENCES[0]), NOW)
        with trio.CancelScope() as dying:
            await relaying(db, bus).relay(100)
        assert dying.cancelled_caught
        await node.reached(1)
        assert all(reader.heard == [1] for reader in node.readers)
        assert bus.statistics().received == 0


async def test_a_relay_says_no_more_than_it_has_placed_beside_others(database_of_town: Database) -> None:
    """Several workers relay at once: each says its own, and together they have said all."""

    class Said(ProcessBus):
        def __init__(self) -> None:
            super().__init__()
            self.said: list[FeedHint] = []

        async def publish(self, hints: Sequence[FeedHint]) -> None:
            self.said.extend(hints)
            await trio.lowlevel.checkpoint()

    db = database_of_town
    buses = [Said() for _ in range(4)]
    async with open_followed(db, [], POLLING):
        for number in range(40):
            await PostgresPublishing(db).publish(announcement(f"many-{number}", {"person": "P1"}), NOW)
    placed: list[int] = []

    async def relay(bus: Said) -> None:
        while count_placed := await relaying(db, bus).relay(3):
            placed.append(count_placed)

    async with trio.open_nursery() as nursery:
        for bus in buses:
            nursery.start_soon(relay, bus)
    said = sorted(hint.seq or 0 for bus in buses for hint in bus.said)
    assert sum(placed) == 40
    assert len(said) == len(placed) == len(set(said))
    assert said[-1] == 40
    assert hints_of(await PostgresInbox(db).feed_after(0, 1)) == [FeedHint(seq=1, subjects=frozenset({"people.0"}))]


NEWEST = Query(
    "test.newest",
    "",
    "select id from ent_notify.notification where id > $1 order by id",
    ("after",),
)


async def test_nobody_skips_what_commits_late_and_nobody_hears_it_twice(town_dsn: str, island: Island) -> None:
    """Transactions publish, then commit in another order, or roll back; readers follow all the while.

    A reader whose cursor is the highest id that they saw follows beside: that they miss some shows that the order of
    commits was another than that of ids.
    """
    dice = random.Random(8)
    writers, rounds = 8, 12
    committed: set[int] = set()
    finished = trio.Event()
    async with open_database(town_dsn, island) as db, open_database(town_dsn, island) as others:
        bus = BadBus(dice)
        relay = relaying(db, bus)

        async def write(number: int, may_commit: trio.Event, published: trio.Event, ended: trio.Event) -> None:
            with suppress(RolledBack):
                async with others.transaction() as tx:
                    event = announcement(f"late-{number}", dice.choice(AUDIENCES))
                    answer = await tx.fetchval("publishing.publish", event=event, now=NOW)
                    published.set()
                    await may_commit.wait()
                    if dice.random() < 0.2:
                        raise RolledBack
                committed.add(answer["notification"])
            ended.set()

        async def write_all() -> None:
            for at in range(rounds):
                gates = [(trio.Event(), trio.Event()) for _ in range(writers)]
                async with trio.open_nursery() as nursery:
                    for place, (gate, ended) in enumerate(gates):
                        published = trio.Event()
                        nursery.start_soon(write, at * writers + place, gate, published, ended)
                        await published.wait()  # ids are taken in this order
                    dice.shuffle(gates)
                    for place, (gate, ended) in enumerate(gates):
                        gate.set()
                        if place == 0:  # it has its place in the feed before those whose ids are lower
                            await ended.wait()
                            await relay.relay(5)
                        for _ in range(dice.randrange(3)):
                            await naive_look()
            finished.set()

        naive: list[int] = []

        async def naive_look() -> None:
            rows = await db.fetch(NEWEST, after=naive[-1] if naive else 0)
            naive.extend(row["id"] for row in rows)

        async def relay_all() -> None:
            over = False
            while not over:
                over = finished.is_set()  # asked first: what commits while a relay looks is the next one's
                while await relay.relay(5):
                    pass

        async with open_followed(db, [bus, ProcessBus(), PostgresBus(db)], POLLING) as nodes:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(relay_all)
                nursery.start_soon(write_all)
            await naive_look()
            assert set(naive) < committed, "no transaction committed late: this run has shown nothing"
            for node in nodes:
                await node.reached(len(committed))
                for reader in node.readers:
                    theirs = await expected(db, reader.person, 0)
                    assert reader.heard == theirs
                    assert len(set(theirs)) == len(theirs)
        feed = await PostgresInbox(db).feed_after(0, 1_000)
        assert [item.seq for item in feed] == list(range(1, len(committed) + 1))
        assert {item.notification for item in feed} == committed
        assert [item.notification for item in feed] != sorted(committed), "the feed is in the order of commits"


@pytest.fixture
async def database_of_town(town_dsn: str, island: Island) -> AsyncIterator[Database]:
    async with open_database(town_dsn, island) as db:
        yield db
