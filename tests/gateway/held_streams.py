"""A child process for the memory test: holds streams and says what they cost.

``python held_streams.py COUNT``: opens a gateway, says its port on a line, waits for COUNT streams, says the Pss of the
process before and after in KiB, ends when its input does.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import trio
import trio.testing
from live_peers import MemoryFeed, StillClock
from prometheus_client import CollectorRegistry

from ent_notify.gateway import Gateway
from ent_notify.model.feed import Entrance, Entry, Key, Rights
from ent_notify.settings import GatewaySettings

WARM = 200
"""Streams that are held before the first look: arenas, caches and imports are not a stream's cost."""


class Town(MemoryFeed):
    """Families: ten keys a person, shared with a class, a school and a teaching group or two."""

    async def enter(self, entries: Sequence[Entry], now: datetime) -> list[Entrance | None]:
        return [Entrance(int(entry.ticket or 0), 1, "secret") for entry in entries]

    async def rights(self, people: Sequence[int], now: datetime) -> dict[int, Rights]:
        return {person: Rights(keys_of(person), frozenset({1})) for person in people}


def keys_of(person: int) -> frozenset[Key]:
    """Ten audience keys."""
    shared = {(1, place * 100_000 + person // size) for place, size in enumerate((28, 20, 20, 25, 900))}
    return frozenset({(0, 0), (0, 1 + person % 4), (3, person), (2, person // 28), (4, person // 2), *shared})


def pss() -> int:
    """The proportional set size of this process, in KiB."""
    gc.collect()
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def say(number: int) -> None:
    """One number, on a line, at once."""
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


async def main(count: int) -> None:
    gateway = Gateway(
        Town(),
        settings=GatewaySettings(port=0, max_per_address=count + WARM),
        clock=StillClock(),
        registry=CollectorRegistry(),
    )
    async with trio.open_nursery() as nursery:
        port = await nursery.start(gateway.run)
        while not gateway.statistics().feed_healthy:
            await trio.lowlevel.checkpoint()
        say(port)
        nursery.start_soon(watch, gateway, count)
        while await trio.to_thread.run_sync(sys.stdin.readline):
            pass
        nursery.cancel_scope.cancel()


async def watch(gateway: Gateway, count: int) -> None:
    """Say the size at each number of streams."""
    for target in (WARM, WARM + count):
        while gateway.statistics().streams.streams < target or gateway.statistics().requests:
            await trio.testing.wait_all_tasks_blocked()
        say(pss())


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
