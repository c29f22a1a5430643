"""A database server in tests: its faults (a crash, a restart, a pause), its replica, and what its schema looks like.

All of it blocks. The faults act on the whole server: use an embedded server of the test's own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import psutil

from ent_notify.store.cluster import SUPERUSER, Cluster
from ent_notify.store.embedded import EmbeddedAddress, EmbeddedServer
from ent_notify.store.programs import wait_end

SCHEMA_HEADER = """\
-- Written by `make schema` from the migrations. To be read, and compared with; never applied.
SET check_function_bodies = false;  -- functions come before the tables that they name
"""


def crash(server: EmbeddedServer) -> None:
    """End the server as a crash does: nothing is flushed, every connection breaks, the next start recovers."""
    server.cluster.stop("immediate")


def kill(server: EmbeddedServer) -> None:
    """Kill the main server process only (SIGKILL): its ``postmaster.pid`` and, for a moment, its children stay."""
    pid = server.cluster.running().pid
    os.kill(pid, signal.SIGKILL)
    wait_end(pid, 10)


def start(server: EmbeddedServer) -> None:
    """Start it again after :func:`crash`, :func:`kill` or a stop, with the settings it had."""
    server.cluster.start(server.address.listen, server.address.settings)


def restart(server: EmbeddedServer) -> None:
    """An orderly restart: open transactions are rolled back, connections end."""
    server.cluster.stop()
    start(server)


def restore(server: EmbeddedServer, name: str) -> None:
    """Put a backup that ``server.cluster.backup(name)`` made in the place of the server's data."""
    server.cluster.stop()
    server.cluster.data.rename(server.cluster.folder / f"{name}.replaced")
    (server.cluster.folder / name).rename(server.cluster.data)
    start(server)


def add_replica(primary: EmbeddedServer, address: EmbeddedAddress) -> EmbeddedServer:
    """Start a replica of ``primary`` in the new folder of ``address``; from now on each commit waits for its disk."""
    cluster = Cluster.prepare(address.folder)
    cluster.follow(primary.cluster)
    replica = EmbeddedServer.join(address)
    primary.cluster.set_for_all("synchronous_standby_names", "*")
    return replica


def promote(replica: EmbeddedServer) -> None:
    """Make a replica the primary. Whatever was the primary before must be dead, and stay so."""
    replica.cluster.promote()


def both(server: EmbeddedServer, replica: EmbeddedServer, database: str) -> str:
    """An address that names both servers, ``server`` first."""
    places = [each.cluster.running() for each in (server, replica)]
    hosts = ",".join(quote(str(place.socket_dir), safe="") for place in places)
    ports = ",".join(str(place.port) for place in places)
    return f"postgresql://{SUPERUSER}@/{quote(database)}?host={hosts}&port={ports}"


def dump_schema(server: EmbeddedServer, database: str) -> str:
    """Our schema in ``database`` as ``pg_dump`` writes it, with the rows that migrations put in.

    The migrations' own history, the database's own salt, and whatever changes from one run or minor version to the
    next are left out.
    """
    text = server.cluster.dump(
        database,
        "--schema=ent_notify",
        "--no-owner",
        "--inserts",
        "--exclude-table=ent_notify.schema_migration",
        "--exclude-table-data=ent_notify.instance",  # its salt is drawn anew for each database
    )
    volatile = ("--", "\\restrict", "\\unrestrict", "SET ", "SELECT pg_catalog.set_config")
    lines = [line for line in text.splitlines() if not line.startswith(volatile)]
    body = "\n".join(lines).strip()
    while "\n\n\n" in body:
        body = body.replace("\n\n\n", "\n\n")
    return f"{SCHEMA_HEADER}\n{body}\n"


@contextmanager
def paused(server: EmbeddedServer) -> Iterator[None]:
    """Stop the main process (SIGSTOP) inside the block: it accepts no new connection, those that exist go on."""
    pid = server.cluster.running().pid
    os.kill(pid, signal.SIGSTOP)
    try:
        while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
            os.sched_yield()
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
