"""What a host publishes on a school day, on an open schedule: at its moment, whether or not the one before is done."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import trio

from ent_notify.engine import Engine
from ent_notify.model.audience import Everyone, School
from ent_notify.model.events import AbsenceRecorded, Announcement, Event, HomeworkAssigned
from loadtests.crowd import PUPILS, SCHOOL
from loadtests.host import external_id
from loadtests.plan import RunFolder

CLASSES = 28
"""Classes of a school in the generated region."""


class SchoolDay:
    """Publishes for the people of a run, through the library, as a host does."""

    def __init__(self, engine: Engine, folder: RunFolder, people: Sequence[int], seed: int = 1) -> None:
        self._engine = engine
        self._folder = folder
        self._random = random.Random(seed)
        self._pupils = [person for person in people if (person - 1) % SCHOOL < PUPILS]
        self._numbers = itertools.count(1)
        self.phase = "arrive"
        """What is going on: part of the label under which a latency is told."""
        self.resting = False
        """Whether nothing ordinary is published for now."""
        self.published = 0

    async def go_on(self, per_second: float, everyone_seconds: float) -> None:
        """Publish ordinary things and now and then an announcement to everyone, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._every, 1 / per_second, self._ordinary)
            nursery.start_soon(self._every, everyone_seconds, self._to_everyone)

    async def broadcast(self, times: int, gap: float) -> None:
        """Announce so many things to everyone, ``gap`` seconds apart, and wait until the last is committed."""
        async with trio.open_nursery() as nursery:
            began = trio.current_time()
            for number in range(times):
                await trio.sleep_until(began + number * gap)
                nursery.start_soon(self._publish, "everyone", self._to_everyone()[1], time.time_ns())

    async def ring(self) -> int:
        """Publish the last announcement to everyone; its notification's id."""
        return await self._publish("the bell", self._to_everyone()[1], time.time_ns())

    async def _every(self, seconds: float, make: Callable[[], tuple[str, Event]]) -> None:
        began, began_ns = trio.current_time(), time.time_ns()
        async with trio.open_nursery() as nursery:
            for number in itertools.count(1):
                await trio.sleep_until(began + number * seconds)
                if self.resting:
                    continue
                kind, event = make()
                nursery.start_soon(self._publish, kind, event, began_ns + round(number * seconds * 1e9))

    async def _publish(self, kind: str, event: Event, intended_ns: int) -> int:
        label = f"{self.phase}: {kind}"
        published = await self._engine.publish(event)
        self._folder.publish(published.notification, label, intended_ns, time.time_ns())
        self.published += 1
        return published.notification

    def _ordinary(self) -> tuple[str, Event]:
        number = next(self._numbers)
        pupil = self._random.choice(self._pupils)
        uai = uai_of((pupil - 1) // SCHOOL + 1)
        if number % 10 == 0:
            return "school", Announcement(
                key=f"load-school-{number}", audience=School(uai), title="Portes ouvertes", body="Samedi matin."
            )
        if number % 2:
            return "guardians", AbsenceRecorded(
                key=f"load-absence-{number}", pupil=external_id(pupil), starts_at=datetime.now(UTC)
            )
        group = f"{uai}/class/{(pupil - 1) % SCHOOL % CLASSES + 1}"
        due = (datetime.now(UTC) + timedelta(days=1)).date()
        return "class", HomeworkAssigned(
            key=f"load-homework-{number}", group=group, subject="Mathématiques", title="Exercices 3 et 4", due=due
        )

    def _to_everyone(self) -> tuple[str, Event]:
        return "everyone", Announcement(
            key=f"load-everyone-{next(self._numbers)}",
            audience=Everyone(),
            title="Alerte météo",
            body="Les transports scolaires ne circulent pas ce matin.",
        )


def uai_of(school: int) -> str:
    """The UAI of a school of the generated region, numbered from 1."""
    return f"{540_000 + school:07d}{chr(65 + school % 23)}"
