"""Leases: fenced, kept by a heartbeat, at most a minute; and each delivery is settled exactly once, whoever does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engine.conftest import RecordingChannel, Town, open_town

from ent_notify.model.delivery import Outgoing, Verdict
from ent_notify.model.fanout import Claim, NothingToClaim, OutcomeRow, Settlement, Target, Window
from ent_notify.policy.retry import OutcomeState
from ent_notify.settings import Settings, WorkerSettings
from ent_notify.store.fanout import PostgresFanout

from .troubles import PacedClock, announcement, finish, running, small

LEASE = timedelta(seconds=60)
HORIZON = timedelta(seconds=5)


async def lane_of(town: Town, name: str) -> int:
    return next(lane.id for lane in await town.engine.lanes() if lane.name == name)


async def claimed(town: Town, lane: str = "email") -> Claim:
    """A planned campaign's chunk of a lane, leased."""
    await town.engine.publish(announcement())
    await small(town.engine.worker()).tick()
    store = PostgresFanout(town.engine.db)
    answer = await store.claim(await lane_of(town, lane), "zombie", town.clock.now(), LEASE, HORIZON)
    assert not isinstance(answer, NothingToClaim)
    (held,), _ = answer
    return held


def test_no_setting_makes_a_lease_longer_than_a_minute() -> None:
    assert Settings().worker.lease_seconds <= 60
    with pytest.raises(ValueError, match="less than or equal to 60"):
        WorkerSettings(lease_seconds=61)


@pytest.mark.parametrize("taken_over", [False, True], ids=["ready again", "in other hands"])
async def test_a_zombie_completes_nothing(town: Town, taken_over: bool) -> None:
    store = PostgresFanout(town.engine.db)
    claim = await claimed(town)
    town.clock.advance(LEASE + timedelta(seconds=1))
    await store.promote(town.clock.now(), 100)
    if taken_over:
        answer = await store.claim(claim.lane, "heir", town.clock.now(), LEASE, HORIZON)
        assert not isinstance(answer, NothingToClaim)
        (taken,), _ = answer
        assert (taken.chunk, taken.fence) == (claim.chunk, claim.fence + 1)
    before = await town.engine.ledgers()
    outcome = OutcomeRow(2, 2, OutcomeState.FAILED, "smtp.550", 1, None)
    for settlement in (
        Settlement(4, accepted=3, outcomes=(outcome,)),
        Settlement(claim.size, accepted=claim.size, release=True),
        Settlement(claim.size, release=True),
        Settlement(4),
    ):
        assert not await store.settle([(claim, settlement)], town.clock.now(), LEASE)
    assert await town.engine.ledgers() == before
    await finish(town)
    assert len(town.mail.sent) == 9  # the zombie itself had sent nothing
    assert (await town.engine.ledger(claim.campaign)).accepted == 27


@dataclass
class SlowChannel(RecordingChannel):
    """Takes ``seconds`` for every batch. ``at_once``: batches in it at this moment, and the most there were."""

    clock: PacedClock | None = None
    seconds: float = 0
    at_once: int = 0
    most_at_once: int = 0

    async def send(self, contents: Mapping[str, Any], batch: Sequence[Outgoing]) -> list[Verdict]:
        assert self.clock is not None
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.clock.sleep(self.seconds)
        self.at_once -= 1
        return await super().send(contents, batch)


async def test_a_heartbeat_keeps_the_lease_of_a_slow_window(town: Town) -> None:
    """Eighty seconds for a window, under leases of sixty: nobody else gets the chunk."""
    slow = SlowChannel(seconds=80)
    town.engine.use_mail(slow)
    campaign = (await town.engine.publish(announcement())).notification
    first, second = small(town.engine.worker("first")), small(town.engine.worker("second"))
    first.bounds = second.bounds = replace(first.bounds, window=5)
    second.store = first.store
    async with running(town, first) as slow.clock, trio.open_nursery() as nursery:
        second.clock = slow.clock
        nursery.start_soon(second.run)
        while not (ledgers := await town.engine.ledgers()) or ledgers[0][0].pending or not ledgers[0][0].planned:
            await slow.clock.sleep(5)
        second.drain()
    assert sorted(item.target for item in slow.sent) == [2, 4, 11, 12, 14, 15, 21, 22, 31]
    assert (await town.engine.ledger(campaign)).accepted == 27


async def test_a_worker_that_lost_its_lease_sends_no_more_of_the_window(town: Town) -> None:
    """Its beat finds the chunk in other hands; what it has not sent by then, it does not send."""
    slow = SlowChannel(seconds=30)
    town.engine.use_mail(slow)
    await town.engine.set_rate("email", 0.1)
    campaign = (await town.engine.publish(announcement())).notification
    worker = small(town.engine.worker("sleeper"))
    async with running(town, worker) as slow.clock:
        while not slow.at_once:
            await slow.clock.sleep(0.1)
        slow.clock.advance(LEASE * 3)  # the process was stopped, and goes on
        store = PostgresFanout(town.engine.db)
        await store.promote(slow.clock.now(), 100)
        while (await town.engine.ledger(campaign)).pending:
            await slow.clock.sleep(5)
    repeats = len(slow.sent) - len({item.target for item in slow.sent})
    assert len({item.target for item in slow.sent}) == 9
    assert repeats <= 2
    assert (await town.engine.ledger(campaign)).accepted == 27


# ------------------------------------------------------------------ any order of things


@dataclass
class Model:
    """What must be true of the lane's deliveries, kept beside the database."""

    held: dict[str, tuple[Claim, int]] = field(default_factory=dict)  # worker: its claim, and where it is in it
    fences: dict[int, int] = field(default_factory=dict)  # chunk: the newest fence given out
    expired: set[str] = field(default_factory=set)  # workers whose lease ran out, and who do not know it
    ended: dict[int, str] = field(default_factory=dict)  # target: what it was settled as, once


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["claim", "settle", "settle", "settle", "settle again", "release", "beat", "expire", "promote"]
        ),
        st.sampled_from(["a", "b", "c"]),
        st.integers(1, 3),
        st.sampled_from(["accepted", "failed", "retry", "mixed"]),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_each_delivery_is_settled_once_whatever_three_workers_do(
    town_dsn: str, steps: list[tuple[str, str, int, str]]
) -> None:
    trio.run(Play(town_dsn).run, steps)


class Play:
    """Three workers on one lane, step by step, checked against the model."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.model = Model()
        self.last: dict[str, tuple[Claim, Settlement]] = {}

    async def run(self, steps: list[tuple[str, str, int, str]]) -> None:
        async with open_town(self.dsn) as town:
            self.town = town
            self.store = PostgresFanout(town.engine.db)
            await town.engine.db.script(
                "truncate ent_notify.notification, ent_notify.campaign, ent_notify.chunk, ent_notify.outcome cascade"
            )
            self.campaign = (await town.engine.publish(announcement())).notification
            await small(town.engine.worker()).tick()
            self.lane = await lane_of(town, "email")
            for step, worker, width, result in steps:
                await getattr(self, step.replace(" ", "_"))(worker, width, result)
                await self.check()
            await self.end()

    async def claim(self, worker: str, width: int, result: str) -> None:
        if worker in self.model.held and self.holds(worker):
            return
        answer = await self.store.claim(self.lane, worker, self.town.clock.now(), LEASE, HORIZON)
        if isinstance(answer, NothingToClaim):
            return
        (claim,), _ = answer
        assert claim.fence > self.model.fences.get(claim.chunk, 0), "a fence was given out twice"
        assert all(held.chunk != claim.chunk or not self.holds(w) for w, (held, _) in self.model.held.items())
        self.model.fences[claim.chunk] = claim.fence
        self.model.held[worker] = claim, claim.cursor
        self.model.expired.discard(worker)

    def holds(self, worker: str) -> bool:
        claim, _ = self.model.held[worker]
        return self.model.fences[claim.chunk] == claim.fence and worker not in self.model.expired

    async def settle(self, worker: str, width: int, result: str, *, release: bool = False) -> None:
        if worker not in self.model.held:
            return
        claim, cursor = self.model.held[worker]
        targets = await self.window(claim, cursor, width)
        if not targets:  # the lease was lost, or nothing is due: the worker gives back what it may not even hold
            await self.store.settle([(claim, Settlement(cursor, release=True))], self.town.clock.now(), LEASE)
            self.model.held.pop(worker)
            return
        settlement = self.settlement(claim, cursor, targets, result, release)
        kept = bool(await self.store.settle([(claim, settlement)], self.town.clock.now(), LEASE))
        assert kept == self.holds(worker)
        if not kept:
            self.model.held.pop(worker)
            return
        self.last[worker] = claim, settlement
        gone = {row.target for row in settlement.outcomes if row.state == OutcomeState.FAILED}
        waits = {row.target for row in settlement.outcomes if row.state == OutcomeState.RETRY}
        for target in targets:
            if target.target in waits:
                continue
            assert target.target not in self.model.ended, "settled twice"
            self.model.ended[target.target] = "failed" if target.target in gone else "accepted"
        if settlement.release:
            self.model.held.pop(worker)
        else:
            self.model.held[worker] = claim, settlement.cursor

    async def settle_again(self, worker: str, width: int, result: str) -> None:
        """The answer was lost: the same is said once more."""
        if worker in self.last:
            claim, settlement = self.last[worker]
            if self.model.fences[claim.chunk] == claim.fence and worker not in self.model.expired:
                await self.store.settle([(claim, settlement)], self.town.clock.now(), LEASE)

    async def release(self, worker: str, width: int, result: str) -> None:
        await self.settle(worker, width, result, release=True)

    async def beat(self, worker: str, width: int, result: str) -> None:
        if worker in self.model.held:
            claim, cursor = self.model.held[worker]
            kept = bool(await self.store.settle([(claim, Settlement(cursor))], self.town.clock.now(), LEASE))
            assert kept == self.holds(worker)

    async def expire(self, worker: str, width: int, result: str) -> None:
        """Every lease runs out; whoever held one goes on not knowing."""
        self.town.clock.advance(LEASE + HORIZON)
        await self.promote(worker, width, result)
        self.model.expired |= set(self.model.held)

    async def promote(self, worker: str, width: int, result: str) -> None:
        await self.store.promote(self.town.clock.now(), 100)

    async def window(self, claim: Claim, cursor: int, width: int) -> list[Target]:
        last = cursor + width if claim.is_retry else min(cursor + width, claim.size)
        now = self.town.clock.now()
        window = Window(claim, cursor, last)
        (targets,) = await self.store.load([window], "email", now, day_start=now, daily_cap=1000)
        return targets

    def settlement(
        self, claim: Claim, cursor: int, targets: Sequence[Target], result: str, release: bool
    ) -> Settlement:
        now = self.town.clock.now()
        rows: list[OutcomeRow] = []
        ok: list[int] = []
        for place, target in enumerate(targets):
            kind = ("accepted", "failed", "retry")[place % 3] if result == "mixed" else result
            if kind == "failed":
                rows.append(OutcomeRow(target.target, target.person, OutcomeState.FAILED, "smtp.550", 1, None))
            elif kind == "retry":
                again = now + timedelta(seconds=30)
                rows.append(OutcomeRow(target.target, target.person, OutcomeState.RETRY, "smtp.451", 1, again))
            else:
                ok.append(target.target)
        new_cursor = cursor if claim.is_retry else cursor + len(targets)
        whole = not claim.is_retry and new_cursor >= claim.size
        return Settlement(new_cursor, len(ok), tuple(ok) if claim.is_retry else (), tuple(rows), release or whole)

    async def check(self) -> None:
        (ledger, parts), *_ = await self.town.engine.ledgers(1)
        assert ledger.adds_up
        mail = next(part for part in parts if part.channel == "email")
        ended = list(self.model.ended.values())
        assert mail.accepted == ended.count("accepted")
        assert sum(mail.failed.values()) == ended.count("failed")
        assert mail.pending + mail.held == 9 - len(ended)

    async def end(self) -> None:
        """Whatever was done, one good worker brings it to its end."""
        before = set(self.model.ended)
        await finish(self.town)
        (ledger, parts), *_ = await self.town.engine.ledgers(1)
        assert (ledger.pending, ledger.held) == (0, 0)
        assert {item.target for item in self.town.mail.sent} == {2, 4, 11, 12, 14, 15, 21, 22, 31} - before
        assert len(self.town.mail.sent) == 9 - len(before)
        mail = next(part for part in parts if part.channel == "email")
        assert mail.accepted + sum(mail.failed.values()) == mail.planned == 9
