"""Stores that fail at a chosen call: a worker that dies there, and a database whose answer is lost."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any, cast

import pytest
import trio
import trio.testing
from tests.engine.conftest import Town

from ent_notify.errors import StoreUnreachable
from ent_notify.flows.fanout import Worker
from ent_notify.model.audience import Everyone
from ent_notify.model.events import Announcement
from ent_notify.policy.pause import PauseHours
from ent_notify.ports import FanoutStore, UpkeepStore

WINDOW = 2
SENDERS = 2
"""Chunks of a lane in one worker's hands, each with a window of WINDOW sends: the town has a handful of people."""


class Killed(BaseException):
    """The process is gone: nothing of ours runs any more."""


Trouble = Callable[[str, bool], None]
"""Told the name of each call, before it (False) and after it (True); it may raise."""


class TroubledStore:
    """A FanoutStore (and UpkeepStore) in front of others, with ``trouble`` around every call. ``under_way`` calls
    are in it now; ``calls`` counts them by name."""

    def __init__(self, store: FanoutStore, upkeep: UpkeepStore, trouble: Trouble) -> None:
        self._store = store
        self._upkeep = upkeep
        self._trouble = trouble
        self.under_way = 0
        self.calls: Counter[str] = Counter()

    def waited_for(self, errand: Callable[[], Awaitable[int]]) -> Callable[[], Awaitable[int]]:
        """``errand``, under way like a call: it asks the database, and no time passes meanwhile."""

        async def run() -> int:
            self.under_way += 1
            try:
                return await errand()
            finally:
                self.under_way -= 1

        return run

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._upkeep if name == "forget" else self._store, name)

        async def troubled(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            self._trouble(name, False)
            self.under_way += 1
            try:
                answer = await call(*args, **kwargs)
            finally:
                self.under_way -= 1
            self._trouble(name, True)
            return answer

        return troubled


class PacedClock:
    """A clock for several tasks: it jumps to the next of their deadlines once all of them wait, and none of them for
    the database."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._sleepers: list[tuple[datetime, int, trio.Event]] = []
        self._numbers = count()

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        """Set the clock, forward or back; whoever sleeps goes on sleeping as long as they meant to."""
        self._now += by
        self._sleepers = [(due + by, number, over) for due, number, over in self._sleepers]

    def leap(self, by: timedelta) -> None:
        """The process was stopped for so long: whoever sleeps wakes late."""
        self._now += by

    async def sleep(self, seconds: float) -> None:
        over = trio.Event()
        heapq.heappush(self._sleepers, (self._now + timedelta(seconds=seconds), next(self._numbers), over))
        await over.wait()

    async def drive(self, store: TroubledStore) -> None:
        """Let time pass, for ever."""
        while True:
            await trio.testing.wait_all_tasks_blocked()
            if store.under_way or not self._sleepers:
                await trio.sleep(0)  # noqa: ASYNC115 - the answer comes from another thread
                continue
            due, _, over = heapq.heappop(self._sleepers)
            self._now = max(self._now, due)
            over.set()


class Once:
    """Raises ``error`` at the ``nth`` time that ``call`` is begun, or (``after``) has been carried out."""

    def __init__(self, call: str, *, after: bool, nth: int, error: BaseException) -> None:
        self._place = (call, after)
        self._left = nth
        self._error = error
        self.happened = False

    def __call__(self, call: str, after: bool) -> None:
        if (call, after) == self._place and not self.happened:
            self._left -= 1
            if not self._left:
                self.happened = True
                raise self._error


def lost(call: str, *, applied: bool, nth: int = 1) -> Once:
    """The connection breaks around ``call``: before it reached the database, or (``applied``) before it answered."""
    return Once(call, after=applied, nth=nth, error=StoreUnreachable(f"{call}: the connection failed"))


def troubled(worker: Worker, trouble: Trouble) -> Worker:
    """The worker on such a store, with small windows and no pause hours."""
    assert worker.upkeep is not None
    store = TroubledStore(worker.store, worker.upkeep.store, trouble)
    worker.store = cast(FanoutStore, store)
    also = [store.waited_for(work) for work in worker.upkeep.also]
    worker.upkeep = replace(worker.upkeep, store=cast(UpkeepStore, store), also=also)
    worker.errands = [store.waited_for(errand) for errand in worker.errands]
    worker.bounds = replace(worker.bounds, window=WINDOW)
    worker.clearing = None  # it has no part in these troubles
    worker.senders = SENDERS
    worker.pause = PauseHours(enabled=False)
    return worker


def small(worker: Worker) -> Worker:
    """The worker with small windows and no pause hours, and no trouble."""
    return troubled(worker, lambda *_: None)


async def run_until_killed(worker: Worker) -> None:
    """Run it until its store kills it: everything under way is gone, and nothing is told to anybody."""
    with pytest.RaisesGroup(Killed, allow_unwrapped=True, flatten_subgroups=True):
        await worker.run_until_idle()


async def finish(town: Town) -> None:
    """Another worker, once every lease has run out, until nothing waits any more."""
    worker = small(town.engine.worker("successor"))
    town.clock.advance(timedelta(minutes=2))
    while True:
        await worker.run_until_idle()
        due = await town.engine.next_due()
        if due is None:
            return
        town.clock.advance(max(due - town.clock.now(), timedelta(0)))


@asynccontextmanager
async def running(town: Town, worker: Worker) -> AsyncIterator[PacedClock]:
    """``worker.run()`` on a paced clock inside the block, and drained at its end."""
    clock = PacedClock(town.clock.now())
    worker.clock = clock
    assert isinstance(worker.store, TroubledStore)
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(clock.drive, worker.store)
            async with trio.open_nursery() as inner:
                inner.start_soon(worker.run)
                yield clock
                worker.drain()
            nursery.cancel_scope.cancel()
    town.clock.advance(clock.now() - town.clock.now())


async def run_until_done(town: Town, worker: Worker, campaigns: int = 1) -> None:
    """``worker.run()`` until every delivery of the newest campaigns has ended; then it is drained."""
    async with running(town, worker) as clock:
        while True:
            ledgers = [ledger for ledger, _ in await town.engine.ledgers(campaigns)]
            assert all(ledger.adds_up for ledger in ledgers)
            if len(ledgers) == campaigns and all(
                ledger.planned and not ledger.pending and not ledger.held for ledger in ledgers
            ):
                return
            await clock.sleep(1)


def announcement(key: str = "a", **changes: Any) -> Any:
    """One event to the whole town, which no hour of the day holds back."""
    return Announcement(key=key, title="T", body="B", audience=Everyone()).to_json() | {"urgency": "urgent"} | changes


def sent(*towns: Town) -> dict[str, list[str]]:
    """The ids of what each channel was given, by lane, over several lives of the engine."""
    return {
        lane: [item.dedup_id for town in towns for item in getattr(town, lane).sent] for lane in ("mail", "apns", "fcm")
    }
