"""The demo's pages, served until the reader has seen enough, with a worker beside them."""

from __future__ import annotations

import os
import signal

import trio
from rich.console import Console

from ent_notify.asgi import create_app
from ent_notify.demo.site import Site
from ent_notify.engine import Engine
from ent_notify.errors import SettingsError
from ent_notify.gateway import Gateway, Router
from ent_notify.gateway.asgi_bridge import AsgiBridge
from ent_notify.gateway.server import listen
from ent_notify.observe import Metrics
from ent_notify.policy.pause import PauseHours
from ent_notify.settings import GatewaySettings


def check_port(port: int) -> None:
    """Raises SettingsError if ``port`` cannot be listened on now."""
    try:
        listen(GatewaySettings().host, port).close()
    except OSError as error:
        raise _taken(port, error) from None


def _taken(port: int, error: OSError) -> SettingsError:
    why = os.strerror(error.errno) if error.errno else error.strerror
    return SettingsError(f"port {port} of this machine cannot be had ({why}); give another one with --port")


async def serve_pages(engine: Engine, metrics: Metrics, port: int, console: Console) -> None:
    """Serve both pages on ``port`` (0: a free one) until SIGINT or SIGTERM. Raises SettingsError if it is taken."""
    router = Router(fallback=AsgiBridge(create_app(engine.settings, engine=engine)).handle)
    gateway = Gateway(
        engine.feed,
        settings=GatewaySettings(port=port, drain_seconds=2),
        clock=engine.clock,
        registry=metrics.registry,
        extra=router,
    )
    Site(engine, gateway.statistics).add_to(router)
    worker = engine.worker("demo", pause=PauseHours(enabled=False))
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            try:
                taken = await nursery.start(gateway.run)
            except OSError as error:
                raise _taken(port, error) from None
            console.print(f"\n  inbox of anybody:   http://127.0.0.1:{taken}/", highlight=False)
            console.print(f"  operator's page:    http://127.0.0.1:{taken}/operator", highlight=False)
            console.print("\n  Ctrl-C ends the demo and removes all of it.", highlight=False)
            nursery.start_soon(worker.run)
            async for _ in signals:
                break
            gateway.drain()
            worker.drain()
            nursery.cancel_scope.deadline = trio.current_time() + 3
