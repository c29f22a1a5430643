"""Does what the script says, to the engine and to the oracle; lets time pass; has workers work, and end abruptly."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import trio

from ent_notify.engine import Engine
from ent_notify.flows.fanout import Worker
from ent_notify.testing.year import acts
from ent_notify.testing.year.carriers import Carrier, Weather
from ent_notify.testing.year.clock import YearClock
from ent_notify.testing.year.comings import Comings
from ent_notify.testing.year.oracle import SETTLE, Broken, Oracle
from ent_notify.testing.year.school_life import Doers, SchoolLife
from ent_notify.testing.year.script import Script
from ent_notify.testing.year.sending import judge
from ent_notify.testing.year.settings import APP

TICK = timedelta(milliseconds=1)
_PATIENCE = 2_000
"""Looks of a worker within one stretch of time: more means that it turns on the spot."""


@dataclass(slots=True)
class Driver:
    """One year under way."""

    engine: Engine
    clock: YearClock
    oracle: Oracle
    script: Script
    weather: Weather
    digest: Any = field(default_factory=hashlib.sha256)
    done: int = 0
    """Acts done."""
    sends: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    school: SchoolLife = field(init=False)
    comings: Comings = field(init=False)
    doers: Doers = field(init=False)
    _after: int = 0
    _workers: int = 0

    def __post_init__(self) -> None:
        self.school = SchoolLife(self.engine, self.clock, self.oracle)
        self.comings = Comings(self.engine, self.clock, self.oracle)
        faults: Doers = {acts.Crash: self._crash, acts.Trouble: self._trouble}
        self.doers = {**self.school.doers(), **self.comings.doers(), **faults}

    async def open_channels(self) -> None:
        """Give the engine its providers, at their rates."""
        rates = self.engine.settings.rates
        self.engine.use_mail(Carrier("email", self.clock, self.oracle, self.weather))
        await self.engine.set_rate("email", rates.email_per_second)
        for provider, rate in (("apns", rates.apns_per_second), ("fcm", rates.fcm_per_second)):
            carrier = Carrier(provider, self.clock, self.oracle, self.weather)
            await self.engine.use_push(provider, APP, carrier, rate)

    # ------------------------------------------------------------ time

    async def until(self, when: datetime) -> None:
        """Let time pass, with a worker at hand whenever something becomes due."""
        for _ in range(_PATIENCE):
            due = await self._next(when)
            if due is None:
                self.clock.advance_to(when)
                return
            self.clock.advance_to(due)
            await self.work()
        raise RuntimeError(f"the worker turns on the spot at {self.clock.now()}")

    async def _next(self, before: datetime) -> datetime | None:
        now = self.clock.now()
        due = [each for each in [await self.engine.next_due()] if each is not None]
        due += [lane.paused_until for lane in await self.engine.lanes() if lane.has_ready and lane.paused_until > now]
        first = min((max(each, now + timedelta(seconds=1)) for each in due), default=None)
        return first if first is not None and first < before else None

    async def work(self) -> None:
        """A worker works until nothing is left to do now. One that ends abruptly is another worker's to make good."""
        worker = self._worker()
        with trio.CancelScope() as scope:
            self.weather.crash = scope.cancel
            await worker.run_until_idle()
        self.weather.crash = lambda: None
        await self._look(crashed=scope.cancelled_caught)
        if scope.cancelled_caught:
            self.counts["crashes"] = self.counts.get("crashes", 0) + 1
            await self._worker().run_until_idle()
            await self._look()

    def _worker(self) -> Worker:
        self._workers += 1
        worker = self.engine.worker(f"year-{self._workers}")
        clearing = worker.clearing and replace(worker.clearing, randomness=_even)
        return replace(worker, randomness=_even, clearing=clearing)

    async def _look(self, *, crashed: bool = False) -> None:
        """Tell the oracle what is new, then judge what was sent."""
        self.oracle.lessons_due(self.clock.now())
        rows = await self.engine.db.fetch("year.notifications_after", after=self._after)
        for row in rows:
            found = dict(row.items())
            self.oracle.found(found, _about(found))
            self._after = found["id"]
        self.sends += len(self.oracle.sent)
        judge(self.oracle, crashed=crashed)

    # ------------------------------------------------------------ what happens

    async def begin(self) -> None:
        """The first import, and everybody's phones."""
        await self.engine.sync(self.oracle.town.records(), source="host")

    async def moment(self, at: datetime, what: list[acts.Act]) -> None:
        """Everything of one moment, and a worker after it."""
        await self.until(at)
        first = [act for act in what if isinstance(act, (acts.Read, acts.Sync))]
        for act in (*first, *(act for act in what if not isinstance(act, (acts.Read, acts.Sync)))):
            self.clock.advance_to(self.clock.now() + TICK)
            await self.do(act)
        for uai, zone in self.oracle.town.schools.items():
            local = at.astimezone(ZoneInfo(zone))
            if (local.hour, local.minute) == (18, 0):
                self.oracle.evening(self.clock.now(), uai, self.script.dues(local.date(), uai))
        await self.work()
        if any(isinstance(act, acts.SetTimetable) for act in what):
            await self.until(self.clock.now() + SETTLE + timedelta(seconds=5))
            await self.work()

    async def do(self, act: acts.Act) -> None:
        """One act, if it is possible as things stand."""
        if await self.doers[type(act)](act):
            self.done += 1
            name = type(act).__name__
            self.counts[name] = self.counts.get(name, 0) + 1
            self.digest.update(repr(act).encode())

    async def _crash(self, act: acts.Crash) -> bool:
        self.weather.crash_after = act.after
        return True

    async def _trouble(self, act: acts.Trouble) -> bool:
        self.weather.troubles[act.provider] = act, self.clock.now() + timedelta(minutes=act.minutes)
        return True

    async def night(self, at: datetime) -> None:
        """The night's run of retention, and what else a worker looks after."""
        await self.until(at)
        for _ in range(_PATIENCE):
            self.clock.advance_to(self.clock.now() + timedelta(seconds=61))
            moved = await self.engine.upkeep.step(self.clock.now())
            run, *_others = await self.engine.retention.runs(1)
            if not moved and run.state != "running":
                break
        else:
            self.oracle.broken.append(Broken("I8", f"the retention run of {at:%Y-%m-%d} does not end"))
        self.counts["purges"] = self.counts.get("purges", 0) + self.comings.purge()

    def note_day(self) -> None:
        """Put into the digest what has become of everything that is under way: who accepted what, who refused it."""
        for post in sorted(self.oracle.open_posts(), key=lambda post: post.key):
            self.digest.update(
                orjson.dumps([post.kind, post.key.split(":")[0], sorted(post.accepted), sorted(post.ended)])
            )


def _even() -> float:
    """Half of every range: jitter would make another year of the same seed."""
    return 0.5


def _about(row: dict[str, Any]) -> tuple[Any, ...] | None:
    """What a notification of the engine's own is about."""
    data = row["data"]
    match row["type"]:
        case "HomeworkReminder":
            return "HomeworkReminder", data["due"], frozenset(work["title"] for work in data["works"])
        case "MessagePosted":
            return "MessagePosted", data["conversation"]
        case "TimetableChanged":
            return "TimetableChanged", data["group"], data["on"]
    return None
