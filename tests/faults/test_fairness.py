"""Who goes first on a lane: urgent before normal before bulk, and within that everybody in turn, one chunk each."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engine.conftest import TUESDAY, Town, open_town

from ent_notify.model.delivery import Outgoing, Verdict, VerdictKind
from ent_notify.model.fanout import Claim, NothingToClaim, OutcomeRow, Settlement, Window
from ent_notify.model.upkeep import Chore
from ent_notify.policy.retry import OutcomeState
from ent_notify.store.fanout import PostgresFanout

from .troubles import running, small, troubled

LEASE, HORIZON = timedelta(seconds=60), timedelta(seconds=5)
CLASS_A, CLASS_B, EVERYBODY = {"group": "0540001A/class/6A"}, {"group": "0540002B/class/5B"}, {"everyone": True}
GIANT_CHUNKS = 10
"""Of a campaign to everybody, in these tests: one for each mail address."""
URGENCIES = ("urgent", "normal", "bulk")


def event(key: str, audience: Any, urgency: str = "normal") -> dict[str, Any]:
    data = {"title": "T", "body": "B"}
    return {"type": "Announcement", "key": key, "audience": audience, "data": data, "urgency": urgency}


class MailLane:
    """The mail lane of a town, chunk by chunk. School B has an address too, and the buckets of large campaigns hold
    one person each."""

    def __init__(self, town: Town, number: int) -> None:
        self.town = town
        self.store = PostgresFanout(town.engine.db)
        self.number = number
        self.keys: dict[int, str] = {}

    async def publish(self, *events: dict[str, Any]) -> None:
        """Publish, relay and plan."""
        published = await self.town.engine.publish_many(events)
        self.keys |= {each.notification: event["key"] for each, event in zip(published, events, strict=True)}
        await self.store.relay(10_000)
        await self.town.engine.db.script(
            "update ent_notify.campaign set width = 1 where width is not null and planned_at is null"
        )
        await small(self.town.engine.worker()).tick()

    async def claim(self) -> Claim | None:
        answer = await self.store.claim(self.number, "w", self.town.clock.now(), LEASE, HORIZON)
        return None if isinstance(answer, NothingToClaim) else answer[0][0]

    async def finish(self, claim: Claim) -> str:
        """Settle a chunk as accepted; its campaign's key."""
        done = Settlement(claim.size, accepted=claim.size, release=True)
        assert await self.store.settle([(claim, done)], self.town.clock.now(), LEASE)
        return self.keys[claim.campaign]

    async def put_off(self, claim: Claim, seconds: float) -> None:
        """Settle a chunk as to be tried again."""
        now = self.town.clock.now()
        ((target,),) = await self.store.load([Window(claim, 0, 1)], "email", now, day_start=now, daily_cap=1000)
        again = now + timedelta(seconds=seconds)
        row = OutcomeRow(target.target, target.person, OutcomeState.RETRY, "smtp.451", 1, again)
        assert await self.store.settle(
            [(claim, Settlement(claim.size, accepted=claim.size - 1, outcomes=(row,), release=True))], now, LEASE
        )

    async def take(self, most: int = 10_000) -> list[str]:
        """Claim and finish chunks; their campaigns' keys in that order."""
        order: list[str] = []
        while len(order) < most and (claim := await self.claim()):
            order.append(await self.finish(claim))
        return order


@asynccontextmanager
async def open_lane(dsn: str) -> AsyncIterator[MailLane]:
    """The mail lane of a town in which nothing has been published."""
    async with open_town(dsn) as town:
        await town.engine.db.script(
            "truncate ent_notify.notification, ent_notify.campaign, ent_notify.chunk, ent_notify.outcome,"
            "         ent_notify.fair_share cascade;"
            "update ent_notify.lane set turns = '{0,0,0}';"
            "update ent_notify.person set email = 'p5@eleve.example' where id = 5"
        )
        number = next(lane.id for lane in await town.engine.lanes() if lane.name == "email")
        yield MailLane(town, number)


async def test_urgent_before_normal_before_bulk(town_dsn: str) -> None:
    async with open_lane(town_dsn) as lane:
        await lane.publish(*(event(name, EVERYBODY, name) for name in reversed(URGENCIES)))
        assert await lane.take() == [name for name in URGENCIES for _ in range(GIANT_CHUNKS)]


async def test_a_lesson_change_waits_for_no_chunk_but_those_in_hand(town_dsn: str) -> None:
    async with open_lane(town_dsn) as lane:
        await lane.publish(event("giant", EVERYBODY, "bulk"))
        in_hand = [await lane.claim() for _ in range(2)]
        await lane.publish(event("lesson", CLASS_B, "urgent"))
        assert None not in in_hand
        assert await lane.take(2) == ["lesson", "giant"]


async def test_a_lesson_change_of_the_giants_own_urgency_waits_for_one_chunk(town_dsn: str) -> None:
    async with open_lane(town_dsn) as lane:
        await lane.publish(event("giant", EVERYBODY))
        await lane.take(3)
        await lane.publish(event("lesson", CLASS_B))
        assert "lesson" in await lane.take(2)


async def test_ten_thousand_campaigns_of_a_school_are_one_party(town_dsn: str) -> None:
    """(two hundred here; they take the turns of one, and so do messages to single people of that school)"""
    async with open_lane(town_dsn) as lane:
        of_a = [event(f"a{number}", CLASS_A) for number in range(100)]
        of_a += [event(f"p{number}", {"person": "P2"}) for number in range(100)]
        await lane.publish(*of_a)
        await lane.take(5)
        await lane.publish(event("b0", CLASS_B), event("b1", CLASS_B), event("giant", EVERYBODY))
        order = await lane.take(6 + 3)
        assert {"b0", "b1"} <= set(order[:5])
        assert order.count("giant") >= 3, "a project's campaign stands beside schools, not behind them"
        assert len(order) - order.count("giant") - 2 <= 4


async def test_a_giant_is_not_starved_by_an_endless_stream_of_small_ones(town_dsn: str) -> None:
    async with open_lane(town_dsn) as lane:
        await lane.publish(event("giant", EVERYBODY))
        order: list[str] = []
        for number in range(GIANT_CHUNKS * 2):
            await lane.publish(event(f"a{number}", CLASS_A), event(f"b{number}", CLASS_B))
            order += await lane.take(3 if number % 2 else 1)
        assert order.count("giant") == GIANT_CHUNKS


async def test_what_comes_back_from_a_wait_takes_new_turns(town_dsn: str) -> None:
    """A giant whose every chunk waited for a retry does not come back in front of everybody."""
    async with open_lane(town_dsn) as lane:
        await lane.publish(event("giant", EVERYBODY))
        while claim := await lane.claim():
            await lane.put_off(claim, 60)
        await lane.publish(*(event(f"a{number}", CLASS_A) for number in range(30)))
        await lane.take(20)
        lane.town.clock.advance(timedelta(minutes=2))
        await lane.store.promote(lane.town.clock.now(), 10_000)
        await lane.publish(event("lesson", CLASS_B))
        assert "lesson" in await lane.take(3)


async def test_an_urgent_giant_of_before_does_not_push_later_bulk_behind(town_dsn: str) -> None:
    """Turns are counted for each urgency apart."""
    async with open_lane(town_dsn) as lane:
        await lane.publish(event("old", EVERYBODY, "bulk"))
        await lane.publish(event("urgent", EVERYBODY, "urgent"))
        assert set(await lane.take(GIANT_CHUNKS)) == {"urgent"}
        await lane.publish(event("new", CLASS_B, "bulk"))
        assert "new" in await lane.take(2)


async def test_turns_that_are_over_are_forgotten_and_missed_by_nobody(town_dsn: str) -> None:
    async with open_lane(town_dsn) as lane:
        await lane.publish(event("giant", EVERYBODY), event("b", CLASS_B))
        await lane.take(GIANT_CHUNKS - 2)
        assert (await lane.town.engine.upkeep.sweep(TUESDAY))[Chore.TURNS] == 1  # b's: the giant has chunks left
        assert (await lane.town.engine.upkeep.sweep(TUESDAY))[Chore.TURNS] == 0
        await lane.publish(event("a", CLASS_A))
        assert "a" in await lane.take(2)


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("publish"), st.sampled_from(["a", "b", "giant"]), st.sampled_from(URGENCIES), st.integers(1, 4)
        ),
        st.tuples(st.just("take"), st.just(""), st.just(""), st.integers(1, 6)),
    ),
    min_size=3,
    max_size=14,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_nobody_waits_for_more_than_two_chunks_of_anybody_else(
    town_dsn: str, steps: list[tuple[str, str, str, int]]
) -> None:
    """The bound of start-time fair queuing with equal shares, in any mixture of arrivals and claims."""
    trio.run(_mixture, town_dsn, steps)


async def _mixture(dsn: str, steps: list[tuple[str, str, str, int]]) -> None:
    backlog: Counter[tuple[str, str]] = Counter()  # (urgency, party): chunks that wait
    served_since: dict[tuple[str, str], Counter[str]] = {}  # of others, since this one was served or began to wait
    numbers = iter(range(1000))

    async with open_lane(dsn) as lane:

        async def publish(kind: str, urgency: str, count: int) -> None:
            audience = {"a": CLASS_A, "b": CLASS_B, "giant": EVERYBODY}[kind]
            for _ in range(1 if kind == "giant" else count):
                number = next(numbers)
                party = kind if kind != "giant" else f"giant{number}"
                await lane.publish(event(f"{party}|{urgency}|{number}", audience, urgency))
                if not backlog[urgency, party]:
                    served_since[urgency, party] = Counter()
                backlog[urgency, party] += GIANT_CHUNKS if kind == "giant" else 1

        async def take(count: int) -> None:
            for key in await lane.take(count):
                party, urgency, _ = key.split("|")
                rank = URGENCIES.index(urgency)
                assert not any(left and URGENCIES.index(other) < rank for (other, _), left in backlog.items())
                backlog[urgency, party] -= 1
                served_since[urgency, party] = Counter()
                for (other, waiting), left in backlog.items():
                    if left and other == urgency and waiting != party:
                        served_since[other, waiting][party] += 1
                        assert served_since[other, waiting][party] <= 2, f"{waiting} waits behind {party}"

        for step, kind, urgency, count in steps:
            await (publish(kind, urgency, count) if step == "publish" else take(count))
        await take(10_000)
        assert not +backlog


# ------------------------------------------------------------------ through the worker


class Slow:
    """A mail channel that lets a test act in the middle of a window, and notes for which campaign it sends."""

    def __init__(self) -> None:
        self.order: list[int] = []
        self.at_first = trio.Event()
        self.go_on = trio.Event()

    async def send(self, contents: Any, batch: Sequence[Outgoing]) -> list[Verdict]:
        self.order.append(batch[0].notification)
        if not self.at_first.is_set():
            self.at_first.set()
            await self.go_on.wait()
        return [Verdict(VerdictKind.ACCEPTED)] * len(batch)

    async def aclose(self) -> None:
        pass


async def test_a_chunk_under_way_is_given_back_for_an_urgent_one(town: Town) -> None:
    """It waits for a window, not for the whole chunk: a chunk at a provider's slow rate takes minutes."""
    slow = Slow()
    town.engine.use_mail(slow)
    await town.engine.set_rate("email", 1.0)
    giant = (await town.engine.publish(event("giant", EVERYBODY))).notification
    worker = small(town.engine.worker())
    worker.senders = 1
    async with running(town, worker) as clock:
        await slow.at_first.wait()
        urgent = (await town.engine.publish(event("lesson", CLASS_A, "urgent"))).notification
        await clock.sleep(2)
        slow.go_on.set()
        while not (ledger := await town.engine.ledger(giant)).planned or ledger.pending:
            await clock.sleep(1)
    # windows of two, which leave one by one at this rate: the first window of nine, then the urgent one
    assert slow.order[:4] == [giant, giant, urgent, urgent]
    assert slow.order.count(giant) == 9
    assert (await town.engine.ledger(urgent)).pending == 0


async def test_a_lesson_change_does_not_wait_for_the_plan_of_a_giant(town: Town) -> None:
    begun, go_on = trio.Event(), trio.Event()
    worker = troubled(town.engine.worker(), lambda *_: None)
    plan = worker.store.plan

    async def slowly(campaigns: Sequence[int], *args: Any) -> int:
        if list(campaigns) == [giant]:
            begun.set()
            await go_on.wait()
        return await plan(campaigns, *args)

    worker.store.plan = slowly  # type: ignore[method-assign, assignment]
    giant = (await town.engine.publish(event("giant", EVERYBODY))).notification
    async with running(town, worker) as clock:
        await begun.wait()
        lesson = (await town.engine.publish(event("lesson", CLASS_A))).notification
        while not any(item.notification == lesson for item in town.mail.sent):
            await clock.sleep(0.25)
        assert not any(item.notification == giant for item in town.mail.sent)
        go_on.set()
        while not (ledger := await town.engine.ledger(giant)).planned or ledger.pending:
            await clock.sleep(1)
