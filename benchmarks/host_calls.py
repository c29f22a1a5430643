"""What a call of the engine costs from asyncio (FastAPI), through the two threads, beside the same call from trio.

An empty call shows the crossing alone; a reader looked up and an event published show how much of a real call it is.
Each side makes its calls one after another, or 16 callers at once. Milliseconds of a call, and calls a second.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import quote

import trio

from ent_notify import Announcement, Engine, Everyone, PersonRecord, Profile, open_engine, settings_from
from ent_notify.hosts import host_engine
from ent_notify.settings import Settings

CALLERS = 16
_numbers = itertools.count()


async def nothing(_: Engine) -> None:
    """Cross, and come back."""


async def look(engine: Engine) -> None:
    """One small statement."""
    await engine.reader("p1")


async def publish(engine: Engine) -> None:
    """One event, committed."""
    event = Announcement(key=f"bench-{next(_numbers)}", audience=Everyone(), title="T", body="B")
    await engine.publish(event)


CALLS = (nothing, look, publish)
Make = Callable[[], Awaitable[None]]


async def one_by_one(call: Make, seconds: float, took: list[float]) -> None:
    """Call until the seconds are over; each call's seconds go to ``took``."""
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        await call()
        took.append(time.perf_counter() - began)


async def in_trio(settings: Settings, seconds: float) -> dict[tuple[str, int], list[float]]:
    """The engine in the caller's own run."""
    found: dict[tuple[str, int], list[float]] = {}
    async with open_engine(settings) as engine:
        for call, callers in itertools.product(CALLS, (1, CALLERS)):
            took = found[call.__name__, callers] = []
            async with trio.open_nursery() as nursery:
                for _ in range(callers):
                    nursery.start_soon(one_by_one, partial(call, engine), seconds, took)
    return found


async def in_asyncio(settings: Settings, seconds: float) -> dict[tuple[str, int], list[float]]:
    """The engine on its thread, called from asyncio."""
    found: dict[tuple[str, int], list[float]] = {}
    async with host_engine(settings) as host:
        for call, callers in itertools.product(CALLS, (1, CALLERS)):
            took = found[call.__name__, callers] = []
            await asyncio.gather(
                *(one_by_one(partial(host.call, call), seconds, took) for _ in range(callers))  # type: ignore[arg-type]
            )
    return found


async def fill(settings: Settings) -> None:
    """A database with one person."""
    async with open_engine(settings, apply_migrations=True) as engine:
        await engine.sync([PersonRecord(id="p1", profile=Profile.PUPIL, given_name="Ada", family_name="Exemple")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds of each of the twelve measurements")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ent-") as folder:
        Path(folder).chmod(0o711)
        settings = settings_from({"store": {"dsn": f"embedded://{quote(folder + '/pg')}"}})
        trio.run(fill, settings)
        direct = trio.run(in_trio, settings, chosen.seconds)
        crossed = asyncio.run(in_asyncio(settings, chosen.seconds))
    print("| call | callers | trio, median ms | asyncio, median ms | more | asyncio, 99th ms | asyncio, calls/s |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for (name, callers), took in crossed.items():
        ours, theirs = median(direct[name, callers]) * 1000, median(took) * 1000
        last = quantiles(took, n=100)[-1] * 1000
        rate = len(took) / chosen.seconds
        print(f"| {name} | {callers} | {ours:.3f} | {theirs:.3f} | {theirs - ours:+.3f} | {last:.2f} | {rate:,.0f} |")


if __name__ == "__main__":
    main()
