"""Our side of a benchmark: the product's own store, worker and engine on a benchmark database, from plain functions."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import trio

from ent_notify.clock import SystemClock
from ent_notify.engine import Engine, open_engine
from ent_notify.model.audience import Audience, Everyone
from ent_notify.model.delivery import ACCEPTED, Outgoing, Verdict
from ent_notify.model.events import Announcement
from ent_notify.policy.pause import FRENCH_ZONES, PauseHours, held_until
from ent_notify.settings import Settings

TUESDAY_AT_TEN = datetime(2026, 9, 8, 8, 0, tzinfo=UTC)
"""10:00 in Paris on a school Tuesday: no pause holds anything."""

SHIFT = timedelta(
    seconds=float(os.environ.setdefault("BENCH_SHIFT_SECONDS", str(TUESDAY_AT_TEN.timestamp() - time.time())))
)
"""From the machine's time to the benchmark's, the same in every process of a run: worker processes inherit it."""

SESSION = "-c search_path=ent_notify -c work_mem=256MB"
"""How the yardsticks connect: in the product's schema, with memory enough that none of their joins spills."""

T = TypeVar("T")
_keys = itertools.count(1)


class BenchClock(SystemClock):
    """The machine's clock moved by ``SHIFT``: it began the run at 10:00 on a school Tuesday. It can be moved on."""

    def __init__(self) -> None:
        self._offset = SHIFT

    def now(self) -> datetime:
        """The present instant on the moved time line, in UTC."""
        return super().now() + self._offset

    def advance(self, by: timedelta) -> None:
        """Move the time line forward by ``by``."""
        self._offset += by


class NullChannel:
    """Takes everything at once and sends nothing: what is left is the engine's own cost."""

    async def send(self, contents: object, batch: Sequence[Outgoing]) -> list[Verdict]:
        """Everything is accepted."""
        return [ACCEPTED] * len(batch)

    async def aclose(self) -> None:
        """Nothing to close."""


@asynccontextmanager
async def opened(dsn: str, *, pool: int = 8) -> AsyncIterator[Engine]:
    """An engine on ``dsn``, on the benchmark's clock."""
    settings = Settings.model_validate({"store": {"dsn": dsn, "pool_size": pool}})
    async with open_engine(settings, clock=BenchClock()) as engine:
        yield engine


def run(dsn: str, work: Callable[[Engine], Awaitable[T]], *, pool: int = 8) -> T:
    """Open an engine on ``dsn``, await ``work(engine)``, close it, return the answer."""

    async def main() -> T:
        async with opened(dsn, pool=pool) as engine:
            return await work(engine)

    return trio.run(main)


def announcement(audience: Audience | None = None, life: timedelta = timedelta(days=7)) -> Announcement:
    """A campaign of the bulk kind, to everyone unless said otherwise, with a key of its own."""
    key = f"bench-{datetime.now(UTC).timestamp()}-{next(_keys)}"
    return Announcement(
        key=key, audience=audience or Everyone(), title="Portes ouvertes", body="Samedi, de 9 h à 12 h."
    )


def holds(now: datetime) -> tuple[list[str], list[datetime], datetime]:
    """What the worker hands to the plan: zones, the end of each one's pause, the default (long past: no pause)."""
    past = datetime.min.replace(tzinfo=UTC)
    zones = sorted(FRENCH_ZONES)
    ends = [held_until(now, zone, PauseHours()) or past for zone in zones]
    return zones, ends, held_until(now, "Europe/Paris", PauseHours()) or past


def instant(moment: datetime) -> str:
    """An instant as PostgreSQL reads it; the long-past one is -infinity."""
    return "-infinity" if moment.year == 1 else moment.isoformat()
