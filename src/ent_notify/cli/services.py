"""``worker`` and ``gateway``: the programs that run all day."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import click
import orjson
import trio

from ent_notify.cli.door import Door, listening, pass_door, run_service
from ent_notify.cli.live import LiveGateway, LiveWorker
from ent_notify.cli.manager import Manager
from ent_notify.errors import EntNotifyError, StoreError, StoreRestored
from ent_notify.observe import Metrics, get_logger, serve_metrics, watch_bus
from ent_notify.observe.tracing import Tracing, exported

if TYPE_CHECKING:
    from ent_notify.engine import Engine
    from ent_notify.gateway import Gateway
    from ent_notify.settings import GatewaySettings

QUEUE_SECONDS = 5.0
"""Seconds between two looks at what waits, for the metrics."""
OVERDUE_SECONDS = 60.0
"""Seconds between two looks at what the law's deadlines should have seen done."""
STOP_SECONDS = 3.0
"""Seconds that a process may take beyond its drain_seconds before its supervisor ends it."""

service_json = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a line of JSON when it serves, and when it has ended.",
)

_log = get_logger(__name__)


@click.command(short_help="Fan out what is published, until stopped.")
@click.option("--name", default="", help="Name of this worker in leases and logs; else its host and process id.")
@service_json
@pass_door
def worker(door: Door, name: str, as_json: bool) -> None:
    """Fan out what is published: plan, claim, send, settle; until it is stopped.

    Start as many as you like, on as many machines: leases keep them apart, and the rates hold for all of them
    together. SIGTERM: it claims nothing more, finishes or gives back what it holds, and ends within
    worker.drain_seconds; a second SIGTERM ends it at once. Killed, it repeats at most worker.checkpoint_every sends
    of each of its senders. SIGHUP: it reads its settings again. Under systemd it says when it is ready, and that it
    goes round.

    Logs go to the standard error, one JSON object a line; metrics to metrics.port if it is set.

    \b
    Example:
      ent-notify worker --name w1
    """
    from ent_notify.engine import open_engine

    settings = door.service_settings()
    manager = Manager()

    async def serve(metrics: Metrics) -> None:
        async with open_engine(settings, metrics=metrics) as engine:
            service = LiveWorker(door, engine, name, manager.beat)
            watch_bus(metrics.registry, engine.bus.statistics)

            async def run() -> None:
                async with trio.open_nursery() as working:
                    called = await working.start(service.run)
                    manager.ready()
                    _log.info("worker_started", worker=called)
                    _say(as_json, started="worker", name=called)
                _log.info("worker_stopped", worker=called)
                _say(as_json, stopped="worker", name=called)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch_queues, engine, metrics)
                nursery.start_soon(_watch_overdue, engine, metrics)
                nursery.start_soon(_watch_restores, service)
                nursery.start_soon(engine.carry_rights)
                limit = settings.worker.drain_seconds
                await run_service(run, service.drain, drain_seconds=limit, reload=service.reload, manager=manager)
                nursery.cancel_scope.cancel()

    with ExitStack() as stack:
        metrics = Metrics(stack.enter_context(exported(settings)))
        if settings.metrics.port is not None:
            host, wanted = settings.metrics.host, settings.metrics.port
            with listening(host, wanted, "give another metrics.host or metrics.port"):
                port = stack.enter_context(serve_metrics(metrics, host, wanted, manager.goes_round))
            _log.info("metrics_served", port=port)
        door.run(partial(serve, metrics))


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


async def _watch_overdue(engine: Engine, metrics: Metrics) -> None:
    """Keep the gauges of what should have been done."""
    while True:
        try:
            found = await engine.data_rights.overdue()
            metrics.overdue(found.requests, found.leavers, found.holds)
        except StoreError as error:
            _log.warning("overdue_unreadable", error=error)
        await engine.clock.sleep(OVERDUE_SECONDS)


async def _watch_restores(service: LiveWorker | LiveGateway) -> None:
    """End the service, with what to do, when the database under it was replaced by a backup."""
    while True:
        await service.engine.clock.sleep(OVERDUE_SECONDS)
        try:
            await service.engine.erasure_ledger.guard()
        except StoreRestored:
            raise
        except (EntNotifyError, OSError) as error:
            _log.warning("ledger_unreadable", error=error)


@click.command(short_help="Hold live streams, until stopped.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; else gateway.port.")
@click.option("--processes", type=click.IntRange(1, 256), default=1, help="Processes that share the port.")
@click.option("--place", type=click.IntRange(0, 255), hidden=True, help="Its place among --processes.")
@service_json
@pass_door
def gateway(door: Door, port: int | None, processes: int, place: int | None, as_json: bool) -> None:
    """Hold the live streams of browsers and phones, and serve the API beside them; until it is stopped.

    It listens on gateway.host and gateway.port, behind a reverse proxy that does TLS. /healthz and /readyz say how it
    is; on gateway.admin_port, /metrics says what it does, and /operator is the operator page (operator.key). Start as
    many as you like: every one of them reaches whoever it holds. SIGTERM: it takes nobody more, tells its streams to
    connect again elsewhere, and ends within gateway.drain_seconds.

    SIGHUP: it reads its settings again, and keeps its streams. Under systemd it says when it is ready, and that it goes
    round.

    One process uses one core and holds gateway.max_connections streams. With --processes, so many share the port; one
    that dies is started again. Each says how it is on gateway.admin_port, and the ports after it.

    \b
    Example:
      ent-notify gateway --port 8701 --processes 4
    """
    from ent_notify.asgi import create_app
    from ent_notify.engine import open_engine
    from ent_notify.gateway.asgi_bridge import AsgiBridge
    from ent_notify.gateway.limits import divide, raise_descriptor_limit
    from ent_notify.gateway.operator import OperatorPage
    from ent_notify.gateway.router import Router
    from ent_notify.gateway.server import Gateway

    settings = door.service_settings()
    chosen = settings.gateway if port is None else settings.gateway.model_copy(update={"port": port})
    if processes > 1:
        _supervise(door, chosen, processes, as_json=as_json)
        return
    if place is not None and chosen.admin_port is not None:
        chosen = chosen.model_copy(update={"admin_port": chosen.admin_port + place})
    metrics = Metrics()
    manager = Manager() if place is None else Manager({})  # a supervisor speaks for all of its processes

    async def serve(tracing: Tracing | None) -> None:
        async with open_engine(settings, metrics=None if tracing is None else Metrics(tracing)) as engine:
            watch_bus(metrics.registry, engine.bus.statistics)
            api = AsgiBridge(create_app(settings, engine=engine))
            routes, admin = Router(fallback=api.handle), Router()
            service = Gateway(
                engine.feed,
                settings=chosen,
                clock=engine.clock,
                registry=metrics.registry,
                extra=routes,
                admin=admin,
                evidence=engine.evidence,
                room=divide(raise_descriptor_limit(), chosen.max_connections),
                beat=manager.beat,
            )
            page = None
            if settings.operator.key is not None:
                page = OperatorPage(engine, settings.operator.key.get_secret_value(), service.statistics)
                page.add_to(admin)
            live = LiveGateway(door, engine, service, routes, page)

            async def run() -> None:
                async with trio.open_nursery() as nursery:
                    with listening(chosen.host, chosen.port, "give another gateway.host, or another port with --port"):
                        taken = await nursery.start(service.run)
                    manager.ready()
                    _log.info("gateway_started", address=f"{chosen.host}:{taken}", port=taken)
                    _say(as_json, started="gateway", port=taken)
                    if place is not None:
                        nursery.start_soon(_end_with_supervisor, service)

            async with trio.open_nursery() as beside:
                beside.start_soon(_watch_restores, live)
                limit = chosen.drain_seconds
                await run_service(run, service.drain, drain_seconds=limit, reload=live.reload, manager=manager)
                beside.cancel_scope.cancel()
            _log.info("gateway_stopped")
            _say(as_json, stopped="gateway")

    with exported(settings) as tracing:
        door.run(partial(serve, tracing))


async def _end_with_supervisor(service: Gateway) -> None:
    """Drain when our standard input ends: whoever started us is gone."""
    async with trio.open_nursery() as nursery:

        async def wait_end() -> None:
            async with trio.lowlevel.FdStream(os.dup(0)) as supervisor:
                await supervisor.receive_some()
            service.drain()

        nursery.start_soon(wait_end)
        await service.wait_draining()
        nursery.cancel_scope.cancel()


def _say(as_json: bool, **what: object) -> None:
    """One line of JSON on the standard output, for the program that started us."""
    if as_json:
        click.echo(orjson.dumps(what))


def _supervise(door: Door, chosen: GatewaySettings, processes: int, *, as_json: bool) -> None:
    """Run several gateway processes until they are told to stop."""
    from ent_notify.gateway.supervisor import Supervisor, reserved

    options = (["--config", str(door.config)] if door.config else []) + (["--debug"] if door.debug else [])
    with ExitStack() as stack:
        with listening(chosen.host, chosen.port, "give another gateway.host, or another port with --port"):
            port = stack.enter_context(reserved(chosen.host, chosen.port))
        program = [sys.executable, "-m", "ent_notify.cli", *options, "gateway", "--port", str(port)]
        supervisor = Supervisor([[*program, "--place", str(place)] for place in range(processes)])
        manager = Manager()

        async def reload() -> None:
            supervisor.reload()

        async def beat() -> None:
            while True:
                manager.beat()
                await trio.sleep(1)

        async def serve() -> None:
            manager.ready()
            _log.info("gateways_started", port=port, count=processes)
            _say(as_json, started="gateways", port=port, processes=processes)
            limit = chosen.drain_seconds + STOP_SECONDS
            async with trio.open_nursery() as beside:
                beside.start_soon(beat)
                await run_service(supervisor.run, supervisor.drain, drain_seconds=limit, reload=reload, manager=manager)
                beside.cancel_scope.cancel()
            _log.info("gateways_stopped")
            _say(as_json, stopped="gateways")

        door.run(serve)
