"""Opening a database: connect, see what is there, and refuse what this release cannot use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import trio

from ent_notify._island import Island
from ent_notify._island.postgres import Pool, ServerTooOld
from ent_notify.clock import SystemClock
from ent_notify.errors import StoreUnreachable, StoreVersionError
from ent_notify.ports import Clock
from ent_notify.store.database import SESSION, Database, PoolLimits, shown
from ent_notify.store.embedded import EmbeddedServer, is_embedded, parse_address
from ent_notify.store.faults import DRIVER_ERRORS, translate
from ent_notify.store.migrate import check

OLDEST_MAJOR = 16
"""The oldest PostgreSQL that the house's SQL runs on."""


@asynccontextmanager
async def open_database(
    dsn: str, island: Island, *, limits: PoolLimits | None = None, clock: Clock | None = None, check_schema: bool = True
) -> AsyncIterator[Database]:
    """Connect to ``dsn`` (``postgresql://`` or ``embedded:``) and check that this release can use what is there.

    Raises StoreUnreachable, StoreVersionError below PostgreSQL 16, and SchemaMismatch unless ``check_schema`` is False
    (which is for ``migrate``). An embedded server is started when it does not run, and left at the end.
    """
    server: EmbeddedServer | None = None
    if is_embedded(dsn):
        server = await trio.to_thread.run_sync(EmbeddedServer.join, parse_address(dsn))
    try:
        async with _connected(server.dsn() if server else dsn, island, limits, clock, server) as database:
            if check_schema:
                await check(database)
            yield database
    finally:
        if server is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(server.leave)


@asynccontextmanager
async def _connected(
    dsn: str, island: Island, limits: PoolLimits | None, clock: Clock | None, server: EmbeddedServer | None
) -> AsyncIterator[Database]:
    limits = limits or PoolLimits()
    try:
        pool = await island.run(_open_pool, dsn, limits)
    except ServerTooOld as error:
        raise StoreVersionError(
            f"PostgreSQL at {shown(dsn)} is {error.version}: ent_notify needs {OLDEST_MAJOR} or newer"
        ) from error
    except (ValueError, asyncpg.InterfaceError) as error:  # the address itself makes no sense to the driver
        raise StoreUnreachable(f"the database address {shown(dsn)} cannot be used: {error}") from error
    except DRIVER_ERRORS as error:
        raise translate(error, "connect", shown(dsn)) from error
    try:
        yield Database(island, pool, dsn, limits, clock or SystemClock(), server)
    finally:
        with trio.CancelScope(shield=True):
            await island.run_uncancelled(pool.close)


async def _open_pool(dsn: str, limits: PoolLimits) -> Pool:
    return await Pool.open(
        dsn,
        smallest=limits.smallest,
        largest=limits.largest,
        acquire_timeout=limits.acquire_timeout,
        connect_timeout=limits.connect_timeout,
        stop_timeout=limits.stop_timeout,
        oldest_major=OLDEST_MAJOR,
        session=SESSION,
    )
