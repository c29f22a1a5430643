"""The worker: relay, plan, promote, and a few senders for every lane.

One worker or twenty, the same code: everything that must happen once is decided by a row in the database.

Idle, it looks four times a second, one statement each (and one for each errand), or as soon as the database says that
there is something to do, or a chunk becomes due; senders sleep until a look finds something in their lane. A database
that does not answer is waited for: nothing ends but what a cancellation, or a drain, ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import trio

from ent_notify.errors import IslandDied, StoreError
from ent_notify.flows.clearing import Clearing
from ent_notify.flows.deliver import Deliverer, DeliveryBounds, Outbox, Outboxes, outbox_of
from ent_notify.flows.lane_care import LaneCare
from ent_notify.flows.night import Night
from ent_notify.flows.patience import FIRST_WAIT, Patience, longer
from ent_notify.flows.receipts import LateAnswers
from ent_notify.flows.upkeep import Upkeep
from ent_notify.model.fanout import Claim, Lane, NothingToClaim
from ent_notify.model.steps import Step
from ent_notify.policy.pause import PauseHours, held_until
from ent_notify.ports import Clock, FanoutObserver, FanoutStore, Unobserved

AT_ONCE = datetime.min.replace(tzinfo=UTC)

_RELAY_BATCH = 10_000
_PLAN_BATCH = 10_000
_PROMOTE_BATCH = 10_000
_LOOK_EVERY = 0.25
"""Seconds between two looks of an idle worker whom nobody wakes."""
_CLEAR_EVERY = 1.0
"""Seconds between two looks for what is to be cleared from screens."""
_LONGEST_WAIT = 1.0
_IDLE_PATIENCE = 60.0
"""``run_until_idle`` waits so many seconds for a rate or a short pause, not longer."""
_NOT_URGENT = 99
_MOST_CHUNKS = 64
"""Chunks that one sender holds at most."""


Wakes = Callable[[], AbstractAsyncContextManager[AsyncIterator[object]]]
"""Opens the hints that there may be something to do. They may be lost, and may be for nothing."""


class _Bell:
    """Wakes all who wait. Whoever takes ``ear`` before they look is woken by a ring during their look, too."""

    def __init__(self) -> None:
        self.ear = trio.Event()

    def ring(self) -> None:
        self.ear.set()
        self.ear = trio.Event()


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
    upkeep: Upkeep | None = None
    clearing: Clearing | None = None
    errands: Sequence[Callable[[], Awaitable[int]]] = ()
    """Work of others that may publish, done before each relay; each answers how many things it moved."""
    wakes: Wakes | None = None
    """What wakes it when it is idle, beside the time; it is heard while ``run`` runs."""
    beat: Callable[[], None] = lambda: None
    """Called each time that ``run`` has gone round, whatever the database said: whoever hears nothing, it is stuck."""
    draining: bool = False
    claimed: int = 0
    _care: dict[int, LaneCare] = field(default_factory=dict)
    _bells: dict[int, _Bell] = field(default_factory=dict)
    _large: _Bell = field(default_factory=_Bell)
    _work: _Bell = field(default_factory=_Bell)
    _leave: _Bell = field(default_factory=_Bell)
    _ready: Mapping[int, int] = field(default_factory=dict)
    _due: datetime | None = None
    _night: Night = field(init=False)

    def __post_init__(self) -> None:
        self._night = Night(self.store, self._ends_of_pauses)

    def drain(self) -> None:
        """Claim nothing more; windows under way are finished, and their chunks given back."""
        self.draining = True
        for bell in (self._large, self._work, self._leave, *self._bells.values()):
            bell.ring()

    async def tick(self) -> int:
        """Relay, plan, take late answers in, promote: once; answers how many things moved. Planning runs until nothing
        waits."""
        moved = await self._run_errands()
        moved += await self._relay()
        moved += await self._plan()
        moved += await self._take_late()
        moved += await self._promote()
        return moved

    async def _run_errands(self) -> int:
        return sum([await errand() for errand in self.errands])

    async def _relay(self) -> int:
        moved = await self.store.relay(_RELAY_BATCH)
        self.observer.relayed(moved)
        return moved

    async def _promote(self) -> int:
        return await self.store.promote(self.clock.now(), _PROMOTE_BATCH)

    async def _take_late(self) -> int:
        if not self.late:
            return 0
        care = {lane.name: self._care_of(lane) for lane in await self.store.lanes()}
        return await self.late.settle(care, self.clock.now())

    async def _ends_of_pauses(self, now: datetime) -> dict[str, datetime]:
        return {zone: held_until(now, zone, self.pause) or AT_ONCE for zone in await self.store.zones()}

    async def _plan(self, only_large: bool | None = None) -> int:
        """Plan what waits: all of it, only what may be large, or (False) only what is not."""
        planned = 0
        while waiting := [
            each for each in await self.store.unplanned(_PLAN_BATCH) if only_large is None or each.large is only_large
        ]:
            now = self.clock.now()
            holds = await self._ends_of_pauses(now)
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
            ended = self.clock.now()
            self.observer.planned(moved, (ended - now).total_seconds())
            if moved:
                self.observer.stepped(Step.PLAN, [each.campaign for each in waiting], now, ended)
            planned += moved
            if moved == 0:
                break  # another planner holds them
        return planned

    async def run(self) -> None:
        """Work until cancelled, or until drained and the windows under way are settled.

        Whatever goes wrong with the database or with one chunk is told to the observer and tried again; only the end
        of the island ends the worker.
        """
        async with trio.open_nursery() as ears:
            ears.start_soon(self._hear)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._plan_large)
                if self.clearing is not None:
                    nursery.start_soon(self._clear, self.clearing)
                served: set[int] = set()
                wait = FIRST_WAIT
                while not self.draining:
                    rung = self._work.ear
                    moved = await self._survive(partial(self._round, nursery, served))
                    self.beat()
                    if moved is None:
                        await self.clock.sleep(wait * (1 + self.randomness()) / 2)
                        wait = longer(wait)
                        continue
                    wait = FIRST_WAIT
                    if not moved:
                        await self._rest(rung, self._until_look())
            ears.cancel_scope.cancel()
        await self._survive(self._take_late)  # what came while the last windows were finished

    async def _hear(self) -> None:
        """Ring when there may be something to do, for ever."""
        wait = FIRST_WAIT
        while self.wakes is not None:
            try:
                async with self.wakes() as wakes:
                    async for _ in wakes:
                        wait = FIRST_WAIT
                        self._work.ring()
            except StoreError as error:
                self.observer.store_failed(error)
            await self.clock.sleep(wait * (1 + self.randomness()) / 2)
            wait = longer(wait)

    def _until_look(self) -> float:
        """Seconds until the next look: when a chunk becomes due, or after a while."""
        if self._due is None:
            return _LOOK_EVERY
        return min(_LOOK_EVERY, max((self._due - self.clock.now()).total_seconds(), 0.001))

    async def _rest(self, rung: trio.Event, seconds: float) -> None:
        """Until it rings, or for so many seconds."""
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                await rung.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            await self.clock.sleep(seconds)
            nursery.cancel_scope.cancel()

    async def _round(self, nursery: trio.Nursery, served: set[int]) -> int:
        """Look, do what there is to do, and wake the senders of lanes that have something to claim."""
        done = await self._run_errands()
        waiting = await self.store.look(self.clock.now())
        self._ready, self._due = waiting.ready, waiting.due
        if waiting.ready.keys() - served:
            for lane in await self.store.lanes():
                outbox = outbox_of(self.outboxes, lane)
                if outbox is not None and lane.id not in served:
                    served.add(lane.id)
                    self._bells[lane.id] = _Bell()
                    for _ in range(self.senders):
                        nursery.start_soon(self._serve_on, lane, outbox)
        for lane_id in waiting.ready.keys() & served:
            self._bells[lane_id].ring()
        moved = done
        if waiting.relay:
            moved += await self._relay()
        if waiting.plan or moved:
            self._large.ring()
            moved += await self._survive(partial(self._plan, only_large=False)) or 0
        moved += await self._take_late()
        if waiting.promote:
            moved += await self._promote()
        if self.upkeep is not None:
            await self._survive(partial(self.upkeep.step, self.clock.now()))
        return moved

    async def _plan_large(self) -> None:
        """Large campaigns are planned beside the rest: nobody's lesson change waits for a plan of a million people."""
        rung = self._large.ear
        while not self.draining:
            await rung.wait()
            rung = self._large.ear
            if await self._survive(partial(self._plan, only_large=True)):
                self._work.ring()  # chunks are ready: nobody else need tell us

    async def _clear(self, clearing: Clearing) -> None:
        """Clear from screens what was read elsewhere, beside the rest: nobody's alert waits for it."""
        while not self.draining:
            leaving = self._leave.ear
            if not await self._survive(clearing.step):
                await self._rest(leaving, _CLEAR_EVERY)

    async def _survive(self, step: Callable[[], Awaitable[int]]) -> int | None:
        """What ``step`` answers; None when the database failed it."""
        try:
            return await step()
        except StoreError as error:
            self.observer.store_failed(error)
            return None

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
            if self.clearing is not None:
                moved += await self.clearing.step()
            if not moved and self.claimed == before:
                return

    def _care_of(self, lane: Lane) -> LaneCare:
        return self._care.setdefault(lane.id, LaneCare(self.store, lane, self.observer))

    async def _serve_on(self, lane: Lane, outbox: Outbox) -> None:
        """Serve until drained, whatever a single chunk does."""
        wait = FIRST_WAIT
        while not self.draining:
            before = self.claimed
            try:
                await self._serve(lane, outbox)
            except IslandDied:
                raise
            except StoreError as error:
                self.observer.store_failed(error)
            except Exception as error:  # noqa: BLE001 - what one chunk does must not end the sending of all others
                self.observer.chunk_failed(lane.channel, lane.provider, error)
            wait = FIRST_WAIT if self.claimed > before else longer(wait)
            if not self.draining:
                await self.clock.sleep(wait * (1 + self.randomness()) / 2)

    async def _serve(self, lane: Lane, outbox: Outbox, until_idle: bool = False) -> None:
        deliverer = Deliverer(
            self.store,
            lane,
            outbox,
            self.clock,
            self.randomness,
            self.bounds,
            self.observer,
            self._care_of(lane),
            Patience(self.clock, self.randomness, self.observer, limited=until_idle),
            self._gives_way,
            self._night,
        )
        most = 1
        while not self.draining:
            rung = None if until_idle else self._bells[lane.id].ear
            now = self.clock.now()
            answer = await self.store.claim(lane.id, self.name, now, self.bounds.lease, self.bounds.horizon, most)
            if isinstance(answer, NothingToClaim):
                wait = None if answer.wait_until is None else (answer.wait_until - now).total_seconds()
                if until_idle and (wait is None or wait > _IDLE_PATIENCE):
                    return
                if wait is not None:
                    await self.clock.sleep(min(max(wait, 0.001), _LONGEST_WAIT))
                if (wait is None or wait > _LONGEST_WAIT) and rung is not None and not self.draining:
                    await rung.wait()
                continue
            claims, slot = answer
            self.claimed += len(claims)
            for claim in claims:
                self.observer.claimed(lane.channel, lane.provider, claim.urgency, claim.size - claim.cursor)
            most = self._worth_claiming(claims)
            await deliverer.deliver(claims, slot)
            campaigns = [claim.campaign for claim in claims]
            self.observer.stepped(Step.SEND, campaigns, now, self.clock.now(), lane.channel, lane.provider)

    def _worth_claiming(self, claims: Sequence[Claim]) -> int:
        """How many chunks like these make up a window: to claim more would keep them from other workers."""
        sends = sum(claim.size - claim.cursor for claim in claims)
        return min(max(self.bounds.window * len(claims) // max(sends, 1), 1), _MOST_CHUNKS)

    def _gives_way(self, claim: Claim) -> bool:
        return self.draining or self._ready.get(claim.lane, _NOT_URGENT) < claim.urgency
