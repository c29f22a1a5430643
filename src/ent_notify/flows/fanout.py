"""The worker: relay, plan, promote, and a few senders for every lane.

One worker or twenty, the same code: everything that must happen once is decided by a row in the database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import trio

from ent_notify.flows.deliver import Deliverer, DeliveryBounds, Outbox, Outboxes, outbox_of
from ent_notify.flows.lane_care import LaneCare
from ent_notify.flows.receipts import LateAnswers
from ent_notify.model.fanout import Lane, NothingToClaim
from ent_notify.policy.pause import FRENCH_ZONES, PauseHours, held_until
from ent_notify.ports import Clock, FanoutObserver, FanoutStore, Unobserved

AT_ONCE = datetime.min.replace(tzinfo=UTC)

_RELAY_BATCH = 10_000
_PLAN_BATCH = 2_000
_PROMOTE_BATCH = 10_000
_LONGEST_WAIT = 1.0


@dataclass(slots=True)
class Worker:
    """Fans out what is published. ``name`` appears in leases; ``senders`` is the number of chunks per lane at once."""

    name: str
    store: FanoutStore
    outboxes: Outboxes
    clock: Clock
    randomness: Callable[[], float]
    zone: str = "Europe/Paris"
    pause: PauseHours = field(default_factory=PauseHours)
    bounds: DeliveryBounds = field(default_factory=DeliveryBounds)
    senders: int = 2
    observer: FanoutObserver = field(default_factory=Unobserved)
    late: LateAnswers | None = None
    draining: bool = False
    claimed: int = 0
    _care: dict[int, LaneCare] = field(default_factory=dict)

    def drain(self) -> None:
        """Claim nothing more; chunks under way are finished."""
        self.draining = True

    async def tick(self) -> int:
        """Relay, plan, take late answers in, promote: once; answers how many things moved. Planning runs until nothing
        waits."""
        moved = await self.store.relay(_RELAY_BATCH)
        self.observer.relayed(moved)
        moved += await self._plan()
        moved += await self._take_late()
        moved += await self.store.promote(self.clock.now(), _PROMOTE_BATCH)
        return moved

    async def _take_late(self) -> int:
        if not self.late:
            return 0
        care = {lane.name: self._care_of(lane) for lane in await self.store.lanes()}
        return await self.late.settle(care, self.clock.now())

    async def _plan(self) -> int:
        planned = 0
        while waiting := await self.store.unplanned(_PLAN_BATCH):
            now = self.clock.now()
            zones = {*FRENCH_ZONES, *await self.store.zones()}
            holds = {zone: held_until(now, zone, self.pause) or AT_ONCE for zone in zones}
            default_hold = held_until(now, self.zone, self.pause) or AT_ONCE
            plain = [each for each in waiting if each.withdraws is None]
            small = [each.campaign for each in plain if not each.large]
            batches = [small] if small else []
            batches += [[each.campaign] for each in plain if each.large]
            moved = 0
            for each in waiting:
                if each.withdraws is not None:
                    moved += await self.store.plan_withdrawal(each.campaign, holds, default_hold, now)
            for batch in batches:
                moved += await self.store.plan(batch, holds, default_hold, now)
            self.observer.planned(moved, (self.clock.now() - now).total_seconds())
            planned += moved
            if moved == 0:
                break  # another planner holds them
        return planned

    async def run(self) -> None:
        """Work until cancelled, or until drained and the chunks under way are done."""
        async with trio.open_nursery() as nursery:
            started: set[str] = set()
            while not self.draining:
                moved = await self.tick()
                for lane in await self.store.lanes():
                    outbox = outbox_of(self.outboxes, lane)
                    if outbox is not None and lane.name not in started:
                        started.add(lane.name)
                        for _ in range(self.senders):
                            nursery.start_soon(self._serve, lane, outbox)
                if not moved:
                    await self.clock.sleep(_LONGEST_WAIT / 4)

    async def run_until_idle(self) -> None:
        """Work until nothing is ready any more: what is held, or waits for a retry, stays for its hour."""
        while not self.draining:
            before = self.claimed
            moved = await self.tick()
            async with trio.open_nursery() as nursery:
                for lane in await self.store.lanes():
                    outbox = outbox_of(self.outboxes, lane)
                    if outbox is not None and lane.has_ready:
                        for _ in range(self.senders):
                            nursery.start_soon(self._serve, lane, outbox, True)
            if not moved and self.claimed == before:
                return

    def _care_of(self, lane: Lane) -> LaneCare:
        return self._care.setdefault(lane.id, LaneCare(self.store, lane, self.observer))

    async def _serve(self, lane: Lane, outbox: Outbox, until_idle: bool = False) -> None:
        care = self._care_of(lane)
        deliverer = Deliverer(self.store, lane, outbox, self.clock, self.randomness, self.bounds, self.observer, care)
        while not self.draining:
            now = self.clock.now()
            answer = await self.store.claim(lane.id, self.name, now, self.bounds.lease, self.bounds.horizon)
            if isinstance(answer, NothingToClaim):
                wait = _LONGEST_WAIT if answer.wait_until is None else (answer.wait_until - now).total_seconds()
                if until_idle and (answer.wait_until is None or wait > _LONGEST_WAIT * 60):
                    return
                await self.clock.sleep(min(max(wait, 0.001), _LONGEST_WAIT))
                continue
            claim, slot = answer
            self.claimed += 1
            self.observer.claimed(lane.channel, lane.provider, claim.urgency, claim.size - claim.cursor)
            await deliverer.deliver(claim, slot)
