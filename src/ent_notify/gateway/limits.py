"""How much one process can hold: connections are file descriptors, and those end."""

from __future__ import annotations

import sys
from dataclasses import dataclass

RESERVE = 128
"""Descriptors for everything that is no connection of a reader: the database, logs, the loop itself."""
REQUESTS = 1_500
"""Connections without a stream that a process has at most."""


@dataclass(frozen=True, slots=True)
class Room:
    """Streams, and connections without a stream, that a process holds at most."""

    streams: int
    requests: int


def divide(descriptors: int | None, most_streams: int) -> Room:
    """The room that a limit of ``descriptors`` leaves (None: no limit). Requests take a quarter, up to REQUESTS."""
    if descriptors is None:
        return Room(most_streams, REQUESTS)
    free = max(descriptors - RESERVE, 4)
    requests = min(REQUESTS, free // 4)
    return Room(min(most_streams, free - requests), requests)


def raise_descriptor_limit() -> int | None:
    """Raise this process's limit of descriptors as far as it may itself; what it is then (None: none that we know)."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return None if soft == resource.RLIM_INFINITY else soft
