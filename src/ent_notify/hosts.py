"""The engine for hosts that run asyncio or plain threads: it lives on a trio thread of its own.

::

    async with host_engine(settings) as host:                       # asyncio: FastAPI, Starlette, Django under ASGI
        published = await host.call(Engine.publish, event)
        ledger = host.call_sync(Engine.ledger, 12)                  # from a plain thread

No method is doubled: ``call`` takes any coroutine function whose first argument is the engine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from ent_notify._island.hosting import TrioThread
from ent_notify.engine import Engine, open_engine
from ent_notify.ports import Clock
from ent_notify.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")


class EngineHost:
    """An engine on its own thread. Made by :func:`host_engine`."""

    def __init__(self, thread: TrioThread[Engine]) -> None:
        self._thread = thread

    async def call(self, fn: Callable[Concatenate[Engine, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """``await fn(engine, ...)`` on the engine's thread, from an asyncio task; its value or its error.

        Cancelling the task cancels the call and waits for its end. Raises IslandDied when the host is closed.
        """
        return await self._thread.run(fn, *args, **kwargs)

    def call_sync(self, fn: Callable[Concatenate[Engine, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same from a plain thread (a synchronous view), which waits meanwhile."""
        return self._thread.run_sync(fn, *args, **kwargs)


@asynccontextmanager
async def host_engine(
    settings: Settings, *, clock: Clock | None = None, apply_migrations: bool = False
) -> AsyncIterator[EngineHost]:
    """The engine on a trio thread, for as long as this asyncio context is open. Raises what ``open_engine`` raises."""
    opened = partial(open_engine, settings, clock=clock, apply_migrations=apply_migrations)
    async with TrioThread(opened, "ent-notify-engine") as thread:
        yield EngineHost(thread)
