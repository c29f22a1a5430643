"""A small town: two schools, a class each, families, and an engine on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from pydantic import SecretStr
from tests.conftest import Databases

from ent_notify.engine import Engine, open_engine
from ent_notify.model.delivery import ACCEPTED, MailContent, Outgoing, Verdict, WakeUp
from ent_notify.settings import Settings, StoreSettings
from ent_notify.store import Database

TOWN = Path(__file__).with_name("town.sql").read_text(encoding="utf-8")
TUESDAY = datetime(2026, 9, 8, 8, 0, tzinfo=UTC)
"""Ten o'clock on a school morning in Paris."""
LONG_SLEEP = 5.0
"""Seconds from which a sleep of StepClock passes a second at a time, and only while nothing else moves."""


class StepClock:
    """A clock that stands still until it is advanced; sleeping advances it."""

    def __init__(self, start: datetime = TUESDAY) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        self._now += by

    async def sleep(self, seconds: float) -> None:
        if seconds <= LONG_SLEEP:
            self._now += timedelta(seconds=seconds)
            await trio.lowlevel.checkpoint()
            return
        # a heartbeat, say: it must not carry everybody past a lease because the database takes its time
        deadline = self._now + timedelta(seconds=seconds)
        while self._now < deadline:
            await trio.testing.wait_all_tasks_blocked(cushion=0.05)
            self._now += timedelta(seconds=1)


Answer = Callable[[Outgoing], Verdict]


@dataclass
class RecordingChannel:
    """A channel implementation that keeps what it was given and answers as told."""

    answer: Answer = lambda _: ACCEPTED
    sent: list[Outgoing] = field(default_factory=list)
    contents: list[MailContent | WakeUp] = field(default_factory=list)

    async def send(
        self, contents: Mapping[str, MailContent] | Mapping[str, WakeUp], batch: Sequence[Outgoing]
    ) -> list[Verdict]:
        await trio.lowlevel.checkpoint()
        self.contents.extend(contents.values())
        self.sent.extend(batch)
        return [self.answer(item) for item in batch]

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@dataclass
class Town:
    """The engine and its channels."""

    engine: Engine
    clock: StepClock
    mail: RecordingChannel
    apns: RecordingChannel
    fcm: RecordingChannel


async def _town(database: Database) -> None:
    await database.script(TOWN)


@pytest.fixture
def town_dsn(databases: Databases) -> Iterator[str]:
    """A database with the town in it; a test may open an engine on it as often as it likes."""
    with databases.copy(databases.template("template_town", _town)) as address:
        yield address


@asynccontextmanager
async def open_town(dsn: str, start: datetime = TUESDAY, **groups: Any) -> AsyncIterator[Town]:
    """The engine on a built town. ``groups`` are groups of settings."""
    clock = StepClock(start)
    async with open_engine(Settings(store=StoreSettings(dsn=SecretStr(dsn)), **groups), clock=clock) as engine:
        town = Town(engine, clock, RecordingChannel(), RecordingChannel(), RecordingChannel())
        engine.use_mail(town.mail)
        await engine.use_push("apns", "fr.ent", town.apns)
        await engine.use_push("fcm", "fr.ent", town.fcm)
        yield town


@pytest.fixture
async def town(town_dsn: str) -> AsyncIterator[Town]:
    async with open_town(town_dsn) as town:
        yield town
