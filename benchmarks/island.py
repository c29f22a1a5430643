"""Metric 17: small queries a second through the island, 16 callers at once, beside trio-asyncio.

All sides use asyncpg with the same pool, codecs and statement on one embedded server. asyncpg alone on uvloop, without
trio, is the reference: what any bridge costs. ``batched`` sends 16 statements over the bridge at once.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import trio
import trio_asyncio
import uvloop

from benchmarks import harness
from ent_notify._island import codecs, open_island
from ent_notify.store import PoolLimits, open_database
from ent_notify.store.embedded import EmbeddedServer, parse_address
from ent_notify.store.sql import Query

CALLERS = 16
ONE = Query("benchmark.one", "A small statement.", "select $1::int + 1", ("n",))
OURS, BATCHED, TRIO_ASYNCIO, ALONE = "island", "island, batched", "trio-asyncio", "asyncpg alone"


async def no_reset(_: Any) -> None:
    """As the house does: nothing is left behind in a session."""


def pool(dsn: str) -> Any:
    """The same pool for every side."""
    return asyncpg.create_pool(dsn, min_size=CALLERS, max_size=CALLERS, reset=no_reset, init=codecs.install)


@asynccontextmanager
async def house(dsn: str) -> AsyncIterator[Any]:
    """The house's own database, over its island."""
    limits = PoolLimits(smallest=CALLERS, largest=CALLERS)
    async with open_island() as island, open_database(dsn, island, limits=limits, check_schema=False) as database:
        yield database


async def in_trio(call: Callable[[], Awaitable[Any]], seconds: float, each: int = 1) -> float:
    """Statements a second of 16 trio tasks that make ``call``, which runs ``each`` statements."""
    done = 0

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call()
            done += each

    await call()
    start = time.perf_counter()
    end = start + seconds
    async with trio.open_nursery() as nursery:
        for _ in range(CALLERS):
            nursery.start_soon(caller)
    return done / (time.perf_counter() - start)


def ours(dsn: str, seconds: float) -> float:
    """One crossing for each statement."""

    async def main() -> float:
        async with house(dsn) as database:
            return await in_trio(lambda: database.fetchval(ONE, n=1), seconds)

    return trio.run(main)


def batched(dsn: str, seconds: float) -> float:
    """One crossing, and one transaction, for 16 statements."""
    statements = [(ONE, {"n": n}) for n in range(CALLERS)]

    async def main() -> float:
        async with house(dsn) as database:
            return await in_trio(lambda: database.transact(statements), seconds, each=CALLERS)

    return trio.run(main)


def through_trio_asyncio(dsn: str, seconds: float) -> float:
    """The same pool on trio-asyncio's loop, inside trio's own."""

    async def main() -> float:
        async with trio_asyncio.open_loop():
            connections = await trio_asyncio.aio_as_trio(pool(dsn).__aenter__)()
            fetchval = trio_asyncio.aio_as_trio(connections.fetchval)
            try:
                return await in_trio(lambda: fetchval(ONE.sql, 1), seconds)
            finally:
                await trio_asyncio.aio_as_trio(connections.close)()

    return trio.run(main)


def alone(dsn: str, seconds: float) -> float:
    """16 asyncio tasks on uvloop, no trio anywhere."""

    async def main() -> float:
        done = 0
        async with pool(dsn) as connections:

            async def caller() -> None:
                nonlocal done
                while time.perf_counter() < end:
                    await connections.fetchval(ONE.sql, 1)
                    done += 1

            start = time.perf_counter()
            end = start + seconds
            await asyncio.gather(*(caller() for _ in range(CALLERS)))
            return done / (time.perf_counter() - start)

    return uvloop.run(main())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3, help="of each side, in each pair (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=7, help="interleaved pairs (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=harness.LATEST, help="results file to merge into")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # trio-asyncio uses what Python 3.12 deprecates
    sides = {OURS: ours, BATCHED: batched, TRIO_ASYNCIO: through_trio_asyncio, ALONE: alone}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)  # the server may run as another user
        server = EmbeddedServer.join(parse_address(f"embedded://{quote(folder)}/pg"))
        try:
            dsn = server.dsn()
            figures = harness.interleave(
                {name: partial(run, dsn, options.seconds) for name, run in sides.items()}, options.pairs
            )
        finally:
            server.leave()
    settings = {"callers": CALLERS, "seconds": options.seconds, "unit": "statements/s", "statement": ONE.sql}
    entries = [
        harness.compare(
            17,
            name,
            ours=figures[side],
            peers={peer: figures[peer]},
            target=target,
            best="higher",
            settings=settings,
        )
        for name, side, peer, target in (
            ("small queries through the island", OURS, TRIO_ASYNCIO, ">= 3"),
            ("what the bridge costs, a crossing each", OURS, ALONE, ">= 0.5"),
            ("what the bridge costs, 16 in a crossing", BATCHED, ALONE, ">= 0.9"),
        )
    ]
    harness.publish(entries, options.json)


if __name__ == "__main__":
    main()
