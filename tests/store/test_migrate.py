"""Migrations: in order, once, by one process at a time; the schema they make is the one written down."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio

from ent_notify._island import Island
from ent_notify.errors import SchemaMismatch, StoreBusy, StoreError
from ent_notify.store import Database, migrate, open_database
from ent_notify.store.embedded import EmbeddedServer
from ent_notify.store.migrate import FOLDER, read_migrations
from ent_notify.store.sql import Query
from ent_notify.testing.postgres import dump_schema

migrations = importlib.import_module("ent_notify.store.migrate")  # the package has a function of that name
NOW = datetime(2026, 9, 1, 6, 0, tzinfo=UTC)
SCHEMA = FOLDER.parent / "schema.sql"


def ask(sql: str) -> Query:
    """A query of a test's own."""
    return Query("test.query", "", sql, ())


@pytest.fixture
async def empty(empty_dsn: str, island: Island) -> AsyncIterator[Database]:
    """A database without our schema."""
    async with open_database(empty_dsn, island, check_schema=False) as database:
        yield database


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two small migrations."""
    (tmp_path / "0001_first.sql").write_text("create table ent_notify.one (id int);")
    (tmp_path / "0002_second.sql").write_text("alter table ent_notify.one add column name text;")
    return tmp_path


async def test_what_is_missing_is_applied_in_order_and_once(empty: Database, folder: Path) -> None:
    third = folder / "0003_third.sql"
    assert [done.name for done in await migrate(empty, now=NOW, folder=folder)] == ["first", "second"]
    assert await migrate(empty, now=NOW, folder=folder) == []
    third.write_text("create table ent_notify.two (id int);")
    assert [done.version for done in await migrate(empty, now=NOW, folder=folder)] == [3]
    history = await empty.fetch("schema.history")
    assert [(row["version"], row["name"], row["applied_at"]) for row in history] == [
        (1, "first", NOW),
        (2, "second", NOW),
        (3, "third", NOW),
    ]


async def test_a_migration_that_fails_leaves_those_before_it_and_nothing_of_its_own(
    empty: Database, folder: Path
) -> None:
    (folder / "0002_second.sql").write_text("create table ent_notify.two (id int); select 1 / 0;")
    with pytest.raises(StoreError, match="division by zero"):
        await migrate(empty, now=NOW, folder=folder)
    assert [row["version"] for row in await empty.fetch("schema.history")] == [1]
    assert await empty.fetchval(ask("select to_regclass('ent_notify.two')")) is None


async def test_a_migration_that_does_not_get_a_table_gives_up_before_others_wait_for_it(
    empty: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dump reads the table for an hour; whoever only reads it, too, would stand behind the migration."""
    (folder / "0003_third.sql").write_text("alter table ent_notify.one add column more int;")
    last = (folder / "0003_third.sql").rename(folder.parent / "0003_third.sql")
    await migrate(empty, now=NOW, folder=folder)
    last.rename(folder / "0003_third.sql")
    monkeypatch.setattr(migrations, "LOCK_SECONDS", 0.05)
    async with empty.transaction() as dump:
        await dump.fetch(ask("select * from one"))
        with pytest.raises(
            StoreBusy, match=r"migration 0003_third waited 0.05 s for a table .* nothing of it was applied"
        ):
            await migrate(empty, now=NOW, folder=folder)
    assert [done.name for done in await migrate(empty, now=NOW, folder=folder)] == ["third"]


async def test_two_processes_at_once_apply_each_migration_once(empty: Database, empty_dsn: str) -> None:
    script = f"""
import sys, trio
from datetime import UTC, datetime
from ent_notify._island import open_island
from ent_notify.store import migrate, open_database

async def main():
    async with open_island() as island, open_database({empty_dsn!r}, island, check_schema=False) as database:
        sys.stdin.readline()
        print(len(await migrate(database, now=datetime(2026, 9, 1, tzinfo=UTC))))

trio.run(main)
"""
    applied: list[int] = []

    async def one(start: trio.Event) -> None:
        process = await trio.lowlevel.open_process([sys.executable, "-c", script], stdin=-1, stdout=-1)
        assert process.stdin is not None
        assert process.stdout is not None
        async with process.stdin, process.stdout:
            await start.wait()
            await process.stdin.send_all(b"go\n")
            applied.append(int(await process.stdout.receive_some()))
            assert await process.wait() == 0

    start = trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(one, start)
        start.set()
    assert sum(applied) == len(read_migrations())
    assert [row["version"] for row in await empty.fetch("schema.history")] == list(range(1, sum(applied) + 1))


async def test_a_schema_that_is_missing_or_too_old_asks_for_migrate(
    empty: Database, empty_dsn: str, island: Island, folder: Path
) -> None:
    for message in (r"no ent_notify schema yet: run `ent-notify migrate`", r"at version 1, and this release needs"):
        with pytest.raises(SchemaMismatch, match=message):
            async with open_database(empty_dsn, island):
                pass
        (folder / "0002_second.sql").unlink(missing_ok=True)
        await migrate(empty, now=NOW, folder=folder)


async def test_released_code_runs_on_a_newer_schema_until_that_schema_says_no(
    database: Database, dsn: str, island: Island
) -> None:
    insert = (
        "insert into schema_migration (version, name, checksum, oldest_code, applied_at) "
        "values ({0}, 'later', '', {1}, now())"
    )
    newest = len(read_migrations())
    await database.execute(ask(insert.format(newest + 1, 1)))
    async with open_database(dsn, island) as newer:
        assert await newer.fetchval("schema.has_history")
        assert await migrate(newer, now=NOW) == []
    await database.execute(ask(insert.format(newest + 2, newest + 1)))
    with pytest.raises(SchemaMismatch, match=r"upgrade the package"):
        async with open_database(dsn, island):
            pass
    with pytest.raises(SchemaMismatch, match=r"upgrade the package"):
        await migrate(database, now=NOW)


async def test_a_migration_changed_after_it_was_applied_is_noticed(empty: Database, folder: Path) -> None:
    await migrate(empty, now=NOW, folder=folder)
    (folder / "0001_first.sql").write_text("create table ent_notify.one (id bigint);")
    with pytest.raises(SchemaMismatch, match=r"0001_first was applied here on 2026-09-01 with another text"):
        await migrate(empty, now=NOW, folder=folder)


def test_files_are_numbered_without_a_gap(folder: Path) -> None:
    (folder / "0004_fourth.sql").write_text("")
    with pytest.raises(StoreError, match=r"0004_fourth.sql should be named 0003_name.sql"):
        read_migrations(folder)
    (folder / "0004_fourth.sql").rename(folder / "0003_Third.sql")
    with pytest.raises(StoreError, match=r"0003_Third.sql should be named 0003_name.sql"):
        read_migrations(folder)


def test_a_contracting_migration_declares_the_oldest_code_and_it_only_grows(folder: Path) -> None:
    (folder / "0002_second.sql").write_text("-- Drops a column.\n-- oldest-code: 2\nselect 1;")
    (folder / "0003_third.sql").write_text("select 1;")
    assert [found.oldest_code for found in read_migrations(folder)] == [1, 2, 2]


def test_the_migrations_make_the_schema_that_is_written_down(
    postgres: EmbeddedServer, dsn: str, empty_dsn: str
) -> None:
    migrated, written = (address.partition("?")[0].rpartition("/")[2] for address in (dsn, empty_dsn))
    postgres.cluster.run_script(written, SCHEMA)
    assert dump_schema(postgres, written) == dump_schema(postgres, migrated)
    assert SCHEMA.read_text(encoding="utf-8") == dump_schema(postgres, migrated), "run `make schema`"
