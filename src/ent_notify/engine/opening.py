"""Open an engine on its database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ent_notify._island import open_island
from ent_notify.clock import SystemClock
from ent_notify.engine.facade import Engine
from ent_notify.engine.hints import open_bus
from ent_notify.model.events import BUILT_IN
from ent_notify.observe import Metrics
from ent_notify.observe.tracing import Tracing
from ent_notify.ports import Clock, EngineObserver, Unobserved
from ent_notify.settings import Settings
from ent_notify.store import PoolLimits, check, migrate, open_database


@asynccontextmanager
async def open_engine(
    settings: Settings,
    *,
    clock: Clock | None = None,
    metrics: EngineObserver | None = None,
    apply_migrations: bool = False,
    restored: bool = False,
) -> AsyncIterator[Engine]:
    """The engine on its database, for as long as the context is open.

    Raises StoreUnreachable, StoreVersionError, or SchemaMismatch (``apply_migrations`` brings the schema up to date
    first), and StoreRestored for a backup whose ledger of erasures was not replayed, unless ``restored`` says that this
    is what it is opened for.

    It has no channel yet: ``connect_channels`` makes those of the settings, ``use_mail`` and ``use_push`` take others.
    ``metrics`` hears of the fan-out; without, traces alone are made if the settings ask for them.
    """
    store = settings.store
    limits = PoolLimits(
        largest=store.pool_size,
        acquire_timeout=store.acquire_timeout_seconds,
        connect_timeout=store.connect_timeout_seconds,
    )
    clock = clock or SystemClock()
    async with (
        open_island() as island,
        open_database(store.url, island, limits=limits, clock=clock, check_schema=False) as db,
    ):
        if apply_migrations:
            await migrate(db, now=clock.now())
        await check(db)
        async with open_bus(settings.bus, island, db) as bus:
            engine = Engine(settings, db, island, bus, clock, metrics or _observer(settings))
            if not restored:
                await engine.erasure_ledger.guard()
            await engine.register_types(BUILT_IN)
            yield engine


def _observer(settings: Settings) -> EngineObserver:
    """Traces by the provider that the host has set, when some notifications are to be traced."""
    share = settings.tracing.share
    return Metrics(Tracing(settings.project.domain, share)) if share else Unobserved()
