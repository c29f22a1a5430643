"""A database whose server restarts or crashes under it: callers hear of it, and work goes on afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import trio

from ent_notify._island import Island
from ent_notify.errors import StoreUnreachable
from ent_notify.store import Database, PoolLimits, open_database
from ent_notify.store.embedded import EmbeddedServer, parse_address
from ent_notify.store.sql import Query
from ent_notify.testing.postgres import crash, kill, restart, start

ADD = Query("test.add", "", "insert into note (id) values ($1)", ("id",))
IDS = Query("test.ids", "", "select id from note order by id", ())
SLEEP = Query("test.sleep", "", "select pg_sleep(60)", ())
SLEEPERS = Query("test.sleepers", "", "select count(*) from pg_stat_activity where wait_event = 'PgSleep'", ())


def crash_and_start(server: EmbeddedServer) -> None:
    """An immediate stop, then a recovery."""
    crash(server)
    start(server)


def kill_and_start(server: EmbeddedServer) -> None:
    """SIGKILL of the main process, then a recovery."""
    kill(server)
    start(server)


faults = pytest.mark.parametrize("fault", [restart, crash_and_start, kill_and_start])


@pytest.fixture(scope="module")
def own_server(server_folder: Path) -> Iterator[EmbeddedServer]:
    """A server that these tests may hurt."""
    folder = Path(tempfile.mkdtemp(dir=server_folder)) / "own"
    folder.parent.chmod(0o711)
    server = EmbeddedServer.join(parse_address(f"embedded://{quote(str(folder))}?shared_buffers=16MB"))
    yield server
    server.leave()


@pytest.fixture
async def notes(own_server: EmbeddedServer, island: Island) -> AsyncIterator[Database]:
    """A small table on that server."""
    limits = PoolLimits(smallest=3, largest=3)
    async with open_database(own_server.dsn(), island, limits=limits, check_schema=False) as database:
        await database.script(
            "drop schema if exists ent_notify cascade; create schema ent_notify;"
            "create table ent_notify.note (id int primary key)"
        )
        yield database


@faults
async def test_what_was_committed_is_there_and_what_was_open_is_not(
    own_server: EmbeddedServer, notes: Database, fault: Callable[[EmbeddedServer], None]
) -> None:
    await notes.execute(ADD, id=1)
    with pytest.raises(StoreUnreachable):
        async with notes.transaction() as tx:
            await tx.execute(ADD, id=2)
            await trio.to_thread.run_sync(fault, own_server)
    for _ in range(10):  # a pooled connection may still have to find out; then all of them are new
        try:
            ids = [row["id"] for row in await notes.fetch(IDS)]
        except StoreUnreachable:
            continue
        assert ids == [1]
    await notes.execute(ADD, id=3)


@faults
async def test_a_query_under_way_ends_with_an_error(
    own_server: EmbeddedServer, notes: Database, fault: Callable[[EmbeddedServer], None]
) -> None:
    heard: list[StoreUnreachable] = []

    async def sleeper() -> None:
        with pytest.raises(StoreUnreachable) as caught:
            await notes.fetchval(SLEEP)
        heard.append(caught.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleeper)
        while not await notes.fetchval(SLEEPERS):
            await trio.lowlevel.checkpoint()
        await trio.to_thread.run_sync(fault, own_server)
    assert len(heard) == 1


async def test_a_listener_outlives_the_server_and_says_that_hints_may_be_lost(
    own_server: EmbeddedServer, notes: Database
) -> None:
    async with notes.listen("feed") as hints:
        await trio.to_thread.run_sync(crash, own_server)
        await trio.to_thread.run_sync(start, own_server)
        assert await anext(hints) == ""
