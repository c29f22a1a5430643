"""An address with several servers: each has its turn, and only the primary is taken."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from ent_notify._island import Island
from ent_notify._island.servers import each_server
from ent_notify.errors import StoreBusy, StoreUnreachable
from ent_notify.store import PoolLimits, open_database
from ent_notify.store.embedded import EmbeddedServer, parse_address
from ent_notify.store.sql import Query
from ent_notify.testing.postgres import add_replica, both, kill, promote

ONE = Query("test.one", "", "select 1", ())
STANDBY = Query("test.standby", "", "select pg_is_in_recovery()", ())
SYNC = Query("test.sync", "", "select coalesce(max(sync_state), 'none') from pg_stat_replication", ())
SMALL = PoolLimits(smallest=1, largest=1, connect_timeout=2.0, acquire_timeout=1.0)


@pytest.mark.parametrize(
    ("dsn", "addresses"),
    [
        ("postgresql://u:p%40@a:1,b:2/db?x=y", ["postgresql://u:p%40@a:1/db?x=y", "postgresql://u:p%40@b:2/db?x=y"]),
        ("postgresql://u@[::1]:1,[::2]/db", ["postgresql://u@[::1]:1/db", "postgresql://u@[::2]/db"]),
        (
            "postgresql://u@/db?host=%2Fa%20b,%2Fc&port=1,2&sslmode=disable",
            [
                "postgresql://u@/db?sslmode=disable&host=%2Fa%20b&port=1",
                "postgresql://u@/db?sslmode=disable&host=%2Fc&port=2",
            ],
        ),
        ("postgresql:///db?host=a,b&port=9", ["postgresql:///db?host=a&port=9", "postgresql:///db?host=b&port=9"]),
        ("postgresql:///db?host=a,b", ["postgresql:///db?host=a", "postgresql:///db?host=b"]),
        ("postgresql:///db?host=a,b&port=1,2,3", ["postgresql:///db?host=a,b&port=1,2,3"]),
        ("postgresql://u@h/db?port=1", ["postgresql://u@h/db?port=1"]),
        ("postgresql:///db", ["postgresql:///db"]),
    ],
)
def test_an_address_is_taken_apart_as_libpq_does(dsn: str, addresses: list[str]) -> None:
    assert each_server(dsn) == addresses


@contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing, as a machine does that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def own_server(folder: Path, name: str) -> Iterator[EmbeddedServer]:
    """A server over TCP as well, with a replica of its own kind possible."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    where = f"embedded://{quote(str(folder / name))}?fsync=off&shared_buffers=16MB&listen=127.0.0.1:{port}"
    server = EmbeddedServer.join(parse_address(where))
    try:
        yield server
    finally:
        server.leave()


async def test_a_silent_server_does_not_use_up_the_time_of_the_next(server_folder: Path, island: Island) -> None:
    """Also when whoever asks has less patience than one server's share: the next attempt begins with the next."""
    with own_server(server_folder, "answering") as server, silent() as hang:
        dsn = server.tcp_dsn().replace("@127", f"@{hang},127")
        async with open_database(dsn, island, limits=SMALL, check_schema=False) as database:
            assert await database.fetchval(ONE) == 1
        impatient = PoolLimits(smallest=0, largest=1, connect_timeout=60.0, acquire_timeout=1.0)
        async with open_database(dsn, island, limits=impatient, check_schema=False) as database:
            with pytest.raises(StoreBusy):
                await database.fetchval(ONE)
            assert await database.fetchval(ONE) == 1


async def test_each_server_that_could_not_be_used_is_said(island: Island) -> None:
    with silent() as hang:
        dsn = f"postgresql://u:secret@127.0.0.1:1,{hang}/db"
        with pytest.raises(StoreUnreachable) as caught:
            async with open_database(dsn, island, limits=PoolLimits(connect_timeout=0.4), check_schema=False):
                pass
    said = str(caught.value)
    assert "127.0.0.1:1: " in said and f"{hang}: no answer in time" in said
    assert "store.dsn" in said and "secret" not in said


async def test_a_replica_is_passed_over_until_it_is_promoted(server_folder: Path, island: Island) -> None:
    with own_server(server_folder, "first") as first:
        second = add_replica(
            first, parse_address(f"embedded://{quote(str(server_folder / 'second'))}?fsync=off&shared_buffers=16MB")
        )
        try:
            alone = second.dsn()
            with pytest.raises(StoreUnreachable, match=r"None of the hosts match .* 'primary'"):
                async with open_database(alone, island, limits=SMALL, check_schema=False):
                    pass
            async with open_database(f"{alone}&target_session_attrs=any", island, check_schema=False) as reader:
                assert await reader.fetchval(STANDBY) is True
            backwards = both(second, first, "ent_notify")
            async with open_database(backwards, island, limits=SMALL, check_schema=False) as database:
                assert await database.fetchval(STANDBY) is False
                assert await database.fetchval(SYNC) == "sync"
                kill(first)
                with pytest.raises(StoreUnreachable):
                    while True:  # the children of a killed server take a moment to notice
                        await database.fetchval(ONE)
                with pytest.raises(StoreUnreachable, match="it is not primary"):
                    await database.fetchval(ONE)
                promote(second)
                assert await database.fetchval(STANDBY) is False
        finally:
            second.leave()
