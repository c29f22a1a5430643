"""One run: the people come, the phases pass, a bell rings, and everybody is asked what they heard."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import trio

from ent_notify.engine import Engine, open_engine
from ent_notify.settings import settings_from
from loadtests.house import AUDIENCE, ISSUER, House, open_house
from loadtests.plan import FOLDER_VARIABLE, Plan, RunFolder
from loadtests.profiles import Profile
from loadtests.release import Surroundings, open_surroundings
from loadtests.school_day import SchoolDay

_SETTLE_SECONDS = 180.0
"""How long everybody may take to hear the bell."""
_SAMPLE_SECONDS = 0.5
_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
LOCUST_REPORT = "locust.html"


@dataclass(slots=True)
class Outcome:
    """What a run leaves for the judge and the report."""

    bell_seq: int = 0
    held: int = 0
    """Streams that stood when the bell had rung."""
    phases: list[dict[str, Any]] = field(default_factory=list)
    """``{"name", "began_ns", "ended_ns", ...}``; storms tell when they killed whom."""
    samples: list[dict[str, float]] = field(default_factory=list)
    """Streams held, over time."""
    load_before: float = 0.0
    """The machine's load average (1 min) before anything of ours began: what others were doing."""
    usage: dict[str, Any] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    """What did not come to pass in its time."""


class Conductor:
    """Gives the orders of one run, and waits for what they bring about."""

    def __init__(
        self,
        profile: Profile,
        plan: Plan,
        folder: RunFolder,
        house: House,
        engine: Engine,
        surroundings: Surroundings,
    ) -> None:
        self.surroundings = surroundings
        self.profile = profile
        self.plan = plan
        self.folder = folder
        self.house = house
        self.engine = engine
        self.day = SchoolDay(engine, folder, plan.everybody())
        self.outcome = Outcome()

    @property
    def everybody(self) -> int:
        """Streams that a run holds when all have come."""
        return self.plan.readers + self.plan.visitors

    def held(self) -> int:
        """Streams held now, as the clients said last."""
        return sum(state["held"] + state["visitors_held"] for state in self.folder.states())

    async def wait_held(self, seconds: float, what: str) -> bool:
        """Wait until every stream stands; after ``seconds`` it is noted as a trouble."""
        if await _until(lambda: self.held() >= self.everybody, seconds):
            return True
        self.trouble(f"{what}: {self.held():,} of {self.everybody:,} streams stand after {seconds:.0f} s")
        return False

    def trouble(self, text: str) -> None:
        """Note what did not come to pass."""
        say(f"  ! {text}")
        self.outcome.troubles.append(text)

    async def run(self, phases: Mapping[str, Callable[[Conductor], Awaitable[dict[str, Any]]]]) -> Outcome:
        """The whole run."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sample)
            async with trio.open_nursery() as day:
                await self._phase("arrive", self._arrive, day)
                for name in self.profile.phases:
                    await self._phase(name, phases[name])
                self.day.phase = "end"
                day.cancel_scope.cancel()
            self.folder.order("quiet")
            await trio.sleep(1.5)
            await self._ring()
            self.folder.order("finish")
            nursery.cancel_scope.cancel()
        await _until(self._finished, _SETTLE_SECONDS)
        return self.outcome

    def _finished(self) -> bool:
        return sum(state.get("finished", False) for state in self.folder.states()) == self.plan.clients

    async def _phase(
        self, name: str, act: Callable[..., Awaitable[dict[str, Any]]], day: trio.Nursery | None = None
    ) -> None:
        self.day.phase = name
        before = self.house.usage()
        row: dict[str, Any] = {"name": name, "began_ns": time.time_ns()}
        say(f"  {name}")
        row |= await (act(self) if day is None else act(day))
        row["ended_ns"] = time.time_ns()
        row["held"] = self.held()
        after = self.house.usage()
        row["cpu_seconds"] = {
            service: round(after[service]["cpu_seconds"] - before[service]["cpu_seconds"], 2) for service in after
        }
        row["pss_mib"] = {service: after[service]["pss_mib"] for service in after}
        self.outcome.phases.append(row)

    async def _arrive(self, day: trio.Nursery) -> dict[str, Any]:
        day.start_soon(self.day.go_on, self.profile.traffic_per_second, self.profile.everyone_seconds)
        limit = self.profile.arrive_seconds * 6 + 60
        await self.wait_held(limit, "arrival")
        return {}

    async def _ring(self) -> None:
        notification = await self.day.ring()
        seq = None
        while seq is None:
            await trio.sleep(0.05)
            rows = await self.engine.inbox(await self.engine.reader("P1"), None, 5)
            seq = next((row.seq for row in rows if row.notification == notification), None)
        self.outcome.bell_seq = seq
        everybody = await _until(lambda: self._heard(seq) >= self.everybody, _SETTLE_SECONDS)
        self.outcome.held = self._heard(seq)
        if not everybody:
            self.trouble(f"the bell: {self.outcome.held:,} of {self.everybody:,} heard it")
        self.outcome.usage = self.house.usage()

    def _heard(self, seq: int) -> int:
        return sum(
            number
            for state in self.folder.states()
            for place, number in state["positions"].items()
            if int(place) >= seq
        )

    async def _sample(self) -> None:
        while True:
            self.outcome.samples.append({"at": time.time(), "held": self.held()})
            await trio.sleep(_SAMPLE_SECONDS)


async def conduct(
    profile: Profile,
    dsn: str,
    path: Path,
    phases: Mapping[str, Callable[[Conductor], Awaitable[dict[str, Any]]]],
) -> tuple[Plan, Outcome]:
    """Set the platform up on ``dsn``, run Locust against it, and say what came of it. ``path``: an empty folder."""
    folder = RunFolder(path)
    load_before = round(os.getloadavg()[0], 2)
    plan = Plan(
        host="127.0.0.1",
        port=0,
        key={},
        issuer=ISSUER,
        audience=AUDIENCE,
        people=profile.people,
        readers=profile.readers,
        visitors=profile.visitors,
        clients=profile.clients,
        arrive_seconds=profile.arrive_seconds,
        slow_share=profile.slow_share,
        think_seconds=profile.think_seconds,
        most_under_way=profile.most_under_way,
    )
    settings = settings_from({"store": {"dsn": dsn, "pool_size": 4}})
    async with (
        open_surroundings(profile, path, dsn) as surroundings,
        open_house(profile, dsn, path, plan.sources(), surroundings.settings) as house,
        open_engine(settings) as engine,
    ):
        plan = replace(plan, port=house.port, key=house.key)
        folder.write_plan(plan)
        conductor = Conductor(profile, plan, folder, house, engine, surroundings)
        async with open_locust(plan, path):
            outcome = await conductor.run(phases)
    outcome.load_before = load_before
    return plan, outcome


class open_locust:  # noqa: N801 - reads as the context manager that it is
    """Locust's master and one process for each client, until the block ends."""

    def __init__(self, plan: Plan, path: Path) -> None:
        self._plan = plan
        self._path = path
        self._process: trio.Process | None = None

    async def __aenter__(self) -> trio.Process:
        port = str(_free_port())
        users = self._plan.clients + self._plan.visitors
        command = [
            *(sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--headless", "--only-summary"),
            *("--processes", str(self._plan.clients), "-u", str(users), "-r", str(users), "-s", "5"),
            *("--html", str(self._path / LOCUST_REPORT), "--host", f"http://{self._plan.host}:{self._plan.port}"),
            *("--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--master-port", port),
        ]  # fmt: skip
        root = str(Path(__file__).parents[1])
        environment = os.environ | {
            FOLDER_VARIABLE: str(self._path),
            "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")])),
        }
        with (self._path / "locust.log").open("wb") as log:
            self._process = await trio.lowlevel.open_process(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        return self._process

    async def __aexit__(self, *_: object) -> None:
        process = self._process
        assert process is not None
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                with trio.move_on_after(20):
                    await process.wait()
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


async def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether ``condition`` came true within ``seconds``. What it looks at are files of other processes."""
    deadline = trio.current_time() + seconds
    for _ in iter(condition, True):
        if trio.current_time() > deadline:
            return False
        await trio.sleep(0.2)
    return True


def _free_port() -> int:
    from ent_notify.gateway.supervisor import reserved

    with reserved("127.0.0.1", 0) as port:
        return port


def say(text: str) -> None:
    """Tell who waits."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def settings_shown(profile: Profile) -> dict[str, Any]:
    """A profile as it goes into the results."""
    return asdict(profile)
