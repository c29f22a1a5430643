"""A migration widens the schema, or declares the oldest code that can bear it: no released code meets anything else."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.upgrade.shapes import broken, read_shape

from ent_notify._island import Island
from ent_notify.store import Database, migrate, open_database
from ent_notify.store.migrate import FOLDER, read_migrations
from ent_notify.store.sql import Query

from .conftest import PREVIOUS, WIDEN

NOW = datetime(2026, 9, 1, tzinfo=UTC)
LATER = read_migrations()[PREVIOUS:]


@pytest.fixture
async def empty(empty_dsn: str, island: Island) -> AsyncIterator[Database]:
    async with open_database(empty_dsn, island, check_schema=False) as database:
        yield database


async def test_each_migration_since_the_previous_release_only_widens(empty: Database, tmp_path: Path) -> None:
    for migration in read_migrations()[:PREVIOUS]:
        shutil.copy(FOLDER / f"{migration.version:04}_{migration.name}.sql", tmp_path)
    await migrate(empty, now=NOW, folder=tmp_path)
    shape = await read_shape(empty)
    assert len(shape.tables) > 50 and len(shape.routines) > 100 and len(shape.rules) > 100
    for migration in LATER:
        shutil.copy(FOLDER / f"{migration.version:04}_{migration.name}.sql", tmp_path)
        assert [each.name for each in await migrate(empty, now=NOW, folder=tmp_path)] == [migration.name]
        after = await read_shape(empty)
        if migration.oldest_code <= PREVIOUS:
            assert list(broken(shape, after)) == [], f"{migration.name}: expand first, contract a release later"
        shape = after


def test_no_migration_shuts_out_the_previous_release() -> None:
    """What contracts waits until no release that is still in use needs what goes."""
    assert [each.name for each in LATER if each.oldest_code > PREVIOUS] == []


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("drop table ent_notify.lesson cascade", "lesson is gone"),
        ("alter table ent_notify.lesson rename to course", "lesson is gone"),
        ("alter table ent_notify.person drop column given_name cascade", "person.given_name is gone"),
        ("alter table ent_notify.person rename column given_name to first_name", "person.given_name is gone"),
        ("alter table ent_notify.worker_note alter column said type varchar(9)", "was text and is"),
        ("alter table ent_notify.worker_note alter column said set not null", "may be null no more"),
        ("alter table ent_notify.worker_note add column must int not null", "give it a default"),
        ("alter table ent_notify.worker_note alter column kept drop default", "cannot be left out"),
        ("alter table ent_notify.worker_note add check (id > 0)", "refuses rows that were taken"),
        ("create unique index on ent_notify.worker_note (said)", "refuses rows that were taken"),
        ("alter table ent_notify.worker_note drop constraint worker_note_pkey", "`on conflict` may name"),
        ("drop index ent_notify.worker_note_once", "`on conflict` may name"),
        ("drop function ent_notify.noted(int)", r"noted\(a integer\) is gone"),
        (
            "drop function ent_notify.noted(int); create function ent_notify.noted(a int) returns bigint "
            "language sql as 'select 1::bigint'",
            "answers bigint",
        ),
        (
            "drop function ent_notify.noted(int); create function ent_notify.noted(b int) returns int "
            "language sql as 'select 1'",
            "other names",
        ),
        (
            "create function ent_notify.noted(a int, b int default 1) returns int language sql as 'select 1'",
            "a call may fit both",
        ),
    ],
)
async def test_what_breaks_released_code_is_found(database: Database, sql: str, word: str) -> None:
    await database.script(NOTES)
    before = await read_shape(database)
    await database.script(sql)
    with pytest.raises(AssertionError, match=word):
        assert list(broken(before, await read_shape(database))) == []


async def test_widening_everything_breaks_nothing(database: Database) -> None:
    await database.script(NOTES)
    before = await read_shape(database)
    await database.script(WIDEN)
    after = await read_shape(database)
    assert list(broken(before, after)) == []
    assert len(after.columns) - len(before.columns) > len(before.tables) / 2
    widened = "select count(*) from pg_attribute where attname = 'widened'"
    assert await database.fetchval(Query("test.widened", "", widened, ())) > 50


NOTES = """
create table ent_notify.worker_note (id int primary key, said text, kept int not null default 1, once int);
create unique index worker_note_once on ent_notify.worker_note (once);
create function ent_notify.noted(a int) returns int language sql as 'select 1';
"""
