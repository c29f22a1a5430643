"""The small town of the engine's tests."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.engine.conftest import Town, town, town_dsn

__all__ = ["CLASS", "OTHER_CLASS", "SCHOOL", "Town", "go_to", "lines", "shown", "town", "town_dsn"]

SCHOOL, CLASS, OTHER_CLASS = "0540001A", "0540001A/class/6A", "0540002B/class/5B"


async def go_to(town: Town, when: datetime) -> None:
    """Let time pass until ``when``, then let a worker do what there is to do."""
    assert when >= town.clock.now()
    town.clock.advance(when - town.clock.now())
    await town.engine.worker().run_until_idle()


async def shown(town: Town, person: str) -> list[tuple[str, dict[str, Any]]]:
    """(type, data) of what is in somebody's inbox, newest first."""
    reader = await town.engine.reader(person)
    return [(entry.type, dict(entry.data)) for entry in await town.engine.inbox(reader)]


async def lines(town: Town, person: str) -> list[str]:
    """The lines of somebody's inbox, newest first."""
    reader = await town.engine.reader(person)
    return [town.engine.headline(entry, reader) for entry in await town.engine.inbox(reader)]


MINUTE = timedelta(minutes=1)
