"""The users of a run, for Locust: ``Crowd`` holds thousands of streams in a process, ``Visitor`` does everything.

Run by ``python -m loadtests``, which says by an environment variable where the plan is. A crowd is one Locust user: a
greenlet for each of 17,000 streams costs more memory and wake-ups than the streams, so one greenlet waits for the
descriptor of an epoll, and handles what has come in flat loops. What it does still comes to Locust's report by Locust's
events: every request one by one, live notifications by the thousand.
"""

from __future__ import annotations

import os
import time
import traceback
from pathlib import Path
from typing import Any

import gevent
import locust.runners
from locust import User, events, task
from locust.env import Environment
from locust.exception import StopUser

from loadtests import crowd, visitor
from loadtests.frames import FrameTally
from loadtests.host import Signer
from loadtests.plan import FOLDER_VARIABLE, RunFolder
from loadtests.record import Record

FOLDER = RunFolder(Path(os.environ[FOLDER_VARIABLE]))
PLAN = FOLDER.plan()
SIGN = Signer(PLAN.key, PLAN.issuer, PLAN.audience)
_STATE_SECONDS = 0.5
_ORDER_SECONDS = 0.1

# A machine that is full on purpose makes its workers late in telling that they live.
locust.runners.HEARTBEAT_LIVENESS = 120


class Process:
    """What the users of one Locust process share."""

    def __init__(self) -> None:
        self.place = -1
        self.record = Record()
        self.frames: FrameTally | None = None
        self.quiet = False
        self.crowds = 0
        self.visitors: list[visitor.Visitor] = []
        self.waiting: list[int] = []
        self.began = 0.0

    def settle(self, environment: Environment) -> None:
        """Find out which of the client processes this is."""
        if self.place < 0:
            self.place = max(getattr(environment.runner, "worker_index", 0), 0)
            self.frames = FrameTally(environment.stats, FOLDER)
            self.waiting = PLAN.people_of(self.place)[1]
            self.began = time.monotonic()

    @property
    def sources(self) -> list[str]:
        """The addresses that this process connects from."""
        return PLAN.sources_of(self.place)


PROCESS = Process()


def report_to(environment: Environment) -> crowd.Report:
    """How requests come to Locust's report. Being told to come back later is an answer like another."""

    def report(name: str, milliseconds: float, error: str | None) -> None:
        later = error is not None and error.endswith(" 503")
        environment.events.request.fire(
            request_type="ENT",
            name="told to come back later (503)" if later else name,
            response_time=milliseconds,
            response_length=0,
            exception=RuntimeError(error) if error is not None and not later else None,
            context={},
        )

    return report


class Crowd(User):
    """The readers of this process, in one greenlet."""

    fixed_count = PLAN.clients

    @task
    def hold(self) -> None:
        """Hold them until the run is over. A fault of ours ends the run: Locust alone would begin again."""
        try:
            self._hold()
        except StopUser:
            raise
        except Exception:  # noqa: BLE001 - the conductor is told of whatever it is, and raises
            FOLDER.stand(max(PROCESS.place, 0), {"failed": traceback.format_exc()})
            raise StopUser from None

    def _hold(self) -> None:
        PROCESS.settle(self.environment)
        PROCESS.crowds += 1
        if PROCESS.crowds > 1:
            raise RuntimeError("two crowds in one client process: its descriptors would not do for both")
        assert PROCESS.frames is not None
        people = crowd.Crowd(
            PLAN,
            PLAN.people_of(PROCESS.place)[0],
            PROCESS.sources,
            record=PROCESS.record,
            sign=SIGN,
            report=report_to(self.environment),
            note_frame=PROCESS.frames.note,
        )
        people.arrive()
        known, finished = 0, False
        next_order = next_state = 0.0
        while not finished:
            _wait(people.holder, min(_ORDER_SECONDS, people.holder.patience(_ORDER_SECONDS)))
            people.holder.poll(0)
            now = time.monotonic()
            if now >= next_order:
                next_order = now + _ORDER_SECONDS
                for order in FOLDER.orders(known):
                    known += 1
                    finished = _obey(people, order) or finished
            if now >= next_state:
                next_state = now + _STATE_SECONDS
                PROCESS.frames.settle()
                FOLDER.stand(PROCESS.place, _state(people))
        PROCESS.frames.settle()
        for each in PROCESS.visitors:
            each.finish()
        state = _state(people)
        people.finish()
        PROCESS.record.save(FOLDER.record(PROCESS.place))
        FOLDER.stand(PROCESS.place, state | {"finished": True})
        raise StopUser


class Visitor(User):
    """One person who does everything."""

    weight = 1

    @task
    def visit(self) -> None:
        """Come at their time, and stay until the run grows quiet."""
        PROCESS.settle(self.environment)
        if not PROCESS.waiting:
            raise StopUser
        place = len(PROCESS.visitors)
        person = PROCESS.waiting.pop(0)
        share = PLAN.arrive_seconds * place / max(PLAN.visitors // PLAN.clients, 1)
        assert PROCESS.frames is not None
        visiting = visitor.Visitor(
            PLAN,
            person,
            PROCESS.sources[0],
            record=PROCESS.record,
            sign=SIGN,
            report=report_to(self.environment),
            note_frame=PROCESS.frames.note,
        )
        PROCESS.visitors.append(visiting)
        visiting.run(PROCESS.began + share, lambda: PROCESS.quiet)
        raise StopUser


def _obey(people: crowd.Crowd, order: dict[str, Any]) -> bool:
    """Do what the conductor says; whether the run is over."""
    name = order.pop("order")
    if name == "quiet":
        PROCESS.quiet = True
    elif name != "finish":
        getattr(people, name)(**order)
    return bool(name == "finish")


def _state(people: crowd.Crowd) -> dict[str, Any]:
    state = people.state()
    state["visitors"] = len(PROCESS.visitors)
    state["visitors_held"] = sum(each.held for each in PROCESS.visitors)
    for each in PROCESS.visitors:
        if each.held and each.position is not None:
            state["positions"][str(each.position)] = state["positions"].get(str(each.position), 0) + 1
    return state


def _wait(holder: Any, seconds: float) -> None:
    """Let other greenlets run until something happens to a connection, ``seconds`` at most."""
    try:
        gevent.socket.wait_read(holder.fileno(), timeout=max(seconds, 0.0005), timeout_exc=TimeoutError())
    except TimeoutError:
        return


@events.quitting.add_listener
def judge_elsewhere(environment: Environment, **_: Any) -> None:
    """Whether the run passed is for the check of what was heard to say, not for Locust's share of failures."""
    environment.process_exit_code = 0
