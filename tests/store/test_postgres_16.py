"""The oldest PostgreSQL that we support: the house migrates, and every query is understood."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

import pytest
from prepared_queries import misunderstood

from ent_notify._island import Island
from ent_notify.store import migrate, open_database
from ent_notify.store.cluster import DATABASE, SUPERUSER, Cluster
from ent_notify.store.migrate import read_migrations
from ent_notify.store.opening import OLDEST_MAJOR
from ent_notify.store.sql import Query

VERSION = Query("test.version", "", "select current_setting('server_version_num')::int / 10000", ())


@pytest.fixture
def oldest(server_folder: Path) -> Iterator[str]:
    """The address of an empty database on the oldest supported server."""
    cluster = Cluster.prepare(server_folder / "oldest", major=OLDEST_MAJOR)
    cluster.ensure_made(durable=False)
    cluster.start(None, MappingProxyType({"fsync": "off", "shared_buffers": "16MB"}))
    yield f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(str(cluster.running().socket_dir), safe='')}"
    cluster.stop()


async def test_the_house_stands_on_the_oldest_supported_server(oldest: str, island: Island) -> None:
    async with open_database(oldest, island, check_schema=False) as database:
        assert await database.fetchval(VERSION) == OLDEST_MAJOR
        assert await migrate(database, now=datetime(2026, 9, 1, tzinfo=UTC)) == read_migrations()
    async with open_database(oldest, island) as database:
        assert await misunderstood(database) == {}
