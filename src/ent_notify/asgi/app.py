"""The ASGI app: under trio on the engine of the same run, under asyncio on an engine with a thread of its own.

Each request crosses to the engine's thread once, whole, and comes back as an answer. When a host cancels a request the
engine's side of it is cancelled too, and has ended before the host goes on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

import trio

from ent_notify.asgi.desk import Desk
from ent_notify.asgi.problems import Problem
from ent_notify.asgi.router import Answer
from ent_notify.asgi.wire import Disconnected, Receive, Scope, Send, read_request, write_answer
from ent_notify.engine import Engine, open_engine
from ent_notify.errors import EntNotifyError, IslandDied, StoreError
from ent_notify.hosts import EngineHost, ProcessHost, host_engine
from ent_notify.observe import get_logger
from ent_notify.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

_log = get_logger(__name__)


class Api:
    """The app. Made by :func:`create_app`; an ASGI callable."""

    def __init__(self, settings: Settings, engine: Engine | None = None, host: ProcessHost | None = None) -> None:
        self._settings = settings
        self._desk = Desk(settings)
        self._engine = engine
        self._host: EngineHost | ProcessHost | None = host

    @asynccontextmanager
    async def lifespan(self, _host: object = None) -> AsyncIterator[None]:
        """Open the engine and close it with the host: ``FastAPI(lifespan=api.lifespan)``, or within the host's own.

        Does nothing for an app that was given its engine, and leaves a process's host open. Raises what ``open_engine``
        raises.
        """
        if isinstance(self._host, ProcessHost):
            await self._host.open()
            yield
        elif self._engine is not None or self._host is not None:
            yield
        elif trio.lowlevel.in_trio_run():
            async with open_engine(self._settings) as self._engine:
                try:
                    yield
                finally:
                    self._engine = None
        else:
            async with host_engine(self._settings) as self._host:
                try:
                    yield
                finally:
                    self._host = None

    async def call(self, fn: Callable[Concatenate[Engine, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """``await fn(engine, ...)`` on this app's engine: ``await api.call(Engine.publish, event)``.

        Raises IslandDied while the app is not open.
        """
        if self._host is not None:
            return await self._host.call(fn, *args, **kwargs)
        if self._engine is not None:
            return await fn(self._engine, *args, **kwargs)
        raise IslandDied("the API is not open; give the host its lifespan: FastAPI(lifespan=api.lifespan)")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3. It serves HTTP, and its own lifespan when it is not mounted; a WebSocket is closed."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            request = await read_request(scope, receive)
            answer = await self.call(self._desk.answer, request)
        except Disconnected:
            return
        except Problem as refused:
            answer = Answer.problem(refused)
        except (IslandDied, StoreError) as error:
            _log.error("api_not_open", error=error)
            answer = Answer.problem(Problem(503, "Not ready", "This is not open at the moment.", retry_after=5))
        await write_answer(send, answer, head=scope["method"] == "HEAD")

    async def _live(self, receive: Receive, send: Send) -> None:
        message: dict[str, Any] = {"type": "lifespan.startup.complete"}
        await receive()
        try:
            async with self.lifespan():
                await send(message)
                await receive()
        except EntNotifyError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.shutdown.complete"})


def create_app(settings: Settings, *, engine: Engine | None = None, host: ProcessHost | None = None) -> Api:
    """The API as an ASGI app.

    With ``engine``: in that engine's own trio run. With ``host``: on the process's engine, which the host's plain code
    uses too, opened by ``lifespan`` or the first request. Without: an engine of its own, opened by ``lifespan``, under
    asyncio on a thread of its own. Raises SettingsError when ``api.keys_file`` cannot be used.
    """
    return Api(settings, engine, host)
