"""Faults of a database server, for tests of what is built on it: a crash, a restart, a pause.

All of them block and act on the whole server: use an embedded server of the test's own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from ent_notify.store.embedded import EmbeddedServer


def crash(server: EmbeddedServer) -> None:
    """End the server as a crash does: nothing is flushed, every connection breaks, the next start recovers."""
    server.cluster.stop("immediate")


def kill(server: EmbeddedServer) -> None:
    """Kill the main server process only (SIGKILL): its ``postmaster.pid`` and, for a moment, its children stay."""
    os.kill(server.cluster.running().pid, signal.SIGKILL)


def start(server: EmbeddedServer) -> None:
    """Start it again after :func:`crash`, :func:`kill` or a stop, with the settings it had."""
    server.cluster.start(server.address.listen, server.address.settings)


def restart(server: EmbeddedServer) -> None:
    """An orderly restart: open transactions are rolled back, connections end."""
    server.cluster.stop()
    start(server)


@contextmanager
def paused(server: EmbeddedServer) -> Iterator[None]:
    """Stop the main process (SIGSTOP) inside the block: it accepts no new connection, those that exist go on."""
    pid = server.cluster.running().pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
