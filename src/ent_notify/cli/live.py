"""Services that take on other settings while they run: a worker, and what a gateway serves beside its streams.

Both keep what they are connected to. What is under way is ended by the settings that it began with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click
import trio

from ent_notify.cli.door import PROGRAM, Door
from ent_notify.errors import EntNotifyError, SettingsError
from ent_notify.observe import get_logger
from ent_notify.settings.live import Service, taken_on

if TYPE_CHECKING:
    from ent_notify.engine import Engine
    from ent_notify.flows.fanout import Worker
    from ent_notify.gateway import Gateway
    from ent_notify.gateway.operator import OperatorPage
    from ent_notify.gateway.router import Router
    from ent_notify.settings import Settings

_log = get_logger(__name__)


class LiveWorker:
    """A worker; when it takes on other settings, a new one with channels of its own begins, and the one before drains.

    ``engine`` is that of the newest.
    """

    def __init__(self, door: Door, engine: Engine, name: str, beat: Callable[[], None]) -> None:
        self.engine = engine
        self._door = door
        self._name = name
        self._beat = beat
        self._working: list[tuple[Worker, trio.CancelScope]] = []
        self._stopping = False
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until drained, or cancelled. Starts with the worker's name, once its channels are there."""
        async with trio.open_nursery() as self._nursery:
            first = await self._nursery.start(self._work, self.engine)
            task_status.started(first)

    def drain(self) -> None:
        """Claim nothing more, and end."""
        self._stopping = True
        for worker, _ in self._working:
            worker.drain()

    async def reload(self) -> None:
        """Read the settings again and work by them; by those before when they are wrong, or lead nowhere."""
        before = self.engine
        settings = read_again(self._door, "worker", before.settings)
        if settings == before.settings or self._stopping or self._nursery is None:
            return
        old = tuple(self._working)
        try:
            await self._nursery.start(self._work, before.with_settings(settings))
        except EntNotifyError as error:
            refuse(error)
            return
        for worker, scope in old:
            worker.drain()
            scope.deadline = trio.current_time() + settings.worker.drain_seconds
        _log.info("settings_read")

    async def _work(self, engine: Engine, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        from ent_notify.engine import connect_channels

        with trio.CancelScope() as scope:
            async with connect_channels(engine):
                worker = engine.worker(self._name)
                worker.beat = self._beat
                if self._stopping:
                    worker.drain()
                self.engine = engine
                self._working.append((worker, scope))
                try:
                    task_status.started(worker.name)
                    await worker.run()
                finally:
                    self._working[:] = [each for each in self._working if each[0] is not worker]


class LiveGateway:
    """What of a gateway takes on other settings: who is let in and how often, the API, and the operator page."""

    def __init__(self, door: Door, engine: Engine, service: Gateway, routes: Router, page: OperatorPage | None) -> None:
        self.engine = engine
        self._door = door
        self._service = service
        self._routes = routes
        self._page = page

    async def reload(self) -> None:
        """Read the settings again and serve by them; by those before when they are wrong."""
        from ent_notify.asgi import create_app
        from ent_notify.gateway.asgi_bridge import AsgiBridge

        before = self.engine
        settings = read_again(self._door, "gateway", before.settings)
        if settings == before.settings:
            return
        key = settings.operator.key
        if (key is None) is not (self._page is None):
            _log.warning("setting_waits_for_restart", setting="operator.key")
        engine = before.with_settings(settings)
        try:
            api = AsgiBridge(create_app(settings, engine=engine))
        except EntNotifyError as error:
            refuse(error)
            return
        self._routes.fall_back_to(api.handle)
        self._service.take_on(settings.gateway)
        if self._page is not None and key is not None:
            self._page.take_on(engine, key.get_secret_value())
        self.engine = engine
        _log.info("settings_read")


def read_again(door: Door, service: Service, running: Settings) -> Settings:
    """The settings that ``service`` takes on; ``running``, once it is said, when those to be read are wrong."""
    try:
        settings, waiting = taken_on(service, running, door.settings())
    except SettingsError as error:
        refuse(error)
        return running
    if (settings.log, settings.privacy) != (running.log, running.privacy):
        door.configure_logs(settings)
    for name in waiting:
        _log.warning("setting_waits_for_restart", setting=name)
    return settings


def refuse(error: EntNotifyError) -> None:
    """Say that settings are not taken on, in the log and, with the reason, on the standard error."""
    _log.error("settings_refused", error=error)
    click.echo(f"{PROGRAM}: {error}; the settings before it hold on", err=True)
