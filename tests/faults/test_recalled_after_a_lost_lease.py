"""A worker loses its lease in the middle of a window, and the campaign is recalled: what had left is told all the same.

Nobody sends the window again once its campaign is stopped, so nobody else can know what the providers accepted of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from tests.engine.conftest import RecordingChannel, Town

from ent_notify.flows.deliver import Outbox
from ent_notify.flows.fanout import Worker
from ent_notify.model.delivery import Outgoing, Verdict, VerdictKind
from ent_notify.model.fanout import Claim, NothingToClaim, Settlement
from ent_notify.store.fanout import PostgresFanout

from .troubles import PacedClock, TroubledStore, announcement, finish, running, small

LEASE = timedelta(seconds=60)
HORIZON = timedelta(seconds=5)
FCM = "push:fcm:fr.ent"
DEVICES = 3
"""The town's at Google's: one chunk, one window."""


@dataclass
class Stopped(RecordingChannel):
    """Accepts the first send, and before it has answered the process is stopped for longer than a lease; ``meanwhile``
    other things happen. Every answer takes half a lease."""

    clock: PacedClock | None = None
    meanwhile: Callable[[], Awaitable[Any]] | None = None

    async def send(self, contents: Mapping[str, Any], batch: Sequence[Outgoing]) -> list[Verdict]:
        verdicts = await super().send(contents, batch)
        if self.clock is not None:
            if self.meanwhile is not None:
                meanwhile, self.meanwhile = self.meanwhile, None
                self.clock.leap(LEASE * 3)
                await meanwhile()
            await self.clock.sleep(LEASE.total_seconds() / 2)
        return verdicts


@dataclass
class Scene:
    """The town, its store, the campaign and what to do with it."""

    town: Town
    store: PostgresFanout
    campaign: int
    clock: PacedClock
    heir: Claim | None = None

    async def lapse(self) -> None:
        await self.store.promote(self.clock.now(), 100)

    async def recall(self) -> None:
        await self.town.engine.campaigns.recall(self.campaign, by="test")

    async def take_over(self) -> None:
        lane = next(lane.id for lane in await self.town.engine.lanes() if lane.name == FCM)
        answer = await self.store.claim(lane, "heir", self.clock.now(), LEASE, HORIZON)
        assert not isinstance(answer, NothingToClaim)
        (self.heir,), _ = answer

    async def give_back(self) -> None:
        """What a worker does that finds the campaign stopped."""
        assert self.heir is not None
        settlement = Settlement(self.heir.cursor, release=True)
        assert await self.store.settle([(self.heir, settlement)], self.clock.now(), LEASE)


ORDERS = [
    ["lapse", "recall", "|"],
    ["recall", "lapse", "|"],
    ["recall", "|", "lapse"],
    ["lapse", "take_over", "recall", "give_back", "|"],
    ["lapse", "take_over", "recall", "|", "give_back"],
    ["lapse", "|", "recall"],
    ["lapse", "take_over", "|", "recall", "give_back"],
]
"""What happens while the worker is stopped, and (after ``|``) once it has said what had left."""


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
@pytest.mark.parametrize("again", [False, True], ids=["first time", "retries"])
@pytest.mark.parametrize(
    "per_second", [None, 0.4], ids=["all of the window had left", "one by one, until the loss is noticed"]
)
async def test_what_had_left_is_told(town: Town, order: list[str], per_second: float | None, again: bool) -> None:
    campaign = (await town.engine.publish(announcement())).notification
    if again:
        town.fcm.answer = lambda _: Verdict(VerdictKind.RETRY_AT, "fcm.UNAVAILABLE", retry_after=60)
        await alone(small(town.engine.worker("first"))).run_until_idle()
        town.clock.advance(timedelta(minutes=2))
    channel = Stopped()
    await town.engine.use_push("fcm", "fr.ent", channel)
    await town.engine.set_rate(FCM, per_second)
    store = PostgresFanout(town.engine.db)
    worker = alone(small(town.engine.worker("sleeper")))
    async with running(town, worker) as channel.clock:
        scene = Scene(town, store, campaign, channel.clock)
        told = order.index("|")

        async def meanwhile() -> None:
            assert isinstance(worker.store, TroubledStore)
            worker.drain()  # this window is its last
            worker.store.under_way += 1  # (time stands still)
            for step in order[:told]:
                await getattr(scene, step)()
            worker.store.under_way -= 1

        channel.meanwhile = meanwhile
        while not worker.draining:
            await channel.clock.sleep(1)
    for step in order[told + 1 :]:
        await getattr(scene, step)()

    reached = {item.target for item in channel.sent}
    assert len(reached) == DEVICES if per_second is None else reached
    ledger, parts = (await town.engine.ledgers(2))[-1]
    fcm = next(part for part in parts if part.provider == "fcm")
    assert ledger.adds_up
    assert (fcm.accepted, fcm.suppressed.get("recalled", 0), fcm.pending) == (len(reached), DEVICES - len(reached), 0)

    # who saw it sees it replaced
    channel.clock = None
    channel.sent.clear()
    await finish(town)
    assert {item.target for item in channel.sent} == reached
    assert (await town.engine.ledger(campaign)).adds_up


def alone(worker: Worker) -> Worker:
    """With one chunk at a time of Google's lane, and windows wide enough for all of it."""
    lanes: Mapping[str, Outbox] = {FCM: worker.outboxes[FCM]}
    worker.outboxes, worker.senders, worker.bounds = lanes, 1, replace(worker.bounds, window=DEVICES)
    return worker
