"""Processes of a platform for the live benchmarks; they read commands as JSON lines and answer each with one.

usage: python -m benchmarks.live_host DSN PART

``worker``   relays, plans, and sends to channels that take everything at once, until its input ends
``publish``  a host's process:
    ``{"do": "broadcast"}``  publishes to everybody, on the web alone; answers ``{"id", "called", "committed",
        "relayed"}``: the notification, and when publishing was called, had committed, and was heard of on the bus
    ``{"do": "settle"}``  answers when nothing waits to be relayed or planned
    ``{"do": "drained"}``  answers when nothing waits to be sent, either
    ``{"do": "stream", "rate", "seconds", "people"}``  publishes to one person after another, on an open schedule;
        answers ``[[id, intended, committed], ...]``
    ``{"do": "load", "seconds"}``  publishes a campaign to everybody on all channels, another when it is sent, and
        so on; answers ``{"campaigns"}`` as soon as the time is over
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from typing import Any, ClassVar

import trio

from benchmarks import house
from ent_notify.engine import Engine
from ent_notify.model.audience import Everyone, Person
from ent_notify.model.delivery import Channel, Urgency
from ent_notify.model.events import Announcement, GradePublished

POLL = 0.02
_keys = itertools.count()


class BenchNews(Announcement):
    """Information for those who look, and nothing to send."""

    urgency: ClassVar[Urgency] = Urgency.NORMAL
    channels: ClassVar[tuple[Channel, ...]] = (Channel.WEB,)


class Host:
    """The publishing process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._relayed = 0.0
        self._heard = trio.Event()
        self._run = time.monotonic_ns()

    async def listen(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Keep the time of the newest hint."""
        async with self._engine.feed.hints() as hints:
            task_status.started()
            async for hint in hints:
                if hint.seq is not None:
                    self._relayed = time.monotonic()
                    self._heard.set()

    async def obey(self, command: dict[str, Any]) -> Any:
        """Carry one command out."""
        match command.pop("do"):
            case "broadcast":
                return await self.broadcast()
            case "settle":
                return await self.settle()
            case "drained":
                return await self.drained()
            case "stream":
                return await self.stream(**command)
            case "load":
                return await self.load(**command)
        raise ValueError("unknown command")

    async def broadcast(self) -> dict[str, float]:
        """To everybody, on the web alone."""
        self._heard = trio.Event()
        called = time.monotonic()
        published = await self._engine.publish(BenchNews(key=self._key(), audience=Everyone(), title="T", body="B"))
        committed = time.monotonic()
        with trio.fail_after(30):
            await self._heard.wait()
        return {
            "id": published.notification,
            "called": called,
            "committed": committed,
            "relayed": max(self._relayed, committed),
        }

    async def settle(self) -> dict[str, float]:
        """Until nothing waits to be relayed or planned."""
        while await self._engine.db.fetchval("health.unplanned"):  # noqa: ASYNC110 - the database knows, and is asked
            await trio.sleep(POLL)
        return {}

    async def stream(self, rate: float, seconds: float, people: list[str]) -> list[tuple[int, float, float]]:
        """An open loop: what is due is published when it is due, whatever became of those before it."""
        done: list[tuple[int, float, float]] = []

        async def publish(person: str, intended: float) -> None:
            event = GradePublished(key=self._key(), audience=Person(person), pupil=person, subject="Latin")
            published = await self._engine.publish(event)
            done.append((published.notification, intended, time.monotonic()))

        start, clock_start = time.monotonic(), trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(round(rate * seconds)):
                await trio.sleep_until(clock_start + number / rate)
                nursery.start_soon(publish, people[number % len(people)], start + number / rate)
        return done

    async def load(self, seconds: float) -> dict[str, int]:
        """Campaigns to everybody, one after the other."""
        campaigns = 0
        with trio.move_on_after(seconds):
            while True:
                await self._engine.publish(house.announcement())
                campaigns += 1
                await self.drained()
        return {"campaigns": campaigns}

    async def drained(self) -> dict[str, int]:
        """Until nothing waits to be relayed, planned or sent."""
        await self.settle()
        while any(lane.has_ready for lane in await self._engine.lanes() if lane.channel != "web"):  # noqa: ASYNC110
            await trio.sleep(POLL)
        return {}

    def _key(self) -> str:
        return f"live-{self._run}-{next(_keys)}"


async def work(engine: Engine) -> None:
    """A worker with channels that take everything at once."""
    engine.use_mail(house.NullChannel())
    for lane in await engine.lanes():
        if lane.channel == "push":
            await engine.use_push(lane.provider, lane.app, house.NullChannel())
    await engine.worker().run()


def say(value: Any) -> None:
    """One line of JSON."""
    print(json.dumps(value), flush=True)


async def main(dsn: str, part: str) -> None:
    """Serve until the end of the input."""
    async with house.opened(dsn) as engine, trio.open_nursery() as nursery:
        host = Host(engine)
        if part == "worker":
            nursery.start_soon(work, engine)
        else:
            await engine.register_types([BenchNews])
            await nursery.start(host.listen)
        say({})
        async for line in trio.wrap_file(sys.stdin):
            say(await host.obey(json.loads(line)))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
