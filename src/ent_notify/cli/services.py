"""``worker`` and ``gateway``: the programs that run all day."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click
import trio

from ent_notify.cli.door import Door, listening, pass_door, run_service
from ent_notify.errors import StoreError
from ent_notify.observe import Metrics, get_logger, serve_metrics, watch_bus

if TYPE_CHECKING:
    from ent_notify.engine import Engine

QUEUE_SECONDS = 5.0
"""Seconds between two looks at what waits, for the metrics."""

_log = get_logger(__name__)


@click.command(short_help="Fan out what is published, until stopped.")
@click.option("--name", default="", help="Name of this worker in leases and logs; else its host and process id.")
@pass_door
def worker(door: Door, name: str) -> None:
    """Fan out what is published: plan, claim, send, settle; until it is stopped.

    Start as many as you like, on as many machines: leases keep them apart, and the rates hold for all of them
    together. SIGTERM: it claims nothing more, finishes or gives back what it holds, and ends within
    worker.drain_seconds; a second SIGTERM ends it at once. Killed, it repeats at most worker.checkpoint_every sends
    of each chunk that it held.

    Logs go to the standard error, one JSON object a line; metrics to metrics.port if it is set.

    \b
    Example:
      ent-notify worker --name w1
    """
    from ent_notify.engine import connect_channels, open_engine

    settings = door.service_settings()
    metrics = Metrics()

    async def serve() -> None:
        async with open_engine(settings, metrics=metrics) as engine, connect_channels(engine):
            service = engine.worker(name)
            watch_bus(metrics.registry, engine.bus.statistics)
            _log.info("worker_started", worker=service.name)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch_queues, engine, metrics)
                nursery.start_soon(engine.carry_rights)
                await run_service(service.run, service.drain, drain_seconds=settings.worker.drain_seconds)
                nursery.cancel_scope.cancel()
            _log.info("worker_stopped", worker=service.name)

    with ExitStack() as stack:
        if settings.metrics.port is not None:
            host, wanted = settings.metrics.host, settings.metrics.port
            with listening(host, wanted, "give another metrics.host or metrics.port"):
                port = stack.enter_context(serve_metrics(metrics, host, wanted))
            _log.info("metrics_served", port=port)
        door.run(serve)


async def _watch_queues(engine: Engine, metrics: Metrics) -> None:
    """Keep the gauges of what waits."""
    while True:
        try:
            for row in await engine.db.fetch("health.queues", now=engine.clock.now()):
                metrics.queue(row["channel"], row["provider"], row["waiting"], row["lag_seconds"])
            metrics.unplanned(await engine.db.fetchval("health.unplanned"))
        except StoreError as error:
            _log.warning("queues_unreadable", error=error)
        await engine.clock.sleep(QUEUE_SECONDS)


@click.command(short_help="Hold live streams, until stopped.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; else gateway.port.")
@pass_door
def gateway(door: Door, port: int | None) -> None:
    """Hold the live streams of browsers and phones, and serve the API beside them; until it is stopped.

    It listens on gateway.host and gateway.port, behind a reverse proxy that does TLS. /healthz and /readyz say how it
    is, /metrics what it does. Start as many as you like: every one of them reaches whoever it holds. SIGTERM: it takes
    nobody more, tells its streams to connect again elsewhere, and ends within gateway.drain_seconds.

    \b
    Example:
      ent-notify gateway --port 8701
    """
    from ent_notify.asgi import create_app
    from ent_notify.engine import open_engine
    from ent_notify.gateway.asgi_bridge import AsgiBridge
    from ent_notify.gateway.router import Router
    from ent_notify.gateway.server import Gateway

    settings = door.service_settings()
    chosen = settings.gateway if port is None else settings.gateway.model_copy(update={"port": port})
    metrics = Metrics()

    async def serve() -> None:
        async with open_engine(settings) as engine:
            watch_bus(metrics.registry, engine.bus.statistics)
            api = AsgiBridge(create_app(settings, engine=engine))
            service = Gateway(
                engine,
                settings=chosen,
                clock=engine.clock,
                registry=metrics.registry,
                extra=Router(fallback=api.handle),
            )

            async def run() -> None:
                async with trio.open_nursery() as nursery:
                    with listening(chosen.host, chosen.port, "give another gateway.host, or another port with --port"):
                        taken = await nursery.start(service.run)
                    _log.info("gateway_started", address=f"{chosen.host}:{taken}", port=taken)

            await run_service(run, service.drain, drain_seconds=chosen.drain_seconds)
            _log.info("gateway_stopped")

    door.run(serve)
