"""The engine for hosts that run asyncio or plain threads: it lives on a trio thread of its own.

::

    async with host_engine(settings) as host:                       # asyncio: FastAPI, Starlette, Django under ASGI
        published = await host.call(Engine.publish, event)
        ledger = host.call_sync(Engine.ledger, 12)                  # from a plain thread

    with host_engine_sync(settings) as host:                        # a script, a REPL
        published = host.call_sync(Engine.publish, event)

    notify = ProcessHost(load_settings)                             # Django, Celery: one for the module
    published = notify.call_sync(Engine.publish, event)             # opened by the first call in each process

No method is doubled: a call takes any coroutine function whose first argument is the engine, and has its types. What is
reached through an attribute takes a lambda: ``host.call(lambda engine: engine.campaigns.control(12))``.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from ent_notify._island.hosting import TrioThread, to_thread
from ent_notify.engine import Engine, open_engine
from ent_notify.errors import IslandDied
from ent_notify.ports import Clock
from ent_notify.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

_NAME = "ent-notify-engine"


class EngineHost:
    """An engine on its own thread. Made by :func:`host_engine` and :func:`host_engine_sync`.

    Any thread may call, any number at once. A process that is forked off has no such thread: calls raise IslandDied.
    """

    def __init__(self, thread: TrioThread[Engine]) -> None:
        self._thread = thread

    async def call(self, fn: Callable[Concatenate[Engine, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """``await fn(engine, ...)`` on the engine's thread, from an asyncio task; its value or its error.

        Cancelling the task cancels the call and waits for its end. Raises IslandDied when the host is closed.
        """
        return await self._thread.run(fn, *args, **kwargs)

    def call_sync(self, fn: Callable[Concatenate[Engine, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same from a plain thread (a synchronous view), which waits meanwhile. Ctrl-C cancels the call."""
        return self._thread.run_sync(fn, *args, **kwargs)


@asynccontextmanager
async def host_engine(
    settings: Settings, *, clock: Clock | None = None, apply_migrations: bool = False
) -> AsyncIterator[EngineHost]:
    """The engine on a trio thread, for as long as this asyncio context is open. Raises what ``open_engine`` raises."""
    opened = partial(open_engine, settings, clock=clock, apply_migrations=apply_migrations)
    async with TrioThread(opened, _NAME) as thread:
        yield EngineHost(thread)


@contextmanager
def host_engine_sync(
    settings: Settings, *, clock: Clock | None = None, apply_migrations: bool = False
) -> Iterator[EngineHost]:
    """The same for a host without a loop, for as long as this context is open. Raises what ``open_engine`` raises."""
    thread = TrioThread(partial(open_engine, settings, clock=clock, apply_migrations=apply_migrations), _NAME)
    thread.start()
    try:
        yield EngineHost(thread)
    finally:
        thread.close()


class ProcessHost:
    """One engine for each process that calls it: for servers that import a module once and fork, or may.

    Nothing happens before the first call of a process: it reads the settings and opens the engine. A process that is
    forked off opens one of its own. It is closed when the interpreter exits, or by ``close``.
    """

    def __init__(self, settings: Callable[[], Settings], *, apply_migrations: bool = False) -> None:
        self._settings = settings
        self._apply_migrations = apply_migrations
        self._forget()
        os.register_at_fork(after_in_child=self._forget)  # the parent's lock may be held, its thread is not here
        atexit.register(self.close)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._thread: TrioThread[Engine] | None = None
        self._closed = False

    def _opened(self) -> TrioThread[Engine]:
        with self._lock:
            if self._closed:
                raise IslandDied("this host was closed; make another one")
            if self._thread is None:
                opened = partial(open_engine, self._settings(), apply_migrations=self._apply_migrations)
                thread = TrioThread(opened, _NAME)
                thread.start()
                self._thread = thread
            return self._thread

    async def open(self) -> None:
        """Open this process's engine now, from an asyncio task: what cannot be opened is said at the host's start."""
        await to_thread(self._opened)

    async def call(self, fn: Callable[Concatenate[Engine, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """``await fn(engine, ...)`` on this process's engine, from an asyncio task: see ``EngineHost.call``."""
        thread = self._thread
        if thread is None:
            thread = await to_thread(self._opened)
        return await thread.run(fn, *args, **kwargs)

    def call_sync(self, fn: Callable[Concatenate[Engine, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """``fn(engine, ...)`` on this process's engine, from any plain thread; its value or its error.

        The first call raises what ``load_settings`` and ``open_engine`` raise; the next one then tries again.
        """
        thread = self._thread or self._opened()  # once it is open, it is read without the lock
        return thread.run_sync(fn, *args, **kwargs)

    def close(self) -> None:
        """Close this process's engine, if it was opened, and take no call any more."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.close()
