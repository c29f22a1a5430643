"""Whether one NATS server lets us in and carries a hint: for ``doctor``."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from nats.aio.client import Client
from nats.errors import Error as NatsError

from ent_notify._island import tasks
from ent_notify.bus.nats_link import connect_arguments
from ent_notify.bus.nats_options import NatsOptions

if TYPE_CHECKING:
    from nats.aio.msg import Msg

_PROBE_SECONDS = 5.0


async def probe(options: NatsOptions, server: str) -> tuple[str, int]:
    """Connect to ``server`` alone, publish a hint and hear it; its version, and how many servers it knows of.

    Raises NatsError, OSError or TimeoutError: the last failure that was met.
    """
    client = Client()
    failures: list[Exception] = []
    heard = tasks.Event()

    async def on_error(error: Exception) -> None:
        failures.append(error)

    async def on_message(_: Msg) -> None:
        heard.set()

    try:
        async with tasks.timeout(_PROBE_SECONDS):
            await client.connect(
                **connect_arguments(replace(options, servers=(server,), retry_seconds=0.01)),
                allow_reconnect=False,
                max_reconnect_attempts=1,
                error_cb=on_error,
            )
            await client.subscribe(f"{options.prefix}.doctor", cb=on_message)
            await client.publish(f"{options.prefix}.doctor", b"{}")
            await heard.wait()
        return str(client.connected_server_version), len(client.servers)
    except (NatsError, OSError, TimeoutError):
        if failures:
            raise failures[-1] from None
        raise
    finally:
        with suppress(NatsError, OSError, TimeoutError):
            async with tasks.timeout(_PROBE_SECONDS):
                await client.close()
