"""What every test may ask for: an island, and a fresh, migrated database on a server of the test session's own."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
import trio
from hypothesis import settings
from tests.bus.namespaces import why_not

from ent_notify._island import Island, open_island
from ent_notify.store import Database, migrate, open_database
from ent_notify.store.embedded import EmbeddedServer, parse_address

# correctness tests never judge by the clock
settings.register_profile("ent_notify", deadline=None)
settings.load_profile("ent_notify")

TEMPLATE = "template_house"
EPOCH = datetime(2026, 9, 1, 6, 0, tzinfo=UTC)


class Peer(NamedTuple):
    """What some tests need of the machine, and not every machine has."""

    is_here: Callable[[], bool]
    remedy: str


def _found(*programs: str) -> Callable[[], bool]:
    return lambda: any(shutil.which(name) or Path("/usr/sbin", name).exists() for name in programs)


PEERS = {
    "chromium": Peer(
        _found("chromium", "chromium-browser", "google-chrome"), "install it (Debian: chromium chromium-driver)"
    ),
    "nats-server": Peer(_found("nats-server"), "install it (Debian: nats-server)"),
    "nginx": Peer(_found("nginx"), "install it (Debian: nginx libnginx-mod-nchan)"),
    "postfix": Peer(_found("smtp-sink"), "install it (Debian: postfix)"),
    "c-compiler": Peer(_found("gcc", "cc"), "install one (Debian: gcc libc6-dev)"),
    "linux": Peer(lambda: sys.platform == "linux", "run the tests on Linux: they read its /proc, or use its epoll"),
    "namespaces": Peer(
        lambda: why_not() is None, "install ip (Debian: iproute2), and let root make network namespaces"
    ),
}
"""Programs of others that some tests run against, and what else a machine may lack."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only happens as another kind of user: on each machine one half of it is true."""
    mine = "root" if os.geteuid() == 0 else "ordinary"
    others = [item for item in items if any(mark.args != (mine,) for mark in item.iter_markers("user"))]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("peer"):
        name = mark.args[0]
        if name not in PEERS:
            pytest.fail(f"unknown peer {name!r}: known are {', '.join(sorted(PEERS))}", pytrace=False)
        peer = PEERS[name]
        if not peer.is_here():
            if os.environ.get("CI") == "true":
                pytest.fail(f"{name} is not here, and CI runs every test: {peer.remedy}", pytrace=False)
            pytest.skip(f"{name} is not here: {peer.remedy}")


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A short folder that the server's own user may enter (pytest's are closed to others)."""
    with tempfile.TemporaryDirectory(prefix="ent-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.fixture(scope="session")
def postgres(server_folder: Path) -> Iterator[EmbeddedServer]:
    """The session's server. It forgets nothing but a power cut: fsync is off."""
    address = parse_address(
        f"embedded://{quote(str(server_folder / 'pg'))}?fsync=off&full_page_writes=off&shared_buffers=128MB"
    )
    server = EmbeddedServer.join(address)
    try:
        trio.run(_make_template, server)
        yield server
    finally:
        server.leave()


async def _make_template(server: EmbeddedServer) -> None:
    server.cluster.create_database(TEMPLATE)
    async with open_island() as island, open_database(server.dsn(TEMPLATE), island, check_schema=False) as database:
        await migrate(database, now=EPOCH)


_numbers = count(1)


@pytest.fixture
def dsn(postgres: EmbeddedServer) -> Iterator[str]:
    """The address of a fresh, migrated database, for child processes and other clients too."""
    name = f"test_{next(_numbers)}"
    postgres.cluster.create_database(name, template=TEMPLATE)
    yield postgres.dsn(name)
    postgres.cluster.drop_database(name)


@pytest.fixture
def empty_dsn(postgres: EmbeddedServer) -> Iterator[str]:
    """The address of a database without our schema."""
    name = f"test_{next(_numbers)}"
    postgres.cluster.create_database(name)
    yield postgres.dsn(name)
    postgres.cluster.drop_database(name)


@pytest.fixture
async def island() -> AsyncIterator[Island]:
    """A running island."""
    async with open_island() as island:
        yield island


@pytest.fixture
async def database(island: Island, dsn: str) -> AsyncIterator[Database]:
    """A fresh, migrated database."""
    async with open_database(dsn, island) as database:
        yield database
