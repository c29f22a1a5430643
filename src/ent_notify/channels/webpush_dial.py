"""The dialer: TLS connections to push services, and to nothing else that an endpoint's name might lead to.

A name is resolved once for a connection; every address that comes back is checked; and the connection is made to one
of these very addresses, with the name in TLS (SNI, certificate). So a name that changes its answer between the check
and the connection (DNS rebinding) changes nothing, and what is not public is never even knocked at.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast

from ent_notify._island.tasks import running_loop, timeout
from ent_notify.channels.http2 import Http2Streams
from ent_notify.policy.webpush import may_connect

ADDRESS_SECONDS = 4.0
"""Seconds for TCP and TLS with one address, before the next is tried."""
MOST_ADDRESSES = 4

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""From (host, port) to its addresses."""


class ForbiddenAddress(OSError):
    """The name stands for an address that is no push service's."""


async def resolve(host: str, port: int) -> list[str]:
    """The system's resolver."""
    found = await running_loop().getaddrinfo(host, port, type=1)  # SOCK_STREAM
    return list(dict.fromkeys(str(address[4][0]) for address in found))


async def dial(
    make: Callable[[], Any],
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext,
    lookup: Resolve = resolve,
    loopback: bool = False,
) -> Http2Streams:
    """A connection to ``host``. Raises ForbiddenAddress before a single packet is sent, or another OSError.

    One address that is not public is enough to refuse them all: a push service has none.
    """
    addresses = await lookup(host, port)
    if not addresses or not all(may_connect(address, loopback=loopback) for address in addresses):
        raise ForbiddenAddress(f"{host} stands for an address that is not public")
    trouble: OSError = OSError(f"no address of {host} answers")
    for address in addresses[:MOST_ADDRESSES]:
        try:
            async with timeout(ADDRESS_SECONDS):
                _, connection = await running_loop().create_connection(
                    make, address, port, ssl=tls, server_hostname=host
                )
        except TimeoutError:
            continue
        except OSError as error:
            trouble = error
        else:
            return cast("Http2Streams", connection)
    raise trouble
