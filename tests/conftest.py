"""What every test may ask for: an island, and a fresh, migrated database on a server of the test session's own."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import LiteralString, NamedTuple
from urllib.parse import quote

import psycopg
import pytest
import trio
from hypothesis import settings
from psycopg.sql import SQL, Identifier
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
    "node": Peer(_found("node"), "install it (Debian: nodejs)"),
    "postfix": Peer(_found("smtp-sink"), "install it (Debian: postfix)"),
    "systemd-analyze": Peer(_found("systemd-analyze"), "install it (Debian: systemd)"),
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


MEMORY = Path("/dev/shm")  # noqa: S108 - a folder with a random name is made in it
ROOM = 4 * 1024**3
"""Bytes that must be free there: the databases of a test session are small, but there are several sessions."""


def in_memory() -> bool:
    """Whether test servers keep their files in memory: making a database is then several times cheaper."""
    return MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A short folder that the server's own user may enter (pytest's are closed to others)."""
    with tempfile.TemporaryDirectory(prefix="ent-", dir=MEMORY if in_memory() else None) as name:
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
        yield server
    finally:
        server.leave()


Build = Callable[[Database], Awaitable[None]]
"""Puts into a database what a template holds."""


class Databases:
    """Databases for tests: what each template holds is built once in a session, and then copied."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server
        self._connection = self._connect()
        self._templates: set[str] = set()
        self._numbers = count(1)
        self.template(TEMPLATE, _migrated, of="template0")

    def template(self, name: str, build: Build, *, of: str = TEMPLATE) -> str:
        """The template ``name``: a copy of the template ``of`` in which ``build`` has worked, once."""
        if name not in self._templates:
            self._create(name, of)
            trio.run(self._built, name, build)
            self._templates.add(name)
        return name

    @contextmanager
    def copy(self, template: str = TEMPLATE) -> Iterator[str]:
        """The address of a fresh copy, which goes away at the end with whoever is still connected."""
        name = f"test_{next(self._numbers)}"
        self._create(name, template)
        try:
            yield self._server.dsn(name)
        finally:
            self._do("drop database if exists {} with (force)", name)

    def close(self) -> None:
        self._connection.close()

    def _create(self, name: str, template: str) -> None:
        self._do(
            "create database {} template {} strategy {}", name, template, "file_copy" if in_memory() else "wal_log"
        )

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self._server.dsn("postgres"), autocommit=True)

    def _do(self, statement: LiteralString, *names: str) -> None:
        asked = SQL(statement).format(*(Identifier(name) for name in names))
        try:
            self._connection.execute(asked)
        except psycopg.OperationalError:  # a test has ended the server's sessions, or the server
            self._connection.close()
            self._connection = self._connect()
            self._connection.execute(asked)

    async def _built(self, name: str, build: Build) -> None:
        address = self._server.dsn(name)
        async with open_island() as island, open_database(address, island, check_schema=False) as database:
            await build(database)


async def _migrated(database: Database) -> None:
    await migrate(database, now=EPOCH)
    if os.environ.get("WIDEN") == "1":  # as if a later release had been here: see docs/decisions/upgrades.md
        await database.script((Path(__file__).parent / "upgrade/widen.sql").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def databases(postgres: EmbeddedServer) -> Iterator[Databases]:
    """The session's templates and their copies."""
    databases = Databases(postgres)
    yield databases
    databases.close()


@pytest.fixture
def dsn(databases: Databases) -> Iterator[str]:
    """The address of a fresh, migrated database, for child processes and other clients too."""
    with databases.copy() as address:
        yield address


@pytest.fixture
def empty_dsn(databases: Databases) -> Iterator[str]:
    """The address of a database without our schema."""
    with databases.copy("template0") as address:
        yield address


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
